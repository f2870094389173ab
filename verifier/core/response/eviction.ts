/** Which containers' pods can be evicted. Pure. */
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow } from "../../ports/rows.ts";

/** Why a cluster's actuator will not evict this pod, today or tomorrow: the rung after it is meant then. Codes of docs/response.md. */
const LASTING: ReadonlySet<string> = new Set(["bare-pod", "evict-never", "protected", "static-pod"]);

/** As agents name the containers of pods: `NAMESPACE/POD/CONTAINER`. An engine's own names have no slash. */
export function isInPod(containerName: string): boolean {
  return containerName.split("/").length === 3;
}

/** Whether evicting the pod of this container was refused for a reason that stays. */
export function endsEviction({ nodeId, containerId }: Pick<ActionRow, "nodeId" | "containerId">, history: readonly ActionRow[]): boolean {
  return history.some(
    (each) =>
      each.nodeId === nodeId &&
      each.containerId === containerId &&
      each.kind === ActionKind.EVICT &&
      each.state === ActionState.REFUSED &&
      LASTING.has(each.reason),
  );
}
