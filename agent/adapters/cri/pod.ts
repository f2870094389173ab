/** Which pod a container belongs to and who made that pod: from the labels that the kubelet gives sandboxes and containers. */
import type { PodFacts } from "../../ports/container-runtime.ts";

type Labels = Readonly<Record<string, string>>;

/**
 * undefined: not made by a kubelet.
 * @param labels of the container; @param podLabels of its sandbox, which has the pod's own as well; @param annotations of the sandbox
 */
export function podFacts(labels: Labels, podLabels: Labels, annotations: Labels): PodFacts | undefined {
  const [namespace, name, uid] = ["io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.pod.uid"].map((key) => podLabels[key] ?? labels[key]);
  if (!namespace || !name || !uid) return undefined;
  return { namespace, name, uid, container: labels["io.kubernetes.container.name"] ?? "", ...ownerOf(name, podLabels, annotations) };
}

/** The controllers of Kubernetes give their pods' names and labels these forms. */
function ownerOf(pod: string, labels: Labels, annotations: Labels): Pick<PodFacts, "ownerKind" | "ownerName"> {
  // Pods that the kubelet reads from a file or URL are named after the node.
  const source = annotations["kubernetes.io/config.source"];
  if (source !== undefined && source !== "api") return { ownerKind: "Node", ownerName: pod };
  const template = labels["pod-template-hash"];
  const replicas = template === undefined ? undefined : /^(.+)-[a-z0-9]{5}$/.exec(pod)?.[1];
  if (replicas !== undefined) {
    const deployment = replicas.endsWith(`-${template}`) ? replicas.slice(0, -1 - (template?.length ?? 0)) : "";
    return deployment === "" ? { ownerKind: "ReplicaSet", ownerName: replicas } : { ownerKind: "Deployment", ownerName: deployment };
  }
  const job = labels["batch.kubernetes.io/job-name"] ?? labels["job-name"];
  if (job !== undefined) {
    // A cron job names its jobs after the minute for which they were due.
    const cron = /^(.+)-\d{8,10}$/.exec(job)?.[1];
    return cron === undefined ? { ownerKind: "Job", ownerName: job } : { ownerKind: "CronJob", ownerName: cron };
  }
  const ordinal = /^(.+)-\d+$/.exec(pod)?.[1];
  if (labels["statefulset.kubernetes.io/pod-name"] === pod && ordinal !== undefined) return { ownerKind: "StatefulSet", ownerName: ordinal };
  const daemon = labels["controller-revision-hash"] === undefined ? undefined : /^(.+)-[a-z0-9]{5}$/.exec(pod)?.[1];
  if (daemon !== undefined) return { ownerKind: "DaemonSet", ownerName: daemon };
  return { ownerKind: "Pod", ownerName: pod };
}
