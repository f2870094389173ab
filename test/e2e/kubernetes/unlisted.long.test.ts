/** A container that no runtime of its node tells of: the node is marked by an actuator elsewhere, what runs there runs on, and the marks go once that container has ended. */
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFailed, test } from "vitest";
import { type Stack, startStack, tail } from "../../../deploy/stack/stack.ts";
import { cgroupName } from "../../../deploy/testbed/cgroup.ts";
import { type NodeRuntime, startTestbed, type Testbed } from "../../../deploy/testbed/index.ts";
import { type Daemon, run } from "../../../deploy/testbed/run.ts";
import { drifts, eventually, type ToldNode, verifyLog } from "../fault-support.ts";
import { startActuatorOf } from "../host-actuator.ts";
import { ACCEPTANCE, acceptanceImage } from "../images/acceptance.ts";
import { loadPrograms } from "../images/programs.ts";
import { pushImage } from "../images/push.ts";

const POLICY = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: unlisted }
spec:
  mode: enforce
  intervals: { quote: 10s, rescan: 1m, heartbeat: 1s }
  response:
    pause: 1m
    nodes:
      hourlyPercent: 100
      atOncePercent: 100
      rules: [{ name: victim, select: { nodes: [node-0] }, reasons: [unlisted], marks: [label, cordon], actuators: [node-1], lift: automatic }]
`;
const SETTLE_MS = 120_000;

let bed: Testbed;
let node: NodeRuntime;
let stack: Stack;
let actuator: Daemon;
let calls: string;
/** Name of its cgroup, as of any engine's container. */
const smuggled = randomBytes(32).toString("hex");
/** In a namespace of containerd's that is not the kubelet's. */
const elsewhere = (...args: string[]): Promise<string> => run(node.ctrOf("elsewhere", ...args));

beforeAll(async () => {
  bed = await startTestbed({ name: "unlisted", parts: { nodeRuntime: true, registry: true, tpms: 2 } });
  if (!bed.nodeRuntime) throw new Error("no runtime");
  node = bed.nodeRuntime;
  const { tagged } = await pushImage(bed.registry?.host ?? "", "acme/web", "1", acceptanceImage(await loadPrograms()));
  stack = await startStack({ bed, policy: POLICY, agents: 2 });
  calls = join(stack.directory, "calls");
  const command = join(stack.directory, "hook");
  writeFileSync(command, `#!/bin/sh\necho "$@" "$HULLMARK_REASON" >> ${calls}\n`);
  chmodSync(command, 0o755);
  const nodes = { hook: { command }, allow: ["node-0"], hourly: 2 };
  actuator = await startActuatorOf("node-1", { stack, bed }, { limits: { pauseSeconds: 1 }, nodes });
  await elsewhere("images", "pull", "--plain-http", tagged);
  const group = `/${cgroupName(JSON.parse(readFileSync(join(bed.directory, "testbed.json"), "utf8")).id)}/${smuggled}`;
  await elsewhere("run", "--detach", "--cgroup", group, tagged, smuggled, ACCEPTANCE.tool, "wait");
});

afterAll(async () => {
  await actuator?.stop();
  await stack?.stop();
  await bed?.down();
});

const hooked = (): readonly string[] => (existsSync(calls) ? readFileSync(calls, "utf8").trim().split("\n") : []);
const shown = () => stack.json<ToldNode & { marks: readonly string[]; affected: readonly unknown[] }>("node", "show", "node-0");
const tasks = async (): Promise<string> => (await elsewhere("tasks", "list")).split("\n").find((line) => line.startsWith(smuggled)) ?? "";

/** Other test beds of this machine have containers too, of which this one's runtime does not tell. */
async function othersAcknowledged(): Promise<void> {
  for (const { id, kind, state, container } of await drifts(stack))
    if (kind === "unlisted" && state === "open" && container.id !== smuggled) await stack.hullmark("drift", "ack", id, "-m", "another test bed's");
}

test("its node is marked, nothing is done to it, and its end is the marks' end", { timeout: 600_000 }, async () => {
  onTestFailed(() => {
    for (const name of ["actuator-node-1", "agent-0", "verifier"]) console.error(`--- ${name}\n${tail(join(bed.directory, `${name}.log`), 40)}`);
  });
  const [agent] = stack.agents;
  if (!agent) throw new Error("no agent");
  expect([(await shown()).marks, hooked()]).toEqual([[], []]);
  // That of the other node says nothing of it: on its own node's word this one is marked.
  writeFileSync(agent.configPath, readFileSync(agent.configPath, "utf8").replace("otherContainers: ignore", "otherContainers: report"));
  await agent.stop();
  await agent.start();

  const its = expect.objectContaining({ place: "unlisted", layerIndex: null, open: true, containers: [expect.stringContaining(smuggled.slice(0, 16))] });
  await eventually(
    "the node is marked",
    shown,
    ({ marks, affected }) => marks.join() === "label,cordon" && JSON.stringify(affected).includes(smuggled.slice(0, 16)),
    SETTLE_MS,
  );
  expect((await shown()).affected).toContainEqual(its);
  expect(hooked()).toEqual(["mark label node-0 unlisted", "mark cordon node-0 unlisted"]);
  // A container that the runtime does not tell of cannot be named to an actuator.
  const { actions } = await stack.json<{ actions: { kind: string; state: string }[] }>("action", "ls");
  expect(actions).toMatchObject([{ kind: "mark node", state: "done" }]);
  expect(await tasks()).toContain("RUNNING");

  await elsewhere("tasks", "kill", "--signal", "KILL", smuggled);
  const settled = async () => {
    await othersAcknowledged();
    return await shown();
  };
  await eventually("the marks are lifted", settled, ({ marks }) => marks.length === 0, 2 * SETTLE_MS);
  expect(
    hooked()
      .slice(2, 4)
      .map((call) => call.trim())
      .sort(),
  ).toEqual(["lift cordon node-0", "lift label node-0"]);
  expect((await shown()).affected).not.toContainEqual(its);
  await verifyLog(stack);
});
