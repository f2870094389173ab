/** The part of an intent that is about a layer of this host. Pure; every byte may be an attacker's who holds the verifier. */
import { ActionKind, type Intent } from "@hullmark/proto/v1/response";
import type { PurgeTarget } from "../ports/layers.ts";

const DIGEST = /^sha256:[0-9a-f]{64}$/;
const MAX_IMAGES = 40;

/** A purge names a layer and images, and neither container nor image of its own; nothing else names a layer. */
export function isPurgeWhole({ kind, purge, containerId, configDigest, imageId }: Intent): boolean {
  if (kind !== ActionKind.PURGE) return purge === undefined;
  if (!purge || (purge.$unknown?.length ?? 0) > 0 || `${containerId}${configDigest}${imageId}` !== "" || !DIGEST.test(purge.chainId)) return false;
  const { imageDigests } = purge;
  if (imageDigests.length === 0 || imageDigests.length > MAX_IMAGES) return false;
  return imageDigests.every((each, i) => DIGEST.test(each) && each > (imageDigests[i - 1] ?? ""));
}

export function purgeOf({ purge }: Intent): PurgeTarget | undefined {
  return purge && { chainId: purge.chainId, imageDigests: [...purge.imageDigests] };
}
