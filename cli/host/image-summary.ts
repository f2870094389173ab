/** The images in use, in a line, and a line for each that cannot be compared. Read from the containers: an image without reference values is only seen there. */
import type { RpcChannel } from "@hullmark/proto/rpc";
import { ProvenanceStatus, Query, type Workload } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { all, PAGE_SIZE } from "../connection/pages.ts";

const MAX_LINES = 20;
const CALL_MS = 30_000;
/** Reasons of a container whose image has nothing to be compared with (docs/claims.md). */
const WITHOUT_REFERENCE = new Set(["no-reference", "registry-unreachable", "unextractable", "resolving"]);
const UNDECIDED: ReadonlySet<ProvenanceStatus> = new Set([ProvenanceStatus.UNKNOWN, ProvenanceStatus.UNSPECIFIED]);

export async function imageSummary(channel: RpcChannel): Promise<string[]> {
  const client = channel.client(Query);
  const workloads = await all(
    (pageToken) => client.listWorkloads({ pageSize: PAGE_SIZE, pageToken }, { timeoutMs: CALL_MS }),
    ({ workloads }) => workloads,
  );
  return summaryOf(workloads);
}

/** Pure. */
export function summaryOf(workloads: readonly Workload[]): string[] {
  const images = new Map(workloads.map((workload) => [workload.configDigest || workload.imageReference, workload]));
  const lack = ({ reasons }: Workload) => reasons.find(({ code }) => WITHOUT_REFERENCE.has(code));
  const ready = [...images.values()].filter((image) => !lack(image));
  const without = [...images.values()].flatMap((image) => {
    const reason = lack(image);
    return reason ? [`  ${printable(image.imageReference || image.configDigest, 80)}: ${printable(reason.detail || reason.code, 160)}`] : [];
  });
  const signed = ready.filter(({ provenance }) => provenance?.status === ProvenanceStatus.SIGNED).length;
  // Right after a start, or while a registry is away.
  const unknown = ready.filter(({ provenance }) => UNDECIDED.has(provenance?.status ?? ProvenanceStatus.UNSPECIFIED)).length;
  const counts = [
    `${signed} signed`,
    `${ready.length - signed - unknown} unsigned`,
    ...(unknown > 0 ? [`${unknown} not known yet`] : []),
    ...(without.length > 0 ? [`${without.length} no reference`] : []),
  ];
  const more = without.length > MAX_LINES ? [`  and ${without.length - MAX_LINES} more: hullmark workloads --unknown`] : [];
  const total = `${without.length > 0 ? "!" : "✓"} ${images.size} ${images.size === 1 ? "image" : "images"}: ${counts.join(", ")}`;
  return [total, ...without.slice(0, MAX_LINES), ...more];
}
