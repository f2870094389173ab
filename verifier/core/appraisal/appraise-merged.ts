/** A container whose snapshotter shows no layer directories: one tree of everything it sees, compared with the merged reference by descent. */
import { create } from "@bufbuild/protobuf";
import { type Claim, ClaimSchema } from "@hullmark/proto/v1/common";
import { maskedDestinations } from "./appraise-upper.ts";
import { fileFinding, finding } from "./findings.ts";
import type { ContainerInput, Finding, ReferenceImage, TreeDifference } from "./types.ts";
import { above, isDirectory } from "./upper-index.ts";

/** Name under which the merged tree's descent is kept beside the layers'. */
export const MERGED_TREE_ID = "merged";

export function appraiseMerged(input: ContainerInput, reference: ReferenceImage): { findings: Finding[]; unknown: Claim[] } {
  const known = input.layerFindings.get(MERGED_TREE_ID);
  if (!known || known.kind === "pending")
    return { findings: [], unknown: [create(ClaimSchema, { code: "layer-comparing", detail: "comparing the merged tree" })] };
  const findings = findingsOf(known.differences, input, reference);
  const unknown: Claim[] = [];
  if (known.truncated && known.differences.length > 0)
    unknown.push(create(ClaimSchema, { code: "many-findings", detail: "the merged tree differs in more places than are listed" }));
  if (known.truncated && known.differences.length === 0) {
    const summary = "its root is not the image's, and the node does not tell where";
    findings.push(finding({ place: "upper", kind: "replaced", path: Buffer.alloc(0), differences: [], summary, discriminator: MERGED_TREE_ID }, input.rules));
  }
  return { findings, unknown };
}

/** As of an upper directory: what the runtime makes is no drift, and of a directory that the image lacks its topmost one is told, with the files in it. */
function findingsOf(differences: readonly TreeDifference[], { state, rules }: ContainerInput, reference: ReferenceImage): Finding[] {
  const mounts = maskedDestinations(state);
  const { dialect } = state.filesystem;
  const told = differences.filter(
    ({ path, expected, observed }) => expected !== undefined || observed === undefined || !reference.runtimeMade(path, observed, dialect, mounts),
  );
  const added = new Set(told.filter(isAddedDirectory).map(({ path }) => path.toString("latin1")));
  const findings: Finding[] = [];
  for (const difference of told) {
    const [parent] = above(difference.path.toString("latin1"));
    if (isAddedDirectory(difference) && parent !== undefined && added.has(parent)) continue;
    const layerIndex = reference.merged(difference.path)?.layerIndex ?? -1;
    const found = fileFinding({ ...difference, place: "upper", layerIndex }, rules);
    if (found) findings.push(found);
  }
  return findings;
}

function isAddedDirectory({ expected, observed }: TreeDifference): boolean {
  return expected === undefined && observed !== undefined && isDirectory(observed);
}
