/**
 * Rolls what makes a pod back to an earlier revision, and is done when all its pods are of that one and available; or scales it to none. Nothing is waited for here, as with evictions.
 * Which revision was gone back to, and for which intent, is in an annotation of the workload, written with its template: a restart, and another actuator, goes on from that.
 */

import { isDeepStrictEqual } from "node:util";
import { Outcome } from "@hullmark/proto/v1/response";
import type { Cluster, ClusterPod, PodEvent, PodTarget } from "../ports/cluster.ts";
import { EngineError } from "../ports/engine.ts";
import type { LedgerEntry, Settled } from "../ports/ledger.ts";
import { HALT_ANNOTATION, ROLLBACK_ANNOTATION, type Rollouts, type RolloutTarget, type Workload } from "../ports/rollouts.ts";
import type { ActuatorFailpoint } from "./carry-out.ts";
import type { CheckedIntent } from "./check-intent.ts";
import { otherPod } from "./check-pod.ts";
import { type Chosen, chooseRevision, isPinned, pinned, type RolloutRefusal, refuseHalt } from "./check-rollout.ts";
import { gitOpsOwner, nameOfOwner } from "./gitops.ts";
import type { LocalLimits, Waiting } from "./hands.ts";

/** A rollout that its controller does not end, nor give up (progressDeadlineSeconds): given up so long after it was asked for. */
export const ROLLOUT_MS = 1_800_000;
/** For so long a rollout is not given up, whatever its controller says: it may still say so of the one before, where the ReplicaSet that is gone back to was there. */
export const BEGINNING_MS = 60_000;
const MAX_DETAIL_CHARS = 500;
/** Third part of the annotation: it was put in a second time. */
const AGAIN = "again";

export interface RolloutServices {
  readonly cluster: Cluster;
  readonly rollouts: Rollouts;
  readonly limits: LocalLimits;
  readonly ownNamespace: string;
  /** Whether what makes pods may be scaled to none, by the configuration; undefined: not. */
  readonly mayHalt?: boolean | undefined;
}

/** Why not, for people too. */
export interface Refused {
  readonly refusal: RolloutRefusal | "no-right" | "halt-not-allowed" | NonNullable<ReturnType<typeof otherPod>>;
  readonly detail: string;
}

/** What is to be done: undefined a halt. */
type Fit = { readonly workload: Workload } & (Chosen | { readonly revision: undefined; readonly pause: Chosen["pause"] });

type Asked = Pick<CheckedIntent, "pod" | "containerId" | "rollout" | "owners">;

export class RolloutHands {
  readonly #services: RolloutServices;

  constructor(services: RolloutServices) {
    this.#services = services;
  }

  /** @param found the pod of the name that the intent says @throws EngineError ENGINE_UNREACHABLE */
  async choose(asked: Asked, found: ClusterPod | undefined): Promise<Refused | Fit> {
    const { limits, ownNamespace } = this.#services;
    const other = otherPod(asked, found, limits, ownNamespace);
    if (other || !asked.pod || !asked.rollout || !found) return { refusal: other ?? "gone", detail: "" };
    try {
      return await this.#choose(asked.pod, asked.rollout, asked.owners, found);
    } catch (error) {
      if (!(error instanceof EngineError) || error.code === "ENGINE_UNREACHABLE") throw error;
      return { refusal: "no-right", detail: error.message };
    }
  }

  async #choose(pod: PodTarget, target: RolloutTarget, owners: readonly string[], found: ClusterPod): Promise<Refused | Fit> {
    const { rollouts, mayHalt } = this.#services;
    const workload = await rollouts.find(pod.namespace, target.owner);
    if (!workload) return { refusal: "other-owner", detail: "" };
    const look = (name: string) => rollouts.revision(pod.namespace, workload.kind, name);
    const [present, ...revisions] = await Promise.all([look(presentRevision(target, found, workload)), ...target.revisions.map(({ name }) => look(name))]);
    const facts = { workload, present, revisions: revisions.filter((each) => each !== undefined) };
    if (target.revisions.length === 0) {
      if (!mayHalt) return { refusal: "halt-not-allowed", detail: nameOf(workload) };
      const refusal = refuseHalt(target, found, pod.container, owners, facts);
      return refusal ? { refusal, detail: await this.#detailOf(refusal, workload) } : { revision: undefined, pause: gitOpsOwner(workload), workload };
    }
    const chosen = chooseRevision(target, found, pod.container, pod.imageDigests, owners, facts);
    return typeof chosen === "string" ? { refusal: chosen, detail: await this.#detailOf(chosen, workload) } : { ...chosen, workload };
  }

  async #detailOf(refusal: RolloutRefusal, workload: Workload): Promise<string> {
    if (refusal === "owned-by-controller") return `${nameOf(workload)} is of ${workload.controller}`;
    const owner = refusal.startsWith("owned-by-") ? gitOpsOwner(workload) : undefined;
    if (!owner) return nameOf(workload);
    const source = await this.#services.rollouts.source(owner, workload);
    return `${nameOf(workload)} is applied by ${nameOfOwner(owner)}: revert there what brought the image${source === undefined ? "" : ` (${source})`}`;
  }

  /** One step, as far as it goes now. @throws EngineError ENGINE_UNREACHABLE: to be called again */
  async step(entry: LedgerEntry, pod: PodTarget, nowMs: number, tell: Tell, passing: (point: ActuatorFailpoint) => void): Promise<Settled | Waiting> {
    const { cluster, rollouts } = this.#services;
    const { rollout, intentId } = entry;
    if (!rollout) return failed("engine", "the ledger names no workload");
    const workload = await rollouts.find(pod.namespace, rollout.owner).catch(refusedByServer);
    if (workload instanceof EngineError) return failed("engine", workload.message);
    if (workload) {
      const [by, revision = "", again] = workload.annotations[ROLLBACK_ANNOTATION]?.split("/") ?? [];
      if (by === intentId) {
        const followed = await this.#follow(entry, rollout, workload, revision, nowMs);
        const undone = "outcome" in followed && followed.reason === "other-rollout" && again === undefined && nowMs < entry.expiresAtMs;
        return (undone ? await this.#again(entry, pod, rollout) : undefined) ?? followed;
      }
      if (workload.annotations[HALT_ANNOTATION]?.startsWith(`${intentId}/`)) return followHalt(entry, workload, nowMs);
    }
    const looks = workload ? mayBePaused(workload, entry.owners) : "";
    if (nowMs >= entry.expiresAtMs) return failed("expired", `the API server did not let it be asked in time${looks}`);
    const chosen = await this.choose({ pod, rollout, containerId: entry.containerId, owners: entry.owners ?? [] }, await cluster.find(pod));
    if ("refusal" in chosen)
      return { outcome: Outcome.REFUSED, reason: chosen.refusal, detail: `${chosen.detail}${looks}`.slice(0, MAX_DETAIL_CHARS), newContainerId: "" };
    const what = chosen.revision ? said(chosen.workload, chosen.revision.name) : saidOfHalt(chosen.workload);
    await tell(chosen.revision ? "RollingBack" : "Halting", `is of an image that is not trusted: ${what}`);
    passing("rolling-back");
    const unpaused = chosen.pause && (await rollouts.pause(chosen.pause, chosen.workload).catch(refusedByServer));
    passing("paused");
    if (unpaused) return failed("engine", unpaused.message);
    const changed = chosen.revision
      ? rollouts.apply(chosen.workload, chosen.template, `${intentId}/${chosen.revision.name}`)
      : rollouts.halt(chosen.workload, `${intentId}/${chosen.workload.replicas}`);
    const refused = await changed.catch(refusedByServer);
    passing("rolled-back");
    return refused instanceof EngineError
      ? failed("engine", `${refused.message}${chosen.pause ? paused(chosen.workload) : ""}`)
      : { waitsFor: "rolling-out", detail: what };
  }

  /** What applies the workload may have been at it when it was paused, and have put it back since: it does so once. @returns undefined: it is something else */
  async #again({ containerId, intentId, owners = [] }: LedgerEntry, pod: PodTarget, rollout: RolloutTarget): Promise<Waiting | undefined> {
    const { cluster, rollouts } = this.#services;
    const chosen = await this.choose({ pod, rollout, containerId, owners }, await cluster.find(pod));
    if ("refusal" in chosen || !chosen.revision || !chosen.pause) return undefined;
    const put = async ({ pause, workload, template, revision }: Chosen & { readonly workload: Workload }): Promise<Waiting> => {
      if (pause) await rollouts.pause(pause, workload);
      await rollouts.apply(workload, template, `${intentId}/${revision.name}/${AGAIN}`);
      return { waitsFor: "rolling-out", detail: said(workload, revision.name) };
    };
    const waits = await put(chosen).catch(refusedByServer);
    return waits instanceof EngineError ? undefined : waits;
  }

  async #follow({ receivedAtMs }: LedgerEntry, target: RolloutTarget, workload: Workload, name: string, nowMs: number): Promise<Settled | Waiting> {
    const verified = target.revisions.find((each) => each.name === name);
    const revision = verified && (await this.#services.rollouts.revision(workload.namespace, workload.kind, name));
    const wanted = revision && pinned(revision.template, verified, workload.template);
    // Whoever may write the workload may write the annotation.
    const isThat = verified && isPinned(workload.template, verified) && (!wanted || isDeepStrictEqual(wanted, workload.template));
    if (!isThat) return failed("other-rollout", `something else was rolled out since${paused(workload)}`);
    const { progress } = workload;
    if (progress.state === "done") return { outcome: Outcome.DONE, reason: "", detail: `${said(workload, name)}${paused(workload)}`, newContainerId: "" };
    if (progress.state === "stuck" && nowMs - receivedAtMs > BEGINNING_MS) return failed("not-progressing", `${progress.why}${paused(workload)}`);
    if (nowMs - receivedAtMs > ROLLOUT_MS) return failed("not-progressing", `${said(workload, name)}, which takes longer than 30 minutes${paused(workload)}`);
    return { waitsFor: "rolling-out", detail: said(workload, name) };
  }
}

function followHalt({ receivedAtMs }: LedgerEntry, workload: Workload, nowMs: number): Settled | Waiting {
  if (workload.replicas > 0) return failed("other-rollout", "somebody has scaled it since");
  if (workload.present === 0) return { outcome: Outcome.DONE, reason: "", detail: `${saidOfHalt(workload)}${paused(workload)}`, newContainerId: "" };
  if (nowMs - receivedAtMs > ROLLOUT_MS) return failed("not-progressing", `${saidOfHalt(workload)}, which takes longer than 30 minutes`);
  return { waitsFor: "rolling-out", detail: saidOfHalt(workload) };
}

export type Tell = (reason: PodEvent["reason"], note: string) => Promise<void>;

function nameOf({ kind, name }: Workload): string {
  return `${kind} ${name}`;
}

function said(workload: Workload, revision: string): string {
  return `${nameOf(workload)} back to ${revision}`;
}

function saidOfHalt(workload: Workload): string {
  return `${nameOf(workload)} to no pods`;
}

/** It may have been paused at an attempt before. */
function mayBePaused(workload: Workload, owners: readonly string[] = []): string {
  return owners.some((each) => each === gitOpsOwner(workload)?.tool) ? `; look whether ${whoApplies(workload)} still applies by itself` : "";
}

function whoApplies(workload: Workload): string {
  const owner = gitOpsOwner(workload);
  return owner ? nameOfOwner(owner) : "";
}

/** Nobody but people takes that back. */
function paused(workload: Workload): string {
  const owner = whoApplies(workload);
  return owner ? `; ${owner} applies nothing by itself until somebody has it do so again` : "";
}

/** A ReplicaSet is a revision itself; what a StatefulSet's or DaemonSet's pod was made of is in a label. */
function presentRevision({ owner }: RolloutTarget, { labels }: ClusterPod, { kind, name }: Workload): string {
  const revision = labels["controller-revision-hash"] ?? "";
  if (kind === "Deployment") return owner.name;
  return kind === "DaemonSet" ? `${name}-${revision}` : revision;
}

function failed(reason: string, detail: string): Settled {
  return { outcome: Outcome.FAILED, reason, detail: detail.slice(0, MAX_DETAIL_CHARS), newContainerId: "" };
}

function refusedByServer(error: unknown): EngineError {
  if (error instanceof EngineError && error.code !== "ENGINE_UNREACHABLE") return error;
  throw error;
}
