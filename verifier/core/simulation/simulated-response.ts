/**
 * What would have been done about drift over time: `decide` on each container as it stood, in the order in which things happened. What is done is taken to succeed at
 * once, by an actuator that listens: its container is gone then, where it is not only isolated, and what was seen of it later would not have been. Nodes are not marked here. Pure.
 */
import { Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow, DriftRow, PodTarget, WorkloadRow } from "../../ports/rows.ts";
import { contradicts } from "../appraisal/severity.ts";
import { isAttested } from "../fleet/census.ts";
import type { Policy } from "../policy/types.ts";
import { HOUR_MS } from "../response/breaker.ts";
import { causeOf } from "../response/causes.ts";
import { decide, HELD, type Held, HISTORY_MS } from "../response/decide.ts";
import { isInPod } from "../response/eviction.ts";
import type { Rollback } from "../response/rollback.ts";
import { approvalsOf } from "../response/rungs.ts";
import { newAction, refusedAction } from "../response/steps.ts";

export interface ResponseFacts {
  /** As the log has it. */
  readonly nodeVerdict: (nodeId: string, atMs: number) => Verdict;
  /** As far as it is known now; undefined: it is not. */
  readonly rollback: (nodeId: string, containerId: string) => Rollback | undefined;
  /** Of all nodes. */
  readonly containers: number;
}

export interface SimulatedAction {
  readonly atMs: number;
  readonly kind: ActionKind;
  /** DONE, DRY_RUN, or AWAITING: people would have been asked. */
  readonly state: ActionState;
  readonly row: ActionRow;
}

/** Stands for whichever pod it was: which one it is the record does not hold, and does not decide. */
const SOME_POD: PodTarget = { cluster: "", namespace: "", name: "", uid: "", container: "", imageDigests: [] };
/** Holding for one of these, nothing else goes through at that moment either. */
const FOR_ALL: ReadonlySet<Held> = new Set<Held>(["paused", "frozen", "breaker"]);

export class SimulatedResponse {
  readonly #policy: Policy;
  readonly #facts: ResponseFacts;
  readonly #open = new Map<string, Map<number, DriftRow>>();
  readonly #held = new Map<string, Held>();
  readonly #gone = new Set<string>();
  #rows: ActionRow[];
  #wakes: number[];
  #paused = false;
  readonly actions: SimulatedAction[] = [];
  /** Containers that were held back at some time, by what. */
  readonly heldBack = new Map<Held, Set<string>>();
  /** Drifts of containers that would have been gone. */
  afterwards = 0;

  /** @param earlier what was really done before: it counts for limits and ladders */
  constructor(policy: Policy, facts: ResponseFacts, earlier: readonly ActionRow[]) {
    this.#policy = policy;
    this.#facts = facts;
    this.#rows = earlier.filter(({ node }) => !node);
    this.#wakes = policy.response.freezes.flatMap(({ fromMs, untilMs }) => [fromMs, untilMs]);
  }

  /** When it is to be looked at again although nothing happens; undefined: never. */
  get nextWakeMs(): number | undefined {
    if (this.#held.size === 0) return undefined;
    return this.#wakes.length === 0 ? undefined : this.#wakes.reduce((a, b) => Math.min(a, b));
  }

  /** A drift is there, or another than before. */
  put(row: DriftRow, atMs: number): void {
    if (row.containerId === "") return;
    const key = keyOf(row);
    if (this.#gone.has(key)) {
      this.afterwards++;
      return;
    }
    const own = this.#open.get(key) ?? new Map<number, DriftRow>();
    this.#open.set(key, own.set(row.number, row));
    this.#look(key, atMs);
  }

  /** It is there no more. */
  remove(row: DriftRow, atMs: number): void {
    const key = keyOf(row);
    const own = this.#open.get(key);
    if (!own?.delete(row.number)) return;
    if (own.size > 0) return void this.#look(key, atMs);
    this.#open.delete(key);
    this.#held.delete(key);
    // Nobody is waited for any more.
    this.#rows = this.#rows.map((each) => (each.state === ActionState.AWAITING && keyOf(each) === key ? { ...each, state: ActionState.WITHDRAWN } : each));
  }

  setPaused(paused: boolean, atMs: number): void {
    this.#paused = paused;
    if (!paused) this.lookAgain(atMs);
  }

  /** At what is held back: the longest waiting first. */
  lookAgain(atMs: number, nodeId?: string): void {
    this.#wakes = this.#wakes.filter((each) => each > atMs);
    for (const key of [...this.#held.keys()]) {
      if (nodeId !== undefined && !key.startsWith(`${nodeId}/`)) continue;
      const held = this.#look(key, atMs);
      if (held !== undefined && FOR_ALL.has(held)) return;
    }
  }

  /** Attested nodes on which this image in this workload is untrusted. */
  #witnesses({ workload, configDigest }: DriftRow, atMs: number): number {
    const alike = [...this.#open.values()]
      .flatMap((own) => [...own.values()])
      .filter((each) => each.workload === workload && each.configDigest === configDigest && causeOf(each) === "untrusted");
    return [...new Set(alike.map(({ nodeId }) => nodeId))].filter((id) => isAttested(this.#facts.nodeVerdict(id, atMs))).length;
  }

  #look(key: string, atMs: number): Held | undefined {
    const drifts = [...(this.#open.get(key)?.values() ?? [])];
    const [first] = drifts;
    this.#held.delete(key);
    if (!first) return undefined;
    const { nodeId, nodeName, containerId } = first;
    const verdict = this.#facts.nodeVerdict(nodeId, atMs);
    this.#rows = this.#rows.filter(({ createdAtMs, state }) => atMs - createdAtMs <= HISTORY_MS || state === ActionState.AWAITING);
    const decision = decide({
      policy: this.#policy,
      node: { name: nodeName, verdict, revokedAtMs: undefined },
      workload: workloadOf(first, drifts),
      drifts: drifts.filter(({ state }) => state === DriftState.OPEN),
      history: this.#rows,
      rollback: this.#facts.rollback(nodeId, containerId),
      pod: isInPod(first.containerName) ? SOME_POD : "none",
      // What is unmeasurable has no drift that the record could hold.
      overBudgetMs: undefined,
      witnesses: this.#witnesses(first, atMs),
      // What a node would be marked for is not played through.
      cordoned: false,
      paused: this.#paused,
      actuator: () => true,
      containers: this.#facts.containers,
      nowMs: atMs,
    });
    if (decision.act && decision.refusal !== undefined) {
      this.#rows.push(refusedAction(this.actions.length + 1, decision, nodeName, atMs));
      return this.#look(key, atMs);
    }
    if (decision.act) {
      this.#act(key, newAction(this.actions.length + 1, decision, nodeName, this.#stateFor(approvalsOf(decision.rule, decision.kind)), atMs), atMs);
      return undefined;
    }
    if (!(HELD as readonly string[]).includes(decision.why)) return undefined;
    const held = decision.why as Held;
    this.#held.set(key, held);
    this.heldBack.set(held, (this.heldBack.get(held) ?? new Set<string>()).add(key));
    return held;
  }

  #stateFor(approvals: number): ActionState {
    if (this.#policy.mode === "dry-run") return ActionState.DRY_RUN;
    return approvals > 0 ? ActionState.AWAITING : ActionState.DONE;
  }

  #act(key: string, action: ActionRow, atMs: number): void {
    const row = action.state === ActionState.DONE ? { ...action, issuedAtMs: atMs, settledAtMs: atMs } : action;
    this.#rows.push(row);
    this.actions.push({ atMs, kind: row.kind, state: row.state, row });
    this.#wakes.push(atMs + this.#policy.response.pauseSeconds * 1000, atMs + HOUR_MS, atMs + HISTORY_MS + 1);
    if (row.state !== ActionState.DONE) return;
    if (row.kind === ActionKind.ISOLATE) return void this.#look(key, atMs);
    this.#gone.add(key);
    this.#open.delete(key);
  }
}

function keyOf({ nodeId, containerId }: Pick<DriftRow, "nodeId" | "containerId">): string {
  return `${nodeId}/${containerId}`;
}

/** The container's row as it must have stood: verdict by its drifts, as appraisal has it. */
function workloadOf(first: DriftRow, drifts: readonly DriftRow[]): WorkloadRow {
  const { nodeId, containerId, containerName, workload, service, imageReference, configDigest, provenance, measuredAtMs } = first;
  const verdict = drifts.some(({ severity }) => contradicts(severity)) ? Verdict.CONTRAINDICATED : Verdict.WARNING;
  return {
    ...{ nodeId, containerId, containerName, workload, service, imageReference, configDigest, manifestDigest: "", provenance },
    ...{ verdict, content: verdict, reasons: [], appraised: { verdict, content: verdict, reasons: [] }, vector: undefined },
    ...{ openDrifts: drifts.length, notices: 0, startedAtMs: undefined, appraisedAtMs: measuredAtMs },
  };
}
