/**
 * {@link Hands} of a cluster: a pod is evicted within what disruption budgets allow, and is done with when it is gone; or what makes it is rolled back ({@link RolloutHands}). Nothing is waited for here: what is not
 * over is told as waiting and looked at again, so that one pod's budget holds up no other.
 */
import { ActionKind, Outcome } from "@hullmark/proto/v1/response";
import type { Cluster, ClusterPod, PodEvent, PodTarget } from "../ports/cluster.ts";
import { EngineError } from "../ports/engine.ts";
import type { Ledger, LedgerEntry, Settled } from "../ports/ledger.ts";
import type { PodFence } from "../ports/pod-fence.ts";
import type { Rollouts } from "../ports/rollouts.ts";
import type { ActuatorFailpoint } from "./carry-out.ts";
import type { CheckedIntent } from "./check-intent.ts";
import { podService, refusePod, unfit } from "./check-pod.ts";
import type { Hands, LocalLimits, Looked, Waiting } from "./hands.ts";
import { BUDGET, overLocalLimit, usedInHour } from "./local-limits.ts";
import { PodIsolation } from "./pod-isolation.ts";
import { RolloutHands } from "./rollout-hands.ts";

/** A pod whose kubelet does not end it: given up that long after its own time to end. */
export const STUCK_MS = 600_000;
/** So long a count of pods serves. */
const COUNTED_MS = 10_000;
const MAX_DETAIL_CHARS = 500;
const NO_RESTART = { name: "", maximumRetryCount: 0 };

export interface ClusterServices {
  readonly cluster: Cluster;
  readonly rollouts: Rollouts;
  readonly fence: PodFence;
  readonly ledger: Pick<Ledger, "all">;
  /** The cluster's network enforces NetworkPolicies, by the configuration; undefined: nobody has said. */
  readonly networkPolicyEnforced?: boolean | undefined;
  readonly limits: LocalLimits;
  readonly ownNamespace: string;
  /** Whether what makes pods may be scaled to none, by the configuration; undefined: not. */
  readonly mayHalt?: boolean | undefined;
  /** An Event could not be written: nothing depends on one. */
  readonly onUntold: (error: unknown) => void;
}

interface Pause {
  readonly untilMs: number;
  readonly why: string;
}

export class ClusterHands implements Hands {
  readonly #services: ClusterServices;
  /** Intent → what its budget said last: the API server says when to ask again. */
  readonly #pauses = new Map<string, Pause>();
  #counted: { readonly count: number; readonly atMs: number } | undefined;
  readonly #rollouts: RolloutHands;
  readonly #isolation: PodIsolation;

  constructor(services: ClusterServices) {
    this.#services = services;
    this.#rollouts = new RolloutHands(services);
    this.#isolation = new PodIsolation({ ...services, enforced: services.networkPolicyEnforced === true });
  }

  async look(intent: CheckedIntent, ledger: readonly LedgerEntry[], nowMs: number): Promise<Looked> {
    const { cluster, limits, ownNamespace } = this.#services;
    // Of ten thousand pods the count takes a second: the first action of an hour needs none.
    const counted = usedInHour(ledger, nowMs) > 0;
    const [pod, pods] = await Promise.all([intent.pod && cluster.find(intent.pod), counted ? this.#running(nowMs) : 0]);
    const facts = { pods, ledger, nowMs };
    if (ISOLATING.has(intent.kind)) {
      const looked = await this.#isolation.look(intent, pod, facts.pods, ledger, nowMs);
      await this.#tellRefusal(intent, pod, looked, nowMs);
      return looked;
    }
    const name = intent.pod && pod ? podService(intent.pod, pod) : "";
    const before = { name, restartPolicy: NO_RESTART };
    if (!intent.rollout) {
      const refusal = refusePod(intent, pod, facts, limits, ownNamespace);
      await this.#tellRefusal(intent, pod, { refusal }, nowMs);
      return { refusal, before };
    }
    const chosen = await this.#rollouts.choose(intent, pod);
    if (!("refusal" in chosen)) {
      // A rollout replaces pods one after another, a halt takes all of them away.
      const weight = chosen.revision ? 1 : Math.max(1, chosen.workload.replicas, chosen.workload.present);
      return { refusal: overLocalLimit(name, ledger, facts.pods, nowMs, limits, weight), before: { ...before, weight } };
    }
    await this.#tellRefusal(intent, pod, chosen, nowMs);
    return { ...chosen, before };
  }

  /** Many intents come at once: the API server is not to list all pods for each. */
  async #running(nowMs: number): Promise<number> {
    if (this.#counted === undefined || nowMs - this.#counted.atMs >= COUNTED_MS)
      this.#counted = { count: await this.#services.cluster.countRunning(), atMs: nowMs };
    return this.#counted.count;
  }

  /** Whoever deploys should know why what is not trusted, or has drifted, runs on. What passes is not told, nor is anything written on what nothing is done about, or on a pod by another node's word. */
  async #tellRefusal(
    { id: intentId, actionId, logIndex, kind, pod }: CheckedIntent,
    found: ClusterPod | undefined,
    { refusal, detail }: Pick<Looked, "refusal" | "detail">,
    atMs: number,
  ): Promise<void> {
    const of = REFUSED[kind];
    if (refusal === undefined || UNTOLD.has(refusal) || !of || !pod) return;
    if (found?.uid !== pod.uid || found.nodeName !== pod.nodeName) return;
    await this.#tell({ intentId, actionId, logIndex }, pod, of.reason, `${of.words}: ${refusal}${detail ? `: ${detail}` : ""}`, atMs);
  }

  async carryOut(entry: LedgerEntry, nowMs: number, passing: (point: ActuatorFailpoint) => void): Promise<Settled | Waiting> {
    const { pod } = entry;
    if (!pod) return failed("engine", "the ledger names no pod");
    if (entry.rollout) return await this.#rollBack(entry, pod, nowMs, passing);
    if (ISOLATING.has(entry.kind)) return await this.#isolate(entry, pod, nowMs, passing);
    const result = await this.#step(entry, pod, nowMs, passing);
    if ("waitsFor" in result) return result;
    this.#pauses.delete(entry.intentId);
    const done = result.outcome === Outcome.DONE;
    await this.#tell(
      entry,
      pod,
      done ? "Evicted" : "EvictionFailed",
      done ? "is gone: it had drifted" : `was not evicted: ${result.detail || result.reason}`,
      nowMs,
    );
    return result;
  }

  async #isolate(entry: LedgerEntry, pod: PodTarget, nowMs: number, passing: (point: ActuatorFailpoint) => void): Promise<Settled> {
    const tell = (reason: PodEvent["reason"], note: string): Promise<void> => this.#tell(entry, pod, reason, note, nowMs);
    const result = await this.#isolation.step(entry, pod, nowMs, tell, passing);
    const release = entry.kind === ActionKind.RELEASE;
    if (result.outcome !== Outcome.DONE && !UNTOLD.has(result.reason))
      await tell(release ? "ReleaseFailed" : "IsolationFailed", `was not ${release ? "released" : "isolated"}: ${result.detail || result.reason}`);
    return result;
  }

  async #rollBack(entry: LedgerEntry, pod: PodTarget, nowMs: number, passing: (point: ActuatorFailpoint) => void): Promise<Settled | Waiting> {
    const tell = (reason: PodEvent["reason"], note: string): Promise<void> => this.#tell(entry, pod, reason, note, nowMs);
    const result = await this.#rollouts.step(entry, pod, nowMs, tell, passing);
    if ("waitsFor" in result) return result;
    const halt = entry.rollout?.revisions.length === 0;
    if (result.outcome === Outcome.DONE) await tell(halt ? "Halted" : "RolledBack", `ran an image that is not trusted: ${result.detail}`);
    else
      await tell(
        halt ? "HaltFailed" : "RollbackFailed",
        `was not ${halt ? "halted" : "rolled back"}: ${result.reason}${result.detail && `: ${result.detail}`}`,
      );
    return result;
  }

  async #step(entry: LedgerEntry, pod: PodTarget, nowMs: number, passing: (point: ActuatorFailpoint) => void): Promise<Settled | Waiting> {
    const { cluster, limits, ownNamespace } = this.#services;
    const found = await cluster.find(pod);
    // A uid dies once: whoever ended it, it is not there any more.
    if (found?.uid !== pod.uid) return DONE;
    if (found.endsMs !== undefined) {
      return nowMs > found.endsMs + STUCK_MS ? failed("terminating", "its node does not end it") : { waitsFor: "terminating", detail: "" };
    }
    const pause = this.#pauses.get(entry.intentId);
    if (nowMs >= entry.expiresAtMs) return pause ? failed(BUDGET, pause.why) : failed("expired", "the API server did not let it be asked in time");
    if (pause && nowMs < pause.untilMs) return { waitsFor: BUDGET, detail: pause.why };
    // It may have waited for minutes: what was found when it was taken is to be so still.
    const refusal = unfit({ pod, containerId: entry.containerId, owners: entry.owners ?? [] }, found, limits, ownNamespace);
    if (refusal) return { outcome: Outcome.REFUSED, reason: refusal, detail: "", newContainerId: "" };
    // Beside the eviction, which does not wait for an Event; whoever is killed before it is asked for tells again.
    const told = this.#tell(entry, pod, "Evicting", "is evicted, since it drifted", nowMs);
    passing("evicting");
    const eviction = await cluster.evict(pod).catch(refusedByServer);
    await told;
    passing("evicted");
    if (eviction instanceof EngineError) return failed("engine", eviction.message);
    if (eviction.outcome !== "budget") return eviction.outcome === "gone" ? DONE : { waitsFor: "terminating", detail: "" };
    this.#pauses.set(entry.intentId, { untilMs: nowMs + eviction.retryAfterMs, why: eviction.why });
    await this.#tell(entry, pod, "EvictionWaits", `drifted, and cannot be evicted now: ${eviction.why}`, nowMs);
    return { waitsFor: BUDGET, detail: eviction.why };
  }

  async #tell(
    { intentId, actionId, logIndex }: Pick<LedgerEntry, "intentId" | "actionId" | "logIndex">,
    pod: PodTarget,
    reason: PodEvent["reason"],
    note: string,
    atMs: number,
  ): Promise<void> {
    const warning = WARNINGS.has(reason);
    const event = {
      intentId,
      actionId,
      ...(logIndex !== undefined && { logIndex }),
      pod,
      reason,
      note: `${pod.name} ${note} (${[actionId, ...(pod.driftId === "" ? [] : [pod.driftId])].join(", ")})`,
      warning,
      atMs,
    };
    await this.#services.cluster.tell(event).catch(this.#services.onUntold);
  }
}

const WARNINGS: ReadonlySet<PodEvent["reason"]> = new Set([
  "EvictionWaits",
  "EvictionFailed",
  "RollbackFailed",
  "RollbackRefused",
  "HaltFailed",
  "HaltRefused",
  "IsolationFailed",
  "ReleaseFailed",
]);
/** What passes by itself, the actuator's own limits and a pod that ends; and pods that are none of its business. */
const UNTOLD: ReadonlySet<string> = new Set(["breaker", "cooling-down", "terminating", "protected"]);
/** How the Event of a refusal is called, and begins. */
const REFUSED: { readonly [kind in ActionKind]?: { readonly reason: PodEvent["reason"]; readonly words: string } } = {
  [ActionKind.EVICT]: { reason: "EvictionFailed", words: "was not evicted" },
  [ActionKind.ISOLATE]: { reason: "IsolationFailed", words: "was not isolated" },
  [ActionKind.RELEASE]: { reason: "ReleaseFailed", words: "was not released" },
  [ActionKind.ROLLBACK]: { reason: "RollbackRefused", words: "is of an image that is not trusted, and is not rolled back" },
  [ActionKind.HALT]: { reason: "HaltRefused", words: "is of an image that is not trusted, and is not halted" },
};
const ISOLATING: ReadonlySet<ActionKind> = new Set([ActionKind.ISOLATE, ActionKind.RELEASE]);
const DONE: Settled = { outcome: Outcome.DONE, reason: "", detail: "", newContainerId: "" };

function failed(reason: string, detail: string): Settled {
  return { outcome: Outcome.FAILED, reason, detail: detail.slice(0, MAX_DETAIL_CHARS), newContainerId: "" };
}

function refusedByServer(error: unknown): EngineError {
  if (error instanceof EngineError && error.code !== "ENGINE_UNREACHABLE") return error;
  throw error;
}
