/**
 * One node's containers joined with the API server's pods over time: what is not there may be on its way, and what is known may be too old.
 * Time is the verifier's own; what a node says of times is not believed.
 */
import type { ContainerIdentity } from "@hullmark/proto/v1/attestation";
import type { PodView } from "../../ports/pod-view.ts";
import { type PodStanding, podStanding } from "./standing.ts";

export interface PodRules {
  /** How long a container and its pod may be told of one without the other: kubelet, API server and agent each tell in their own time. */
  readonly graceMs: number;
  /** A view that was not confirmed for longer says nothing any more. */
  readonly maxAgeMs: number;
}

interface Known {
  readonly uid: string;
  /** Since when the view contradicts it; undefined: it does not. */
  readonly sinceMs: number | undefined;
  /** The contradiction was told. */
  readonly told: boolean;
}

export class PodJoin {
  readonly #view: PodView;
  readonly #rules: PodRules;
  /** Container → what was made of it. */
  readonly #known = new Map<string, Known>();
  readonly #ofPod = new Map<string, Set<string>>();
  /** Contradicted, and not told yet. */
  readonly #pending = new Set<string>();
  /** Whether the view was too old when {@link PodJoin.due} was last asked. */
  #wasStale: boolean | undefined;

  constructor(view: PodView, rules: PodRules) {
    this.#view = view;
    this.#rules = rules;
  }

  /** @returns undefined for what is no container of a pod: the runtime's own word about that is judged elsewhere */
  standing({ id, pod }: ContainerIdentity, nodeName: string, nowMs: number): PodStanding | undefined {
    const before = this.#known.get(id);
    this.forget(id);
    if (!pod) return undefined;
    const stale = this.#stale(nowMs);
    const known = this.#view.get(pod.uid);
    const standing = this.#withConfigMaps(podStanding(pod, nodeName, known, known && this.#view.templateOf(known)), id);
    // Time counts only while the view is followed: a pod that was made meanwhile is not in it.
    const sinceMs = standing.kind === "contradicted" && (!stale || before?.told) ? (before?.sinceMs ?? nowMs) : undefined;
    const told = before?.told === true || (sinceMs !== undefined && this.#over(sinceMs, nowMs));
    this.#remember(id, { uid: pod.uid, sinceMs, told: told && sinceMs !== undefined });
    if (standing.kind === "contradicted") {
      // What was found stays found: an API server that is silenced must not turn red into grey.
      if (sinceMs !== undefined && told) return standing;
      if (!stale) return { kind: "unknown", code: "pod-pending", detail: `${standing.summary}; that may be about to change` };
    }
    return stale ? { kind: "unknown", code: "pods-stale", detail: this.#heard(), last: standing } : standing;
  }

  /** Containers of which the view says something else now that time has passed. Each answer assumes that they are asked about then. */
  due(nowMs: number): readonly string[] {
    const stale = this.#stale(nowMs);
    if (stale !== this.#wasStale) {
      this.#wasStale = stale;
      return [...this.#known.keys()];
    }
    if (stale) return [];
    return [...this.#pending].filter((id) => this.#over(this.#known.get(id)?.sinceMs ?? nowMs, nowMs));
  }

  ofPods(uids: ReadonlySet<string>): readonly string[] {
    return [...uids].flatMap((uid) => [...(this.#ofPod.get(uid) ?? [])]);
  }

  forget(id: string): void {
    const known = this.#known.get(id);
    if (!known) return;
    this.#known.delete(id);
    this.#pending.delete(id);
    const ofPod = this.#ofPod.get(known.uid);
    ofPod?.delete(id);
    if (ofPod?.size === 0) this.#ofPod.delete(known.uid);
  }

  /** Of a container that the API server has on this node: others read nothing. */
  #withConfigMaps(standing: PodStanding, id: string): PodStanding {
    if (standing.kind !== "specified" || !standing.container) return standing;
    return { ...standing, configMaps: this.#view.configMapsOf(standing.pod, standing.container, id) };
  }

  #remember(id: string, known: Known): void {
    this.#known.set(id, known);
    if (known.sinceMs !== undefined && !known.told) this.#pending.add(id);
    this.#ofPod.set(known.uid, (this.#ofPod.get(known.uid) ?? new Set()).add(id));
  }

  /** By a view that was followed all that time: of an API server that has just come back, what was made meanwhile is still to come. */
  #over(sinceMs: number, nowMs: number): boolean {
    const { followedMs } = this.#view;
    return followedMs !== undefined && Math.abs(nowMs - Math.max(sinceMs, followedMs)) >= this.#rules.graceMs;
  }

  #stale(nowMs: number): boolean {
    const { heardMs } = this.#view;
    return heardMs === undefined || Math.abs(nowMs - heardMs) > this.#rules.maxAgeMs;
  }

  #heard(): string {
    const { heardMs } = this.#view;
    return heardMs === undefined
      ? "the API server has not told of its pods yet"
      : `the API server was last heard at ${new Date(heardMs).toISOString()}: its pods are not known any more`;
  }
}
