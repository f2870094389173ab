/** Takes the cluster's DriftExceptions into the policy in force, and out again when they end. */
import type { Logger } from "pino";
import { type ApiServer, type FollowedException, followExceptions, reportException } from "./adapters/kubernetes/index.ts";
import type { VerifierConfig } from "./config.ts";
import type { PolicyHolder } from "./core/fleet/policy-holder.ts";
import { judgeException } from "./core/policy/index.ts";
import type { Policy } from "./core/policy/types.ts";
import type { Clock } from "./ports/clock.ts";

/** Ends are noticed so late at most, and a policy that changed is held against them. */
const LOOK_MS = 10_000;

/** @returns ends it */
export function excepting(
  api: ApiServer,
  { kubernetes }: VerifierConfig,
  { policies, clock, logger }: { policies: PolicyHolder; clock: Clock; logger: Logger },
): () => Promise<void> {
  if (!kubernetes?.exceptions) return async () => {};
  const stop = new AbortController();
  let known: readonly FollowedException[] = [];
  const judge = (exception: FollowedException, policy: Policy) => judgeException(exception, policy.exceptionTerms, clock.nowMs());
  const take = async (): Promise<void> => {
    await policies.except((policy) =>
      known.flatMap((each) => {
        const judged = judge(each, policy);
        return judged.inForce ? [judged.mutable] : [];
      }),
    );
    for (const each of known) if (!stop.signal.aborted) await reportException(api, each, judge(each, policies.current), clock.nowMs());
  };
  const onProblem = (error: unknown): void => logger.warn({ err: error }, "DriftExceptions cannot be followed: trying again");
  let turn: Promise<void> = Promise.resolve();
  /** One after the other: a look by the clock and a change may meet. */
  const inTurn = (): Promise<void> => {
    turn = turn.then(take, take);
    return turn;
  };
  const following = followExceptions(
    api,
    (exceptions) => {
      known = exceptions;
      return inTurn();
    },
    { clock, onProblem },
    stop.signal,
  );
  let cancel = clock.after(LOOK_MS, look);
  function look(): void {
    inTurn()
      .catch(onProblem)
      .finally(() => {
        if (!stop.signal.aborted) cancel = clock.after(LOOK_MS, look);
      });
  }
  return async () => {
    stop.abort();
    cancel();
    await Promise.allSettled([following, turn]);
  };
}
