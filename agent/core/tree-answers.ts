/** Answers the verifier's questions about measured trees, so that a differing root leads to the files. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TreePositionSchema, TreeQuery, TreeRequest, TreeResponseSchema } from "@hullmark/proto/v1/attestation";
import type { MeasuredTree } from "../ports/tree-measurer.ts";

const MAX_QUERIES = 512;
/** An answer stops growing here; the verifier asks again for what is missing at the end. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

export type TreeAnswer = MessageInitShape<typeof TreeResponseSchema>;

export function answerTree(request: TreeRequest, tree: MeasuredTree | undefined): TreeAnswer {
  if (!tree) return { id: request.id, root: new Uint8Array(), positions: [] };
  const positions: MessageInitShape<typeof TreePositionSchema>[] = [];
  let bytes = 0;
  for (const query of request.queries.slice(0, MAX_QUERIES)) {
    const position = positionOf(query, tree);
    if (position.position?.case === "leaf") bytes += (position.position.value.path?.length ?? 0) + (position.position.value.record?.length ?? 0);
    if (bytes > MAX_ANSWER_BYTES) break;
    positions.push(position);
  }
  return { id: request.id, root: tree.root(), positions };
}

function positionOf({ key, bits }: TreeQuery, tree: MeasuredTree): MessageInitShape<typeof TreePositionSchema> {
  if (key.length !== 32 || bits > 256) return {};
  const at = tree.descend(Buffer.from(key), bits);
  switch (at.kind) {
    case "empty":
      return {};
    case "leaf":
      return { position: { case: "leaf", value: { path: at.path, record: at.record } } };
    case "node":
      return { position: { case: "node", value: { bitlen: at.bitlen, prefix: at.prefix, left: at.left, right: at.right } } };
  }
}
