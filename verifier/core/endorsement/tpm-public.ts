/**
 * Public areas of TPM keys (TPM2B_PUBLIC, TPM 2.0 Part 2, 12.2.5). The bytes come from an unauthenticated node:
 * every length is bounded and trailing bytes are refused. Only what an EK or our AK can be is accepted.
 */
import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import { ByteReader, CodecError } from "@hullmark/proto/codec";
import { HASH_BYTES, hashOf, KNOWN_ATTRIBUTES, TPM_ALG, TPM_CURVE, TPM_RH_ENDORSEMENT, type TpmHash } from "./tpm-constants.ts";

/** An RSA-4096 public area is about 620 bytes. */
export const MAX_PUBLIC_BYTES = 1024;
const MAX_RSA_BYTES = 512;
const RSA_BITS: ReadonlySet<number> = new Set([2048, 3072, 4096]);
const DEFAULT_EXPONENT = 65537;

interface Common {
  readonly nameAlg: TpmHash;
  readonly nameAlgId: number;
  /** TPMA_OBJECT. */
  readonly attributes: number;
  readonly authPolicy: Buffer;
  /** Key size of the AES-CFB that protects children, in bits; undefined for keys that are no parents. */
  readonly aesBits: 128 | 192 | 256 | undefined;
  /** Signature scheme and its hash; undefined: none (TPM_ALG_NULL). */
  readonly scheme: { readonly algorithm: number; readonly hash: TpmHash } | undefined;
  /** TPMT_PUBLIC: what the name is a digest of. */
  readonly area: Buffer;
}
export interface RsaPublic extends Common {
  readonly type: "rsa";
  readonly bits: number;
  readonly modulus: Buffer;
}
export interface EccPublic extends Common {
  readonly type: "ecc";
  readonly curve: "P-256" | "P-384";
  /** Padded to the curve's size. */
  readonly x: Buffer;
  readonly y: Buffer;
}
export type TpmPublic = RsaPublic | EccPublic;

/** A TPM2B: u16 length, bytes. */
export function readTpm2b(reader: ByteReader, maxBytes: number): Buffer {
  const length = reader.u16();
  if (length > maxBytes) throw new CodecError("TOO_LONG", `TPM2B of ${length} bytes, limit ${maxBytes}`);
  return reader.fixed(length);
}

/** @throws CodecError when `bytes` is no public area of a kind that we accept */
export function parseTpmPublic(bytes: Uint8Array): TpmPublic {
  if (bytes.length > MAX_PUBLIC_BYTES) throw new CodecError("TOO_LONG", `public area of ${bytes.length} bytes, limit ${MAX_PUBLIC_BYTES}`);
  const outer = new ByteReader(bytes);
  const area = readTpm2b(outer, MAX_PUBLIC_BYTES);
  outer.end();
  const reader = new ByteReader(area);
  const type = reader.u16();
  const nameAlgId = reader.u16();
  const nameAlg = requireHash(nameAlgId);
  const attributes = reader.u32();
  if ((attributes & ~KNOWN_ATTRIBUTES) !== 0) throw new CodecError("OUT_OF_RANGE", `reserved object attributes 0x${attributes.toString(16)}`);
  const authPolicy = readTpm2b(reader, HASH_BYTES.sha384);
  const aesBits = readSymmetric(reader);
  const scheme = readScheme(reader);
  const common: Common = { nameAlg, nameAlgId, attributes, authPolicy, aesBits, scheme, area };
  const result = type === TPM_ALG.RSA ? readRsa(reader, common) : type === TPM_ALG.ECC ? readEcc(reader, common) : undefined;
  if (!result) throw new CodecError("BAD_TYPE", `key type 0x${type.toString(16)}`);
  reader.end();
  return result;
}

function requireHash(algorithm: number): TpmHash {
  const hash = hashOf(algorithm);
  if (!hash) throw new CodecError("BAD_TYPE", `hash algorithm 0x${algorithm.toString(16)}`);
  return hash;
}

function readSymmetric(reader: ByteReader): Common["aesBits"] {
  const algorithm = reader.u16();
  if (algorithm === TPM_ALG.NULL) return undefined;
  const bits = reader.u16();
  const mode = reader.u16();
  if (algorithm !== TPM_ALG.AES || mode !== TPM_ALG.CFB || (bits !== 128 && bits !== 192 && bits !== 256))
    throw new CodecError("BAD_TYPE", `symmetric algorithm 0x${algorithm.toString(16)}, ${bits} bits, mode 0x${mode.toString(16)}`);
  return bits;
}

function readScheme(reader: ByteReader): Common["scheme"] {
  const algorithm = reader.u16();
  if (algorithm === TPM_ALG.NULL) return undefined;
  if (algorithm !== TPM_ALG.ECDSA) throw new CodecError("BAD_TYPE", `scheme 0x${algorithm.toString(16)}`);
  return { algorithm, hash: requireHash(reader.u16()) };
}

function readRsa(reader: ByteReader, common: Common): RsaPublic {
  const bits = reader.u16();
  const exponent = reader.u32();
  const modulus = readTpm2b(reader, MAX_RSA_BYTES);
  if (!RSA_BITS.has(bits) || modulus.length !== bits / 8 || ((modulus[0] as number) & 0x80) === 0)
    throw new CodecError("OUT_OF_RANGE", `RSA key of ${bits} bits`);
  if (exponent !== 0 && exponent !== DEFAULT_EXPONENT) throw new CodecError("OUT_OF_RANGE", `RSA exponent ${exponent}`);
  return { ...common, type: "rsa", bits, modulus };
}

function readEcc(reader: ByteReader, common: Common): EccPublic {
  const curveId = reader.u16();
  const curve = curveId === TPM_CURVE.P256 ? "P-256" : curveId === TPM_CURVE.P384 ? "P-384" : undefined;
  if (!curve) throw new CodecError("BAD_TYPE", `curve 0x${curveId.toString(16)}`);
  if (reader.u16() !== TPM_ALG.NULL) throw new CodecError("BAD_TYPE", "a key with a KDF scheme");
  const bytes = curve === "P-256" ? 32 : 48;
  const pad = (value: Buffer): Buffer => Buffer.concat([Buffer.alloc(bytes - value.length), value]);
  return { ...common, type: "ecc", curve, x: pad(readTpm2b(reader, bytes)), y: pad(readTpm2b(reader, bytes)) };
}

/** The name of an object: `nameAlg ‖ H(TPMT_PUBLIC)` (Part 1, 16). */
export function tpmName(key: TpmPublic): Buffer {
  return withAlgorithm(key, createHash(key.nameAlg).update(key.area).digest());
}

/** Qualified name of a primary key of the endorsement hierarchy, or of a child where `parentQualifiedName` is given (Part 1, 26.5). */
export function qualifiedName(key: TpmPublic, parentQualifiedName?: Buffer): Buffer {
  const parent = parentQualifiedName ?? uint32(TPM_RH_ENDORSEMENT);
  return withAlgorithm(key, createHash(key.nameAlg).update(parent).update(tpmName(key)).digest());
}

function withAlgorithm(key: TpmPublic, digest: Buffer): Buffer {
  const algorithm = Buffer.alloc(2);
  algorithm.writeUInt16BE(key.nameAlgId);
  return Buffer.concat([algorithm, digest]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** @throws CodecError when the point is not on its curve */
export function toKeyObject(key: TpmPublic): KeyObject {
  try {
    if (key.type === "rsa") return createPublicKey({ format: "jwk", key: { kty: "RSA", n: key.modulus.toString("base64url"), e: "AQAB" } });
    return createPublicKey({ format: "jwk", key: { kty: "EC", crv: key.curve, x: key.x.toString("base64url"), y: key.y.toString("base64url") } });
  } catch (cause) {
    throw new CodecError("OUT_OF_RANGE", `not a public key: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

/** SubjectPublicKeyInfo, DER. */
export function toSpki(key: TpmPublic): Buffer {
  return toKeyObject(key).export({ format: "der", type: "spki" });
}
