/** Pods without containers: what runs by the API server's word, and no agent tells of. Pure. */
import type { PodRecord } from "../../ports/pod-view.ts";

/** Ids of a node's containers; `away`: its agent cannot be asked now, which is told of the node; undefined: no node of that name has an agent. */
export type Told = { has(containerId: string): boolean } | "away" | undefined;

export interface UnseenContainer {
  /** NAMESPACE/POD/CONTAINER. */
  readonly name: string;
  readonly nodeName: string;
  /** Whether its node has one. */
  readonly agent: boolean;
}

/** @param untilMs only what began before it: kubelet, API server and agent tell in their own time */
export function unseenContainers(pods: Iterable<PodRecord>, told: (nodeName: string) => Told, untilMs: number): readonly UnseenContainer[] {
  const unseen: UnseenContainer[] = [];
  for (const { namespace, name: pod, nodeName, running } of pods) {
    const containers = running.length > 0 ? told(nodeName) : "away";
    if (containers === "away") continue;
    for (const { name, id, sinceMs } of running)
      if (sinceMs < untilMs && containers?.has(id) !== true) unseen.push({ name: `${namespace}/${pod}/${name}`, nodeName, agent: containers !== undefined });
  }
  return unseen;
}
