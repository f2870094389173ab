/** Signs an image where it lies. */
import type { Descriptor, Registry, RegistryWriter } from "@hullmark/verifier/ports/registry";
import { attachBundle } from "./attach.ts";
import { type Predicate, statement } from "./bundle.ts";
import { type FoundImage, findImage } from "./registry.ts";

/** Makes a bundle over a statement: with a key, or with a certificate. */
export type StatementSigner = (statement: Buffer) => Buffer | Promise<Buffer>;

export interface SignedImage {
  readonly image: FoundImage;
  /** The artifact that holds the bundle. */
  readonly artifact: Descriptor;
}

/**
 * Signs a statement about what `reference` names now (an index as a whole, not its parts) and attaches it. Signing twice adds a second signature.
 * @throws RegistryError, ProvenanceError BAD_REFERENCE, and what `sign` throws: nothing is attached then
 */
export async function signImage(
  registry: Registry & RegistryWriter,
  reference: string,
  predicate: Predicate,
  sign: StatementSigner,
  nowMs: number,
  signal: AbortSignal,
): Promise<SignedImage> {
  const image = await findImage(registry, reference, signal);
  const bundle = await sign(statement(image.digest, predicate));
  return { image, artifact: await attachBundle(registry, image, bundle, predicate.type, nowMs, signal) };
}
