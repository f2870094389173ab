/** One artefact against the authorities. Pure. Every byte of the artefact may be an attacker's until a signature holds. */
import { NOTARY_PROBLEMS, type NotaryProblem, type NotarySigner } from "../../ports/notary-verifier.ts";
import {
  CERTIFICATE_PROBLEMS,
  type CertificateProblem,
  type CertifiedSigner,
  SignatureFormatError,
  type SignedObject,
} from "../../ports/signature-verifier.ts";
import type { Artefact } from "./artefact.ts";
import { ProvenanceError } from "./errors.ts";
import type { JsonObject } from "./json.ts";
import type { Revocations } from "./revocation.ts";
import { isValidAt, principalOf, type ReadyAuthority, type ReadyIdentity, type ReadyKey, type ReadySubject, type Verifiers } from "./signers.ts";
import { type BuildSource, readBuildSource } from "./slsa.ts";
import { readNotaryPayload, readSimpleSigning, readStatement, SIGN_PREDICATE_TYPE, type SignedClaim } from "./statement.ts";

/**
 * `signature`, `attestation`: of this image, by `authorities`. `other-digest`: by an authority, over another image. `wrong-key`: by none of the authorities.
 * `wrong-identity`: by a certificate that holds, of somebody who is none of them. `untrusted`: by a certificate that no trust root vouches for as policy wants.
 * `altered`: says that an authority made it, but it does not verify. `outside-validity`, `revoked`: by an authority's signer that does not count at that time,
 * or no more. `expired`: past the end that the signature itself has. `revocation-unknown`: by an authority, but nobody can tell whether its certificate was
 * taken back. `malformed`: cannot be read.
 */
export type ArtefactCode =
  | "signature"
  | "attestation"
  | "other-digest"
  | "wrong-key"
  | "wrong-identity"
  | "untrusted"
  | "altered"
  | "outside-validity"
  | "revoked"
  | "expired"
  | "revocation-unknown"
  | "malformed";

/** Who vouches for an artefact. */
export interface Voucher {
  readonly authority: string;
  /** The key or identity itself: one that is listed under two names is still one. */
  readonly principal: string;
  /** base64(SHA-256(SubjectPublicKeyInfo)) of the key that made the signature: one under two names is still one signer. */
  readonly keyId: string;
  /** Proven time of signing, Unix milliseconds. */
  readonly signedAtMs: number | undefined;
}

export interface ArtefactVerdict {
  readonly code: ArtefactCode;
  readonly manifestDigest: string;
  readonly foundUnder: string;
  readonly layout: Artefact["layout"];
  readonly format: Artefact["format"];
  /** Names of the authorities whose signature holds; for `outside-validity` and `revoked` those whose signer does not count. */
  readonly authorities: readonly string[];
  readonly vouchers: readonly Voucher[];
  /** Of a certificate that was verified: who it names, whether or not that is an authority. */
  readonly identity: { readonly issuer: string; readonly subject: string } | undefined;
  /** What exactly does not hold of a signature by certificate. */
  readonly problem: CertificateProblem | NotaryProblem | undefined;
  /** URLs of authorities' answers about certificates on which this rests, there or not. */
  readonly answers: readonly string[];
  /** Digests that the signed payload names; only of verified payloads. */
  readonly subjects: readonly string[];
  /** Only of verified payloads; undefined for simple signing. */
  readonly predicateType: string | undefined;
  readonly source: BuildSource | undefined;
  readonly text: string;
}

/** An artefact with what its verified statement says in full. */
export interface JudgedArtefact {
  readonly verdict: ArtefactVerdict;
  readonly predicate: JsonObject | undefined;
}

export interface Judging {
  /** Digests that are this image. */
  readonly subjects: ReadonlySet<string>;
  readonly authorities: readonly ReadyAuthority[];
  readonly revocations: Revocations;
  /** Unix milliseconds: held against validity where no time of signing is proven. */
  readonly atMs: number;
}

type Blank = Omit<ArtefactVerdict, "code" | "text">;
interface Candidate extends Voucher {
  readonly valid: boolean;
  readonly revoked: string | undefined;
  /** Why nobody can tell whether its certificate still counts; undefined: it can be told. */
  readonly unsure?: string | undefined;
  /** What is told of it without counting. */
  readonly note?: string | undefined;
}

const MAX_NAMED_DIGESTS = 8;
const NOTARY_CODES: Readonly<Record<NotaryProblem, ArtefactCode>> = {
  malformed: "malformed",
  critical: "malformed",
  algorithm: "altered",
  signature: "altered",
  chain: "untrusted",
  untrusted: "untrusted",
  "time-missing": "untrusted",
  time: "altered",
  "certificate-expired": "untrusted",
  expired: "expired",
};
/** Problems that say that something was changed, rather than that somebody is unknown. */
const ALTERED: ReadonlySet<CertificateProblem> = new Set(["time", "log-promise", "log-proof", "log-content", "signature"]);

export function judgeArtefact(artefact: Artefact, judging: Judging, verifiers: Verifiers): JudgedArtefact {
  let predicate: JsonObject | undefined;
  const verdict = judgeOne(artefact, judging, verifiers, (claim) => {
    ({ predicate } = claim);
  });
  return { verdict, predicate: verdict.code === "attestation" ? predicate : undefined };
}

function judgeOne(artefact: Artefact, judging: Judging, verifiers: Verifiers, onClaim: (claim: SignedClaim) => void): ArtefactVerdict {
  const { manifestDigest, foundUnder, layout, format } = artefact;
  const blank: Blank = {
    ...{ manifestDigest, foundUnder, layout, format, authorities: [], vouchers: [], answers: [], subjects: [] },
    ...{ identity: undefined, problem: undefined, predicateType: undefined, source: undefined },
  };
  if (artefact.format === "damaged") return { ...blank, code: "malformed", text: `cannot be read: ${artefact.detail}` };
  let found: Found;
  try {
    found =
      artefact.format === "notary"
        ? byChain(artefact, blank, judging, verifiers.notary)
        : bySigstore(open(artefact, verifiers.sigstore), blank, judging, verifiers.sigstore);
  } catch (error) {
    return { ...blank, code: "malformed", text: `cannot be read: ${messageOf(error)}` };
  }
  if ("code" in found) return found;
  try {
    const claim = found.claim();
    onClaim(claim);
    return judgeClaim(found.blank, claim, found.candidates, judging.subjects);
  } catch (error) {
    return { ...blank, code: "malformed", text: `signed by ${names(found.candidates)}, but what was signed cannot be read: ${messageOf(error)}` };
  }
}

function open(artefact: Extract<Artefact, { format: "simple-signing" | "dsse" | "bundle" }>, verifier: Verifiers["sigstore"]): SignedObject {
  if (artefact.format === "bundle") return verifier.readBundle(artefact.bundle);
  if (artefact.format === "dsse") return verifier.readEnvelope(artefact.envelope, artefact.annotations);
  if (!artefact.signature) throw new ProvenanceError("MALFORMED", "a payload without a signature");
  return verifier.readMessage(artefact.payload, artefact.signature, artefact.annotations);
}

function claimOf({ payload, payloadType }: SignedObject): SignedClaim {
  return payloadType === undefined ? readSimpleSigning(payload) : readStatement(payloadType, payload);
}

type Found = ArtefactVerdict | { readonly blank: Blank; readonly candidates: readonly Candidate[]; claim(): SignedClaim };

function bySigstore(signed: SignedObject, blank: Blank, judging: Judging, verifier: Verifiers["sigstore"]): Found {
  return signed.certificate ? byCertificate(signed, blank, judging, verifier) : byKey(signed, blank, judging, verifier);
}

function byKey(signed: SignedObject, blank: Blank, { authorities, revocations, atMs }: Judging, verifier: Verifiers["sigstore"]): Found {
  const keys = authorities.flatMap(({ signers }) => signers.filter((signer): signer is ReadyKey => signer.kind === "key"));
  const candidates = keys
    .filter(({ key }) => verifier.verifyByKey(signed, key))
    .map((signer): Candidate => {
      const { authority, key } = signer;
      return { authority, principal: `key ${key.id}`, keyId: key.id, signedAtMs: undefined, valid: isValidAt(signer, atMs), revoked: revocations.ofKey(key) };
    });
  if (candidates.length > 0) return { blank, candidates, claim: () => claimOf(signed) };
  const named = keys.find(({ key }) => key.id === signed.keyHint);
  if (named)
    return { ...blank, code: "altered", text: `names the key of ${named.authority}, but its signature does not hold: altered after signing, or forged` };
  return { ...blank, code: "wrong-key", text: "does not verify with the key of any authority: signed by somebody else, or altered after signing" };
}

function byCertificate(signed: SignedObject, blank: Blank, { authorities, revocations }: Judging, verifier: Verifiers["sigstore"]): Found {
  const identities = authorities.flatMap(({ signers }) => signers.filter((signer): signer is ReadyIdentity => signer.kind === "keyless"));
  const candidates: Candidate[] = [];
  let stranger: CertifiedSigner | undefined;
  let failure: { readonly problem: CertificateProblem; readonly detail: string } | undefined;
  for (const [, group] of Map.groupBy(identities, ({ root, requirements }) => `${root.id} ${JSON.stringify(requirements)}`)) {
    const [first] = group;
    if (!first) continue;
    const verdict = verifier.verifyByCertificate(signed, first.root, first.requirements);
    if (!verdict.ok) {
      if (!failure || CERTIFICATE_PROBLEMS.indexOf(verdict.problem) > CERTIFICATE_PROBLEMS.indexOf(failure.problem)) failure = verdict;
      continue;
    }
    const { signer } = verdict;
    stranger = signer;
    const revoked = revocations.ofIdentity(signer);
    for (const identity of group.filter((each) => each.matches(signer))) {
      const { signedAtMs, keyId } = signer;
      candidates.push({ authority: identity.authority, principal: principalOf(signer), keyId, signedAtMs, valid: isValidAt(identity, signedAtMs), revoked });
    }
  }
  const identity = stranger && { issuer: stranger.issuer, subject: stranger.subject };
  if (candidates.length > 0) return { blank: { ...blank, identity }, candidates, claim: () => claimOf(signed) };
  if (identity)
    return { ...blank, identity, code: "wrong-identity", text: `is by ${identity.subject} (issuer ${identity.issuer || "none"}), who is no authority here` };
  if (!failure) return { ...blank, code: "untrusted", text: "is by a certificate, and no authority of the policy signs by certificate" };
  return {
    ...blank,
    code: ALTERED.has(failure.problem) ? "altered" : failure.problem === "malformed" ? "malformed" : "untrusted",
    problem: failure.problem,
    text: `${PROBLEM_TEXTS[failure.problem]}: ${failure.detail}`,
  };
}

/** By a certificate under a trust store of the Notary Project. */
function byChain(
  { envelope, mediaType }: Extract<Artefact, { format: "notary" }>,
  blank: Blank,
  { authorities, revocations, atMs }: Judging,
  verifier: Verifiers["notary"],
): Found {
  const opened = verifier.read(envelope, mediaType);
  const subjects = authorities.flatMap(({ signers }) => signers.filter((signer): signer is ReadySubject => signer.kind === "notary"));
  const candidates: Candidate[] = [];
  const answers = new Set<string>();
  let stranger: NotarySigner | undefined;
  let failure: { readonly problem: NotaryProblem; readonly detail: string } | undefined;
  for (const [, group] of Map.groupBy(subjects, ({ store }) => store.id)) {
    const [first] = group;
    if (!first) continue;
    const verdict = verifier.verify(opened, first.store, atMs);
    if (!verdict.ok) {
      if (!failure || NOTARY_PROBLEMS.indexOf(verdict.problem) > NOTARY_PROBLEMS.indexOf(failure.problem)) failure = verdict;
      continue;
    }
    const { signer } = verdict;
    stranger = signer;
    const { signedAtMs, keyId } = signer;
    const { status, detail, enforced, answers: asked } = signer.standing;
    for (const subject of group.filter((each) => each.matches(signer))) {
      for (const url of asked) answers.add(url);
      candidates.push({
        ...{ authority: subject.authority, principal: `subject ${signer.name}`, keyId, signedAtMs },
        ...{ valid: isValidAt(subject, signedAtMs ?? atMs), revoked: revocations.ofChain(signer) ?? (enforced && status === "revoked" ? detail : undefined) },
        ...{ unsure: enforced && status === "unknown" ? detail : undefined, note: enforced ? undefined : detail },
      });
    }
  }
  const identity = stranger && { issuer: "", subject: stranger.name };
  if (candidates.length > 0) return { blank: { ...blank, identity, answers: [...answers] }, candidates, claim: () => readNotaryPayload(opened.payload) };
  if (identity) return { ...blank, identity, code: "wrong-identity", text: `is by ${identity.subject}, who is no authority here` };
  if (!failure) return { ...blank, code: "untrusted", text: "is a Notary Project signature, and no authority of the policy signs so" };
  return { ...blank, code: NOTARY_CODES[failure.problem], problem: failure.problem, text: `does not hold (${failure.problem}): ${failure.detail}` };
}

const PROBLEM_TEXTS: Readonly<Record<CertificateProblem, string>> = {
  malformed: "cannot be read",
  "time-missing": "does not say provably when it was made",
  time: "carries a timestamp that does not hold",
  certificate: "is by a certificate that the trust root does not vouch for",
  "certificate-log": "is by a certificate that no certificate log of the trust root has promised to hold",
  "log-missing": "is in no transparency log",
  "log-promise": "carries a log's promise that does not hold",
  "log-proof": "carries a proof of inclusion that does not hold",
  "log-content": "carries a log entry about something else: altered after signing",
  signature: "does not verify with its certificate: altered after signing, or forged",
  usage: "is by a certificate that is for something else",
  identity: "is by a certificate whose owner cannot be told",
};

function judgeClaim(blank: Blank, claim: SignedClaim, candidates: readonly Candidate[], subjects: ReadonlySet<string>): ArtefactVerdict {
  const { predicateType } = claim;
  const common = { ...blank, predicateType, subjects: claim.subjects.slice(0, MAX_NAMED_DIGESTS) };
  const good = candidates.filter(({ valid, revoked, unsure }) => valid && revoked === undefined && unsure === undefined);
  const concerned = good.length > 0 ? good : candidates;
  const known = { ...common, authorities: [...new Set(concerned.map(({ authority }) => authority))] };
  const match = claim.subjects.find((digest) => subjects.has(digest));
  if (match === undefined) {
    const about = claim.subjects.length > 0 ? claim.subjects.slice(0, MAX_NAMED_DIGESTS).join(", ") : "no digest";
    return { ...known, code: "other-digest", text: `signed by ${names(candidates)}, but over another image: ${about}` };
  }
  if (good.length === 0) {
    const revoked = candidates.find((each) => each.revoked !== undefined);
    if (revoked) return { ...known, code: "revoked", text: `signed by ${names(candidates)}, which counts no more: ${revoked.revoked}` };
    const unsure = candidates.find((each) => each.valid && each.unsure !== undefined)?.unsure;
    if (unsure !== undefined)
      return {
        ...known,
        code: "revocation-unknown",
        text: `signed by ${names(candidates)}, but whether its certificate still counts cannot be told: ${unsure}`,
      };
    // What it says of its build can still bar the image: a rotation is no reason to forget that.
    return { ...known, source: sourceOf(claim), code: "outside-validity", text: `signed by ${names(candidates)}, whose key is not valid at this time` };
  }
  const vouchers = good.map(({ authority, principal, keyId, signedAtMs }) => ({ authority, principal, keyId, signedAtMs }));
  const isSignature = predicateType === undefined || predicateType === SIGN_PREDICATE_TYPE;
  if (isSignature) return { ...known, vouchers, code: "signature", text: `signature of ${match} by ${names(good)}${noteOf(good)}` };
  return {
    ...known,
    vouchers,
    code: "attestation",
    source: sourceOf(claim),
    text: `attestation ${predicateType} of ${match} by ${names(good)}`,
  };
}

function noteOf(candidates: readonly Candidate[]): string {
  const note = candidates.find((each) => each.note)?.note;
  return note ? ` (which counts all the same: ${note})` : "";
}

function sourceOf({ predicateType, predicate }: SignedClaim): BuildSource | undefined {
  return predicateType === undefined ? undefined : readBuildSource(predicateType, predicate);
}

function names(candidates: readonly Candidate[]): string {
  return [...new Set(candidates.map(({ authority }) => authority))].join(", ");
}

/** Only what is known to be about the bytes becomes a verdict; anything else is a fault of ours and goes up. */
function messageOf(error: unknown): string {
  if (error instanceof ProvenanceError || error instanceof SignatureFormatError) return error.message;
  throw error;
}
