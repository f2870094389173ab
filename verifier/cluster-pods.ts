/** The pods of the cluster that the verifier watches, as intents name them. */
import type { VerifierConfig } from "./config.ts";
import { isDigest, tryParseReference } from "./core/provenance/reference.ts";
import { isInPod } from "./core/response/index.ts";
import type { PodView } from "./ports/pod-view.ts";
import type { PodTarget, WorkloadRow } from "./ports/rows.ts";

const MAX_DIGESTS = 8;

/** What the container's agent says of it. */
interface Told {
  readonly pod?: { readonly namespace: string; readonly name: string; readonly uid: string; readonly container: string } | undefined;
  readonly imageId: string;
  readonly repoDigests: readonly string[];
}

/**
 * @param told what a connected node's agent says of a container; undefined: nothing now
 * @param pods the cluster's, where they are watched: an actuator would refuse what the API server does not tell of yet
 * @returns the pod that a container is of; "none": of none that an actuator could find; undefined: not known until its node tells of it
 */
export function podTargets(
  { kubernetes }: Pick<VerifierConfig, "kubernetes">,
  told: (nodeId: string, containerId: string) => Told | undefined,
  pods?: Pick<PodView, "get">,
): (row: WorkloadRow) => PodTarget | "none" | undefined {
  return (row) => {
    const { nodeId, containerId, containerName, configDigest } = row;
    // A sandbox is no container to Kubernetes.
    if (!kubernetes || !isInPod(containerName) || containerName.endsWith(")")) return "none";
    const container = told(nodeId, containerId);
    if (!container) return undefined;
    if (!container.pod) return "none";
    const { namespace, name, uid, container: inPod } = container.pod;
    const pod = pods?.get(uid);
    const ending = pod?.ending.includes(containerId) === true;
    if (pod && !ending && !pod.running.some(({ id }) => id === containerId)) return undefined;
    const digests = [configDigest, container.imageId, ...container.repoDigests].map((each) => each.slice(each.lastIndexOf("@") + 1));
    const imageDigests = [...new Set(digests)].filter(isDigest).slice(0, MAX_DIGESTS);
    if (imageDigests.length === 0) return "none";
    const asked = pod && !pod.mirror ? (pod.containers.find((each) => each.name === inPod)?.image ?? "") : "";
    const named = isNamed(asked, row);
    return { ...(named && { named }), ...(ending && { ending }), cluster: kubernetes.cluster, namespace, name, uid, container: inPod, imageDigests };
  };
}

/**
 * Whether the API server asks for the very image that is judged: by a digest that was looked up, and in that repository. A node that calls it by another one chooses by which
 * rule, and by whose signatures, it is judged.
 */
function isNamed(asked: string, { imageReference, manifestDigest, pinnedReference = "" }: WorkloadRow): boolean {
  const [wanted, told, found] = [asked, imageReference, pinnedReference].map((each) => tryParseReference(each));
  if (!wanted?.digest || wanted.repository !== told?.repository || wanted.repository !== found?.repository) return false;
  return wanted.digest === manifestDigest || wanted.digest === found.digest;
}
