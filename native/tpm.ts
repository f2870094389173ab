/**
 * A TPM 2.0, through tpm2-tss. Calls run one at a time, in order, on a thread of their own; nothing blocks the event loop.
 * Native errors arrive as {@link TpmError}. Buffers handed in are copied; buffers handed out belong to the caller.
 */
import { loadAddon } from "./loader.ts";

/**
 * ABSENT: no TPM, or the connection broke (open anew) · BUSY: retry later · LOCKOUT: dictionary-attack lockout · AUTH: wrong authValue or policy ·
 * REPLACED: the key or credential belongs to another TPM, or the TPM was cleared · NOT_FOUND: no such handle · BAD_INPUT: a wrong argument ·
 * TPM: anything else, see {@link TpmError.tssRc}.
 */
export type TpmErrorCode = "ABSENT" | "BUSY" | "LOCKOUT" | "AUTH" | "REPLACED" | "NOT_FOUND" | "BAD_INPUT" | "TPM";

const CODES: ReadonlySet<string> = new Set<TpmErrorCode>(["ABSENT", "BUSY", "LOCKOUT", "AUTH", "REPLACED", "NOT_FOUND", "BAD_INPUT", "TPM"]);

/** Thrown by every call of {@link Tpm}. */
export class TpmError extends Error {
  readonly code: TpmErrorCode;
  /** The TSS2_RC, 0 where the TSS was not asked. */
  readonly tssRc: number;
  /** True where the same call may succeed later, on a new connection after ABSENT. */
  readonly retryable: boolean;

  constructor(code: TpmErrorCode, message: string, tssRc = 0, cause?: unknown) {
    super(message, { cause });
    this.name = "TpmError";
    this.code = code;
    this.tssRc = tssRc;
    this.retryable = code === "ABSENT" || code === "BUSY" || code === "LOCKOUT";
  }

  static from(error: unknown): TpmError {
    if (error instanceof TpmError) return error;
    const { code, tssRc } = (error ?? {}) as { code?: unknown; tssRc?: unknown };
    const message = error instanceof Error ? error.message : String(error);
    if (typeof code === "string" && CODES.has(code)) return new TpmError(code as TpmErrorCode, message, typeof tssRc === "number" ? tssRc : 0, error);
    return new TpmError(error instanceof TypeError || error instanceof RangeError ? "BAD_INPUT" : "TPM", message, 0, error);
  }
}

/** TPM_ALG_ID of the hash of a PCR bank (TPM 2.0 Part 2, 6.3). */
export const PCR_HASHES = { sha1: 0x0004, sha256: 0x000b, sha384: 0x000c, sha512: 0x000d } as const;
export type PcrHash = keyof typeof PCR_HASHES;

/** One bank and its PCRs: 0..23, ascending, without duplicates. */
export interface PcrSelection {
  readonly hash: PcrHash;
  readonly pcrs: readonly number[];
}
export interface PcrBank {
  readonly hash: PcrHash;
  /** Ascending by PCR. */
  readonly values: readonly { readonly pcr: number; readonly digest: Buffer }[];
}

/** Which endorsement key: TCG EK Credential Profile templates L-1, L-2, H-1, H-2 and H-3. Those of the high range are other keys than those of the low one. */
export const EK_KINDS = ["rsa2048", "p384", "p256", "rsa2048-high", "p256-high"] as const;
export type EkKind = (typeof EK_KINDS)[number];
/** Certificates of issuing CAs that are read from a TPM; further ones are left. */
export const MAX_EK_INTERMEDIATES = 8;

export interface TpmCapabilities {
  /** TCG vendor id, for example `IFX`, `STM`, `IBM` (swtpm). */
  readonly manufacturer: string;
  readonly vendor: string;
  /** Both firmware words, hex, 16 digits. */
  readonly firmwareVersion: string;
  /** Banks with at least one PCR; hashes that this client does not know are left out. */
  readonly pcrBanks: readonly PcrSelection[];
  /** True when a resource manager shares the TPM out. */
  readonly managed: boolean;
  /** Sessions and objects of a crashed predecessor that were flushed at open. */
  readonly swept: number;
}
export interface TpmEndorsement {
  readonly kind: EkKind;
  /** TPM2B_PUBLIC. */
  readonly publicArea: Buffer;
  readonly persistentHandle: number | null;
}
export interface TpmEkCertificates {
  /** DER, without the padding that makers append in NV; null where NV holds none. */
  readonly certificate: Buffer | null;
  /** DER, in the order of NV: of whatever EKs the maker put them there. At most {@link MAX_EK_INTERMEDIATES}; empty without a certificate. */
  readonly intermediates: readonly Buffer[];
}
export interface TpmKeyBlobs {
  /** TPM2B_PUBLIC. */
  readonly publicArea: Buffer;
  /** TPM2B_PRIVATE: wrapped by the TPM's EK, of no use on another TPM. */
  readonly privateArea: Buffer;
}
export interface TpmQuote {
  /** TPMS_ATTEST: the bytes that are signed. */
  readonly attest: Buffer;
  /** ECDSA-Sig-Value, DER. */
  readonly signature: Buffer;
}
/** A loaded AK; valid until flushed or until its {@link Tpm} is closed. */
export type AkId = number & { readonly __ak: never };

interface NativeBank {
  algorithm: number;
  mask: number;
}
interface NativeTpm {
  open(tcti: string, endorsementAuth: Uint8Array): Promise<void>;
  close(): Promise<void>;
  abort(): void;
  capabilities(): Promise<{
    manufacturer: string;
    vendor: string;
    firmware1: number;
    firmware2: number;
    managed: boolean;
    swept: number;
    banks: NativeBank[];
  }>;
  endorsement(kind: EkKind): Promise<{ publicArea: Buffer; persistentHandle: number | null }>;
  ekCertificates(kind: EkKind): Promise<{ certificate: Buffer | null; chain: Buffer }>;
  createAk(kind: EkKind, auth: Uint8Array): Promise<TpmKeyBlobs>;
  loadAk(kind: EkKind, publicArea: Uint8Array, privateArea: Uint8Array): Promise<AkId>;
  flushAk(ak: AkId): Promise<void>;
  activate(kind: EkKind, ak: AkId, auth: Uint8Array, credential: Uint8Array, secret: Uint8Array): Promise<Buffer>;
  quote(ak: AkId, auth: Uint8Array, extraData: Uint8Array, banks: NativeBank[]): Promise<TpmQuote>;
  readPcrs(banks: NativeBank[]): Promise<{ algorithm: number; pcrs: { pcr: number; digest: Buffer }[] }[]>;
  extendPcr(pcr: number, algorithm: number, digest: Uint8Array): Promise<void>;
}

export interface TpmOptions {
  /** authValue of the endorsement hierarchy where ownership was taken; default empty. */
  readonly endorsementAuth?: Uint8Array;
}

/** Made unconnected: {@link Tpm.open} comes before anything else. */
export class Tpm {
  readonly #native: NativeTpm;

  /** @throws NativeAddonError */
  constructor() {
    const addon = loadAddon() as { Tpm: new () => NativeTpm };
    this.#native = new addon.Tpm();
  }

  /**
   * Connects to the TPM at `tcti`: `device:/dev/tpmrm0`, `swtpm:path=SOCKET`, `swtpm:host=127.0.0.1,port=N`, or any other string of tpm2-tss.
   * Without a resource manager this process must be the only user: what others left loaded is flushed.
   * @throws TpmError ABSENT
   */
  async open(tcti: string, options: TpmOptions = {}): Promise<void> {
    await call(() => this.#native.open(tcti, options.endorsementAuth ?? Buffer.alloc(0)));
  }

  /** Flushes what is loaded and disconnects, after the calls that are under way. Later calls fail with ABSENT. Idempotent. */
  async close(): Promise<void> {
    await call(() => this.#native.close());
  }

  /** Makes the call that runs now fail with ABSENT if it waits for the TPM; the connection is then lost. Device and swtpm TCTIs only. */
  abort(): void {
    this.#native.abort();
  }

  async capabilities(): Promise<TpmCapabilities> {
    const raw = await call(() => this.#native.capabilities());
    const hex = (word: number): string => word.toString(16).padStart(8, "0");
    return {
      manufacturer: raw.manufacturer,
      vendor: raw.vendor,
      firmwareVersion: hex(raw.firmware1) + hex(raw.firmware2),
      pcrBanks: raw.banks.flatMap(({ algorithm, mask }) => {
        const hash = hashOf(algorithm);
        return hash === undefined ? [] : [{ hash, pcrs: pcrsOf(mask) }];
      }),
      managed: raw.managed,
      swept: raw.swept,
    };
  }

  /** The EK: persistent, or made from its template. */
  async endorsement(kind: EkKind): Promise<TpmEndorsement> {
    const raw = await call(() => this.#native.endorsement(kind));
    return { kind, publicArea: raw.publicArea, persistentHandle: raw.persistentHandle };
  }

  /** What the maker put into NV for this EK. Quick: the EK itself is not made. */
  async ekCertificates(kind: EkKind): Promise<TpmEkCertificates> {
    const { certificate, chain } = await call(() => this.#native.ekCertificates(kind));
    return { certificate: certificate && trimDer(certificate), intermediates: splitDer(chain) };
  }

  /** Makes an AK below the EK: ECC P-256, restricted signing, ECDSA with SHA-256. `auth`: 32 random bytes, to be kept as secret as a private key. */
  createAk(kind: EkKind, auth: Uint8Array): Promise<TpmKeyBlobs> {
    return call(() => this.#native.createAk(kind, auth));
  }

  /** Loads an AK. At most two at a time. @throws TpmError REPLACED when it was made on another TPM or before a clear. */
  loadAk(kind: EkKind, blobs: TpmKeyBlobs): Promise<AkId> {
    return call(() => this.#native.loadAk(kind, blobs.publicArea, blobs.privateArea));
  }

  flushAk(ak: AkId): Promise<void> {
    return call(() => this.#native.flushAk(ak));
  }

  /** TPM2_ActivateCredential. `credential` is a TPM2B_ID_OBJECT, `secret` a TPM2B_ENCRYPTED_SECRET; both come from the verifier. */
  activate(kind: EkKind, ak: AkId, auth: Uint8Array, credential: Uint8Array, secret: Uint8Array): Promise<Buffer> {
    return call(() => this.#native.activate(kind, ak, auth, credential, secret));
  }

  /** TPM2_Quote. `extraData`: at most 64 bytes. */
  quote(ak: AkId, auth: Uint8Array, extraData: Uint8Array, selection: readonly PcrSelection[]): Promise<TpmQuote> {
    return call(() => this.#native.quote(ak, auth, extraData, banksOf(selection)));
  }

  /** Values that all held at one moment. PCRs that the TPM lacks are left out. @throws TpmError BUSY when they keep changing. */
  async readPcrs(selection: readonly PcrSelection[]): Promise<PcrBank[]> {
    const raw = await call(() => this.#native.readPcrs(banksOf(selection)));
    return raw.map(({ algorithm, pcrs }) => ({ hash: hashOf(algorithm) as PcrHash, values: pcrs }));
  }

  /** TPM2_PCR_Extend. `digest` has the length of `hash`. */
  extendPcr(pcr: number, hash: PcrHash, digest: Uint8Array): Promise<void> {
    return call(() => this.#native.extendPcr(pcr, PCR_HASHES[hash], digest));
  }
}

async function call<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw TpmError.from(error);
  }
}

function hashOf(algorithm: number): PcrHash | undefined {
  return (Object.keys(PCR_HASHES) as PcrHash[]).find((name) => PCR_HASHES[name] === algorithm);
}

function pcrsOf(mask: number): number[] {
  return Array.from({ length: 24 }, (_, pcr) => pcr).filter((pcr) => (mask >>> pcr) & 1);
}

function banksOf(selection: readonly PcrSelection[]): NativeBank[] {
  return selection.map(({ hash, pcrs }) => {
    let mask = 0;
    for (const pcr of pcrs) {
      if (!Number.isInteger(pcr) || pcr < 0 || pcr > 23) throw new RangeError(`PCR ${pcr} is not in 0..23`);
      mask |= 1 << pcr;
    }
    return { algorithm: PCR_HASHES[hash], mask };
  });
}

/** NV indices are often larger than the certificate: cut to the length that the outer SEQUENCE states. Bytes that are no SEQUENCE stay as they are. */
function trimDer(bytes: Buffer): Buffer {
  if (bytes.length < 4 || bytes[0] !== 0x30 || bytes[1] !== 0x82) return bytes;
  return bytes.subarray(0, Math.min(bytes.length, 4 + bytes.readUInt16BE(2)));
}

/** Certificates one after the other, padded or not; what follows bytes that are no whole one is left. */
function splitDer(bytes: Buffer): Buffer[] {
  const found: Buffer[] = [];
  let rest = bytes;
  while (found.length < MAX_EK_INTERMEDIATES) {
    const at = rest.findIndex((byte) => byte !== 0 && byte !== 0xff);
    if (at < 0 || rest.length < at + 4 || rest[at] !== 0x30 || rest[at + 1] !== 0x82) break;
    const end = at + 4 + rest.readUInt16BE(at + 2);
    if (end > rest.length) break;
    found.push(rest.subarray(at, end));
    rest = rest.subarray(end);
  }
  return found;
}
