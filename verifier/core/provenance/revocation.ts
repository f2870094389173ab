/** What policy trusts no more, made ready. Pure. A revocation can only take trust away: where its date cannot be held against a proven time, it counts. */
import type { NotarySigner } from "../../ports/notary-verifier.ts";
import type { CertifiedSigner, SignatureVerifier } from "../../ports/signature-verifier.ts";
import type { IdentityMatch, Revocation } from "../policy/types.ts";
import { identityMatcher, usable } from "./signers.ts";
import { type BuildSource, plainRepository } from "./slsa.ts";

export interface Revocations {
  /** Some are of builders or commits: whether they bar an image only its provenance can tell. */
  readonly ofBuilds: boolean;
  /** Some are of bases: only the layers of an image tell whether they bar it. */
  readonly ofLayers: boolean;
  /** Why a signature by this bare key counts no more. */
  ofKey(key: { readonly id: string }): string | undefined;
  /** By its name, in whatever case its letters are written, or by its key. */
  ofIdentity(signer: CertifiedSigner): string | undefined;
  /** By its key, or by any certificate of its chain. */
  ofChain(signer: NotarySigner): string | undefined;
  /** Why the image is barred, whoever signed it. @param digests of manifests, indexes and the config that are this image */
  ofImage(digests: Iterable<string>): string | undefined;
  /** Why an image is barred that is built on what is trusted no more. @param chains chain ids of its layers */
  ofBase(chains: readonly string[]): string | undefined;
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
    ofBuilds: ready.some(({ tests }) => tests.build !== undefined),
    ofKey: (key) => first(undefined, ({ key: test }) => test?.(key) === true),
    ofIdentity: (signer) => first(signer.signedAtMs, ({ key, identity }) => identity?.(signer) === true || key?.({ id: signer.keyId }) === true),
    ofChain: (signer) =>
      first(
        signer.ownWord ? undefined : signer.signedAtMs,
        ({ key, certificate }) => key?.({ id: signer.keyId }) === true || (certificate !== undefined && signer.fingerprints.includes(certificate)),
      ),
    ofLayers: ready.some(({ what }) => what.kind === "layers"),
    ofBase: (chains) => first(undefined, ({ layers }) => layers !== undefined && chains.includes(layers)),
    ofImage: (digests) => revokedDigest(revocations, digests),
    ofBuild: (source, signedAtMs) => first(signedAtMs, ({ build }) => build?.(source) === true),
  };
}

/** Why an image of one of these digests is barred. */
export function revokedDigest(revocations: readonly Revocation[], digests: Iterable<string>): string | undefined {
  const all = new Set(digests);
  const found = revocations.find(({ what }) => what.kind === "digest" && all.has(what.digest));
  return found && describe(found);
}

interface Tests {
  readonly key?: (key: { readonly id: string }) => boolean;
  readonly certificate?: string;
  readonly identity?: (signer: CertifiedSigner) => boolean;
  readonly build?: (source: BuildSource) => boolean;
  readonly layers?: string;
}

function testsOf({ what }: Revocation, verifier: SignatureVerifier): Tests {
  switch (what.kind) {
    case "key": {
      const { id } = usable("a revoked key", () => verifier.key(what.publicKeyPem));
      return { key: (key) => key.id === id };
    }
    case "identity":
      return { identity: anyCase(what) };
    case "certificate":
      return { certificate: what.sha256 };
    case "digest":
      return {};
    case "layers":
      return { layers: what.chainId };
    case "builder":
      return { build: ({ builder }) => sameUri(builder, what.builder) };
    case "commits": {
      const commits = new Set(what.commits);
      return {
        build: (source) => [source, ...source.dependencies].some(({ repository, commit }) => commits.has(commit) && sameUri(repository, what.repository)),
      };
    }
  }
}

/** Mail servers and forges take names in either case: a revocation is to meet them all. */
function anyCase({ issuer, subject }: IdentityMatch): (signer: CertifiedSigner) => boolean {
  const matches = identityMatcher({ issuer, subject: "exact" in subject ? { exact: subject.exact.toLowerCase() } : { glob: subject.glob.toLowerCase() } });
  return (signer) => matches({ issuer: signer.issuer, subject: signer.subject.toLowerCase() });
}

/** Builders write one repository, or themselves, in several ways: with `.git`, with a slash at the end. A revocation is to meet them all. */
function sameUri(a: string, b: string): boolean {
  return plainRepository(a).toLowerCase() === plainRepository(b).toLowerCase();
}

function describe({ what, reason, sinceMs }: Revocation): string {
  const name = what.kind === "commits" ? "commit" : what.kind === "layers" ? "base" : what.kind;
  return `${name} revoked${sinceMs === undefined ? "" : ` for what was signed since ${new Date(sinceMs).toISOString()}`}: ${reason}`;
}
