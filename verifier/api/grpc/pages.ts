/** Lists in pages. */
import { MAX_PAGE_ROWS } from "../../ports/store.ts";

const DEFAULT_PAGE_ROWS = 100;

export function rowsOf(pageSize: number): number {
  return pageSize === 0 ? DEFAULT_PAGE_ROWS : Math.min(pageSize, MAX_PAGE_ROWS - 1);
}

/** The first `limit` rows, and the token of the next page where there are more. */
export function cut<T>(rows: readonly T[], limit: number, keyOf: (row: T) => string): { page: readonly T[]; next: string } {
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  return { page, next: rows.length > limit && last !== undefined ? keyOf(last) : "" };
}
