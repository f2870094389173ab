/** What is kept of a container before it is acted on: whatever it is made like, within the limits, readable by the responders alone. */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { EngineFiles } from "@hullmark/actuator/adapters/engine-files/engine-files";
import { MAX_ATTEMPTS } from "@hullmark/capture/capture";
import { CaptureFiles, type CaptureOptions } from "@hullmark/capture/capture-files";
import { expireCaptures } from "@hullmark/capture/expiry";
import { gatherProcesses } from "@hullmark/capture/processes";
import { sealTo } from "@hullmark/capture/seal";
import { Decrypter, generateX25519Identity, identityToRecipient } from "age-encryption";
import { pack } from "tar-stream";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { untar } from "../fakes/untar.ts";

const ID = "c".repeat(64);
const SUBJECT = { intentId: "1".repeat(32), actionId: "A-7K2Q", containerId: ID, name: "web" };
const DIRECTORY_STAT = stat(2 ** 31 + 0o755);
let identity: string;
let recipient: string;
let home: string;
let engine: Server;
let answer: RequestListener;
/** Where something is mounted in the container; undefined: `answer` is asked. */
let mounts: readonly string[] | undefined;

beforeAll(async () => {
  identity = await generateX25519Identity();
  recipient = await identityToRecipient(identity);
});
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-capture-"));
  mkdirSync(join(home, "proc"));
  answer = (_request, response) => void response.end("[]");
  mounts = [];
  engine = createServer((request, response) => {
    if (mounts && request.url === `/containers/${ID}/json`) response.end(JSON.stringify({ Mounts: mounts.map((Destination) => ({ Destination })) }));
    else answer(request, response);
  });
  await new Promise<void>((resolve) => engine.listen(join(home, "engine.sock"), resolve));
});
afterEach(async () => {
  engine.closeAllConnections();
  await new Promise((resolve) => engine.close(resolve));
  rmSync(home, { recursive: true });
});

function captures(more: Partial<CaptureOptions> = {}): CaptureFiles {
  return new CaptureFiles({
    ...{ directory: join(home, "captures"), seal: sealTo([recipient]), keepHours: 24, maxBytes: 2 ** 20, maxSeconds: 60, required: false },
    ...{
      filesOf: (id: string) => new EngineFiles(join(home, "engine.sock"), id),
      processes: async (id, maxBytes) => gatherProcesses(join(home, "proc"), id, maxBytes),
      nowMs: () => Date.now(),
    },
    ...more,
  });
}

const expire = (): void => expireCaptures({ directory: join(home, "captures"), keepHours: 24, nowMs: () => Date.now() });

function stat(mode: number): string {
  return Buffer.from(JSON.stringify({ name: "x", size: 1, mode, mtime: "2026-01-01T00:00:00Z", linkTarget: "" })).toString("base64");
}

/** Plays an engine on whose container these paths changed. */
function changed(paths: Readonly<Record<string, { readonly kind: number; readonly content?: string; readonly directory?: boolean }>>): RequestListener {
  return (request, response) => {
    const url = new URL(request.url ?? "", "http://engine");
    if (url.pathname.endsWith("/changes")) return void response.end(JSON.stringify(Object.entries(paths).map(([Path, { kind }]) => ({ Path, Kind: kind }))));
    const path = url.searchParams.get("path") ?? "";
    const { content, directory } = paths[path] ?? {};
    if (content === undefined && !directory) return void response.writeHead(404).end();
    response.setHeader("x-docker-container-path-stat", directory ? DIRECTORY_STAT : stat(0o644));
    const tar = pack();
    tar.entry({ name: path.slice(1) }, content ?? "");
    tar.finalize();
    tar.pipe(response);
  };
}

function running(pid: number, { exe = "/bin/web", container = ID, environment = "" }: { exe?: string; container?: string; environment?: string } = {}): void {
  const directory = join(home, "proc", String(pid));
  mkdirSync(join(directory, "fd"), { recursive: true });
  for (const [name, text] of Object.entries({
    cgroup: `0::/docker/${container}\n`,
    cmdline: "web\0-p\0",
    environ: environment,
    status: "Name:\tweb\n",
    maps: "",
  }))
    writeFileSync(join(directory, name), text);
  symlinkSync(exe, join(directory, "exe"));
  symlinkSync("socket:[7]", join(directory, "fd", "3"));
}

const kept = (): string[] => readdirSync(join(home, "captures")).sort();

async function opened(): Promise<{ files: Map<string, Buffer>; index: { complete: boolean; problems: string[]; changes: Record<string, string>[] } }> {
  const [name = ""] = kept();
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  const files = await untar(gunzipSync(await decrypter.decrypt(readFileSync(join(home, "captures", name)))));
  return { files, index: JSON.parse(files.get("capture.json")?.toString() ?? "") };
}

test("changed files and processes are kept, by names of ours, and the host cannot read them again", async () => {
  answer = changed({
    "/etc": { kind: 0, directory: true },
    "/etc/nginx.conf": { kind: 0, content: "evil" },
    "/etc/gone": { kind: 2 },
    "/new": { kind: 1, directory: true, content: "all of it" },
    "/new/../../escape": { kind: 1, content: "within" },
    "/news": { kind: 1, content: "another" },
  });
  running(41, { environment: "TOKEN=secret-of-the-container\0" });
  running(42, { container: "d".repeat(64) });
  const capture = await captures().take(SUBJECT);
  const [name = ""] = kept();
  expect(name).toBe(`A-7K2Q.${SUBJECT.intentId}.3f1p.age`);
  const path = join(home, "captures", name);
  expect([statSync(path).mode & 0o777, statSync(join(home, "captures")).mode & 0o777]).toEqual([0o600, 0o700]);
  expect(readFileSync(path, "latin1")).not.toMatch(/secret-of-the-container|nginx/);
  const { files, index } = await opened();
  expect(index).toMatchObject({ format: "hullmark-capture-v1", action: "A-7K2Q", container: ID, complete: true, problems: [] });
  expect(index.changes).toEqual([
    { path: "/etc", kind: "modified", left: "directory" },
    { path: "/etc/nginx.conf", kind: "modified", file: "files/00001.tar" },
    { path: "/etc/gone", kind: "deleted", left: "deleted" },
    { path: "/new", kind: "added", file: "files/00003.tar" },
    { path: "/new/../../escape", kind: "added", left: "in the archive of its directory" },
    { path: "/news", kind: "added", file: "files/00005.tar" },
  ]);
  expect((await untar(files.get("files/00001.tar") ?? Buffer.alloc(0))).get("etc/nginx.conf")?.toString()).toBe("evil");
  expect([...files.keys()].sort()).toEqual(["capture.json", "files/00001.tar", "files/00003.tar", "files/00005.tar", "processes.json"]);
  const { processes } = JSON.parse(files.get("processes.json")?.toString() ?? "");
  expect(processes).toEqual([
    expect.objectContaining({
      pid: 41,
      exe: "/bin/web",
      arguments: ["web", "-p"],
      environment: ["TOKEN=secret-of-the-container"],
      descriptors: { 3: "socket:[7]" },
    }),
  ]);
  expect(capture).toMatchObject({ complete: true, files: 3, processes: 1, bytes: statSync(path).size, digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) });
  answer = (_request, response) => void response.writeHead(500).end();
  expect([captures().first(SUBJECT.actionId), captures().first("A-7K2Z")]).toEqual([capture, undefined]);
  // Asked again after a crash: what was taken stays.
  expect(await captures().take(SUBJECT)).toEqual(capture);
});

test("what is mounted into the container is not its own: neither a mount, nor what holds one, is archived whole", async () => {
  mounts = ["/data/", "/opt/app/data", "/etc/app.conf"];
  const asked: string[] = [];
  const files = changed({
    "/data": { kind: 1, directory: true, content: "a volume" },
    "/database": { kind: 1, content: "its own" },
    "/etc/app.conf": { kind: 1, content: "of the host" },
    "/opt": { kind: 1, directory: true, content: "with a volume" },
    "/opt/app": { kind: 1, directory: true, content: "with a volume" },
    "/opt/app/data": { kind: 1, directory: true, content: "a volume" },
    "/opt/app/log": { kind: 1, directory: true, content: "its own" },
    "/opt/app/log/1": { kind: 1, content: "its own" },
  });
  answer = (request, response) => {
    asked.push(new URL(request.url ?? "", "http://engine").searchParams.get("path") ?? "");
    files(request, response);
  };
  expect(await captures().take(SUBJECT)).toMatchObject({ complete: true });
  expect((await opened()).index.changes).toEqual([
    { path: "/data", kind: "added", left: "mounted" },
    { path: "/database", kind: "added", file: "files/00001.tar" },
    { path: "/etc/app.conf", kind: "added", left: "mounted" },
    { path: "/opt", kind: "added", left: "directory" },
    { path: "/opt/app", kind: "added", left: "directory" },
    { path: "/opt/app/data", kind: "added", left: "mounted" },
    { path: "/opt/app/log", kind: "added", file: "files/00006.tar" },
    { path: "/opt/app/log/1", kind: "added", left: "in the archive of its directory" },
  ]);
  expect(asked).not.toContain("/data");
});

test("what the engine fails at, or ends in the middle of, keeps nothing else out", async () => {
  const files = changed({ "/0": { kind: 1, content: "?" }, "/1": { kind: 1, content: "?" }, "/loot": { kind: 1, content: "stolen" } });
  answer = (request, response) => {
    const path = new URL(request.url ?? "", "http://engine").searchParams.get("path");
    if (path === "/0") return void response.writeHead(500).end();
    if (path !== "/1") return files(request, response);
    response.writeHead(200, { "x-docker-container-path-stat": stat(0o644) });
    response.write("half", () => response.destroy());
  };
  expect(await captures().take(SUBJECT)).toMatchObject({ complete: false, files: 1 });
  expect((await opened()).index).toMatchObject({
    problems: [],
    changes: [
      { path: "/0", kind: "added", left: "unreadable" },
      { path: "/1", kind: "added", left: "unreadable" },
      { path: "/loot", kind: "added", file: "files/00002.tar" },
    ],
  });
});

test("where the engine does not say what is mounted, no file is asked for", async () => {
  mounts = undefined;
  const asked: (string | undefined)[] = [];
  answer = (request, response) => {
    asked.push(request.url);
    response.end("[]");
  };
  expect(await captures().take(SUBJECT)).toMatchObject({ complete: false });
  expect((await opened()).index.problems).toEqual(["the engine's description of the container is not one"]);
  expect(asked).toEqual([`/containers/${ID}/json`]);
});

test("of a process or a socket table that is larger than what is kept the beginning is, and it says so", async () => {
  running(41, { environment: `A=${"a".repeat(2 ** 18)}\0B=1\0` });
  running(42);
  for (let fd = 4; fd <= 1100; fd++) symlinkSync("/loot", join(home, "proc/42/fd", String(fd)));
  mkdirSync(join(home, "proc/41/net"));
  writeFileSync(join(home, "proc/41/net/tcp"), "0: 0100007F:1F90\n".repeat(2 ** 15));
  writeFileSync(join(home, "proc/41/net/udp"), "u".repeat(2 ** 18));
  expect(await captures({ maxBytes: 2 ** 24 }).take(SUBJECT)).toMatchObject({ complete: false });
  const { files, index } = await opened();
  expect(index.problems).toEqual(["only the beginning is kept of 41/environ, 42/fd, net/tcp"]);
  const { processes, sockets } = JSON.parse(files.get("processes.json")?.toString() ?? "");
  expect(processes.map(({ cut }: { cut: string[] }) => cut)).toEqual([["environ"], ["fd"]]);
  expect([Object.keys(processes[1].descriptors).length, sockets.tcp.length, sockets.udp.length]).toEqual([1024, 2 ** 18, 2 ** 18]);
});

test.each([2 ** 16, 2 ** 20])(
  "whatever processes there are, a quarter of %i bytes holds them: something of the first ones is kept, and it says so",
  async (maxBytes) => {
    // Six bytes in JSON for each of theirs.
    for (let pid = 100; pid < 160; pid++) running(pid, { environment: "\x01".repeat(2 ** 18) });
    mkdirSync(join(home, "proc/100/net"));
    writeFileSync(join(home, "proc/100/net/unix"), "\x01".repeat(2 ** 18));
    answer = changed({ "/loot": { kind: 1, content: "stolen" } });
    expect(await captures({ maxBytes }).take(SUBJECT)).toMatchObject({ complete: false });
    const { files, index } = await opened();
    expect(files.get("processes.json")?.length).toBeLessThanOrEqual(maxBytes / 4);
    expect(index.problems).toContain("there are more processes, or tables of sockets, than are listed");
    const { processes } = JSON.parse(files.get("processes.json")?.toString() ?? "");
    expect(processes[0]).toMatchObject({ pid: 100, arguments: ["web", "-p"], descriptors: { 3: "socket:[7]" } });
    // There is room for what it wrote.
    expect(index.changes).toEqual([{ path: "/loot", kind: "added", file: "files/00000.tar" }]);
  },
);

test("a program whose file is gone is kept from memory", async () => {
  writeFileSync(join(home, "memfd:x (deleted)"), "program");
  running(41, { exe: join(home, "memfd:x (deleted)") });
  await captures().take(SUBJECT);
  expect((await opened()).files.get("programs/41")?.toString()).toBe("program");
});

test.each<[string, RequestListener, Partial<CaptureOptions>, RegExp]>([
  ["more content than there is room for", changed({ "/a": { kind: 1, content: "a".repeat(2 ** 17) } }), { maxBytes: 65_536 }, /too-large/],
  ["a file that is gone by then", changed({ "/a": { kind: 1 } }), {}, /"gone"/],
  ["an engine that refuses", (_request, response) => void response.writeHead(500).end(), {}, /status 500/],
  ["an engine that ends in the middle", (_request, response) => response.write("[{", () => response.destroy()), {}, /aborted|hang up|ECONNRESET/],
  ["an engine that never answers", () => undefined, { maxSeconds: 1 }, /longer than 1 s/],
  ["an endless list of what are no changes", (_request, response) => flood(response), {}, /list of changes is not one/],
  ["what is no list", (_request, response) => void response.end('{"Path":"/a"}'), {}, /is not one/],
])("%s: the rest is kept, and it says what is missing", async (_name, engineAnswer, more, missing) => {
  answer = engineAnswer;
  running(41);
  const capture = await captures(more).take(SUBJECT);
  expect(capture.complete).toBe(false);
  expect(kept()).toEqual([expect.stringMatching(`^A-7K2Q.${SUBJECT.intentId}.0f1p.partial.age$`)]);
  const { files, index } = await opened();
  expect(index.complete).toBe(false);
  expect(JSON.stringify(index)).toMatch(missing);
  expect(JSON.parse(files.get("processes.json")?.toString() ?? "").processes).toHaveLength(1);
  expect(await captures(more).take(SUBJECT)).toEqual(capture);
});

function flood(response: Parameters<RequestListener>[1]): void {
  const chunk = Buffer.from(`[${'{"Path":"/a","Kind":7},'.repeat(40_000)}`);
  const more = (): void => {
    if (!response.destroyed) response.write(chunk, more);
  };
  more();
}

test("of a list of changes that is longer than is read, whatever names it has, the beginning counts: those files are kept, and it says that there are more", async () => {
  const filler = Array.from({ length: 4500 }, (_, n) => [`/},{"Path":"]\\\\"${n}${"x".repeat(4000)}`, { kind: 2 }] as const);
  answer = changed({ "/loot": { kind: 1, content: "stolen" }, ...Object.fromEntries(filler), "/more": { kind: 1, content: "beyond" } });
  expect(await captures().take(SUBJECT)).toMatchObject({ complete: false, files: 1 });
  const { files, index } = await opened();
  expect((await untar(files.get("files/00000.tar") ?? Buffer.alloc(0))).get("loot")?.toString()).toBe("stolen");
  expect(index.problems).toEqual(["only the beginning of the engine's list of changes is kept: it has more than 16777216 bytes"]);
  const listed = filler.slice(0, index.changes.length - 1);
  expect(index.changes).toEqual([
    { path: "/loot", kind: "added", file: "files/00000.tar" },
    ...listed.map(([path]) => ({ path, kind: "deleted", left: "deleted" })),
  ]);
  // As many as are in those bytes, but for the one that is cut.
  expect(JSON.stringify(listed).length).toBeGreaterThan(2 ** 24 - 2 * 65_536);
});

test("whoever is killed by looking stops looking, and there is an end to the room; nothing is removed before its time", async () => {
  mkdirSync(join(home, "captures"), { recursive: true });
  const attempts = join(home, "captures", `${SUBJECT.intentId}.attempts`);
  writeFileSync(attempts, ".".repeat(MAX_ATTEMPTS));
  await expect(captures().take(SUBJECT)).rejects.toThrow("it was tried");
  rmSync(attempts);
  const old = join(home, "captures", `A-0000.${"2".repeat(32)}.age`);
  writeFileSync(old, Buffer.alloc(16 * 65_536));
  const subject = captures({ maxBytes: 65_536 });
  await expect(subject.take(SUBJECT)).rejects.toThrow("no room");
  expire();
  expect(kept()).toHaveLength(1);
  const longAgo = new Date(Date.now() - 25 * 3_600_000);
  utimesSync(old, longAgo, longAgo);
  expire();
  expect(kept()).toEqual([]);
  expect(await subject.take(SUBJECT)).toMatchObject({ complete: true });
});

test.each<[string, Partial<CaptureOptions>]>([
  ["it could not be sealed", { seal: () => Promise.reject(new Error("it could not be sealed: its process was ended by SIGKILL")) }],
  // The file system is full: what of it was written is no capture.
  [
    "ENOSPC",
    {
      passing: (point) => {
        if (point === "capture-sealed") throw new Error("ENOSPC: no space left on device");
      },
    },
  ],
])("what fails (%s) leaves nothing half-written, says why, and may be tried again however often", async (why, more) => {
  for (let i = 0; i <= MAX_ATTEMPTS; i++) {
    await expect(captures(more).take(SUBJECT)).rejects.toThrow(why);
    expect(kept()).toEqual([]);
  }
  expect(await captures().take(SUBJECT)).toMatchObject({ complete: true });
  expect(kept()).toHaveLength(1);
});

test("what a process that was killed left half-written is gone with the next look, and that it was tried is forgotten an hour later", () => {
  expect(expire, "no directory holds nothing").not.toThrow();
  captures();
  const [halfWritten, attempts] = [`${"2".repeat(32)}.new`, `${"3".repeat(32)}.attempts`];
  for (const name of [halfWritten, attempts]) writeFileSync(join(home, "captures", name), ".");
  expire();
  expect(kept()).toEqual([attempts]);
  const hourAgo = new Date(Date.now() - 3_601_000);
  utimesSync(join(home, "captures", attempts), hourAgo, hourAgo);
  expire();
  expect(kept()).toEqual([]);
});

test("what others keep beside captures stays, and a capture that someone removes meanwhile is none", async () => {
  const subject = captures();
  const ours = [`A-0000.${"2".repeat(32)}.partial.age`, `${"2".repeat(32)}.attempts`, `${"3".repeat(32)}.new`];
  const theirs = ["A-0000.age", "notes"];
  const at = (name: string): string => join(home, "captures", name);
  const longAgo = new Date(Date.now() - 25 * 3_600_000);
  // Of a file system of its own, an hour or a year old.
  mkdirSync(at("lost+found"));
  for (const name of [...ours, ...theirs]) writeFileSync(at(name), "");
  for (const name of [...ours, ...theirs, "lost+found"]) utimesSync(at(name), longAgo, longAgo);
  // Listed, and not there when it is looked at.
  const gone = `A-0001.${"4".repeat(32)}.age`;
  symlinkSync("nowhere", at(gone));
  expire();
  expect(kept()).toEqual([...theirs, gone, "lost+found"].sort());
  // What cannot be removed is told, and keeps nothing else.
  const stuck = `A-0000.${"5".repeat(32)}.age`;
  mkdirSync(at(stuck));
  for (const name of ours) writeFileSync(at(name), "");
  for (const name of [...ours, stuck]) utimesSync(at(name), longAgo, longAgo);
  expect(() => expire()).toThrow();
  expect(kept()).toEqual([...theirs, gone, stuck, "lost+found"].sort());
  expect(await subject.take(SUBJECT)).toMatchObject({ complete: true });
});

test("a key that is none is refused at the start", () => {
  expect(() => sealTo(["age1nonsense"])).toThrow();
});
