/**
 * {@link Hands} of a cluster: a pod is evicted within what disruption budgets allow, and is done with when it is gone. Nothing is waited for here: what is not
 * over is told as waiting and looked at again, so that one pod's budget holds up no other.
 */
import { Outcome } from "@hullmark/proto/v1/response";
import type { Cluster, PodEvent, PodTarget } from "../ports/cluster.ts";
import { EngineError } from "../ports/engine.ts";
import type { LedgerEntry, Settled } from "../ports/ledger.ts";
import type { ActuatorFailpoint } from "./carry-out.ts";
import type { CheckedIntent } from "./check-intent.ts";
import { podService, refusePod, unfit } from "./check-pod.ts";
import type { Hands, LocalLimits, Looked, Waiting } from "./hands.ts";

/** A pod whose kubelet does not end it: given up that long after its own time to end. */
export const STUCK_MS = 600_000;
const MAX_DETAIL_CHARS = 500;
const NO_RESTART = { name: "", maximumRetryCount: 0 };

export interface ClusterServices {
  readonly cluster: Cluster;
  readonly limits: LocalLimits;
  readonly ownNamespace: string;
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

  constructor(services: ClusterServices) {
    this.#services = services;
  }

  async look(intent: CheckedIntent, ledger: readonly LedgerEntry[], nowMs: number): Promise<Looked> {
    const { cluster, limits, ownNamespace } = this.#services;
    const pod = intent.pod && (await cluster.find(intent.pod));
    const refusal = refusePod(intent, pod, { pods: await cluster.countPods(), ledger, nowMs }, limits, ownNamespace);
    const name = intent.pod && pod ? podService(intent.pod, pod) : "";
    return { refusal, before: { name, restartPolicy: NO_RESTART } };
  }

  async carryOut(entry: LedgerEntry, nowMs: number, passing: (point: ActuatorFailpoint) => void): Promise<Settled | Waiting> {
    const { pod } = entry;
    if (!pod) return failed("engine", "the ledger names no pod");
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

  async #step(entry: LedgerEntry, pod: PodTarget, nowMs: number, passing: (point: ActuatorFailpoint) => void): Promise<Settled | Waiting> {
    const { cluster, limits, ownNamespace } = this.#services;
    const found = await cluster.find(pod);
    // A uid dies once: whoever ended it, it is not there any more.
    if (found?.uid !== pod.uid) return DONE;
    if (found.endsMs !== undefined) {
      return nowMs > found.endsMs + STUCK_MS ? failed("terminating", "its node does not end it") : { waitsFor: "terminating", detail: "" };
    }
    const pause = this.#pauses.get(entry.intentId);
    if (nowMs >= entry.expiresAtMs) return pause ? failed("pdb", pause.why) : failed("expired", "the API server did not let it be asked in time");
    if (pause && nowMs < pause.untilMs) return { waitsFor: "pdb", detail: pause.why };
    // It may have waited for minutes: what was found when it was taken is to be so still.
    const refusal = unfit({ pod, containerId: entry.containerId, owners: entry.owners ?? [] }, found, limits, ownNamespace);
    if (refusal) return { outcome: Outcome.REFUSED, reason: refusal, detail: "", newContainerId: "" };
    await this.#tell(entry, pod, "Evicting", "is evicted, since it drifted", nowMs);
    passing("evicting");
    const eviction = await cluster.evict(pod).catch(refusedByServer);
    passing("evicted");
    if (eviction instanceof EngineError) return failed("engine", eviction.message);
    if (eviction.outcome !== "budget") return eviction.outcome === "gone" ? DONE : { waitsFor: "terminating", detail: "" };
    this.#pauses.set(entry.intentId, { untilMs: nowMs + eviction.retryAfterMs, why: eviction.why });
    await this.#tell(entry, pod, "EvictionWaits", `drifted, and cannot be evicted now: ${eviction.why}`, nowMs);
    return { waitsFor: "pdb", detail: eviction.why };
  }

  async #tell({ intentId, actionId }: LedgerEntry, pod: PodTarget, reason: PodEvent["reason"], note: string, atMs: number): Promise<void> {
    const warning = reason === "EvictionWaits" || reason === "EvictionFailed";
    const event = { intentId, actionId, pod, reason, note: `${pod.name} ${note} (${actionId}, ${pod.driftId})`, warning, atMs };
    await this.#services.cluster.tell(event).catch(this.#services.onUntold);
  }
}

const DONE: Settled = { outcome: Outcome.DONE, reason: "", detail: "", newContainerId: "" };

function failed(reason: string, detail: string): Settled {
  return { outcome: Outcome.FAILED, reason, detail: detail.slice(0, MAX_DETAIL_CHARS), newContainerId: "" };
}

function refusedByServer(error: unknown): EngineError {
  if (error instanceof EngineError && error.code !== "ENGINE_UNREACHABLE") return error;
  throw error;
}
