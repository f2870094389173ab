/** Lists of the store, read to their end. */
import type { WorkloadRow } from "../../ports/rows.ts";
import { MAX_PAGE_ROWS, type Page, type Store } from "../../ports/store.ts";

/** The store's keys of pages. */
export const keyOfWorkload = ({ nodeId, containerId }: Pick<WorkloadRow, "nodeId" | "containerId">): string => `${nodeId}/${containerId}`;
export const keyOfNumber = ({ number }: { readonly number: number }): string => String(number);

/**
 * Page by page, each of {@link MAX_PAGE_ROWS} but the last, which may be empty.
 * @param after the key after which to begin @throws what `read` rejects with
 */
export async function* rowPages<T>(read: (page: Page) => Promise<readonly T[]>, keyOf: (row: T) => string, after = ""): AsyncGenerator<readonly T[]> {
  for (let from = after; ; ) {
    const rows = await read({ after: from, limit: MAX_PAGE_ROWS });
    yield rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < MAX_PAGE_ROWS) return;
    from = keyOf(last);
  }
}

/** Every workload that the filter names. @throws StoreError */
export async function allWorkloads(store: Pick<Store, "listWorkloads">, filter: Parameters<Store["listWorkloads"]>[0]): Promise<readonly WorkloadRow[]> {
  const found: WorkloadRow[] = [];
  for await (const rows of rowPages((page) => store.listWorkloads(filter, page), keyOfWorkload)) found.push(...rows);
  return found;
}
