/** What happened and what would have, a day of UTC at a time. Pure. */
import type { ActionRow } from "../../ports/rows.ts";
import { objectionMode } from "../policy/admission-mode.ts";
import { matchRule } from "../policy/match.ts";
import { teamPolicy } from "../policy/tighten.ts";
import type { Policy } from "../policy/types.ts";
import { isInPod } from "../response/eviction.ts";
import type { JudgedImage, Simulation } from "../session/index.ts";
import type { PastDrift } from "./drift-record.ts";
import type { LogRecord } from "./log-record.ts";
import type { Replayed } from "./replay.ts";

/** Numbers, of one day or of all. `Before`: under the policy in force now; `After`: under the other. */
export interface Sum {
  /** On record. */
  readonly drifts: number;
  readonly driftsNew: number;
  readonly driftsGone: number;
  readonly driftsOther: number;
  readonly driftsUnknown: number;
  /** Issued in truth: neither a dry run nor what people denied. */
  readonly actionsRecorded: number;
  readonly actionsBefore: number;
  readonly actionsAfter: number;
  readonly pagesBefore: number;
  readonly pagesAfter: number;
  /** Seen first on this day within the time, by config digest. */
  readonly images: number;
  /** Of these, what does not have what policy asks for. */
  readonly imagesBefore: number;
  readonly imagesAfter: number;
  /** And of these, what the cluster's door would not have let in. */
  readonly refusedBefore: number;
  readonly refusedAfter: number;
  readonly imagesUnknown: number;
  /** Refusals of the webhook in truth. */
  readonly refusedRecorded: number;
}

export interface Day extends Sum {
  /** `YYYY-MM-DD`; `earlier`: what was open, or there, when the time began. */
  readonly date: string;
}

export interface DaysInput {
  readonly sinceMs: number;
  readonly untilMs: number;
  readonly drifts: readonly PastDrift[];
  readonly actions: readonly ActionRow[];
  readonly log: LogRecord;
  readonly now: Simulation;
  readonly before: Replayed;
  readonly after: Replayed;
  readonly policies: { readonly before: Policy; readonly after: Policy };
}

const DAY_MS = 86_400_000;
export const EARLIER = "earlier";
const NOTHING: Sum = {
  ...{ drifts: 0, driftsNew: 0, driftsGone: 0, driftsOther: 0, driftsUnknown: 0, actionsRecorded: 0, actionsBefore: 0, actionsAfter: 0 },
  ...{ pagesBefore: 0, pagesAfter: 0, images: 0, imagesBefore: 0, imagesAfter: 0, refusedBefore: 0, refusedAfter: 0, imagesUnknown: 0, refusedRecorded: 0 },
};

export function daysOf({ sinceMs, untilMs, drifts, actions, log, now, before, after, policies }: DaysInput): Day[] {
  const days = new Map<string, Record<keyof Sum, number>>([[EARLIER, { ...NOTHING }]]);
  for (let atMs = Math.floor(sinceMs / DAY_MS) * DAY_MS; atMs < untilMs; atMs += DAY_MS) days.set(dateOf(atMs), { ...NOTHING });
  const count = (atMs: number, name: keyof Sum): void => {
    const day = days.get(atMs < sinceMs ? EARLIER : dateOf(atMs));
    if (day) day[name]++;
  };
  for (const drift of drifts) for (const name of namesOf(drift)) count(drift.openedMs, name);
  for (const { createdAtMs, issuedAtMs, node } of actions)
    if (!node && createdAtMs >= sinceMs && issuedAtMs !== undefined) count(createdAtMs, "actionsRecorded");
  for (const { atMs } of before.actions) count(atMs, "actionsBefore");
  for (const { atMs } of after.actions) count(atMs, "actionsAfter");
  for (const { atMs } of before.pages) count(atMs, "pagesBefore");
  for (const { atMs } of after.pages) count(atMs, "pagesAfter");
  for (const atMs of log.refused) count(atMs, "refusedRecorded");
  const running = Map.groupBy(now.images, ([key]) => key.split(" ", 1)[0] ?? "");
  for (const [config, { firstMs }] of log.images) {
    const ran = (running.get(config) ?? []).map(([, image]) => image);
    for (const name of imageNames(ran, policies)) count(firstMs, name);
  }
  return [...days].map(([date, sum]) => ({ date, ...sum }));
}

function dateOf(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 10);
}

function namesOf({ before, after }: PastDrift): (keyof Sum)[] {
  if (before === "none") return ["driftsNew"];
  if (after === "unknown") return ["drifts", "driftsUnknown"];
  if (after === "none") return ["drifts", "driftsGone"];
  return after === before ? ["drifts"] : ["drifts", "driftsOther"];
}

/** @param ran what runs of it now, once a workload */
function imageNames(ran: readonly JudgedImage[], policies: DaysInput["policies"]): (keyof Sum)[] {
  if (ran.length === 0 || ran.some(({ after }) => after === "unknown")) return ["images", "imagesUnknown"];
  const names: (keyof Sum)[] = ["images"];
  const [before, after] = [ran.filter((each) => each.before === "refused"), ran.filter((each) => each.after === "refused")];
  if (before.length > 0) names.push("imagesBefore");
  if (after.length > 0) names.push("imagesAfter");
  if (before.some((each) => isKeptOut(each, policies.before))) names.push("refusedBefore");
  if (after.some((each) => isKeptOut(each, policies.after))) names.push("refusedAfter");
  return names;
}

/** What is not accepted is kept out of a cluster only where policy enforces that. */
function isKeptOut({ containerName, reference, workload, labels, nodeName }: JudgedImage, policy: Policy): boolean {
  if (!isInPod(containerName)) return false;
  const team = teamPolicy(policy, containerName);
  const rule = matchRule(policy, { imageReference: reference, containerName, workload, labels, nodeName });
  return objectionMode(policy, team, containerName.split("/", 1)[0] ?? "", policy, rule?.admission) === "enforce";
}

export function sumOf(days: readonly Day[]): Sum {
  const sum = { ...NOTHING } as Record<keyof Sum, number>;
  for (const day of days) for (const name of Object.keys(NOTHING) as (keyof Sum)[]) sum[name] += day[name];
  return sum;
}
