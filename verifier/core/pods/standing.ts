/** What the API server's view of pods says of a container that a node tells of. Pure; the node chose every string of the identity. */
import type { PodIdentity } from "@hullmark/proto/v1/attestation";
import type { PodConfigMaps, PodContainer, PodRecord, PodTemplateNames } from "../../ports/pod-view.ts";

export type PodStanding =
  /** It stands in a specification. `container` is absent for the sandbox, of which specifications say nothing. */
  | {
      readonly kind: "specified";
      readonly pod: PodRecord;
      readonly container: PodContainer | undefined;
      readonly template: PodTemplateNames;
      readonly configMaps?: PodConfigMaps;
    }
  | {
      readonly kind: "contradicted";
      readonly drift: "no-pod" | "injected-container";
      readonly field: string;
      readonly expected: string;
      readonly observed: string;
      readonly summary: string;
    }
  /** Nothing can be said yet, or any more. */
  | {
      readonly kind: "unknown";
      readonly code: "pod-pending" | "pods-stale";
      readonly detail: string;
      /** What the view said before it was too old. */
      readonly last?: PodStanding;
    };

/**
 * @param nodeName of the node that tells of it, as its enrolment named it @param pod of the identity's uid; undefined: the view has none
 * @param template see {@link PodView.templateOf}
 */
export function podStanding(identity: PodIdentity, nodeName: string, pod: PodRecord | undefined, template?: PodTemplateNames): PodStanding {
  const named = `${identity.namespace}/${identity.name}`;
  const none = (observed: string, summary: string): PodStanding => ({
    ...{ kind: "contradicted", drift: "no-pod", field: "pod", expected: `a pod ${named} of uid ${identity.uid} on ${nodeName}, at the API server` },
    observed,
    summary,
  });
  if (!pod) return none("none", "runs for a pod that the API server does not have");
  if (pod.namespace !== identity.namespace || pod.name !== identity.name)
    return none(`that uid is of ${pod.namespace}/${pod.name}`, "runs under the names of another pod than the API server has for its uid");
  if (pod.nodeName !== nodeName)
    return none(pod.nodeName === "" ? "not scheduled to any node" : `scheduled to ${pod.nodeName}`, "runs on another node than the API server put its pod on");
  if (identity.container === "") return { kind: "specified", pod, container: undefined, template };
  const container = pod.containers.find(({ name }) => name === identity.container);
  if (container) return { kind: "specified", pod, container, template };
  return {
    ...{ kind: "contradicted", drift: "injected-container", field: "container", expected: pod.containers.map(({ name }) => name).join(", ") },
    observed: identity.container,
    summary: "runs in a pod whose specification has no such container",
  };
}
