/** What happens when the tree, the caller or the whole process changes its mind while measuring. */
import { execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { LiveTree } from "@hullmark/native";
import { decodeRecord } from "@hullmark/proto/codec";
import { describe, expect, onTestFinished, test } from "vitest";
import { naiveRoot, scratch } from "./tree-support.ts";

/** A file that takes far longer to hash than any test waits. */
const HUGE_BYTES = 15 * 2 ** 30;

function hugeTree(): string {
  const root = scratch();
  for (let i = 0; i < 4; i++) {
    writeFileSync(join(root, `huge${i}`), "");
    truncateSync(join(root, `huge${i}`), HUGE_BYTES);
  }
  return root;
}

const openFds = () => readdirSync("/proc/self/fd").length;

describe("a tree that changes under the walk", () => {
  /** Changes `root` in a tight loop in another process until told to stop. */
  async function disturber(root: string, script: string): Promise<() => Promise<void>> {
    const source = `const { renameSync, writeFileSync, rmSync, mkdirSync, symlinkSync, unlinkSync, mkdtempSync } = require("fs"); process.chdir(process.argv[2]);
      let stop = false; process.on("message", () => { stop = true; });
      const turn = () => { if (stop) process.exit(0); for (let i = 0; i < 20; i++) { ${script} } setImmediate(turn); };
      process.send("ready"); turn();`;
    const file = join(scratch(), "disturb.cjs");
    writeFileSync(file, source);
    const child = fork(file, [root], { execArgv: [] });
    onTestFinished(() => void child.kill("SIGKILL"));
    const [ready] = await Promise.race([once(child, "message"), once(child, "exit")]);
    expect(ready).toBe("ready");
    return async () => {
      child.send("stop");
      await once(child, "exit");
    };
  }

  test("a directory swapped for a symlink out of the tree is never followed", async () => {
    const outside = scratch();
    mkdirSync(join(outside, "sub"));
    for (let i = 0; i < 50; i++) writeFileSync(join(outside, `sub/secret${i}`), "secret");
    const root = scratch();
    mkdirSync(join(root, "dir/sub"), { recursive: true });
    for (let i = 0; i < 50; i++) writeFileSync(join(root, `dir/sub/file${i}`), "x");
    const stop = await disturber(
      root,
      `renameSync("dir", "away"); symlinkSync(${JSON.stringify(outside)}, "dir"); unlinkSync("dir"); renameSync("away", "dir");`,
    );
    const tree = new LiveTree(root);
    onTestFinished(() => tree.close());
    for (let i = 0; i < 100; i++) {
      const report = await (i % 2 ? tree.measure() : i % 3 && i > 0 ? tree.update([Buffer.from("dir/sub/file1"), Buffer.from("dir")]) : tree.rescan());
      expect(report.changes.map(({ path }) => path.toString()).filter((path) => path.includes("secret"))).toEqual([]);
    }
    await stop();
    await tree.rescan();
    expect(tree.root().toString("hex")).toBe(naiveRoot(root));
  });

  test("a file swapped for a FIFO is never opened", async () => {
    const root = scratch();
    execFileSync("mkfifo", [join(root, "fifo")]);
    writeFileSync(join(root, "file"), "x");
    const stop = await disturber(root, `renameSync("file", "third"); renameSync("fifo", "file"); renameSync("third", "fifo");`);
    const tree = new LiveTree(root);
    onTestFinished(() => tree.close());
    const seen = new Set<string>();
    for (let i = 0; i < 300; i++) {
      await tree.measure();
      const record = tree.get(Buffer.from("file"));
      if (record) seen.add(decodeRecord(record).type);
    }
    await stop();
    expect([...seen].every((type) => type === "f" || type === "p")).toBe(true);
  });

  test("entries that vanish and appear", async () => {
    const root = scratch();
    for (let i = 0; i < 200; i++) writeFileSync(join(root, `stay${i}`), "x");
    const stop = await disturber(
      root,
      `mkdirSync("d/e/f", { recursive: true }); writeFileSync("d/e/f/x", "y"); writeFileSync("z", "z"); rmSync("d", { recursive: true }); unlinkSync("z");`,
    );
    const tree = new LiveTree(root);
    onTestFinished(() => tree.close());
    for (let i = 0; i < 100; i++) {
      await (i % 2 ? tree.rescan() : tree.measure());
      expect(tree.size).toBeGreaterThanOrEqual(200);
      expect(tree.size).toBeLessThanOrEqual(205);
    }
    await stop();
    await tree.rescan();
    expect(tree.root().toString("hex")).toBe(naiveRoot(root));
  });

  test("a removed root is an error, not an empty tree", async () => {
    const root = join(scratch(), "root");
    mkdirSync(root);
    writeFileSync(join(root, "file"), "x");
    const tree = new LiveTree(root);
    onTestFinished(() => tree.close());
    await tree.measure();
    const before = tree.root();
    rmSync(root, { recursive: true });
    await expect(tree.rescan()).rejects.toMatchObject({ code: "ROOT_GONE" });
    await expect(tree.update([Buffer.from("file")])).rejects.toMatchObject({ code: expect.stringMatching(/ROOT_GONE|SYSTEM/) });
    expect(tree.root()).toEqual(before);
  });

  test("a root that was moved is still the root", async () => {
    const base = scratch();
    mkdirSync(join(base, "old"));
    const tree = new LiveTree(join(base, "old"));
    onTestFinished(() => tree.close());
    await tree.measure();
    renameSync(join(base, "old"), join(base, "new"));
    mkdirSync(join(base, "old"));
    writeFileSync(join(base, "old/other"), "");
    writeFileSync(join(base, "new/mine"), "");
    await tree.update([Buffer.from("mine"), Buffer.from("other")]);
    expect(tree.root().toString("hex")).toBe(naiveRoot(join(base, "new")));
  });
});

describe("cancelling", () => {
  test("ends a measure soon, leaves the tree as it was, and the next operation runs", async () => {
    const root = hugeTree();
    const small = new LiveTree(root, { budget: { maxFileBytes: 1 } });
    onTestFinished(() => small.close());
    await small.measure();
    const before = small.root();
    const tree = new LiveTree(root);
    onTestFinished(() => tree.close());
    const fds = openFds();
    for (let i = 0; i < 5; i++) {
      const controller = new AbortController();
      const measuring = tree.measure({ signal: controller.signal });
      setTimeout(() => controller.abort(new Error("changed my mind")), 20);
      await expect(measuring).rejects.toThrow("changed my mind");
    }
    await expect(tree.measure({ signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
    expect(() => tree.root()).toThrow(expect.objectContaining({ code: "NOT_MEASURED" }));
    expect(openFds()).toBe(fds);
    expect(small.root()).toEqual(before);
    for (const name of readdirSync(root)) unlinkSync(join(root, name));
    expect(await tree.measure()).toMatchObject({ leaves: 0 });
  });

  test("operations queue; closing ends the running one and the waiting ones", async () => {
    const tree = new LiveTree(hugeTree());
    const fds = openFds();
    const results = Promise.allSettled([tree.measure(), tree.rescan(), tree.update([])]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    tree.close();
    tree.close();
    for (const result of await results) expect(result).toMatchObject({ status: "rejected", reason: { code: "CLOSED" } });
    expect(() => tree.root()).toThrow(expect.objectContaining({ code: "CLOSED" }));
    await expect(tree.measure()).rejects.toMatchObject({ code: "CLOSED" });
    // Root, procfs and whatever was being read.
    expect(openFds()).toBeLessThanOrEqual(fds - 2);
  });
});

describe("threads and exit", () => {
  const MEASURE_FOR_EVER = `
    const { LiveTree } = await import("@hullmark/native");
    const tree = new LiveTree(process.argv[1] ?? (await import("node:worker_threads")).workerData);
    tree.measure().catch(() => undefined);`;

  test.for([
    ["process.exit", "setTimeout(() => process.exit(7), 30);", 7],
    ["an uncaught exception", "setTimeout(() => { throw new Error('x'); }, 30);", 1],
  ] as const)("%s while measuring ends the process at once", async ([, ending, code]) => {
    const root = hugeTree();
    let status = 0;
    try {
      execFileSync(process.execPath, ["--input-type=module", "-e", MEASURE_FOR_EVER + ending, root], { timeout: 20_000, stdio: "pipe" });
    } catch (error) {
      status = (error as { status: number }).status;
    }
    expect(status).toBe(code);
  });

  test("worker threads measure side by side and can be terminated while measuring", async () => {
    const root = scratch();
    for (let i = 0; i < 300; i++) writeFileSync(join(root, String(i)), "x".repeat(i * 100));
    const source = `const { parentPort, workerData } = await import("node:worker_threads"); const { LiveTree } = await import(${JSON.stringify(import.meta.resolve("@hullmark/native"))});
      const tree = new LiveTree(workerData.root); await tree.measure(); parentPort.postMessage(tree.root().toString("hex"));
      new LiveTree(workerData.huge).measure().catch(() => undefined); parentPort.postMessage("measuring");`;
    const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
    const huge = hugeTree();
    const expected = naiveRoot(root);
    await Promise.all(
      [1, 2, 3].map(async () => {
        const worker = new Worker(url, { workerData: { root, huge }, execArgv: [] });
        const messages: unknown[] = [];
        await new Promise<void>((resolve, reject) => {
          worker.once("error", reject);
          worker.on("message", (message) => messages.push(message) === 2 && resolve());
        });
        expect(messages).toEqual([expected, "measuring"]);
        await worker.terminate();
      }),
    );
  });

  test("a loop of opening, measuring and dropping leaks no descriptor", async () => {
    const root = scratch();
    mkdirSync(join(root, "a/b"), { recursive: true });
    symlinkSync("x", join(root, "a/l"));
    writeFileSync(join(root, "a/b/f"), "x");
    const fds = openFds();
    for (let i = 0; i < 200; i++) {
      using tree = new LiveTree(root);
      await tree.measure();
      await tree.update([Buffer.from("a/b/f"), Buffer.from("gone/deep")]);
      await tree.scrub({ maxBytes: 1e6 });
    }
    expect(openFds()).toBe(fds);
  });
});
