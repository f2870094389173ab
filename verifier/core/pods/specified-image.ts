/** By which name a container's image is judged, where it has several. Pure; the node chose every string of the identity. */
import type { ContainerIdentity } from "@hullmark/proto/v1/attestation";
import { tryParseReference } from "../provenance/reference.ts";
import type { PodStanding } from "./standing.ts";

const renamed = new WeakMap<ContainerIdentity, ContainerIdentity>();

/**
 * The identity under the name by which its pod's specification asks for the image, where the node says that the image has that one too. containerd 1 keeps nothing but the image's id
 * and tells the first of all names of that configuration: whoever has the same files pulled under another one would choose by which rule they are judged.
 * @returns the very same identity where the specification says nothing else, and of one renamed identity the very same again
 */
export function asSpecified(identity: ContainerIdentity, standing: PodStanding | undefined): ContainerIdentity {
  const said = standing?.kind === "unknown" ? standing.last : standing;
  const asked = said?.kind === "specified" ? (said.container?.image ?? "") : "";
  if (asked === "" || asked === identity.imageReference || !isOtherName(asked, identity)) return identity;
  const before = renamed.get(identity);
  if (before?.imageReference === asked) return before;
  const now = { ...identity, imageReference: asked };
  renamed.set(identity, now);
  return now;
}

/** Whether it is another one than is told, and one of the image's on its node. */
function isOtherName(asked: string, { imageReference, repoDigests }: ContainerIdentity): boolean {
  const [wanted, told] = [tryParseReference(asked), tryParseReference(imageReference)];
  if (!wanted || (told && wanted.repository === told.repository && wanted.tag === told.tag && wanted.digest === told.digest)) return false;
  return repoDigests.some((name) => {
    const known = tryParseReference(name);
    return known?.repository === wanted.repository && (wanted.digest === undefined || wanted.digest === known.digest);
  });
}
