/** The images in use, in a line, and a line for each that cannot be compared. */
import type { RpcChannel } from "@hullmark/proto/rpc";
import { ProvenanceStatus } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { imagesInUse } from "./verifier-client.ts";

const MAX_LINES = 20;

export async function imageSummary(channel: RpcChannel): Promise<string[]> {
  const images = await imagesInUse(channel);
  const without = images.filter(({ referenceState }) => referenceState !== "ready");
  const ready = images.filter(({ referenceState }) => referenceState === "ready");
  const signed = ready.filter(({ provenance }) => provenance?.status === ProvenanceStatus.SIGNED).length;
  const counts = [`${signed} signed`, `${ready.length - signed} unsigned`, ...(without.length > 0 ? [`${without.length} no reference`] : [])];
  const lines = without.slice(0, MAX_LINES).map(({ references, configDigest, referenceState, referenceDetail }) => {
    const name = printable(references[0] ?? configDigest, 80);
    return `  ${name}: ${printable(referenceDetail || referenceState, 160)}`;
  });
  const more = without.length > MAX_LINES ? [`  and ${without.length - MAX_LINES} more: hullmark images`] : [];
  return [`${without.length > 0 ? "!" : "✓"} ${images.length} ${images.length === 1 ? "image" : "images"}: ${counts.join(", ")}`, ...lines, ...more];
}
