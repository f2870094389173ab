/** {@link Rollouts} by the API server: objects are got by name, and one of them is patched in its template and one annotation. Nothing is listed. */
import type { ApiServer } from "@hullmark/daemon/api-server";
import * as z from "zod";
import { EngineError } from "../../ports/engine.ts";
import {
  type GitOpsOwner,
  HALT_ANNOTATION,
  type PodOwner,
  type PodTemplate,
  type Revision,
  ROLLBACK_ANNOTATION,
  type Rollouts,
  WORKLOAD_KINDS,
  type Workload,
  type WorkloadKind,
} from "../../ports/rollouts.ts";
import { ask, problem } from "./api-answers.ts";
import { GitOpsObjects } from "./gitops-objects.ts";

const RESOURCES: Readonly<Record<WorkloadKind | "ReplicaSet" | "ControllerRevision", string>> = {
  Deployment: "deployments",
  StatefulSet: "statefulsets",
  DaemonSet: "daemonsets",
  ReplicaSet: "replicasets",
  ControllerRevision: "controllerrevisions",
};
/** Where a ReplicaSet says which of its Deployment's rollouts it was. */
const REVISION = "deployment.kubernetes.io/revision";

const Owner = z.object({ kind: z.string(), name: z.string(), uid: z.string(), controller: z.boolean().default(false) });
const Names = z.record(z.string(), z.string()).nullish();
const Metadata = z.object({
  ...{ name: z.string(), uid: z.string(), resourceVersion: z.string(), generation: z.int().default(0) },
  ...{ labels: Names, annotations: Names, ownerReferences: z.array(Owner).default([]) },
  managedFields: z.array(z.object({ manager: z.string().default("") })).default([]),
});
const Container = z.looseObject({ name: z.string(), image: z.string().default("") });
const Template = z.looseObject({
  metadata: z.looseObject({ labels: Names }).nullish(),
  spec: z.looseObject({ containers: z.array(Container), initContainers: z.array(Container).optional() }),
});
const Condition = z.object({ type: z.string(), status: z.string(), reason: z.string().default(""), message: z.string().default("") });
const WorkloadObject = z.object({
  metadata: Metadata,
  spec: z.object({
    replicas: z.int().optional(),
    paused: z.boolean().default(false),
    updateStrategy: z.object({ type: z.string().default(""), rollingUpdate: z.object({ partition: z.int().default(0) }).nullish() }).nullish(),
    template: Template,
  }),
  status: z
    .object({
      ...{ observedGeneration: z.int().default(0), replicas: z.int().default(0), updatedReplicas: z.int().default(0), availableReplicas: z.int().default(0) },
      ...{
        readyReplicas: z.int().default(0),
        desiredNumberScheduled: z.int().default(0),
        currentNumberScheduled: z.int().default(0),
        updatedNumberScheduled: z.int().default(0),
        numberAvailable: z.int().default(0),
      },
      conditions: z.array(Condition).default([]),
    })
    .prefault({}),
});
type WorkloadObject = z.output<typeof WorkloadObject>;
const ReplicaSet = z.object({ metadata: Metadata, spec: z.object({ template: Template }) });
const ControllerRevision = z.object({ metadata: Metadata, revision: z.int(), data: z.object({ spec: z.object({ template: Template }) }) });

export class KubernetesRollouts implements Rollouts {
  readonly #api: Pick<ApiServer, "get" | "patch">;
  readonly #gitOps: GitOpsObjects;

  constructor(api: Pick<ApiServer, "get" | "patch">) {
    this.#api = api;
    this.#gitOps = new GitOpsObjects(api);
  }

  source(owner: GitOpsOwner, workload: Pick<Workload, "kind" | "namespace" | "name">): Promise<string | undefined> {
    return this.#gitOps.source(owner, workload);
  }

  pause(owner: GitOpsOwner, workload: Pick<Workload, "kind" | "namespace" | "name">): Promise<void> {
    return this.#gitOps.pause(owner, workload);
  }

  async find(namespace: string, owner: PodOwner): Promise<Workload | undefined> {
    const workload = owner.kind === "ReplicaSet" ? await this.#deploymentOf(namespace, owner) : owner;
    const kind = WORKLOAD_KINDS.find((each) => each === workload?.kind);
    if (!kind || !workload) return undefined;
    const object = await this.#get(namespace, kind, workload.name, WorkloadObject);
    return object?.metadata.uid === workload.uid ? readWorkload(kind, namespace, object) : undefined;
  }

  async #deploymentOf(namespace: string, { name, uid }: PodOwner): Promise<PodOwner | undefined> {
    const set = await this.#get(namespace, "ReplicaSet", name, ReplicaSet);
    return set?.metadata.uid === uid ? controllerOf(set.metadata) : undefined;
  }

  async revision(namespace: string, kind: WorkloadKind, name: string): Promise<Revision | undefined> {
    // A pod without the label that names it: its path would be that of all of them.
    if (name === "") return undefined;
    if (kind === "Deployment") {
      const set = await this.#get(namespace, "ReplicaSet", name, ReplicaSet);
      const number = Number(set?.metadata.annotations?.[REVISION] ?? Number.NaN);
      return set && Number.isSafeInteger(number) ? { name, number, ownerUid: controllerOf(set.metadata)?.uid, template: clean(set.spec.template) } : undefined;
    }
    const found = await this.#get(namespace, "ControllerRevision", name, ControllerRevision);
    return found && { name, number: found.revision, ownerUid: controllerOf(found.metadata)?.uid, template: clean(found.data.spec.template) };
  }

  apply(workload: Workload, template: PodTemplate, annotation: string): Promise<void> {
    return this.#change(workload, { path: "/spec/template", value: template }, ROLLBACK_ANNOTATION, annotation);
  }

  halt(workload: Workload, annotation: string): Promise<void> {
    return this.#change(workload, { path: "/spec/replicas", value: 0 }, HALT_ANNOTATION, annotation);
  }

  async #change({ kind, namespace, name, uid, resourceVersion, annotations }: Workload, what: object, key: string, annotation: string): Promise<void> {
    const patch = [
      { op: "test", path: "/metadata/uid", value: uid },
      // Another one than is stored is a conflict.
      { op: "replace", path: "/metadata/resourceVersion", value: resourceVersion },
      { op: "replace", ...what },
      ...(Object.keys(annotations).length === 0 ? [{ op: "add", path: "/metadata/annotations", value: {} }] : []),
      { op: "add", path: `/metadata/annotations/${key.replaceAll("/", "~1")}`, value: annotation },
    ];
    const answer = await ask(() => this.#api.patch(path(namespace, kind, name), patch, "application/json-patch+json"));
    if (answer.status !== 200) throw problem(answer, `patch ${RESOURCES[kind]}`);
  }

  async #get<T>(namespace: string, kind: keyof typeof RESOURCES, name: string, schema: z.ZodType<T>): Promise<T | undefined> {
    const answer = await ask(() => this.#api.get(path(namespace, kind, name)));
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw problem(answer, `get ${RESOURCES[kind]}`);
    const parsed = schema.safeParse(answer.body);
    if (!parsed.success) throw new EngineError("ENGINE_REFUSED", `the API server's answer is no ${kind}`);
    return parsed.data;
  }
}

function path(namespace: string, kind: keyof typeof RESOURCES, name: string): string {
  return `/apis/apps/v1/namespaces/${encodeURIComponent(namespace)}/${RESOURCES[kind]}/${encodeURIComponent(name)}`;
}

function controllerOf({ ownerReferences }: z.output<typeof Metadata>): PodOwner | undefined {
  return ownerReferences.find(({ controller }) => controller);
}

function readWorkload(kind: WorkloadKind, namespace: string, object: WorkloadObject): Workload {
  const { metadata, spec, status } = object;
  const controller = controllerOf(metadata);
  return {
    ...{ kind, namespace, name: metadata.name, uid: metadata.uid, resourceVersion: metadata.resourceVersion },
    ...{ labels: metadata.labels ?? {}, annotations: metadata.annotations ?? {}, managers: metadata.managedFields.map(({ manager }) => manager) },
    controller: controller && `${controller.kind}/${controller.name}`,
    replicas: kind === "DaemonSet" ? status.desiredNumberScheduled : (spec.replicas ?? 1),
    present: kind === "DaemonSet" ? status.currentNumberScheduled : status.replicas,
    paused: spec.paused,
    byHand: spec.updateStrategy?.type === "OnDelete" || (spec.updateStrategy?.rollingUpdate?.partition ?? 0) > 0,
    template: clean(spec.template),
    progress: progressOf(kind, object),
  };
}

/** As `kubectl rollout status` has it. */
function progressOf(kind: WorkloadKind, { metadata, spec, status }: WorkloadObject): Workload["progress"] {
  const underWay = { state: "under-way" } as const;
  if (status.observedGeneration < metadata.generation) return underWay;
  const done = (yes: boolean): Workload["progress"] => (yes ? { state: "done" } : underWay);
  if (kind === "DaemonSet")
    return done(status.updatedNumberScheduled >= status.desiredNumberScheduled && status.numberAvailable >= status.desiredNumberScheduled);
  const wanted = spec.replicas ?? 1;
  if (kind === "StatefulSet") return done(status.updatedReplicas >= wanted && status.readyReplicas >= wanted);
  const stuck = status.conditions.find(({ type, reason }) => type === "Progressing" && reason === "ProgressDeadlineExceeded");
  if (stuck) return { state: "stuck", why: stuck.message };
  return done(status.updatedReplicas >= wanted && status.replicas <= status.updatedReplicas && status.availableReplicas >= status.updatedReplicas);
}

/** Without what the API server and the controllers put in by themselves. */
function clean({ $patch: _patch, metadata, ...template }: z.output<typeof Template>): PodTemplate {
  const { creationTimestamp: _time, labels, ...more } = metadata ?? {};
  const { "pod-template-hash": _hash, ...own } = labels ?? {};
  return { ...template, metadata: { ...more, labels: own } };
}
