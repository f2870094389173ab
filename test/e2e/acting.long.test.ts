/** The verifier is killed at each place where it can be, in the course of what people ask for on a Docker host and of what it does to a node: nothing is lost, and nothing is done twice. */
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RESPONSE_FAILPOINTS } from "@hullmark/verifier/core/response/index";
import { afterAll, beforeAll, expect, onTestFailed, test } from "vitest";
import { tail } from "../../deploy/stack/stack.ts";
import type { Daemon } from "../../deploy/testbed/run.ts";
import { file, tar } from "../fakes/tar-writer.ts";
import { eventually, type FaultBed, killedAt, logEntries, startFaultBed, type ToldNode, verifyLog, workloads } from "./fault-support.ts";
import { startActuatorOf, type ToldAction, type ToldActions } from "./host-actuator.ts";
import { acceptanceImage } from "./images/acceptance.ts";
import { layerOf, type PushedImage, pushImage } from "./images/push.ts";

/** Both agents see the same engine: what is done to containers is done for one of them. */
const POLICY = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: acting }
spec:
  mode: enforce
  intervals: { quote: 10s, rescan: 1m, heartbeat: 1s }
  response:
    pause: 1m
    hourlyPercent: 100
    rules:
      - { name: api, select: { nodes: [node-0], containers: ["api*"] }, ladder: { medium: [isolate], high: [isolate], critical: [isolate] } }
      - { name: halted, select: { nodes: [node-0], containers: ["halted*"] }, ladder: { medium: [stop], high: [stop], critical: [stop] } }
    nodes:
      hourlyPercent: 100
      atOncePercent: 100
      rules: [{ name: victim, select: { nodes: [node-0] }, reasons: [layer, runtime-layer], marks: [label, cordon], actuators: [node-1], lift: automatic }]
`;
const SETTLE_MS = 120_000;
const [BEFORE_ISSUE, AFTER_ISSUE, ...SETTLING] = RESPONSE_FAILPOINTS;

let faults: FaultBed;
/** Its last layer is its own. */
let poisoned: PushedImage;
let calls: string;
const actuators: Daemon[] = [];

beforeAll(async () => {
  faults = await startFaultBed("acting", { tpms: 2 }, { agents: 2, policy: POLICY });
  const { stack, bed } = faults;
  const { steps, config } = acceptanceImage(faults.victim("any").programs);
  const own = { createdBy: "COPY start", layer: layerOf(tar(file("srv/start", "#!/bin/sh\n", { mode: 0o755 }))) };
  poisoned = await pushImage(bed.registry?.host ?? "", "acme/poisoned", "1", { steps: [...steps, own], config });
  calls = join(stack.directory, "calls");
  const command = join(stack.directory, "hook");
  writeFileSync(command, `#!/bin/sh\necho "$@" >> ${calls}\n`);
  chmodSync(command, 0o755);
  await startActuator("node-0", { purge: true });
  await startActuator("node-1", { nodes: { hook: { command }, allow: ["node-0"], hourly: 2 } });
  // Limits are shares of all that runs.
  for (const name of ["beside-a", "beside-b", "beside-c"]) await faults.victim(name).docker("run", "-d", "--name", name, faults.image.reference);
});

afterAll(async () => {
  for (const each of actuators) await each.stop();
  await faults?.bed.down();
});

async function startActuator(node: string, more: object): Promise<void> {
  actuators.push(await startActuatorOf(node, faults, { limits: { pauseSeconds: 1, hourlyPercent: 100 }, ...more }));
}

function logsOnFailure(): void {
  onTestFailed(() => {
    for (const name of ["actuator-node-0", "actuator-node-1", "verifier"]) console.error(`--- ${name}\n${tail(join(faults.bed.directory, `${name}.log`), 40)}`);
  });
}

const actions = async (): Promise<readonly ToldAction[]> => (await faults.stack.json<ToldActions>("action", "ls")).actions;
const ofKind = async (...kinds: string[]): Promise<readonly ToldAction[]> => (await actions()).filter(({ kind }) => kinds.includes(kind));
const toldOf = async (id: string): Promise<readonly ToldAction[]> => (await actions()).filter(({ container }) => container.id === id);
const done = (what: string, ask: () => Promise<readonly ToldAction[]>): Promise<readonly ToldAction[]> =>
  eventually(`${what} is done`, ask, (all) => all.length > 0 && all.every(({ state }) => state === "done"), SETTLE_MS);
/** As the host's hook was called. */
const hooked = (): readonly string[] => (existsSync(calls) ? readFileSync(calls, "utf8").trim().split("\n") : []);
const marked = async (): Promise<readonly string[]> => (await faults.stack.json<ToldNode & { marks: readonly string[] }>("node", "show", "node-0")).marks;
const kill = (steps: Parameters<typeof killedAt>[1], begin: () => Promise<unknown>): Promise<void> => killedAt(faults.stack, steps, begin, SETTLE_MS);

/** What a person asks for, killed at each place: whoever got no answer, and finds nothing on record, asks again. @param recorded what is on record of it */
async function askedFor(
  ask: () => Promise<{ readonly code: number; readonly stderr: string }>,
  recorded: () => Promise<readonly ToldAction[]>,
  settling = SETTLING,
): Promise<void> {
  const codes: number[] = [];
  // Its actuator, and its node, come back a moment after it.
  const heard = () => eventually("it is heard", ask, ({ stderr }) => !stderr.includes("not now"), SETTLE_MS);
  const begin = async () => void codes.push((await heard()).code);
  await kill([BEFORE_ISSUE], begin);
  expect(await recorded()).toEqual([]);
  await kill([AFTER_ISSUE, ...settling], begin);
  expect(codes).not.toContain(0);
  expect(await recorded()).toHaveLength(1);
}

/** On both nodes. */
async function clean(name: string, image = faults.image.reference): Promise<string> {
  const id = await faults.victim(name).docker("run", "-d", "--name", name, "--restart", "always", "--stop-signal", "SIGKILL", image, "sleep", "3600");
  const seen = async () => (await workloads(faults.stack)).filter(({ container }) => container.id === id).map(({ content }) => content);
  await eventually(`${name} is clean`, seen, (all) => all.join() === "affirming,affirming", SETTLE_MS);
  return id;
}

/** One intent each, whatever was begun. */
async function issuedOnce(...told: readonly ToldAction[]): Promise<void> {
  for (const { id } of told) {
    const issued = async () =>
      (await logEntries(faults.stack))
        .filter((each) => each.type === "action" && each["id"] === id)
        .map(({ state, reason }) => (reason === "measuring" ? reason : state));
    const states = await eventually(`the log tells of ${id}`, issued, (all) => all.includes("done"), SETTLE_MS);
    expect([states.filter((each) => each === "issued").length, states.filter((each) => each === "done").length]).toEqual([1, 1]);
  }
}

test("a halt: it is stopped, once, and stays so", { timeout: 600_000 }, async () => {
  logsOnFailure();
  const victim = faults.victim("halted");
  const id = await clean("halted");
  await kill(RESPONSE_FAILPOINTS, () => victim.sh("echo x >> /etc/nginx/nginx.conf"));
  const told = await done("it", () => toldOf(id));
  expect(told.map(({ kind }) => kind)).toEqual(["stop"]);
  expect(await victim.docker("inspect", "-f", "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}", id)).toBe("false no");
  await issuedOnce(...told);
  await victim.docker("rm", "-f", id);
});

test("an isolation, and its release that a person asks for: it is on its network again, and is not isolated anew", { timeout: 900_000 }, async () => {
  logsOnFailure();
  const victim = faults.victim("api");
  const id = await clean("api");
  const networks = () => victim.docker("inspect", "-f", "{{.State.Running}}{{range $name, $_ := .NetworkSettings.Networks}} {{$name}}{{end}}", id);
  await kill(RESPONSE_FAILPOINTS, () => victim.sh("echo x >> /etc/nginx/nginx.conf"));
  const [isolation] = await done("the isolation", () => toldOf(id));
  expect([isolation?.kind, await networks()]).toEqual(["isolate", "true none"]);
  await askedFor(
    () => faults.stack.hullmark("action", "undo", isolation?.id ?? "", "-m", "INC-2"),
    () => ofKind("release"),
  );
  const told = await done("the release", () => toldOf(id));
  expect([told.map(({ kind }) => kind).sort(), await networks()]).toEqual([["isolate", "release"], "true bridge"]);
  await issuedOnce(...told);
  await victim.docker("rm", "-f", id);
});

test("the marks of a node for an altered layer, its purge that a person asks for, and the lift: each once", { timeout: 1_200_000 }, async () => {
  logsOnFailure();
  const { stack } = faults;
  const victim = faults.victim("poisoned");
  const before = hooked().length;
  await clean("poisoned", poisoned.tagged);
  const layerIndex = poisoned.diffIds.length - 1;
  const layer = await victim.layerDirectory(layerIndex);
  await kill(RESPONSE_FAILPOINTS, () => victim.onHost("sh", "-c", `echo evil >> ${layer}/srv/start`));
  await eventually("the node is marked", marked, (marks) => marks.join() === "label,cordon", SETTLE_MS);
  expect(hooked().slice(before)).toEqual(["mark label node-0", "mark cordon node-0"]);

  await askedFor(
    () => stack.hullmark("node", "purge", "node-0", "--layer", `${layerIndex}`, "-m", "INC-3"),
    () => ofKind("purge"),
  );
  const [purge] = await ofKind("purge");
  expect(purge).toMatchObject({ state: "issued", reason: "measuring" });
  expect(await victim.onHost("sh", "-c", `test -e ${layer} || echo gone`)).toBe("gone");
  expect(await victim.docker("ps", "--all", "--format", "{{.Names}}")).not.toContain("poisoned");
  expect(await victim.docker("images", "-q", poisoned.tagged)).toBe("");
  expect(await marked()).toEqual(["label", "cordon"]);

  // What ends the purge, then each step of the lift.
  await kill([...SETTLING, ...RESPONSE_FAILPOINTS], () => victim.docker("run", "-d", "--name", "poisoned", poisoned.tagged, "sleep", "3600"));
  await eventually("the marks are lifted", marked, ({ length }) => length === 0, SETTLE_MS);
  expect(hooked().slice(before)).toEqual(["mark label node-0", "mark cordon node-0", expect.stringMatching(/^lift/), expect.stringMatching(/^lift/)]);
  const all = await ofKind("mark node", "purge", "lift node");
  expect(all.map(({ kind, state }) => `${kind} ${state}`).sort()).toEqual(["lift node done", "mark node done", "purge done"]);
  await issuedOnce(...all);
  expect(await victim.docker("inspect", "-f", "{{.State.Running}}", "poisoned")).toBe("true");
  await verifyLog(stack);
});

test("what the engine itself made for a container is altered: its node is marked, the container is left alone, and with it the marks go", {
  timeout: 600_000,
}, async () => {
  logsOnFailure();
  const victim = faults.victim("inited");
  const before = hooked().length;
  const id = await clean("inited");
  const [own = ""] = (await victim.docker("inspect", "-f", "{{.GraphDriver.Data.LowerDir}}", id)).split(":");
  expect(own).toMatch(/-init\/diff$/);
  await victim.onHost("sh", "-c", `echo evil > ${own}/etc/evil`);
  await eventually("the node is marked", marked, (marks) => marks.join() === "label,cordon", SETTLE_MS);
  expect(hooked().slice(before)).toEqual(["mark label node-0", "mark cordon node-0"]);
  const { affected } = await faults.stack.json<{ affected: unknown }>("node", "show", "node-0");
  expect(affected).toMatchObject([{ place: "runtime-layer", layerIndex: null, open: true, containers: ["inited"] }]);
  expect([await victim.docker("inspect", "-f", "{{.State.Running}}", id), await toldOf(id)]).toEqual(["true", []]);
  await victim.docker("rm", "-f", id);
  await eventually("the marks are lifted", marked, ({ length }) => length === 0, SETTLE_MS);
  expect(
    hooked()
      .slice(before + 2)
      .sort(),
  ).toEqual(["lift cordon node-0", "lift label node-0"]);
});
