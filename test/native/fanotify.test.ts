import { execFile, execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { CHANGE_KINDS, type FanotifyBatch, type FanotifyChange, FanotifySource, fanotifySelfTest } from "@hullmark/native";
import { afterEach, beforeEach, expect, it } from "vitest";
import { STATE_ROOT } from "../../deploy/testbed/paths.ts";

// A sanitizer's runtime is for this process, not for the machine's programs.
const env = { ...process.env, LD_PRELOAD: "" };
const shell = (program: string, argv: readonly string[]) => promisify(execFile)(program, argv, { env });

let directory: string;
let source: FanotifySource | undefined;
let batches: FanotifyBatch[];
let more: (() => void) | undefined;

beforeEach(() => {
  mkdirSync(STATE_ROOT, { recursive: true });
  directory = mkdtempSync(join(STATE_ROOT, "fanotify-"));
  batches = [];
});
afterEach(() => {
  source?.stop();
  source = undefined;
  rmSync(directory, { recursive: true, force: true });
});

function open(modify = true): FanotifySource {
  source = new FanotifySource({ modify }, (batch) => {
    batches.push(batch);
    more?.();
  });
  return source;
}

const changes = (): FanotifyChange[] => batches.flatMap((batch) => [...batch.changes]);

async function until<T>(find: () => T | undefined): Promise<T> {
  for (;;) {
    const found = find();
    if (found !== undefined) return found;
    await new Promise<void>((resolve) => {
      more = resolve;
    });
  }
}

const change = (path: string, kind = 0): Promise<FanotifyChange> => until(() => changes().find((c) => c.path.toString() === path && (c.kinds & kind) === kind));

it("finds by a scratch overlay whether a mark below it tells, and leaves nothing", async () => {
  expect(await fanotifySelfTest(directory)).toEqual({ ok: true, reason: "", kernel: expect.stringMatching(/^\d+\./) });
  expect(execFileSync("ls", ["-A", directory], { encoding: "utf8" })).toBe("");
});

it("says why the self-test cannot run", async () => {
  const { ok, reason } = await fanotifySelfTest(join(directory, "absent"));
  expect({ ok, reason }).toEqual({ ok: false, reason: expect.stringContaining("mkdtemp") });
});

it("tells kinds, and silent is who is on its own", async () => {
  open().watch(7, Buffer.from(directory));
  writeFileSync(join(directory, "own"), "x");
  await shell("sh", ["-c", "cd $0; mkdir d; echo x > d/f; chmod 600 d/f; mv d e; rm e/f", directory]);
  await change("e/f", CHANGE_KINDS.deleted);
  await change("d", CHANGE_KINDS.created | CHANGE_KINDS.directory);
  await change("d", CHANGE_KINDS.movedFrom | CHANGE_KINDS.directory);
  await change("e", CHANGE_KINDS.movedTo | CHANGE_KINDS.directory);
  expect(changes().every(({ root }) => root === 7)).toBe(true);
  expect(changes().filter(({ path }) => path.toString() === "own")).toEqual([]);
});

it("finds paths anew after a directory was renamed", async () => {
  mkdirSync(join(directory, "a/b"), { recursive: true });
  open().watch(0, Buffer.from(directory));
  await shell("touch", [join(directory, "a/b/one")]);
  await change("a/b/one");
  await shell("mv", [join(directory, "a"), join(directory, "z")]);
  await shell("touch", [join(directory, "z/b/two")]);
  await change("z/b/two");
});

it("tells roots within roots and several on one directory", async () => {
  mkdirSync(join(directory, "in"));
  const opened = open();
  opened.watch(1, Buffer.from(directory));
  opened.watch(2, Buffer.from(join(directory, "in")));
  opened.watch(3, Buffer.from(join(directory, "in")));
  await shell("touch", [join(directory, "in/f")]);
  await until(() => (changes().length >= 3 ? true : undefined));
  expect(new Set(changes().map(({ root, path }) => `${root} ${path}`))).toEqual(new Set(["1 in/f", "2 f", "3 f"]));
});

it("counts what it could not keep while JavaScript was busy", async () => {
  open().watch(0, Buffer.from(directory));
  // Synchronous: this thread cannot take anything meanwhile.
  execFileSync("sh", ["-c", "cd $0; seq 70000 | xargs -n 2000 touch", directory], { env });
  const { lostReason } = await until(() => batches.find(({ lost }) => lost > 0));
  expect(lostReason).toMatch(/busy|more changes/);
}, 120_000);

it("without write events tells of a change at close", async () => {
  open(false).watch(0, Buffer.from(directory));
  await shell("sh", ["-c", "cd $0; exec 5>f; echo x >&5; sleep 0.2; touch g; sleep 0.2; exec 5>&-; touch h", directory]);
  await change("h");
  const order = changes().map(({ path, kinds }) => `${path}${kinds & CHANGE_KINDS.content ? "!" : ""}`);
  expect(order.indexOf("f!")).toBeGreaterThan(order.findIndex((each) => each.startsWith("g")));
});

it("gives errors with code, system call and number", () => {
  const opened = open();
  expect(() => opened.watch(0, Buffer.from(join(directory, "absent")))).toThrow(expect.objectContaining({ code: "ENOENT", syscall: "open", errno: 2 }));
  expect(() => opened.watch(0, Buffer.from("/proc"))).toThrow(expect.objectContaining({ code: expect.stringMatching(/^E/), errno: expect.any(Number) }));
  opened.stop();
  opened.stop();
  expect(() => opened.watch(0, Buffer.from(directory))).toThrow(expect.objectContaining({ code: "ECANCELED" }));
});

it("goes on when a watched directory is removed, and watches its successor", async () => {
  const at = join(directory, "root");
  mkdirSync(at);
  const opened = open();
  opened.watch(1, Buffer.from(at));
  renameSync(at, `${at}-old`);
  mkdirSync(at);
  opened.watch(1, Buffer.from(at));
  await shell("touch", [join(at, "f")]);
  expect((await change("f")).root).toBe(1);
  rmSync(at, { recursive: true });
  opened.unwatch(1);
  opened.watch(2, Buffer.from(directory));
  await shell("touch", [join(directory, "g")]);
  await change("g");
});

/** Runs a source in a worker thread that tells when it watches, and `onBatch` (JavaScript) for what comes. */
async function inWorker(onBatch: string): Promise<Worker> {
  const program = `
    const { workerData, parentPort } = require("node:worker_threads");
    const { FanotifySource } = require(workerData.addon);
    const source = new FanotifySource({ modify: true }, () => { ${onBatch} });
    source.watch(1, Buffer.from(workerData.directory));
    parentPort.postMessage("watching");
  `;
  const { addonPath } = await import("@hullmark/native");
  const worker = new Worker(program, { eval: true, workerData: { addon: addonPath(), directory } });
  await once(worker, "message");
  return worker;
}

it("ends with a worker thread that did not stop it", async () => {
  const worker = await inWorker("");
  await shell("touch", [join(directory, "f")]);
  await worker.terminate();
});

// Nothing can be thrown into an environment that is being terminated: an error on its way there must not become the end of the process.
it("ends with a worker thread that is told of changes at that moment", async () => {
  const worker = await inWorker('parentPort.postMessage("told"); for (;;);');
  const told = once(worker, "message");
  await shell("touch", [join(directory, "f")]);
  await told;
  expect(await worker.terminate()).toBe(1);
});
