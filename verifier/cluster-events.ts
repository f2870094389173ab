/** Tells the cluster that the verifier is a pod of about drift in its pods. */
import { hash } from "node:crypto";
import type { Logger } from "pino";
import { type ApiServer, writePodEvent } from "./adapters/kubernetes/index.ts";
import type { VerifierConfig } from "./config.ts";
import type { EventBus } from "./core/fleet/events.ts";
import { MAX_PODS, PodEvents, type PodName } from "./core/fleet/pod-events.ts";
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
  let [dropped, restMs] = [0, EVENTS_MS];
  const round = async (): Promise<void> => {
    restMs = EVENTS_MS;
    for (const event of planned.due(clock.nowMs())) {
      if (stop.signal.aborted) return;
      try {
        if (!(await writePodEvent(api, event, verifierId))) logger.debug({ pod: event.pod }, "no Event can be written there");
        planned.told(event, clock.nowMs());
      } catch (error) {
        restMs = RETRY_EVENTS_MS;
        logger.warn({ err: error, pod: event.pod }, "Events cannot be written: trying again");
        break;
      }
    }
    if (planned.dropped > dropped) logger.warn({ pods: MAX_PODS, drifts: planned.dropped }, "too many pods have drift: no Events on the rest");
    dropped = planned.dropped;
  };
  let running: Promise<void> = Promise.resolve();
  let cancel = clock.after(EVENTS_MS, run);
  function run(): void {
    running = round().finally(() => {
      if (!stop.signal.aborted) cancel = clock.after(restMs, run);
    });
  }
  return async () => {
    for (const end of ends) end();
    stop.abort();
    cancel();
    await running;
  };
}
