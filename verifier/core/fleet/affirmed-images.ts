/** What a service could go back to: the images under which it was affirming, noted where that begins and where it ends. Pure. */
import { Verdict } from "@hullmark/proto/v1/common";
import type { PodRecord } from "../../ports/pod-view.ts";
import type { AffirmedImageRow, AffirmedRevisionRow, ContainerOfRevision, EarlierImage, WorkloadRow } from "../../ports/rows.ts";
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

/** @param pod as the API server has it: what its node says of its labels and owners is not asked @param container its name in the specification */
export function containerOfRevision(pod: PodRecord | undefined, container: string): ContainerOfRevision | undefined {
  if (!pod?.origin || !pod.containers.some(({ name, role }) => name === container && role !== "ephemeral")) return undefined;
  return { workload: `${pod.namespace}/${pod.origin.workload}`, revision: pod.origin.revision, container };
}

/** @param before the row as it was; undefined: there was none */
export function affirmedImages(row: WorkloadRow, before: WorkloadRow | undefined, nowMs: number): AffirmedImageRow[] {
  const [now, then] = [affirmedImage(row, nowMs), before && affirmedImage(before, nowMs)];
  if (now?.configDigest === then?.configDigest && now?.service === then?.service) return [];
  return [then, now].filter((each) => each !== undefined);
}

/** As {@link affirmedImages}, of containers in pods. */
export function affirmedRevisions(row: WorkloadRow, before: WorkloadRow | undefined, nowMs: number): AffirmedRevisionRow[] {
  const [now, then] = [affirmedRevision(row, nowMs), before && affirmedRevision(before, nowMs)];
  if (now?.configDigest === then?.configDigest && now?.revision === then?.revision) return [];
  return [then, now].filter((each) => each !== undefined);
}

function affirmedRevision(row: WorkloadRow, affirmedAtMs: number): AffirmedRevisionRow | undefined {
  const image = imageOf(row);
  return image && row.inRevision && { ...image, ...row.inRevision, affirmedAtMs };
}

function affirmedImage(row: WorkloadRow, affirmedAtMs: number): AffirmedImageRow | undefined {
  const image = imageOf(row);
  return image && row.service !== undefined ? { nodeId: row.nodeId, service: row.service, ...image, affirmedAtMs } : undefined;
}

/** Of one that is affirming, and can be found again. */
function imageOf({ configDigest, imageId = "", pinnedReference = "", verdict }: WorkloadRow): EarlierImage | undefined {
  if (verdict !== Verdict.AFFIRMING || !isDigest(configDigest) || !isDigest(imageId)) return undefined;
  return tryParseReference(pinnedReference)?.digest === undefined ? undefined : { configDigest, imageId, reference: pinnedReference };
}
