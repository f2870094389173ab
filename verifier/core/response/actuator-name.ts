/** Whose actuator an intent is for: a node's, which reaches its container engine, or the cluster's, which reaches its API server. */
import type { ActionRow } from "../../ports/rows.ts";
import { addresseeOf } from "./steps.ts";

export type ActuatorName = `node ${string}` | `cluster ${string}`;

const NODE = "node ";

export const actuatorName = {
  ofNode: (nodeId: string): ActuatorName => `${NODE}${nodeId}`,
  ofCluster: (cluster: string): ActuatorName => `cluster ${cluster}`,
  /** Of an action on a node that is not issued yet, nobody's. */
  ofAction: (row: Pick<ActionRow, "nodeId" | "pod" | "node">): ActuatorName => {
    const cluster = row.pod?.cluster ?? row.node?.actuator?.cluster;
    return cluster === undefined ? actuatorName.ofNode(addresseeOf(row) ?? "") : actuatorName.ofCluster(cluster);
  },
  /** Id of the node; empty where it is a cluster's. */
  nodeOf: (name: ActuatorName): string => (name.startsWith(NODE) ? name.slice(NODE.length) : ""),
};
