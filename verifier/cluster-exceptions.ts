/** Takes the cluster's DriftExceptions into the policy in force, and out again when they end, of which people are reminded. */
import type { Logger } from "pino";
import { type ApiServer, EXCEPTIONS, type FollowedObject, inForce, reportObjects } from "./adapters/kubernetes/index.ts";
import { type Tell, takingObjects } from "./cluster-objects.ts";
import type { VerifierConfig } from "./config.ts";
import type { AlertBook } from "./core/alerting/index.ts";
import type { Committer } from "./core/fleet/committer.ts";
import { type ExceptionOfTeam, teamReminders } from "./core/fleet/exception-objects.ts";
import type { PolicyHolder } from "./core/fleet/policy-holder.ts";
import { judgeExceptions } from "./core/policy/index.ts";
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
  const judge = (known: readonly FollowedObject[], policy: Policy) => judgeExceptions(known, policy.exceptionTerms, clock.nowMs());
  const refused = new Set<string>();
  const onRefused = (err: unknown, count: number): void => logger.warn({ err, objects: count }, "teams are not told of their exceptions");
  const take = async (known: readonly FollowedObject[], signal: AbortSignal): Promise<Tell> => {
    await policies.except((policy) => judge(known, policy).flatMap((judged) => (judged.inForce ? [judged.mutable] : [])));
    const verdicts = judge(known, policies.current);
    const judgedOf = known.flatMap((object, at) => (verdicts[at] ? [{ object, judged: verdicts[at] }] : []));
    if (!signal.aborted) await remind(judgedOf.map(({ object, judged }) => ({ ...object, judged })));
    const reports = judgedOf.map(({ object, judged }) => ({ object, now: inForce(judged.inForce ? undefined : judged, object.generation) }));
    return async (until) => await reportObjects(api, EXCEPTIONS, reports, { nowMs: clock.nowMs(), onRefused, signal: until, refused });
  };
  return takingObjects(api, EXCEPTIONS, take, { clock, logger });
}
