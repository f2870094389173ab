/** An image's signature by a bare key, as `cosign sign --key` leaves it at the tag. */
import { type KeyObject, sign } from "node:crypto";
import type { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { attachTag } from "./attach.ts";
import type { PushedImage } from "./images.ts";

export async function signByKey(client: OciRegistry, image: Pick<PushedImage, "repository" | "manifestDigest">, key: KeyObject): Promise<void> {
  const critical = { identity: {}, image: { "docker-manifest-digest": image.manifestDigest }, type: "cosign container image signature" };
  const payload = Buffer.from(JSON.stringify({ critical }));
  const annotations = { certificate: "", rekorBundle: undefined, timestamp: undefined };
  await attachTag(client, image, { payload, signature: sign("sha256", payload, key).toString("base64"), annotations });
}
