/** {@link Cluster} by the API server: pods, the Eviction API (policy/v1) with the pod's uid as precondition, and Events. */
import { AnswerTooLarge, type ApiServer, PageSize } from "@hullmark/daemon/api-server";
import * as z from "zod";
import type { Cluster, ClusterPod, Eviction, PodEvent, PodTarget } from "../../ports/cluster.ts";
import { EngineError } from "../../ports/engine.ts";
import { ask, problem, statusOf } from "./api-answers.ts";
import { MAX_INSTANCE, MAX_NAME, MAX_NOTE, postEvent } from "./events.ts";

/** By how reasons of Events begin. */
const ACTIONS = [
  ["Evict", "Evict"],
  ["Halt", "Halt"],
  ["Isolat", "Isolate"],
  ["Release", "Release"],
] as const;
/** Where a budget says nothing of when to ask again; and what it may say. */
const RETRY_SECONDS = 5;
const MAX_RETRY_SECONDS = 60;

const Owner = z.object({ kind: z.string(), name: z.string(), uid: z.string().default(""), controller: z.boolean().optional() });
const Asked = z.array(z.object({ name: z.string(), image: z.string().default("") })).default([]);
const ContainerStatus = z.object({
  name: z.string(),
  containerID: z.string().default(""),
  imageID: z.string().default(""),
  state: z.object({ running: z.unknown().optional() }).prefault({}),
});
const Pod = z.object({
  metadata: z.object({
    uid: z.string(),
    labels: z.record(z.string(), z.string()).default({}),
    annotations: z.record(z.string(), z.string()).default({}),
    ownerReferences: z.array(Owner).default([]),
    deletionTimestamp: z.string().optional(),
  }),
  spec: z.object({
    nodeName: z.string().default(""),
    hostNetwork: z.boolean().default(false),
    containers: Asked,
    initContainers: Asked,
    ephemeralContainers: Asked,
  }),
  status: z
    .object({
      phase: z.string().default(""),
      containerStatuses: z.array(ContainerStatus).default([]),
      initContainerStatuses: z.array(ContainerStatus).default([]),
      ephemeralContainerStatuses: z.array(ContainerStatus).default([]),
    })
    .prefault({}),
});
/** Rows without their objects: a few hundred bytes a pod. */
const TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1";
const Table = z.object({
  metadata: z.object({ continue: z.string().default("") }).prefault({}),
  rows: z
    .array(z.unknown())
    .nullish()
    .transform((rows) => rows ?? []),
});
const PAGE = 1000;
/** Beyond so many pods a limit that is a share of them holds nothing back any more. */
const MAX_PAGES = 50;
export class KubernetesCluster implements Cluster {
  readonly #api: Pick<ApiServer, "get" | "post">;
  readonly #instance: string;

  /** @param instance of this actuator, for its Events */
  constructor(api: Pick<ApiServer, "get" | "post">, instance: string) {
    this.#api = api;
    this.#instance = instance.slice(0, MAX_INSTANCE);
  }

  async find({ namespace, name }: Pick<PodTarget, "namespace" | "name">): Promise<ClusterPod | undefined> {
    const answer = await ask(() => this.#api.get(path(namespace, name)));
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw problem(answer, "get pods");
    return readPod(answer.body);
  }

  async countRunning(): Promise<number> {
    const running = `/api/v1/pods?fieldSelector=${encodeURIComponent("status.phase=Running")}&includeObject=None`;
    const size = new PageSize(PAGE);
    let count = 0;
    for (let page = 0, from = ""; page < MAX_PAGES; page++) {
      const rest = from && `&continue=${encodeURIComponent(from)}`;
      const answer = await ask(() =>
        size
          .ask((limit) => this.#api.get(`${running}&limit=${limit}${rest}`, TABLE))
          .catch((error: unknown) => {
            if (error instanceof AnswerTooLarge) return undefined;
            throw error;
          }),
      );
      // A row has what a node wrote of its own pod's status, however long. Too few counted allow less, and one action at least.
      if (!answer) break;
      if (answer.status !== 200) throw problem(answer, "list pods");
      const { rows, metadata } = Table.parse(answer.body);
      count += rows.length;
      size.grow();
      from = metadata.continue;
      if (from === "") break;
    }
    return count;
  }

  async evict({ namespace, name, uid }: Pick<PodTarget, "namespace" | "name" | "uid">): Promise<Eviction> {
    const eviction = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name, namespace }, deleteOptions: { preconditions: { uid } } };
    const answer = await ask(() => this.#api.post(`${path(namespace, name)}/eviction`, eviction));
    if (answer.status === 200 || answer.status === 201) return { outcome: "accepted" };
    if (answer.status === 404) return { outcome: "gone" };
    // The precondition does not hold, or the pod was changed in between: it is asked again then.
    if (answer.status === 409 && (await this.find({ namespace, name }))?.uid !== uid) return { outcome: "gone" };
    const status = statusOf(answer);
    const budget = answer.status === 429 && status.details.causes.find(({ reason }) => reason === "DisruptionBudget");
    // So the API server says that several budgets are for the pod, which does not pass.
    if (answer.status === 500) throw new EngineError("ENGINE_REFUSED", `the API server answers 500: ${status.message.slice(0, 300)}`);
    if (!budget) throw problem(answer, "create pods/eviction");
    const seconds = Math.min(Math.max(1, status.details.retryAfterSeconds || RETRY_SECONDS), MAX_RETRY_SECONDS);
    return { outcome: "budget", why: budget.message || status.message, retryAfterMs: seconds * 1000 };
  }

  async tell({ intentId, actionId, logIndex, pod, reason, note, warning, atMs }: PodEvent): Promise<void> {
    const { namespace, name, uid, container, driftId, driftLogIndex } = pod;
    const suffix = `.${intentId}.${reason.toLowerCase()}`;
    await postEvent(this.#api, this.#instance, {
      name: `${name.slice(0, MAX_NAME - suffix.length).replace(/[.-]+$/, "")}${suffix}`,
      ...{ namespace, actionId, logIndex, warning, reason, atMs },
      annotations: { "hullmark.dev/drift": driftId, "hullmark.dev/drift-log-index": String(driftLogIndex) },
      action: ACTIONS.find(([prefix]) => reason.startsWith(prefix))?.[1] ?? "RollBack",
      note: note.slice(0, MAX_NOTE),
      regarding: { apiVersion: "v1", kind: "Pod", namespace, name, uid, fieldPath: `spec.containers{${container}}` },
    });
  }
}

function path(namespace: string, name: string): string {
  return `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`;
}

function readPod(body: unknown): ClusterPod {
  const parsed = Pod.safeParse(body);
  if (!parsed.success) throw new EngineError("ENGINE_REFUSED", "the API server's answer is no pod");
  const { metadata, spec, status } = parsed.data;
  const { uid, labels, annotations, ownerReferences, deletionTimestamp } = metadata;
  const asked = [...spec.containers, ...spec.initContainers, ...spec.ephemeralContainers];
  const statuses = [...status.containerStatuses, ...status.initContainerStatuses, ...status.ephemeralContainerStatuses];
  return {
    ...{
      uid,
      labels,
      nodeName: spec.nodeName,
      hostNetwork: spec.hostNetwork,
      running: status.phase === "Running",
      isStatic: Object.hasOwn(annotations, "kubernetes.io/config.mirror"),
    },
    owner: ownerOf(ownerReferences, labels),
    controllerUid: ownerReferences.find(({ controller }) => controller)?.uid,
    endsMs: deletionTimestamp === undefined ? undefined : Date.parse(deletionTimestamp),
    containers: statuses.map(({ name, containerID, imageID, state }) => ({
      ...{ name, id: containerID.slice(containerID.indexOf("://") + 3) },
      imageDigest: imageID.slice(imageID.lastIndexOf("@") + 1).replace(/^.*:\/\//, ""),
      image: asked.find((each) => each.name === name)?.image ?? "",
      running: Boolean(state.running),
    })),
  };
}

/** A Deployment's pods are made by ReplicaSets that come and go: the Deployment is the service. */
function ownerOf(owners: readonly z.output<typeof Owner>[], labels: Readonly<Record<string, string>>): string | undefined {
  const owner = owners.find(({ controller }) => controller);
  // A static pod's owner is its node, which makes it anew.
  if (!owner || owner.kind === "Node") return owner && `Node/${owner.name}`;
  const hash = labels["pod-template-hash"];
  const suffix = `-${hash}`;
  if (owner.kind === "ReplicaSet" && hash && owner.name.endsWith(suffix)) return `Deployment/${owner.name.slice(0, -suffix.length)}`;
  return `${owner.kind}/${owner.name}`;
}
