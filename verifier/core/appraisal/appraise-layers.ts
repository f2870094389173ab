/** The layers that the node holds against the layers that the image's signed config names. */

import { create } from "@bufbuild/protobuf";
import { type Claim, ClaimSchema } from "@hullmark/proto/v1/common";
import { fileFinding, finding } from "./findings.ts";
import type { ContainerInput, ContainerRules, Finding, FindingPlace, LayerFinding, ReferenceImage } from "./types.ts";

export interface LayerAppraisal {
  readonly findings: Finding[];
  /** What stands in the way of judging. */
  readonly unknown: Claim[];
}

const NO_PATH = Buffer.alloc(0);
/** Each blocks a verdict by itself (appraise-container). */
const NOT_MEASURED: ReadonlySet<string> = new Set(["measuring", "vanished", "unmeasurable"]);

export function appraiseLayers(input: ContainerInput, reference: ReferenceImage): LayerAppraisal {
  const result: LayerAppraisal = { findings: [], unknown: [] };
  const { layers } = input.state.filesystem;
  const imageLayers = layers.filter(({ runtimeMade }) => !runtimeMade);
  // A container that has just been started again is told of before its layers are measured: that claim bars judging, and absence proves nothing yet.
  if (imageLayers.length < reference.layers.length && input.state.filesystem.claims.some(({ code }) => NOT_MEASURED.has(code))) return result;
  if (imageLayers.length !== reference.layers.length) {
    const differences = [{ field: "layers", expected: String(reference.layers.length), observed: String(imageLayers.length) }];
    const summary = `runs on ${imageLayers.length} layers, the image has ${reference.layers.length}`;
    result.findings.push(finding({ place: "layer", kind: "replaced", path: NO_PATH, differences, summary, discriminator: "count" }, input.rules));
    return result;
  }
  for (const [index, layer] of imageLayers.entries()) {
    const root = Buffer.from(layer.root);
    const expected = reference.layers[index]?.roots;
    if (expected && [...expected.values()].some((each) => each.equals(root))) continue;
    explain(input, { id: layer.id, index, place: "layer" }, result);
  }
  for (const layer of layers.filter(({ runtimeMade }) => runtimeMade)) {
    const root = Buffer.from(layer.root);
    if (!reference.runtimeLayerRoots.some((expected) => expected.equals(root))) explain(input, { id: layer.id, index: -1, place: "runtime-layer" }, result);
  }
  return result;
}

function explain(input: ContainerInput, layer: { id: string; index: number; place: FindingPlace }, result: LayerAppraisal): void {
  const known = input.layerFindings.get(layer.id);
  if (!known || known.kind === "pending") {
    result.unknown.push(create(ClaimSchema, { code: "layer-comparing", detail: `layer ${layer.index} differs; finding the files` }));
    return;
  }
  result.findings.push(...differing(known, layer, input.rules));
  if (known.truncated) {
    const summary =
      known.differences.length === 0
        ? `layer ${layer.index} is not the image's, and the node does not tell where`
        : `layer ${layer.index} differs in more than ${known.differences.length} places`;
    result.findings.push(
      finding({ place: layer.place, kind: "replaced", path: NO_PATH, differences: [], summary, layerIndex: layer.index, discriminator: layer.id }, input.rules),
    );
  }
}

type Differences = Extract<LayerFinding, { kind: "differences" }>;

/** Made once for one comparison under one set of rules: it is asked for again at every change of the container. */
const made = new WeakMap<Differences, WeakMap<ContainerRules, Map<string, readonly Finding[]>>>();

function differing(known: Differences, { place, index }: { place: FindingPlace; index: number }, rules: ContainerRules): readonly Finding[] {
  const byRules = made.get(known) ?? new WeakMap<ContainerRules, Map<string, readonly Finding[]>>();
  made.set(known, byRules);
  const byLayer = byRules.get(rules) ?? new Map<string, readonly Finding[]>();
  byRules.set(rules, byLayer);
  const key = `${place} ${index}`;
  const findings = byLayer.get(key) ?? known.differences.flatMap((each) => fileFinding({ ...each, place, layerIndex: index }, rules) ?? []);
  byLayer.set(key, findings);
  return findings;
}
