/** Events on pods (events.k8s.io/v1). */

import type { ApiAnswer, ApiServer } from "@hullmark/daemon/api-server";
import * as z from "zod";
import type { PodEvent } from "../../core/fleet/pod-events.ts";

const CONTROLLER = "hullmark.dev/verifier";
/** Limits of the API server's own validation. */
const MAX_NAME = 253;
const MAX_INSTANCE = 128;
/** What Kubernetes lets a namespace and a pod be called: anything else a node has made up. */
const NAMESPACE = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const POD = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/**
 * Writes an Event, or the count of one that is there. Idempotent.
 * @param instance which verifier
 * @returns false where it cannot be written, ever: the namespace is gone, or its name is none
 * @throws Error where it may be tried again, with the API server's status; the system's error where it is not reached
 */
export async function writePodEvent(api: Pick<ApiServer, "post" | "patch">, event: PodEvent, instance: string): Promise<boolean> {
  const { pod, id, count, lastMs, written } = event;
  if (!NAMESPACE.test(pod.namespace) || !POD.test(pod.name)) return false;
  const name = `${pod.name.slice(0, MAX_NAME - 1 - id.length).replace(/[.-]+$/, "")}.${id}`;
  const events = `/apis/events.k8s.io/v1/namespaces/${pod.namespace}/events`;
  const series = count > 1 ? { series: { count, lastObservedTime: micro(lastMs) } } : {};
  if (written) {
    const answer = await api.patch(`${events}/${name}`, series, "application/merge-patch+json");
    if (answer.status === 200) return true;
    // Kubernetes forgets Events after an hour: then it is written as a whole.
    if (answer.status !== 404) return refused(answer, "patch");
  }
  const answer = await api.post(events, { ...body(event, instance), metadata: { name, namespace: pod.namespace, ...annotated(event) }, ...series });
  // There already: it persisted although the answer was lost.
  return [200, 201, 409].includes(answer.status) ? true : refused(answer, "create");
}

function body({ pod, reason, note, firstMs }: PodEvent, instance: string): object {
  const { namespace, name, uid, container } = pod;
  return {
    apiVersion: "events.k8s.io/v1",
    kind: "Event",
    type: reason === "DriftResolved" ? "Normal" : "Warning",
    reason,
    action: "Appraised",
    note,
    eventTime: micro(firstMs),
    reportingController: CONTROLLER,
    reportingInstance: instance.slice(0, MAX_INSTANCE),
    regarding: { apiVersion: "v1", kind: "Pod", namespace, name, uid, fieldPath: `spec.containers{${container}}` },
  };
}

/** As those of actuators are. */
function annotated({ about }: PodEvent): { annotations?: Record<string, string> } {
  if (!about) return {};
  const { id, logIndex, driftId, driftLogIndex } = about;
  const ofDrift = { "hullmark.dev/drift": driftId, "hullmark.dev/drift-log-index": String(driftLogIndex) };
  return { annotations: { "hullmark.dev/action": id, "hullmark.dev/log-index": String(logIndex), ...ofDrift } };
}

/** As Kubernetes writes a MicroTime. */
function micro(ms: number): string {
  return new Date(ms).toISOString().replace("Z", "000Z");
}

const Refusal = z.object({ details: z.object({ causes: z.array(z.object({ reason: z.string().optional() })) }) });

/** Missing rights may be given, and a busy server has time later; what it finds wrong with the object stays wrong, and a namespace that goes does not stay. */
function refused({ status, body: answer }: ApiAnswer, verb: string): false {
  const causes = Refusal.safeParse(answer).data?.details.causes ?? [];
  if ([400, 404, 409, 422].includes(status) || causes.some(({ reason }) => reason === "NamespaceTerminating")) return false;
  throw new Error(`the API server answers ${status} to ${verb} an Event`);
}
