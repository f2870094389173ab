/** Verifies an image in its registry against public keys: the same judgement that the verifier makes of running containers. */
import type { ProvenanceVerdict } from "@hullmark/verifier/core/provenance/index";
import type { Registry } from "@hullmark/verifier/ports/registry";
import { examineImage } from "./examine-image.ts";
import type { FoundImage } from "./registry.ts";

export interface NamedKey {
  readonly name: string;
  readonly publicKeyPem: string;
}

export interface VerifyImageOptions {
  readonly keys: readonly NamedKey[];
  /** Keys of `keys` that must have signed: 1..keys.length. */
  readonly threshold: number;
  /** Predicate types that one of the keys must have attested. */
  readonly attestations: readonly string[];
  readonly platform: string | undefined;
  readonly nowMs: number;
}

export interface ImageVerification {
  readonly image: FoundImage;
  readonly verdict: ProvenanceVerdict;
}

/** @throws RegistryError, ProvenanceError, SigningError where nothing can be judged */
export async function verifyImage(registry: Registry, reference: string, options: VerifyImageOptions, signal: AbortSignal): Promise<ImageVerification> {
  const { image, judge } = await examineImage(registry, reference, options, signal);
  const authorities = options.keys.map(({ name, publicKeyPem }) => ({
    name,
    signers: [{ kind: "key" as const, publicKeyPem, notBeforeMs: undefined, notAfterMs: undefined }],
  }));
  const names = authorities.map(({ name }) => name);
  const asked = { authorities: names, threshold: 1, maxAgeSeconds: undefined, where: undefined };
  const verdict = judge({
    authorities,
    signatures: { authorities: names, threshold: options.threshold },
    attestations: options.attestations.map((predicateType) => ({ ...asked, predicateType })),
  });
  return { image, verdict };
}
