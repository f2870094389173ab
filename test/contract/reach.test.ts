/** What callers of single namespaces cost: a page looks through so much and no more, and what must be read to the end is read once for all who ask. */
import { Verdict } from "@hullmark/proto/v1/common";
import { ReachedScans, reachedPage } from "@hullmark/verifier/api/grpc/reach";
import type { Reach } from "@hullmark/verifier/core/people/grants";
import { MAX_PAGE_ROWS, type Page } from "@hullmark/verifier/ports/store";
import { expect, test } from "vitest";

interface Row {
  readonly nodeId: string;
  readonly containerId: string;
  readonly workload: string;
  readonly containerName: string;
  readonly verdict: Verdict;
  readonly provenance: undefined;
  readonly reasons: readonly { readonly code: string }[];
}

const row = (i: number, namespace: string, verdict = Verdict.AFFIRMING): Row => ({
  ...{ nodeId: "n", containerId: String(i).padStart(6, "0"), workload: `${namespace}/web`, containerName: `${namespace}/web-1/web` },
  ...{ verdict, provenance: undefined, reasons: verdict === Verdict.UNKNOWN ? [{ code: "resolving" }] : [] },
});
const keyOf = ({ nodeId, containerId }: Row): string => `${nodeId}/${containerId}`;

/** A list in the order of its keys, and how often a page of it was read, and by how many at a time. */
function listOf(rows: readonly Row[]) {
  const told = { reads: 0, most: 0 };
  let reading = 0;
  const read = async ({ after, limit }: Page): Promise<Row[]> => {
    told.reads++;
    told.most = Math.max(told.most, ++reading);
    await new Promise((resolve) => setImmediate(resolve));
    reading--;
    expect(limit).toBeLessThanOrEqual(MAX_PAGE_ROWS);
    return rows.filter((each) => keyOf(each) > after).slice(0, limit);
  };
  return { told, read };
}

const SHOP: Reach = new Set(["shop"]);

test("a call looks through so many pages, and the next one goes on: what is there is found, whatever lies before it", async () => {
  const rows = Array.from({ length: 12_500 }, (_, i) => row(i, i === 3 || i > 12_496 ? "shop" : "other"));
  const { read, told } = listOf(rows);
  const found: string[][] = [];
  const reads: number[] = [];
  for (let after = "", done = false; !done; ) {
    const before = told.reads;
    const { page, next } = await reachedPage(SHOP, read, keyOf, { after, limit: 2 });
    found.push(page.map(({ containerId }) => containerId));
    reads.push(told.reads - before);
    [after, done] = [next, next === ""];
  }
  expect(found).toEqual([["000003"], [], ["012497", "012498"], ["012499"]]);
  expect(Math.max(...reads)).toBe(5);
});

test("who sees everything has the store's own pages", async () => {
  const { read, told } = listOf(Array.from({ length: 7 }, (_, i) => row(i, "other")));
  const first = await reachedPage("cluster", read, keyOf, { after: "", limit: 4 });
  const second = await reachedPage("cluster", read, keyOf, { after: first.next, limit: 4 });
  expect([first.page.length, second.page.length, second.next, told.reads]).toEqual([4, 3, "", 2]);
});

test("everything is counted once for all who ask within seconds, one list at a time, and each sees their own", async () => {
  const rows = [row(1, "shop"), row(2, "shop", Verdict.UNKNOWN), row(3, "pay", Verdict.CONTRAINDICATED), row(4, "other")];
  const { read, told } = listOf(rows);
  const clock = { nowMs: 1000 };
  const store = { listWorkloads: async (_: unknown, page: Page) => await read(page), listDrifts: async () => [], countWorkloads: async () => ({}) };
  const scans = new ReachedScans(store as never, () => clock.nowMs);
  const [shop, both, keys] = await Promise.all([scans.count(SHOP), scans.count(new Set(["shop", "pay", "nowhere"])), scans.workloadKeys(SHOP)]);
  expect(shop).toEqual({ byVerdict: { [Verdict.AFFIRMING]: 1, [Verdict.UNKNOWN]: 1 }, byProvenance: { 0: 2 }, unknownReasons: { resolving: 1 } });
  expect(both.byVerdict).toEqual({ [Verdict.AFFIRMING]: 1, [Verdict.UNKNOWN]: 1, [Verdict.CONTRAINDICATED]: 1 });
  expect(keys).toEqual(["n/000001", "n/000002"]);
  expect(told).toEqual({ reads: 2, most: 1 });
  clock.nowMs += 5000;
  await scans.count(SHOP);
  expect(told.reads).toBe(3);
  // A clock that was set back keeps nothing, and what waits is bounded.
  clock.nowMs = 0;
  const waiting = Array.from({ length: 65 }, () => scans.workloadKeys(SHOP));
  const ended = await Promise.allSettled(waiting);
  expect(ended.filter(({ status }) => status === "rejected")).toMatchObject([{ reason: { code: "RESOURCE_EXHAUSTED" } }]);
});
