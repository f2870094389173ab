/** The actuator alone against a real engine: killed at every place where it can be, it neither loses nor repeats what it was told. The test plays the verifier. */
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DockerEngine } from "@hullmark/actuator/adapters/docker/docker-engine";
import { FAILPOINTS } from "@hullmark/actuator/core/carry-out";
import type { ProcessSnapshot } from "@hullmark/capture/processes";
import { ActionKind, NodeMark, Outcome } from "@hullmark/proto/v1/response";
import { Decrypter, generateX25519Identity, identityToRecipient } from "age-encryption";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../deploy/testbed/http-service.ts";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { program, STATE_ROOT } from "../../deploy/testbed/paths.ts";
import { run } from "../../deploy/testbed/run.ts";
import { describeMaliciousVerifier, type Wanted } from "../contract/malicious-verifier.suite.ts";
import { program as programOf } from "../fakes/program.ts";
import { describeAgentCaptures } from "./agent-captures.suite.ts";
import { EngineGate } from "./engine-gate.ts";
import { engineOf, eventually } from "./fault-support.ts";
import { digestOf } from "./images/push.ts";
import { type IntentInit, LoneActuator } from "./lone-actuator.ts";
import { describeOwned } from "./owned-containers.suite.ts";
import { startSystemd } from "./user-systemd.ts";

const NODE = "00112233445566aa";
const SETTLE_MS = 90_000;

let bed: Testbed;
let actuator: LoneActuator;
let home: string;
/** The responders' key, which the actuator does not have. */
let identity: string;
let recipient: string;
const docker = (...args: string[]): Promise<string> => run([program("docker"), "--host", engineOf(bed).dockerHost, ...args]).then((out) => out.trim());

beforeAll(async () => {
  bed = await startTestbed({ name: "e2e-actuator", parts: { engine: true } });
  actuator = await LoneActuator.open({ nodeId: NODE }, bed.env);
  home = actuator.home;
  const host = engineOf(bed).dockerHost;
  for (const [name, edition] of Object.entries({ box: "present", earlier: "verified" })) {
    const imported = `tar -C "$1" -c busybox | ${program("docker")} --host ${host} import --change "ENV EDITION=${edition}" --change "EXPOSE 80" - ${name}`;
    await run(["/bin/sh", "-c", imported, "sh", join(STATE_ROOT, "cache")]);
  }
  identity = await generateX25519Identity();
  recipient = await identityToRecipient(identity);
});

afterEach(() => actuator.ended("SIGKILL"));

afterAll(async () => {
  await actuator?.close();
  await bed?.down();
});

function start(name: string, failpoint?: string, more: object = {}): void {
  const capture = { recipients: [recipient], maxSeconds: 120 };
  actuator.start(name, { docker: { socket: engineOf(bed).socketPath }, limits: { hourlyPercent: 100, pauseSeconds: 1 }, capture, ...more }, failpoint);
}

const ended = (signal?: NodeJS.Signals): Promise<string | null> => actuator.ended(signal);
const told = (id: Buffer) => actuator.told(id);

async function offer(containerId: string, kind: ActionKind, more: IntentInit = {}): Promise<Buffer> {
  return actuator.offer({ nodeId: NODE, containerId, configDigest: await docker("inspect", "-f", "{{.Image}}", containerId), kind, ...more });
}

const captures = (name: string): string[] => readdirSync(join(home, name, "captures"));

/** One capture, and nothing that is half-written. */
function expectCaptured(name: string, id: Buffer): void {
  expect(captures(name)).toEqual([expect.stringMatching(new RegExp(`^A-7K2Q\\.${id.toString("hex")}\\.\\S+\\.age$`))]);
}

async function toldDone(id: Buffer): Promise<void> {
  expect(await actuator.settled(id)).toMatchObject({ outcome: Outcome.DONE });
}

/** With all that is between the first thing that is made and the last. */
const ROLLED_BACK = FAILPOINTS.containers.slice(FAILPOINTS.containers.indexOf("made"), FAILPOINTS.containers.indexOf("taken-away"));

test.each([
  ...[...FAILPOINTS.containers, ...FAILPOINTS.captures].map((failpoint) => ({ kind: "recreate" as const, failpoint })),
  ...ROLLED_BACK.map((failpoint) => ({ kind: "rollback" as const, failpoint })),
])("a $kind, killed at $failpoint, started again: one container takes the place of one", async ({ kind, failpoint }) => {
  const name = `${kind}-${failpoint}`;
  await docker("tag", "box", "moved");
  // SIGKILL as stop signal: a shell as first process would sit out its ten seconds.
  const old = await docker("run", "-d", "--name", name, "--restart", "unless-stopped", "--stop-signal", "SIGKILL", "moved", "/busybox", "sleep", "3600");
  // What it was started by names another image by now.
  await docker("tag", "earlier", "moved");
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
  expect(actuator.taken(name)).toHaveLength(1);
  expectCaptured(name, id);
  await docker("rm", "-f", ...ids);
});

test.each([ActionKind.RECREATE, ActionKind.ROLLBACK])(
  "what lives in another container's network is replaced, and lives there again (kind %i)",
  async (kind) => {
    const name = `lodger-${kind}`;
    const landlord = await docker("run", "-d", "--name", `landlord-${kind}`, "--hostname", "landlord", "box", "/busybox", "sleep", "3600");
    const argv = ["--network", `container:${landlord}`, "--stop-signal", "SIGKILL", "box", "/busybox", "sleep", "3600"];
    const old = await docker("run", "-d", "--name", name, ...argv);
    const earlier = await docker("inspect", "-f", "{{.Id}}", "earlier");
    const back = { targetConfigDigest: earlier, targetReference: `registry.example/box@${earlier}` };
    const id = await offer(old, kind, kind === ActionKind.ROLLBACK ? back : {});
    start(name);
    await toldDone(id);
    await ended("SIGTERM");
    const now = told(id).at(-1)?.newContainerId ?? "";
    expect(now).not.toBe(old);
    expect(await docker("inspect", "-f", "{{.Name}} {{.State.Running}} {{.HostConfig.NetworkMode}}", now)).toBe(`/${name} true container:${landlord}`);
    expect(await docker("exec", now, "/busybox", "hostname")).toBe("landlord");
    await docker("rm", "-f", now, old, landlord);
  },
);

test.each(FAILPOINTS.layers)("a purge, killed at %s, started again: the layer's directory is gone, with all that stands on it", async (failpoint) => {
  const name = `purge-${failpoint}`;
  const imported = `printf ${name} > "$1/${name}.file" && tar -C "$1" -c ${name}.file | ${program("docker")} --host ${engineOf(bed).dockerHost} import - ${name}`;
  await run(["/bin/sh", "-c", imported, "sh", home]);
  // It lacks a program: nothing of it ever runs. What runs is made of an image on the same layer.
  const box = join(STATE_ROOT, "cache", "busybox");
  await docker("create", "--name", `${name}-made`, name, "/busybox");
  await docker("cp", box, `${name}-made:/busybox`);
  await docker("commit", `${name}-made`, `${name}:upper`);
  const runs = await docker(
    "run",
    "-d",
    "--name",
    `${name}-runs`,
    "--restart",
    "always",
    "--stop-signal",
    "SIGKILL",
    `${name}:upper`,
    "/busybox",
    "sleep",
    "3600",
  );
  const found = JSON.parse(await docker("image", "inspect", name, `${name}:upper`)) as {
    Id: string;
    RootFS: { Layers: string[] };
    GraphDriver: { Data: { UpperDir: string } };
  }[];
  const directory = found[0]?.GraphDriver.Data.UpperDir ?? "";
  const there = (): Promise<string> => run(bed.wrap(["/bin/sh", "-c", 'test -e "$1" && echo there || echo gone', "sh", directory])).then((out) => out.trim());
  expect(await there()).toBe("there");
  const purge = { chainId: found[0]?.RootFS.Layers[0] ?? "", imageDigests: found.map(({ Id }) => Id).sort() };
  const id = actuator.offer({ nodeId: NODE, kind: ActionKind.PURGE, purge });
  start(name, failpoint, { purge: true });
  expect(await ended()).toBe("SIGKILL");
  // Of both of its containers, before any of them is touched.
  const both = failpoint === "checked" || failpoint === "remembered" ? 0 : 2;
  expect(captures(name)).toHaveLength(both);
  if (failpoint === "captured") expect(await docker("inspect", "-f", "{{.State.Running}}", runs)).toBe("true");
  start(name, undefined, { purge: true });
  // Whatever was left to do of it by then.
  expect(await actuator.settled(id)).toMatchObject({ outcome: Outcome.DONE, capture: { digest: expect.stringMatching(/^sha256:/) } });
  await ended("SIGTERM");
  expect(await there()).toBe("gone");
  expect(await docker("ps", "-a", "-q", "--no-trunc", "--filter", `name=^${name}`)).not.toContain(runs);
  expect(await docker("images", "-q", name)).toBe("");
  expect(actuator.taken(name)).toHaveLength(1);
  expect(captures(name)).toHaveLength(2);
});

describe("captures by a node's agent", () => describeAgentCaptures(() => ({ bed, identity, recipient, docker })));

describe("isolation", () => {
  const ADDRESS = "10.99.7.9";
  const ISOLATING = FAILPOINTS.networks.filter((each) => each !== "freed" && each !== "rejoined");
  const RELEASING = FAILPOINTS.networks.filter((each) => each !== "captured" && each !== "left" && each !== "held");
  /** Each goes over several places before it is killed again. */
  const TURNS = [0, 1, 2, 3].map((turn) => {
    const own = (places: readonly string[]): readonly string[] => places.filter((_, i) => i % 4 === turn);
    return { turn, isolating: own(ISOLATING), releasing: own(RELEASING) };
  });
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

  /** @param failpoints where it is killed, one after the other, and started again */
  async function carriedOut(name: string, kind: ActionKind, failpoints: readonly string[] = []): Promise<Buffer> {
    const id = await offer(web, kind, { owners: ["compose"] });
    for (const failpoint of failpoints) {
      start(name, failpoint);
      expect(await ended(), failpoint).toBe("SIGKILL");
      if (failpoint !== "captured") continue;
      expectCaptured(name, id);
      expect(Object.keys(await networks()).sort()).toEqual(["bridge", "shop"]);
    }
    start(name);
    await toldDone(id);
    await ended("SIGTERM");
    return id;
  }

  test.each(TURNS)(
    "killed at $isolating, started again: it is captured, and a client that reached it reaches it no more; and does once it is released, killed at $releasing, at the same address, name and port",
    async ({ turn, isolating, releasing }) => {
      const name = `isolated-${turn}`;
      const isolation = await carriedOut(name, ActionKind.ISOLATE, isolating);
      await reached(false);
      expect(Object.keys(await networks())).toEqual(["none"]);
      expect(await docker("inspect", "-f", "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}", web)).toBe("true always");
      const release = await carriedOut(name, ActionKind.RELEASE, releasing);
      await reached(true);
      const joined = await networks();
      expect(Object.keys(joined).sort()).toEqual(["bridge", "shop"]);
      expect(joined["shop"]).toMatchObject({ IPAddress: ADDRESS, Aliases: expect.arrayContaining(["cart"]) });
      for (const id of [isolation, release]) expect(new Set(told(id).map(({ outcome }) => outcome))).toEqual(new Set([Outcome.DONE]));
      expect(actuator.taken(name)).toHaveLength(2);
      expectCaptured(name, isolation);
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

/** The operator's program, which notes each call, and puts a mark on as a file; what is there before it says that it was there. */
function hook(name: string): string {
  const path = join(home, `${name}.hook`);
  const marks = join(home, `${name}.marks`);
  mkdirSync(marks);
  writeFileSync(
    path,
    `#!/bin/sh
echo "$1 $2 $3" >> ${marks}.calls
case "$1" in
  mark) [ -e "${marks}/$2" ] && exit 10; touch "${marks}/$2";;
  lift) [ -e "${marks}/$2" ] || exit 10; rm "${marks}/$2";;
esac
`,
  );
  chmodSync(path, 0o755);
  return path;
}

test.each(FAILPOINTS.nodes)(
  "marks for a node, killed at %s, started again: put on, told as put on, and taken away again, killed there too",
  async (failpoint) => {
    const name = `marks-${failpoint}`;
    const nodes = { hook: { command: hook(name) }, allow: ["w-*"] };
    const marks = [NodeMark.TAINT, NodeMark.CORDON];
    const about = (kind: ActionKind, reason: string) => ({ nodeId: NODE, kind, node: { nodeId: "ffeeddccbbaa9988", name: "w-9", marks, reason } });
    const id = actuator.offer(about(ActionKind.MARK_NODE, "lower-layer"));
    start(name, failpoint, { nodes });
    expect(await ended()).toBe("SIGKILL");
    start(name, undefined, { nodes });
    // What a try that was cut off had put on counts as its own, or nobody would ever take it away.
    expect(await actuator.settled(id)).toMatchObject({ outcome: Outcome.DONE, marks });
    expect(readdirSync(join(home, `${name}.marks`)).sort()).toEqual(["cordon", "taint"]);
    expect(actuator.taken(name)).toHaveLength(1);
    await ended("SIGTERM");
    const lift = actuator.offer(about(ActionKind.LIFT_NODE, ""));
    start(name, failpoint, { nodes });
    expect(await ended()).toBe("SIGKILL");
    start(name, undefined, { nodes });
    // So does what such a try took away.
    expect(await actuator.settled(lift)).toMatchObject({ outcome: Outcome.DONE, marks });
    expect(readdirSync(join(home, `${name}.marks`))).toEqual([]);
    const calls = readFileSync(join(home, `${name}.marks.calls`), "utf8")
      .trimEnd()
      .split("\n");
    // Asked once more at most, by whoever could not know whether it was done.
    const repeated = failpoint === "marked" || failpoint === "marking" ? 2 : 0;
    expect(calls.length - 4).toBeLessThanOrEqual(repeated);
  },
);

test.each(["without-restart", "stopped"])(
  "what is stopped stays stopped, killed at %s too, though it would restart by itself, and is not stopped again",
  async (failpoint) => {
    const name = `worker-${failpoint}`;
    const old = await docker("run", "-d", "--name", name, "--restart", "always", "--stop-signal", "SIGKILL", "box", "/busybox", "sleep", "3600");
    const id = await offer(old, ActionKind.STOP);
    start(name, failpoint);
    expect(await ended()).toBe("SIGKILL");
    start(name);
    await toldDone(id);
    await ended("SIGTERM");
    expect(await docker("inspect", "-f", "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}", name)).toBe("false no");
    // Someone starts it again on purpose; the same intent, pulled anew, is known.
    await docker("start", name);
    start(name);
    await eventually(
      "it is told again",
      async () => told(id).length,
      (count) => count >= 2,
      SETTLE_MS,
    );
    expect(await docker("inspect", "-f", "{{.State.Running}}", name)).toBe("true");
  },
);

interface CapturedChange {
  readonly path: string;
  readonly file?: string;
  readonly left?: string;
}

/** @returns a directory with what the responders' key opens */
async function unsealed(name: string, sealed: Buffer): Promise<string> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  const opened = join(home, `${name}.opened`);
  mkdirSync(opened);
  writeFileSync(`${opened}.tar.gz`, await decrypter.decrypt(sealed));
  await run(["tar", "-C", opened, "-xzf", `${opened}.tar.gz`]);
  return opened;
}

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
  expect(name).toMatch(new RegExp(`^A-7K2Q\\.${id.toString("hex")}\\.[0-9]+f1p\\.age$`));
  const sealed = readFileSync(join(directory, name));
  expect(told(id).at(-1)?.capture).toMatchObject({ digest: digestOf(sealed), bytes: BigInt(sealed.length), complete: true, processes: 1 });
  const opened = await unsealed("mined", sealed);
  const { changes } = JSON.parse(readFileSync(join(opened, "capture.json"), "utf8")) as { changes: CapturedChange[] };
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

test("a capture is removed at its time also where nothing is captured any more", async () => {
  const name = "expired";
  const directory = join(home, name, "captures");
  const [old = "", fresh = ""] = ["2", "3"].map((digit) => `A-7K2Q.${digit.repeat(32)}.age`);
  mkdirSync(directory, { recursive: true });
  for (const each of [old, fresh]) writeFileSync(join(directory, each), "");
  utimesSync(join(directory, old), 1, 1);
  start(name, undefined, { capture: {} });
  const kept = async (): Promise<string[]> => readdirSync(directory);
  await eventually("it is removed", kept, (names) => !names.includes(old), SETTLE_MS);
  expect(await kept()).toEqual([fresh]);
  await ended("SIGTERM");
});

test("of a container that wrote more than a capture may hold as much is captured as it may hold; what is left out is listed, and it is contained", async () => {
  const name = "greedy";
  const maxBytes = 65_536;
  const paths = Array.from({ length: 10 }, (_, i) => `/wrote-${i}`);
  const write = `for path in ${paths.join(" ")}; do /busybox head -c 12000 /dev/urandom > $path; done; exec /busybox sleep 3600`;
  const container = await docker("run", "-d", "--name", name, "--stop-signal", "SIGKILL", "box", "/busybox", "sh", "-c", write);
  await eventually(
    "it has written",
    () => docker("top", name, "-eo", "pid,args"),
    (text) => text.includes("/busybox sleep") && !text.includes("urandom"),
    SETTLE_MS,
  );
  const id = await offer(container, ActionKind.STOP);
  start(name, undefined, { capture: { recipients: [recipient], maxSeconds: 120, maxBytes } });
  const { outcome, capture } = await actuator.settled(id);
  await ended("SIGTERM");
  expect([outcome, capture?.complete]).toEqual([Outcome.DONE, false]);
  const directory = join(home, name, "captures");
  const [file = ""] = readdirSync(directory);
  expect(file).toMatch(/\.partial\.age$/);
  const opened = await unsealed(name, readFileSync(join(directory, file)));
  const { complete, changes } = JSON.parse(readFileSync(join(opened, "capture.json"), "utf8")) as { complete: boolean; changes: CapturedChange[] };
  expect(complete).toBe(false);
  expect(changes.map(({ path }) => path)).toEqual(expect.arrayContaining(paths));
  const held = changes.flatMap((each) => (each.file === undefined ? [] : [each.file]));
  const left = changes.filter((each) => each.left === "too-large");
  // Room for four archives of 14 KB, and not for the processes and five.
  expect([held.length, left.length]).toEqual([4, paths.length - 4]);
  const bytes = [...held, "processes.json"].reduce((sum, each) => sum + statSync(join(opened, each)).size, 0);
  expect(bytes).toBeLessThanOrEqual(maxBytes);
  expect(await docker("inspect", "-f", "{{.State.Running}}", name)).toBe("false");
});

test.each(["captured", "stopped"])(
  "one with --rm is stopped once it is captured, killed at %s too; what the engine removed with it is told",
  async (failpoint) => {
    const name = `vanishing-${failpoint}`;
    const argv = ["box", "/busybox", "sh", "-c", "echo stolen > /loot; echo kept > /data/volume; exec /busybox sleep 3600"];
    const id = await docker("run", "-d", "--rm", "--name", name, "-v", "/data", "-v", `${name}:/named`, "--stop-signal", "SIGKILL", ...argv);
    await eventually(
      "it has written",
      () => docker("diff", name),
      (text) => text.includes("A /loot"),
      SETTLE_MS,
    );
    const [unnamed = ""] = (await docker("inspect", "-f", '{{range .Mounts}}{{if eq .Destination "/data"}}{{.Name}}{{end}}{{end}}', name)).split("\n");
    const volumes = async (): Promise<string[]> => (await docker("volume", "ls", "-q")).split("\n");
    expect(await volumes()).toEqual(expect.arrayContaining([unnamed, name]));
    const stopped = await offer(id, ActionKind.STOP);
    // What would be lost is lost nowhere where nothing is captured.
    start(name, undefined, { capture: {} });
    expect(await actuator.settled(stopped)).toMatchObject({ outcome: Outcome.REFUSED, reason: "auto-remove" });
    await ended("SIGTERM");
    expect(await docker("inspect", "-f", "{{.State.Running}}", name)).toBe("true");

    const asked = await offer(id, ActionKind.STOP);
    start(name, failpoint);
    expect(await ended()).toBe("SIGKILL");
    start(name);
    const told = await actuator.settled(asked);
    expect(told).toMatchObject({
      outcome: Outcome.DONE,
      detail: expect.stringMatching(new RegExp(`^--rm: .*: ${unnamed}$`)),
      capture: { files: 1, processes: 1 },
    });
    expect(await docker("ps", "-a", "-q", "--no-trunc")).not.toContain(id);
    expect(await volumes()).toContain(name);
    expect(await volumes()).not.toContain(unnamed);
    expect(readdirSync(join(home, name, "captures"))).toHaveLength(1);
    await docker("volume", "rm", name);
  },
);

describe("the engine is killed before and after each step", () => {
  const both = (...steps: string[]): string[] => steps.flatMap((step) => [`before ${step}`, `after ${step}`]);
  let gate: EngineGate;

  afterEach(() => gate.close());

  async function toldThroughKills(places: readonly string[], name: string, id: string, kind: ActionKind): Promise<Buffer> {
    gate = await EngineGate.open(engineOf(bed), join(home, `${name}.sock`), places);
    const intent = await offer(id, kind);
    start(name, undefined, { docker: { socket: gate.socketPath } });
    expect(await actuator.settled(intent, 2 * SETTLE_MS)).toMatchObject({ outcome: Outcome.DONE });
    await ended("SIGTERM");
    expect(gate.kills).toEqual(places);
    return intent;
  }

  test.each([
    // What it does not restart dies with it: it is not stopped any more.
    { name: "engine-steps", places: both("create", "update", "rename aside", "rename", "start") },
    { name: "engine-stop", places: ["after stop"] },
  ])("of a recreation ($name): one container takes the place of one, and runs", async ({ name, places }) => {
    const old = await docker("run", "-d", "--name", name, "--restart", "always", "--stop-signal", "SIGKILL", "box", "/busybox", "sleep", "3600");
    const intent = await toldThroughKills(places, name, old, ActionKind.RECREATE);
    const ids = (await docker("ps", "-a", "--no-trunc", "-q", "--filter", `name=^${name}`)).split("\n");
    expect(ids).toHaveLength(2);
    const now = ids.find((each) => each !== old) ?? "";
    const standing = (id: string) => docker("inspect", "-f", "{{.Name}} {{.State.Running}} {{.HostConfig.RestartPolicy.Name}}", id);
    expect([await standing(now), await standing(old)]).toEqual([`/${name} true always`, `/${name}.hullmark-A-7K2Q false no`]);
    // As often as it takes until the verifier has it.
    expect(new Set(told(intent).map(({ newContainerId }) => newContainerId))).toEqual(new Set([now]));
    await docker("rm", "-f", ...ids);
  });

  test("of an isolation: it runs on, off its networks", async () => {
    const name = "engine-isolate";
    const id = await docker("run", "-d", "--name", name, "--restart", "always", "--stop-signal", "SIGKILL", "box", "/busybox", "sleep", "3600");
    await toldThroughKills(both("disconnect bridge", "connect none"), name, id, ActionKind.ISOLATE);
    expect(await docker("inspect", "-f", "{{.State.Running}}{{range $name, $_ := .NetworkSettings.Networks}} {{$name}}{{end}}", id)).toBe("true none");
    await docker("rm", "-f", id);
  });

  test.each(["before stop", "after stop"])("of a stop of one with --rm (%s): it is captured, and gone", async (place) => {
    const name = `engine-vanishing-${place.slice(0, 5)}`;
    const id = await docker("run", "-d", "--rm", "--name", name, "--stop-signal", "SIGKILL", "box", "/busybox", "sleep", "3600");
    const intent = await toldThroughKills([place], name, id, ActionKind.STOP);
    expect(told(intent).at(-1)).toMatchObject({ detail: expect.stringMatching(/^--rm: /), capture: { processes: 1 } });
    // One that died with the engine is removed a moment after its start.
    await eventually(
      "it is gone",
      () => docker("ps", "-a", "-q", "--no-trunc"),
      (all) => !all.includes(id),
      SETTLE_MS,
    );
  });
});

describe("a container that is somebody's", () => {
  describeOwned(() => ({
    ...{ dockerHost: engineOf(bed).dockerHost, home, docker },
    systemd: (unit, text) => startSystemd(bed, join(home, "systemd"), unit, text),
    carriedOut: async (name, containerId, kind, owners, failpoint) => {
      const id = await offer(containerId, kind, { owners });
      start(name, failpoint);
      if (failpoint !== undefined) {
        expect(await ended()).toBe("SIGKILL");
        start(name);
      }
      const report = await actuator.settled(id);
      await ended("SIGTERM");
      return report;
    },
  }));
});

test("of two that are started on one state directory the first ends by itself", async () => {
  start("two");
  const opened = async (): Promise<boolean> => existsSync(join(home, "two", "ledger.jsonl"));
  await eventually("the first has opened the ledger", opened, (is) => is, SETTLE_MS);
  const second = spawn(process.execPath, [programOf("actuator"), "--config", join(home, "two.yaml")], { stdio: "ignore" });
  const gone = new Promise((resolve) => second.once("exit", (code) => resolve(code)));
  expect(await ended()).toBe("1");
  expect(second.exitCode).toBeNull();
  second.kill("SIGTERM");
  expect(await gone).toBe(0);
});

describe("what the holder of the intents' key cannot make it do", () => {
  const OWN = "hullmark.test=malicious";
  const images = { present: "", earlier: "" };
  const some = async (...filters: string[]): Promise<string[]> =>
    (await docker("ps", "-a", "-q", "--no-trunc", "--filter", `label=${OWN}`, ...filters.flatMap((each) => ["--filter", each]))).split("\n").filter(Boolean);

  beforeAll(async () => {
    // Nothing else is to count for the share of them.
    const others = (await docker("ps", "-a", "-q")).split("\n").filter(Boolean);
    if (others.length > 0) await docker("rm", "-f", ...others);
    images.present = await docker("inspect", "-f", "{{.Id}}", "box");
    images.earlier = await docker("inspect", "-f", "{{.Id}}", "earlier");
  });

  async function add(name: string, { labels = {}, autoRemove = false, running = true }: Wanted = {}): Promise<string> {
    const marked = [OWN, ...Object.entries(labels).map(([key, value]) => `${key}=${value}`)].flatMap((each) => ["--label", each]);
    const kept = autoRemove ? ["--rm"] : ["--restart", "always"];
    const argv = [...["--name", name, ...marked, ...kept], "--stop-signal", "SIGKILL", "box", "/busybox", "sleep", "3600"];
    return running ? await docker("run", "-d", ...argv) : await docker("create", ...argv);
  }

  describeMaliciousVerifier(() => ({
    engine: new DockerEngine({ socketPath: engineOf(bed).socketPath }),
    ...{ imageId: images.present, earlierId: images.earlier, crowd: 10, add },
    named: async (name) => (await some(`name=^/?${name}$`))[0],
    clear: async () => {
      const ids = await some();
      if (ids.length > 0) await docker("rm", "-f", ...ids);
    },
  }));
});
