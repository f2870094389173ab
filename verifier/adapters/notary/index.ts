/** {@link NotaryVerifier}: JWS by node:crypto, COSE by cborg. Nothing is fetched here: what authorities say of their certificates was fetched before (answers.ts). */
import { constants, hash, verify as verifySignature, type X509Certificate } from "node:crypto";
import type { CertificateList } from "../../core/certificates/crl.ts";
import { certificatesIn, revocationListsIn } from "../../core/certificates/pem.ts";
import { Recent } from "../../core/provenance/recent.ts";
import type {
  NotaryEnvelope,
  NotaryProblem,
  NotaryStanding,
  NotaryStore,
  NotaryStoreContent,
  NotaryVerdict,
  NotaryVerifier,
} from "../../ports/notary-verifier.ts";
import { SignatureFormatError } from "../../ports/signature-verifier.ts";
import { type Chain, readChain, validAt } from "./chain.ts";
import { openCose } from "./cose.ts";
import { HEADER, type OpenEnvelope, PAYLOAD_TYPE, SCHEME_AUTHORITY, SCHEME_CA } from "./envelope.ts";
import { openJws } from "./jws.ts";
import { ProvenLists } from "./proven.ts";
import { type Asking, type Consulted, standingOf } from "./revocation.ts";
import { type ProvenTime, provenTime } from "./timestamp.ts";

export { type AnswerOptions, HttpRevocationAnswers } from "./answers.ts";

const JWS = "application/jose+json";
const COSE = "application/cose";
/** Trust stores that are kept ready. */
const MAX_KNOWN = 64;

interface Store extends NotaryStore {
  readonly scheme: NotaryStoreContent["scheme"];
  readonly certificates: readonly X509Certificate[];
  readonly timestampAuthorities: readonly X509Certificate[];
  readonly requireTimestamp: boolean;
  readonly revocation: NotaryStoreContent["revocation"];
  readonly revocationLists: readonly CertificateList[];
}

/** The one algorithm that goes with a key (signature-specification.md, "Signature Algorithm Requirements"). */
function algorithmFor({ asymmetricKeyType: kind, asymmetricKeyDetails: details }: X509Certificate["publicKey"]): string | undefined {
  const curve = { prime256v1: "ES256", secp384r1: "ES384", secp521r1: "ES512" }[details?.namedCurve ?? ""];
  const size = { 2048: "PS256", 3072: "PS384", 4096: "PS512" }[details?.modulusLength ?? 0];
  return kind === "ec" ? curve : kind === "rsa" ? size : undefined;
}

type Answers = Pick<Asking, "get" | "problem">;
const NO_ANSWERS: Answers = { get: () => undefined, problem: () => undefined };

class Failure extends Error {
  readonly problem: NotaryProblem;

  constructor(problem: NotaryProblem, detail: string) {
    super(detail);
    this.problem = problem;
  }
}

export class NotaryProjectVerifier implements NotaryVerifier {
  readonly #stores = new WeakMap<NotaryStore, Store>();
  readonly #known = new Recent<NotaryStore>(MAX_KNOWN);
  readonly #asking: Asking;

  /** @param answers undefined: none are there, so that nobody can tell of certificates that name where to ask */
  constructor(answers: Answers = NO_ANSWERS) {
    this.#asking = { get: (url) => answers.get(url), problem: (url) => answers.problem(url), proven: new ProvenLists() };
  }

  store(content: NotaryStoreContent): NotaryStore {
    const { scheme, certificates, timestampAuthorities, requireTimestamp, revocation, revocationLists } = content;
    const text = JSON.stringify([scheme, certificates, timestampAuthorities, requireTimestamp, revocation, revocationLists]);
    return this.#known.get(text, () => this.#readStore(content, hash("sha256", text)));
  }

  #readStore({ scheme, certificates, timestampAuthorities, requireTimestamp, revocation, revocationLists }: NotaryStoreContent, id: string): NotaryStore {
    const own: Store = {
      ...{ id, scheme, requireTimestamp, revocation },
      revocationLists: revocationLists.flatMap(readable(revocationListsIn)),
      certificates: certificates.flatMap(readable(certificatesIn)),
      timestampAuthorities: timestampAuthorities.flatMap(readable(certificatesIn)),
    };
    const handle: NotaryStore = Object.freeze({ id: own.id });
    this.#stores.set(handle, own);
    return handle;
  }

  read(bytes: Uint8Array, mediaType: string): NotaryEnvelope {
    if (mediaType !== JWS && mediaType !== COSE) throw new SignatureFormatError("FORMAT", "an envelope that is neither JWS nor COSE");
    const material = mediaType === JWS ? openJws(bytes) : openCose(bytes);
    return { payload: material.payload, material };
  }

  verify(envelope: NotaryEnvelope, store: NotaryStore, nowMs: number): NotaryVerdict {
    const own = this.#stores.get(store);
    if (!own) throw new SignatureFormatError("KEY", "a trust store that another verifier made");
    try {
      return verify(envelope.material as OpenEnvelope, own, this.#asking, nowMs);
    } catch (error) {
      if (error instanceof Failure) return { ok: false, problem: error.problem, detail: error.message };
      // The readers of X.509 throw at what they cannot read, and anybody may have written it.
      return { ok: false, problem: "malformed", detail: error instanceof Error ? error.message.slice(0, 200) : "cannot be read" };
    }
  }
}

function verify(open: OpenEnvelope, store: Store, asking: Asking, nowMs: number): NotaryVerdict {
  checkCritical(open);
  const chain = readChain(open.chain);
  if (typeof chain === "string") throw new Failure("chain", chain);
  checkSignature(open, chain);
  if ((open.scheme === SCHEME_CA ? "ca" : "signingAuthority") !== store.scheme)
    throw new Failure("untrusted", `the trust store is not for signatures of the scheme ${open.scheme}`);
  if (!chain.certificates.some((each) => store.certificates.some((trusted) => trusted.raw.equals(each.raw))))
    throw new Failure("untrusted", "no certificate of its chain is in the trust store");
  const proven = timeOf(open, store);
  const signedAtMs = proven?.atMs;
  const atMs = signedAtMs ?? nowMs;
  if (!chain.certificates.every((each) => validAt(each, atMs)))
    throw new Failure(
      "certificate-expired",
      `a certificate was not valid on ${new Date(atMs).toISOString()}${signedAtMs === undefined ? ", and nothing proves an earlier time" : ""}`,
    );
  if (open.expiryMs !== undefined && nowMs > open.expiryMs)
    throw new Failure("expired", `the signature was good until ${new Date(open.expiryMs).toISOString()}`);
  const standing = consult(chain, proven, store, asking, nowMs);
  return { ok: true, signer: { ...signerOf(chain, signedAtMs, open.scheme === SCHEME_AUTHORITY), standing } };
}

/** Of the signer's chain, and of whoever proves the time. */
function consult({ certificates }: Chain, time: ProvenTime | undefined, store: Store, asking: Asking, nowMs: number): NotaryStanding {
  const { revocation, revocationLists: lists } = store;
  if (revocation === "skip") return { status: "good", detail: "", enforced: false, answers: [] };
  // A signing authority's own word on the time says nothing about the end of its own key.
  const signedAtMs = time && time.chain.length > 0 ? time.atMs : undefined;
  const ofTime: Consulted = standingOf(time?.chain ?? [], lists, asking, { nowMs, signedAtMs: undefined });
  const own: Consulted = standingOf(certificates, lists, asking, { nowMs, signedAtMs });
  const worst =
    [own.standing, ofTime.standing].find(({ kind }) => kind === "revoked") ?? [own.standing, ofTime.standing].find(({ kind }) => kind === "unknown");
  return {
    ...{ status: worst?.kind ?? "good", detail: worst && "detail" in worst ? worst.detail : "", enforced: revocation === "enforce" },
    answers: [...new Set([...own.answers, ...ofTime.answers])],
  };
}

/** Two-way: what is marked critical is known here and there, and what must be marked is. */
function checkCritical({ scheme, contentType, critical, attributes, authenticTimeMs, expiryMs }: OpenEnvelope): void {
  if (contentType !== PAYLOAD_TYPE) throw new Failure("malformed", "a payload of another type");
  if (scheme !== SCHEME_CA && scheme !== SCHEME_AUTHORITY) throw new Failure("critical", "an unknown signing scheme");
  const known: ReadonlySet<string> = new Set([HEADER.scheme, HEADER.expiry, HEADER.authenticTime]);
  const unknown = critical.find((name) => !known.has(name) || !attributes.includes(name));
  if (unknown !== undefined) throw new Failure("critical", `the critical attribute ${JSON.stringify(unknown.slice(0, 64))} is not known here, or not there`);
  if (new Set(critical).size !== critical.length) throw new Failure("critical", "an attribute that is marked critical twice");
  const wanted = [HEADER.scheme, ...(expiryMs === undefined ? [] : [HEADER.expiry]), ...(scheme === SCHEME_AUTHORITY ? [HEADER.authenticTime] : [])];
  const missing = wanted.find((name) => !critical.includes(name));
  if (missing !== undefined) throw new Failure("critical", `${missing} is not marked critical`);
  if ((scheme === SCHEME_AUTHORITY) !== (authenticTimeMs !== undefined))
    throw new Failure("critical", "an authentic signing time goes with a signing authority, and only with one");
}

function checkSignature({ algorithm, signed, signature }: OpenEnvelope, { certificates }: Chain): void {
  const key = certificates[0]?.publicKey;
  if (!key || algorithmFor(key) !== algorithm) throw new Failure("algorithm", `${JSON.stringify(algorithm.slice(0, 16))} is not the algorithm of its key`);
  const options = algorithm.startsWith("ES")
    ? { key, dsaEncoding: "ieee-p1363" as const }
    : { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
  if (!verifySignature(`sha${algorithm.slice(2)}`, signed, options, signature)) throw new Failure("signature", "does not verify with its certificate");
}

function timeOf(
  { scheme, authenticTimeMs, timestampToken, signature }: OpenEnvelope,
  { timestampAuthorities, requireTimestamp }: Store,
): ProvenTime | undefined {
  if (scheme === SCHEME_AUTHORITY) return authenticTimeMs === undefined ? undefined : { atMs: authenticTimeMs, chain: [] };
  if (requireTimestamp && !timestampToken) throw new Failure("time-missing", "no timestamp says when it was made, and the trust store wants one");
  // Without a timestamp authority in the store nobody vouches for the time: it is then as if there were none.
  if (!timestampToken || timestampAuthorities.length === 0) return undefined;
  try {
    return provenTime(timestampToken, signature, timestampAuthorities);
  } catch (error) {
    throw new Failure("time", error instanceof Error ? error.message.slice(0, 200) : "cannot be read");
  }
}

function signerOf({ certificates, leaf }: Chain, signedAtMs: number | undefined, ownWord: boolean) {
  const values = new Map<string, string[]>();
  for (const part of leaf.subjectName.toJSON()) for (const [name, texts] of Object.entries(part)) values.set(name, [...(values.get(name) ?? []), ...texts]);
  return {
    subject: Object.fromEntries([...values].flatMap(([name, [first, ...more]]) => (first !== undefined && more.length === 0 ? [[name, first]] : []))),
    name: leaf.subject,
    keyId: hash("sha256", Buffer.from(leaf.publicKey.rawData), "base64"),
    fingerprints: certificates.map(({ raw }) => hash("sha256", raw)),
    ...{ signedAtMs, ownWord },
  };
}

/** @throws SignatureFormatError KEY */
function readable<T>(read: (pem: string) => readonly T[]): (pem: string) => readonly T[] {
  return (pem) => {
    try {
      return read(pem);
    } catch (cause) {
      throw new SignatureFormatError("KEY", `a trust store that ${(cause as Error).message}`, { cause });
    }
  };
}
