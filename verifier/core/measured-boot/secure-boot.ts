/**
 * What PCR 7 says of Secure Boot. Root on the node can relabel events and append to PCRs after boot, so the state counts only where every event of
 * PCR 7 is of a type whose data its digest covers, and where the configuration stands once, before the separator, which stands once.
 */
import { hash } from "node:crypto";
import { CodecError } from "@hullmark/proto/codec";
import { certificateSha256, type EfiVariable, GLOBAL_VARIABLE, IMAGE_SECURITY_DATABASE, parseVariable } from "./efi.ts";
import type { BootEvent, LogHash } from "./event-log.ts";
import { EV, eventTypeName } from "./event-types.ts";
import { covers } from "./replay.ts";

export const SECURE_BOOT_PCR = 7;
export const SECURE_BOOT_VARIABLES = ["PK", "KEK", "db", "dbx"] as const;
export type SecureBootVariable = (typeof SECURE_BOOT_VARIABLES)[number];
const GUIDS: Readonly<Record<string, string>> = {
  SecureBoot: GLOBAL_VARIABLE,
  PK: GLOBAL_VARIABLE,
  KEK: GLOBAL_VARIABLE,
  db: IMAGE_SECURITY_DATABASE,
  dbx: IMAGE_SECURITY_DATABASE,
};

export interface SecureBoot {
  /** `unproven`: the log does not tell so that it could not be made up; `detail` says why. */
  readonly state: "on" | "off" | "unproven";
  readonly detail: string;
  /** Hex SHA-256 of each variable's data. */
  readonly variables: Readonly<Partial<Record<SecureBootVariable, string>>>;
  /** What vouched for boot code: certificates by fingerprint, anything else by the SHA-256 of its data. */
  readonly authorities: readonly { readonly variable: string; readonly sha256: string; readonly certificate: boolean }[];
  /** The firmware says that protection against direct memory access was off. */
  readonly dmaUnprotected: boolean;
}

const SHIM_PADDING_BYTES = 8;

class Unproven extends Error {}

interface Progress {
  separator: boolean;
  enabled: boolean | undefined;
  readonly variables: Map<string, Buffer>;
  readonly authorities: SecureBoot["authorities"][number][];
  dmaUnprotected: boolean;
}

/** @param events of a PCR 7 that is proven by a quote, in order */
export function secureBootOf(events: readonly BootEvent[], bank: LogHash): SecureBoot {
  const progress: Progress = { separator: false, enabled: undefined, variables: new Map(), authorities: [], dmaUnprotected: false };
  let problem: string | undefined;
  try {
    for (const event of events) if (event.type !== EV.NO_ACTION) take(event, bank, progress);
    problem = missing(progress);
  } catch (error) {
    if (!(error instanceof Unproven) && !(error instanceof CodecError)) throw error;
    problem = error.message;
  }
  const known = SECURE_BOOT_VARIABLES.flatMap((name) =>
    progress.variables.has(name) ? [[name, hash("sha256", progress.variables.get(name) as Buffer)] as const] : [],
  );
  const { authorities, dmaUnprotected } = progress;
  if (problem !== undefined) return { state: "unproven", detail: problem, variables: {}, authorities: [], dmaUnprotected };
  return { state: progress.enabled ? "on" : "off", detail: "", variables: Object.fromEntries(known), authorities, dmaUnprotected };
}

function take(event: BootEvent, bank: LogHash, progress: Progress): void {
  switch (event.type) {
    case EV.SEPARATOR:
      if (progress.separator) throw new Unproven("PCR 7 has two separators");
      if (event.data.length !== 4 || event.data.readUInt32LE(0) !== 0 || !covers(event, bank))
        throw new Unproven("the separator of PCR 7 is not the usual one");
      progress.separator = true;
      return;
    case EV.EFI_ACTION:
      action(event, bank, progress);
      return;
    case EV.EFI_VARIABLE_DRIVER_CONFIG:
      variable(event, bank, progress);
      return;
    case EV.EFI_VARIABLE_AUTHORITY:
      authority(event, bank, progress);
      return;
    default:
      throw new Unproven(`PCR 7 holds ${eventTypeName(event.type) ?? `an event of type 0x${event.type.toString(16)}`}, whose content nothing covers`);
  }
}

function action(event: BootEvent, bank: LogHash, progress: Progress): void {
  if (!covers(event, bank)) throw new Unproven("an action of PCR 7 is not what its digest says");
  const text = event.data.toString("latin1");
  if (text !== "DMA Protection Disabled") throw new Unproven(text === "UEFI Debug Mode" ? "a firmware debugger was attached" : "PCR 7 holds an unknown action");
  progress.dmaUnprotected = true;
}

function variable(event: BootEvent, bank: LogHash, progress: Progress): void {
  const { guid, name, data } = checked(event, bank, event.data);
  if (progress.separator) throw new Unproven(`the variable ${shown(name)} was measured after the separator`);
  if (progress.variables.has(name)) throw new Unproven(`the variable ${shown(name)} was measured twice`);
  const want = Object.hasOwn(GUIDS, name) ? GUIDS[name] : undefined;
  if (want !== undefined && want !== guid) throw new Unproven(`a variable ${shown(name)} of another vendor`);
  progress.variables.set(name, data);
  if (name !== "SecureBoot") return;
  if (data.length !== 1 || (data[0] as number) > 1) throw new Unproven(`the variable SecureBoot has ${data.length} bytes`);
  progress.enabled = data[0] === 1;
}

/** Shim of some versions measures its structure with padding, and logs a byte more of it than it measures. */
function authority(event: BootEvent, bank: LogHash, progress: Progress): void {
  const whole = checked(event, bank, covers(event, bank) ? event.data : event.data.subarray(0, -1), SHIM_PADDING_BYTES);
  const certificate = certificateSha256(whole.data);
  progress.authorities.push({ variable: shown(whole.name), sha256: certificate ?? hash("sha256", whole.data), certificate: certificate !== undefined });
}

function checked(event: BootEvent, bank: LogHash, preimage: Buffer, padding = 0): EfiVariable {
  if (!covers(event, bank, preimage)) throw new Unproven("a variable of PCR 7 is not what its digest says");
  return parseVariable(event.data, padding);
}

function missing({ separator, enabled, variables, authorities }: Progress): string | undefined {
  if (!separator) return "PCR 7 has no separator";
  if (enabled === undefined) return "the variable SecureBoot was not measured";
  if (!enabled) return undefined;
  for (const name of ["PK", "KEK", "db"]) if ((variables.get(name)?.length ?? 0) === 0) return `Secure Boot is on without ${name}`;
  return authorities.length === 0 ? "Secure Boot is on, and nothing vouched for what was booted" : undefined;
}

function shown(name: string): string {
  return name.replace(/[^\x20-\x7e]/g, "?").slice(0, 64);
}
