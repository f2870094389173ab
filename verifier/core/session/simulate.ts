/** What another policy would say of what runs now, held against what the one in force says. Nothing changes by it, and nothing is asked of a node. */
import { Verdict } from "@hullmark/proto/v1/common";
import { ProvenanceStatus } from "@hullmark/proto/v1/query";
import type { NodeRow, WorkloadRow } from "../../ports/rows.ts";
import type { Finding } from "../appraisal/types.ts";
import type { Images, ImagesUnder } from "../images/types.ts";
import { PROVENANCE_KINDS } from "../policy/kinds.ts";
import { matchRule } from "../policy/match.ts";
import type { Policy } from "../policy/types.ts";
import type { AppraisedContainer } from "./appraiser.ts";
import type { Simulated } from "./live-node.ts";
import type { Session } from "./session.ts";

export interface SimulationServices {
  /** Live sessions as of now. */
  readonly sessions: () => readonly Session[];
  readonly policy: () => Policy;
  readonly images: { view: Images["view"]; under(policy: Policy, signal: AbortSignal): Promise<ImagesUnder> };
  readonly nowMs: () => number;
  /** Lets others have their turn: called between two containers. */
  readonly pause: () => Promise<void>;
  /** A container could not be judged: a defect, to be logged with its cause. */
  readonly onProblem: (nodeId: string, containerId: string, error: unknown) => void;
}

/** A finding that is there under one policy only, or otherwise under the other. */
export interface ChangedFinding {
  readonly before: Finding | undefined;
  readonly after: Finding | undefined;
}

/** What one policy says of a container. */
export interface Said {
  readonly row: WorkloadRow;
  /** Name of the rule that decides; empty: none selects it. */
  readonly rule: string;
}

export interface ChangedContainer {
  readonly node: NodeRow;
  readonly before: Said;
  readonly after: Said;
  /** The first {@link MAX_CHANGED_FINDINGS}, gravest first. */
  readonly findings: readonly ChangedFinding[];
  /** All of them. */
  readonly findingsChanged: number;
}

export const MAX_CHANGED_FINDINGS = 20;

/** What the policies make of an image: whether each finds what it asks for. */
export interface JudgedImage {
  readonly reference: string;
  /** `NAMESPACE/POD/CONTAINER` of one that runs it, or an engine's own name. */
  readonly containerName: string;
  readonly workload: string;
  readonly nodeName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly before: ImageWord;
  readonly after: ImageWord;
}
export type ImageWord = "accepted" | "refused" | "unknown";

export interface Simulation {
  /** Judged under both policies. */
  readonly containers: number;
  /** That could not be judged. */
  readonly failed: number;
  /** Of which cannot be told what the policy would say: its verdict or provenance would be unknown, or whether an index is theirs that it revokes, or layers would be read first. */
  readonly unknown: number;
  /** Of those, whose files are known by a file manifest that would count no more, and who signed such. */
  readonly forsaken: { readonly containers: number; readonly by: ReadonlySet<string> };
  /** `nodeId/containerId` of what was judged under both, and could be: what is not found there is not there. */
  readonly judged: ReadonlySet<string>;
  /** By config digest and workload, what runs now. */
  readonly images: ReadonlyMap<string, JudgedImage>;
  /** Every container of which the policies do not say the same; gravest first. Verdicts are the containers' own, whatever their nodes' are. */
  readonly changed: readonly ChangedContainer[];
  readonly nodes: number;
  /** Nodes whose own verdict, or a finding of whose boot, is another. */
  readonly changedNodes: readonly { readonly before: NodeRow; readonly after: NodeRow }[];
  /** Nodes whose agents would measure other paths: what they leave out now cannot be judged before the policy is in force. */
  readonly remeasured: number;
}

/**
 * @param policy as it would be in force
 * @param maxFindings of one container that are told
 * @throws the signal's reason
 */
export async function simulatePolicy(
  policy: Policy,
  services: SimulationServices,
  signal: AbortSignal,
  maxFindings: number = MAX_CHANGED_FINDINGS,
): Promise<Simulation> {
  const images = await services.images.under(policy, signal);
  const after = { policy, images };
  const before = { policy: services.policy(), images: services.images };
  const changed: ChangedContainer[] = [];
  const changedNodes: { before: NodeRow; after: NodeRow }[] = [];
  const judged = new Set<string>();
  const seen = new Map<string, JudgedImage>();
  const by = new Set<string>();
  let [containers, failed, unknown, forsaken, nodes, remeasured] = [0, 0, 0, 0, 0, 0];
  for (const session of services.sessions()) {
    nodes++;
    const [now, then] = [before, after].map(({ policy: of }) => session.simulateNode(of, services.nowMs()));
    if (then?.remeasured && !now?.remeasured) remeasured++;
    if (now && then && !sameNode(now.row, then.row)) changedNodes.push({ before: now.row, after: then.row });
    for (const id of [...session.live.memory.containers.keys()]) {
      await services.pause();
      signal.throwIfAborted();
      try {
        const found = simulateContainer(session, id, before, after, services.nowMs(), maxFindings);
        if (found === undefined) continue;
        containers++;
        if (found.would.conclusive) judged.add(`${session.nodeId}/${id}`);
        seen.set(`${found.would.row.configDigest} ${found.would.row.workload}`, found.image);
        const { imageKey } = found.would;
        const dropped = images.forsaken.get(imageKey);
        if (dropped) forsaken++;
        for (const name of dropped ?? []) by.add(name);
        if (dropped || isUnknown(found.would.row) || images.untold.has(imageKey)) unknown++;
        if (found.change) changed.push(found.change);
      } catch (error) {
        failed++;
        services.onProblem(session.nodeId, id, error);
      }
    }
  }
  changed.sort((a, b) => gravity(b.after) - gravity(a.after) || gravity(b.before) - gravity(a.before));
  return { containers, failed, unknown, forsaken: { containers: forsaken, by }, judged, images: seen, changed, nodes, changedNodes, remeasured };
}

/** @returns undefined where there is no such container any more */
function simulateContainer(
  session: Session,
  id: string,
  before: Simulated,
  after: Simulated,
  nowMs: number,
  maxFindings: number,
): { readonly would: AppraisedContainer; readonly image: JudgedImage; readonly change: ChangedContainer | undefined } | undefined {
  const { node, memory } = session.live;
  const identity = memory.containers.get(id)?.identity;
  const [is, would] = [before, after].map((under) => session.simulate(id, under, nowMs));
  if (!identity || !is || !would) return undefined;
  const { name: containerName, workload, labels } = identity;
  // By the name under which it was judged, which is not always the node's own.
  const { imageReference } = is.row;
  const image = { reference: imageReference, containerName, workload, labels, nodeName: node.name, before: imageWord(is), after: imageWord(would) };
  const findings = changedFindings(is.appraisal.findings, would.appraisal.findings);
  if (findings.length === 0 && sameResult(is.row, would.row)) return { would, image, change: undefined };
  const subject = { imageReference, containerName, workload, labels, nodeName: node.name };
  const said = ({ policy }: Simulated, row: WorkloadRow): Said => ({ row, rule: matchRule(policy, subject)?.name ?? "" });
  const results = { node, before: said(before, is.row), after: said(after, would.row) };
  return { would, image, change: { ...results, findings: findings.slice(0, maxFindings), findingsChanged: findings.length } };
}

function imageWord({ row, appraisal }: AppraisedContainer): ImageWord {
  if (appraisal.findings.some(({ place, kind }) => place === "image" && PROVENANCE.has(kind))) return "refused";
  return row.provenance?.status === ProvenanceStatus.UNKNOWN ? "unknown" : "accepted";
}

const PROVENANCE: ReadonlySet<string> = new Set(PROVENANCE_KINDS);

/** Findings by their key: gone, new, or of another kind or severity. Gravest first as they would be. */
export function changedFindings(before: readonly Finding[], after: readonly Finding[]): readonly ChangedFinding[] {
  const was = new Map(before.map((finding) => [finding.key, finding]));
  const changed: ChangedFinding[] = [];
  for (const finding of after) {
    const known = was.get(finding.key);
    was.delete(finding.key);
    if (known?.severity !== finding.severity || known.kind !== finding.kind || known.notice !== finding.notice) changed.push({ before: known, after: finding });
  }
  for (const finding of was.values()) changed.push({ before: finding, after: undefined });
  return changed.sort((a, b) => (b.after?.severity ?? 0) - (a.after?.severity ?? 0) || (b.before?.severity ?? 0) - (a.before?.severity ?? 0));
}

function sameResult(a: WorkloadRow, b: WorkloadRow): boolean {
  return a.appraised.verdict === b.appraised.verdict && a.appraised.content === b.appraised.content && a.provenance?.status === b.provenance?.status;
}

function isUnknown({ appraised, provenance }: WorkloadRow): boolean {
  return appraised.verdict === Verdict.UNKNOWN || provenance?.status === ProvenanceStatus.UNKNOWN;
}

function sameNode(a: NodeRow, b: NodeRow): boolean {
  const keys = ({ boot }: NodeRow): string => JSON.stringify([boot?.findings.map(({ kind, what }) => [kind, what]), boot?.unknown.map(({ code }) => code)]);
  return a.verdict === b.verdict && keys(a) === keys(b);
}

const GRAVITY: Readonly<Record<Verdict, number>> = {
  [Verdict.CONTRAINDICATED]: 3,
  [Verdict.UNKNOWN]: 2,
  [Verdict.WARNING]: 1,
  [Verdict.AFFIRMING]: 0,
  [Verdict.UNSPECIFIED]: 0,
};

function gravity({ row }: Said): number {
  return GRAVITY[row.appraised.verdict];
}
