/** What purges rest on, as it is stored: what stands on a layer, and what has been measured of it since. */
import { ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow, DriftRow, PurgeRow, WorkloadRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import { allWorkloads } from "../fleet/row-pages.ts";
import { type AffectedLayer, openPoison } from "./poison.ts";
import { affectedLayer, type Chains, endOfPurge, isWellSince, leftLayers, purgeOf } from "./purge.ts";

export interface PurgeSources {
  readonly store: Pick<Store, "readImages" | "readDrift" | "readOpenDrifts" | "listWorkloads">;
  /** Chain ids of an image's layers, lowest first; empty: not known. */
  readonly layerChains: (configDigests: ReadonlySet<string>) => Promise<Chains>;
}

export interface PurgeFacts {
  readonly purge: PurgeRow;
  /** The first that told of it. */
  readonly drift: DriftRow | undefined;
  /** All of the node. */
  readonly workloads: readonly WorkloadRow[];
}

/** @param layer chain id, or index @param left purges of before that contained nothing, of whose layers it may be as well @returns in words why it cannot be purged @throws StoreError */
export async function factsForPurge(
  { store, layerChains }: PurgeSources,
  nodeId: string,
  affected: readonly AffectedLayer[],
  layer: string,
  left: readonly ActionRow[] = [],
): Promise<PurgeFacts | string> {
  const found = affectedLayer([...affected, ...leftLayers(left, affected)], layer);
  if (typeof found === "string") return found;
  const [images, workloads] = [await store.readImages(), await allWorkloads(store, { verdicts: [], nodeId })];
  const before = left.find(({ purge }) => purge?.chainId === found.chainId)?.purge;
  const chainsOf = await layerChains(new Set([...images, ...workloads].map(({ configDigest }) => configDigest)));
  const purge = purgeOf(found, workloads, images, chainsOf, before?.imageDigests);
  if (!purge) return "more images stand on that layer than one purge may name: take it off by hand";
  const drift = await store.readDrift(found.driftIds[0] ?? "");
  const configDigest = found.place === "image" ? (drift?.configDigest ?? before?.configDigest) : undefined;
  return { purge: { ...purge, ...(configDigest !== undefined && { configDigest }) }, drift, workloads };
}

/**
 * What has been seen of a layer since it was purged. @param row that was carried out, or failed
 * @returns how the action ends; "well": of one that failed, that the layer has been measured equal since; undefined: nothing new @throws StoreError
 */
export async function seenSincePurge({ store, layerChains }: PurgeSources, row: ActionRow, nowMs: number): Promise<ReturnType<typeof endOfPurge> | "well"> {
  if (!row.purge) return undefined;
  const workloads = await allWorkloads(store, { verdicts: [], nodeId: row.nodeId });
  const poison = openPoison(await store.readOpenDrifts(row.nodeId));
  const chainsOf = await layerChains(new Set([...poison, ...workloads].map(({ configDigest }) => configDigest)));
  if (row.state !== ActionState.FAILED) return endOfPurge(row, poison, workloads, chainsOf, nowMs);
  return isWellSince(row, poison, workloads, chainsOf) ? "well" : undefined;
}
