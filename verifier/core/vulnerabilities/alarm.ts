/** New vulnerabilities of an image that runs, as alerting is told of them: one alert for what came together, until none of it is left. Pure. */
import { hash } from "node:crypto";
import type { AlertSubject } from "../alerting/subject.ts";
import type { Severity } from "../policy/kinds.ts";
import type { VulnerabilityAlertTerms } from "../policy/types.ts";
import { printable } from "../text/printable.ts";
import type { ImageFinding } from "./image-findings.ts";
import type { ImageOverview } from "./overview.ts";
import { type FindingSeverity, rankOf } from "./types.ts";

/** Findings by their names ({@link namesOf}), with how grave they are: {@link rankOf}. */
export type Ranks = ReadonlyMap<string, number>;

/** What of an image policy wants to hear of. */
export interface Alarming {
  readonly findings: readonly ImageFinding[];
  readonly ranks: Ranks;
  /** Names and ranks, as an id has them; empty: there is nothing. */
  readonly set: string;
}

/** An open alert of an image as its id tells it, which is durable: by `batch` what was new then, by `set` what stands of it. */
export interface HeldAlarm {
  readonly id: string;
  readonly image: string;
  readonly batch: string;
  readonly set: string;
  /** When people were told of it last, Unix milliseconds. */
  readonly toldAtMs: number;
}

/** What people were told of an image. */
export interface Told {
  readonly ranks: Ranks;
  /** When last, Unix milliseconds. */
  readonly atMs: number;
}

/** What of an image is alarming, and what people know of it. */
export interface ImageAlarm {
  readonly overview: ImageOverview;
  readonly containers: number;
  readonly alarming: Alarming;
  readonly held: HeldAlarm | undefined;
  /** As this process knows it; undefined: it was told by one before, or never. */
  readonly told: Told | undefined;
  /** All that registries have of it is known: what is missing now is gone, and not just not there yet. */
  readonly settled: boolean;
}

/** Of one image people are told so often at most: a report that comes and goes is no page each time. What is graver than all before does not wait. */
export const TOLD_AGAIN_MS = 3_600_000;
const ID = /^vulnerable-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{16})$/;
const SHOWN = 5;
/** Of more that were told of one image, over time, those that are no more are forgotten. */
const MAX_TOLD = 40_000;

/** Those that policy wants to hear of; none where it does not. */
export function alarmingOf(findings: readonly ImageFinding[], terms: VulnerabilityAlertTerms | undefined): Alarming {
  const least = terms && rankOf(terms.minSeverity);
  const counts = ({ suppressed, severity, fixedIn }: ImageFinding): boolean =>
    least !== undefined && !suppressed && rankOf(severity) >= least && !(terms?.ignoreUnfixed && fixedIn.length === 0);
  const chosen = findings.filter(counts);
  const ranks = new Map<string, number>();
  for (const finding of chosen) for (const name of namesOf(finding)) ranks.set(name, Math.max(ranks.get(name) ?? 0, rankOf(finding.severity)));
  return { findings: chosen, ranks, set: chosen.length === 0 ? "" : digestOf(ranks) };
}

/** undefined: it is of something else. */
export function heldAlarm(id: string, toldAtMs: number): HeldAlarm | undefined {
  const [, image, batch, set] = ID.exec(id) ?? [];
  return image === undefined || batch === undefined || set === undefined ? undefined : { id, image, batch, set, toldAtMs };
}

/** As {@link HeldAlarm.image} names it. @param configDigest `sha256:` and hex */
export function shortOf(configDigest: string): string {
  return configDigest.replace(/^sha256:/, "").slice(0, 32);
}

/** What people know once they are told of these too: what was told once is no news when it returns while the rest stands. */
export function toldWith(told: Told | undefined, { ranks }: Alarming, atMs: number): Told {
  const all = new Map(told?.ranks);
  for (const [name, rank] of ranks) all.set(name, Math.max(all.get(name) ?? 0, rank));
  return { ranks: all.size > MAX_TOLD ? ranks : all, atMs };
}

/** What a process before this one told, where it is just what stands. */
export function toldBefore({ alarming: { set, ranks }, held }: Pick<ImageAlarm, "alarming" | "held">): Told | undefined {
  return held?.set === set ? { ranks, atMs: held.toldAtMs } : undefined;
}

/** What to tell of an image. */
export interface AlarmNews {
  readonly subjects: readonly AlertSubject[];
  /** Something is new to people, rather than that less is left. */
  readonly news: boolean;
}

const NOTHING: AlarmNews = { subjects: [], news: false };

/** What ends, and what is open in its place; nothing where people know, or are told later. */
export function alarmNews(alarm: ImageAlarm, nowMs: number): AlarmNews {
  const { overview, alarming, held, told, settled } = alarm;
  if (alarming.set === (held?.set ?? "")) return NOTHING;
  const fresh = freshOf(alarm);
  if (fresh.length === 0) {
    if (!held || !settled) return NOTHING;
    if (alarming.set === "") return { subjects: [endOf(held, nowMs)], news: false };
    // Fewer of the same, or less grave: the same alert goes on. It is open all the while.
    const opened = openOf(alarm, { id: idOf(overview, held.batch, alarming.set), findings: alarming.findings }, nowMs);
    return { subjects: [opened, endOf(held, nowMs)], news: false };
  }
  const lastMs = told?.atMs ?? held?.toldAtMs ?? 0;
  // What is later than now was so before the clock was set back.
  if (nowMs >= lastMs && nowMs - lastMs < TOLD_AGAIN_MS && !(told && isGraver(fresh, told))) return NOTHING;
  const opened = openOf(alarm, { id: idOf(overview, alarming.set, alarming.set), findings: fresh }, nowMs);
  return { subjects: held ? [endOf(held, nowMs), opened] : [opened], news: true };
}

/** What people do not know yet, or not as so grave; all where nothing of the image is told now. */
function freshOf({ alarming: { findings }, held, told, settled }: ImageAlarm): readonly ImageFinding[] {
  if (!held) return findings;
  // A process before this one told them, and what of it is missing may only be not there yet.
  if (!told) return settled ? findings : [];
  return findings.filter((finding) => namesOf(finding).every((name) => (told.ranks.get(name) ?? 0) < rankOf(finding.severity)));
}

function isGraver(findings: readonly ImageFinding[], { ranks }: Told): boolean {
  let gravest = 0;
  for (const rank of ranks.values()) gravest = Math.max(gravest, rank);
  return findings.some(({ severity }) => rankOf(severity) > gravest);
}

function idOf({ image }: ImageOverview, batch: string, set: string): string {
  return `vulnerable-${shortOf(image.configDigest)}-${batch}-${set}`;
}

/** Of an image that runs no more, or is known no more. */
export function endOf({ id }: HeldAlarm, nowMs: number): AlertSubject {
  return { ...BLANK, driftId: id, state: "resolved", severity: "info", imageReference: "", summary: "", sinceMs: nowMs };
}

const BLANK = {
  kind: "vulnerable" as const,
  place: "image" as const,
  ...{ incident: "", image: "", nodeName: "", workload: "", containerName: "", path: new Uint8Array(0) },
  ...{ layerIndex: -1, layerHistory: "", actor: undefined, provenance: "", logIndex: -1 },
};

function openOf(
  { overview, containers, alarming: { findings: all } }: ImageAlarm,
  { id, findings }: { readonly id: string; readonly findings: readonly ImageFinding[] },
  nowMs: number,
): AlertSubject {
  const { row, configDigest } = overview.image;
  const shown = findings.slice(0, SHOWN).map(wordsOf).join("; ");
  const more = findings.length > SHOWN ? `; ${findings.length - SHOWN} more` : "";
  return {
    ...{ ...BLANK, driftId: id, state: "open", image: configDigest, severity: severityOf(all), sinceMs: nowMs },
    imageReference: row.references.find((reference) => !reference.startsWith("sha256:")) ?? configDigest,
    summary: `${findings.length} new, of ${all.length} that count, in ${containers} containers: ${shown}${more}`,
  };
}

const ALERT_SEVERITIES: Readonly<Record<FindingSeverity, Severity>> = {
  ...{ negligible: "info", low: "low", medium: "medium", high: "high", critical: "critical", unknown: "medium" },
};

function severityOf(findings: readonly ImageFinding[]): Severity {
  const [gravest] = findings.toSorted((a, b) => rankOf(b.severity) - rankOf(a.severity));
  return gravest ? ALERT_SEVERITIES[gravest.severity] : "info";
}

/** Texts are the scanner's. */
function wordsOf({ id, severity, fixedIn: [fixed], knownExploited, package: { name, version } }: ImageFinding): string {
  const more = [severity, ...(knownExploited ? ["known to be exploited"] : []), fixed === undefined ? "no fix" : `fixed in ${printable(fixed, 48)}`];
  return `${printable(id, 48)} in ${printable(name, 48)} ${printable(version, 48)} (${more.join(", ")})`;
}

/** By every name of the vulnerability, as scanners call one differently; of an image, a package's version is no news. */
function namesOf({ id, aliases, package: { name } }: ImageFinding): string[] {
  return [id, ...aliases].map((each) => JSON.stringify([each, name]));
}

function digestOf(ranks: Ranks): string {
  return hash("sha256", JSON.stringify([...ranks].sort())).slice(0, 16);
}
