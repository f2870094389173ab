/** Takes the cluster's DriftExceptions into the policy in force, and out again when they end. */
import type { Logger } from "pino";
import { type ApiServer, EXCEPTIONS, type FollowedObject, inForce, reportObject } from "./adapters/kubernetes/index.ts";
import { takingObjects } from "./cluster-objects.ts";
import type { VerifierConfig } from "./config.ts";
import type { PolicyHolder } from "./core/fleet/policy-holder.ts";
import { judgeException } from "./core/policy/index.ts";
import type { Policy } from "./core/policy/types.ts";
import type { Clock } from "./ports/clock.ts";

/** @returns ends it */
export function excepting(
  api: ApiServer,
  { kubernetes }: VerifierConfig,
  { policies, clock, logger }: { policies: PolicyHolder; clock: Clock; logger: Logger },
): () => Promise<void> {
  if (!kubernetes?.exceptions) return async () => {};
  const judge = (exception: FollowedObject, policy: Policy) => judgeException(exception, policy.exceptionTerms, clock.nowMs());
  const take = async (known: readonly FollowedObject[], signal: AbortSignal): Promise<void> => {
    await policies.except((policy) =>
      known.flatMap((each) => {
        const judged = judge(each, policy);
        return judged.inForce ? [judged.mutable] : [];
      }),
    );
    for (const each of known) {
      if (signal.aborted) return;
      const judged = judge(each, policies.current);
      await reportObject(api, EXCEPTIONS, each, inForce(judged.inForce ? undefined : judged, each.generation), clock.nowMs());
    }
  };
  return takingObjects(api, EXCEPTIONS, take, { clock, logger });
}
