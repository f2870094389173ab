/** What is attached to an image in its registry, fetched and told apart, not yet verified. */
import type { CosignAnnotations } from "../../ports/signature-verifier.ts";

interface ArtefactCommon {
  readonly repository: string;
  /** Digest of the manifest that holds it: names the artefact in every text. */
  readonly manifestDigest: string;
  /** The image's digest under which it was found. Whoever can push chose it: it proves nothing. */
  readonly foundUnder: string;
  readonly layout: "cosign-tag" | "referrer";
}

export type Artefact = ArtefactCommon &
  (
    | { readonly format: "simple-signing"; readonly payload: Buffer; readonly signature: string | undefined; readonly annotations?: CosignAnnotations }
    | { readonly format: "dsse"; readonly envelope: Buffer; readonly annotations?: CosignAnnotations }
    | { readonly format: "bundle"; readonly bundle: Buffer }
    | { readonly format: "notary"; readonly envelope: Buffer; readonly mediaType: string }
    /** Named as a signature, but cannot be read as one. */
    | { readonly format: "damaged"; readonly detail: string }
  );

export interface CollectedArtefacts {
  readonly artefacts: readonly Artefact[];
  /** What could not be fetched or was over a limit, in plain words: without it nobody can say that something is absent. */
  readonly incomplete: readonly string[];
}

export const SIMPLE_SIGNING_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json";
export const DSSE_TYPE = "application/vnd.dsse.envelope.v1+json";
export const NOTARY_TYPE = "application/vnd.cncf.notary.signature";
/** Of the envelopes of the Notary Project. */
export const NOTARY_ENVELOPE_TYPES: ReadonlySet<string> = new Set(["application/jose+json", "application/cose"]);
export const SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature";

/** What cosign's older scheme puts beside a signature. */
export function cosignAnnotations(annotations: Readonly<Record<string, string>> = {}): CosignAnnotations {
  return {
    certificate: annotations["dev.sigstore.cosign/certificate"] || undefined,
    rekorBundle: annotations["dev.sigstore.cosign/bundle"] || undefined,
    timestamp: annotations["dev.sigstore.cosign/rfc3161timestamp"] || undefined,
  };
}

/** Bundles of all versions, in both spellings of their media type. */
export function isBundleType(mediaType: string): boolean {
  return /^application\/vnd\.dev\.sigstore\.bundle(?:\.v\d+\.\d+\+json|\+json;\s*version=\d+\.\d+)$/.test(mediaType);
}
