/** Takes the cluster's DriftExceptions into the policy in force, and out again when they end, of which people are reminded. */
import type { Logger } from "pino";
import { type ApiServer, EXCEPTIONS, type FollowedObject, inForce, reportObjects } from "./adapters/kubernetes/index.ts";
import { takingObjects } from "./cluster-objects.ts";
import type { VerifierConfig } from "./config.ts";
import type { AlertBook } from "./core/alerting/index.ts";
import type { Committer } from "./core/fleet/committer.ts";
import { type ExceptionOfTeam, teamReminders } from "./core/fleet/exception-objects.ts";
import type { PolicyHolder } from "./core/fleet/policy-holder.ts";
import { judgeException } from "./core/policy/index.ts";
import type { Policy } from "./core/policy/types.ts";
import type { Clock } from "./ports/clock.ts";

export interface ExceptingServices {
  readonly policies: PolicyHolder;
  readonly committer: Pick<Committer, "submit">;
  readonly book: Pick<AlertBook, "heldIds">;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** @param api undefined: no cluster is followed (any more) @returns ends it */
export function excepting(
  api: ApiServer | undefined,
  { kubernetes }: VerifierConfig,
  { policies, committer, book, clock, logger }: ExceptingServices,
): () => Promise<void> {
  const remind = async (all: readonly ExceptionOfTeam[]): Promise<void> => {
    const subjects = teamReminders(all, book.heldIds(), clock.nowMs());
    if (subjects.length > 0) await committer.submit({ entries: [], build: () => ({}), subjects });
  };
  if (!api || !kubernetes?.exceptions) {
    // Of those that counted before it was switched off nobody is to be reminded for ever.
    const ended = remind([]).catch((error: unknown) => logger.warn({ err: error }, "reminders of exceptions could not be ended: the next start tries again"));
    return async () => await ended;
  }
  const judge = (exception: FollowedObject, policy: Policy) => judgeException(exception, policy.exceptionTerms, clock.nowMs());
  const take = async (known: readonly FollowedObject[], signal: AbortSignal): Promise<void> => {
    await policies.except((policy) =>
      known.flatMap((each) => {
        const judged = judge(each, policy);
        return judged.inForce ? [judged.mutable] : [];
      }),
    );
    if (signal.aborted) return;
    await remind(known.map((each) => ({ ...each, judged: judge(each, policies.current) })));
    const reports = known.map((object) => {
      const judged = judge(object, policies.current);
      return { object, now: inForce(judged.inForce ? undefined : judged, object.generation) };
    });
    const onRefused = (err: Error, count: number): void => logger.warn({ err, objects: count }, "teams are not told of their exceptions");
    await reportObjects(api, EXCEPTIONS, reports, { nowMs: clock.nowMs(), onRefused, signal });
  };
  return takingObjects(api, EXCEPTIONS, take, { clock, logger });
}
