/** What was done, by what it was done to: each decision looks at its own, however much else there is. */
import { ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow, WorkloadRow } from "../../ports/rows.ts";
import { countsAtMs, countsNow } from "./breaker.ts";
import { HISTORY_MS, nameOfService } from "./decide.ts";
import { type StandingMarks, standingMarks } from "./standing-marks.ts";

/** For so long after an action was decided on its report is taken, however late it is: a host may be cut off from its verifier for days. */
export const LATE_REPORT_MS = 7 * HISTORY_MS;

/** It is known for its report's sake alone: nothing is decided by it any more. */
export function isSpent({ state, createdAtMs }: Pick<ActionRow, "state" | "createdAtMs">, nowMs: number): boolean {
  return state === ActionState.EXPIRED && nowMs - createdAtMs > HISTORY_MS;
}

export class ActionHistory {
  readonly #rows = new Map<string, ActionRow>();
  /** Ids by a service's name alone, and by node and container. */
  readonly #bySubject = new Map<string, Set<string>>();
  /** Of any service, those that limits count, of whatever age: clocks are set back. undefined: some have come since. */
  #counted: readonly ActionRow[] | undefined;
  /** undefined: some have changed since. */
  #standing: ReadonlyMap<string, StandingMarks> | undefined;

  /** In the order in which they came. */
  all(): IterableIterator<ActionRow> {
    return this.#rows.values();
  }

  get(id: string): ActionRow | undefined {
    return this.#rows.get(id);
  }

  /** What was put on nodes and not taken away again, by node id. */
  standing(): ReadonlyMap<string, StandingMarks> {
    this.#standing ??= standingMarks(this.all());
    return this.#standing;
  }

  put(row: ActionRow): void {
    const before = this.#rows.get(row.id);
    this.#rows.set(row.id, row);
    this.#standing = undefined;
    for (const subject of subjectsOf(row)) this.#bySubject.set(subject, (this.#bySubject.get(subject) ?? new Set()).add(row.id));
    if ([row, ...(before ? [before] : [])].some((each) => countsAtMs(each) !== undefined)) this.#counted = undefined;
  }

  remove(row: ActionRow): void {
    this.#rows.delete(row.id);
    this.#standing = undefined;
    for (const subject of subjectsOf(row)) {
      const ids = this.#bySubject.get(subject);
      ids?.delete(row.id);
      if (ids?.size === 0) this.#bySubject.delete(subject);
    }
    this.#counted = undefined;
  }

  /** All on this container and this service that decisions go by, and of others what counts within an hour; each once. */
  about(workload: WorkloadRow, nowMs: number): ActionRow[] {
    this.#counted ??= [...this.all()].filter((row) => countsAtMs(row) !== undefined);
    const own = new Set(subjectsOf(workload).flatMap((subject) => [...(this.#bySubject.get(subject) ?? [])]));
    const rows = [...own].flatMap((id) => this.#rows.get(id) ?? []).filter((row) => !isSpent(row, nowMs));
    const others = this.#counted.filter((row) => countsNow(row, nowMs) && !own.has(row.id));
    return [...rows, ...others].sort((a, b) => a.number - b.number);
  }
}

function subjectsOf(row: Pick<WorkloadRow, "nodeId" | "containerId" | "workload" | "containerName">): [service: string, container: string] {
  return [`service ${nameOfService(row)}`, `container ${row.nodeId}/${row.containerId}`];
}
