/** Whether the verifier's picture still is being made. */
import type { GetStatusResponse } from "@hullmark/proto/v1/query";

const PASSING = ["resolving", "measuring", "policy-pending", "layer-comparing"];

/** No node yet, one that is not attested, or a container whose verdict waits for something that passes by itself. */
export function unsettled(status: GetStatusResponse): boolean {
  const passing = PASSING.some((code) => (status.unknownReasons[code] ?? 0) > 0);
  // Whoever sees single namespaces is told of no nodes.
  if (status.namespaces.length > 0) return passing;
  return status.nodesTotal === 0 || status.nodesAttested < status.nodesTotal || passing;
}
