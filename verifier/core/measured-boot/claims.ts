/**
 * What a boot's event log says, as far as a quote proves it: claims, not judgements. Only PCRs that replay to their quoted value are read.
 * An event's type is not covered by any digest, so code is listed by digest whatever the log calls it: relabelling hides nothing.
 */
import { hash } from "node:crypto";
import { asciiText, imagePath, taggedEvent, utf16Text } from "./efi.ts";
import type { BootEvent, EventLog, LogHash } from "./event-log.ts";
import { EV, eventTypeName } from "./event-types.ts";
import { type Comparison, covers, isExit } from "./replay.ts";
import { SECURE_BOOT_PCR, type SecureBoot, secureBootOf } from "./secure-boot.ts";

/** Something measured. `name` is the log's word for it, not made printable: a hint, covered by no digest. */
export interface MeasuredItem {
  readonly pcr: number;
  readonly name: string;
  /** Hex, of the bank that proves the PCR. Authenticode digest for EFI images, of the content for files. */
  readonly digest: string;
}

export interface BootClaims {
  readonly format: EventLog["format"];
  readonly events: number;
  readonly secureBoot: SecureBoot;
  /** Everything of PCR 4: boot loader, shim, kernel. */
  readonly images: readonly MeasuredItem[];
  /** Everything of PCR 2: drivers of add-in cards. */
  readonly drivers: readonly MeasuredItem[];
  /** What was measured of files (PCR 9): by GRUB its configuration, modules, kernel, initrd; by the kernel's EFI stub its load options. */
  readonly files: readonly MeasuredItem[];
  /** What the log calls initial RAM disks that the kernel's EFI stub measured (PCR 9). */
  readonly initrds: readonly MeasuredItem[];
  /** Sections of a unified kernel image (PCR 11). */
  readonly sections: readonly MeasuredItem[];
  /** Shim's own lists of keys (PCR 14). */
  readonly shimLists: readonly MeasuredItem[];
  /** Kernel command lines whose text is the digest's preimage. */
  readonly commandLines: readonly string[];
  /** `assumed`: PCR 5 shows it, the log leaves it out. */
  readonly exitBootServices: "logged" | "assumed" | "failed" | "missing" | "unproven";
  /** PCRs whose separator reports an error of the firmware. */
  readonly errors: readonly number[];
  /** Events of types or content that are not known here, in PCRs that are proven. */
  readonly unknown: readonly MeasuredItem[];
  /** Lists of which there was more than is kept: what they lack may be anything. */
  readonly cut: readonly string[];
}

/** What is listed of each kind; of more, `cut` tells. */
const MAX_ITEMS = 512;
const MAX_COMMAND_LINES = 64;
const MAX_NAME_CHARS = 256;
const INITRD_TAG = 0x8f3b22ec;
const KERNEL_COMMAND_LINE = Buffer.from("kernel_cmdline: ");
const GRUB_PREFIXES = [KERNEL_COMMAND_LINE, Buffer.from("module_cmdline: "), Buffer.from("grub_cmd: ")];
/** A path, quoted where it has spaces, or a list of blocks: whatever GRUB's `linux` reads a kernel from on a disk. */
const KERNEL_PATH = /^"?(?:[/(]|\d*\+\d)/;
/** Longer than any action that the specification names. */
const MAX_ACTION_BYTES = 256;

type Kind = "images" | "drivers" | "files" | "initrds" | "sections" | "shimLists" | "unknown";

export function bootClaims(log: EventLog, { proven, exitAssumed }: Comparison): BootClaims {
  const lists: Record<Kind, MeasuredItem[]> = { images: [], drivers: [], files: [], initrds: [], sections: [], shimLists: [], unknown: [] };
  const commandLines: string[] = [];
  const errors = new Set<number>();
  const cut = new Set<string>();
  const bankOf = (pcr: number): LogHash | undefined => proven.get(pcr);
  for (const event of log.events) {
    const bank = bankOf(event.pcr);
    if (bank === undefined || event.type === EV.NO_ACTION) continue;
    const digest = (event.digests.get(bank) as Buffer).toString("hex");
    const put = (kind: Kind, name: string): void => {
      if (lists[kind].length < MAX_ITEMS) lists[kind].push({ pcr: event.pcr, name: name.slice(0, MAX_NAME_CHARS), digest });
      else cut.add(kind);
    };
    if (eventTypeName(event.type) === undefined) put("unknown", `type 0x${event.type.toString(16)}`);
    if (isSeparator(event, bank, errors)) continue;
    READERS[event.pcr]?.(event, bank, put, commandLines);
  }
  const ofPcr = (pcr: number): BootEvent[] => log.events.filter((event) => event.pcr === pcr);
  const bank7 = bankOf(SECURE_BOOT_PCR);
  if (commandLines.length > MAX_COMMAND_LINES) cut.add("commandLines");
  return {
    ...{ format: log.format, events: log.events.length, ...lists, commandLines: commandLines.slice(0, MAX_COMMAND_LINES), errors: [...errors], cut: [...cut] },
    secureBoot: bank7
      ? secureBootOf(ofPcr(SECURE_BOOT_PCR), bank7)
      : { state: "unproven", detail: "no quoted value proves PCR 7", variables: {}, authorities: [], dmaUnprotected: false },
    exitBootServices: exitAssumed ? "assumed" : exitOf(ofPcr(5), bankOf(5)),
  };
}

type Put = (kind: Kind, name: string) => void;
type Reader = (event: BootEvent, bank: LogHash, put: Put, commandLines: string[]) => void;

const READERS: Readonly<Record<number, Reader>> = {
  2: (event, _, put) => put("drivers", imagePath(event.data)),
  4: (event, bank, put) => isText(event, bank) || put("images", imagePath(event.data)),
  8: grubText,
  9: readFile,
  11: (event, bank, put) => isSectionName(event, bank) || put(event.type === EV.IPL ? "sections" : "unknown", utf16Text(event.data)),
  12: stubConfiguration,
  14: (event, _, put) => put(event.type === EV.IPL ? "shimLists" : "unknown", asciiText(event.data)),
};

/** An action whose text is what was measured. Text it must be: a log can hold the very bytes of a program that was measured, and no program is text alone. */
function isText(event: BootEvent, bank: LogHash): boolean {
  if (event.type !== EV.EFI_ACTION && event.type !== EV.ACTION) return false;
  return event.data.length <= MAX_ACTION_BYTES && /^[\x20-\x7e]*$/.test(event.data.toString("latin1")) && covers(event, bank);
}

/** A separator's value may not pass as anything else, so only its digest tells one (section 10.4.1). */
function isSeparator(event: BootEvent, bank: LogHash, errors: Set<number>): boolean {
  if (event.type !== EV.SEPARATOR) return false;
  if (event.data.length === 4 && [0, 0xffffffff].includes(event.data.readUInt32LE(0)) && covers(event, bank)) return true;
  // Windows marks the end of its PCRs so.
  if (event.data.equals(Buffer.from("WBCL")) && covers(event, bank)) return true;
  errors.add(event.pcr);
  return false;
}

/**
 * GRUB measures strings without the prefix and the NUL that it logs. The prefix is covered by nothing: what a kernel's command line is shows in
 * the text, which starts with where the kernel lies, as no command of GRUB does.
 */
function grubText(event: BootEvent, bank: LogHash, put: Put, commandLines: string[]): void {
  const text = event.data.subarray(0, event.data.indexOf(0) < 0 ? event.data.length : event.data.indexOf(0));
  const prefix = GRUB_PREFIXES.find((each) => text.subarray(0, each.length).equals(each));
  const measured = prefix && text.subarray(prefix.length);
  if (!measured || !covers(event, bank, measured)) put("unknown", asciiText(event.data));
  else if (prefix === KERNEL_COMMAND_LINE || KERNEL_PATH.test(measured.toString("latin1"))) commandLines.push(measured.toString("latin1"));
}

/** Type and tag are the log's word, so whatever it calls an event of PCR 9 is listed. */
function readFile(event: BootEvent, _bank: LogHash, put: Put): void {
  const tagged = event.type === EV.EVENT_TAG ? taggedEvent(event.data) : undefined;
  put(tagged?.tag === INITRD_TAG ? "initrds" : "files", asciiText(tagged?.data ?? event.data));
}

/** systemd-stub measures each section's name, and then its content under that name (systemd-stub(7)). */
function isSectionName(event: BootEvent, bank: LogHash): boolean {
  return event.type === EV.IPL && covers(event, bank, Buffer.from(`${utf16Text(event.data)}\0`, "latin1"));
}

function stubConfiguration(event: BootEvent, bank: LogHash, put: Put, commandLines: string[]): void {
  if (event.type === EV.IPL && covers(event, bank)) commandLines.push(utf16Text(event.data));
  else put("unknown", eventTypeName(event.type) ?? "");
}

function exitOf(events: readonly BootEvent[], bank: LogHash | undefined): BootClaims["exitBootServices"] {
  if (bank === undefined) return "unproven";
  const proven = (text: string): boolean => events.some(({ digests }) => digests.get(bank)?.toString("hex") === hash(bank, Buffer.from(text, "latin1")));
  if (proven("Exit Boot Services Returned with Failure")) return "failed";
  return events.filter((event) => isExit(event) && covers(event, bank)).length >= 2 ? "logged" : "missing";
}
