/** {@link SignatureVerifier} over the sigstore libraries, with public keys as the only trust material. */
import { createPublicKey, type KeyObject } from "node:crypto";
import { type Bundle, bundleFromJSON, isBundleWithDsseEnvelope, isBundleWithPublicKey, toDSSEBundle, toMessageSignatureBundle } from "@sigstore/bundle";
import { crypto, dsse } from "@sigstore/core";
import { toSignedEntity, VerificationError, Verifier } from "@sigstore/verify";
import { SignatureFormatError, type SignatureVerifier, type SignedEnvelope, type VerifyingKey } from "../../ports/signature-verifier.ts";
import { decodeBase64, parseJsonObject } from "./strict.ts";

const MAX_KEY_CHARS = 16_384;
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 8192;
const MAX_SIGNATURES = 8;
const MAX_SIGNATURE_BYTES = 2048;
/**
 * What the library does not try by itself, as digests for node:crypto. P-384 signers differ: cosign signs the SHA-256 digest, others the SHA-384 one
 * that FIPS 186-5 pairs with the curve. Ed25519 hashes by itself, while the library names SHA-256 for messages.
 */
function otherDigests(key: KeyObject): readonly (string | undefined)[] {
  if (key.asymmetricKeyType === "ed25519") return [undefined];
  return key.asymmetricKeyDetails?.namedCurve === "secp384r1" ? ["sha384"] : [];
}

interface SigstoreKey extends VerifyingKey {
  readonly object: KeyObject;
  readonly verifier: Verifier;
}

export class SigstoreVerifier implements SignatureVerifier {
  readonly #keys = new WeakMap<VerifyingKey, SigstoreKey>();

  key(publicKeyPem: string): VerifyingKey {
    const object = readKey(publicKeyPem);
    const id = crypto.digest("sha256", object.export({ type: "spki", format: "der" })).toString("base64");
    // The key is given, not found: a bundle's hint chooses nothing. Validity in time is the caller's: bare keys come without trusted timestamps.
    const material = {
      certificateAuthorities: [],
      timestampAuthorities: [],
      tlogs: [],
      ctlogs: [],
      publicKey: () => ({ publicKey: object, validFor: () => true }),
    };
    const verifier = new Verifier(material, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 });
    const key: SigstoreKey = Object.freeze({ id, object, verifier });
    const handle: VerifyingKey = Object.freeze({ id });
    this.#keys.set(handle, key);
    return handle;
  }

  readBundle(bytes: Uint8Array): SignedEnvelope {
    const json = parseJsonObject(bytes);
    let bundle: Bundle;
    try {
      bundle = bundleFromJSON(json);
    } catch (cause) {
      throw new SignatureFormatError("FORMAT", "not a sigstore bundle", { cause });
    }
    if (!isBundleWithDsseEnvelope(bundle)) throw new SignatureFormatError("FORMAT", "a bundle without an envelope: a signature over a file, not over an image");
    const hint = isBundleWithPublicKey(bundle) ? bundle.verificationMaterial.content.publicKey.hint : undefined;
    return { ...readEnvelopeObject(json["dsseEnvelope"]), keyHint: hint, certificate: !isBundleWithPublicKey(bundle) };
  }

  readEnvelope(bytes: Uint8Array): SignedEnvelope {
    return readEnvelopeObject(parseJsonObject(bytes));
  }

  verifyEnvelope(envelope: SignedEnvelope, key: VerifyingKey): boolean {
    const { object, verifier } = this.#own(key);
    return envelope.signatures.some((signature) => {
      const bundle = toDSSEBundle({ artifact: envelope.payload, artifactType: envelope.payloadType, signature, keyHint: key.id });
      if (verifies(verifier, bundle)) return true;
      const signed = dsse.preAuthEncoding(envelope.payloadType, envelope.payload);
      return otherDigests(object).some((digest) => crypto.verify(signed, object, signature, digest));
    });
  }

  verifyMessage(message: Uint8Array, signature: Uint8Array, key: VerifyingKey): boolean {
    if (signature.length === 0 || signature.length > MAX_SIGNATURE_BYTES) return false;
    const { object, verifier } = this.#own(key);
    const artifact = Buffer.from(message);
    const bundle = toMessageSignatureBundle({ digest: crypto.digest("sha256", artifact), signature: Buffer.from(signature), keyHint: key.id });
    if (verifies(verifier, bundle, artifact)) return true;
    return otherDigests(object).some((digest) => crypto.verify(artifact, object, Buffer.from(signature), digest));
  }

  #own(key: VerifyingKey): SigstoreKey {
    const own = this.#keys.get(key);
    if (!own) throw new SignatureFormatError("KEY", "a key that another verifier made");
    return own;
  }
}

/** Transparency log entries and timestamps were left out on the way here: by policy a key's signature stands by itself, and nothing is claimed about a log. */
function verifies(verifier: Verifier, bundle: Bundle, artifact?: Buffer): boolean {
  try {
    verifier.verify(toSignedEntity(bundle, artifact));
    return true;
  } catch (error) {
    if (error instanceof VerificationError && error.code === "SIGNATURE_ERROR") return false;
    throw error;
  }
}

function readKey(pem: string): KeyObject {
  const bad = (why: string, cause?: unknown) => new SignatureFormatError("KEY", why, { cause });
  if (pem.length > MAX_KEY_CHARS || !/^\s*-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----\s*$/.test(pem))
    throw bad("not one public key in PEM");
  let key: KeyObject;
  try {
    key = createPublicKey({ key: pem, format: "pem", type: "spki" });
  } catch (cause) {
    throw bad("a public key that cannot be read", cause);
  }
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {};
  const kind = key.asymmetricKeyType;
  const allowed =
    kind === "ed25519" ||
    (kind === "ec" && (namedCurve === "prime256v1" || namedCurve === "secp384r1")) ||
    (kind === "rsa" && modulusLength !== undefined && modulusLength >= MIN_RSA_BITS && modulusLength <= MAX_RSA_BITS);
  if (!allowed) throw bad("want ECDSA P-256 or P-384, Ed25519, or RSA of 2,048 to 8,192 bits");
  return key;
}

function readEnvelopeObject(value: unknown): SignedEnvelope {
  const bad = () => new SignatureFormatError("FORMAT", "not a DSSE envelope");
  if (typeof value !== "object" || value === null) throw bad();
  const { payloadType, payload, signatures } = value as Record<string, unknown>;
  if (typeof payloadType !== "string" || payloadType.length > 255 || typeof payload !== "string" || !Array.isArray(signatures)) throw bad();
  if (signatures.length === 0 || signatures.length > MAX_SIGNATURES)
    throw new SignatureFormatError("FORMAT", `an envelope with ${signatures.length} signatures, want 1 to ${MAX_SIGNATURES}`);
  const decoded = signatures.map((entry: unknown) => {
    const sig = typeof entry === "object" && entry !== null && "sig" in entry ? entry.sig : undefined;
    if (typeof sig !== "string" || sig.length === 0 || sig.length > MAX_SIGNATURE_BYTES * 2) throw bad();
    return decodeBase64(sig);
  });
  const body = decodeBase64(payload);
  if (body.length === 0) throw bad();
  return { payloadType, payload: body, signatures: decoded, keyHint: undefined, certificate: false };
}
