import { execFile } from "node:child_process";
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { get } from "node:https";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { program, REPOSITORY, STATE_ROOT } from "../../deploy/testbed/paths.ts";
import { identify } from "../../deploy/testbed/process-identity.ts";
import { run } from "../../deploy/testbed/run.ts";
import { acceptanceImage } from "./images/acceptance.ts";
import { loadPrograms } from "./images/programs.ts";
import { pushImage } from "./images/push.ts";

// `hullmark up` and `hullmark down` on an engine that runs containers already: the shipped command, once without TPM and once with one.

interface Outcome {
  readonly code: number;
  readonly text: string;
}

const ACTING = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: acting }
spec:
  mode: enforce
  intervals: { quote: 10s, heartbeat: 1s }
  response:
    hourlyPercent: 100
    rules:
      - name: prey
        select: { containers: [prey, spared] }
        ladder: { low: [isolate], medium: [isolate], high: [isolate], critical: [isolate] }
`;

let bed: Testbed;
let image: string;
let state: string;
let config: string;
let containers: string;
let mounts: string;

beforeAll(async () => {
  bed = await startTestbed({ name: "host", parts: { engine: true, registry: true, tpms: 1 } });
  state = join(bed.directory, "host/state");
  config = join(bed.directory, "etc/hullmark/config.yaml");
  image = (await pushImage(bed.registry?.host ?? "", "acme/web", "1", acceptanceImage(await loadPrograms()))).reference;
  await docker("run", "-d", "--name", "web", image);
  // Made here and pushed nowhere: there is nothing to compare it with.
  await run(["/bin/sh", "-c", `tar -C "$1" -c busybox | ${program("docker")} --host ${bed.engine?.dockerHost} import - box`, "sh", join(STATE_ROOT, "cache")]);
  await docker("run", "-d", "--name", "local", "box", "/busybox", "sleep", "36000");
  containers = await present();
  mounts = await mountTable();
});
afterAll(async () => {
  if (existsSync(join(state, "host.json"))) await hullmark("down", "--state", state);
  await bed.down();
});

const docker = (...args: string[]): Promise<string> => run([program("docker"), "--host", bed.engine?.dockerHost ?? "", ...args]);
const present = (): Promise<string> => docker("inspect", "-f", "{{.Id}} {{.State.Pid}} {{.State.StartedAt}} {{.RestartCount}}", "web", "local");
/** Without what other tests of this checkout mount and take away meanwhile. */
const mountTable = async (): Promise<string> => {
  const lines = (await run(bed.wrap(["/bin/cat", "/proc/self/mountinfo"]))).split("\n");
  return lines.filter((line) => !line.includes(`${STATE_ROOT}/`) || line.includes(`${bed.directory}/`)).join("\n");
};

function hullmark(...args: string[]): Promise<Outcome> {
  const [file = "", ...rest] = bed.wrap([process.execPath, join(REPOSITORY, "dist/hullmark.js"), ...args]);
  return new Promise((resolve) =>
    execFile(file, rest, { env: { ...process.env, HULLMARK_CONFIG: config } }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, text: stdout + stderr }),
    ),
  );
}

function up(...args: string[]): Promise<Outcome> {
  const { engine, registry } = bed;
  return hullmark("up", "--no-systemd", "--state", state, "--docker-socket", engine?.socketPath ?? "", "--registry-plain-http", registry?.host ?? "", ...args);
}

const pids = (): number[] => ["verifier", "agent"].map((name) => (JSON.parse(readFileSync(join(state, `run/${name}.pid`), "utf8")) as { pid: number }).pid);

const ports = (): { http: number } => (JSON.parse(readFileSync(join(state, "host.json"), "utf8")) as { ports: { http: number } }).ports;

/** Something that finds everything well, whatever it is asked. Waits until whoever listened there has gone. */
async function listenOn(port: number): Promise<Server> {
  for (let attempt = 1; ; attempt++) {
    try {
      const server = createServer((_request, response) => response.end("ok"));
      await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
      return server;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE" || attempt === 600) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** Processes that name the state directory, or have a file of it open or as their program. */
function processesOf(directory: string): string[] {
  return readdirSync("/proc").filter((entry) => {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) return false;
    try {
      return readFileSync(`/proc/${entry}/cmdline`, "latin1").includes(directory) || readFileSync(`/proc/${entry}/maps`, "latin1").includes(directory);
    } catch {
      return false;
    }
  });
}

async function eventually(what: () => Promise<Outcome>, wanted: (outcome: Outcome) => boolean): Promise<Outcome> {
  let last: Outcome = { code: -1, text: "" };
  for (let attempt = 0; attempt < 60; attempt++) {
    last = await what();
    if (wanted(last)) return last;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  return last;
}

async function expectNothingLeft(): Promise<void> {
  expect(existsSync(join(bed.directory, "host"))).toBe(false);
  expect(existsSync(join(bed.directory, "etc"))).toBe(false);
  expect(processesOf(state)).toEqual([]);
  expect(await mountTable()).toBe(mounts);
  expect(await present()).toBe(containers);
}

describe("a host without TPM", () => {
  test("up says what it found and what it cannot promise", async () => {
    const { code, text } = await up("--dashboard");
    expect(text).toContain("In a browser: hullmark dashboard\n");
    expect(text).toContain(`(${bed.engine?.imageStore === "containerd" ? "overlayfs" : "overlay2"}), 2 containers running`);
    expect(text).toContain('! no TPM: node trust "none"');
    expect(text).toMatch(/2 images: 0 signed, (1 unsigned|0 unsigned, 1 not known yet), 1 no reference/);
    expect(text).toMatch(/^ {2}box.*: .+/m);
    expect(code).toBe(0);
    expect(await present()).toBe(containers);
  });

  test("keys, tokens and certificates are for root alone, and the token is gone", () => {
    expect(statSync(state).mode & 0o777).toBe(0o700);
    expect(statSync(join(state, "agent/credential.json")).mode & 0o777).toBe(0o600);
    expect(existsSync(join(state, "join-token"))).toBe(false);
    expect(lstatSync(config).isSymbolicLink()).toBe(true);
  });

  test("status and nodes find the verifier and show the trust", async () => {
    expect((await hullmark("status")).text).toContain("Nodes      1/1 attested");
    const nodes = JSON.parse((await hullmark("nodes", "-o", "json")).text) as { trust: string }[];
    expect(nodes).toMatchObject([{ trust: "none" }]);
  });

  test("a second person has a name and a role of their own, and is shut out again", async () => {
    const directory = join(bed.directory, "host-bob");
    const bob = (...args: string[]) => hullmark("--config", join(directory, "config.yaml"), ...args);
    try {
      expect((await hullmark("person", "add", "bob", "--role", "viewer", "--dir", directory)).code).toBe(0);
      expect((await bob("status")).text).toContain("Nodes      1/1 attested");
      expect(await bob("action", "pause", "-m", "x")).toMatchObject({ code: 2, text: expect.stringContaining("this needs the role responder") });
      expect((await hullmark("person", "revoke", "bob", "-m", "has left")).code).toBe(0);
      expect(await bob("status")).toMatchObject({ code: 2, text: expect.stringContaining("was revoked") });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test("a drift shows", async () => {
    await docker("exec", "web", "sh", "-c", "echo x > /etc/hullmark-planted");
    const { code, text } = await eventually(
      () => hullmark("drift", "ls"),
      ({ text }) => text.includes("/etc/hullmark-planted"),
    );
    expect(text).toContain("/etc/hullmark-planted");
    expect(code).toBe(1);
  });

  test("the page for browsers is served, and opened by the command", async () => {
    const { url } = JSON.parse((await hullmark("dashboard", "-o", "json")).text) as { url: string };
    const ca = readFileSync(join(state, "verifier/admin/ca.crt"));
    const page = await new Promise<IncomingMessage>((resolve, reject) => get(url, { ca }, resolve).on("error", reject));
    expect(await textOf(page)).toContain('<div id="page">');
  });

  test("up again leaves alone what runs as it should", async () => {
    const before = pids();
    const { code, text } = await hullmark("up", "--state", state);
    expect(text).toContain("are running already");
    expect(code).toBe(0);
    expect(pids()).toEqual(before);
  });

  test("up after the agent has died starts it again, without a new token, and the drift is still known", async () => {
    const before = pids();
    process.kill(before[1] ?? 0, "SIGKILL");
    const { code, text } = await hullmark("up", "--state", state, "--no-dashboard");
    expect(text).toContain("✓ verifier and agent started");
    expect(code).toBe(0);
    expect(pids()[1]).not.toBe(before[1]);
    expect((await hullmark("drift", "ls")).text).toContain("/etc/hullmark-planted");
    expect((await hullmark("dashboard")).text).toContain("serves no dashboard");
    expect(JSON.parse((await hullmark("nodes", "-o", "json")).text)).toHaveLength(1);
  });

  test("up takes another port where somebody took the verifier's meanwhile", async () => {
    for (const pid of pids()) process.kill(pid, "SIGKILL");
    const taken = ports().http;
    const other = await listenOn(taken);
    const { code, text } = await hullmark("up", "--state", state);
    other.close();
    other.closeAllConnections();
    expect(text).toContain("✓ verifier and agent started");
    expect(code).toBe(0);
    expect(ports().http).not.toBe(taken);
    expect(JSON.parse((await hullmark("nodes", "-o", "json")).text)).toMatchObject([{ trust: "none", connected: true }]);
  });

  test("what the node is known by does not change underway", async () => {
    expect(await hullmark("up", "--state", state, "--node-name", "other")).toMatchObject({
      code: 2,
      text: expect.stringContaining("hullmark down, then up again"),
    });
  });

  test("down --keep-state ends the services and keeps the rest; up goes on", async () => {
    const before = pids();
    const [{ id: nodeId }] = JSON.parse((await hullmark("nodes", "-o", "json")).text) as [{ id: string }];
    expect((await hullmark("down", "--keep-state", "--state", state)).code).toBe(0);
    expect(before.filter((pid) => identify(pid) !== undefined)).toEqual([]);
    expect(existsSync(config)).toBe(false);
    const waiting = hullmark("--config", join(state, "verifier/admin/config.yaml"), "node", "token", "another", "--wait", "100");
    // As after an hour switched off: the certificate is of no use any more.
    rmSync(join(state, "agent/credential.json"));
    expect((await hullmark("up", "--state", state)).code).toBe(0);
    expect((await hullmark("drift", "ls")).text).toContain("/etc/hullmark-planted");
    expect(JSON.parse((await hullmark("nodes", "-o", "json")).text)).toMatchObject([{ id: nodeId, trust: "none", connected: true }]);
    expect(await waiting).toMatchObject({ code: 0, text: expect.stringMatching(/^[\w-]{43}\n/) });
  });

  test("down leaves nothing, and the containers run on untouched", async () => {
    expect((await hullmark("down", "--state", state)).code).toBe(0);
    await expectNothingLeft();
    expect(await hullmark("down", "--state", state)).toMatchObject({ code: 2, text: expect.stringContaining("has made nothing") });
  });
});

describe("a host with TPM", () => {
  test("up puts its endorsement key on the allow-list; the node is trusted", async () => {
    const [tpm] = bed.tpms;
    const { code, text } = await up("--tcti", tpm?.tcti ?? "", "--tpm-maker-root", ...(tpm?.endorsementRoots ?? []));
    expect(text).toContain("✓ TPM (swtpm:path=");
    expect(code, text).toBe(0);
    const nodes = await hullmark("nodes", "-o", "json");
    expect(JSON.parse(nodes.text), nodes.text).toMatchObject([{ trust: "tpm", verdict: "affirming" }]);
    expect(existsSync(join(state, "agent/credential.json"))).toBe(false);
  });

  test("with --act it is acted on, as policy says: what drifts is isolated, and released by the command", async () => {
    const policy = join(bed.directory, "acting.yaml");
    writeFileSync(policy, ACTING);
    const own = join(bed.directory, "act.yaml");
    const act = (settings: string) => {
      writeFileSync(own, settings);
      return hullmark("up", "--state", state, "--act", "--act-config", own, "--policy", policy);
    };
    // Before anything is stopped.
    expect(await act("limits:\n  protekt: [spared]\n")).toMatchObject({ code: 2, text: expect.stringMatching(/act[.]yaml:2:3: .*protekt/) });
    expect(await act("docker: { socket: /tmp/other.sock }\n")).toMatchObject({
      code: 2,
      text: expect.stringContaining("docker: hullmark up says that itself"),
    });
    expect(await hullmark("up", "--state", state, "--act-config", own)).toMatchObject({ code: 2, text: expect.stringContaining("give --act too") });
    const mistaken = join(bed.directory, "mistaken.yaml");
    writeFileSync(mistaken, ACTING.replace("mode: enforce", "mode: enforced"));
    expect(await hullmark("up", "--state", state, "--policy", mistaken)).toMatchObject({
      code: 2,
      text: expect.stringMatching(/mistaken[.]yaml:\d+:\d+: error: .*mode/),
    });
    expect(await hullmark("up", "--state", state, "--policy", `${mistaken}.not`)).toMatchObject({ code: 2, text: expect.stringContaining("cannot be read") });
    expect((await hullmark("nodes", "-o", "json")).text).toContain('"affirming"');
    for (const name of ["spared", "prey"]) await docker("run", "-d", "--name", name, image);
    try {
      const { code, text } = await act("limits: { protect: [spared], hourlyPercent: 100 }\n");
      expect(text).toContain("✓ verifier, agent and actuator started");
      expect(text).toContain("! nothing is captured of a container before it is acted on");
      expect(text).toMatch(/actuator .*connected.*: policy's response rules are carried out/);
      expect(code, text).toBe(0);
      await eventually(
        () => hullmark("status"),
        ({ text: told }) => told.includes("Actuators  1 connected"),
      );
      for (const name of ["spared", "prey"]) await docker("exec", name, "sh", "-c", "echo x > /etc/hullmark-planted");
      const acted = await eventually(
        () => hullmark("action", "ls", "-o", "json"),
        ({ text: told }) => told.includes('"refused"') && told.includes('"done"'),
      );
      const listed = JSON.parse(acted.text) as { actions: { id: string; container: { name: string } }[] };
      const [actions, spared] = ["prey", "spared"].map((name) => listed.actions.filter(({ container }) => container.name === name));
      expect(actions, acted.text).toMatchObject([{ kind: "isolate", state: "done" }]);
      expect(spared, acted.text).toMatchObject([{ kind: "isolate", state: "refused", reason: "protected" }]);
      expect(await docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", "prey")).toMatch(/^{"none":/);
      expect((await hullmark("action", "undo", actions?.[0]?.id ?? "", "-m", "a test of ours")).code).toBe(0);
      await eventually(
        () => hullmark("action", "ls", "-o", "json"),
        ({ text: told }) => (JSON.parse(told) as { actions: { state: string }[] }).actions[0]?.state === "done",
      );
      expect(await docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", "prey")).toMatch(/^{"bridge":/);
    } finally {
      await docker("rm", "-f", "prey", "spared");
    }
  });

  test("down leaves nothing of that either", async () => {
    const { code, text } = await hullmark("down", "--state", state);
    expect(text).toContain("✓ verifier, agent and actuator are stopped");
    expect(code, text).toBe(0);
    await expectNothingLeft();
  });
});

describe("what up refuses", () => {
  test("a directory that is someone else's", async () => {
    expect(await hullmark("up", "--state", bed.directory, "--docker-socket", bed.engine?.socketPath ?? "")).toMatchObject({
      code: 2,
      text: expect.stringContaining("name another directory"),
    });
  });

  test("a host without engine, before anything is made", async () => {
    expect(await hullmark("up", "--state", state, "--docker-socket", join(bed.directory, "none.sock"))).toMatchObject({
      code: 3,
      text: expect.stringContaining("no Docker Engine answers"),
    });
    expect(existsSync(join(bed.directory, "host"))).toBe(false);
  });
});
