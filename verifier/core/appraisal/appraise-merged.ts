/** A container whose snapshotter shows no layer directories: one tree of everything it sees, compared with the merged reference by descent. */
import { create } from "@bufbuild/protobuf";
import { type Claim, ClaimSchema } from "@hullmark/proto/v1/common";
import { fileFinding } from "./findings.ts";
import type { ContainerInput, Finding } from "./types.ts";

/** Name under which the merged tree's descent is kept beside the layers'. */
export const MERGED_TREE_ID = "merged";

export function appraiseMerged(input: ContainerInput): { findings: Finding[]; unknown: Claim[] } {
  const known = input.layerFindings.get(MERGED_TREE_ID);
  if (!known || known.kind === "pending")
    return { findings: [], unknown: [create(ClaimSchema, { code: "layer-comparing", detail: "comparing the merged tree" })] };
  const findings: Finding[] = [];
  for (const difference of known.differences) {
    const found = fileFinding({ ...difference, place: "upper", layerIndex: -1 }, input.rules);
    if (found) findings.push(found);
  }
  const unknown = known.truncated ? [create(ClaimSchema, { code: "many-findings", detail: "the merged tree differs in more places than are listed" })] : [];
  return { findings, unknown };
}
