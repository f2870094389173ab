/** What a caller of single namespaces is shown: the part of each answer that is theirs, as if there were nothing else. */

import { Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { keyOfNumber, keyOfWorkload, rowPages } from "../../core/fleet/row-pages.ts";
import { type Incident, incidentsOf } from "../../core/incident/incident.ts";
import type { NumberedMember } from "../../core/incident/incident-book.ts";
import { type Reach, reaches } from "../../core/people/grants.ts";
import type { DriftRow } from "../../ports/rows.ts";
import { MAX_PAGE_ROWS, type Page, type Store, type WorkloadCounts } from "../../ports/store.ts";

interface Placed {
  readonly workload: string;
  readonly containerName: string;
}

/**
 * The first `limit` rows that the caller reaches. The store knows no namespaces: for a caller of some it is read on, as far as it goes, until there are so many.
 * @param keyOf the store's key of pages
 */
export async function reached<T extends Placed>(
  reach: Reach,
  read: (page: Page) => Promise<readonly T[]>,
  keyOf: (row: T) => string,
  { after, limit }: Page,
): Promise<readonly T[]> {
  if (reach === "cluster") return await read({ after, limit });
  const found: T[] = [];
  for await (const rows of rowPages(read, keyOf, after)) {
    found.push(...rows.filter((row) => reaches(reach, row)));
    if (found.length >= limit) break;
  }
  return found.slice(0, limit);
}

type Counts = Pick<WorkloadCounts, "byVerdict" | "byProvenance" | "unknownReasons">;

/** As {@link Store.countWorkloads}, of what the caller reaches. */
export async function countReached(reach: Reach, store: Pick<Store, "countWorkloads" | "listWorkloads">): Promise<Counts> {
  if (reach === "cluster") return await store.countWorkloads();
  const byVerdict: Record<number, number> = {};
  const byProvenance: Record<number, number> = {};
  const unknownReasons: Record<string, number> = {};
  const read = (page: Page) => store.listWorkloads({ verdicts: [], nodeId: "" }, page);
  for (const { verdict, provenance, reasons } of await reached(reach, read, keyOfWorkload, { after: "", limit: Number.POSITIVE_INFINITY })) {
    byVerdict[verdict] = (byVerdict[verdict] ?? 0) + 1;
    byProvenance[provenance?.status ?? 0] = (byProvenance[provenance?.status ?? 0] ?? 0) + 1;
    const code = reasons[0]?.code ?? "unknown";
    if (verdict === Verdict.UNKNOWN) unknownReasons[code] = (unknownReasons[code] ?? 0) + 1;
  }
  return { byVerdict, byProvenance, unknownReasons };
}

/** The open drifts of all that the caller reaches, the newest first. */
export async function openDriftsReached(reach: Reach, store: Pick<Store, "listDrifts">, states = [DriftState.OPEN]): Promise<readonly DriftRow[]> {
  const read = (page: Page) => store.listDrifts({ states, nodeId: "", container: "" }, page);
  return await reached(reach, read, keyOfNumber, { after: "", limit: MAX_PAGE_ROWS });
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
