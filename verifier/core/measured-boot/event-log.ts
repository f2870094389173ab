/**
 * The measured-boot event log of the TCG PC Client Platform Firmware Profile (section 10): the crypto-agile format (TCG_PCR_EVENT2 behind a
 * TCG_EfiSpecIdEvent) and the older one with SHA-1 alone. Every byte comes from the node. Parsing says nothing of truth: only a digest that
 * replays to a quoted PCR is covered by the TPM, and of an event neither its type nor, for many types, its data (see {@link replay}).
 */
import { CodecError, LittleEndianReader } from "@hullmark/proto/codec";
import { EV } from "./event-types.ts";

/** Logs of machines with many option ROMs hold some 100 KB. */
export const MAX_EVENT_LOG_BYTES = 1 << 20;
const MAX_EVENTS = 8192;
const MAX_ALGORITHMS = 8;
const MAX_DIGEST_BYTES = 64;
const MAX_PCR = 23;
/** Where Windows puts what belongs to no PCR; only with EV_NO_ACTION. */
const NO_PCR = 0xffffffff;
const SHA1_BYTES = 20;
const SPEC_ID_03 = Buffer.from("Spec ID Event03\0", "latin1");
const SPEC_ID_HEADER_BYTES = 24;

/** Hashes by which a log can be held against a PCR bank. */
export type LogHash = "sha1" | "sha256" | "sha384" | "sha512";
const HASHES: ReadonlyMap<number, { readonly name: LogHash; readonly bytes: number }> = new Map([
  [0x4, { name: "sha1", bytes: 20 }],
  [0xb, { name: "sha256", bytes: 32 }],
  [0xc, { name: "sha384", bytes: 48 }],
  [0xd, { name: "sha512", bytes: 64 }],
]);

export interface BootEvent {
  /** 0..23, or 0xffffffff for an EV_NO_ACTION of no PCR. */
  readonly pcr: number;
  /** NOT covered by any digest. */
  readonly type: number;
  /** By hash; those of hashes that are not known here are left out. */
  readonly digests: ReadonlyMap<LogHash, Buffer>;
  /** A view of the input. Covered only where its hash is the digest. */
  readonly data: Buffer;
}
export interface EventLog {
  readonly format: "crypto-agile" | "sha1";
  /** Hashes that the log's header announces and that are known here. */
  readonly hashes: readonly LogHash[];
  /** In order; without the header event. */
  readonly events: readonly BootEvent[];
}

/** @throws CodecError for anything but a whole log without a byte more */
export function parseEventLog(bytes: Uint8Array): EventLog {
  if (bytes.length > MAX_EVENT_LOG_BYTES) throw new CodecError("TOO_LONG", `event log of ${bytes.length} bytes, limit ${MAX_EVENT_LOG_BYTES}`);
  const reader = new LittleEndianReader(bytes);
  const first = readSha1Event(reader);
  const sizes = first.type === EV.NO_ACTION && first.data.subarray(0, SPEC_ID_03.length).equals(SPEC_ID_03) ? readSpecId(first) : undefined;
  const events = sizes ? [] : [first];
  while (reader.remaining > 0) {
    if (events.length >= MAX_EVENTS) throw new CodecError("TOO_LONG", `more than ${MAX_EVENTS} events`);
    events.push(sizes ? readAgileEvent(reader, sizes) : readSha1Event(reader));
  }
  const known = sizes
    ? [...sizes.keys()].flatMap((id): LogHash[] => (HASHES.has(id) ? [(HASHES.get(id) as { name: LogHash }).name] : []))
    : (["sha1"] as const);
  return { format: sizes ? "crypto-agile" : "sha1", hashes: known, events };
}

function readHead(reader: LittleEndianReader): { pcr: number; type: number } {
  const pcr = reader.u32();
  const type = reader.u32();
  if (pcr > MAX_PCR && !(pcr === NO_PCR && type === EV.NO_ACTION)) throw new CodecError("OUT_OF_RANGE", `PCR ${pcr}`);
  return { pcr, type };
}

function readSha1Event(reader: LittleEndianReader): BootEvent {
  const { pcr, type } = readHead(reader);
  const digest = reader.fixed(SHA1_BYTES);
  return { pcr, type, digests: new Map([["sha1", digest]]), data: reader.bytes(MAX_EVENT_LOG_BYTES) };
}

function readAgileEvent(reader: LittleEndianReader, sizes: ReadonlyMap<number, number>): BootEvent {
  const { pcr, type } = readHead(reader);
  const count = reader.u32();
  if (count === 0 || count > sizes.size) throw new CodecError("OUT_OF_RANGE", `${count} digests in an event, the header announces ${sizes.size}`);
  const digests = new Map<LogHash, Buffer>();
  const seen = new Set<number>();
  for (let i = 0; i < count; i++) {
    const id = reader.u16();
    const size = sizes.get(id);
    if (size === undefined) throw new CodecError("BAD_TYPE", `hash 0x${id.toString(16)} is not announced`);
    if (seen.has(id)) throw new CodecError("BAD_ORDER", `hash 0x${id.toString(16)} twice in an event`);
    seen.add(id);
    const digest = reader.fixed(size);
    const hash = HASHES.get(id);
    if (hash) digests.set(hash.name, digest);
  }
  return { pcr, type, digests, data: reader.bytes(MAX_EVENT_LOG_BYTES) };
}

/** TCG_EfiSpecIdEvent: hash id → digest bytes. */
function readSpecId({ pcr, data }: BootEvent): ReadonlyMap<number, number> {
  if (pcr !== 0) throw new CodecError("OUT_OF_RANGE", `header event of PCR ${pcr}`);
  const reader = new LittleEndianReader(data);
  reader.fixed(SPEC_ID_HEADER_BYTES);
  const count = reader.u32();
  if (count === 0 || count > MAX_ALGORITHMS) throw new CodecError("OUT_OF_RANGE", `${count} hashes announced, limit ${MAX_ALGORITHMS}`);
  const sizes = new Map<number, number>();
  for (let i = 0; i < count; i++) {
    const id = reader.u16();
    const size = reader.u16();
    const want = HASHES.get(id)?.bytes;
    if (want === undefined ? size === 0 || size > MAX_DIGEST_BYTES : size !== want)
      throw new CodecError("WRONG_LENGTH", `hash 0x${id.toString(16)} of ${size} bytes`);
    if (sizes.has(id)) throw new CodecError("BAD_ORDER", `hash 0x${id.toString(16)} announced twice`);
    sizes.set(id, size);
  }
  reader.fixed(reader.u8());
  reader.end();
  return sizes;
}
