/** The actuator alone against a real engine: killed at every place where it can be, it neither loses nor repeats what it was told. The test plays the verifier. */
import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync, randomBytes, sign, X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { ProcessSnapshot } from "@hullmark/actuator/adapters/capture/processes";
import { ACTUATOR_FAILPOINTS } from "@hullmark/actuator/core/carry-out";
import { ISOLATION_FAILPOINTS } from "@hullmark/actuator/core/isolation";
import { intentMessage } from "@hullmark/proto/codec";
import { addService } from "@hullmark/proto/rpc";
import { ActionKind, Actuation, IntentSchema, Outcome, type ReportOutcomeRequest } from "@hullmark/proto/v1/response";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { Decrypter, generateX25519Identity, identityToRecipient } from "age-encryption";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { freePort } from "../../deploy/testbed/http-service.ts";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { program, REPOSITORY, STATE_ROOT } from "../../deploy/testbed/paths.ts";
import { run } from "../../deploy/testbed/run.ts";
import { engineOf, eventually } from "./fault-support.ts";
import { digestOf } from "./images/push.ts";

const NODE = "00112233445566aa";
const SETTLE_MS = 90_000;
const keys = generateKeyPairSync("ed25519");

let bed: Testbed;
let home: string;
let server: Server;
let port: number;
let actuator: ChildProcess | undefined;
/** The responders' key, which the actuator does not have. */
let identity: string;
let recipient: string;
/** What the verifier hands out to whoever pulls, and what it was told. */
const offered: { body: Uint8Array; signatures: Uint8Array[] }[] = [];
const reports: ReportOutcomeRequest[] = [];

const docker = (...args: string[]): Promise<string> => run([program("docker"), "--host", engineOf(bed).dockerHost, ...args]).then((out) => out.trim());

beforeAll(async () => {
  bed = await startTestbed({ name: "e2e-actuator", parts: { engine: true } });
  home = mkdtempSync(join(tmpdir(), "hullmark-actuator-e2e-"));
  const host = engineOf(bed).dockerHost;
  for (const [name, edition] of Object.entries({ box: "present", earlier: "verified" })) {
    const imported = `tar -C "$1" -c busybox | ${program("docker")} --host ${host} import --change "ENV EDITION=${edition}" - ${name}`;
    await run(["/bin/sh", "-c", imported, "sh", join(STATE_ROOT, "cache")]);
  }
  identity = await generateX25519Identity();
  recipient = await identityToRecipient(identity);
  const ca = await X509Ca.open({ stateDir: join(home, "ca"), region: "eu-1", clock: { nowMs: () => Date.now() } });
  const certified = async (issue: (spki: Buffer) => Promise<{ chain: readonly Buffer[] }>) => {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const { chain } = await issue(publicKey.export({ type: "spki", format: "der" }));
    return { key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(), pem: chain.map((der) => new X509Certificate(der).toString()).join("") };
  };
  const own = await certified((spki) => ca.issueServer(["localhost"], spki, 3_600_000));
  server = new Server();
  addService(
    server,
    Actuation,
    {
      async *pullIntents(_request, { signal }) {
        for (const intent of [...offered]) yield { intent };
        await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
      },
      async reportOutcome(request) {
        reports.push(request);
        return {};
      },
    },
    () => {},
    () => {},
  );
  const secure = ServerCredentials.createSsl(Buffer.from(ca.rootPem), [{ cert_chain: Buffer.from(own.pem), private_key: Buffer.from(own.key) }], true);
  port = await new Promise((resolve, reject) => server.bindAsync("127.0.0.1:0", secure, (error, bound) => (error ? reject(error) : resolve(bound))));
  const { key, pem } = await certified((spki) => ca.issueActuator(NODE, spki, 3_600_000));
  mkdirSync(join(home, "credentials"));
  const files = { "client.key": key, "client.crt": pem, "ca.crt": ca.rootPem, "intent.pub": keys.publicKey.export({ type: "spki", format: "pem" }).toString() };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(home, "credentials", name), content, { mode: 0o600 });
});

afterEach(() => ended("SIGKILL"));

afterAll(async () => {
  server?.forceShutdown();
  await bed?.down();
  if (home) rmSync(home, { recursive: true });
});

/** Starts the actuator on the state of `name`. @param failpoint where it kills itself; undefined: nowhere */
function start(name: string, failpoint?: string): ChildProcess {
  const config = join(home, `${name}.yaml`);
  writeFileSync(
    config,
    stringify({
      ...{ stateDirectory: join(home, name), credentialDirectory: join(home, "credentials"), verifier: { address: `localhost:${port}` } },
      ...{
        docker: { socket: engineOf(bed).socketPath },
        limits: { hourlyPercent: 100, pauseSeconds: 1 },
        capture: { recipients: [recipient], maxSeconds: 120 },
      },
    }),
  );
  const environment = { ...process.env, ...bed.env, ...(failpoint !== undefined && { HULLMARK_FAILPOINT: failpoint }) };
  actuator = spawn(process.execPath, [join(REPOSITORY, "actuator/main.ts"), "--config", config], { stdio: ["ignore", "ignore", "inherit"], env: environment });
  return actuator;
}

/** How it ended: by itself, or by this signal. */
async function ended(signal?: NodeJS.Signals): Promise<string | null> {
  const child = actuator;
  if (!child) return null;
  actuator = undefined;
  if (child.exitCode === null && child.signalCode === null) {
    const gone = new Promise((resolve) => child.once("exit", resolve));
    if (signal) child.kill(signal);
    await gone;
  }
  return child.signalCode;
}

async function offer(containerId: string, kind: ActionKind, more: MessageInitShape<typeof IntentSchema> = {}): Promise<Buffer> {
  const id = randomBytes(16);
  const configDigest = await docker("inspect", "-f", "{{.Image}}", containerId);
  const times = { issuedAt: timestampFromMs(Date.now()), expiresAt: timestampFromMs(Date.now() + 300_000) };
  const target = {
    id,
    actionId: "A-7K2Q",
    verifierId: "v1",
    region: "eu-1",
    nodeId: NODE,
    containerId,
    configDigest,
    kind,
    driftId: "D-7K2Q",
    ...times,
    ...more,
  };
  const body = toBinary(IntentSchema, create(IntentSchema, target));
  offered.splice(0, offered.length, { body, signatures: [sign(null, intentMessage(body), keys.privateKey)] });
  return id;
}

async function toldDone(id: Buffer): Promise<void> {
  await eventually(
    "it is told",
    async () => told(id).at(-1)?.outcome,
    (outcome) => outcome === Outcome.DONE,
    SETTLE_MS,
  );
}

const told = (id: Buffer) => reports.filter(({ intentId }) => id.equals(intentId));

/** With all that is between the first thing that is made and the last. */
const ROLLED_BACK = ACTUATOR_FAILPOINTS.slice(ACTUATOR_FAILPOINTS.indexOf("made"), ACTUATOR_FAILPOINTS.indexOf("settled"));

test.each([
  ...ACTUATOR_FAILPOINTS.map((failpoint) => ({ kind: "recreate" as const, failpoint })),
  ...ROLLED_BACK.map((failpoint) => ({ kind: "rollback" as const, failpoint })),
])("a $kind, killed at $failpoint, started again: one container takes the place of one", async ({ kind, failpoint }) => {
  const name = `${kind}-${failpoint}`;
  // SIGKILL as stop signal: a shell as first process would sit out its ten seconds.
  const old = await docker("run", "-d", "--name", name, "--restart", "unless-stopped", "--stop-signal", "SIGKILL", "box", "/busybox", "sleep", "3600");
  const present = await docker("inspect", "-f", "{{.Id}}", "box");
  const earlier = await docker("inspect", "-f", "{{.Id}}", "earlier");
  const back = { targetConfigDigest: earlier, targetReference: `registry.example/box@${earlier}` };
  const id = kind === "rollback" ? await offer(old, ActionKind.ROLLBACK, back) : await offer(old, ActionKind.RECREATE);
  start(name, failpoint);
  // A place that is not passed would leave it running.
  expect(await ended()).toBe("SIGKILL");
  start(name);
  await toldDone(id);
  await ended("SIGTERM");
  const ids = (await docker("ps", "-a", "--no-trunc", "-q", "--filter", `name=^${name}`)).split("\n");
  const found = JSON.parse(await docker("inspect", ...ids)) as {
    Id: string;
    Name: string;
    Image: string;
    State: { Running: boolean };
    Config: { Env: string[] };
    HostConfig: { RestartPolicy: { Name: string } };
  }[];
  const now = found.find((each) => each.Id !== old);
  expect(found).toHaveLength(2);
  expect(now).toMatchObject({ Name: `/${name}`, State: { Running: true }, HostConfig: { RestartPolicy: { Name: "unless-stopped" } } });
  expect(now?.Image).toBe(kind === "rollback" ? earlier : present);
  expect(now?.Config.Env).toContain(`EDITION=${kind === "rollback" ? "verified" : "present"}`);
  expect(found.find((each) => each.Id === old)).toMatchObject({
    Name: `/${name}.hullmark-A-7K2Q`,
    State: { Running: false },
    HostConfig: { RestartPolicy: { Name: "no" } },
  });
  expect(new Set(told(id).map(({ newContainerId }) => newContainerId))).toEqual(new Set([now?.Id]));
  const adds = readFileSync(join(home, name, "ledger.jsonl"), "utf8")
    .split("\n")
    .filter((line) => line.includes('"add"'));
  expect(adds).toHaveLength(1);
  await docker("rm", "-f", ...ids);
});

describe("isolation", () => {
  const ADDRESS = "10.99.7.9";
  /** The others are those of any action. */
  const ISOLATING = ISOLATION_FAILPOINTS.slice(ISOLATION_FAILPOINTS.indexOf("left"), ISOLATION_FAILPOINTS.indexOf("settled"));
  const RELEASING: readonly string[] = ["freed", "rejoined"];
  let port: number;
  let web: string;

  beforeAll(async () => {
    await docker("network", "create", "--subnet", "10.99.7.0/24", "shop");
    port = await freePort();
    const serve = "mkdir -p /w; echo hello > /w/index.html; exec /busybox httpd -f -p 80 -h /w";
    const published = ["-p", `127.0.0.1:${port}:80`, "--network", "shop", "--ip", ADDRESS, "--network-alias", "cart"];
    // Compose gives its containers such labels: policy has to name it.
    const labels = ["--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=web"];
    web = await docker(
      "run",
      "-d",
      "--name",
      "web",
      "--restart",
      "always",
      "--stop-signal",
      "SIGKILL",
      ...published,
      ...labels,
      "box",
      "/busybox",
      "sh",
      "-c",
      serve,
    );
    await docker("network", "connect", "bridge", "web");
    await docker("run", "-d", "--name", "client", "--network", "shop", "box", "/busybox", "sleep", "3600");
    await reached(true);
  });

  afterAll(async () => {
    // The engine's end leaves its bridge behind.
    const ids = (await docker("ps", "-a", "-q")).split("\n").filter(Boolean);
    if (ids.length > 0) await docker("rm", "-f", ...ids);
    await docker("network", "rm", "shop");
  });

  /** From another container on its network, and from the host by the published port. */
  async function reached(want: boolean): Promise<void> {
    const get = `printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | /busybox nc -w 2 ${ADDRESS} 80`;
    const both = async () => [
      await docker("exec", "client", "/busybox", "sh", "-c", get).catch(String),
      await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(2000) }).then((answer) => answer.text(), String),
    ];
    await eventually(`reached: ${want}`, both, (each) => each.every((one) => /hello$/.test(one.trim()) === want), SETTLE_MS);
  }

  const networks = async (): Promise<Record<string, { Aliases: string[] | null; IPAddress: string }>> =>
    JSON.parse(await docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", web));

  async function carriedOut(name: string, kind: ActionKind, failpoint?: string): Promise<Buffer> {
    const id = await offer(web, kind, { owners: ["compose"] });
    start(name, failpoint);
    if (failpoint !== undefined) {
      expect(await ended()).toBe("SIGKILL");
      start(name);
    }
    await toldDone(id);
    await ended("SIGTERM");
    return id;
  }

  test.each(ISOLATING.map((failpoint) => ({ failpoint })))(
    "killed at $failpoint, started again: a client that reached it reaches it no more, and does once it is released, at the same address, name and port",
    async ({ failpoint }) => {
      const name = `isolated-${failpoint}`;
      const ofRelease = RELEASING.includes(failpoint);
      const isolation = await carriedOut(name, ActionKind.ISOLATE, ofRelease ? undefined : failpoint);
      await reached(false);
      expect(Object.keys(await networks())).toEqual(["none"]);
      expect(await docker("inspect", "-f", "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}", web)).toBe("true always");
      await carriedOut(name, ActionKind.RELEASE, ofRelease ? failpoint : undefined);
      await reached(true);
      const joined = await networks();
      expect(Object.keys(joined).sort()).toEqual(["bridge", "shop"]);
      expect(joined["shop"]).toMatchObject({ IPAddress: ADDRESS, Aliases: expect.arrayContaining(["cart"]) });
      expect(new Set(told(isolation).map(({ outcome }) => outcome))).toEqual(new Set([Outcome.DONE]));
    },
  );

  test("no restart of the container or of the engine brings it back, nobody joins it to a network in passing, and what takes its place is on all of them", async () => {
    await carriedOut("isolated", ActionKind.ISOLATE);
    await docker("kill", web);
    const restarted = async () => `${await docker("inspect", "-f", "{{.State.Running}} {{.RestartCount}}", web)}`;
    // The engine does not restart what people killed.
    await docker("start", web);
    await reached(false);
    await engineOf(bed).stop();
    await engineOf(bed).start();
    await docker("start", "client");
    await eventually("it runs again", restarted, (each) => each.startsWith("true"), SETTLE_MS);
    await reached(false);
    expect(Object.keys(await networks())).toEqual(["none"]);
    await expect(docker("network", "connect", "shop", "web")).rejects.toThrow();
    await carriedOut("isolated", ActionKind.RECREATE);
    web = await docker("inspect", "-f", "{{.Id}}", "web");
    await reached(true);
    expect((await networks())["shop"]).toMatchObject({ IPAddress: ADDRESS, Aliases: expect.arrayContaining(["cart"]) });
  });
});

test("what is stopped stays stopped, though it would restart by itself, and is not stopped again", async () => {
  const old = await docker("run", "-d", "--name", "worker", "--restart", "always", "--stop-signal", "SIGKILL", "box", "/busybox", "sleep", "3600");
  const id = await offer(old, ActionKind.STOP);
  start("worker");
  await toldDone(id);
  await ended("SIGTERM");
  expect(await docker("inspect", "-f", "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}", "worker")).toBe("false no");
  // Someone starts it again on purpose; the same intent, pulled anew, is known.
  await docker("start", "worker");
  start("worker");
  await eventually(
    "it is told again",
    async () => told(id).length,
    (count) => count >= 2,
    SETTLE_MS,
  );
  expect(await docker("inspect", "-f", "{{.State.Running}}", "worker")).toBe("true");
});

test("what a container wrote, and what it ran, is captured before it is stopped, and opened with the responders' key", async () => {
  const argv = ["/busybox", "sh", "-c", "echo stolen > /loot; echo kept > /data/volume; /busybox cp /busybox /busybox-tool; exec /busybox-tool sleep 3600"];
  const old = await docker("run", "-d", "--name", "mined", "-e", "TOKEN=t0", "-v", "/data", "--stop-signal", "SIGKILL", "box", ...argv);
  await eventually(
    "it runs the copy, and not the shell any more, whose arguments have both",
    () => docker("top", "mined", "-eo", "pid,args"),
    (text) => text.includes("/busybox-tool sleep") && !text.includes("cp /busybox"),
    SETTLE_MS,
  );
  // The program is gone from the file system; the process runs on.
  await docker("exec", "mined", "/busybox", "rm", "/busybox-tool");
  const directory = join(home, "mined", "captures");
  // It cannot be removed, though it is time: containment goes on all the same.
  const stuck = `A-0000.${"2".repeat(32)}.age`;
  mkdirSync(join(directory, stuck), { recursive: true });
  utimesSync(join(directory, stuck), 1, 1);
  const id = await offer(old, ActionKind.STOP);
  start("mined");
  await toldDone(id);
  await ended("SIGTERM");
  const [name = ""] = readdirSync(directory).filter((each) => each !== stuck);
  expect(name).toBe(`A-7K2Q.${id.toString("hex")}.age`);
  const sealed = readFileSync(join(directory, name));
  expect(told(id).at(-1)?.capture).toMatchObject({ digest: digestOf(sealed), bytes: BigInt(sealed.length), complete: true });
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  const opened = join(home, "opened");
  mkdirSync(opened);
  writeFileSync(join(home, "opened.tar.gz"), await decrypter.decrypt(sealed));
  await run(["tar", "-C", opened, "-xzf", join(home, "opened.tar.gz")]);
  const { changes } = JSON.parse(readFileSync(join(opened, "capture.json"), "utf8")) as { changes: { path: string; file: string }[] };
  // The image has no such directory: the engine made it for the volume.
  expect(changes).toContainEqual({ path: "/data", kind: "added", left: "mounted" });
  const loot = changes.find(({ path }) => path === "/loot");
  expect(await run(["tar", "-xOf", join(opened, loot?.file ?? ""), "loot"])).toBe("stolen\n");
  const { processes } = JSON.parse(readFileSync(join(opened, "processes.json"), "utf8")) as { processes: ProcessSnapshot[] };
  expect(processes).toEqual([
    expect.objectContaining({
      exe: expect.stringMatching(/tool \(deleted\)$/),
      arguments: ["/busybox-tool", "sleep", "3600"],
      environment: expect.arrayContaining(["TOKEN=t0"]),
    }),
  ]);
  // The program itself, from memory.
  expect(digestOf(readFileSync(join(opened, "programs", String(processes[0]?.pid))))).toBe(digestOf(readFileSync(join(STATE_ROOT, "cache/busybox"))));
});
