/** Events of an actuator (events.k8s.io/v1), on pods and on Nodes. */
import type { ApiServer } from "@hullmark/daemon/api-server";
import { ask, problem } from "./api-answers.ts";

const CONTROLLER = "hullmark.dev/actuator";
/** Limits of the API server's own validation. */
export const MAX_NAME = 253;
export const MAX_INSTANCE = 128;
export const MAX_NOTE = 1024;

export interface ActionEvent {
  /** Names the Event: one of this name is written once. */
  readonly name: string;
  readonly namespace: string;
  readonly actionId: string;
  /** Entry of the verifier's log about the action; undefined: it did not say. */
  readonly logIndex?: number | undefined;
  /** Besides those about the action. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly warning: boolean;
  readonly reason: string;
  readonly action: string;
  readonly note: string;
  readonly regarding: object;
  readonly atMs: number;
}

/** @param reportingInstance at most {@link MAX_INSTANCE} characters @throws EngineError ENGINE_UNREACHABLE, ENGINE_REFUSED */
export async function postEvent(api: Pick<ApiServer, "post">, reportingInstance: string, told: ActionEvent): Promise<void> {
  const { name, namespace, actionId, logIndex, annotations, warning, reason, action, note, regarding, atMs } = told;
  const about = { "hullmark.dev/action": actionId, ...(logIndex !== undefined && { "hullmark.dev/log-index": String(logIndex) }) };
  const event = {
    apiVersion: "events.k8s.io/v1",
    kind: "Event",
    metadata: { name, namespace, annotations: { ...about, ...annotations } },
    ...{ type: warning ? "Warning" : "Normal", reason, action, note, regarding },
    eventTime: new Date(atMs).toISOString().replace("Z", "000Z"),
    ...{ reportingController: CONTROLLER, reportingInstance },
  };
  const answer = await ask(() => api.post(`/apis/events.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/events`, event));
  // There already: it was written before a crash, or at the attempt before.
  if (![200, 201, 409].includes(answer.status)) throw problem(answer, "create events");
}
