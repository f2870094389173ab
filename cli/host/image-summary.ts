/** The images in use, in a line, and a line for each that cannot be compared. Read from the containers: an image without reference values is only seen there. */
import type { RpcChannel } from "@hullmark/proto/rpc";
import { ProvenanceStatus, Query, type Workload } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { all, PAGE_SIZE } from "../connection/pages.ts";

const MAX_LINES = 20;
const CALL_MS = 30_000;
/** Reasons of a container whose image has nothing to be compared with (docs/claims.md). */
const WITHOUT_REFERENCE = new Set(["no-reference", "registry-unreachable", "unextractable", "resolving"]);

export async function imageSummary(channel: RpcChannel): Promise<string[]> {
  const client = channel.client(Query);
  const workloads = await all(
    (pageToken) => client.listWorkloads({ pageSize: PAGE_SIZE, pageToken }, { timeoutMs: CALL_MS }),
    ({ workloads }) => workloads,
  );
  return summaryOf(workloads);
}

function summaryOf(workloads: readonly Workload[]): string[] {
  const images = new Map(workloads.map((workload) => [workload.configDigest || workload.imageReference, workload]));
  const without = [...images.values()].flatMap(({ imageReference, configDigest, reasons }) => {
    const reason = reasons.find(({ code }) => WITHOUT_REFERENCE.has(code));
    return reason ? [`  ${printable(imageReference || configDigest, 80)}: ${printable(reason.detail || reason.code, 160)}`] : [];
  });
  const ready = images.size - without.length;
  const signed = [...images.values()].filter(({ provenance }) => provenance?.status === ProvenanceStatus.SIGNED).length;
  const counts = [`${signed} signed`, `${ready - signed} unsigned`, ...(without.length > 0 ? [`${without.length} no reference`] : [])];
  const more = without.length > MAX_LINES ? [`  and ${without.length - MAX_LINES} more: hullmark workloads --unknown`] : [];
  const total = `${without.length > 0 ? "!" : "✓"} ${images.size} ${images.size === 1 ? "image" : "images"}: ${counts.join(", ")}`;
  return [total, ...without.slice(0, MAX_LINES), ...more];
}
