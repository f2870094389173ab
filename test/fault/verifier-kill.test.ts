import { type ChildProcess, spawn } from "node:child_process";
import { hash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Client, credentials, status } from "@grpc/grpc-js";
import { encodeRecord } from "@hullmark/proto/codec";
import { RpcChannel } from "@hullmark/proto/rpc";
import { DriftState, Query } from "@hullmark/proto/v1/query";
import { openLogKey } from "@hullmark/verifier/adapters/log-signer/index";
import { openSqliteStore } from "@hullmark/verifier/adapters/sqlite/index";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import { decodeLogEntry, TransparencyLog } from "@hullmark/verifier/core/transparency/index";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Attester } from "../fakes/attester.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { program } from "../fakes/program.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";

const MAIN = program("verifier");
const directoryRecord = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false });
const file = (content: string): Buffer =>
  encodeRecord({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(content.length), sha256: hash("sha256", content, "buffer") });

let directory: string;
let registry: FakeRegistry;
let image: PushedImage;
let child: ChildProcess | undefined;
let ports: { mainPort: number; enrolmentPort: number };

/** The verifier as a process of its own. */
async function start(): Promise<void> {
  const started = spawn(process.execPath, [MAIN, "--config", join(directory, "v.yaml")], { stdio: ["ignore", "pipe", "inherit"] });
  child = started;
  for await (const line of createInterface({ input: started.stdout })) {
    const message = JSON.parse(line) as { msg: string; mainPort: number; enrolmentPort: number };
    if (message.msg !== "ready") continue;
    ports = message;
    return;
  }
  throw new Error("the verifier did not start");
}

async function kill(signal: NodeJS.Signals): Promise<number | null> {
  const dying = child;
  child = undefined;
  if (!dying || dying.exitCode !== null) return null;
  const gone = new Promise<number | null>((resolve) => dying.once("exit", resolve));
  dying.kill(signal);
  return await gone;
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-kill-"));
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  const listen = `{ main: "127.0.0.1:0", enrolment: "127.0.0.1:0", http: "127.0.0.1:0" }`;
  writeFileSync(
    join(directory, "v.yaml"),
    `stateDirectory: ${directory}/state\nverifierId: v1\nlisten: ${listen}\nenrolment: { mode: tofu, acceptWithoutCertificate: true }\nregistries: { allowPrivate: ["127.0.0.1:*"] }\nlogging: { level: info }\n`,
  );
  await start();
});
afterEach(async () => {
  await kill("SIGKILL");
  await registry.close();
  rmSync(directory, { recursive: true });
});

function admin<T>(use: (query: ReturnType<RpcChannel["client"]> & never) => Promise<T>): Promise<T> {
  const read = (name: string): Buffer => readFileSync(join(directory, "state/admin", name));
  const channel = new RpcChannel(`localhost:${ports.mainPort}`, credentials.createSsl(read("ca.crt"), read("client.key"), read("client.crt")));
  return use(channel.client(Query) as never).finally(() => channel.close());
}

/** A watch that the verifier knows of, and whose request never comes. */
async function halfOpen(): Promise<{ readonly ended: Promise<unknown> }> {
  const read = (name: string): Buffer => readFileSync(join(directory, "state/admin", name));
  const client = new Client(`localhost:${ports.mainPort}`, credentials.createSsl(read("ca.crt"), read("client.key"), read("client.crt")));
  const as = (bytes: Buffer): Buffer => bytes;
  const call = client.makeBidiStreamRequest("/hullmark.v1.Query/WatchNodes", as, as);
  const ended = new Promise((resolve) => call.on("error", resolve).on("end", resolve).resume());
  await new Promise((resolve, reject) =>
    client.makeUnaryRequest("/hullmark.v1.Query/GetStatus", as, as, Buffer.alloc(0), (error) => (error ? reject(error) : resolve(undefined))),
  );
  return { ended: ended.finally(() => client.close()) };
}

/** Sends Evidence `from` to `to`, each with one more file than the one before; resolves with the newest acknowledged when the stream ends or all are. */
async function stream(node: Attester, spool: Map<bigint, Buffer>, upTo: bigint, onSent: () => unknown = () => {}): Promise<bigint> {
  const welcome = await node.connect();
  let acknowledged = welcome?.durableSeq ?? 0n;
  for (let seq = acknowledged + 1n; spool.has(seq); seq++) node.send({ case: "evidence", value: { body: spool.get(seq) as Buffer } });
  while (node.seq < upTo) {
    const upper = new Map([["etc", directoryRecord]]);
    for (let i = 0n; i <= node.seq; i++) upper.set(`etc/f${i}`, file(String(i)));
    node.set(container(upper));
    const body = node.evidence(node.seq === 0n ? undefined : [container(upper).id]);
    spool.set(node.seq, body);
    node.send({ case: "evidence", value: { body } });
  }
  onSent();
  try {
    while (acknowledged < upTo) acknowledged = (await node.next("acknowledgement")).seq;
  } catch {
    // The verifier is gone: what was acknowledged until then is what counts.
  }
  return acknowledged;
}

const container = (upper: ReadonlyMap<string, Buffer>) => {
  const tree = LayerTree.build([
    { path: Buffer.from("etc"), record: directoryRecord, implied: true },
    { path: Buffer.from("etc/app.conf"), record: file("port=80\n"), implied: false },
  ]);
  const init = dockerInitLayer(MergedTree.of([tree]));
  return {
    id: "c".repeat(64),
    name: "web",
    image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest },
    layers: [
      { id: "layer-0", tree },
      { id: "init", tree: init, runtimeMade: true },
    ],
    upper,
  };
};

test("killed again and again in the middle, the verifier loses nothing that it acknowledged and tells nothing twice", { timeout: 180_000 }, async () => {
  const ca = (): Buffer => readFileSync(join(directory, "state/admin/ca.crt"));
  const addresses = () => ({ mainAddress: `localhost:${ports.mainPort}`, enrolmentAddress: `localhost:${ports.enrolmentPort}`, ca: ca() });
  const node = new Attester({ ...addresses(), name: "w-1", quoter: new FakeQuoter() });
  await node.enrol();
  const spool = new Map<bigint, Buffer>();
  let acknowledged = 0n;
  const STEP = 25n;
  for (let round = 1n; round <= 4n; round++) {
    // At another moment each time: while appraising, while committing, while acknowledging.
    let killed: Promise<unknown> = Promise.resolve();
    const strike = (): void => {
      killed = new Promise((resolve) => setTimeout(resolve, Number(round - 1n) * 25)).then(() => kill("SIGKILL"));
    };
    acknowledged = await stream(node, spool, round * STEP, strike);
    await killed;
    await node.close();
    await start();
    node.options = { ...node.options, ...addresses() };
    const welcome = await node.connect();
    expect(welcome?.durableSeq).toBeGreaterThanOrEqual(acknowledged);
    await node.close();
  }
  const last = await stream(node, spool, 5n * STEP);
  expect(last).toBe(5n * STEP);
  const files = Number(5n * STEP);
  await expect
    .poll(
      () =>
        admin(
          async (query: never) => (await (query as { listDrift(request: object): Promise<{ drifts: unknown[] }> }).listDrift({ pageSize: 900 })).drifts.length,
        ),
      { timeout: 20_000 },
    )
    .toBe(files);
  await node.close();
  expect(await kill("SIGTERM")).toBe(0);

  // Read what is on disk: every drift opened exactly once in the log, which is one unbroken history.
  const opened = await openSqliteStore(join(directory, "state/verifier.db"));
  try {
    const log = await TransparencyLog.open(opened.log, openLogKey(join(directory, "state/log.key")));
    const entries = [];
    for (let at = 0; at < log.size; at += 256) entries.push(...(await opened.log.readEntries(at, 256)).map(decodeLogEntry));
    const openings = entries.filter(({ type, fields }) => type === "drift" && fields["state"] === "open").map(({ fields }) => fields["path"]);
    expect(openings.length).toBe(files);
    expect(new Set(openings).size).toBe(files);
    const rows = await opened.store.listDrifts({ states: [DriftState.OPEN], nodeId: "", container: "" }, { after: "", limit: 1000 });
    for (const row of rows) expect(entries[row.logIndex]?.fields["id"]).toBe(row.id);
    expect((await opened.store.readHead(node.credential?.nodeId ?? ""))?.seq).toBe(5n * STEP);
  } finally {
    await opened.close();
  }
});

test("SIGTERM ends the process cleanly while a node is connected and somebody watches, or is about to: each is told why", async () => {
  const node = new Attester({
    mainAddress: `localhost:${ports.mainPort}`,
    enrolmentAddress: `localhost:${ports.enrolmentPort}`,
    ca: readFileSync(join(directory, "state/admin/ca.crt")),
    name: "w-1",
    quoter: new FakeQuoter(),
  });
  await stream(node, new Map(), 2n);
  const { promise: watches, resolve: onWatching } = Promise.withResolvers<void>();
  const watched = admin(async (query) => {
    for await (const _ of (query as { watchDrift(request: object): AsyncIterable<unknown> }).watchDrift({ includeCurrent: true })) onWatching();
  }).catch((error: unknown) => error);
  await watches;
  const half = await halfOpen();
  const ended = node.ended();
  expect(await kill("SIGTERM")).toBe(0);
  const stopping = { code: "UNAVAILABLE", detail: { reason: "STOPPING" } };
  expect(await ended).toMatchObject(stopping);
  expect(await watched).toMatchObject(stopping);
  expect(await half.ended).toMatchObject({ code: status.UNAVAILABLE, details: expect.stringContaining("stopping") });
});
