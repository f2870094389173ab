/** The image that a request names. */
import { RpcError } from "@hullmark/proto/rpc";
import { byDigest, imagesOfRepository, imagesRunAs } from "../../core/images/named.ts";
import type { ImageRow } from "../../ports/rows.ts";

/** @param image config digest, manifest digest or a reference, also one by which it runs at a digest @throws RpcError NOT_FOUND, FAILED_PRECONDITION */
export function imageNamed(images: readonly ImageRow[], image: string): ImageRow {
  const having = images.find(({ configDigest, manifestDigests }) => configDigest === image || manifestDigests.includes(image));
  if (having) return having;
  const running = imagesRunAs(images, image);
  const [row, another] = running;
  if (another) {
    const several = { reason: "AMBIGUOUS", field: "image", fix: `give one of ${byDigest(running)}` };
    throw new RpcError("FAILED_PRECONDITION", "several images run by this reference", several);
  }
  if (!row) throw new RpcError("NOT_FOUND", "no container runs such an image", { reason: "IMAGE", field: "image", fix: otherwise(images, image) });
  return row;
}

function otherwise(images: readonly ImageRow[], image: string): string {
  const others = imagesOfRepository(images, image);
  return others.length > 0 ? `of the same repository there run ${byDigest(others)}` : "hullmark images lists them";
}
