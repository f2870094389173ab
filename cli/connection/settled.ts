/** Whether the verifier's picture still is being made. */
import type { GetStatusResponse } from "@hullmark/proto/v1/query";

const PASSING = ["resolving", "measuring", "policy-pending", "layer-comparing"];

/** No node yet, one that is not attested, or a container whose verdict waits for something that passes by itself. */
export function unsettled(status: GetStatusResponse): boolean {
  return status.nodesTotal === 0 || status.nodesAttested < status.nodesTotal || PASSING.some((code) => (status.unknownReasons[code] ?? 0) > 0);
}
