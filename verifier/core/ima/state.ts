/**
 * What is known of one boot's measurement list, and how a quote's part of it is taken: entries are told from where the last match was, replayed until the
 * quoted PCR is reached, and what lies beyond waits for the next quote. Each entry is looked at once, whatever the length of the list.
 */
import { CodecError, type ImaEntry, MAX_IMA_REPORT_BYTES } from "@hullmark/proto/codec";
import type { QuotedPcr } from "../measured-boot/replay.ts";
import { type ImaItem, type ImaRules, stillUnvouched, unvouched, type Vouches } from "./appraise.ts";
import { BOOT_AGGREGATE } from "./boot-aggregate.ts";
import { extendIma, type ImaAggregate, imaStart, isViolation, matching, parseImaEntries } from "./replay.ts";

/** Unvouched measurements that are kept one by one; more are counted. */
export const MAX_IMA_ITEMS = 1000;

const SHA256_BYTES = 32;

export interface ImaState {
  readonly bootId: string;
  /** Entries taken: the next one wanted. */
  readonly count: number;
  /** The PCR after them. */
  readonly aggregate: ImaAggregate;
  /** `proven`: the newest quote covers exactly these. `partial`: there are more than one report holds. `contradicted`: the list is not what the PCR says. */
  readonly standing: "proven" | "partial" | "contradicted" | "absent";
  readonly problem: string;
  /** Times in a row that the list did not lead to the quoted PCR. */
  readonly failures: number;
  readonly rulesDigest: string;
  readonly violations: number;
  readonly items: readonly ImaItem[];
  /** Unvouched measurements beyond {@link MAX_IMA_ITEMS}. */
  readonly moreItems: number;
}

/** As the node tells it with a quote. */
export interface ImaReport {
  /** Position of the first entry. */
  readonly start: number;
  /** Whole entries, as in the kernel's binary list. */
  readonly entries: Uint8Array;
  /** There are more than fit. */
  readonly more: boolean;
  readonly absent: boolean;
}

/** What a verified quote covers. */
export interface ImaQuote {
  /** PCR 10, of the sha256 bank where that is quoted, else of the sha384 bank. */
  readonly pcr: Uint8Array;
  /** All PCRs of the quote, of any bank: what `boot_aggregate` is held against. */
  readonly quoted: readonly QuotedPcr[];
}

export function newImaState(bootId: string, rulesDigest: string): ImaState {
  return {
    bootId,
    count: 0,
    aggregate: imaStart(SHA256_BYTES),
    standing: "partial",
    problem: "",
    failures: 0,
    rulesDigest,
    violations: 0,
    items: [],
    moreItems: 0,
  };
}

/**
 * Takes what came with a quote that holds. A list that does not lead to the quoted PCR is asked for once more from its start, for an agent may have lost its
 * place; where it does not then either, it is contradicted.
 */
export function takeIma(known: ImaState, report: ImaReport, { pcr, quoted }: ImaQuote, rules: ImaRules, vouches: Vouches): ImaState {
  const before = ofBank(known, pcr.length);
  if (report.absent) {
    const problem = isZero(pcr) ? "" : MEASURES_AND_KEEPS;
    return { ...newImaState(before.bootId, before.rulesDigest), standing: "absent", problem };
  }
  if (report.start !== before.count) return retry(before, `the node told entries from ${report.start}, wanted from ${before.count}`);
  let entries: ImaEntry[];
  try {
    if (report.entries.length > MAX_IMA_REPORT_BYTES) throw new CodecError("TOO_LONG", `${report.entries.length} bytes of measurements`);
    entries = parseImaEntries(Buffer.from(report.entries.buffer, report.entries.byteOffset, report.entries.byteLength));
  } catch (error) {
    if (!(error instanceof CodecError)) throw error;
    return retry(before, error.message);
  }
  if (report.more) {
    if (entries.length === 0) return retry(before, "the node says that there is more, and tells nothing");
    const standing = before.standing === "contradicted" ? before.standing : "partial";
    return judged({ ...before, aggregate: entries.reduce(extendIma, before.aggregate), standing }, entries, rules, vouches, quoted);
  }
  let aggregate = before.aggregate;
  for (let taken = 0; ; taken++) {
    const held = matching(aggregate, pcr);
    if (held) return judged({ ...before, aggregate: held, standing: "proven", problem: "", failures: 0 }, entries.slice(0, taken), rules, vouches, quoted);
    const next = entries[taken];
    if (!next) break;
    aggregate = extendIma(aggregate, next);
  }
  return retry(before, `PCR 10 is ${Buffer.from(pcr).toString("hex")}, which the list of ${before.count + entries.length} entries does not lead to`);
}

/**
 * A quote that holds came without the list that was asked for. What was proven stays so while the PCR is what it leads to; a PCR that went on says that
 * there is more, which the node keeps to itself.
 */
export function untoldIma(before: ImaState, quoted: Uint8Array): ImaState {
  if (before.standing === "absent" && !isZero(quoted)) return { ...before, problem: MEASURES_AND_KEEPS };
  if (before.standing !== "proven" || matching(before.aggregate, quoted)) return before;
  return { ...before, standing: "partial", problem: "PCR 10 went on, and the node did not tell how" };
}

const MEASURES_AND_KEEPS = "PCR 10 says that the kernel measures, and the node tells no list";

function isZero(pcr: Uint8Array): boolean {
  return pcr.every((byte) => byte === 0);
}

/** Of another bank than the one that is quoted now nothing can be continued. */
function ofBank(state: ImaState, bytes: number): ImaState {
  if (Object.values(state.aggregate).every(({ length }) => length === bytes) && Object.keys(state.aggregate).length > 0) return state;
  return { ...newImaState(state.bootId, state.rulesDigest), aggregate: imaStart(bytes), failures: state.failures };
}

const MAX_FAILURES = 2;

/** From the start again. */
function retry(before: ImaState, problem: string): ImaState {
  const failures = Math.min(before.failures + 1, MAX_FAILURES);
  return { ...newImaState(before.bootId, before.rulesDigest), standing: failures < MAX_FAILURES ? "partial" : "contradicted", problem, failures };
}

function judged(state: ImaState, entries: readonly ImaEntry[], rules: ImaRules, vouches: Vouches, quoted: readonly QuotedPcr[]): ImaState {
  const found = entries.flatMap((entry, i) => unvouched(entry, state.count + i, rules, vouches, quoted) ?? []);
  const items = [...state.items, ...found].filter((item) => stillUnvouched(item, vouches));
  const unchanged = found.length === 0 && items.length === state.items.length;
  return {
    ...state,
    count: state.count + entries.length,
    violations: state.violations + entries.filter(isViolation).length,
    items: unchanged ? state.items : items.slice(0, MAX_IMA_ITEMS),
    moreItems: state.moreItems + Math.max(0, items.length - MAX_IMA_ITEMS),
  };
}

export interface ImaAppraisal {
  readonly findings: readonly { readonly kind: "ima"; readonly what: string; readonly detail: string }[];
  readonly unknown: readonly { readonly code: string; readonly detail: string }[];
}
const MAX_FINDINGS = 50;

/** @param state undefined: nothing was told yet */
export function appraiseIma(state: ImaState | undefined, rules: ImaRules): ImaAppraisal {
  const none = { findings: [], unknown: [] };
  const required = rules.list === "required";
  // A node without IMA may do; one that keeps its list back is no such node.
  if (!state || state.standing === "absent")
    return required || (state !== undefined && state.problem !== "")
      ? { ...none, unknown: [{ code: "no-ima-list", detail: state?.problem || "the node tells no list of what its kernel measured" }] }
      : none;
  if (state.standing === "contradicted") return { ...none, findings: [{ kind: "ima", what: "list", detail: state.problem }] };
  const findings = state.items
    .slice(0, MAX_FINDINGS)
    .map(({ path, digest }) => ({ kind: "ima" as const, what: `${digest} ${path.toString("latin1")}`, detail: describe(path, digest) }));
  const rest = state.items.length - findings.length + state.moreItems;
  if (rest > 0) findings.push({ kind: "ima", what: "more", detail: `and ${rest} more measurements that nothing vouches for` });
  const unknown = state.standing === "partial" ? [{ code: "ima-catching-up", detail: `${state.count} measurements taken, more to come` }] : [];
  return { findings, unknown };
}

function describe(path: Buffer, digest: string): string {
  const name = path.toString("utf8");
  if (name === BOOT_AGGREGATE) return `the kernel's reading of the boot's PCRs is ${digest}, which the quoted PCRs do not lead to`;
  return digest === "violation" ? `${name} was written while it was measured` : `${name} ran as ${digest}, which nothing vouches for`;
}
