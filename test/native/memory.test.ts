/** What keeps a process small, seen by the kernel's own figures in processes of their own. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { scratch } from "./tree-support.ts";

const NATIVE = new URL("../../native/index.ts", import.meta.url).pathname;

/** Runs the body of a module with the addon's exports, `gc` and `rss(name)`: kB by proc_pid_status(5). @returns what it returned */
function inProcess<T>(body: string, ...args: readonly string[]): T {
  const script = `
    import * as native from ${JSON.stringify(NATIVE)};
    import { readFileSync } from "node:fs";
    const rss = (name) => Number(new RegExp(name + ":\\\\s+(\\\\d+)").exec(readFileSync("/proc/self/status", "latin1"))[1]);
    const args = process.argv.slice(1);
    const result = await (async () => { ${body} })();
    console.log(JSON.stringify(result));`;
  const output = execFileSync(process.execPath, ["--expose-gc", "--input-type=module", "--eval", script, "--", ...args], { encoding: "utf8" });
  return JSON.parse(output) as T;
}

test("freed memory goes back, also from between what is still held", () => {
  const { grown, given } = inProcess<{ grown: number; given: number }>(`
    native.boundMemory();
    const start = rss("RssAnon");
    // Chunks as a stream reads them, each with something small that stays.
    let chunks = [];
    const kept = [];
    for (let i = 0; i < 2000; i++) { chunks.push(Buffer.alloc(32 * 1024, 1)); kept.push(Buffer.alloc(8 * 1024, 1)); }
    const grown = rss("RssAnon") - start;
    chunks = undefined;
    const given = () => start + grown - rss("RssAnon");
    // Buffers are freed in the background some time after the collection.
    for (let i = 0; i < 100 && given() <= 45_000; i++) { gc(); native.trimMemory(); await new Promise((resolve) => setTimeout(resolve, 50)); }
    return { grown, given: given(), kept: kept.length };`);
  expect(grown).toBeGreaterThan(60_000);
  expect(given).toBeGreaterThan(45_000);
});

test("large buffers go back as they are freed", () => {
  const { grown, left } = inProcess<{ grown: number; left: number }>(`
    native.boundMemory();
    const start = rss("RssAnon");
    let chunks = [];
    const kept = [];
    for (let i = 0; i < 500; i++) { chunks.push(Buffer.alloc(100 * 1024, 1)); kept.push(Buffer.alloc(100, 1)); }
    const grown = rss("RssAnon") - start;
    chunks = undefined;
    // Buffers are freed in the background some time after the collection.
    for (let i = 0; i < 100 && rss("RssAnon") - start > 10_000; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 50)); }
    return { grown, left: rss("RssAnon") - start, kept: kept.length };`);
  // A collection may come in between.
  expect(grown).toBeGreaterThan(25_000);
  expect(left).toBeLessThan(10_000);
});

test("pages of program and libraries that are not in use go, and what is needed comes back", () => {
  const { before, after, digest } = inProcess<{ before: number; after: number; digest: string }>(`
    const before = rss("RssFile");
    native.trimMemory();
    const after = rss("RssFile");
    const { createHash, generateKeyPairSync, sign, verify } = await import("node:crypto");
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const data = Buffer.from("hull");
    if (!verify("sha256", data, publicKey, sign("sha256", data, privateKey))) throw new Error("signature");
    native.trimMemory();
    return { before, after, digest: createHash("sha256").update("abc").digest("hex") };`);
  expect(after).toBeLessThan(before / 2);
  expect(digest).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
});

test("a tree keeps no report: only what it needs to go on", () => {
  const root = scratch();
  for (let i = 0; i < 10; i++) writeFileSync(join(root, `file-${i}`), "x");
  const alive = inProcess<boolean[]>(
    `
    const tree = new native.LiveTree(args[0]);
    const reports = [new WeakRef(await tree.measure()), new WeakRef(await tree.rescan())];
    await new Promise((resolve) => setTimeout(resolve, 10));
    gc();
    return [...reports.map((each) => each.deref() !== undefined), tree.size === 10];`,
    root,
  );
  expect(alive).toEqual([false, false, true]);
});
