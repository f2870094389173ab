/** Is this pair of public areas an endorsement key and an attestation key that we can rest on? */
import type { KeyObject } from "node:crypto";
import { createHash } from "node:crypto";
import { CodecError } from "@hullmark/proto/codec";
import { ATTRIBUTE, TPM_ALG } from "./tpm-constants.ts";
import { parseTpmPublic, qualifiedName, type TpmPublic, toKeyObject, toSpki, tpmName } from "./tpm-public.ts";

/** An EK whose public area has the attributes of the TCG templates. That a TPM holds it is shown by credential activation alone. */
export interface EndorsementKey {
  readonly public: TpmPublic;
  /** SubjectPublicKeyInfo, DER: what an EK certificate certifies. */
  readonly spki: Buffer;
  /** Lower-case hex SHA-256 of `spki`: the key of the allow-list. */
  readonly sha256: string;
}

/** An AK with the attributes that make its quotes mean something; ready to verify many. Keep one a node: making it costs more than a verification. */
export interface AttestationKey {
  readonly name: Buffer;
  /** What TPMS_ATTEST.qualifiedSigner must be: commits to the EK above the AK. */
  readonly qualifiedName: Buffer;
  readonly publicKey: KeyObject;
}

export type KeyRefusal =
  | "malformed"
  /** Not made inside a TPM, or may leave it, or may be duplicated. */
  | "not-fixed"
  /** Would sign or decrypt what its holder asks for. */
  | "not-restricted"
  | "wrong-use"
  | "wrong-algorithm";
export type KeyResult<T> = { readonly ok: true; readonly key: T } | { readonly ok: false; readonly reason: KeyRefusal; readonly detail: string };

const FIXED = ATTRIBUTE.fixedTpm | ATTRIBUTE.fixedParent | ATTRIBUTE.sensitiveDataOrigin;

/** Reads a TPM2B_PUBLIC as an EK. The bytes come from an unauthenticated node. */
export function readEndorsementKey(bytes: Uint8Array): KeyResult<EndorsementKey> {
  return guarded(() => {
    const key = parseTpmPublic(bytes);
    const refusal = checkCommon(key, ATTRIBUTE.decrypt, ATTRIBUTE.sign);
    if (refusal) return refusal;
    if (key.aesBits === undefined || key.scheme !== undefined) return refuse("wrong-algorithm", "an EK is a storage key without signature scheme");
    if (key.authPolicy.length === 0) return refuse("wrong-use", "an EK has an authorisation policy");
    const spki = toSpki(key);
    return { ok: true, key: { public: key, spki, sha256: createHash("sha256").update(spki).digest("hex") } };
  });
}

/** Reads a TPM2B_PUBLIC as an AK below `ek`: ECC P-256, ECDSA with SHA-256, restricted, fixed, for signing only. */
export function readAttestationKey(bytes: Uint8Array, ek: EndorsementKey): KeyResult<AttestationKey> {
  return guarded(() => {
    const key = parseTpmPublic(bytes);
    const refusal = checkCommon(key, ATTRIBUTE.sign, ATTRIBUTE.decrypt | ATTRIBUTE.x509Sign);
    if (refusal) return refusal;
    if ((key.attributes & ATTRIBUTE.userWithAuth) === 0) return refuse("wrong-use", "the AK is not used with its authValue");
    if (key.type !== "ecc" || key.curve !== "P-256" || key.nameAlg !== "sha256") return refuse("wrong-algorithm", "the AK is not ECC P-256 named by SHA-256");
    if (key.scheme?.algorithm !== TPM_ALG.ECDSA || key.scheme.hash !== "sha256" || key.aesBits !== undefined)
      return refuse("wrong-algorithm", "the AK does not sign by ECDSA with SHA-256");
    return { ok: true, key: { name: tpmName(key), qualifiedName: qualifiedName(key, qualifiedName(ek.public)), publicKey: toKeyObject(key) } };
  });
}

function refuse(reason: KeyRefusal, detail: string): { ok: false; reason: KeyRefusal; detail: string } {
  return { ok: false, reason, detail };
}

function checkCommon(key: TpmPublic, wanted: number, unwanted: number): { ok: false; reason: KeyRefusal; detail: string } | undefined {
  const attributes = `attributes 0x${key.attributes.toString(16)}`;
  if ((key.attributes & FIXED) !== FIXED || (key.attributes & ATTRIBUTE.encryptedDuplication) !== 0) return refuse("not-fixed", attributes);
  if ((key.attributes & ATTRIBUTE.restricted) === 0) return refuse("not-restricted", attributes);
  if ((key.attributes & wanted) !== wanted || (key.attributes & unwanted) !== 0) return refuse("wrong-use", attributes);
  return undefined;
}

function guarded<T>(read: () => KeyResult<T>): KeyResult<T> {
  try {
    return read();
  } catch (error) {
    if (error instanceof CodecError) return refuse("malformed", error.message);
    throw error;
  }
}
