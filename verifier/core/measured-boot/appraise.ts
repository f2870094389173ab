/** A boot's claims against policy: pure, and never affirming where something is missing. */
import { IMA_PCR } from "../ima/replay.ts";
import { type BootClaims, bootClaims, type MeasuredItem } from "./claims.ts";
import { type EventLog, MAX_EVENT_LOG_BYTES, parseEventLog } from "./event-log.ts";
import { type Comparison, FIRST_OS_PCR, holdAgainst, type QuotedPcr } from "./replay.ts";
import { asksForLog, type BootRules } from "./rules.ts";
import { SECURE_BOOT_VARIABLES } from "./secure-boot.ts";

const DRIVERS_PCR = 2;
const CONFIGURATION_PCRS: ReadonlySet<number> = new Set([8, 12]);
/** Shim's own state, not something that vouches for an image. */
const SHIM_STATE: ReadonlySet<string> = new Set(["SbatLevel", "MokListTrusted"]);

/** A log read and held against quoted values. */
export type ExaminedLog =
  | { readonly ok: true; readonly claims: BootClaims; readonly comparison: Pick<Comparison, "differing" | "unquoted"> }
  | { readonly ok: false; readonly problem: string };

/** Never throws for what the bytes hold. @param quoted each covered by a verified quote */
export function examineLog(bytes: Uint8Array, quoted: readonly QuotedPcr[]): ExaminedLog {
  let log: EventLog;
  try {
    log = parseEventLog(bytes);
  } catch (error) {
    return { ok: false, problem: error instanceof Error ? error.message : `not a log of at most ${MAX_EVENT_LOG_BYTES} bytes` };
  }
  const comparison = holdAgainst(
    log,
    quoted.filter(({ index }) => index !== IMA_PCR),
  );
  const { differing, unquoted } = comparison;
  return { ok: true, claims: bootClaims(log, comparison), comparison: { differing, unquoted } };
}

export interface BootEvidence {
  /** As quoted, of one bank or two. */
  readonly pcrs: readonly QuotedPcr[];
  /** `none`: the node says that it has no log. `pending`: it named one that has not arrived. */
  readonly log: ExaminedLog | "none" | "pending";
  /** Another kernel was started (kexec) after the one that the firmware started: no log tells of it. */
  readonly kexec?: boolean | undefined;
  /** The TPM was reset, and the kernel that it measured runs on by its boot id. */
  readonly reset?: boolean | undefined;
  /** Other firmware of the TPM than under the boot before. */
  readonly firmware?: { readonly was: string; readonly is: string } | undefined;
}

export type BootFindingKind = "event-log" | "secure-boot" | "boot" | "pcr" | "ima" | "agent";
export interface BootFinding {
  readonly kind: BootFindingKind;
  /** Tells findings of one kind apart over time. */
  readonly what: string;
  readonly detail: string;
}
export interface BootAppraisal {
  /** Contradictions of what policy asks. */
  readonly findings: readonly BootFinding[];
  /** Why the boot could not be judged. */
  readonly unknown: readonly { readonly code: string; readonly detail: string }[];
  readonly warnings: readonly { readonly code: string; readonly detail: string }[];
  /** What is told of a boot that no rule selects, and says nothing of the verdict; left out where there is none. */
  readonly notes?: readonly { readonly code: string; readonly detail: string }[];
  /** Whether policy asks for something of the boot, and it could be judged. */
  readonly judged: boolean;
}

/** @param rules undefined: no rule selects the node, and what is known of its boot is shown, not judged */
export function appraiseBoot({ pcrs, log, kexec, reset, firmware }: BootEvidence, rules: BootRules | undefined): BootAppraisal {
  const findings: BootFinding[] = [];
  const unknown: { code: string; detail: string }[] = [];
  const warnings: { code: string; detail: string }[] = [];
  const notes: { code: string; detail: string }[] = [];
  if (rules) judgePcrs(pcrs, rules, findings, unknown);
  const wanted = rules !== undefined && asksForLog(rules);
  const cannot = (code: string, detail: string): void => void (wanted ? unknown : warnings).push({ code, detail });
  if (kexec) cannot("kexec", "another kernel was started since the machine was reset: what the event log and the PCRs say of a kernel is of the one before");
  if (reset) cannot("tpm-reset", "the TPM was reset under a kernel that runs on, by its boot id: what PCRs hold since was told them by whoever runs there");
  if (firmware) warnings.push({ code: "tpm-firmware", detail: `the TPM's firmware was ${firmware.was}, and is ${firmware.is} since this boot` });
  if (log === "pending") cannot("event-log-pending", "the event log of this boot has not arrived");
  else if (log === "none") wanted && unknown.push({ code: "no-event-log", detail: "the node has no event log: nothing says what was booted" });
  else if (!log.ok) cannot("event-log-malformed", log.problem);
  else {
    judgeComparison(log.comparison, rules, findings, warnings);
    warn(log.claims, rules ? warnings : notes);
    if (rules) judgeClaims(log, rules, findings);
    // Of drivers none may be logged, so that there are none must be proven.
    if (rules && rules.drivers.length > 0 && !pcrs.some(({ index }) => index === DRIVERS_PCR))
      unknown.push({ code: "pcr-not-quoted", detail: `policy lists drivers, which are measured into PCR ${DRIVERS_PCR}: the node does not quote it` });
  }
  return { findings, unknown, warnings, ...(notes.length > 0 && { notes }), judged: wanted && unknown.length === 0 };
}

function judgePcrs(pcrs: readonly QuotedPcr[], { pcrs: wanted }: BootRules, findings: BootFinding[], unknown: { code: string; detail: string }[]): void {
  for (const [index, allowed] of wanted) {
    const quoted = pcrs.filter((pcr) => pcr.index === index).map(({ value }) => Buffer.from(value).toString("hex"));
    // A value's length is its bank's: of a bank that policy lists no value of, it asks nothing.
    const judged = quoted.filter((value) => allowed.some(({ length }) => length === value.length));
    const wrong = judged.find((value) => !allowed.includes(value));
    if (judged.length === 0) unknown.push({ code: "pcr-not-quoted", detail: `policy asks for PCR ${index}, which the node does not quote` });
    if (wrong) findings.push({ kind: "pcr", what: String(index), detail: `PCR ${index} is ${wrong}, which policy does not list` });
  }
}

function judgeComparison(
  { differing }: Pick<Comparison, "differing">,
  rules: BootRules | undefined,
  findings: BootFinding[],
  warnings: { code: string; detail: string }[],
): void {
  for (const { pcr, bank, logged, quoted } of differing) {
    // One PCR is told once, by the first bank that differs.
    if (differing.find((each) => each.pcr === pcr)?.bank !== bank) continue;
    if (pcr >= FIRST_OS_PCR)
      warnings.push({ code: "pcr-unexplained", detail: `PCR ${pcr} went on after the event log ended: nothing that the log says of it counts` });
    else if (rules && asksForLog(rules))
      findings.push({ kind: "event-log", what: String(pcr), detail: `PCR ${pcr} is ${quoted}, the event log leads to ${logged}` });
    else warnings.push({ code: "event-log-differs", detail: `PCR ${pcr} is not what the event log leads to` });
  }
}

function warn(claims: BootClaims, warnings: { code: string; detail: string }[]): void {
  const { unknown, errors, secureBoot, exitBootServices } = claims;
  if (unknown.length > 0)
    warnings.push({ code: "boot-events-unknown", detail: `${unknown.length} events that are not known, the first in PCR ${unknown[0]?.pcr}` });
  if (errors.length > 0) warnings.push({ code: "boot-errors", detail: `the firmware reports an error in PCR ${errors.join(", ")}` });
  if (secureBoot.dmaUnprotected) warnings.push({ code: "dma-unprotected", detail: "the firmware says that protection against direct memory access was off" });
  if (exitBootServices === "failed" || exitBootServices === "missing")
    warnings.push({ code: "exit-boot-services", detail: `the firmware's hand-over to the system is ${exitBootServices}` });
}

function judgeClaims({ claims, comparison }: Extract<ExaminedLog, { ok: true }>, rules: BootRules, findings: BootFinding[]): void {
  const { secureBoot } = claims;
  if (rules.secureBoot === "required" && secureBoot.state !== "on")
    findings.push({ kind: "secure-boot", what: "state", detail: `Secure Boot is ${secureBoot.state}${secureBoot.detail && `: ${secureBoot.detail}`}` });
  const refuse = (what: string, detail: string): void => void findings.push({ kind: "boot", what, detail });
  for (const name of SECURE_BOOT_VARIABLES) {
    const allowed = rules.variables[name] ?? [];
    const value = secureBoot.variables[name];
    if (allowed.length > 0 && (value === undefined || !allowed.includes(value)))
      refuse(name, `${name} is ${value ?? "not proven"}, which policy does not list`);
  }
  if (rules.authorities.length > 0) judgeAuthorities(claims, rules.authorities, refuse);
  judgeList("image", claims.images, rules.images, refuse);
  // What the log calls a file or an initial RAM disk is its word: both lists are of PCR 9, and everything in it is held against both.
  judgeList("file", [...claims.files, ...claims.initrds], [...rules.files, ...rules.initrds], refuse);
  if (rules.initrds.length > 0 && ![...claims.files, ...claims.initrds].some(({ digest }) => rules.initrds.includes(digest)))
    refuse("initrd", "no initrd of the policy is proven to have been booted");
  // A machine without add-in cards has no drivers of them.
  if (claims.drivers.length > 0) judgeList("driver", claims.drivers, rules.drivers, refuse);
  if (rules.commandLine) judgeCommandLines(claims, comparison, rules.commandLine, refuse);
  for (const kind of claims.cut ?? []) if (asksForList(rules, kind)) refuse(`too many ${kind}`, `more was measured than is looked at (${kind})`);
}

/** Whether what was cut of a list could have been refused. */
function asksForList({ images, files, initrds, drivers, commandLine }: BootRules, kind: string): boolean {
  if (kind === "commandLines" || kind === "unknown") return commandLine !== undefined;
  if (kind === "files" || kind === "initrds") return files.length + initrds.length > 0;
  return (kind === "images" && images.length > 0) || (kind === "drivers" && drivers.length > 0);
}

type Refuse = (what: string, detail: string) => void;

function judgeAuthorities({ secureBoot }: BootClaims, allowed: readonly string[], refuse: Refuse): void {
  const vouching = secureBoot.authorities.filter(({ variable, certificate }) => certificate || !SHIM_STATE.has(variable));
  if (vouching.length === 0) refuse("authorities", "nothing is proven to have vouched for what was booted");
  for (const { variable, sha256 } of vouching)
    if (!allowed.includes(sha256)) refuse(sha256, `${variable} ${sha256} vouched for what was booted, and policy does not list it`);
}

function judgeList(what: string, items: readonly MeasuredItem[], allowed: readonly string[], refuse: Refuse): void {
  if (allowed.length === 0) return;
  if (items.length === 0) refuse(what, `no ${what} is proven to have been booted`);
  for (const { digest, name } of items)
    if (!allowed.includes(digest)) refuse(`${what} ${digest}`, `${what} ${digest} was booted${name && ` (${name}, as logged)`}, and policy does not list it`);
}

function judgeCommandLines(
  { commandLines, unknown }: BootClaims,
  { differing, unquoted }: Pick<Comparison, "differing" | "unquoted">,
  allowed: (text: string) => boolean,
  refuse: Refuse,
): void {
  if (commandLines.length === 0) refuse("command line", "no kernel command line is proven");
  // Root can extend one of the two until the log no longer explains it, and a good line into the other.
  const hidden = [...unknown, ...differing].find(({ pcr }) => CONFIGURATION_PCRS.has(pcr))?.pcr ?? unquoted.find((pcr) => CONFIGURATION_PCRS.has(pcr));
  if (hidden !== undefined) refuse("command line", `PCR ${hidden} holds what could be a command line and cannot be read`);
  for (const line of commandLines) if (!allowed(line)) refuse(`command line ${line}`, `the kernel was started with "${line}", which policy does not list`);
}
