/** Authorities of a policy made ready: keys and trust roots read, identities compiled. Pure. */
import { compileGlob } from "@hullmark/proto/codec";
import type { NotarySigner, NotaryStore, NotaryVerifier } from "../../ports/notary-verifier.ts";
import {
  type CertifiedSigner,
  type RootRequirements,
  SignatureFormatError,
  type SignatureVerifier,
  type VerifyingKey,
  type VerifyingRoot,
} from "../../ports/signature-verifier.ts";
import type { Authority, IdentityMatch, KeylessSigner, NotarySignerMatch, Signer, TrustRoot, TrustStore, Validity } from "../policy/types.ts";
import { ProvenanceError } from "./errors.ts";

/** Who verifies which kind of signature. */
export interface Verifiers {
  readonly sigstore: SignatureVerifier;
  readonly notary: NotaryVerifier;
}

/** What stands behind the names that signers use. */
export interface TrustMaterial {
  readonly trustRoots: readonly TrustRoot[];
  readonly trustStores: readonly TrustStore[];
}

export type ReadySigner = ReadyKey | ReadyIdentity | ReadySubject;

interface ReadyCommon extends Validity {
  readonly authority: string;
  /** For people: what would have to sign. */
  readonly description: string;
}

export interface ReadyKey extends ReadyCommon {
  readonly kind: "key";
  readonly key: VerifyingKey;
}

export interface ReadyIdentity extends ReadyCommon {
  readonly kind: "keyless";
  readonly root: VerifyingRoot;
  readonly requirements: RootRequirements;
  matches(signer: CertifiedSigner): boolean;
}

export interface ReadySubject extends ReadyCommon {
  readonly kind: "notary";
  readonly store: NotaryStore;
  matches(signer: NotarySigner): boolean;
}

export interface ReadyAuthority {
  readonly name: string;
  readonly signers: readonly ReadySigner[];
}

/** @throws ProvenanceError BAD_KEY where a key or trust root cannot be used: nothing can be judged then */
export function readyAuthority({ name, signers }: Authority, trust: TrustMaterial, verifiers: Verifiers): ReadyAuthority {
  return { name, signers: signers.map((signer) => readySigner(name, signer, trust, verifiers)) };
}

function readySigner(authority: string, signer: Signer, trust: TrustMaterial, { sigstore: verifier, notary }: Verifiers): ReadySigner {
  const { notBeforeMs, notAfterMs } = signer;
  if (signer.kind === "key") {
    const key = usable(`the key of authority ${authority}`, () => verifier.key(signer.publicKeyPem));
    return { kind: "key", authority, key, description: `with the key ${key.id}`, notBeforeMs, notAfterMs };
  }
  if (signer.kind === "notary") return readySubject(authority, signer, trust, notary);
  const root = trust.trustRoots.find(({ name }) => name === signer.trustRoot);
  if (!root) throw new ProvenanceError("BAD_KEY", `authority ${authority} names the trust root ${signer.trustRoot}, which is not there`);
  return {
    kind: "keyless",
    authority,
    description: `as ${describeIdentity(signer)}`,
    root: usable(`the trust root ${root.name}`, () => verifier.trustRoot(root.json)),
    requirements: { log: root.requireLog, sct: root.requireSct },
    matches: keylessMatcher(signer),
    notBeforeMs,
    notAfterMs,
  };
}

function readySubject(
  authority: string,
  { trustStore, subject, notBeforeMs, notAfterMs }: NotarySignerMatch,
  { trustStores }: TrustMaterial,
  verifier: NotaryVerifier,
): ReadySubject {
  const content = trustStores.find(({ name }) => name === trustStore);
  if (!content) throw new ProvenanceError("BAD_KEY", `authority ${authority} names the trust store ${trustStore}, which is not there`);
  const wanted = subject === "any" ? undefined : Object.entries(subject);
  return {
    kind: "notary",
    authority,
    description: `with a certificate of the trust store ${trustStore} for ${wanted ? wanted.map(([name, value]) => `${name}=${value}`).join(", ") : "anybody"}`,
    store: usable(`the trust store ${trustStore}`, () => verifier.store(content)),
    matches: (signer) =>
      !wanted || (wanted.length > 0 && wanted.every(([name, value]) => Object.hasOwn(signer.subject, name) && signer.subject[name] === value)),
    notBeforeMs,
    notAfterMs,
  };
}

function keylessMatcher(signer: KeylessSigner): (certified: CertifiedSigner) => boolean {
  const matches = identityMatcher(signer);
  const extensions = Object.entries(signer.extensions);
  return (certified) =>
    matches(certified) && extensions.every(([name, value]) => Object.hasOwn(certified.extensions, name) && certified.extensions[name] === value);
}

export function identityMatcher({ issuer, subject }: IdentityMatch): (certified: Pick<CertifiedSigner, "issuer" | "subject">) => boolean {
  const matches = "exact" in subject ? (text: string) => text === subject.exact : globMatcher(subject.glob);
  return (certified) => certified.issuer === issuer && matches(certified.subject);
}

function globMatcher(glob: string): (text: string) => boolean {
  const matches = compileGlob(glob);
  return (text) => matches(Buffer.from(text));
}

export function describeIdentity({ issuer, subject }: IdentityMatch): string {
  return `${"exact" in subject ? subject.exact : subject.glob} (issuer ${issuer})`;
}

/** Who signed by a certificate, as votes are counted: a name in other letters of the alphabet's two cases is no other person. */
export function principalOf({ issuer, subject }: CertifiedSigner): string {
  return `identity ${JSON.stringify([issuer, subject.toLowerCase()])}`;
}

/** @param atMs of signing, or now where that is not known; Unix milliseconds */
export function isValidAt({ notBeforeMs, notAfterMs }: Validity, atMs: number): boolean {
  return (notBeforeMs === undefined || atMs >= notBeforeMs) && (notAfterMs === undefined || atMs <= notAfterMs);
}

export function usable<T>(what: string, make: () => T): T {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof SignatureFormatError)) throw cause;
    throw new ProvenanceError("BAD_KEY", `${what}: ${cause.message}`, { cause });
  }
}
