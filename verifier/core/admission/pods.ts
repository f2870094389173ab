/** Pods and what makes pods, as the API server hands them over: which containers of which images, and the names by which policy selects them. */
import * as z from "zod";
import { AdmissionError, type AdmissionRequest } from "./review.ts";

export interface AskedContainer {
  /** As people see it: `container web`, `init container prepare`, `ephemeral container debugger`; `volume models` is an image that is mounted. */
  readonly title: string;
  readonly name: string;
  /** As written. */
  readonly image: string;
}

/** Names are the asker's to choose but for the namespace; workload and names are formed as agents form them of what runs. */
export interface AskedPod {
  readonly namespace: string;
  /** Name, or the beginning of one, of the object that was asked for. */
  readonly name: string;
  /** Empty for what is not scheduled yet. */
  readonly nodeName: string;
  /** `namespace/owner`. */
  readonly workload: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Of the pod or its template. */
  readonly annotations: Readonly<Record<string, string>>;
  /** Architecture that its node selector names; undefined: any. */
  readonly architecture: string | undefined;
  readonly containers: readonly AskedContainer[];
  /** A controller made it out of a template. */
  readonly owned: boolean;
  /** The kubelet tells of a pod that it has from a file and runs already. */
  readonly mirror: boolean;
  /** It is about to go. */
  readonly ending: boolean;
}

/** Annotations of a pod or pod template that ask to get past a refusal. */
export const BREAK_GLASS = {
  by: "hullmark.dev/break-glass-by",
  reason: "hullmark.dev/break-glass-reason",
  until: "hullmark.dev/break-glass-until",
} as const;

/** Where each kind keeps its pod. */
const TEMPLATES: Readonly<Record<string, readonly string[]>> = {
  Pod: [],
  PodTemplate: ["template"],
  ReplicationController: ["spec", "template"],
  ReplicaSet: ["spec", "template"],
  Deployment: ["spec", "template"],
  StatefulSet: ["spec", "template"],
  DaemonSet: ["spec", "template"],
  Job: ["spec", "template"],
  CronJob: ["spec", "jobTemplate", "spec", "template"],
};

const MAX_CONTAINERS = 1000;
const texts = z.record(z.string().max(512), z.string().max(262_144)).nullish();
const containers = z
  .array(z.looseObject({ name: z.string().max(253).default(""), image: z.string().max(4096).default("") }))
  .max(MAX_CONTAINERS)
  .nullish();
const volumes = z
  .array(z.looseObject({ name: z.string().max(253).default(""), image: z.looseObject({ reference: z.string().max(4096).nullish() }).nullish() }))
  .max(MAX_CONTAINERS)
  .nullish();
const owner = z.looseObject({ kind: z.string().max(253), name: z.string().max(253), controller: z.boolean().nullish() });
const metadata = z
  .looseObject({
    name: z.string().max(253).nullish(),
    generateName: z.string().max(253).nullish(),
    labels: texts,
    annotations: texts,
    ownerReferences: z.array(owner).max(100).nullish(),
    deletionTimestamp: z.string().nullish(),
  })
  .nullish();
/** Of what is asked for, whatever its kind. Made once: a schema is compiled when it first parses. */
const topShape = z.looseObject({ metadata });
const podShape = z.looseObject({
  metadata,
  spec: z
    .looseObject({
      nodeName: z.string().max(253).nullish(),
      nodeSelector: texts,
      containers,
      initContainers: containers,
      ephemeralContainers: containers,
      volumes,
    })
    .nullish(),
});

/** @returns undefined for a kind that holds no pod @throws AdmissionError where the object has not the form of its kind */
export function askedPod(request: AdmissionRequest): AskedPod | undefined {
  const path = TEMPLATES[request.kind];
  if (!path) return undefined;
  const top = shape(topShape, request.object, request.kind);
  const pod = shape(podShape, path.reduce(member, request.object), `the pod of ${request.kind}`);
  const name = top.metadata?.name ?? top.metadata?.generateName ?? request.name;
  const labels = pod.metadata?.labels ?? {};
  const controller = top.metadata?.ownerReferences?.find((each) => each.controller === true);
  return {
    ...{ namespace: request.namespace, name, labels, annotations: pod.metadata?.annotations ?? {} },
    nodeName: pod.spec?.nodeName ?? "",
    workload: `${request.namespace}/${request.kind === "Pod" || request.kind === "ReplicaSet" || request.kind === "Job" ? ownerName(controller, labels, name) : name}`,
    architecture: pod.spec?.nodeSelector?.["kubernetes.io/arch"],
    containers: [
      ...listed("container", pod.spec?.containers),
      ...listed("init container", pod.spec?.initContainers),
      ...listed("ephemeral container", pod.spec?.ephemeralContainers),
      ...listed(
        "volume",
        pod.spec?.volumes?.flatMap(({ name, image }) => (image?.reference ? [{ name, image: image.reference }] : [])),
      ),
    ],
    owned: controller !== undefined,
    mirror: request.kind === "Pod" && pod.metadata?.annotations?.["kubernetes.io/config.mirror"] !== undefined,
    ending: Boolean(top.metadata?.deletionTimestamp),
  };
}

/** The containers that an update brings; of what is made, all. Who writes break-glass into what is there already is asked as if he made it: its pods would get past by his word. */
export function newContainers(request: AdmissionRequest, pod: AskedPod): readonly AskedContainer[] {
  if (request.operation !== "UPDATE" || request.oldObject === undefined) return pod.containers;
  const before = askedPod({ ...request, object: request.oldObject });
  if (Object.values(BREAK_GLASS).some((name) => pod.annotations[name] !== before?.annotations[name])) return pod.containers;
  const had = new Set((before?.containers ?? []).map(({ title, image }) => `${title}\n${image}`));
  return pod.containers.filter(({ title, image }) => !had.has(`${title}\n${image}`));
}

/** As controllers name what they make; agents take the same from a running pod's name. */
function ownerName(controller: { kind: string; name: string } | undefined, labels: Readonly<Record<string, string>>, name: string): string {
  if (!controller) return name;
  const template = labels["pod-template-hash"];
  if (controller.kind === "ReplicaSet" && template && controller.name.endsWith(`-${template}`)) return controller.name.slice(0, -1 - template.length);
  if (controller.kind === "Job") return /^(.+)-\d{8,10}$/.exec(controller.name)?.[1] ?? controller.name;
  return controller.kind === "Node" ? name : controller.name;
}

function listed(kind: string, found: z.infer<typeof containers>): readonly AskedContainer[] {
  return (found ?? []).map(({ name, image }) => ({ title: `${kind} ${name}`, name, image }));
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

function shape<T extends z.ZodType>(schema: T, value: unknown, what: string): z.infer<T> {
  const parsed = schema.safeParse(value ?? {});
  if (!parsed.success) throw new AdmissionError(`${what}: ${parsed.error.issues[0]?.path.join(".") ?? ""}: ${parsed.error.issues[0]?.message ?? ""}`);
  return parsed.data;
}
