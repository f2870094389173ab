/** {@link SignatureVerifier} over the sigstore libraries: by given public keys, or by certificates under a trust root. */
import { createPublicKey, type KeyObject } from "node:crypto";
import { type Bundle, toDSSEBundle, toMessageSignatureBundle } from "@sigstore/bundle";
import { crypto, dsse } from "@sigstore/core";
import { toSignedEntity, VerificationError, Verifier } from "@sigstore/verify";
import { Recent } from "../../core/provenance/recent.ts";
import {
  type CertificateVerdict,
  type CosignAnnotations,
  type RootRequirements,
  SignatureFormatError,
  type SignatureVerifier,
  type SignedObject,
  type VerifyingKey,
  type VerifyingRoot,
} from "../../ports/signature-verifier.ts";
import { readTrustRoot, type SigstoreRoot, verifyByCertificate } from "./keyless.ts";
import { MAX_SIGNATURE_BYTES, type Material, openBareEnvelope, openBundle, openMessage } from "./material.ts";

const MAX_KEY_CHARS = 16_384;
/** Keys and trust roots that are kept ready, of each. */
const MAX_KNOWN = 256;
/** Verdicts on signatures by certificate that are kept: some 1 KB each. */
const MAX_VERDICTS = 8192;
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 8192;
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
  readonly #knownKeys = new Recent<VerifyingKey>(MAX_KNOWN);
  readonly #verdicts = new Recent<CertificateVerdict>(MAX_VERDICTS);
  readonly #knownRoots = new Recent<VerifyingRoot>(MAX_KNOWN);
  readonly #roots = new WeakMap<VerifyingRoot, SigstoreRoot>();

  key(publicKeyPem: string): VerifyingKey {
    return this.#knownKeys.get(publicKeyPem, () => this.#readKey(publicKeyPem));
  }

  #readKey(publicKeyPem: string): VerifyingKey {
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

  trustRoot(json: string): VerifyingRoot {
    return this.#knownRoots.get(json, () => this.#readRoot(json));
  }

  #readRoot(json: string): VerifyingRoot {
    const root = readTrustRoot(json);
    const handle: VerifyingRoot = Object.freeze({ id: root.id });
    this.#roots.set(handle, root);
    return handle;
  }

  readBundle(bytes: Uint8Array): SignedObject {
    return openBundle(bytes);
  }

  readEnvelope(bytes: Uint8Array, annotations?: CosignAnnotations): SignedObject {
    return openBareEnvelope(bytes, annotations);
  }

  readMessage(payload: Uint8Array, signature: string, annotations?: CosignAnnotations): SignedObject {
    return openMessage(payload, signature, annotations);
  }

  verifyByKey({ payload, payloadType, material }: SignedObject, key: VerifyingKey): boolean {
    const { object, verifier } = this.#own(key);
    const signed = payloadType === undefined ? payload : dsse.preAuthEncoding(payloadType, payload);
    return (material as Material).signatures.some((signature) => {
      if (signature.length > MAX_SIGNATURE_BYTES) return false;
      const bundle =
        payloadType === undefined
          ? toMessageSignatureBundle({ digest: crypto.digest("sha256", payload), signature, keyHint: key.id })
          : toDSSEBundle({ artifact: payload, artifactType: payloadType, signature, keyHint: key.id });
      if (verifies(verifier, bundle, payloadType === undefined ? payload : undefined)) return true;
      return otherDigests(object).some((digest) => crypto.verify(signed, object, signature, digest));
    });
  }

  verifyByCertificate(signed: SignedObject, root: VerifyingRoot, requirements: RootRequirements): CertificateVerdict {
    const own = this.#roots.get(root);
    if (!own) throw new SignatureFormatError("KEY", "a trust root that another verifier made");
    // Nothing of it depends on the present: equal questions have equal answers, and the same image is asked about at every change of policy.
    const question = JSON.stringify([(signed.material as Material).contentId, own.id, requirements.log, requirements.sct]);
    return this.#verdicts.get(question, () => verifyByCertificate(signed, own, requirements));
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
