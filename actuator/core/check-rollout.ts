/** Whether what makes a pod may be rolled back, and to which revision: what no verifier can overrule. Pure. */
import { isDeepStrictEqual } from "node:util";
import type { ClusterPod } from "../ports/cluster.ts";
import type { GitOpsOwner, PodTemplate, Revision, RolloutTarget, VerifiedRevision, Workload } from "../ports/rollouts.ts";
import { gitOpsOwner } from "./gitops.ts";

/** Codes of docs/response.md. */
export type RolloutRefusal =
  | "other-owner"
  | "rollback-never"
  | "owned-by-controller"
  | "owned-by-argocd"
  | "owned-by-flux"
  | "paused-rollout"
  | "no-replicas"
  | "on-delete"
  | "other-rollout"
  | "no-earlier-revision";

export interface RolloutFacts {
  readonly workload: Workload | undefined;
  /** The revision that the pod was made of. */
  readonly present: Revision | undefined;
  /** Those that the intent names and that are there. */
  readonly revisions: readonly Revision[];
}

/** Whoever deploys it may forbid that it is rolled back; no verifier overrules that. */
const ROLLBACK_MARK = "hullmark.dev/rollback";

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
  if ([pod.labels, workload.labels, workload.annotations].some((marks) => marks[ROLLBACK_MARK] === "never")) return "rollback-never";
  if (workload.controller !== undefined) return "owned-by-controller";
  const owner = gitOpsOwner(workload);
  if (owner && !owners.includes(owner.tool)) return `owned-by-${owner.tool}`;
  if (workload.paused) return "paused-rollout";
  // It would run nothing: what is wanted is for people to say.
  if (workload.replicas === 0) return "no-replicas";
  if (workload.byHand) return "on-delete";
  // Somebody rolls out another one already, which nobody has judged.
  if (present?.ownerUid !== workload.uid || !isDeepStrictEqual(present.template, workload.template)) return "other-rollout";
  const usable = revisions.flatMap((revision): Chosen[] => {
    const verified = target.revisions.find(({ name }) => name === revision.name);
    if (!verified || revision.ownerUid !== workload.uid || revision.name === present.name) return [];
    if (!verified.images.some((each) => each.container === container && !digests.includes(each.digest))) return [];
    const template = pinned(revision.template, verified, workload.template);
    return template && !isDeepStrictEqual(template, workload.template) ? [{ revision, template, pause: owner }] : [];
  });
  return usable.toSorted((a, b) => b.revision.number - a.revision.number)[0] ?? "no-earlier-revision";
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

/** A colon before the last slash is of a port. */
function withoutTag(named: string): string {
  const colon = named.lastIndexOf(":");
  return colon > named.lastIndexOf("/") ? named.slice(0, colon) : named;
}
