/** Objects of teams, taken one change after the other, and looked at again by the clock. */
import type { Logger } from "pino";
import { type ApiServer, type FollowedObject, followObjects, type ObjectKind } from "./adapters/kubernetes/index.ts";
import type { Clock } from "./ports/clock.ts";

/** What time ends is noticed so late at most, and a policy that changed is held against them. */
const LOOK_MS = 10_000;

/** Tells those who wrote objects what came of them, until `signal` aborts; never called twice at a time. */
export type Tell = (signal: AbortSignal) => Promise<void>;

/**
 * @param take all that are there; never called twice at a time. What comes meanwhile does not wait for what it returns
 * @returns ends it
 */
export function takingObjects(
  api: ApiServer,
  kind: ObjectKind,
  take: (known: readonly FollowedObject[], signal: AbortSignal) => Promise<Tell>,
  { clock, logger }: { clock: Clock; logger: Logger },
): () => Promise<void> {
  const stop = new AbortController();
  // Nothing is taken before the first answer: what an earlier start knew would go by it.
  let known: readonly FollowedObject[] | undefined;
  const onProblem = (error: unknown): void => logger.warn({ err: error, kind: kind.plural }, "objects of the cluster cannot be followed: trying again");
  let turn: Promise<void> = Promise.resolve();
  /** The newest, not begun yet. */
  let toTell: Tell | undefined;
  let telling: Promise<void> | undefined;
  const tellAll = async (): Promise<void> => {
    while (toTell && !stop.signal.aborted) {
      const tell = toTell;
      toTell = undefined;
      await tell(stop.signal).catch(onProblem);
    }
    telling = undefined;
  };
  const takeAll = async (): Promise<void> => {
    if (!known) return;
    toTell = await take(known, stop.signal);
    telling ??= tellAll();
  };
  /** Not begun yet. */
  let next: Promise<void> | undefined;
  const begin = (): Promise<void> => {
    next = undefined;
    return takeAll();
  };
  /** One after the other: a look by the clock and a change may meet. What comes before the next has begun is taken with it: each time all are judged. */
  const inTurn = (): Promise<void> => {
    next ??= turn.then(begin, begin);
    turn = next;
    return next;
  };
  const following = followObjects(
    api,
    kind,
    (objects) => {
      known = objects;
      // Nothing is waited for: what comes meanwhile would be taken one by one. What fails is done again at the next look.
      inTurn().catch(onProblem);
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
    await telling;
  };
}
