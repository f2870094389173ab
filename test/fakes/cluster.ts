/** A cluster's pods in memory, with a disruption budget that can forbid: for what an actuator does in every order of events. */
import { randomBytes, randomUUID } from "node:crypto";
import type { Cluster, ClusterPod, Eviction, PodEvent, PodTarget } from "@hullmark/actuator/ports/cluster";
import { EngineError } from "@hullmark/actuator/ports/engine";
import { ISOLATED_LABEL, type PodFence } from "@hullmark/actuator/ports/pod-fence";
import {
  type GitOpsOwner,
  HALT_ANNOTATION,
  type PodOwner,
  type PodTemplate,
  type Revision,
  ROLLBACK_ANNOTATION,
  type Rollouts,
  type Workload,
} from "@hullmark/actuator/ports/rollouts";

type Name = Pick<PodTarget, "namespace" | "name">;

/** @throws EngineError ENGINE_UNREACHABLE where nobody is to hear of it */
function answered<T>(unheard: Set<T>, method: T): void {
  if (unheard.delete(method)) throw new EngineError("ENGINE_UNREACHABLE", "socket hang up");
}

export class FakeCluster implements Cluster {
  /** What the pods' specifications ask for. */
  static readonly image = "r.example:5000/web:3";
  /** By `NAMESPACE/NAME`. */
  readonly pods = new Map<string, ClusterPod>();
  readonly events: PodEvent[] = [];
  readonly evicted: string[] = [];
  /** How often it was asked how many run. */
  counts = 0;
  /** Method → error thrown at its next call. */
  readonly failures = new Map<keyof Cluster, EngineError>();
  /** Methods whose next call is carried out, and not answered. */
  readonly unheard = new Set<keyof Cluster>();
  /** Why evictions are forbidden now. */
  budget: string | undefined;
  /** Until when an evicted pod takes to end; undefined: it is gone at once. */
  endsMs: number | undefined;

  add(name: string, more: Partial<ClusterPod> = {}, namespace = "shop"): { target: PodTarget; containerId: string } {
    const [uid, id] = [randomUUID(), randomBytes(32).toString("hex")];
    const imageDigest = `sha256:${"1".repeat(64)}`;
    const containers = [{ name: "web", id, imageDigest, image: FakeCluster.image, running: more.running ?? true }];
    const pod = {
      uid,
      nodeName: "w-1",
      hostNetwork: false,
      labels: {},
      running: true,
      isStatic: false,
      owner: `Deployment/${name}`,
      controllerUid: undefined,
      endsMs: undefined,
      containers,
      ...more,
    };
    this.pods.set(`${namespace}/${name}`, pod);
    // The node knows a static pod by the hash of its file, which no uid of the API server's copy is.
    const known = pod.isStatic ? randomBytes(16).toString("hex") : pod.uid;
    const target = { namespace, name, uid: known, container: "web", nodeName: "w-1", imageDigests: [imageDigest], driftId: "D-7K2Q", driftLogIndex: 7 };
    return { target, containerId: id };
  }

  async find({ namespace, name }: Name): Promise<ClusterPod | undefined> {
    this.#fail("find");
    return this.pods.get(`${namespace}/${name}`);
  }

  async countRunning(): Promise<number> {
    this.counts++;
    return [...this.pods.values()].filter(({ running }) => running).length;
  }

  async evict({ namespace, name, uid }: Name & { readonly uid: string }): Promise<Eviction> {
    this.#fail("evict");
    const pod = this.pods.get(`${namespace}/${name}`);
    if (pod?.uid !== uid) return { outcome: "gone" };
    if (this.budget !== undefined) return { outcome: "budget", why: this.budget, retryAfterMs: 10_000 };
    this.evicted.push(`${namespace}/${name}`);
    if (this.endsMs === undefined) this.pods.delete(`${namespace}/${name}`);
    else this.pods.set(`${namespace}/${name}`, { ...pod, endsMs: this.endsMs });
    answered(this.unheard, "evict");
    return { outcome: "accepted" };
  }

  async tell(event: PodEvent): Promise<void> {
    this.#fail("tell");
    this.events.push(event);
  }

  #fail(method: keyof Cluster): void {
    const failure = this.failures.get(method);
    this.failures.delete(method);
    if (failure) throw failure;
  }
}

/** A namespace's policies in memory; labels go onto the cluster's pods. */
export class FakeFence implements PodFence {
  readonly #cluster: FakeCluster;
  raised = 0;
  /** Policies that let something of every pod through. */
  opened: string[] = [];
  /** Those that select pods by the very label that isolates. */
  openedByLabel: string[] = [];
  readonly failures = new Map<keyof PodFence, EngineError>();
  /** Methods whose next call is carried out, and not answered. */
  readonly unheard = new Set<keyof PodFence>();
  /** Labels that were put on or taken away. */
  labelled = 0;

  constructor(cluster: FakeCluster) {
    this.#cluster = cluster;
  }

  async openings(_where: object, labels: Readonly<Record<string, string>>): Promise<readonly string[]> {
    this.#fail("openings");
    return [...this.opened, ...(Object.hasOwn(labels, ISOLATED_LABEL) ? this.openedByLabel : [])];
  }

  async raise(): Promise<void> {
    this.#fail("raise");
    this.raised++;
    answered(this.unheard, "raise");
  }

  async label({ namespace, name, uid }: PodTarget, actionId: string | undefined): Promise<void> {
    this.#fail("label");
    const pod = this.#cluster.pods.get(`${namespace}/${name}`);
    if (pod?.uid !== uid) throw new EngineError("ENGINE_REFUSED", "another pod");
    const { [ISOLATED_LABEL]: _before, ...others } = pod.labels;
    this.#cluster.pods.set(`${namespace}/${name}`, { ...pod, labels: { ...others, ...(actionId !== undefined && { [ISOLATED_LABEL]: actionId }) } });
    this.labelled++;
    answered(this.unheard, "label");
  }

  #fail(method: keyof PodFence): void {
    const failure = this.failures.get(method);
    this.failures.delete(method);
    if (failure) throw failure;
  }
}

/** One Deployment, its ReplicaSets, and what its controller makes of another template: nothing, until {@link FakeRollouts.roll}. */
export class FakeRollouts implements Rollouts {
  workload: Workload | undefined;
  readonly owner: PodOwner;
  readonly revisions = new Map<string, Revision>();
  readonly applied: string[] = [];
  readonly paused = new Set<string>();
  /** Of applications and the like, by name. */
  readonly sources = new Map<string, string>();
  readonly failures = new Map<keyof Rollouts, EngineError>();
  /** Methods whose next call is carried out, and not answered. */
  readonly unheard = new Set<keyof Rollouts>();

  /** @param images of the revisions that were rolled out, the present one last */
  constructor(...images: readonly string[]) {
    const uid = randomUUID();
    for (const [i, image] of images.entries())
      this.revisions.set(`web-${i + 1}`, { name: `web-${i + 1}`, number: i + 1, ownerUid: uid, template: FakeRollouts.template(image) });
    const name = `web-${images.length}`;
    this.owner = { kind: "ReplicaSet", name, uid: randomUUID() };
    this.workload = {
      ...{ kind: "Deployment", namespace: "shop", name: "web", uid, resourceVersion: "1", labels: {}, annotations: {}, managers: ["kubectl"] },
      ...{
        controller: undefined,
        replicas: 3,
        present: 3,
        paused: false,
        byHand: false,
        template: FakeRollouts.template(images.at(-1) ?? ""),
        progress: { state: "done" },
      },
    };
  }

  static template(image: string): PodTemplate {
    return { metadata: { labels: { app: "web" } }, spec: { containers: [{ name: "web", image }] } };
  }

  change(more: Partial<Workload>): void {
    if (this.workload) this.workload = { ...this.workload, ...more, resourceVersion: String(Number(this.workload.resourceVersion) + 1) };
  }

  async find(_namespace: string, { uid }: PodOwner): Promise<Workload | undefined> {
    this.#fail("find");
    return uid === this.owner.uid ? this.workload : undefined;
  }

  async revision(_namespace: string, _kind: string, name: string): Promise<Revision | undefined> {
    this.#fail("revision");
    return this.revisions.get(name);
  }

  async apply({ uid, resourceVersion }: Workload, template: PodTemplate, annotation: string): Promise<void> {
    this.#fail("apply");
    if (this.workload?.uid !== uid || this.workload.resourceVersion !== resourceVersion) throw new EngineError("ENGINE_UNREACHABLE", "conflict");
    this.applied.push(template.spec.containers.map(({ image }) => image).join());
    this.change({ template, annotations: { ...this.workload.annotations, [ROLLBACK_ANNOTATION]: annotation }, progress: { state: "under-way" } });
    answered(this.unheard, "apply");
  }

  async halt({ uid, resourceVersion }: Workload, annotation: string): Promise<void> {
    this.#fail("halt");
    if (this.workload?.uid !== uid || this.workload.resourceVersion !== resourceVersion) throw new EngineError("ENGINE_UNREACHABLE", "conflict");
    this.applied.push("none");
    this.change({ replicas: 0, annotations: { ...this.workload.annotations, [HALT_ANNOTATION]: annotation } });
    answered(this.unheard, "halt");
  }

  async source({ name }: GitOpsOwner): Promise<string | undefined> {
    return this.sources.get(name);
  }

  async pause({ kind, namespace, name }: GitOpsOwner): Promise<void> {
    this.#fail("pause");
    this.paused.add(`${kind} ${namespace}/${name}`);
    answered(this.unheard, "pause");
  }

  #fail(method: keyof Rollouts): void {
    const failure = this.failures.get(method);
    this.failures.delete(method);
    if (failure) throw failure;
  }
}
