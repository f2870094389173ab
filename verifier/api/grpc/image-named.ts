/** The image that a request names. */
import { RpcError } from "@hullmark/proto/rpc";
import type { ImageRow } from "../../ports/rows.ts";

/** @param image config digest, manifest digest or a reference @throws RpcError NOT_FOUND */
export function imageNamed(images: readonly ImageRow[], image: string): ImageRow {
  const row = images.find(
    ({ configDigest, references, manifestDigests }) => configDigest === image || references.includes(image) || manifestDigests.includes(image),
  );
  if (!row) throw new RpcError("NOT_FOUND", "no container runs such an image", { reason: "IMAGE", field: "image", fix: "hullmark images lists them" });
  return row;
}
