/** What is let be or asked for beside policy, by whom and until when, and whether it is of use still: the stuff of a review. */
import type { BaselineRow, ExceptionRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import { judgedPcr } from "../measured-boot/replay.ts";
import { bootRules } from "../policy/index.ts";
import type { Policy } from "../policy/types.ts";
import type { Fleet } from "./fleet.ts";
import { quotedMs } from "./node-appraisal.ts";
import { type UsageStore, usesOf } from "./workload-baselines.ts";

/** Of a pool: nodes whose quotes are looked at. */
const MAX_NODES = 1000;
/** Whatever was approved longer ago and was of no use since is a candidate to go. */
const UNUSED_MS = 30 * 86_400_000;

export interface ReportServices {
  readonly store: UsageStore & Pick<Store, "readBoot" | "readExcused">;
  readonly fleet: Pick<Fleet, "all">;
  readonly policy: () => Policy;
  readonly baselines: () => readonly BaselineRow[];
  readonly exceptions: () => readonly ExceptionRow[];
  readonly nowMs: () => number;
}

export interface ReportRow {
  readonly kind: "nodes" | "workload" | "exception";
  readonly id: string;
  /** Pool, workload or container. */
  readonly of: string;
  readonly state: string;
  readonly owner: string;
  readonly reason: string;
  readonly proposedBy: string;
  /** Empty before. */
  readonly approvedBy: string;
  readonly approvedAtMs: number | undefined;
  readonly reviewAtMs: number | undefined;
  /** It is over then. */
  readonly ends: boolean;
  /** Past its review date, and counts all the same. */
  readonly overdue: boolean;
  /** When it was last seen to be of use; undefined: never, or not since what it was of use for has gone. */
  readonly lastUsedMs: number | undefined;
  /** Nodes that boot by it, files that it lets be, drifts that it excuses: now. */
  readonly uses: number;
  /** Approved for 30 days or more, and of no use in the last 30. */
  readonly unused: boolean;
}

/** Everything that is proposed or counts: what is overdue first, then by review date. @throws StoreError */
export async function baselineReport(services: ReportServices): Promise<ReportRow[]> {
  const nowMs = services.nowMs();
  const alive = services.baselines().filter(({ state }) => state !== "expired");
  const learned = await usesOf(
    services.store,
    alive.filter((row) => row.workload),
  );
  const rows: ReportRow[] = [];
  for (const row of alive) {
    if (!row.workload) rows.push(await poolRow(row, services, nowMs));
    else rows.push(rowOf(row, { uses: learned.get(row.id)?.paths ?? 0, lastUsedMs: learned.get(row.id)?.lastChangedMs }, nowMs));
  }
  return [...rows, ...(await exceptionRows(services, nowMs))].sort(
    (a, b) =>
      Number(b.overdue) - Number(a.overdue) ||
      (a.reviewAtMs ?? Number.POSITIVE_INFINITY) - (b.reviewAtMs ?? Number.POSITIVE_INFINITY) ||
      (a.id < b.id ? -1 : 1),
  );
}

type Use = Pick<ReportRow, "uses" | "lastUsedMs">;

function rowOf(row: BaselineRow, use: Use, nowMs: number): ReportRow {
  const { id, pool, workload = "", state, owner = row.proposedBy, reason, proposedBy, approvedBy, approvedAtMs, reviewAtMs } = row;
  const common = { id, of: workload || pool, state, owner, reason, proposedBy, approvedBy, approvedAtMs, reviewAtMs };
  const overdue = state === "approved" && (reviewAtMs ?? Number.POSITIVE_INFINITY) <= nowMs;
  return { kind: workload ? "workload" : "nodes", ...common, ends: workload !== "", overdue, ...use, unused: isUnused(approvedAtMs, use, nowMs) };
}

function isUnused(approvedAtMs: number | undefined, { uses, lastUsedMs = 0 }: Use, nowMs: number): boolean {
  // Files that nobody changes are of use as long as they are there.
  return approvedAtMs !== undefined && uses === 0 && approvedAtMs <= nowMs - UNUSED_MS && lastUsedMs <= nowMs - UNUSED_MS;
}

async function poolRow(row: BaselineRow, services: ReportServices, nowMs: number): Promise<ReportRow> {
  const { store, fleet, policy } = services;
  const own = fleet.all().filter(({ name, revokedAtMs }) => revokedAtMs === undefined && bootRules(policy(), name)?.rule === row.pool);
  let [uses, lastUsedMs]: [number, number | undefined] = [0, undefined];
  for (const node of own.slice(0, MAX_NODES)) {
    const boot = await store.readBoot(node.id);
    const fits = Object.entries(row.pcrs).every(([index, values]) => {
      const quoted = boot && judgedPcr(boot.pcrs, Number(index));
      return quoted !== undefined && values.includes(Buffer.from(quoted.value).toString("hex"));
    });
    if (!boot || !fits) continue;
    uses++;
    const quoted = quotedMs(node);
    if (quoted !== undefined) lastUsedMs = Math.max(lastUsedMs ?? 0, quoted);
  }
  return rowOf(row, { uses, lastUsedMs }, nowMs);
}

async function exceptionRows({ store, exceptions }: ReportServices, nowMs: number): Promise<ReportRow[]> {
  const alive = exceptions().filter(({ state }) => state === "requested" || state === "approved");
  const excused = new Map((await store.readExcused()).map((each) => [each.exception, each]));
  return alive.map((row): ReportRow => {
    const { id, state, reason, requestedBy, decidedBy, decidedAtMs, untilMs, workload, containerName } = row;
    const found = excused.get(id);
    const use = { uses: found?.now ?? 0, lastUsedMs: found && found.now > 0 ? nowMs : found?.lastResolvedMs };
    const people = { owner: requestedBy, proposedBy: requestedBy, approvedBy: decidedBy };
    const common = { kind: "exception" as const, id, of: workload || containerName, state, reason, ...people, approvedAtMs: decidedAtMs, reviewAtMs: untilMs };
    return { ...common, ends: true, overdue: false, ...use, unused: isUnused(decidedAtMs, use, nowMs) };
  });
}
