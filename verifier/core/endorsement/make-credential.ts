/** TPM2_MakeCredential in software (TPM 2.0 Part 1, 24): a secret that only the TPM with this EK, holding a key of this name, can open. */
import { constants, createCipheriv, createECDH, createHash, createHmac, publicEncrypt } from "node:crypto";
import type { EndorsementKey } from "./attestation-key.ts";
import { HASH_BYTES, type TpmHash } from "./tpm-constants.ts";
import { type EccPublic, toKeyObject } from "./tpm-public.ts";

/** Length of a secret: fits the smallest name algorithm. */
export const SECRET_BYTES = 32;
const LABEL = "IDENTITY\0";

export interface Credential {
  /** TPM2B_ID_OBJECT. */
  readonly credentialBlob: Buffer;
  /** TPM2B_ENCRYPTED_SECRET. */
  readonly encryptedSecret: Buffer;
}

/**
 * Encrypts `secret` ({@link SECRET_BYTES} bytes) to `ek` and `akName`.
 * @param random gives fresh bytes from a cryptographic source
 */
export function makeCredential(ek: EndorsementKey, akName: Uint8Array, secret: Uint8Array, random: (bytes: number) => Buffer): Credential {
  if (secret.length !== SECRET_BYTES) throw new RangeError(`secret of ${secret.length} bytes, want ${SECRET_BYTES}`);
  const key = ek.public;
  if (key.aesBits === undefined) throw new RangeError("the EK has no symmetric algorithm");
  const { seed, encryptedSecret } = key.type === "rsa" ? rsaSeed(ek, random) : eccSeed(key, random);
  const storageKey = kdfa(key.nameAlg, seed, "STORAGE", akName, key.aesBits);
  const integrityKey = kdfa(key.nameAlg, seed, "INTEGRITY", Buffer.alloc(0), HASH_BYTES[key.nameAlg] * 8);
  const cipher = createCipheriv(`aes-${key.aesBits}-cfb`, storageKey, Buffer.alloc(16));
  const encIdentity = Buffer.concat([cipher.update(tpm2b(secret)), cipher.final()]);
  const integrity = createHmac(key.nameAlg, integrityKey).update(encIdentity).update(akName).digest();
  return { credentialBlob: tpm2b(Buffer.concat([tpm2b(integrity), encIdentity])), encryptedSecret: tpm2b(encryptedSecret) };
}

function rsaSeed(ek: EndorsementKey, random: (bytes: number) => Buffer): { seed: Buffer; encryptedSecret: Buffer } {
  const hash = ek.public.nameAlg;
  const seed = random(HASH_BYTES[hash]);
  const padding = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: hash, oaepLabel: Buffer.from(LABEL) };
  return { seed, encryptedSecret: publicEncrypt({ key: toKeyObject(ek.public), ...padding }, seed) };
}

/** Part 1, C.6.4: the seed is KDFe of the shared point's x-coordinate with an ephemeral key. */
function eccSeed(key: EccPublic, random: (bytes: number) => Buffer): { seed: Buffer; encryptedSecret: Buffer } {
  const ecdh = createECDH(key.curve === "P-256" ? "prime256v1" : "secp384r1");
  const coordinateBytes = key.x.length;
  setEphemeral(ecdh, coordinateBytes, random);
  const ephemeral = ecdh.getPublicKey();
  const x = ephemeral.subarray(1, 1 + coordinateBytes);
  const y = ephemeral.subarray(1 + coordinateBytes);
  const shared = ecdh.computeSecret(Buffer.concat([Buffer.from([4]), key.x, key.y]));
  const seed = kdfe(key.nameAlg, shared, x, key.x);
  return { seed, encryptedSecret: Buffer.concat([tpm2b(x), tpm2b(y)]) };
}

/** A scalar outside 1..n-1 is refused by the library: draw again (a chance of about 2^-32 on these curves). */
function setEphemeral(ecdh: ReturnType<typeof createECDH>, bytes: number, random: (bytes: number) => Buffer): void {
  for (let attempt = 0; attempt < 4; attempt++) {
    try {
      ecdh.setPrivateKey(random(bytes));
      return;
    } catch {
      // drawn again
    }
  }
  throw new RangeError("the random source gives no valid scalar");
}

/** Part 1, 11.4.10.2: SP 800-108 counter mode. `context` is contextU; contextV is empty here. */
function kdfa(hash: TpmHash, key: Buffer, label: string, context: Uint8Array, bits: number): Buffer {
  const blocks: Buffer[] = [];
  for (let counter = 1; (counter - 1) * HASH_BYTES[hash] * 8 < bits; counter++)
    blocks.push(createHmac(hash, key).update(uint32(counter)).update(`${label}\0`).update(context).update(uint32(bits)).digest());
  return Buffer.concat(blocks).subarray(0, bits / 8);
}

/** Part 1, 11.4.10.3: SP 800-56A, one block since the seed is as long as the hash. */
function kdfe(hash: TpmHash, shared: Buffer, partyU: Buffer, partyV: Buffer): Buffer {
  return createHash(hash).update(uint32(1)).update(shared).update(LABEL).update(partyU).update(partyV).digest();
}

function tpm2b(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
