/**
 * A TPM in plain code behind the agent's Quoter port: real structures, real signatures, real credential activation, keys that any program could read.
 * For faults that a real TPM does not show on demand, and for fleets of simulated agents. It passes the same contract suite as the real one.
 */
import { createDecipheriv, createECDH, createHash, createHmac, type ECDH, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { type Quote, type Quoter, QuoterError, type QuoterErrorCode, type QuoterHealth, type QuoterIdentity } from "@hullmark/agent/ports/quoter";
import { ByteReader } from "@hullmark/proto/codec";
import { u16, u32 } from "./tpm-command.ts";

const ALG_SHA256 = 0x000b;
const ALG_NULL = 0x0010;
const EK_ATTRIBUTES = 0x000300b2; // fixedTPM fixedParent sensitiveDataOrigin adminWithPolicy restricted decrypt
const AK_ATTRIBUTES = 0x00050472; // fixedTPM fixedParent sensitiveDataOrigin userWithAuth noDA restricted sign
const POLICY_SECRET_ENDORSEMENT = Buffer.from("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa", "hex");

const u8 = (value: number): Buffer => Buffer.from([value]);
function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}
const tpm2b = (bytes: Uint8Array): Buffer => Buffer.concat([u16(bytes.length), bytes]);
const sha256 = (...parts: Uint8Array[]): Buffer => parts.reduce((digest, part) => digest.update(part), createHash("sha256")).digest();
const hmac = (key: Buffer, ...parts: Uint8Array[]): Buffer => parts.reduce((mac, part) => mac.update(part), createHmac("sha256", key)).digest();
const kdfa = (key: Buffer, label: string, context: Uint8Array, bits: number): Buffer =>
  hmac(key, u32(1), Buffer.from(`${label}\0`), context, u32(bits)).subarray(0, bits / 8);

/** Changes to the public areas, for what a verifier must refuse. */
export interface FakeQuoterOptions {
  readonly akAttributes?: number;
  readonly ekAttributes?: number;
}

export class FakeQuoter implements Quoter {
  /** Simulated TPMS_CLOCK_INFO. */
  clock = 1000n;
  resetCount = 1;
  restartCount = 0;
  safe = true;
  readonly pcrs: Buffer[] = Array.from({ length: 24 }, () => Buffer.alloc(32));
  /** Every call fails so until it is cleared. */
  failure: QuoterErrorCode | undefined;
  readonly #ek: ECDH;
  readonly #ak: KeyObject;
  readonly #ekPublic: Buffer;
  readonly #akPublic: Buffer;
  readonly #akName: Buffer;
  readonly #qualifiedName: Buffer;

  constructor(options: FakeQuoterOptions = {}) {
    this.#ek = createECDH("prime256v1");
    const ekPoint = this.#ek.generateKeys();
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    this.#ak = privateKey;
    const jwk = publicKey.export({ format: "jwk" });
    const ekArea = Buffer.concat([
      ...[u16(0x23), u16(ALG_SHA256), u32(options.ekAttributes ?? EK_ATTRIBUTES), tpm2b(POLICY_SECRET_ENDORSEMENT)],
      ...[u16(0x06), u16(128), u16(0x43), u16(ALG_NULL), u16(0x03), u16(ALG_NULL), tpm2b(ekPoint.subarray(1, 33)), tpm2b(ekPoint.subarray(33))],
    ]);
    const akArea = Buffer.concat([
      ...[u16(0x23), u16(ALG_SHA256), u32(options.akAttributes ?? AK_ATTRIBUTES), tpm2b(Buffer.alloc(0)), u16(ALG_NULL)],
      ...[u16(0x18), u16(ALG_SHA256), u16(0x03), u16(ALG_NULL)],
      ...[tpm2b(Buffer.from(jwk.x ?? "", "base64url")), tpm2b(Buffer.from(jwk.y ?? "", "base64url"))],
    ]);
    const name = (area: Buffer): Buffer => Buffer.concat([u16(ALG_SHA256), sha256(area)]);
    const ekQualified = Buffer.concat([u16(ALG_SHA256), sha256(u32(0x4000000b), name(ekArea))]);
    this.#ekPublic = tpm2b(ekArea);
    this.#akPublic = tpm2b(akArea);
    this.#akName = name(akArea);
    this.#qualifiedName = Buffer.concat([u16(ALG_SHA256), sha256(ekQualified, this.#akName)]);
  }

  /** What a reboot of the node does. */
  reset(): void {
    this.resetCount++;
    this.restartCount = 0;
    for (const value of this.pcrs) value.fill(0);
  }

  async identify(signal: AbortSignal): Promise<QuoterIdentity> {
    this.#check(signal);
    return { ekPublic: this.#ekPublic, ekCertificate: undefined, ekIntermediates: [], akPublic: this.#akPublic };
  }

  async activate(credentialBlob: Buffer, encryptedSecret: Buffer, signal: AbortSignal): Promise<Buffer> {
    this.#check(signal);
    try {
      return this.#open(credentialBlob, encryptedSecret);
    } catch (cause) {
      throw new QuoterError("REFUSED", "the credential was not made for this TPM and AK", { cause });
    }
  }

  #open(credentialBlob: Buffer, encryptedSecret: Buffer): Buffer {
    const point = new ByteReader(encryptedSecret.subarray(2));
    const x = point.fixed(point.u16());
    const y = point.fixed(point.u16());
    point.end();
    const shared = this.#ek.computeSecret(Buffer.concat([u8(4), x, y]));
    const seed = sha256(u32(1), shared, Buffer.from("IDENTITY\0"), x, this.#ek.getPublicKey().subarray(1, 33));
    const blob = new ByteReader(credentialBlob.subarray(2));
    const integrity = blob.fixed(blob.u16());
    const encIdentity = credentialBlob.subarray(2 + 2 + integrity.length);
    if (!hmac(kdfa(seed, "INTEGRITY", Buffer.alloc(0), 256), encIdentity, this.#akName).equals(integrity)) throw new Error("integrity");
    const decipher = createDecipheriv("aes-128-cfb", kdfa(seed, "STORAGE", this.#akName, 128), Buffer.alloc(16));
    const identity = new ByteReader(Buffer.concat([decipher.update(encIdentity), decipher.final()]));
    const secret = identity.fixed(identity.u16());
    identity.end();
    return secret;
  }

  async quote(extraData: Buffer, pcrs: readonly number[], signal: AbortSignal): Promise<Quote> {
    this.#check(signal);
    const selected = [...pcrs].sort((a, b) => a - b).map((index) => ({ bank: "sha256" as const, index, value: Buffer.from(this.pcrs[index] as Buffer) }));
    const bits = Buffer.alloc(3);
    for (const { index } of selected) bits[index >> 3] = (bits[index >> 3] as number) | (1 << (index & 7));
    this.clock++;
    const attest = Buffer.concat([
      ...[u32(0xff544347), u16(0x8018), tpm2b(this.#qualifiedName), tpm2b(extraData)],
      ...[u64(this.clock), u32(this.resetCount), u32(this.restartCount), u8(this.safe ? 1 : 0), u64(1n)],
      ...(pcrs.length > 0 ? [u32(1), u16(ALG_SHA256), u8(3), bits] : [u32(0)]),
      tpm2b(sha256(...selected.map(({ value }) => value))),
    ]);
    return { attest, signature: sign("sha256", attest, { key: this.#ak, dsaEncoding: "der" }), pcrs: selected };
  }

  async health(signal: AbortSignal): Promise<QuoterHealth> {
    signal.throwIfAborted();
    return this.failure ? { ok: false, detail: this.failure } : { ok: true, detail: "ok" };
  }

  async close(): Promise<void> {}

  #check(signal: AbortSignal): void {
    signal.throwIfAborted();
    if (this.failure) throw new QuoterError(this.failure, "simulated");
  }
}
