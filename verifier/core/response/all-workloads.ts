/** Every container that a filter selects, page by page. */
import type { WorkloadRow } from "../../ports/rows.ts";
import { MAX_PAGE_ROWS, type Store } from "../../ports/store.ts";

/** @throws StoreError */
export async function allWorkloads(store: Pick<Store, "listWorkloads">, filter: Parameters<Store["listWorkloads"]>[0]): Promise<readonly WorkloadRow[]> {
  const found: WorkloadRow[] = [];
  for (let after = ""; ; ) {
    const rows = await store.listWorkloads(filter, { after, limit: MAX_PAGE_ROWS });
    found.push(...rows);
    const last = rows.at(-1);
    if (!last || rows.length < MAX_PAGE_ROWS) return found;
    after = `${last.nodeId}/${last.containerId}`;
  }
}
