/** What is to be done about one container: from results, policy and what was done before. Pure; whatever is not certain does nothing. */
import { Verdict } from "@hullmark/proto/v1/common";
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow, DriftRow, EarlierImage, NodeRow, PodTarget, RolloutTarget, WorkloadRow } from "../../ports/rows.ts";
import { selects } from "../policy/match.ts";
import type { Policy, ResponseRule, Rung } from "../policy/types.ts";
import { countsAtMs, countsNow, overLimit } from "./breaker.ts";
import { isWaitOver, UNCAPTURED } from "./capture-missed.ts";
import { type Cause, causeOf, HEALS, SEVERITY_OF } from "./causes.ts";
import { endsEviction, isBudgetWaitOver, isForbiddenByBudget, isInPod } from "./eviction.ts";
import { endsIsolation, restsOn, withoutUndone } from "./isolation.ts";
import {
  endsRollback,
  haltable,
  isAsScanned,
  isRefusedForRisk,
  isRiskRefusal,
  isUndone,
  isVerifiedByAnotherName,
  type RiskRefusal,
  type Rollback,
  rollbackOf,
  rolloutOf,
} from "./rollback.ts";
import { type ActingRung, approvalsOf, KIND_OF } from "./rungs.ts";
import { UNSETTLED } from "./unsettled.ts";

/** Everything that a decision rests on. */
export interface Situation {
  readonly policy: Pick<Policy, "mode" | "response">;
  readonly node: Pick<NodeRow, "name" | "verdict" | "revokedAtMs"> | undefined;
  readonly workload: WorkloadRow | undefined;
  /** Open ones of this container: neither acknowledged nor notices. */
  readonly drifts: readonly DriftRow[];
  /** Of every node, the last {@link HISTORY_MS}, and all that are not settled; those on nodes themselves say nothing here. */
  readonly history: readonly ActionRow[];
  /** For how long it has been unmeasurable by its own doing ({@link isOverBudget}), in milliseconds; undefined: it is not. */
  readonly overBudgetMs: number | undefined;
  /** Where the service could go back to; undefined: not known now. */
  readonly rollback: Rollback | undefined;
  /** The pod that the container is of, where the verifier watches its cluster; undefined: not known now. */
  readonly pod: PodTarget | "none" | undefined;
  /** Attested nodes that tell of this image in this workload of pods, where it is not trusted. */
  readonly witnesses: number;
  /** Hullmark has cordoned or tainted the node: what is evicted comes back elsewhere. */
  readonly cordoned: boolean;
  readonly paused: boolean;
  /** One listens that could carry it out: on the node, or, of a pod, in the cluster. */
  readonly actuator: (ofPod: boolean) => boolean;
  /** All that are known, of every node, without sandboxes. */
  readonly containers: number;
  readonly nowMs: number;
}

/** Drift that returns within this time climbs the ladder. */
export const HISTORY_MS = 86_400_000;
/** Attempts on one container that came to nothing, and turns of the last rung on a service whose drift returns, after which people are waited for. */
export const MAX_ATTEMPTS = 3;

/** May change by time, by another action's end or by what people do: looked at again. */
export const HELD = [
  "node-not-attested",
  "looking-up",
  "paused",
  "frozen",
  "no-actuator",
  "cooling-down",
  "breaker",
  "recurring",
  "given-up",
  "containment-failed",
  "isolated",
  "one-node",
  "same-image",
  "higher-risk",
  "settling",
  "storage",
] as const;
export type Held = (typeof HELD)[number];
export type Idle =
  | "observe"
  /** Of an action that was asked for under a policy that acts. */
  | "dry-run"
  | "gone"
  | "not-contradicted"
  | "no-drift"
  | "no-rule"
  | "node-cause"
  | "alert"
  | "denied"
  | "under-way"
  | "contained"
  | "released"
  | "told"
  | "too-many-drifts"
  | "not-measured";

export type Decision =
  | { readonly act: false; readonly why: Idle | Held }
  | {
      readonly act: true;
      readonly kind: ActionKind;
      /** undefined: it is acted on for being unmeasurable. */
      readonly drift: DriftRow | undefined;
      readonly rule: ResponseRule;
      readonly workload: WorkloadRow;
      /** Of a rollback, one of the two: on a host, or of pods. Of a halt the latter. */
      readonly target: EarlierImage | undefined;
      readonly rollout: RolloutTarget | undefined;
      readonly pod: PodTarget | undefined;
      /** Of a rollback that is not done, since all that could be gone back to has a higher risk than what runs: why. It is on record as refused, and is decided on anew then. */
      readonly refusal?: string | undefined;
    };

const FRUITLESS: ReadonlySet<ActionState> = new Set([ActionState.FAILED, ActionState.REFUSED, ActionState.EXPIRED]);

const ROLLOUTS: ReadonlySet<ActionKind> = new Set([ActionKind.ROLLBACK, ActionKind.HALT]);

/** Something else runs then, which can drift again. */
const REPLACING: ReadonlySet<Rung> = new Set(["recreate", "evict"]);

/** A host's own limits held an action back: that passes, and says nothing about the container. */
export const HOST_LIMITS: ReadonlySet<string> = new Set(["breaker", "cooling-down", "terminating"]);

type OfService = Pick<WorkloadRow, "nodeId" | "workload" | "containerName" | "service">;

/** One service, whichever container stands for it now: on one node, or, where it runs in pods, in the cluster. Those of one name in two Compose projects are two. */
export function serviceOf(row: OfService): string {
  return row.service === undefined || isInPod(row.containerName) ? nameOfService(row) : `${row.nodeId}/${row.service}`;
}

/** By its name alone, whichever project it is of. */
export function nameOfService({ nodeId, workload, containerName }: Omit<OfService, "service">): string {
  if (isInPod(containerName) && workload) return `pods of ${workload}`;
  return `${nodeId}/${workload || containerName}`;
}

/** Rows of before do not say of which project they are: they count for each that has a service of that name. */
export function isOfService(row: OfService, other: OfService): boolean {
  const unsaid = row.service === undefined || other.service === undefined;
  return unsaid ? nameOfService(row) === nameOfService(other) : serviceOf(row) === serviceOf(other);
}

/** What may stand beside it: none of these says that something is still to come, or that the node failed. */
const BESIDE: ReadonlySet<string> = new Set([
  "unmeasurable",
  "over-budget",
  "code-truncated",
  "processes-truncated",
  "no-policy",
  "many-findings",
  "exception",
]);

/** Those that hold now. */
export function freezesNow({ response }: Pick<Policy, "response">, nowMs: number): Policy["response"]["freezes"] {
  return response.freezes.filter(({ fromMs, untilMs }) => fromMs <= nowMs && nowMs < untilMs);
}

export function isFrozen(policy: Pick<Policy, "response">, nowMs: number): boolean {
  return freezesNow(policy, nowMs).length > 0;
}

/** Nobody can tell what is in the container, by its own doing and for no other reason. */
export function isOverBudget({ verdict, appraised }: Pick<WorkloadRow, "verdict" | "appraised">): boolean {
  if (verdict !== Verdict.UNKNOWN || appraised.verdict !== Verdict.UNKNOWN) return false;
  const codes = appraised.reasons.map(({ code }) => code);
  return codes.includes("over-budget") && codes.every((code) => BESIDE.has(code) || (code.startsWith("provenance-") && code !== "provenance-unknown"));
}

/** Nothing says that it is right by now: a verifier that began anew looks its image up first, and what was found stays found meanwhile. */
function isStillOpen(drifts: readonly DriftRow[], { appraised }: WorkloadRow): boolean {
  return drifts.length > 0 && appraised.verdict === Verdict.UNKNOWN;
}

/** @param own an action that is decided on again, and must not stand in its own way; it waits while nobody can say what its container is like */
export function decide(situation: Situation, own?: ActionRow): Decision {
  const idle = (why: Idle | Held): Decision => ({ act: false, why });
  const { policy, node, workload, drifts } = situation;
  if (policy.mode === "observe") return idle("observe");
  if (!node || !workload) return idle("gone");
  if (node.revokedAtMs !== undefined || (node.verdict !== Verdict.AFFIRMING && node.verdict !== Verdict.WARNING)) return idle("node-not-attested");
  const contradicted = workload.verdict === Verdict.CONTRAINDICATED && workload.appraised.verdict === Verdict.CONTRAINDICATED;
  const overBudgetMs = isOverBudget(workload) ? situation.overBudgetMs : undefined;
  const unsaid = !contradicted && overBudgetMs === undefined;
  const awaited = unsaid && own !== undefined && isStillOpen(situation.drifts, workload);
  if (unsaid && !awaited) return idle("not-contradicted");
  if (contradicted && drifts.length === 0) return idle("no-drift");
  const rule = policy.response.rules.find(({ select }) => selects({ ...select, labels: {} }, { ...workload, labels: {}, nodeName: node.name }));
  const ofNode = drifts.some((drift) => causeOf(drift) === "node");
  if (ofNode && !(situation.cordoned && rule?.node.includes("evict"))) return idle("node-cause");
  if (!rule) return idle("no-rule");
  if (awaited) return idle("looking-up");
  const all = situation.history.filter(({ id, node: onNode }) => id !== own?.id && !onNode);
  const rests = restsOn({ ...workload, unmeasurable: !contradicted }, drifts, all, rule, situation.nowMs);
  if (rests) return idle(rests);
  // Filling its writable layer ends nothing that waits for what was found before: until what that is answered with is due, it waits on.
  const hides = !contradicted && own !== undefined && own.driftId !== "" && isStillOpen(drifts, workload);
  const history = withoutUndone(all);
  // What is isolated for longer counts for itself alone.
  const counted = history.filter(({ createdAtMs, containerId }) => situation.nowMs - createdAtMs <= HISTORY_MS || containerId === workload.containerId);
  const ended = counted.filter((each) => (each.state === ActionState.DONE || isUndone(each)) && isOfService(each, workload));
  const done = ended.filter(({ state }) => state === ActionState.DONE);
  // One of another image would be started as this one was; what makes pods is put back as a whole.
  const misconfigured = situation.pod === "none" && drifts.some((drift) => causeOf(drift) === "configuration");
  const budgetIsOver = isBudgetWaitOver(rule.budget, workload, drifts, history, situation.nowMs);
  const found = rungFor(rule, contradicted ? drifts : [], done, {
    inPod: situation.pod !== "none",
    target: misconfigured ? "none" : targetOf(situation, workload, history, rule),
    evictable: situation.pod !== "none" && !endsEviction(workload, history) && !(budgetIsOver && rule.budget.denied === "next"),
    isolable: !endsIsolation(workload, history),
    rollouts: ended.filter(({ rollout }) => rollout).length,
    haltable: situation.pod === "none" ? undefined : haltable(situation.rollback, workload, history),
  });
  if (!found) return idle(hides ? "looking-up" : leftFor(situation, rule, drifts, workload, history));
  const kind = KIND_OF[found.rung];
  const stops = kind === ActionKind.STOP ? stopsOf(history, workload) : [];
  const again = runsAgain(stops, contradicted ? drifts : []);
  const before = again ? history.filter((each) => !stops.includes(each)) : history;
  const past = pastOf(before, workload, kind, found.drift, policy.mode === "dry-run");
  if (past) return idle(hides && past !== "given-up" ? "looking-up" : past);
  if (found.rung === "evict" && budgetIsOver) return idle("given-up");
  if (found.target && "refused" in found.target) return refusedFor(found.target, situation.pod, { kind, drift: found.drift, rule, workload });
  const { target } = found;
  if (waitsToCapture(history, workload, situation.nowMs)) return idle("cooling-down");
  if (!contradicted && (overBudgetMs ?? 0) < rule.unmeasurableAfterSeconds * 1000) return idle("settling");
  const rollout = target && "revisions" in target ? target : undefined;
  const byPod = found.rung === "evict" || rollout !== undefined || (found.rung === "isolate" && situation.pod !== "none");
  const pod = byPod && situation.pod !== "none" ? situation.pod : undefined;
  if (((found.rung === "rollback" || found.rung === "halt") && !target) || (byPod && !pod)) return idle("looking-up");
  // It goes by itself; until it has gone it can be cut off, and nothing else.
  if (pod?.ending && found.rung !== "isolate") return idle("looking-up");
  if (rollout && pod && !isVouchedFor(situation, rule, kind, pod)) return idle("one-node");
  // What is captured first was within the limits when that began, and counts in them for an hour: so long it does not wait for them again, where there are fewer containers by now.
  const limited = own?.state === ActionState.CAPTURING && countsNow(own, situation.nowMs) ? undefined : all;
  const held = heldBy(situation, pod !== undefined, limited, workload) ?? (found.recurring || stops.length >= MAX_ATTEMPTS ? "recurring" : undefined);
  if (held) return idle(held);
  return { act: true, kind, drift: found.drift, rule, workload, target: target && !("revisions" in target) ? target : undefined, rollout, pod };
}

/** What concerns all pods of a workload is done on no single node's word: by the API server's and the verifier's own, another node's, or people's. */
function isVouchedFor({ witnesses }: Situation, rule: ResponseRule, kind: ActionKind, { named }: PodTarget): boolean {
  return rule.rollbackOnOneNode || approvalsOf(rule, kind) > 0 || named === true || witnesses > 1;
}

/** Why nothing is done about it: it would be rolled back, were what is verified another image, or of no higher risk; else there is no rung. */
function leftFor(
  { rollback }: Situation,
  { untrusted }: ResponseRule,
  drifts: readonly DriftRow[],
  workload: WorkloadRow,
  history: readonly ActionRow[],
): "same-image" | "higher-risk" | "alert" {
  if (!rollback || rollback.never || !untrusted.includes("rollback")) return "alert";
  if (!drifts.some((drift) => causeOf(drift) === "untrusted")) return "alert";
  if (isVerifiedByAnotherName(rollback, workload)) return "same-image";
  return isAsScanned(drifts) && isRefusedForRisk(workload, history) ? "higher-risk" : "alert";
}

function refusedFor(
  { refused, of }: RiskRefusal,
  pod: Situation["pod"],
  what: Pick<Extract<Decision, { act: true }>, "kind" | "drift" | "rule" | "workload">,
): Decision {
  const rollout = "revisions" in of ? of : undefined;
  if (rollout && typeof pod !== "object") return { act: false, why: "looking-up" };
  const ofPods = rollout && typeof pod === "object" ? pod : undefined;
  return { act: true, ...what, target: "revisions" in of ? undefined : of, rollout, pod: ofPods, refusal: refused };
}

type Target = EarlierImage | RolloutTarget;

function targetOf(
  { rollback, pod, drifts }: Situation,
  workload: WorkloadRow,
  history: readonly ActionRow[],
  { rollbackToHigherRisk }: ResponseRule,
): Target | RiskRefusal | "looking-up" | "none" {
  const anyRisk = rollbackToHigherRisk || !isAsScanned(drifts);
  if (pod === "none") return rollbackOf(rollback, workload, history, anyRisk);
  return rollback ? rolloutOf(rollback, workload, history, anyRisk) : "looking-up";
}

interface Found {
  readonly rung: ActingRung;
  /** undefined: it is unmeasurable. */
  readonly drift: DriftRow | undefined;
  /** Of a rollback; undefined: whether there is one is being looked up. Of a halt what is halted, with no revision; undefined: whether there is something to go back to. */
  readonly target: Target | RiskRefusal | undefined;
  /** What is replaced has drifted again as often as the last rung is tried. */
  readonly recurring: boolean;
}

interface Possible {
  readonly inPod: boolean;
  /** "none": it cannot be rolled back. */
  readonly target: ReturnType<typeof targetOf>;
  readonly evictable: boolean;
  readonly isolable: boolean;
  /** Rollbacks and halts of what makes the pod that were done, those among them that somebody took back at once. */
  readonly rollouts: number;
  /** What makes the pod, and can be scaled to none; undefined: nothing. */
  readonly haltable: ReturnType<typeof haltable>;
}

/**
 * The rung for the gravest drift, of the oldest number where several are; undefined: nothing beyond telling, or nothing that would heal.
 * @param done actions on the service @param possible where a rung is not, the one after it is meant
 */
function rungFor(rule: ResponseRule, drifts: readonly DriftRow[], done: readonly ActionRow[], possible: Possible): Found | undefined {
  // What is the node's, then what is untrusted, goes before all else: it says what would come in its place.
  const first = (["node", "untrusted"] as const).map((cause) => drifts.filter((drift) => causeOf(drift) === cause)).find(({ length }) => length > 0);
  const [drift] = (first ?? drifts).toSorted((a, b) => b.severity - a.severity || a.number - b.number);
  const cause = drift ? causeOf(drift) : "unmeasurable";
  const rungs = rungsFor(rule, cause, drift);
  // Another bad image of a workload is no return of the one before, and what can be rolled back is not halted for having been rolled back once.
  const turns = cause === "untrusted" && possible.inPod;
  const due = turns ? rungs : rungs.slice(Math.min(done.length, rungs.length - 1));
  const rung = due.find((each) => isPossible(each, possible)) ?? "alert";
  if (rung === "alert" || !HEALS[cause].includes(rung)) return undefined;
  const tried = turns ? possible.rollouts : done.length - (rungs.length - 1);
  const recurring = (turns || REPLACING.has(rung)) && tried >= MAX_ATTEMPTS;
  return { rung, drift, target: aimOf(rung, possible, due.includes("rollback")), recurring };
}

function rungsFor(rule: ResponseRule, cause: Cause, drift: DriftRow | undefined): readonly Rung[] {
  if (cause === "node" || cause === "untrusted" || cause === "unmeasurable") return rule[cause];
  const severity = SEVERITY_OF[drift?.severity ?? 0];
  return (severity && rule.ladder[severity]) ?? [];
}

function isPossible(rung: Rung, { target, evictable, isolable, haltable: toHalt }: Possible): boolean {
  if (rung === "rollback") return target !== "none";
  if (rung === "isolate") return isolable;
  return rung === "evict" ? evictable : rung !== "halt" || toHalt !== undefined;
}

/** @param wouldGoBack a rollback is wanted where one is possible: while that is not certain nothing is halted */
function aimOf(rung: Rung, { target, haltable: toHalt }: Possible, wouldGoBack: boolean): Target | RiskRefusal | undefined {
  if (rung === "halt") return toHalt && !(wouldGoBack && toHalt.mayGoBack) ? { owner: toHalt.owner, revisions: [] } : undefined;
  return rung === "rollback" && typeof target === "object" ? target : undefined;
}

/** What was done, tried or forbidden before on this very container. */
function pastOf(
  history: readonly ActionRow[],
  workload: WorkloadRow,
  kind: ActionKind,
  drift: DriftRow | undefined,
  dryRun: boolean,
): Idle | "given-up" | undefined {
  const id = drift?.id ?? "";
  const { nodeId, containerId } = workload;
  // All pods of a workload go back, or end, together.
  if (ROLLOUTS.has(kind) && history.some((each) => UNSETTLED.has(each.state) && each.rollout && isOfService(each, workload))) return "under-way";
  const same = history.filter((each) => each.nodeId === nodeId && each.containerId === containerId);
  if (same.some(({ state }) => UNSETTLED.has(state))) return "under-way";
  if (same.some(({ state, driftId }) => state === ActionState.DENIED && driftId === id)) return "denied";
  if (same.some((each) => each.state === ActionState.DONE && each.kind === kind)) return "contained";
  if (dryRun && same.some(({ state, driftId }) => state === ActionState.DRY_RUN && driftId === id)) return "told";
  const fruitless = same.filter(
    (each) =>
      FRUITLESS.has(each.state) &&
      !endsRollback(each) &&
      !isUndone(each) &&
      !isRiskRefusal(each) &&
      !isForbiddenByBudget(each) &&
      !endsEviction(each, [each]) &&
      !endsIsolation(each, [each]) &&
      !(each.state === ActionState.REFUSED && HOST_LIMITS.has(each.reason)),
  );
  return fruitless.length >= MAX_ATTEMPTS ? "given-up" : undefined;
}

function stopsOf(history: readonly ActionRow[], { nodeId, containerId }: WorkloadRow): readonly ActionRow[] {
  const done = history.filter(({ kind, state }) => kind === ActionKind.STOP && state === ActionState.DONE);
  return done.filter((each) => each.nodeId === nodeId && each.containerId === containerId);
}

/**
 * Whoever manages a container may start the very one that was stopped. What is told of it from then on says so. A report may come days late: it is of what was begun before the intent
 * ended.
 */
function runsAgain(stops: readonly ActionRow[], drifts: readonly DriftRow[]): boolean {
  const doneMs = ({ settledAtMs, createdAtMs, expiresAtMs }: ActionRow): number =>
    Math.min(settledAtMs ?? createdAtMs, expiresAtMs ?? Number.POSITIVE_INFINITY);
  const lastMs = Math.max(...stops.map(doneMs));
  return stops.length > 0 && drifts.some(({ committedAtMs }) => committedAtMs > lastMs);
}

/** A node may say at once that it captures nothing: what hinders it (others that it captures first) has as long to pass as it would have been waited for. */
function waitsToCapture(history: readonly ActionRow[], { nodeId, containerId }: WorkloadRow, nowMs: number): boolean {
  const left = history.filter((each) => each.nodeId === nodeId && each.containerId === containerId && each.reason === UNCAPTURED);
  return left.some(({ state, capturing }) => state === ActionState.FAILED && capturing !== undefined && !isWaitOver(capturing, nowMs));
}

/** @param history undefined: its limits were kept before */
function heldBy(
  { policy, paused, actuator, containers, nowMs }: Situation,
  ofPod: boolean,
  history: readonly ActionRow[] | undefined,
  workload: WorkloadRow,
): Held | undefined {
  if (paused) return "paused";
  const { pauseSeconds, hourlyPercent } = policy.response;
  if (isFrozen(policy, nowMs)) return "frozen";
  if (!actuator(ofPod) && policy.mode === "enforce") return "no-actuator";
  if (!history) return undefined;
  const issued = history.flatMap((each) => {
    if (each.kind === ActionKind.RELEASE || (each.state === ActionState.DRY_RUN && policy.mode !== "dry-run")) return [];
    const atMs = countsAtMs(each);
    return atMs === undefined ? [] : [{ ofWorkload: isOfService(each, workload), atMs, fruitless: isForbiddenByBudget(each) }];
  });
  return overLimit(issued, containers, { pauseMs: pauseSeconds * 1000, hourlyPercent }, nowMs);
}
