/** What a service could go back to: the images under which it was affirming, noted where that begins and where it ends. Pure. */
import { Verdict } from "@hullmark/proto/v1/common";
import type { AffirmedImageRow, WorkloadRow } from "../../ports/rows.ts";
import { isDigest, tryParseReference } from "../provenance/reference.ts";

/** Services of one name in two Compose projects are two. @param identity as the node tells it */
export function serviceOfContainer(identity: {
  readonly runtime: string;
  readonly workload: string;
  readonly labels: Readonly<Record<string, string>>;
}): string | undefined {
  if (identity.runtime !== "docker" || identity.workload === "") return undefined;
  const project = Object.hasOwn(identity.labels, "com.docker.compose.project") ? identity.labels["com.docker.compose.project"] : undefined;
  return project ? `${project}/${identity.workload}` : identity.workload;
}

/** @param before the row as it was; undefined: there was none */
export function affirmedImages(row: WorkloadRow, before: WorkloadRow | undefined, nowMs: number): AffirmedImageRow[] {
  const [now, then] = [affirmedImage(row, nowMs), before && affirmedImage(before, nowMs)];
  if (now?.configDigest === then?.configDigest && now?.service === then?.service) return [];
  return [then, now].filter((each) => each !== undefined);
}

function affirmedImage(row: WorkloadRow, affirmedAtMs: number): AffirmedImageRow | undefined {
  const { nodeId, service, configDigest, imageId = "", pinnedReference = "", verdict } = row;
  if (verdict !== Verdict.AFFIRMING || service === undefined) return undefined;
  if (!isDigest(configDigest) || !isDigest(imageId) || tryParseReference(pinnedReference)?.digest === undefined) return undefined;
  return { nodeId, service, configDigest, imageId, reference: pinnedReference, affirmedAtMs };
}
