/**
 * What variables of the downward API (`fieldRef`, `resourceFieldRef`) can have been given: a container keeps the value of its start, while labels, annotations, resources and
 * addresses change. Whoever may write the pod controls all of it.
 */
import type { PodRecord } from "../../ports/pod-view.ts";
import { hasField, Managed } from "./managed-fields.ts";
import type { Pod } from "./pod-object.ts";
import { resourceValue } from "./quantity.ts";

/** Of one field; what takes more is not followed further. */
const MAX_VALUES = 16;
/** Of one pod: annotations may be changed without end, and each is kept. */
const MAX_CHARACTERS = 64 * 1024;
const NONE: PodRecord["fields"] = new Map();
/** The kubelet gives its own copy of the pod more annotations of these. */
const KUBELETS_OWN = "kubernetes.io/config.";

type Container = Pod["spec"]["containers"][number];
type ValueFrom = NonNullable<Container["env"][number]["valueFrom"]>;

/** A field as this version of the pod has it. */
interface Found {
  /** Empty: it has none yet. */
  readonly values: readonly string[];
  /** It has had no other value since the pod was made, by this version alone. */
  readonly settled: boolean;
}

/** As a key of {@link PodRecord.fields}. */
export function fieldName(from: ValueFrom | undefined, container: string): string | undefined {
  if (from?.fieldRef) return from.fieldRef.fieldPath;
  if (!from?.resourceFieldRef) return undefined;
  const { resource, containerName, divisor } = from.resourceFieldRef;
  return `${resource} of ${containerName || container} by ${divisor === "0" ? "1" : divisor}`;
}

/** @param uid as the kubelet knows the pod @param before see {@link readPod} */
export function podFields(pod: Pod, uid: string, before: PodRecord | "made" | undefined): PodRecord["fields"] {
  const fields = new Map<string, readonly string[]>();
  let characters = 0;
  const all = [...pod.spec.containers, ...pod.spec.initContainers, ...pod.spec.ephemeralContainers];
  for (const container of all)
    for (const { valueFrom } of container.env) {
      const name = fieldName(valueFrom, container.name);
      if (name === undefined || fields.has(name)) continue;
      const found = valueFrom?.fieldRef ? fieldOf(pod, uid, valueFrom.fieldRef.fieldPath) : resourceOf(pod, all, valueFrom, container);
      const known = before === "made" ? [] : (before?.fields.get(name) ?? (found?.settled ? [] : undefined));
      if (!found || !known) continue;
      const values = new Set([...known, ...found.values]);
      const more = [...values].reduce((sum, { length }) => sum + length, 0);
      if (values.size > MAX_VALUES || characters + more > MAX_CHARACTERS) continue;
      characters += more;
      fields.set(name, [...values]);
    }
  return fields.size > 0 ? fields : NONE;
}

function fieldOf(pod: Pod, uid: string, path: string): Found | undefined {
  const { metadata, spec } = pod;
  const fixed: Readonly<Record<string, string | undefined>> = {
    "metadata.name": metadata.name,
    "metadata.namespace": metadata.namespace,
    "metadata.uid": uid,
    "spec.nodeName": spec.nodeName,
    "spec.serviceAccountName": spec.serviceAccountName,
  };
  if (Object.hasOwn(fixed, path)) return { values: [fixed[path] ?? ""].filter((value) => value !== ""), settled: true };
  const [, map, key] = /^metadata\.(labels|annotations)\['(.*)'\]$/s.exec(path) ?? [];
  return key === undefined ? addressOf(pod, path) : mapEntry(pod, map === "labels" ? "labels" : "annotations", key);
}

function mapEntry({ metadata }: Pod, map: "labels" | "annotations", key: string): Found | undefined {
  if (map === "annotations" && key.startsWith(KUBELETS_OWN)) return undefined;
  const all = metadata[map] ?? {};
  return { values: [Object.hasOwn(all, key) ? (all[key] ?? "") : ""], settled: isAsMade(metadata, ["f:metadata", `f:${map}`, `f:${key}`]) };
}

/** In the node's network a pod has the node's addresses of the time when it was started; of its own network, which ends with its containers, the one that it has. */
function addressOf({ spec, status }: Pod, path: string): Found | undefined {
  const addresses = (first: string, all: readonly string[] = []): string[] => [...new Set([first, ...all])].filter((ip) => ip !== "");
  const ofPod = path.startsWith("status.podIP");
  const found = ofPod ? addresses(status?.podIP ?? "", status?.podIPs) : addresses(status?.hostIP ?? "", status?.hostIPs);
  const settled = ofPod && !spec.hostNetwork;
  if (path === "status.podIP" || path === "status.hostIP") return { values: found.slice(0, 1), settled };
  if (path === "status.podIPs" || path === "status.hostIPs") return { values: found.length > 0 ? [found.join(",")] : [], settled };
  return undefined;
}

function resourceOf({ metadata }: Pod, containers: readonly Container[], from: ValueFrom | undefined, own: Container): Found | undefined {
  if (!from?.resourceFieldRef) return undefined;
  const { resource, containerName, divisor } = from.resourceFieldRef;
  const container = containerName === "" ? own : containers.find(({ name }) => name === containerName);
  const value = container && resourceValue(resource, divisor, container.resources ?? {});
  // They can be changed while the pod runs (`kubectl patch --subresource=resize`).
  return value === undefined ? undefined : { values: [value], settled: isAsMade(metadata, ["f:spec", "f:containers"]) };
}

/** Whether all who have set the field did so when they made the pod. Who takes a field away is not noted: of one that is not there nothing is known. */
function isAsMade({ creationTimestamp, managedFields }: Pod["metadata"], path: readonly string[]): boolean {
  const managed = Managed.safeParse(managedFields);
  const owners = (managed.success ? managed.data : []).filter(({ fieldsV1 }) => hasField(fieldsV1, path));
  return owners.length > 0 && owners.every(({ time, fieldsV1 }) => time === creationTimestamp && hasField(fieldsV1, ["f:spec", "f:containers"]));
}
