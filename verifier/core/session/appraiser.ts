/** One container's appraisal with everything it rests on looked up: image, policy, comparisons. */
import { mergedTreeId } from "@hullmark/proto/codec";
import { FilesystemKind } from "@hullmark/proto/v1/attestation";
import { Verdict } from "@hullmark/proto/v1/common";
import type { NodeRow, WorkloadRow } from "../../ports/rows.ts";
import { type AppraisalMemo, appraiseContainer, BLOCKING_CLAIMS, NO_LAYERS, type RememberedAppraisal } from "../appraisal/appraise-container.ts";
import { MERGED_TREE_ID } from "../appraisal/appraise-merged.ts";
import { POD_CLAIMS } from "../appraisal/appraise-pod.ts";
import type { ExpectedTree } from "../appraisal/descent.ts";
import { timestampMs } from "../appraisal/time.ts";
import type { ContainerAppraisal, ContainerRules, ContainerState, LayerFinding } from "../appraisal/types.ts";
import { containerOfRevision, serviceOfContainer } from "../fleet/affirmed-images.ts";
import { claimRow, claimRows, vectorRow } from "../fleet/claims.ts";
import type { DriftSubject } from "../fleet/drift-rows.ts";
import { effectiveResult } from "../fleet/effective.ts";
import type { Images, ImageView, LoadedImage } from "../images/types.ts";
import { asSpecified, type PodStanding } from "../pods/index.ts";
import { containerRules } from "../policy/match.ts";
import type { Policy } from "../policy/types.ts";
import type { Comparisons, LayerActors, TreeName } from "./comparisons.ts";

/** What appraising one node's containers needs besides their state. */
export interface AppraisalContext {
  readonly node: NodeRow;
  readonly policy: Policy;
  readonly measurementDigest: Buffer;
  readonly architecture: string;
  readonly images: Pick<Images, "view">;
  readonly comparisons: Comparisons;
  readonly actors: LayerActors;
  /** What the API server says of the container's pod; undefined: nobody asks one, or it has none. */
  readonly podStanding: PodStanding | undefined;
}

export interface AppraisedContainer {
  readonly row: WorkloadRow;
  readonly appraisal: RememberedAppraisal;
  readonly subject: DriftSubject;
  /** Image whose change means appraising again. */
  readonly imageKey: string;
  /** Trees being compared: `layer ID`, `upper`, `merged`. */
  readonly comparing: ReadonlySet<string>;
  /** False where something bars judging, so that nothing found is no proof. */
  readonly conclusive: boolean;
}

/** Compiled rules of one container under one policy. */
const compiled = new WeakMap<Policy, WeakMap<ContainerState["identity"], { readonly configDigest: string; readonly rules: ContainerRules }>>();

/** As the registry has it; until it has told, as the node does. */
function configDigestOf({ identity }: Pick<ContainerState, "identity">, view: ImageView): string {
  return view.configDigest || identity.configDigest;
}

/** @param configDigest of its image, as its results have it: an exception that was asked for from one is bound to that */
function rulesOf(policy: Policy, { identity }: ContainerState, nodeName: string, configDigest: string): ContainerRules {
  const ofPolicy = compiled.get(policy) ?? new WeakMap<ContainerState["identity"], { configDigest: string; rules: ContainerRules }>();
  compiled.set(policy, ofPolicy);
  const known = ofPolicy.get(identity);
  if (known?.configDigest === configDigest) return known.rules;
  const { imageReference, name, workload, labels } = identity;
  const rules = containerRules(policy, { imageReference, containerName: name, workload, service: serviceOf(identity), labels, nodeName, configDigest });
  ofPolicy.set(identity, { configDigest, rules });
  return rules;
}

/** @param startedMs when this container's appraisal began; it is its time in the row @param memo of its appraisal before, see appraiseContainer */
export function appraise(told: ContainerState, context: AppraisalContext, startedMs: number, memo?: AppraisalMemo): AppraisedContainer {
  const identity = asSpecified(told.identity, context.podStanding);
  const state = identity === told.identity ? told : { ...told, identity };
  const view = context.images.view({
    ...identity,
    containerName: identity.name,
    nodeName: context.node.name,
    architecture: context.architecture,
    dialect: state.filesystem.dialect,
  });
  const { findings, comparing } = compare(state, view, context);
  const input = {
    state,
    reference: "missing" in view.image ? view.image : view.image.reference,
    layerFindings: findings,
    provenance: view.provenance,
    teamProvenance: view.teamProvenance,
    rules: rulesOf(context.policy, state, context.node.name, configDigestOf(state, view)),
    measurementDigest: context.measurementDigest,
    pod: context.podStanding,
  };
  const appraisal = appraiseContainer(input, memo);
  return {
    row: { ...rowOf(state, view, appraisal, context.node, startedMs), inRevision: inRevision(context.podStanding) },
    appraisal,
    subject: subjectOf(state, view, context.node),
    imageKey: view.key,
    comparing,
    conclusive: !("missing" in view.image) && comparing.size === 0 && !appraisal.reasons.some(({ code }) => INCONCLUSIVE.has(code)),
  };
}

/** Reasons of appraiseContainer under which what is not found may still be there. */
const INCONCLUSIVE: ReadonlySet<string> = new Set([
  ...BLOCKING_CLAIMS,
  ...POD_CLAIMS,
  "policy-pending",
  "layer-comparing",
  NO_LAYERS,
  "provenance-unknown",
  "code-truncated",
  // Of what is not listed nothing is known to be gone: a flood of drifts must not resolve the one that mattered.
  "many-findings",
]);

export function treeKey(tree: TreeName): string {
  return tree.case === "layerId" ? `layer ${tree.value}` : tree.case === "upperOf" ? "upper" : "merged";
}

function compare(
  state: ContainerState,
  { image }: ImageView,
  { comparisons, actors }: AppraisalContext,
): { findings: Map<string, LayerFinding>; comparing: Set<string> } {
  const findings = new Map<string, LayerFinding>();
  const comparing = new Set<string>();
  if ("missing" in image) return { findings, comparing };
  /** @param changed name of the tree in updates that say who changed it */
  const look = (id: string, tree: TreeName, observed: Uint8Array, expected: ExpectedTree, changed = id): void => {
    const finding = comparisons.finding(tree, Buffer.from(observed), expected);
    if (finding.kind === "pending") comparing.add(treeKey(tree));
    findings.set(id, actors.named(changed, finding));
  };
  const { filesystem } = state;
  if (filesystem.kind === FilesystemKind.MERGED) {
    // Until it is measured, which a claim says, there is nothing to compare.
    if (filesystem.mergedRoot.length > 0)
      look(MERGED_TREE_ID, { case: "mergedOf", value: state.id }, filesystem.mergedRoot, image.mergedTree(), mergedTreeId(state.id));
    return { findings, comparing };
  }
  for (const { layer, expected } of differingLayers(state, image)) look(layer.id, { case: "layerId", value: layer.id }, layer.root, expected);
  return { findings, comparing };
}

function* differingLayers(
  { filesystem: { layers } }: ContainerState,
  image: LoadedImage,
): Generator<{ layer: (typeof layers)[number]; expected: ExpectedTree }> {
  const imageLayers = layers.filter(({ runtimeMade }) => !runtimeMade);
  if (imageLayers.length !== image.reference.layers.length) return;
  for (const [index, layer] of imageLayers.entries()) {
    const root = Buffer.from(layer.root);
    if ([...(image.reference.layers[index]?.roots.values() ?? [])].some((each) => each.equals(root))) continue;
    const expected = image.layerTree(index);
    if (expected) yield { layer, expected };
  }
  for (const layer of layers.filter(({ runtimeMade }) => runtimeMade)) {
    const expected = image.runtimeTree();
    if (!expected.root.equals(Buffer.from(layer.root))) yield { layer, expected };
  }
}

const NAME_CHARS = 512;
const short = (text: string): string => text.slice(0, NAME_CHARS);
const serviceOf = (identity: ContainerState["identity"]): string | undefined => serviceOfContainer(identity)?.slice(0, NAME_CHARS);

function inRevision(standing: PodStanding | undefined): WorkloadRow["inRevision"] {
  return standing?.kind === "specified" ? containerOfRevision(standing.pod, standing.container?.name ?? "") : undefined;
}

function rowOf({ id, identity }: ContainerState, view: ImageView, appraisal: ContainerAppraisal, node: NodeRow, nowMs: number): WorkloadRow {
  const appraised = { verdict: appraisal.verdict, content: appraisal.content, reasons: claimRows(appraisal.reasons) };
  const drifts = appraisal.findings.filter(({ notice }) => !notice).length;
  return {
    nodeId: node.id,
    containerId: id,
    containerName: short(identity.name),
    workload: short(identity.workload),
    imageReference: short(identity.imageReference),
    imageId: short(identity.imageId),
    configDigest: short(configDigestOf({ identity }, view)),
    manifestDigest: view.manifestDigest,
    configEqual: (identity.configDigest !== "" && identity.configDigest === view.configDigest) || undefined,
    service: serviceOf(identity),
    pinnedReference: view.pinnedReference,
    ...effectiveResult(node, appraised),
    appraised,
    provenance: view.provenanceRow,
    vector: vectorRow(appraisal.vector),
    openDrifts: drifts,
    notices: appraisal.findings.length - drifts,
    startedAtMs: identity.startedAt && timestampMs(identity.startedAt),
    appraisedAtMs: nowMs,
  };
}

function subjectOf({ id, identity }: ContainerState, view: ImageView, node: NodeRow): DriftSubject {
  return {
    nodeId: node.id,
    nodeName: node.name,
    containerId: id,
    containerName: short(identity.name),
    workload: short(identity.workload),
    service: serviceOf(identity),
    imageReference: short(identity.imageReference),
    configDigest: short(configDigestOf({ identity }, view)),
    provenance: view.provenanceRow,
    layer: (index) => {
      const layer = "missing" in view.image ? undefined : view.image.reference.layers[index];
      return { diffId: layer?.diffId ?? "", history: short(layer?.history ?? "") };
    },
  };
}

/** A container whose appraisal itself failed: neither good nor bad, and never silently skipped. */
export function unappraised(before: WorkloadRow | undefined, state: ContainerState, node: NodeRow, problem: string, nowMs: number): WorkloadRow {
  const appraised = { verdict: Verdict.UNKNOWN, content: Verdict.UNKNOWN, reasons: [claimRow("appraisal-failed", problem)] };
  const { identity } = state;
  return {
    nodeId: node.id,
    containerId: state.id,
    containerName: short(identity.name),
    workload: short(identity.workload),
    imageReference: short(identity.imageReference),
    imageId: short(identity.imageId),
    configDigest: short(identity.configDigest),
    manifestDigest: "",
    service: serviceOf(identity),
    ...effectiveResult(node, appraised),
    appraised,
    provenance: before?.provenance,
    vector: undefined,
    openDrifts: before?.openDrifts ?? 0,
    notices: before?.notices ?? 0,
    startedAtMs: identity.startedAt && timestampMs(identity.startedAt),
    appraisedAtMs: nowMs,
  };
}
