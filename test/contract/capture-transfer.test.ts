/** A sealed capture from the files of a host to a person, through a verifier that keeps nothing of it; each of the three as an adversary of the others. */
import { hash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CaptureFiles } from "@hullmark/capture/capture-files";
import { type CapturePart, HandOut } from "@hullmark/capture/hand-out";
import { CaptureRefusal } from "@hullmark/proto/v1/capture";
import { TokenCaller } from "@hullmark/verifier/api/grpc/index";
import { responseService } from "@hullmark/verifier/api/grpc/response";
import { actuatorName, CaptureTransfers, type CaptureWanted } from "@hullmark/verifier/core/response/index";
import { afterEach, beforeEach, expect, test } from "vitest";

const HOST = actuatorName.ofNode("node-1");
const INTENT = "1".repeat(32);
const never = new AbortController().signal;

let home: string;
let captures: CaptureFiles;
let transfers: CaptureTransfers;
/** What waits for its time. */
let waits: Set<() => void>;
let nowMs = 0;
let told: string[] = [];

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-transfer-"));
  const filesOf = () => expect.fail("nothing is taken here");
  const options = {
    seal: async (plain: Buffer) => plain,
    keepHours: 1,
    maxBytes: 1e6,
    maxSeconds: 10,
    required: false,
    filesOf,
    processes: () => expect.fail("nothing is taken here"),
    nowMs: () => 0,
  };
  captures = new CaptureFiles({ ...options, directory: join(home, "captures") });
  waits = new Set();
  const after = (_ms: number, run: () => void): (() => void) => {
    waits.add(run);
    return () => waits.delete(run);
  };
  transfers = new CaptureTransfers({ clock: { nowMs: () => 0, after }, random: randomBytes });
  [nowMs, told] = [0, []];
});
afterEach(() => rmSync(home, { recursive: true }));

function keep(content: Buffer, name = `A-7K2Q.${INTENT}.age`): { digest: string; bytes: number; complete: boolean } {
  writeFileSync(join(home, "captures", name), content);
  return { digest: `sha256:${hash("sha256", content)}`, bytes: content.length, complete: true };
}

function handOut(upload: (part: CapturePart) => Promise<void>, allowed = true): HandOut {
  return new HandOut({ captures: allowed ? captures : undefined, upload, nowMs: () => nowMs, told: (what) => told.push(what) });
}

/** The host listens, and answers as it does, or as `alter` makes it. */
function listening({ allowed = true, alter = (part: CapturePart) => part } = {}): HandOut {
  const host = handOut((part) => transfers.take(HOST, alter(part)), allowed);
  transfers.listen(HOST, (wanted) => void host.answer(wanted).catch(() => undefined));
  return host;
}

async function fetched(capture: Parameters<CaptureTransfers["fetch"]>[2], action = "A-7K2Q"): Promise<Buffer | string> {
  const parts: Buffer[] = [];
  try {
    for await (const part of transfers.fetch(HOST, action, capture, never)) parts.push(part);
    return Buffer.concat(parts);
  } catch (error) {
    return (error as { code: string }).code;
  }
}

test("every byte of it, in parts, whatever lies beside it; again for the next", async () => {
  const content = randomBytes(1_000_003);
  keep(randomBytes(10), `A-7K2Q.${"2".repeat(32)}.partial.age`);
  keep(randomBytes(10), "A-7K2.age");
  const capture = keep(content);
  listening();
  for (let i = 0; i < 2; i++) expect(content.equals((await fetched(capture)) as Buffer)).toBe(true);
  expect(told).toEqual(["capture handed out", "capture handed out"]);
  expect(waits.size).toBe(0);
});

test("nothing else of the host: not by another action, digest or a link", async () => {
  const capture = keep(randomBytes(100));
  writeFileSync(join(home, "secret"), "secret");
  symlinkSync("../secret", join(home, "captures", `A-0000.${INTENT}.age`));
  mkdirSync(join(home, "captures", `A-9999.${INTENT}.age`));
  listening();
  expect(await fetched(capture, "A-8888")).toBe("NOT_KEPT");
  expect(await fetched(capture, "../captures/A-7K2Q")).toBe("NOT_KEPT");
  expect(await fetched({ ...capture, digest: `sha256:${"0".repeat(64)}` })).toBe("NOT_KEPT");
  expect(await fetched({ ...capture, digest: `sha256:${hash("sha256", "secret")}` }, "A-0000")).toBe("NOT_KEPT");
  expect(await fetched(capture, "A-9999")).toBe("NOT_KEPT");
});

test("nothing where the host's configuration says so, nobody listens, or too many were asked for in an hour", async () => {
  const capture = keep(randomBytes(100));
  expect(await fetched(capture)).toBe("NOT_LISTENING");
  listening({ allowed: false });
  expect(await fetched(capture)).toBe("NOT_HANDED_OUT");
  listening();
  for (let i = 0; i < 60; i++) expect(await fetched(capture)).toBeInstanceOf(Buffer);
  expect(await fetched(capture)).toBe("TOO_MANY");
  nowMs = 3_600_000;
  expect(await fetched(capture)).toBeInstanceOf(Buffer);
});

test.each<[string, (part: CapturePart) => CapturePart, string]>([
  ["altered bytes", (part) => ({ ...part, bytes: Buffer.alloc(part.bytes.length) }), "CHANGED"],
  ["a part left out", (part) => ({ ...part, offset: part.offset + 1 }), "CHANGED"],
  ["an end too early", (part) => ({ ...part, last: true }), "CHANGED"],
  ["more than there is", (part) => ({ ...part, bytes: Buffer.concat([part.bytes, Buffer.alloc(1)]) }), "CHANGED"],
  ["a part larger than any", (part) => ({ ...part, bytes: Buffer.alloc(262_145) }), "CHANGED"],
  ["empty parts without end", (part) => ({ ...part, bytes: Buffer.alloc(0), last: false }), "CHANGED"],
  ["a refusal of no kind", (part) => ({ ...part, refusal: 99 as CaptureRefusal }), "SILENT"],
])("a host that sends %s completes nothing", async (_what, alter, code) => {
  const capture = keep(randomBytes(300_000));
  listening({ alter });
  expect(await fetched(capture)).toBe(code);
});

test("another actuator takes part in no transfer, and no part is taken twice, or after the end", async () => {
  const capture = keep(Buffer.from("sealed"));
  const asked = Promise.withResolvers<CaptureWanted>();
  transfers.listen(HOST, asked.resolve);
  const whole = fetched(capture);
  const part = { requestId: (await asked.promise).requestId, offset: 0, bytes: Buffer.from("sealed"), last: true, refusal: CaptureRefusal.UNSPECIFIED };
  await expect(transfers.take(actuatorName.ofNode("node-2"), part)).rejects.toMatchObject({ code: "NO_TRANSFER" });
  await expect(transfers.take(HOST, { ...part, requestId: randomBytes(16) })).rejects.toMatchObject({ code: "NO_TRANSFER" });
  const first = transfers.take(HOST, part);
  await expect(transfers.take(HOST, part)).rejects.toMatchObject({ code: "NO_TRANSFER" });
  await first;
  expect(await whole).toEqual(Buffer.from("sealed"));
  await expect(transfers.take(HOST, part)).rejects.toMatchObject({ code: "NO_TRANSFER" });
});

test("one that falls silent is waited for no longer than a minute; who goes lets the host go", async () => {
  const capture = keep(randomBytes(600_000));
  transfers.listen(HOST, () => undefined);
  const silent = fetched(capture);
  await expect.poll(() => waits.size).toBe(1);
  for (const run of [...waits]) run();
  expect(await silent).toBe("SILENT");
  let ended: Promise<void> | undefined;
  const host = handOut((part) => transfers.take(HOST, part));
  transfers.listen(HOST, (wanted) => {
    ended = host.answer(wanted);
    ended.catch(() => undefined);
  });
  for await (const part of transfers.fetch(HOST, "A-7K2Q", capture, never)) {
    expect(part.length).toBeGreaterThan(0);
    break;
  }
  await expect(ended).rejects.toMatchObject({ code: "NO_TRANSFER" });
});

test("who gives up while a part is on its way to them disturbs nothing else of the verifier", async () => {
  const capture = keep(randomBytes(600_000));
  listening();
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => void unhandled.push(reason);
  process.on("unhandledRejection", note);
  const person = new AbortController();
  try {
    for await (const part of transfers.fetch(HOST, "A-7K2Q", capture, person.signal)) {
      expect(part.length).toBeGreaterThan(0);
      person.abort(new Error("cancelled by the peer"));
      break;
    }
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.off("unhandledRejection", note);
  }
  expect(unhandled).toEqual([]);
  await expect.poll(() => fetched(capture)).toBeInstanceOf(Buffer);
});

test("who takes nothing of what came keeps its host no longer than a minute", async () => {
  const capture = keep(randomBytes(600_000));
  listening();
  const first = transfers.fetch(HOST, "A-7K2Q", capture, never);
  expect((await first.next()).done).toBe(false);
  for (const run of [...waits]) run();
  await expect.poll(() => fetched(capture)).toBeInstanceOf(Buffer);
  await expect(first.next()).rejects.toMatchObject({ code: "TOO_SLOW" });
  expect(waits.size).toBe(0);
});

test("a person who is revoked, or whose token ends, gets no part more", async () => {
  const capture = keep(randomBytes(600_000));
  listening();
  const may = { revoked: false, nowMs: 0 };
  const service = responseService({
    ...{ captures: transfers, note: async () => undefined, nowMs: () => may.nowMs, personMay: () => !may.revoked, subjectOf: (name: string) => name },
    store: { readAction: async () => ({ id: "A-7K2Q", nodeId: "node-1", capture, workload: "", containerName: "" }) },
  } as never);
  for (const [end, reason] of [
    [{ revoked: true }, "REVOKED"],
    [{ nowMs: 10 }, "TOKEN_EXPIRED"],
  ] as const) {
    Object.assign(may, { revoked: false, nowMs: 0 });
    const grants = { cluster: "responder" as const, namespaces: new Map() };
    const caller = new TokenCaller({ name: "ada", credential: "corp:ada", grants, notAfterMs: 10 });
    const path = "/hullmark.v1.Response/FetchCapture";
    const context = { requestId: "", path, signal: never, peerCertificate: undefined, peer: "", end: undefined, caller };
    const parts = service.fetchCapture({ actionId: "A-7K2Q", reason: "INC-7" } as never, context)[Symbol.asyncIterator]();
    expect(await parts.next()).toMatchObject({ done: false });
    Object.assign(may, end);
    await expect(parts.next()).rejects.toMatchObject({ code: "UNAUTHENTICATED", detail: { reason } });
    await expect.poll(() => fetched(capture)).toBeInstanceOf(Buffer);
  }
});
