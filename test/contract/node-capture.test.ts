/** What a node keeps of a container before its pod goes: files of a real directory, measured and read by the addon and sealed by the process that an agent starts; the container, and the verifier that asks, are adversaries. */
import { spawnSync } from "node:child_process";
import { linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { create } from "@bufbuild/protobuf";
import { DeltaFiles } from "@hullmark/agent/adapters/delta-files/delta-files";
import { nativeContent } from "@hullmark/agent/adapters/tree/native-content";
import { nativeMeasurer } from "@hullmark/agent/adapters/tree/native-measurer";
import { parseConfig } from "@hullmark/agent/config";
import { CaptureDesk, NODE_CAPTURE_FAILPOINTS } from "@hullmark/agent/core/capture-desk";
import type { TreePlace } from "@hullmark/agent/core/file-contents";
import type { MeasuredTree } from "@hullmark/agent/ports/tree-measurer";
import { type Program, processesApart, sealApart } from "@hullmark/capture/apart";
import { type Capture, CaptureError, type CaptureSubject } from "@hullmark/capture/capture";
import { CaptureFiles } from "@hullmark/capture/capture-files";
import { CaptureRequestSchema } from "@hullmark/proto/v1/capture";
import { Decrypter, generateX25519Identity, identityToRecipient } from "age-encryption";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { program } from "../fakes/program.ts";
import { untar } from "../fakes/untar.ts";

const never = new AbortController().signal;
const CONTAINER = "c".repeat(64);
const ID = "1".repeat(32);
const AGENT = [process.execPath, program("agent")];

const PATIENT = { program: AGENT, maxSeconds: 60 };

let identity: string;
let recipient: string;
let home: string;
let root: string;
let tree: MeasuredTree;

beforeAll(async () => {
  identity = await generateX25519Identity();
  recipient = await identityToRecipient(identity);
});
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-node-capture-"));
  root = join(home, "upper");
  mkdirSync(join(root, "etc/app"), { recursive: true });
  writeFileSync(join(root, "etc/app/evil.conf"), "evil\n");
  writeFileSync(join(root, "large"), "l".repeat(2 ** 16));
  tree = await nativeMeasurer().open(root, { kind: "upper", excluded: [], budget: { maxEntries: 1000, maxBytes: 1e8, maxMillis: 60_000 } });
});
afterEach(() => {
  tree.close();
  rmSync(home, { recursive: true });
});

interface Index {
  readonly complete: boolean;
  readonly problems: string[];
  readonly changes: { readonly path: string; readonly kind: string; readonly file?: string; readonly left?: string; readonly pathHex?: string }[];
}

async function opened(): Promise<{ readonly files: Map<string, Buffer>; readonly index: Index }> {
  const [name = "", ...others] = readdirSync(join(home, "captures"));
  expect(others).toEqual([]);
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  const files = await untar(gunzipSync(await decrypter.decrypt(readFileSync(join(home, "captures", name)))));
  return { files, index: JSON.parse(files.get("capture.json")?.toString() ?? "") };
}

async function captured(
  maxBytes = 2 ** 20,
  known: { readonly place: TreePlace | undefined; readonly problem: string | undefined } = { place: { root, tree }, problem: undefined },
  looking: { readonly program: Program; readonly maxSeconds: number } = PATIENT,
): Promise<Capture> {
  await tree.measure(never);
  const captures = new CaptureFiles({
    ...{ directory: join(home, "captures"), keepHours: 1, maxBytes, maxSeconds: looking.maxSeconds, required: false, nowMs: () => Date.now() },
    ...{ seal: sealApart(AGENT, [recipient]), processes: processesApart(looking.program, "/proc") },
    filesOf: () => new DeltaFiles(() => ({ mounts: ["/mnt/data/"], ...known }), nativeContent),
  });
  return await captures.take({ intentId: ID, actionId: "A-7K2Q", containerId: CONTAINER, name: "shop/web-1/web" });
}

test("every path over the layers, by owner and mode, whatever names, links and kinds a container makes; sealed so that the node cannot read it again", async () => {
  linkSync(join(root, "etc/app/evil.conf"), join(root, "another-name"));
  symlinkSync("/proc/1/root/etc/shadow", join(root, "etc/link"));
  writeFileSync(Buffer.concat([Buffer.from(`${root}/caf`), Buffer.from([0xe9])]), "latin");
  mkdirSync(join(root, "mnt/data"), { recursive: true });
  writeFileSync(join(root, "mnt/data/volume"), "of a volume");
  spawnSync("mkfifo", [join(root, "pipe")]);
  const capture = await captured();
  expect(capture).toMatchObject({ complete: true, processes: 0, files: 5 });
  const [name = ""] = readdirSync(join(home, "captures"));
  expect(readFileSync(join(home, "captures", name), "latin1")).not.toContain("evil");
  const { files, index } = await opened();
  const by = Object.fromEntries(index.changes.map((each) => [each.path, each]));
  expect(Object.keys(by).sort()).toEqual(
    ["/another-name", "/caf\xe9", "/etc", "/etc/app", "/etc/app/evil.conf", "/etc/link", "/large", "/mnt", "/mnt/data", "/mnt/data/volume", "/pipe"].sort(),
  );
  expect(by["/caf\xe9"]).toMatchObject({ pathHex: "636166e9", kind: "changed" });
  expect([by["/pipe"]?.left, by["/etc"]?.left, by["/mnt/data/volume"]?.left]).toEqual(["special", "directory", "mounted"]);
  const content = async (path: string): Promise<Map<string, Buffer>> => await untar(files.get(by[path]?.file ?? "") ?? Buffer.alloc(0));
  expect((await content("/etc/app/evil.conf")).get("etc/app/evil.conf")?.toString()).toBe("evil\n");
  expect((await content("/another-name")).get("another-name")?.toString()).toBe("evil\n");
  // The link itself, and nothing that it leads to.
  expect((await content("/etc/link")).get("etc/link")).toHaveLength(0);
  // What is large does not keep out what is small.
  expect(index.changes.at(-1)?.path).toBe("/large");
});

test("what has no room is named, and small files are in all the same", async () => {
  expect(await captured(65_536)).toMatchObject({ complete: false, files: 1 });
  const { index } = await opened();
  expect(index.changes.find(({ path }) => path === "/large")).toMatchObject({ left: "too-large" });
});

test("whoever looks at processes may not come back: that is ended, the files are kept, and it says so", async () => {
  // As where a program lies on a file system that does not answer.
  const looking = { program: [process.execPath, "--eval", "setInterval(() => {}, 1000)", "--"], maxSeconds: 6 };
  expect(await captured(2 ** 20, undefined, looking)).toMatchObject({ complete: false, files: 2, processes: 0 });
  expect((await opened()).index.problems).toEqual(["processes: it took too long"]);
});

test("whoever seals may be killed, as for its memory: that is said, without its arguments, and nothing of it is kept", async () => {
  const seal = sealApart([process.execPath, "--eval", "process.kill(process.pid, 'SIGKILL')", "--"], [recipient]);
  await expect(seal(Buffer.from("x"))).rejects.toThrow(/^it could not be sealed: its process was ended by SIGKILL$/);
  const silent = sealApart([process.execPath, "--eval", "process.exit(7)", "--"], [recipient]);
  await expect(silent(Buffer.from("x"))).rejects.toThrow(/^it could not be sealed: its process ended with 7$/);
});

test("where what it changed is not known the processes are kept; where not all of it is, the files that are: it says why, and is not whole", async () => {
  const problem = "what it changed is not all known: over budget: max-entries";
  expect(await captured(2 ** 20, { place: { root, tree }, problem })).toMatchObject({ complete: false, files: 2 });
  expect((await opened()).index.problems).toEqual([problem]);
  rmSync(join(home, "captures"), { recursive: true });
  expect(await captured(2 ** 20, { place: undefined, problem: "it is not told apart" })).toMatchObject({ complete: false, files: 0 });
  const { files, index } = await opened();
  expect(index.problems).toEqual(["it is not told apart"]);
  expect(JSON.parse(files.get("processes.json")?.toString() ?? "")).toEqual({ processes: [], sockets: {} });
});

test("what is measured anew while its processes are looked at, as another policy wants, is captured as it is measured then", async () => {
  const before = await nativeMeasurer().open(root, { kind: "upper", excluded: [], budget: { maxEntries: 1000, maxBytes: 1e8, maxMillis: 60_000 } });
  let now = { root, tree: before };
  await tree.measure(never);
  const captures = new CaptureFiles({
    ...{ directory: join(home, "captures"), keepHours: 1, maxBytes: 2 ** 20, maxSeconds: 60, required: false, nowMs: () => Date.now() },
    seal: sealApart(AGENT, [recipient]),
    processes: async () => {
      before.close();
      now = { root, tree };
      return { files: [], listed: 0, problems: [] };
    },
    filesOf: () => new DeltaFiles(() => ({ place: now, mounts: [], problem: undefined }), nativeContent),
  });
  expect(await captures.take({ intentId: ID, actionId: "A-7K2Q", containerId: CONTAINER, name: "" })).toMatchObject({ complete: true, files: 2 });
});

test("what swaps a directory for a link after it was measured gives nothing of what the link leads to", async () => {
  await tree.measure(never);
  mkdirSync(join(home, "outside"));
  writeFileSync(join(home, "outside/evil.conf"), "of the host");
  const files = new DeltaFiles(() => ({ place: { root, tree }, mounts: [], problem: undefined }), nativeContent);
  const [change] = (await files.changes()).changes.filter(({ path }) => path === "/etc/app/evil.conf");
  rmSync(join(root, "etc/app"), { recursive: true });
  symlinkSync(join(home, "outside"), join(root, "etc/app"));
  if (!change) throw new Error("no such change");
  expect(await files.archive(change, { maxBytes: 2 ** 20 }, never)).toEqual({ left: "gone" });
});

test("a recipient that is none is said, and nothing is sealed for it", async () => {
  await expect(sealApart(AGENT, ["age1nonsense"])(Buffer.from("x"))).rejects.toThrow(/could not be sealed/);
  const config = (text: string) => () =>
    parseConfig(`stateDirectory: /s\nverifier: { address: 'v:1', enrolmentAddress: 'v:2', caFile: c }\ncapture: { recipients: [${text}] }\n`, "f");
  expect(config("age1nonsense")).toThrow(/want an age recipient/);
  expect(config(recipient)().capture).toMatchObject({ maxBytes: 16_777_216, handOut: true });
});

describe("who asks", () => {
  const clock = { nowMs: () => 0 };
  const request = (id: number, more: object = {}) =>
    create(CaptureRequestSchema, { id: Buffer.alloc(16, id), actionId: "A-7K2Q", containerId: CONTAINER, ...more });

  test("gets one capture for one id however often and at once, and what is none is not asked of anybody", async () => {
    const taken: CaptureSubject[] = [];
    const release: PromiseWithResolvers<void> = Promise.withResolvers();
    const take = async (subject: CaptureSubject): Promise<Capture> => {
      taken.push(subject);
      await release.promise;
      return { digest: "sha256:0", bytes: 1, complete: true };
    };
    const desk = new CaptureDesk({ captures: { take }, clock, nameOf: () => "n", settled: async () => undefined, log: () => undefined });
    const answers = [desk.answer(request(1)), desk.answer(request(1)), desk.answer(request(2))];
    for (const wrong of [{ id: Buffer.alloc(15) }, { actionId: "../../etc" }, { containerId: "x" }])
      expect(await desk.answer(request(3, wrong))).toMatchObject({ problem: "that names no action and container" });
    release.resolve();
    expect((await Promise.all(answers)).map(({ capture }) => capture?.digest)).toEqual(["sha256:0", "sha256:0", "sha256:0"]);
    expect(taken.map(({ intentId }) => intentId)).toEqual(["01".repeat(16), "02".repeat(16)]);
  });

  test("has no more than sixty an hour, and learns no more of a failure than is meant for people", async () => {
    const take = async (): Promise<Capture> => {
      throw new Error("ENOSPC /var/lib/hullmark");
    };
    const desk = new CaptureDesk({ captures: { take }, clock, nameOf: () => undefined, settled: async () => undefined, log: () => undefined });
    for (let i = 1; i <= 60; i++) expect((await desk.answer(request(i))).problem).toBe("it failed");
    expect((await desk.answer(request(61))).problem).toMatch(/too many/);
    const full = { take: () => Promise.reject(new CaptureError("there is no room")) };
    const other = new CaptureDesk({ captures: full, clock, nameOf: () => undefined, settled: async () => undefined, log: () => undefined });
    expect((await other.answer(request(1))).problem).toBe("there is no room");
  });
});

test.each(NODE_CAPTURE_FAILPOINTS)("killed at %s and asked again it has one capture, whole, and answers with that", async (failpoint) => {
  const run = (environment: NodeJS.ProcessEnv = {}) =>
    spawnSync(process.execPath, [new URL("../fakes/capturing-node.ts", import.meta.url).pathname, root, join(home, "captures"), recipient, CONTAINER, ID], {
      env: { ...process.env, ...environment },
      encoding: "utf8",
    });
  const kept = () => readdirSync(join(home, "captures"));
  // A place that is not passed would leave it running.
  expect(run({ HULLMARK_FAILPOINT: failpoint }).signal).toBe("SIGKILL");
  const first = kept();
  // What was half-written when it died would be found here.
  expect(first.some((name) => name.endsWith(".new"))).toBe(failpoint === "capture-sealed");
  const { stdout, stderr } = run();
  expect(stderr).toBe("");
  const answer = JSON.parse(stdout) as { capture?: { digest: string; files: number } };
  expect(answer.capture).toMatchObject({ complete: true, files: 2, digest: expect.stringMatching(/^sha256:/) });
  // The capture, and nothing of any attempt.
  expect(kept()).toEqual([expect.stringMatching(/\.2f0p\.age$/)]);
  expect(first.filter((name) => name.endsWith(".age") && !kept().includes(name))).toEqual([]);
  expect(JSON.parse(run().stdout)).toEqual(answer);
  expect((await opened()).index.complete).toBe(true);
});
