/** What signed payloads say: in-toto statements (v0.1 and v1) and cosign's simple signing. Call only with bytes whose signature holds. */
import { ProvenanceError } from "./errors.ts";
import { arrayField, asObject, type JsonObject, objectField, parseObject, textField } from "./json.ts";

export const STATEMENT_PAYLOAD_TYPE = "application/vnd.in-toto+json";
export const STATEMENT_V1 = "https://in-toto.io/Statement/v1";
const STATEMENT_TYPES: ReadonlySet<string> = new Set(["https://in-toto.io/Statement/v0.1", STATEMENT_V1]);
/** The predicate by which cosign v3 and Hullmark sign an image without saying more. */
export const SIGN_PREDICATE_TYPE = "https://sigstore.dev/cosign/sign/v1";
const SIMPLE_SIGNING_KIND = "cosign container image signature";
const MAX_SUBJECTS = 4096;

export interface SignedClaim {
  /** `sha256:` digests that the payload is about. */
  readonly subjects: readonly string[];
  /** undefined: simple signing. */
  readonly predicateType: string | undefined;
  readonly predicate: JsonObject | undefined;
}

/** @throws ProvenanceError MALFORMED, TOO_LARGE */
export function readStatement(payloadType: string, payload: Uint8Array): SignedClaim {
  if (payloadType !== STATEMENT_PAYLOAD_TYPE) throw new ProvenanceError("MALFORMED", "an envelope that holds no in-toto statement");
  const statement = parseObject(payload, "the statement");
  if (!STATEMENT_TYPES.has(textField(statement, "_type") ?? "")) throw new ProvenanceError("MALFORMED", "an in-toto statement of an unknown version");
  const predicateType = textField(statement, "predicateType", 1024);
  if (!predicateType) throw new ProvenanceError("MALFORMED", "a statement without predicate type");
  const subjects = arrayField(statement, "subject", MAX_SUBJECTS).flatMap((entry) => {
    const hex = textField(objectField(asObject(entry), "digest"), "sha256", 64);
    return hex !== undefined && /^[0-9a-f]{64}$/.test(hex) ? [`sha256:${hex}`] : [];
  });
  return { subjects, predicateType, predicate: objectField(statement, "predicate") };
}

/** containers/image, docs/containers-signature.5.md, as cosign writes it. @throws ProvenanceError MALFORMED */
export function readSimpleSigning(payload: Uint8Array): SignedClaim {
  const critical = objectField(parseObject(payload, "the signed payload"), "critical");
  const digest = textField(objectField(critical, "image"), "docker-manifest-digest", 128);
  if (textField(critical, "type") !== SIMPLE_SIGNING_KIND || digest === undefined)
    throw new ProvenanceError("MALFORMED", "a signed payload that names no image");
  return { subjects: [digest], predicateType: undefined, predicate: undefined };
}

/** Notary Project, signature-specification.md, "Payload". @throws ProvenanceError MALFORMED */
export function readNotaryPayload(payload: Uint8Array): SignedClaim {
  const digest = textField(objectField(parseObject(payload, "the signed payload"), "targetArtifact"), "digest", 128);
  if (digest === undefined) throw new ProvenanceError("MALFORMED", "a signed payload that names no artifact");
  return { subjects: [digest], predicateType: undefined, predicate: undefined };
}
