/** Signs an image where it lies. */
import type { Descriptor, Registry, RegistryWriter } from "@hullmark/verifier/ports/registry";
import { attachBundle } from "./attach.ts";
import { type Predicate, signStatement, statement } from "./bundle.ts";
import type { SigningKey } from "./keys.ts";
import { type FoundImage, findImage } from "./registry.ts";

export interface SignedImage {
  readonly image: FoundImage;
  /** The artifact that holds the bundle. */
  readonly artifact: Descriptor;
}

/**
 * Signs a statement about what `reference` names now (an index as a whole, not its parts) and attaches it. Signing twice adds a second signature.
 * @throws RegistryError, ProvenanceError BAD_REFERENCE
 */
export async function signImage(
  registry: Registry & RegistryWriter,
  reference: string,
  predicate: Predicate,
  key: SigningKey,
  nowMs: number,
  signal: AbortSignal,
): Promise<SignedImage> {
  const image = await findImage(registry, reference, signal);
  const bundle = signStatement(statement(image.digest, predicate), key);
  return { image, artifact: await attachBundle(registry, image, bundle, predicate.type, nowMs, signal) };
}
