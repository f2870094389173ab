/** Tells the cluster that the verifier is a pod of about drift in its pods. */
import { hash } from "node:crypto";
import type { Logger } from "pino";
import { type ApiServer, fewAtATime, writePodEvent } from "./adapters/kubernetes/index.ts";
import type { VerifierConfig } from "./config.ts";
import type { EventBus } from "./core/fleet/events.ts";
import { MAX_PODS, type PodEvent, PodEvents, type PodName } from "./core/fleet/pod-events.ts";
import type { Clock } from "./ports/clock.ts";
import type { DriftRow } from "./ports/rows.ts";

const EVENTS_MS = 1_000;
const RETRY_EVENTS_MS = 30_000;

/**
 * Tells the cluster of drift in its pods, and of rollbacks that are refused here, where that is configured.
 * @param podOf the pod of a container that is there now @returns ends it
 */
export function tellingPods(
  api: ApiServer,
  { kubernetes, verifierId }: VerifierConfig,
  { events, podOf, clock, logger }: { events: EventBus; podOf: (row: DriftRow) => PodName | undefined; clock: Clock; logger: Logger },
): () => Promise<void> {
  if (!kubernetes?.podEvents) return async () => {};
  const planned = new PodEvents((text) => hash("sha256", text));
  const ends = [
    events.on("drift", (row) => planned.note(row, podOf(row), clock.nowMs())),
    events.on("action", (row) => planned.noteRefusal(row, clock.nowMs())),
  ];
  const stop = new AbortController();
  const write = async (event: PodEvent): Promise<void> => {
    try {
      if (!(await writePodEvent(api, event, verifierId))) logger.debug({ pod: event.pod }, "no Event can be written there");
      planned.told(event, clock.nowMs());
    } catch (error) {
      planned.refused(event);
      logger.warn({ err: error, pod: event.pod }, "Events cannot be written: trying again");
      throw error;
    }
  };
  /** What is for one namespace is written one after the other, up to the first that fails. */
  const writeAll = async (due: readonly PodEvent[]): Promise<void> => {
    const writeOfOne = async (events: readonly PodEvent[]): Promise<void> => {
      for (const event of events) if (!stop.signal.aborted) await write(event);
    };
    await fewAtATime(Map.groupBy(due, ({ pod }) => pod.namespace).values(), writeOfOne, stop.signal);
  };
  let dropped = 0;
  const round = async (): Promise<void> => {
    await writeAll(planned.due(clock.nowMs()));
    if (planned.dropped > dropped) logger.warn({ pods: MAX_PODS, drifts: planned.dropped }, "too many pods have drift: no Events on the rest");
    dropped = planned.dropped;
  };
  // By themselves, so that none of the others waits where one hangs again.
  const loops = [again(EVENTS_MS, round), again(RETRY_EVENTS_MS, () => writeAll(planned.retries(clock.nowMs())))];
  return async () => {
    for (const end of ends) end();
    stop.abort();
    await Promise.all(loops.map((endLoop) => endLoop()));
  };

  /** @returns ends it, and resolves with the round under way */
  function again(pauseMs: number, of: () => Promise<void>): () => Promise<void> {
    let running: Promise<void> = Promise.resolve();
    let cancel = clock.after(pauseMs, run);
    function run(): void {
      running = of().finally(() => {
        if (!stop.signal.aborted) cancel = clock.after(pauseMs, run);
      });
    }
    return async () => {
      cancel();
      await running;
    };
  }
}
