/** The measurer as the agent's port sees it. */
import { chmodSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nativeMeasurer } from "@hullmark/agent/adapters/tree/native-measurer";
import type { TreeOptions } from "@hullmark/agent/ports/tree-measurer";
import { EMPTY_ROOT, pathKey } from "@hullmark/proto/codec";
import { expect, onTestFinished, test } from "vitest";
import { naiveRoot, scratch } from "./tree-support.ts";

const BUDGET = { maxEntries: 1000, maxBytes: 1e6, maxMillis: 60_000 };
const signal = new AbortController().signal;

async function open(root: string, options: Partial<TreeOptions> = {}) {
  const tree = await nativeMeasurer({ threads: 1 }).open(root, { kind: "upper", excluded: [], budget: BUDGET, ...options });
  onTestFinished(() => tree.close());
  return tree;
}

test("measures, tells changes with inodes, and answers positions", async () => {
  const root = scratch();
  writeFileSync(join(root, "a\nb"), "x");
  const tree = await open(root);
  const report = await tree.measure(signal);
  expect(report).toMatchObject({ truncated: false, entries: 1, hashedBytes: 1, claims: [] });
  expect(report.changes.map(({ path, before }) => [path.toString(), before])).toEqual([["a\nb", undefined]]);
  expect(tree.root().toString("hex")).toBe(naiveRoot(root));
  expect(tree.descend(pathKey(Buffer.from("a\nb")), 256)).toMatchObject({ kind: "leaf", path: Buffer.from("a\nb"), record: tree.entries(1024)?.[0]?.record });
  expect(tree.entries(1024)?.[0]?.inode).toBe(report.changes[0]?.inode);
});

test("over budget is a claim with an empty root, never a partial one; the next update measures again", async () => {
  const root = scratch();
  writeFileSync(join(root, "kept"), "x");
  const tree = await open(root);
  await tree.measure(signal);
  writeFileSync(join(root, "big"), "");
  truncateSync(join(root, "big"), 2e6);
  const over = await tree.update([Buffer.from("big")], signal);
  expect(over).toMatchObject({ truncated: true, claims: [{ code: "unmeasurable", detail: "over budget: max-bytes" }, { code: "over-budget" }] });
  expect([tree.root(), tree.size, tree.entries(1024), tree.descend(Buffer.alloc(32), 0)]).toEqual([EMPTY_ROOT, 0, [], { kind: "empty" }]);
  truncateSync(join(root, "big"), 2);
  expect(await tree.update([Buffer.from("big")], signal)).toMatchObject({ truncated: true, claims: [] });
  expect(tree.root().toString("hex")).toBe(naiveRoot(root));
});

test("an executable in a mutable class is left out only where the class says so", async () => {
  const root = scratch();
  writeFileSync(join(root, "script"), "x");
  chmodSync(join(root, "script"), 0o755);
  for (const executables of [false, true]) {
    const tree = await open(root, { excluded: [{ paths: ["/script"], executables }] });
    await tree.measure(signal);
    expect(tree.size).toBe(executables ? 0 : 1);
  }
});

test("errors of the port", async () => {
  const root = scratch();
  await expect(nativeMeasurer().open(join(root, "absent"), { kind: "layer", excluded: [], budget: BUDGET })).rejects.toMatchObject({ code: "TREE_IO" });
  const tree = await open(root);
  await expect(tree.measure(AbortSignal.abort())).rejects.toMatchObject({ code: "TREE_CANCELLED" });
  tree.close();
  await expect(tree.measure(signal)).rejects.toMatchObject({ code: "TREE_CLOSED" });
  expect(() => tree.root()).toThrow(expect.objectContaining({ code: "TREE_CLOSED" }));
});
