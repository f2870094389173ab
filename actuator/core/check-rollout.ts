/** Whether what makes a pod may be rolled back, and to which revision, or halted: what no verifier can overrule. Pure. */
import { isDeepStrictEqual } from "node:util";
import type { ClusterPod } from "../ports/cluster.ts";
import type { GitOpsOwner, PodTemplate, Revision, RolloutTarget, VerifiedRevision, Workload } from "../ports/rollouts.ts";
import { gitOpsOwner } from "./gitops.ts";

/** Codes of docs/response.md. */
export type RolloutRefusal =
  | "other-owner"
  | "rollback-never"
  | "halt-never"
  | "not-scalable"
  | "owned-by-controller"
  | "owned-by-argocd"
  | "owned-by-flux"
  | "paused-rollout"
  | "no-replicas"
  | "on-delete"
  | "other-rollout"
  | "not-of-template"
  | "no-earlier-revision";

export interface RolloutFacts {
  readonly workload: Workload | undefined;
  /** The revision that the pod was made of. */
  readonly present: Revision | undefined;
  /** Those that the intent names and that are there. */
  readonly revisions: readonly Revision[];
}

/** Whoever deploys it may forbid that it is rolled back, or halted; no verifier overrules that. */
const ROLLBACK_MARK = "hullmark.dev/rollback";
const HALT_MARK = "hullmark.dev/halt";

export interface Chosen {
  readonly revision: Revision;
  readonly template: PodTemplate;
  /** To be paused first, or it would put the workload back. */
  readonly pause: GitOpsOwner | undefined;
}

/** @param owners whose things may be touched @param digests what the container's image is called now @returns why not; else what to go back to */
export function chooseRevision(
  target: RolloutTarget,
  pod: ClusterPod,
  container: string,
  digests: readonly string[],
  owners: readonly string[],
  { workload, present, revisions }: RolloutFacts,
): RolloutRefusal | Chosen {
  if (pod.controllerUid !== target.owner.uid || !workload) return "other-owner";
  if (isForbidden(ROLLBACK_MARK, pod, workload)) return "rollback-never";
  if (workload.paused) return "paused-rollout";
  if (workload.byHand) return "on-delete";
  const owner = gitOpsOwner(workload);
  const refusal = refuseChange(workload, owners, present, pod, container);
  if (refusal || !present) return refusal ?? "other-rollout";
  const usable = revisions.flatMap((revision): Chosen[] => {
    const verified = target.revisions.find(({ name }) => name === revision.name);
    if (!verified || revision.ownerUid !== workload.uid) return [];
    if (!verified.images.some((each) => each.container === container && !digests.includes(each.digest))) return [];
    const template = pinned(revision.template, verified, workload.template);
    // The present one is another where it was by a tag, that was moved.
    return template && !isDeepStrictEqual(template, workload.template) ? [{ revision, template, pause: owner }] : [];
  });
  return usable.toSorted((a, b) => b.revision.number - a.revision.number)[0] ?? "no-earlier-revision";
}

/** Whether the pod's workload may be scaled to none. @param present the revision that the pod was made of */
export function refuseHalt(
  target: RolloutTarget,
  pod: ClusterPod,
  container: string,
  owners: readonly string[],
  { workload, present }: Pick<RolloutFacts, "workload" | "present">,
): RolloutRefusal | undefined {
  if (pod.controllerUid !== target.owner.uid || !workload) return "other-owner";
  if (isForbidden(HALT_MARK, pod, workload)) return "halt-never";
  // It has a pod for each node, and no number of them.
  if (workload.kind === "DaemonSet") return "not-scalable";
  return refuseChange(workload, owners, present, pod, container);
}

function isForbidden(mark: string, pod: ClusterPod, { labels, annotations }: Workload): boolean {
  return [pod.labels, labels, annotations].some((marks) => marks[mark] === "never");
}

function refuseChange(
  workload: Workload,
  owners: readonly string[],
  present: Revision | undefined,
  pod: ClusterPod,
  container: string,
): RolloutRefusal | undefined {
  if (workload.controller !== undefined) return "owned-by-controller";
  const owner = gitOpsOwner(workload);
  if (owner && !owners.includes(owner.tool)) return `owned-by-${owner.tool}`;
  // It would run nothing: what is wanted is for people to say.
  if (workload.replicas === 0) return "no-replicas";
  // Somebody rolls out another one already, which nobody has judged.
  if (present?.ownerUid !== workload.uid || !isDeepStrictEqual(present.template, workload.template)) return "other-rollout";
  // Whoever may make pods names an owner as he likes, and what is injected into one comes again: it is the template's image that is rolled back.
  const asked = containersOf(workload.template).find(({ name }) => name === container)?.image;
  return asked !== undefined && pod.containers.some(({ name, image }) => name === container && image === asked) ? undefined : "not-of-template";
}

/**
 * The template with every image by the digest that was verified, in the repository that it names itself. undefined: it holds another digest, or brings an image of which
 * nothing is said and that is not there now.
 */
export function pinned(template: PodTemplate, { images }: VerifiedRevision, now: PodTemplate): PodTemplate | undefined {
  const present = new Map(containersOf(now).map(({ name, image }) => [name, image]));
  let complete = true;
  const pin = <T extends { readonly name: string; readonly image: string }>(container: T): T => {
    const digest = images.find((each) => each.container === container.name)?.digest;
    const [named = "", own] = container.image.split("@");
    if (digest === undefined) {
      complete &&= present.get(container.name) === container.image;
      return container;
    }
    complete &&= own === undefined || own === digest;
    return { ...container, image: `${withoutTag(named)}@${digest}` };
  };
  const { containers, initContainers } = template.spec;
  const spec = { ...template.spec, containers: containers.map(pin), ...(initContainers && { initContainers: initContainers.map(pin) }) };
  return complete ? { ...template, spec } : undefined;
}

function containersOf({ spec: { containers, initContainers = [] } }: PodTemplate) {
  return [...containers, ...initContainers];
}

/** Whether every container of which something is said is of the digest that was verified. */
export function isPinned(template: PodTemplate, { images }: VerifiedRevision): boolean {
  return containersOf(template).every(({ name, image }) => {
    const said = images.find(({ container }) => container === name);
    return !said || image.endsWith(`@${said.digest}`);
  });
}

/** A colon before the last slash is of a port. */
function withoutTag(named: string): string {
  const colon = named.lastIndexOf(":");
  return colon > named.lastIndexOf("/") ? named.slice(0, colon) : named;
}
