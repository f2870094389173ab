/** Takes a pod from the network, and back: the policy first, which alone does nothing, then the label. Each step may be done again. */
import { ActionKind, Outcome } from "@hullmark/proto/v1/response";
import type { Cluster, ClusterPod, PodEvent, PodTarget } from "../ports/cluster.ts";
import { EngineError } from "../ports/engine.ts";
import type { Ledger, LedgerEntry, Settled } from "../ports/ledger.ts";
import { ISOLATED_LABEL, type PodFence } from "../ports/pod-fence.ts";
import type { CheckedIntent } from "./check-intent.ts";
import { otherPod, podService } from "./check-pod.ts";
import type { LocalLimits, Looked } from "./hands.ts";
import { listed } from "./listed.ts";
import { overLocalLimit } from "./local-limits.ts";
import { standingIsolations } from "./standing-isolations.ts";

/** Where the process can be killed while it isolates or releases a pod, besides those of any action. */
export const FENCE_FAILPOINTS = ["fenced", "labelled"] as const;
export type FenceFailpoint = (typeof FENCE_FAILPOINTS)[number];

/** What is done, and not seen: nobody has said that the cluster's network enforces policies. A code of docs/response.md. */
export const UNKNOWN_ENFORCEMENT = "enforcement-unknown";
/** A release is done, and another container of the pod keeps it isolated. A code of docs/response.md. */
export const STILL_ISOLATED = "still-isolated";
/** Whoever deploys it may forbid that it is isolated; no verifier overrules that. */
const ISOLATE_MARK = "hullmark.dev/isolate";
const NO_RESTART = { name: "", maximumRetryCount: 0 };
const MAX_DETAIL_CHARS = 500;
const MAX_NAMES_CHARS = 400;

export interface PodIsolationServices {
  readonly cluster: Cluster;
  readonly fence: PodFence;
  readonly ledger: Pick<Ledger, "all">;
  readonly limits: LocalLimits;
  readonly ownNamespace: string;
  /** The cluster's network enforces NetworkPolicies, by the configuration. */
  readonly enforced: boolean;
}

type Tell = (reason: PodEvent["reason"], note: string) => Promise<void>;

export class PodIsolation {
  readonly #services: PodIsolationServices;

  constructor(services: PodIsolationServices) {
    this.#services = services;
  }

  /** @param pod of the name that the intent says @throws EngineError ENGINE_UNREACHABLE */
  async look(intent: CheckedIntent, pod: ClusterPod | undefined, pods: number, ledger: readonly LedgerEntry[], nowMs: number): Promise<Looked> {
    const { limits, ownNamespace } = this.#services;
    const name = intent.pod && pod ? podService(intent.pod, pod) : "";
    const before = { name, restartPolicy: NO_RESTART };
    if (intent.kind === ActionKind.RELEASE) {
      // A container that was started anew since is in the same pod.
      if (standingIsolations(ledger).get(intent.containerId)?.pod?.uid !== intent.pod?.uid) return { refusal: "not-ours", before };
      return { refusal: pod?.uid === intent.pod?.uid ? undefined : "gone", before };
    }
    const other = otherPod(intent, pod, limits, ownNamespace, true);
    if (other || !pod || !intent.pod) return { refusal: other ?? "gone", before };
    if (pod.hostNetwork) return { refusal: "host-network", before };
    if (pod.labels[ISOLATE_MARK] === "never") return { refusal: "isolate-never", before };
    const openings = await this.#openings(intent.pod, isolatedLabels(pod, intent.actionId));
    if (openings instanceof EngineError) return { refusal: "no-right", detail: openings.message, before };
    if (openings.length > 0) return { refusal: "allowed-by-policy", detail: sayAllowed(openings), before };
    return { refusal: overLocalLimit(name, ledger, pods, nowMs, limits), before };
  }

  /** @throws EngineError ENGINE_UNREACHABLE: to be called again */
  async step(entry: LedgerEntry, pod: PodTarget, nowMs: number, tell: Tell, passing: (point: FenceFailpoint) => void): Promise<Settled> {
    try {
      return entry.kind === ActionKind.RELEASE ? await this.#release(entry, pod, tell, passing) : await this.#isolate(entry, pod, nowMs, tell, passing);
    } catch (error) {
      if (!(error instanceof EngineError) || error.code === "ENGINE_UNREACHABLE") throw error;
      return failed("engine", error.message);
    }
  }

  async #isolate(
    { actionId, expiresAtMs }: LedgerEntry,
    pod: PodTarget,
    nowMs: number,
    tell: Tell,
    passing: (point: FenceFailpoint) => void,
  ): Promise<Settled> {
    const { cluster, fence, enforced } = this.#services;
    const found = await cluster.find(pod);
    if (found?.uid !== pod.uid) return failed("gone", "");
    const labelled = found.labels[ISOLATED_LABEL] === actionId;
    if (!labelled && nowMs >= expiresAtMs) return failed("expired", "the API server did not let it be asked in time");
    // Whoever may label pods may have put the label on before: the policy is not taken for granted by it.
    const unraised = await fence.raise(pod).catch((error: unknown) => {
      // In a namespace that is being deleted nothing can be made any more, and all that runs there goes with it.
      if (found.endsMs !== undefined && error instanceof EngineError && error.code !== "ENGINE_UNREACHABLE") return error;
      throw error;
    });
    if (unraised) return { outcome: Outcome.REFUSED, reason: "terminating", detail: unraised.message.slice(0, MAX_DETAIL_CHARS), newContainerId: "" };
    passing("fenced");
    if (!labelled) await fence.label(pod, actionId);
    passing("labelled");
    const openings = await fence.openings(pod, isolatedLabels(found, actionId));
    if (openings.length > 0) return failed("allowed-by-policy", sayAllowed(openings));
    const words = enforced ? "" : "asked for: whether the cluster's network enforces NetworkPolicies nobody has said (kubernetes.networkPolicyEnforced)";
    await tell("Isolated", `is cut off from the network, since it drifted${words && `: ${words}`}`);
    return { outcome: Outcome.DONE, reason: enforced ? "" : UNKNOWN_ENFORCEMENT, detail: words, newContainerId: "" };
  }

  async #release({ containerId }: LedgerEntry, pod: PodTarget, tell: Tell, passing: (point: FenceFailpoint) => void): Promise<Settled> {
    const { cluster, fence } = this.#services;
    const found = await cluster.find(pod);
    if (found?.uid !== pod.uid) return failed("gone", "");
    const other = this.#alsoIsolatedFor(found, containerId);
    if (other) {
      if (found.labels[ISOLATED_LABEL] !== other.actionId) await fence.label({ ...pod, ...driftOf(other) }, other.actionId);
      passing("labelled");
      const words = `stays off the network: ${other.actionId} isolates it for another container`;
      await tell("Released", words);
      return { outcome: Outcome.DONE, reason: STILL_ISOLATED, detail: `the pod ${words}`, newContainerId: "" };
    }
    if (found.labels[ISOLATED_LABEL] !== undefined) await fence.label(pod, undefined);
    passing("labelled");
    await tell("Released", "is on the network again, by people's word");
    return { outcome: Outcome.DONE, reason: "", detail: "", newContainerId: "" };
  }

  /** The containers of a pod share its network: of those that are still there, the last other one that it is isolated for. */
  #alsoIsolatedFor({ uid, containers }: ClusterPod, containerId: string): LedgerEntry | undefined {
    const here = new Set(containers.map(({ id }) => id).filter((id) => id !== containerId));
    const standing = [...standingIsolations(this.#services.ledger.all()).values()];
    return standing.findLast((each) => each.settled?.outcome === Outcome.DONE && each.pod?.uid === uid && here.has(each.containerId));
  }

  /** Policies in whose way nothing can be put; the error: it may not be looked. */
  async #openings(pod: PodTarget, labels: ClusterPod["labels"]): Promise<readonly string[] | EngineError> {
    return await this.#services.fence.openings(pod, labels).catch((error: unknown) => {
      if (error instanceof EngineError && error.code !== "ENGINE_UNREACHABLE") return error;
      throw error;
    });
  }
}

/** As policies select it once it is isolated: one that selects the very label counts, and one that leaves it out does not. */
function isolatedLabels({ labels }: ClusterPod, actionId: string): ClusterPod["labels"] {
  return { ...labels, [ISOLATED_LABEL]: actionId };
}

function driftOf({ pod }: LedgerEntry): Partial<Pick<PodTarget, "driftId" | "driftLogIndex">> {
  return pod ? { driftId: pod.driftId, driftLogIndex: pod.driftLogIndex } : {};
}

function sayAllowed(names: readonly string[]): string {
  return `NetworkPolicies let traffic of this pod through, which none can take away: ${listed(names, MAX_NAMES_CHARS)}`;
}

function failed(reason: string, detail: string): Settled {
  return { outcome: Outcome.FAILED, reason, detail: detail.slice(0, MAX_DETAIL_CHARS), newContainerId: "" };
}
