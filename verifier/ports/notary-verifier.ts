/** Signatures of the Notary Project (specifications/signature-specification.md v1.1): envelopes, certificate chains, trust stores. Synchronous; pure but for answers of authorities that were fetched before. All bytes may be an attacker's. */

/** An opened envelope whose signature has not been verified. */
export interface NotaryEnvelope {
  /** The signed JSON: names the image. */
  readonly payload: Buffer;
  /** The adapter's own. */
  readonly material: unknown;
}

/** Certificates that are ready to use. */
export interface NotaryStore {
  /** SHA-256 of what it was made of, hex. */
  readonly id: string;
}

/** `ca`: scheme `notary.x509`; signing is proven by a timestamp or not at all. `signingAuthority`: scheme `notary.x509.signingAuthority`, whose own word on the time counts. */
export type NotaryScheme = "ca" | "signingAuthority";

export interface NotaryStoreContent {
  readonly scheme: NotaryScheme;
  /** PEM, one or more certificates each. */
  readonly certificates: readonly string[];
  /** Roots of timestamp authorities, PEM. */
  readonly timestampAuthorities: readonly string[];
  /** Under `ca`: a signature without a timestamp does not hold (`time-missing`). */
  readonly requireTimestamp: boolean;
  /** Whether its authorities are asked if they have taken certificates back, and whether that counts. */
  readonly revocation: "enforce" | "log" | "skip";
  /** Lists that were given by hand, PEM. */
  readonly revocationLists: readonly string[];
}

/**
 * From the least to the most that held before it failed. `malformed`: cannot be read. `critical`: marks as critical what is not known here, or does not mark what must be.
 * `algorithm`: one that is not allowed, or not the key's. `signature`: altered, or by another key. `chain`: the certificates do not issue one another up to a root, or are not
 * for this. `untrusted`: none of them is in the trust store, or it is for another scheme. `time-missing`: there is no timestamp, and the store wants one. `time`: the timestamp does not hold. `certificate-expired`: a certificate was not
 * valid at the proven time, or is not now where none is proven. `expired`: the signature's own end has passed.
 */
export const NOTARY_PROBLEMS = [
  "malformed",
  "critical",
  "algorithm",
  "signature",
  "chain",
  "untrusted",
  "time-missing",
  "time",
  "certificate-expired",
  "expired",
] as const;
export type NotaryProblem = (typeof NOTARY_PROBLEMS)[number];

export interface NotarySigner {
  /** Attributes of the signing certificate's subject, each that occurs once: C, ST, L, O, OU, CN. */
  readonly subject: Readonly<Record<string, string>>;
  /** The whole subject, for people and for counting votes. */
  readonly name: string;
  /** base64(SHA-256(SubjectPublicKeyInfo DER)) of the signing key. */
  readonly keyId: string;
  /** SHA-256 of each certificate of the chain, hex. */
  readonly fingerprints: readonly string[];
  /** By a timestamp, or a signing authority's word; undefined: not proven. Unix milliseconds. */
  readonly signedAtMs: number | undefined;
  /** The time is the signer's own word (a signing authority), so that it proves nothing once its key is somebody else's. */
  readonly ownWord: boolean;
  readonly standing: NotaryStanding;
}

/** What the authorities of the signer's chain, and of its timestamp's, say of their certificates now. */
export interface NotaryStanding {
  /** `unknown`: an answer is not there, out of date or does not hold. */
  readonly status: "good" | "revoked" | "unknown";
  /** In plain words; empty: good. */
  readonly detail: string;
  /** What is not good does not count; else it is only told. */
  readonly enforced: boolean;
  /** URLs of the answers on which this rests, there or not. */
  readonly answers: readonly string[];
}

export type NotaryVerdict =
  | { readonly ok: true; readonly signer: NotarySigner }
  | { readonly ok: false; readonly problem: NotaryProblem; readonly detail: string };

export interface NotaryVerifier {
  /** @throws SignatureFormatError KEY */
  store(content: NotaryStoreContent): NotaryStore;
  /** @param mediaType `application/jose+json` or `application/cose` @throws SignatureFormatError FORMAT */
  read(bytes: Uint8Array, mediaType: string): NotaryEnvelope;
  /** What is verified but taken back is `ok`: see {@link NotaryStanding}. @param nowMs Unix milliseconds: the signature's expiry, revocation lists, and certificates where no time of signing is proven, are held against it */
  verify(envelope: NotaryEnvelope, store: NotaryStore, nowMs: number): NotaryVerdict;
}
