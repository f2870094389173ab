/** One artefact against the authorities' keys. Pure. Every byte of the artefact may be an attacker's until a signature holds. */
import type { SignatureVerifier, SignedEnvelope, VerifyingKey } from "../../ports/signature-verifier.ts";
import { SignatureFormatError } from "../../ports/signature-verifier.ts";
import type { Artefact } from "./artefact.ts";
import { ProvenanceError } from "./errors.ts";
import { type BuildSource, readBuildSource } from "./slsa.ts";
import { readSimpleSigning, readStatement, SIGN_PREDICATE_TYPE, type SignedClaim } from "./statement.ts";

/**
 * `signature`, `attestation`: of this image, by `authorities`. `other-digest`: by an authority, over another image. `wrong-key`: by none of the authorities.
 * `altered`: says that an authority's key made it, but it does not verify. `outside-validity`: by an authority whose key is not valid now.
 * `malformed`: cannot be read. `unsupported`: of a kind that is not checked here.
 */
export type ArtefactCode = "signature" | "attestation" | "other-digest" | "wrong-key" | "altered" | "outside-validity" | "malformed" | "unsupported";

export interface ArtefactVerdict {
  readonly code: ArtefactCode;
  readonly manifestDigest: string;
  readonly foundUnder: string;
  readonly layout: Artefact["layout"];
  readonly format: Artefact["format"];
  /** Names of the authorities whose signature holds; for `outside-validity` those whose key is out of date. */
  readonly authorities: readonly string[];
  /** Digests that the signed payload names; only of verified payloads. */
  readonly subjects: readonly string[];
  /** Only of verified payloads; undefined for simple signing. */
  readonly predicateType: string | undefined;
  readonly source: BuildSource | undefined;
  readonly text: string;
}

/** An authority whose key has been read. */
export interface ReadyAuthority {
  readonly name: string;
  readonly key: VerifyingKey;
  readonly valid: boolean;
}

type Opened = { readonly hint: string | undefined; verify(key: VerifyingKey): boolean; claim(): SignedClaim };

const MAX_NAMED_DIGESTS = 8;

/** @param subjects digests that are this image */
export function judgeArtefact(
  artefact: Artefact,
  subjects: ReadonlySet<string>,
  authorities: readonly ReadyAuthority[],
  verifier: SignatureVerifier,
): ArtefactVerdict {
  const { manifestDigest, foundUnder, layout, format } = artefact;
  const none = { manifestDigest, foundUnder, layout, format, authorities: [], subjects: [], predicateType: undefined, source: undefined };
  if (artefact.format === "unsupported") return { ...none, code: "unsupported", text: artefact.detail };
  if (artefact.format === "damaged") return { ...none, code: "malformed", text: `cannot be read: ${artefact.detail}` };
  let opened: Opened | "certificate";
  try {
    opened = open(artefact, verifier);
  } catch (error) {
    return { ...none, code: "malformed", text: `cannot be read: ${messageOf(error)}` };
  }
  if (opened === "certificate") return { ...none, code: "unsupported", text: "signed with a certificate (keyless), which this release does not check" };
  const { hint, verify, claim } = opened;
  const holding = authorities.filter(({ key }) => verify(key));
  if (holding.length === 0) {
    const named = authorities.find(({ key }) => key.id === hint);
    if (named) return { ...none, code: "altered", text: `names the key of ${named.name}, but its signature does not hold: altered after signing, or forged` };
    return { ...none, code: "wrong-key", text: "does not verify with the key of any authority: signed by somebody else, or altered after signing" };
  }
  try {
    return judgeClaim(none, claim(), holding, subjects);
  } catch (error) {
    return { ...none, code: "malformed", text: `signed by ${names(holding)}, but what was signed cannot be read: ${messageOf(error)}` };
  }
}

function judgeClaim(
  none: Omit<ArtefactVerdict, "code" | "text">,
  claim: SignedClaim,
  holding: readonly ReadyAuthority[],
  subjects: ReadonlySet<string>,
): ArtefactVerdict {
  const { predicateType, predicate } = claim;
  const common = { ...none, predicateType, subjects: claim.subjects.slice(0, MAX_NAMED_DIGESTS) };
  const valid = holding.filter((authority) => authority.valid);
  const known = { ...common, authorities: (valid.length > 0 ? valid : holding).map(({ name }) => name) };
  const match = claim.subjects.find((digest) => subjects.has(digest));
  if (match === undefined) {
    const about = claim.subjects.length > 0 ? claim.subjects.slice(0, MAX_NAMED_DIGESTS).join(", ") : "no digest";
    return { ...known, code: "other-digest", text: `signed by ${names(holding)}, but over another image: ${about}` };
  }
  if (valid.length === 0) return { ...known, code: "outside-validity", text: `signed by ${names(holding)}, whose key is not valid at this time` };
  const isSignature = predicateType === undefined || predicateType === SIGN_PREDICATE_TYPE;
  if (isSignature) return { ...known, code: "signature", text: `signature of ${match} by ${names(valid)}` };
  return {
    ...known,
    code: "attestation",
    source: readBuildSource(predicateType, predicate),
    text: `attestation ${predicateType} of ${match} by ${names(valid)}`,
  };
}

function open(artefact: Extract<Artefact, { format: "simple-signing" | "dsse" | "bundle" }>, verifier: SignatureVerifier): Opened | "certificate" {
  if (artefact.format === "simple-signing") {
    const { payload, signature } = artefact;
    const bytes = Buffer.from(signature ?? "", "base64");
    if (bytes.length === 0 || bytes.toString("base64") !== signature) throw new ProvenanceError("MALFORMED", "a payload without a signature in base64");
    return { hint: undefined, verify: (key) => verifier.verifyMessage(payload, bytes, key), claim: () => readSimpleSigning(payload) };
  }
  const envelope: SignedEnvelope = artefact.format === "dsse" ? verifier.readEnvelope(artefact.envelope) : verifier.readBundle(artefact.bundle);
  if (envelope.certificate) return "certificate";
  return {
    hint: envelope.keyHint,
    verify: (key) => verifier.verifyEnvelope(envelope, key),
    claim: () => readStatement(envelope.payloadType, envelope.payload),
  };
}

function names(authorities: readonly ReadyAuthority[]): string {
  return authorities.map(({ name }) => name).join(", ");
}

/** Only what is known to be about the bytes becomes a verdict; anything else is a fault of ours and goes up. */
function messageOf(error: unknown): string {
  if (error instanceof ProvenanceError || error instanceof SignatureFormatError) return error.message;
  throw error;
}
