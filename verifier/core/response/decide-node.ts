/** What is to be done about one node: marked where its own verdict is contraindicated, and lifted again. Pure; whatever is not certain does nothing. */
import { compileNames } from "@hullmark/proto/codec";
import { Verdict } from "@hullmark/proto/v1/common";
import { ActionKind, ActionState, NodeMark } from "@hullmark/proto/v1/response";
import type { ActionRow, DriftRow, NodeRow } from "../../ports/rows.ts";
import { isNodeName } from "../enrolment/decide.ts";
import { isAttested } from "../fleet/census.ts";
import type { NodeMarkName, NodeResponseRule, Policy } from "../policy/types.ts";
import { HOUR_MS } from "./breaker.ts";
import { type Held, HOST_LIMITS, type Idle, isFrozen, MAX_ATTEMPTS } from "./decide.ts";
import { POISON_REASONS, poisonOf } from "./poison.ts";
import type { StandingMarks } from "./standing-marks.ts";
import { isMeasuring, UNSETTLED } from "./unsettled.ts";

/** Everything that a decision rests on. */
export interface NodeSituation {
  readonly policy: Pick<Policy, "mode" | "response">;
  readonly node: Pick<NodeRow, "id" | "name" | "verdict" | "reasons" | "revokedAtMs"> | undefined;
  /** Open ones of the node itself: not acknowledged. */
  readonly drifts: readonly DriftRow[];
  /** Open ones of its containers that are the node's fault: layers and images that it has altered. Believed while the node itself is attested. */
  readonly poison: readonly DriftRow[];
  /** Whether there was such a one since it was marked of which nothing says that it is well again. */
  readonly unhealed: boolean;
  /** Of every node, as for containers, and all that were done to nodes whose marks stand. */
  readonly history: readonly ActionRow[];
  readonly standing: ReadonlyMap<string, StandingMarks>;
  /** How many nodes there are, without revoked ones; and whether one is among them. */
  readonly members: number;
  readonly isMember: (nodeId: string) => boolean;
  /** Nodes whose actuator listens now. */
  readonly listening: readonly Pick<NodeRow, "id" | "name" | "verdict">[];
  /** The cluster whose actuator listens now; undefined: none does. */
  readonly cluster: string | undefined;
  readonly paused: boolean;
  readonly nowMs: number;
}

export interface NodeAct {
  readonly act: true;
  readonly kind: ActionKind.MARK_NODE | ActionKind.LIFT_NODE;
  readonly node: Pick<NodeRow, "id" | "name">;
  readonly marks: readonly NodeMark[];
  /** Empty for a lift. */
  readonly reason: string;
  /** undefined: the node was revoked, or is lifted. */
  readonly drift: DriftRow | undefined;
  /** Unix milliseconds: what was asked for, or said of it, before that was about something else. */
  readonly sinceMs: number;
  readonly rule: string;
  readonly approvals: number;
  /** undefined in a dry run where nobody listens. */
  readonly actuator: Actuator | undefined;
}
type Actuator = NonNullable<NonNullable<ActionRow["node"]>["actuator"]>;
export type NodeDecision = { readonly act: false; readonly why: Idle | Held } | NodeAct;

const MARKS: Readonly<Record<NodeMarkName, NodeMark>> = { label: NodeMark.LABEL, taint: NodeMark.TAINT, cordon: NodeMark.CORDON };
const REVOKED = "revoked";
const FRUITLESS: ReadonlySet<ActionState> = new Set([ActionState.FAILED, ActionState.REFUSED, ActionState.EXPIRED]);

/** The rule that decides on a node of this name; undefined: none does. */
export function nodeRuleFor({ response }: Pick<Policy, "response">, nodeName: string): NodeResponseRule | undefined {
  return response.nodes.rules.find(({ nodes }) => nodes.length === 0 || compileNames(nodes)(nodeName));
}

/** Whether policy does anything about a contradiction of this code. */
export function counts({ reasons }: Pick<NodeResponseRule, "reasons">, code: string): boolean {
  return reasons.length === 0 || reasons.includes(code);
}

/** @param own an action that is decided on again, and must not stand in its own way */
export function decideNode(situation: NodeSituation, own?: ActionRow): NodeDecision {
  const { policy, node } = situation;
  if (policy.mode === "observe") return idle("observe");
  // A name that no scheduler could have is none that an actuator is handed.
  if (!node || !isNodeName(node.name)) return idle("gone");
  const others = situation.history.filter((each) => each.node && each.id !== own?.id);
  const found = isBad(situation, node) ? toMark(situation, node, others) : isAttested(node.verdict) ? toLift(situation, node) : "not-contradicted";
  if (typeof found === "string") return idle(found);
  const past = pastOf(others, found, policy.mode === "dry-run");
  if (past) return idle(past);
  const held = heldBy(situation, others, found);
  return held ? idle(held) : found;
}

/** What its containers tell of it counts while nothing speaks against the node itself; of one that is stale or unreachable nothing does. */
function isBad({ policy, poison }: NodeSituation, { verdict, name }: Node): boolean {
  if (verdict === Verdict.CONTRAINDICATED) return true;
  const rule = nodeRuleFor(policy, name);
  return isAttested(verdict) && rule !== undefined && poison.some((each) => counts(rule, reasonOf(each)));
}

function reasonOf(drift: DriftRow): string {
  return poisonOf(drift) ?? drift.kind;
}

function idle(why: Idle | Held): NodeDecision {
  return { act: false, why };
}

type Node = NonNullable<NodeSituation["node"]>;

function toMark(situation: NodeSituation, node: Node, others: readonly ActionRow[]): NodeAct | Idle {
  const rule = nodeRuleFor(situation.policy, node.name);
  if (!rule) return "no-rule";
  const against = node.verdict === Verdict.CONTRAINDICATED ? situation.drifts : situation.poison;
  const [drift] = against.filter((each) => counts(rule, reasonOf(each))).toSorted((a, b) => b.severity - a.severity || a.number - b.number);
  const revoked = node.revokedAtMs !== undefined && counts(rule, REVOKED);
  if (!drift && !revoked) return "no-drift";
  if (rule.marks.length === 0) return "alert";
  // A revocation is a cause of its own, and each anew.
  const asked = { kind: ActionKind.MARK_NODE, drift, sinceMs: (revoked && node.revokedAtMs) || 0 } as const;
  // What was there already when it was asked for is somebody else's, and not asked for again for the same.
  const there = others.filter((each) => each.nodeId === node.id && each.state === ActionState.DONE && isForSame(each, asked));
  const standing = [
    ...(situation.standing.get(node.id)?.marks ?? []),
    ...there.flatMap((each) => each.node?.marks.filter((mark) => !each.node?.done.includes(mark)) ?? []),
  ];
  const marks = rule.marks.map((name) => MARKS[name]).filter((mark) => !standing.includes(mark));
  if (marks.length === 0) return "contained";
  const actuator = rule.cluster ? ofCluster(situation.cluster) : actuatorFor(situation, node.id, compileNames(rule.actuators));
  const { name, approvals } = rule;
  return { act: true, ...asked, node, marks, reason: drift ? reasonOf(drift) : REVOKED, rule: name, approvals, actuator };
}

function isForSame({ kind, driftId, createdAtMs }: ActionRow, asked: Pick<NodeAct, "kind" | "drift" | "sinceMs">): boolean {
  return kind === asked.kind && driftId === (asked.drift?.id ?? "") && createdAtMs >= asked.sinceMs;
}

/** Whoever put marks on takes them away: it alone knows that they are its own. */
function toLift(situation: NodeSituation, node: Node): NodeAct | Idle {
  const [first] = situation.standing.get(node.id)?.actions ?? [];
  const by = first?.node?.actuator;
  if (!first || !by) return "not-contradicted";
  const rule = nodeRuleFor(situation.policy, node.name);
  // What it would be given to run could be the same again. Where no rule is left that counts it, people are asked.
  if (situation.unhealed && rule && POISON_REASONS.some((reason) => counts(rule, reason))) return "not-measured";
  // The same measurement ends a purge and lifts its node, in this order, also where it came after somebody looked for the one and before for the other.
  if (situation.history.some((each) => each.nodeId === node.id && isMeasuring(each))) return "not-measured";
  const standing = situation.standing.get(node.id);
  const marks = (standing?.marks ?? []).filter((mark) => standing?.actions.some((each) => isSame(each.node?.actuator, by) && each.node?.done.includes(mark)));
  const approvals = rule?.lift === "automatic" ? 0 : Math.max(1, rule?.approvals ?? 1);
  const there = by.cluster === situation.cluster ? ofCluster(situation.cluster) : undefined;
  const actuator = by.cluster === undefined ? actuatorFor(situation, node.id, (name) => name === by.name) : there;
  return { act: true, kind: ActionKind.LIFT_NODE, node, marks, reason: "", drift: undefined, sinceMs: 0, rule: rule?.name ?? first.rule, approvals, actuator };
}

function isSame(one: Actuator | undefined, { nodeId, cluster }: Actuator): boolean {
  return one?.nodeId === nodeId && one.cluster === cluster;
}

function ofCluster(cluster: string | undefined): Actuator | undefined {
  return cluster === undefined ? undefined : { nodeId: "", name: `cluster ${cluster}`, cluster };
}

/** One that listens, of a node that is believed itself; never the node's own. */
function actuatorFor({ listening, isMember }: NodeSituation, nodeId: string, named: (name: string) => boolean): NodeAct["actuator"] {
  const [found] = listening
    .filter(({ id, name, verdict }) => id !== nodeId && isMember(id) && isAttested(verdict) && named(name))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return found && { nodeId: found.id, name: found.name };
}

function pastOf(others: readonly ActionRow[], act: NodeAct, dryRun: boolean): Idle | "given-up" | undefined {
  const same = others.filter((each) => each.nodeId === act.node.id);
  if (same.some(({ state }) => UNSETTLED.has(state))) return "under-way";
  const asked = same.filter((each) => isForSame(each, act) && act.marks.every((mark) => each.node?.marks.includes(mark)));
  // A lift names no drift: what people or an actuator said of one before the node was marked anew is of another.
  const marked = Math.max(0, ...same.filter((each) => each.kind === ActionKind.MARK_NODE && each.state === ActionState.DONE).map(({ number }) => number));
  const now = act.kind === ActionKind.LIFT_NODE ? asked.filter(({ number }) => number > marked) : asked;
  if (now.some(({ state }) => state === ActionState.DENIED)) return "denied";
  if (dryRun && now.some(({ state }) => state === ActionState.DRY_RUN)) return "told";
  const fruitless = now.filter((each) => FRUITLESS.has(each.state) && !(each.state === ActionState.REFUSED && HOST_LIMITS.has(each.reason)));
  return fruitless.length >= MAX_ATTEMPTS ? "given-up" : undefined;
}

function heldBy(
  { policy, paused, members, isMember, standing, nowMs }: NodeSituation,
  others: readonly ActionRow[],
  { kind, node, actuator }: NodeAct,
): Held | undefined {
  if (paused) return "paused";
  const { pauseSeconds, nodes: limits } = policy.response;
  if (isFrozen(policy, nowMs)) return "frozen";
  if (!actuator && policy.mode === "enforce") return "no-actuator";
  const dryRun = policy.mode === "dry-run";
  const begun = others.flatMap((each) => {
    const atMs = each.issuedAtMs ?? (dryRun && each.state === ActionState.DRY_RUN ? each.createdAtMs : undefined);
    return atMs === undefined ? [] : [{ nodeId: each.nodeId, kind: each.kind, state: each.state, atMs }];
  });
  if (begun.some((each) => each.nodeId === node.id && nowMs - each.atMs < pauseSeconds * 1000)) return "cooling-down";
  if (kind === ActionKind.LIFT_NODE) return undefined;
  const share = (percent: number): number => Math.max(1, Math.floor((members * percent) / 100));
  const marked = begun.filter((each) => each.kind === ActionKind.MARK_NODE);
  if (marked.filter(({ atMs }) => nowMs - atMs < HOUR_MS).length >= share(limits.hourlyPercent)) return "breaker";
  // A node that is marked already may be marked further; one that is gone for good takes nobody's place.
  const atOnce = new Set([
    ...standing.keys(),
    ...marked.filter(({ state }) => UNSETTLED.has(state) || state === ActionState.DRY_RUN).map(({ nodeId }) => nodeId),
  ]);
  const elsewhere = [...atOnce].filter((id) => id !== node.id && isMember(id));
  return elsewhere.length >= share(limits.atOncePercent) ? "breaker" : undefined;
}
