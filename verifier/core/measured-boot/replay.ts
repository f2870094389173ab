/**
 * Replays an event log and holds it against quoted PCR values, both ways: every quoted PCR must be what the log says, and one that the log does
 * not speak of must be as it was at reset. What this proves: the digests and their order within each proven PCR. What it does not: event types,
 * data that is not the digest's preimage, the order of events of different PCRs, and that firmware measured what it ran.
 */
import { createHash, hash } from "node:crypto";
import type { BootEvent, EventLog, LogHash } from "./event-log.ts";
import { EV } from "./event-types.ts";

const BYTES: Readonly<Record<LogHash, number>> = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 };
const STARTUP_LOCALITY = Buffer.from("StartupLocality\0", "latin1");
/** PCRs of a dynamic launch are all ones until there is one. */
const DYNAMIC = { first: 17, last: 22 };
/** Below this the firmware alone extends; above, the operating system may have gone on after the log ended. */
export const FIRST_OS_PCR = 8;
const EXIT_BOOT_SERVICES = ["Exit Boot Services Invocation", "Exit Boot Services Returned with Success"].map((text) => Buffer.from(text, "latin1"));
const EXIT_PCR = 5;

/** A PCR value that a quote covers. */
export interface QuotedPcr {
  readonly bank: LogHash;
  /** 0..23. */
  readonly index: number;
  readonly value: Uint8Array;
}

/** Of a node that quotes two banks that of SHA-256 is judged. undefined: this PCR is quoted of neither. */
export function judgedPcr<P extends Pick<QuotedPcr, "index"> & { readonly bank: string }>(pcrs: readonly P[], index: number): P | undefined {
  const of = pcrs.filter((pcr) => pcr.index === index);
  return of.find(({ bank }) => bank === "sha256") ?? of.find(({ bank }) => bank === "sha384");
}

export interface Comparison {
  /** PCRs whose quoted value is the log's, by {@link LogHash} of the bank that proved it. */
  readonly proven: ReadonlyMap<number, LogHash>;
  /** PCRs that differ, with both values in hex. */
  readonly differing: readonly { readonly pcr: number; readonly bank: LogHash; readonly logged: string; readonly quoted: string }[];
  /** PCRs with events that no quoted value covers: nothing of them is proven. */
  readonly unquoted: readonly number[];
  /** PCR 5 holds only with the two events of ExitBootServices added, which some kernels leave out of the log. */
  readonly exitAssumed: boolean;
}

/** The values that the log leads to, for every PCR that it extends with a digest of `bank`; undefined where an event lacks one. */
export function replay({ events }: EventLog, bank: LogHash): ReadonlyMap<number, Buffer | undefined> {
  const values = new Map<number, Buffer | undefined>();
  const initial = initialPcr0(events, bank);
  for (const { pcr, type, digests } of events) {
    if (type === EV.NO_ACTION) continue;
    const before = values.has(pcr) ? values.get(pcr) : pcr === 0 ? initial : initialValue(pcr, bank);
    const digest = digests.get(bank);
    values.set(pcr, before && digest && extend(bank, before, digest));
  }
  return values;
}

/** @param quoted each covered by a verified signature; any order, at most one value a PCR and bank */
export function holdAgainst(log: EventLog, quoted: readonly QuotedPcr[]): Comparison {
  const byBank = new Map<LogHash, ReadonlyMap<number, Buffer | undefined>>();
  const proven = new Map<number, LogHash>();
  const differing: Comparison["differing"][number][] = [];
  let exitAssumed = false;
  for (const { bank, index, value } of quoted) {
    const replayed = byBank.get(bank) ?? replay(log, bank);
    byBank.set(bank, replayed);
    const logged = replayed.has(index) ? replayed.get(index) : index === 0 ? initialPcr0(log.events, bank) : initialValue(index, bank);
    if (logged?.equals(value)) {
      // What is listed is listed by SHA-256 where both banks are quoted.
      if (replayed.has(index) && proven.get(index) !== "sha256") proven.set(index, bank);
    } else if (index === EXIT_PCR && logged && !log.events.some(isExit) && afterExit(bank, logged).equals(value)) {
      exitAssumed = true;
      if (proven.get(index) !== "sha256") proven.set(index, bank);
    } else differing.push({ pcr: index, bank, logged: logged?.toString("hex") ?? "no digest of this bank", quoted: Buffer.from(value).toString("hex") });
  }
  for (const { pcr } of differing) proven.delete(pcr);
  const covered = new Set(quoted.map(({ index }) => index));
  const unquoted = [...new Set(log.events.filter(({ type, pcr }) => type !== EV.NO_ACTION && !covered.has(pcr)).map(({ pcr }) => pcr))].sort((a, b) => a - b);
  return { proven, differing, unquoted, exitAssumed };
}

/** Whether the event's data is what its digest was made of. */
export function covers({ digests, data }: BootEvent, bank: LogHash, preimage: Uint8Array = data): boolean {
  return digests.get(bank)?.equals(hash(bank, preimage, "buffer")) === true;
}

export function isExit({ pcr, data }: BootEvent): boolean {
  return pcr === EXIT_PCR && EXIT_BOOT_SERVICES.some((text) => text.equals(data));
}

function extend(bank: LogHash, value: Uint8Array, digest: Uint8Array): Buffer {
  return createHash(bank).update(value).update(digest).digest();
}

function afterExit(bank: LogHash, value: Buffer): Buffer {
  return EXIT_BOOT_SERVICES.reduce((now, text) => extend(bank, now, hash(bank, text, "buffer")), value);
}

function initialValue(pcr: number, bank: LogHash): Buffer {
  return Buffer.alloc(BYTES[bank], pcr >= DYNAMIC.first && pcr <= DYNAMIC.last ? 0xff : 0);
}

/** PCR 0 starts at the locality of TPM2_Startup, which an EV_NO_ACTION tells (section 10.4.5.3); the quoted value confirms it. */
function initialPcr0(events: readonly BootEvent[], bank: LogHash): Buffer {
  const value = initialValue(0, bank);
  for (const { pcr, type, data } of events) {
    if (pcr !== 0) continue;
    if (type !== EV.NO_ACTION) break;
    if (data.length === STARTUP_LOCALITY.length + 1 && data.subarray(0, -1).equals(STARTUP_LOCALITY)) value[value.length - 1] = data[data.length - 1] as number;
  }
  return value;
}
