/** What the response engine may go back to for a container: asked of images as if the container ran them, under the policy of now. */

import { containerOfRevision, serviceOfContainer } from "./core/fleet/affirmed-images.ts";
import type { Images } from "./core/images/types.ts";
import { NO_ROLLBACK, ROLLBACK_LABEL, type Rollback, type Standing } from "./core/response/rollback.ts";
import { type KnownRisk, knownRisk } from "./core/risk/known-risk.ts";
import type { Sessions } from "./core/session/index.ts";
import type { VulnerabilityOverview } from "./core/vulnerabilities/index.ts";
import type { PodView } from "./ports/pod-view.ts";
import type { AffirmedRevisionRow, EarlierImage } from "./ports/rows.ts";
import type { Store } from "./ports/store.ts";

interface Services {
  readonly sessions: Sessions;
  readonly images: Pick<Images, "view">;
  readonly store: Store;
  /** undefined: no cluster's pods are watched. */
  readonly pods?: Pick<PodView, "get"> | undefined;
  readonly vulnerabilities: Pick<VulnerabilityOverview, "all">;
}

type Live = NonNullable<ReturnType<Sessions["get"]>>["live"];
type Container = NonNullable<ReturnType<Live["memory"]["containers"]["get"]>>;

export function earlierImages(services: Services) {
  const { sessions, images, store, pods, vulnerabilities } = services;
  const risksOf = (digests: ReadonlySet<string>): ReadonlyMap<string, KnownRisk | undefined> =>
    new Map(vulnerabilities.all(({ configDigest }) => digests.has(configDigest)).map((each) => [each.image.configDigest, knownRisk(each)]));
  /** undefined: the node has not told of the container yet, since it or the verifier began anew. */
  return async (nodeId: string, containerId: string): Promise<Rollback | undefined> => {
    const live = sessions.get(nodeId)?.live;
    const container = live?.memory.containers.get(containerId);
    if (!live || !container) return undefined;
    const { identity } = container;
    const present = presentOf(images, live, container);
    const never = Object.hasOwn(identity.labels, ROLLBACK_LABEL) && identity.labels[ROLLBACK_LABEL] === "never";
    if (identity.pod) {
      const rollout = await rolloutOf({ images, store, pods }, live, container, identity.pod);
      if (!rollout) return { ...NO_ROLLBACK, never };
      const own = ({ images: of }: (typeof rollout.revisions)[number]): string => of.find((each) => each.container === rollout.container)?.configDigest ?? "";
      const risks = risksOf(new Set([present, ...rollout.revisions.map(own)]));
      const revisions = rollout.revisions.map((each) => ({ ...each, risk: risks.get(own(each)) }));
      return { never, risk: risks.get(present), earlier: [], rollout: { ...rollout, revisions } };
    }
    const service = serviceOfContainer(identity);
    if (service === undefined) return NO_ROLLBACK;
    const rows = await store.readAffirmedImages(nodeId, service);
    const risks = risksOf(new Set([present, ...rows.map(({ configDigest }) => configDigest)]));
    return {
      never,
      risk: risks.get(present),
      earlier: rows.map(({ configDigest, imageId, reference }) => {
        const image = { configDigest, imageId, reference };
        return { image, standing: standingOf(images, live, container, image, identity.name, true), risk: risks.get(configDigest) };
      }),
    };
  };
}

/** Digest of the image that the container runs: as its registry has it; until that has told, as the node does. */
function presentOf(images: Pick<Images, "view">, { node, memory }: Live, { identity, filesystem }: Container): string {
  const of = { ...identity, containerName: identity.name, nodeName: node.name, architecture: memory.node?.architecture ?? "", dialect: filesystem.dialect };
  return images.view(of).configDigest || identity.configDigest;
}

/** Every revision of the pod's workload of which all is known, the present one too. */
async function rolloutOf(
  { images, store, pods }: Pick<Services, "images" | "store" | "pods">,
  live: Live,
  container: Container,
  { uid, container: name }: NonNullable<Container["identity"]["pod"]>,
): Promise<Rollback["rollout"]> {
  const pod = pods?.get(uid);
  const own = containerOfRevision(pod, name);
  if (!pod?.origin || !own) return undefined;
  const rows = Map.groupBy(await store.readAffirmedRevisions(own.workload), ({ revision }) => revision);
  const standing = (row: AffirmedRevisionRow): Standing =>
    standingOf(images, live, container, row, `${pod.namespace}/${pod.name}/${row.container}`, row.container === name);
  return {
    ...{ owner: pod.origin.owner, revision: own.revision, container: name },
    revisions: [...rows].map(([revision, ofRevision]) => ({
      name: revision,
      images: ofRevision.map(({ container: each, reference, configDigest }) => ({ container: each, reference, configDigest })),
      standing: worst(ofRevision.map(standing)),
    })),
  };
}

const WORST_FIRST: readonly Standing[] = ["not-verified", "unknown", "looking-up"];

function worst(standings: readonly Standing[]): Standing {
  return WORST_FIRST.find((each) => standings.includes(each)) ?? "verified";
}

/** @param mustBeSigned false: of an image that no rule wants signed there is nothing to be said against */
function standingOf(
  images: Pick<Images, "view">,
  { node, memory }: Live,
  { identity, filesystem }: Container,
  { configDigest, imageId, reference }: EarlierImage,
  containerName: string,
  mustBeSigned: boolean,
): Standing {
  const view = images.view({
    ...{ imageReference: reference, imageId, repoDigests: [reference], configDigest },
    ...{ containerName, workload: identity.workload, labels: identity.labels, runtime: identity.runtime },
    ...{ nodeName: node.name, architecture: memory.node?.architecture ?? "", dialect: filesystem.dialect },
  });
  const asked = [view.provenance, ...(view.teamProvenance ? [view.teamProvenance] : [])];
  if (mustBeSigned && !view.provenance.required) return "not-verified";
  const statuses = asked.filter(({ required, status }) => mustBeSigned || required || status === "revoked").map(({ status }) => status);
  if (statuses.some((status) => status !== "signed" && status !== "unknown")) return "not-verified";
  // What its registry has no more is no answer that is still to come.
  const gone = "missing" in view.image && view.image.missing === "no-reference";
  if (statuses.includes("unknown")) return view.lookingUp ? "looking-up" : gone ? "not-verified" : "unknown";
  return statuses.length === 0 || view.configDigest === configDigest ? "verified" : "not-verified";
}
