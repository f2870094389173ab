/** Collects and judges an image's artefacts as the verifier does: what the provenance tests share. */
import { NotaryProjectVerifier } from "@hullmark/verifier/adapters/notary/index";
import { SigstoreVerifier } from "@hullmark/verifier/adapters/sigstore/index";
import type { Authority, Validity } from "@hullmark/verifier/core/policy/types";
import {
  collectArtefacts,
  type ImageSubject,
  type ProvenanceQuestion,
  type ProvenanceVerdict,
  type Verifiers,
  verifyProvenance,
} from "@hullmark/verifier/core/provenance/index";
import type { Registry } from "@hullmark/verifier/ports/registry";

export const AT_MS = Date.UTC(2026, 10, 23);
export const verifiers: Verifiers = { sigstore: new SigstoreVerifier(), notary: new NotaryProjectVerifier() };
export const never: AbortSignal = new AbortController().signal;

export function authority(name: string, publicKeyPem: string, validity: Partial<Validity> = {}): Authority {
  return { name, signers: [{ kind: "key", publicKeyPem, notBeforeMs: undefined, notAfterMs: undefined, ...validity }] };
}

export function manifestSubject(repository: string, digest: string): ImageSubject {
  return { repository, digest, kind: "manifest" };
}

/** The question with nothing required but one signature, to be overridden. */
export function question(overrides: Partial<ProvenanceQuestion>): ProvenanceQuestion {
  return {
    subjects: [],
    artefacts: [],
    incomplete: [],
    authorities: [],
    trustRoots: [],
    trustStores: [],
    revocations: [],
    signatures: undefined,
    attestations: [],
    build: undefined,
    builders: [],
    ...{ registries: [], baseLayers: [] },
    repository: "registry.example/app",
    tag: { status: "none" },
    atMs: AT_MS,
    ...overrides,
  };
}

export async function judge(registry: Registry, subjects: readonly ImageSubject[], overrides: Partial<ProvenanceQuestion>): Promise<ProvenanceVerdict> {
  const { artefacts, incomplete } = await collectArtefacts(registry, subjects, never);
  return verifyProvenance(question({ subjects: subjects.map(({ digest }) => digest), artefacts, incomplete, ...overrides }), verifiers);
}
