/** What policy trusts no more, made ready. Pure. A revocation can only take trust away: where its date cannot be held against a proven time, it counts. */
import type { NotarySigner } from "../../ports/notary-verifier.ts";
import type { CertifiedSigner, SignatureVerifier } from "../../ports/signature-verifier.ts";
import type { Revocation } from "../policy/types.ts";
import { identityMatcher, usable } from "./signers.ts";
import type { BuildSource } from "./slsa.ts";

export interface Revocations {
  /** Why a signature by this key counts no more. */
  ofKey(key: { readonly id: string }): string | undefined;
  ofIdentity(signer: CertifiedSigner): string | undefined;
  /** By its key, or by any certificate of its chain. */
  ofChain(signer: NotarySigner): string | undefined;
  /** Why the image is barred, whoever signed it. @param digests of manifests, indexes and the config that are this image */
  ofImage(digests: Iterable<string>): string | undefined;
  /** @param signedAtMs when the attestation that says so was signed, where that is proven; Unix milliseconds */
  ofBuild(source: BuildSource, signedAtMs: number | undefined): string | undefined;
}

/** @throws ProvenanceError BAD_KEY */
export function readyRevocations(revocations: readonly Revocation[], verifier: SignatureVerifier): Revocations {
  const ready = revocations.map((revocation) => ({ ...revocation, tests: testsOf(revocation, verifier) }));
  const first = (atMs: number | undefined, hit: (tests: Tests) => boolean): string | undefined => {
    const found = ready.find(({ sinceMs, tests }) => hit(tests) && !(sinceMs !== undefined && atMs !== undefined && atMs < sinceMs));
    return found && describe(found);
  };
  return {
    ofKey: (key) => first(undefined, ({ key: test }) => test?.(key) === true),
    ofIdentity: (signer) => first(signer.signedAtMs, ({ identity }) => identity?.(signer) === true),
    ofChain: (signer) =>
      first(
        signer.signedAtMs,
        ({ key, certificate }) => key?.({ id: signer.keyId }) === true || (certificate !== undefined && signer.fingerprints.includes(certificate)),
      ),
    ofImage: (digests) => {
      const all = new Set(digests);
      return first(undefined, ({ digest }) => digest !== undefined && all.has(digest));
    },
    ofBuild: (source, signedAtMs) => first(signedAtMs, ({ build }) => build?.(source) === true),
  };
}

interface Tests {
  readonly key?: (key: { readonly id: string }) => boolean;
  readonly certificate?: string;
  readonly identity?: (signer: CertifiedSigner) => boolean;
  readonly digest?: string;
  readonly build?: (source: BuildSource) => boolean;
}

function testsOf({ what }: Revocation, verifier: SignatureVerifier): Tests {
  switch (what.kind) {
    case "key": {
      const { id } = usable("a revoked key", () => verifier.key(what.publicKeyPem));
      return { key: (key) => key.id === id };
    }
    case "identity":
      return { identity: identityMatcher(what) };
    case "certificate":
      return { certificate: what.sha256 };
    case "digest":
      return { digest: what.digest };
    case "builder":
      return { build: ({ builder }) => builder === what.builder };
    case "commits": {
      const commits = new Set(what.commits);
      return { build: ({ repository, commit }) => commits.has(commit) && sameRepository(repository, what.repository) };
    }
  }
}

/** Builders write one repository in several ways: with `.git`, with a slash at the end. A revocation is to meet them all. */
function sameRepository(a: string, b: string): boolean {
  const plain = (text: string) =>
    text
      .replace(/\/+$/, "")
      .replace(/\.git$/, "")
      .toLowerCase();
  return plain(a) === plain(b);
}

function describe({ what, reason, sinceMs }: Revocation): string {
  const name = what.kind === "commits" ? "commit" : what.kind;
  return `${name} revoked${sinceMs === undefined ? "" : ` for what was signed since ${new Date(sinceMs).toISOString()}`}: ${reason}`;
}
