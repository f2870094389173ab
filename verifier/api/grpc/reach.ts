/** What a caller of single namespaces is shown: the part of each answer that is theirs, as if there were nothing else. */

import { RpcError } from "@hullmark/proto/rpc";
import { Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { keyOfNumber, keyOfWorkload, rowPages } from "../../core/fleet/row-pages.ts";
import { type Incident, incidentsOf } from "../../core/incident/incident.ts";
import type { NumberedMember } from "../../core/incident/incident-book.ts";
import { namespaceOf, type Reach, reaches } from "../../core/people/grants.ts";
import type { DriftRow } from "../../ports/rows.ts";
import { MAX_PAGE_ROWS, type Page, type Store, type WorkloadCounts } from "../../ports/store.ts";
import { cut } from "./pages.ts";

interface Placed {
  readonly workload: string;
  readonly containerName: string;
}

/** Pages of the store that one call looks through for what the caller reaches: where that was not enough, the answer is short, and the next page goes on. */
const MAX_SEARCHED_PAGES = 5;
/** Whole lists that wait to be read. */
const MAX_WAITING_SCANS = 64;
/** One count of everything serves whoever asks meanwhile. */
const COUNTED_MS = 5000;

/** A page of what the caller reaches. The store knows no namespaces: for a caller of some it is looked through. @param keyOf the store's key of pages */
export async function reachedPage<T extends Placed>(
  reach: Reach,
  read: (page: Page) => Promise<readonly T[]>,
  keyOf: (row: T) => string,
  { after, limit }: Page,
): Promise<{ readonly page: readonly T[]; readonly next: string }> {
  if (reach === "cluster") return cut(await read({ after, limit: limit + 1 }), limit, keyOf);
  const found: T[] = [];
  let searched = 0;
  for await (const rows of rowPages(read, keyOf, after)) {
    found.push(...rows.filter((row) => reaches(reach, row)));
    if (found.length > limit) break;
    const last = rows.at(-1);
    if (++searched === MAX_SEARCHED_PAGES && last && rows.length === MAX_PAGE_ROWS) return { page: found, next: keyOf(last) };
  }
  return cut(found, limit, keyOf);
}

type Counts = Pick<WorkloadCounts, "byVerdict" | "byProvenance" | "unknownReasons">;

/** What must be read through to the end for callers of single namespaces, however much there is: one list at a time, whoever asks. */
export class ReachedScans {
  readonly #store: Pick<Store, "countWorkloads" | "listWorkloads" | "listDrifts">;
  readonly #nowMs: () => number;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #counted: { readonly atMs: number; readonly counts: Promise<ReadonlyMap<string, Counts>> } | undefined;

  constructor(store: Pick<Store, "countWorkloads" | "listWorkloads" | "listDrifts">, nowMs: () => number) {
    this.#store = store;
    this.#nowMs = nowMs;
  }

  /** As {@link Store.countWorkloads}, of what the caller reaches: of some namespaces as it was {@link COUNTED_MS} ago at most. @throws RpcError RESOURCE_EXHAUSTED; StoreError */
  async count(reach: Reach): Promise<Counts> {
    if (reach === "cluster") return await this.#store.countWorkloads();
    const agoMs = this.#nowMs() - (this.#counted?.atMs ?? 0);
    if (!this.#counted || agoMs < 0 || agoMs >= COUNTED_MS) {
      const counts = this.#inTurn(() => this.#countByNamespace());
      this.#counted = { atMs: this.#nowMs(), counts };
      counts.catch(() => {
        this.#counted = undefined;
      });
    }
    const counts = await this.#counted.counts;
    const total = nothing();
    for (const namespace of reach)
      for (const [kind, numbers] of Object.entries(counts.get(namespace) ?? nothing()))
        for (const [key, n] of Object.entries(numbers)) add(total[kind as keyof Tally], key, n);
    return total;
  }

  /** Keys of all workloads that the caller reaches. @throws RpcError RESOURCE_EXHAUSTED; StoreError */
  async workloadKeys(reach: Reach): Promise<readonly string[]> {
    return await this.#inTurn(async () => {
      const keys: string[] = [];
      for await (const rows of this.#workloads()) keys.push(...rows.filter((row) => reaches(reach, row)).map(keyOfWorkload));
      return keys;
    });
  }

  /** The open drifts of all that the caller reaches, the newest first: of them the first {@link MAX_PAGE_ROWS}. @throws RpcError RESOURCE_EXHAUSTED; StoreError */
  async openDrifts(reach: Reach, states = [DriftState.OPEN]): Promise<readonly DriftRow[]> {
    const read = (page: Page) => this.#store.listDrifts({ states, nodeId: "", container: "" }, page);
    if (reach === "cluster") return await read({ after: "", limit: MAX_PAGE_ROWS });
    return await this.#inTurn(async () => {
      const found: DriftRow[] = [];
      for await (const rows of rowPages(read, keyOfNumber)) {
        found.push(...rows.filter((row) => reaches(reach, row)));
        if (found.length >= MAX_PAGE_ROWS) break;
      }
      return found.slice(0, MAX_PAGE_ROWS);
    });
  }

  async #countByNamespace(): Promise<ReadonlyMap<string, Counts>> {
    const counted = new Map<string, Tally>();
    for await (const rows of this.#workloads())
      for (const row of rows) {
        const namespace = namespaceOf(row);
        if (namespace === undefined) continue;
        const { verdict, provenance, reasons } = row;
        const into = counted.get(namespace) ?? nothing();
        counted.set(namespace, into);
        add(into.byVerdict, verdict);
        add(into.byProvenance, provenance?.status ?? 0);
        if (verdict === Verdict.UNKNOWN) add(into.unknownReasons, reasons[0]?.code ?? "unknown");
      }
    return counted;
  }

  #workloads() {
    return rowPages((page) => this.#store.listWorkloads({ verdicts: [], nodeId: "" }, page), keyOfWorkload);
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= MAX_WAITING_SCANS)
      throw new RpcError("RESOURCE_EXHAUSTED", "too many look through everything: try again", { reason: "SCANS", retryable: true });
    this.#waiting++;
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => undefined);
    try {
      return await mine;
    } finally {
      this.#waiting--;
    }
  }
}

type Tally = Record<keyof Counts, Record<string | number, number>>;
const nothing = (): Tally => ({ byVerdict: {}, byProvenance: {}, unknownReasons: {} });

function add(numbers: Record<string | number, number>, key: string | number, n = 1): void {
  numbers[key] = (numbers[key] ?? 0) + n;
}

/**
 * Incidents of what the caller reaches, computed as if there were nothing else. What people decided on one that reaches further is of more than the caller sees, and left out.
 */
export function incidentsReached(
  reach: Reach,
  incidents: readonly Incident<NumberedMember>[],
  decided: Parameters<typeof incidentsOf>[1],
): readonly Incident<NumberedMember>[] {
  if (reach === "cluster") return incidents;
  const whole = new Set<string>();
  const own = incidents.flatMap(({ id, members }) => {
    const seen = members.filter((member) => reaches(reach, member));
    if (seen.length === members.length) whole.add(id);
    return seen;
  });
  return incidentsOf(own, (id) => (whole.has(id) ? decided?.(id) : undefined));
}
