/** A pod as the API server tells it, cut to what appraisal needs. */
import * as z from "zod";
import type { ContainerRole, PodContainer, PodMount, PodOrigin, PodRecord, PodTemplateSource, PodVariable, RunningContainer } from "../../ports/pod-view.ts";
import { fieldName, podFields } from "./pod-fields.ts";

/** The kubelet writes a pod from its own folder to the API server under another uid, with its own here. */
const MIRROR = "kubernetes.io/config.mirror";

const SeccompProfile = z.object({ type: z.string() }).optional();
const Context = z.object({ runAsUser: z.int().optional(), runAsGroup: z.int().optional(), seccompProfile: SeccompProfile });
const PodContext = Context.extend({ supplementalGroups: z.array(z.int()).optional(), fsGroup: z.int().optional() });
const ContainerContext = Context.extend({
  privileged: z.boolean().optional(),
  readOnlyRootFilesystem: z.boolean().optional(),
  allowPrivilegeEscalation: z.boolean().optional(),
  capabilities: z.object({ add: z.array(z.string()).optional(), drop: z.array(z.string()).optional() }).optional(),
});
const Key = z.object({ optional: z.boolean().default(false) }).optional();
const NamedKey = z.object({ name: z.string().default(""), key: z.string().default(""), optional: z.boolean().default(false) }).optional();
const Named = z.object({ name: z.string().default(""), optional: z.boolean().default(false) }).optional();
const Quantity = z.union([z.string(), z.number()]).transform(String);
const ResourceField = z.object({ containerName: z.string().default(""), resource: z.string(), divisor: Quantity.default("0") });
const ValueFrom = z.object({
  ...{ fieldRef: z.object({ fieldPath: z.string() }).optional(), resourceFieldRef: ResourceField.optional() },
  ...{ configMapKeyRef: NamedKey, secretKeyRef: NamedKey, fileKeyRef: Key },
});
const Container = z.object({
  name: z.string(),
  image: z.string().default(""),
  command: z.array(z.string()).default([]),
  args: z.array(z.string()).default([]),
  workingDir: z.string().default(""),
  env: z.array(z.object({ name: z.string(), value: z.string().optional(), valueFrom: ValueFrom.optional() })).default([]),
  envFrom: z.array(z.object({ prefix: z.string().default(""), configMapRef: Named, secretRef: Named })).default([]),
  volumeMounts: z
    .array(
      z.object({
        ...{ name: z.string(), mountPath: z.string(), readOnly: z.boolean().default(false) },
        ...{ subPath: z.string().default(""), subPathExpr: z.string().default("") },
      }),
    )
    .default([]),
  volumeDevices: z.array(z.object({ devicePath: z.string() })).default([]),
  // What the API server puts in where nothing is said.
  terminationMessagePath: z.string().default("/dev/termination-log"),
  securityContext: ContainerContext.optional(),
  resources: z
    .object({ limits: z.record(z.string(), Quantity).optional(), requests: z.record(z.string(), Quantity).optional(), claims: z.array(z.unknown()).optional() })
    .optional(),
});
const Containers = z.array(Container).default([]);
const Owner = z.object({ kind: z.string(), name: z.string(), uid: z.string(), controller: z.boolean().default(false) });
const Running = z.object({ startedAt: z.string().nullish() }).nullish();
const Statuses = z
  .array(z.object({ name: z.string(), containerID: z.string().default(""), state: z.object({ running: Running }).optional() }))
  .nullish()
  .transform((all) => all ?? []);
const Addresses = z
  .array(z.object({ ip: z.string().default("") }))
  .nullish()
  .transform((all) => (all ?? []).map(({ ip }) => ip));
const Pod = z.object({
  metadata: z.object({
    uid: z.string(),
    namespace: z.string(),
    name: z.string(),
    resourceVersion: z.string(),
    creationTimestamp: z.string().nullish(),
    deletionTimestamp: z.string().optional(),
    managedFields: z.unknown().optional(),
    annotations: z.record(z.string(), z.string()).optional(),
    labels: z.record(z.string(), z.string()).default({}),
    ownerReferences: z.array(Owner).default([]),
  }),
  spec: z.object({
    nodeName: z.string().default(""),
    serviceAccountName: z.string().optional(),
    containers: Containers,
    initContainers: Containers,
    ephemeralContainers: Containers,
    securityContext: PodContext.optional(),
    volumes: z.array(z.looseObject({ name: z.string(), hostPath: z.object({ path: z.string() }).nullish() })).default([]),
    hostNetwork: z.boolean().default(false),
    hostPID: z.boolean().default(false),
    hostIPC: z.boolean().default(false),
    hostAliases: z.array(z.object({ ip: z.string(), hostnames: z.array(z.string()).default([]) })).default([]),
  }),
  status: z
    .object({
      ...{ containerStatuses: Statuses, initContainerStatuses: Statuses, ephemeralContainerStatuses: Statuses },
      ...{ podIP: z.string().default(""), podIPs: Addresses, hostIP: z.string().default(""), hostIPs: Addresses },
    })
    .optional(),
});
export type Pod = z.infer<typeof Pod>;

export interface ListedPod {
  /** The object's own, by which a deletion is told. */
  readonly objectUid: string;
  readonly resourceVersion: string;
  readonly record: PodRecord;
}

/**
 * @param before what was made of the version that this one follows at once; `made`: it is the first that there was; undefined: versions between may have been missed
 * @throws ZodError where it is no pod
 */
export function readPod(raw: unknown, before?: PodRecord | "made"): ListedPod {
  const pod = Pod.parse(raw);
  const { metadata, spec } = pod;
  const running = runningOf(pod.status);
  const ends = metadata.deletionTimestamp !== undefined;
  const own = metadata.annotations?.[MIRROR];
  const uid = own ?? metadata.uid;
  const read = (role: ContainerRole, containers: Pod["spec"]["containers"]): PodContainer[] => containers.map((each) => readContainer(each, role, pod));
  return {
    objectUid: metadata.uid,
    resourceVersion: metadata.resourceVersion,
    record: {
      ...{ uid, namespace: metadata.namespace, name: metadata.name, nodeName: spec.nodeName, mirror: own !== undefined },
      madeMs: Date.parse(metadata.creationTimestamp ?? ""),
      origin: originOf(metadata),
      template: templateOf(metadata),
      containers: [...read("container", spec.containers), ...read("init", spec.initContainers), ...read("ephemeral", spec.ephemeralContainers)],
      // Of what is ending, kubelet and agent tell at times of their own.
      running: ends ? [] : running,
      ending: ends ? running.map(({ id }) => id) : [],
      groups: [...(spec.securityContext?.supplementalGroups ?? []), ...(spec.securityContext?.fsGroup === undefined ? [] : [spec.securityContext.fsGroup])],
      hostNamespaces: [spec.hostNetwork ? "net" : "", spec.hostPID ? "pid" : "", spec.hostIPC ? "ipc" : ""].filter((name) => name !== ""),
      hostAliases: spec.hostAliases.flatMap(({ ip, hostnames }) => hostnames.map((name) => `${name}:${ip}`)),
      fields: podFields(pod, uid, before),
    },
  };
}

/** A Deployment's ReplicaSets have the hash of the template in their names; what a StatefulSet's or DaemonSet's pod was made of is in a label. */
function originOf({ ownerReferences, labels }: Pod["metadata"]): PodOrigin | undefined {
  const owner = ownerReferences.find(({ controller }) => controller);
  if (!owner) return undefined;
  const { kind, name, uid } = owner;
  const [template, revision] = [labels["pod-template-hash"], labels["controller-revision-hash"]];
  if (kind === "ReplicaSet" && template && name.endsWith(`-${template}`))
    return { owner: { kind, name, uid }, workload: `Deployment/${name.slice(0, -template.length - 1)}`, revision: name };
  if (kind === "StatefulSet" && revision) return { owner: { kind, name, uid }, workload: `${kind}/${name}`, revision };
  if (kind === "DaemonSet" && revision) return { owner: { kind, name, uid }, workload: `${kind}/${name}`, revision: `${name}-${revision}` };
  return undefined;
}

/** Only what never changes: the template of a ReplicaSet by its Deployment, whose hash its name ends with, of a revision, of a Job. */
function templateOf(metadata: Pod["metadata"]): PodTemplateSource | undefined {
  const owner = metadata.ownerReferences.find(({ controller }) => controller);
  const origin = originOf(metadata);
  if (origin) return { kind: origin.owner.kind === "ReplicaSet" ? "ReplicaSet" : "ControllerRevision", name: origin.revision, ownerUid: origin.owner.uid };
  return owner?.kind === "Job" ? { kind: "Job", name: owner.name, ownerUid: owner.uid } : undefined;
}

function runningOf(status: Pod["status"]): RunningContainer[] {
  const all = status ? [...status.containerStatuses, ...status.initContainerStatuses, ...status.ephemeralContainerStatuses] : [];
  return all.flatMap(({ name, containerID, state }) => {
    // `containerd://ID`
    const id = containerID.slice(containerID.indexOf("://") + 3);
    return state?.running && id !== "" ? [{ name, id, sinceMs: Date.parse(state.running.startedAt ?? "") || 0 }] : [];
  });
}

function readContainer(container: z.infer<typeof Container>, role: ContainerRole, pod: Pod): PodContainer {
  const own: z.infer<typeof ContainerContext> = container.securityContext ?? {};
  const shared = pod.spec.securityContext;
  const capabilities = (names: readonly string[] = []): string[] => names.map((name) => name.toUpperCase().replace(/^CAP_/, ""));
  return {
    ...{ name: container.name, role, image: container.image, command: container.command, args: container.args, workingDirectory: container.workingDir },
    env: container.env.map(
      ({ name, value, valueFrom }): PodVariable => ({
        name,
        value: valueFrom ? undefined : (value ?? ""),
        field: fieldName(valueFrom, container.name),
        secret: valueFrom?.secretKeyRef?.name,
        configMap: valueFrom?.configMapKeyRef && { name: valueFrom.configMapKeyRef.name, key: valueFrom.configMapKeyRef.key },
        optional: [valueFrom?.configMapKeyRef, valueFrom?.secretKeyRef, valueFrom?.fileKeyRef].some((key) => key?.optional),
      }),
    ),
    envFrom: container.envFrom.map(({ prefix, configMapRef, secretRef }) => ({
      ...{ prefix, configMap: configMapRef?.name, secret: secretRef?.name },
      optional: configMapRef?.optional === true || secretRef?.optional === true,
    })),
    user: own.runAsUser ?? shared?.runAsUser,
    group: own.runAsGroup ?? shared?.runAsGroup,
    privileged: own.privileged === true,
    readOnlyRoot: own.readOnlyRootFilesystem === true,
    noEscalation: own.allowPrivilegeEscalation === false,
    addedCapabilities: capabilities(own.capabilities?.add),
    droppedCapabilities: capabilities(own.capabilities?.drop),
    seccomp: (own.seccompProfile ?? shared?.seccompProfile)?.type ?? "",
    mounts: container.volumeMounts.map(({ name, mountPath, readOnly, subPath, subPathExpr }, index): PodMount => {
      const volume = pod.spec.volumes.find((each) => each.name === name);
      const part = subPath !== "" || subPathExpr !== "";
      return { path: mountPath, volume: name, source: sourceOf(volume), readOnly, hostPath: volume?.hostPath?.path, index, part };
    }),
    volumeDevices: container.volumeDevices.map(({ devicePath }) => devicePath),
    terminationMessagePath: container.terminationMessagePath,
    // Names of a domain are of plug-ins, all but hugepages, which have none.
    extended: Object.keys(container.resources?.limits ?? {}).some((name) => name.includes("/")) || (container.resources?.claims?.length ?? 0) > 0,
  };
}

function sourceOf(volume: Readonly<Record<string, unknown>> | undefined): string {
  return volume ? (Object.entries(volume).find(([key, value]) => key !== "name" && value !== null)?.[0] ?? "emptyDir") : "";
}
