/** TPMS_ATTEST of a quote (TPM 2.0 Part 2, 10.12.8). The bytes come from the node; parse them before or after the signature, trust them only after. */
import { ByteReader, CodecError } from "@hullmark/proto/codec";
import { bankOf, HASH_BYTES, type PcrBankHash, TPM_GENERATED_VALUE, TPM_ST_ATTEST_QUOTE } from "./tpm-constants.ts";
import { readTpm2b } from "./tpm-public.ts";

export const MAX_ATTEST_BYTES = 1024;
const MAX_NAME_BYTES = 2 + HASH_BYTES.sha384;
const MAX_EXTRA_DATA_BYTES = 64;
const MAX_BANKS = 4;
const PCR_SELECT_BYTES = 3;

/** TPMS_CLOCK_INFO. */
export interface TpmClock {
  /** Milliseconds that the TPM was powered. Kept in NV about hourly, so an unclean power loss may set it back; then `safe` is false. */
  readonly clock: bigint;
  /** TPM resets (reboots): 0..2^32-1. */
  readonly resetCount: number;
  /** Restarts and resumes since the last reset. */
  readonly restartCount: number;
  readonly safe: boolean;
}
/** PCRs of one bank, ascending. */
export interface PcrSelection {
  readonly bank: PcrBankHash;
  readonly pcrs: readonly number[];
}
export interface QuoteAttest {
  readonly qualifiedSigner: Buffer;
  readonly extraData: Buffer;
  readonly clock: TpmClock;
  readonly firmwareVersion: bigint;
  /** In the order in which the TPM digested them. */
  readonly selection: readonly PcrSelection[];
  readonly pcrDigest: Buffer;
}

/** Thrown by {@link parseQuote} when the structure was made by a TPM for another purpose, or not by a TPM at all. */
export class NotAQuoteError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "NotAQuoteError";
  }
}

/** @throws CodecError on malformed bytes, NotAQuoteError on another magic or type */
export function parseQuote(bytes: Uint8Array): QuoteAttest {
  if (bytes.length > MAX_ATTEST_BYTES) throw new CodecError("TOO_LONG", `attest of ${bytes.length} bytes, limit ${MAX_ATTEST_BYTES}`);
  const reader = new ByteReader(bytes);
  const magic = reader.u32();
  if (magic !== TPM_GENERATED_VALUE) throw new NotAQuoteError(`magic 0x${magic.toString(16)}`);
  const type = reader.u16();
  if (type !== TPM_ST_ATTEST_QUOTE) throw new NotAQuoteError(`attestation type 0x${type.toString(16)}`);
  const qualifiedSigner = readTpm2b(reader, MAX_NAME_BYTES);
  const extraData = readTpm2b(reader, MAX_EXTRA_DATA_BYTES);
  const clock = readClock(reader);
  const firmwareVersion = reader.u64();
  const selection = readSelection(reader);
  const pcrDigest = readTpm2b(reader, HASH_BYTES.sha384);
  reader.end();
  return { qualifiedSigner, extraData, clock, firmwareVersion, selection, pcrDigest };
}

function readClock(reader: ByteReader): TpmClock {
  const clock = reader.u64();
  const resetCount = reader.u32();
  const restartCount = reader.u32();
  const safe = reader.u8();
  if (safe > 1) throw new CodecError("OUT_OF_RANGE", `TPMI_YES_NO ${safe}`);
  return { clock, resetCount, restartCount, safe: safe === 1 };
}

function readSelection(reader: ByteReader): PcrSelection[] {
  const count = reader.u32();
  if (count > MAX_BANKS) throw new CodecError("TOO_LONG", `${count} PCR banks, limit ${MAX_BANKS}`);
  const selection: PcrSelection[] = [];
  for (let i = 0; i < count; i++) {
    const algorithm = reader.u16();
    const bank = bankOf(algorithm);
    if (!bank) throw new CodecError("BAD_TYPE", `PCR bank 0x${algorithm.toString(16)}`);
    if (selection.some((other) => other.bank === bank)) throw new CodecError("BAD_ORDER", `PCR bank ${bank} twice`);
    const bytes = reader.u8();
    if (bytes !== PCR_SELECT_BYTES) throw new CodecError("WRONG_LENGTH", `PCR selection of ${bytes} bytes`);
    const bits = reader.fixed(bytes);
    selection.push({ bank, pcrs: Array.from({ length: bytes * 8 }, (_, pcr) => pcr).filter((pcr) => ((bits[pcr >> 3] as number) >> (pcr & 7)) & 1) });
  }
  return selection;
}
