/** A cluster's pods in memory, with a disruption budget that can forbid: for what an actuator does in every order of events. */
import { randomBytes, randomUUID } from "node:crypto";
import type { Cluster, ClusterPod, Eviction, PodEvent, PodTarget } from "@hullmark/actuator/ports/cluster";
import type { EngineError } from "@hullmark/actuator/ports/engine";

type Name = Pick<PodTarget, "namespace" | "name">;

export class FakeCluster implements Cluster {
  /** By `NAMESPACE/NAME`. */
  readonly pods = new Map<string, ClusterPod>();
  readonly events: PodEvent[] = [];
  readonly evicted: string[] = [];
  /** Method → error thrown at its next call. */
  readonly failures = new Map<keyof Cluster, EngineError>();
  /** Why evictions are forbidden now. */
  budget: string | undefined;
  /** Until when an evicted pod takes to end; undefined: it is gone at once. */
  endsMs: number | undefined;

  add(name: string, more: Partial<ClusterPod> = {}, namespace = "shop"): { target: PodTarget; containerId: string } {
    const [uid, id] = [randomUUID(), randomBytes(32).toString("hex")];
    const imageDigest = `sha256:${"1".repeat(64)}`;
    const containers = [{ name: "web", id, imageDigest }];
    const pod = { uid, nodeName: "w-1", labels: {}, running: true, isStatic: false, owner: `Deployment/${name}`, endsMs: undefined, containers, ...more };
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

  async countPods(): Promise<number> {
    return this.pods.size;
  }

  async evict({ namespace, name, uid }: Name & { readonly uid: string }): Promise<Eviction> {
    this.#fail("evict");
    const pod = this.pods.get(`${namespace}/${name}`);
    if (pod?.uid !== uid) return { outcome: "gone" };
    if (this.budget !== undefined) return { outcome: "budget", why: this.budget, retryAfterMs: 10_000 };
    this.evicted.push(`${namespace}/${name}`);
    if (this.endsMs === undefined) this.pods.delete(`${namespace}/${name}`);
    else this.pods.set(`${namespace}/${name}`, { ...pod, endsMs: this.endsMs });
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
