/** What the holder of the intents' key cannot have a real engine's host do with layers and with nodes; and captures of what is stopped and rolled back, killed at each place of theirs. The test plays the verifier. */
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FAILPOINTS } from "@hullmark/actuator/core/carry-out";
import { ActionKind, NodeMark, Outcome } from "@hullmark/proto/v1/response";
import { generateX25519Identity, identityToRecipient } from "age-encryption";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { program, STATE_ROOT } from "../../deploy/testbed/paths.ts";
import { run } from "../../deploy/testbed/run.ts";
import { engineOf } from "./fault-support.ts";
import { type IntentInit, LoneActuator } from "./lone-actuator.ts";

const NODE = "00112233445566aa";
let bed: Testbed;
let actuator: LoneActuator;
let recipient: string;
const docker = (...args: string[]): Promise<string> => run([program("docker"), "--host", engineOf(bed).dockerHost, ...args]).then((out) => out.trim());

beforeAll(async () => {
  bed = await startTestbed({ name: "e2e-misuse", parts: { engine: true } });
  actuator = await LoneActuator.open({ nodeId: NODE }, bed.env);
  recipient = await identityToRecipient(await generateX25519Identity());
  for (const name of ["box", "earlier"]) await imported(name);
});

afterEach(() => actuator.ended("SIGKILL"));

afterAll(async () => {
  await actuator?.close();
  await bed?.down();
});

/** An image of one layer, which is its own. */
async function imported(name: string): Promise<void> {
  const script = `cp "$2" "$1/busybox" && echo ${name} > "$1/${name}.file" && tar -C "$1" -c busybox ${name}.file | ${program("docker")} --host ${engineOf(bed).dockerHost} import - ${name}`;
  await run(["/bin/sh", "-c", script, "sh", actuator.home, join(STATE_ROOT, "cache", "busybox")]);
}

const settings = (more: object = {}) => ({ docker: { socket: engineOf(bed).socketPath }, limits: { hourlyPercent: 100, pauseSeconds: 1 }, ...more });
const started = (name: string, image: string, ...more: string[]): Promise<string> =>
  docker("run", "-d", "--name", name, "--stop-signal", "SIGKILL", ...more, image, "/busybox", "sleep", "3600");
/** All that the engine has. */
const all = async (): Promise<string> =>
  [
    await docker("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}"),
    await docker("images", "-a", "--no-trunc", "--format", "{{.ID}} {{.Repository}}"),
  ]
    // Of one second's the engine has them in any order.
    .flatMap((each) => each.split("\n"))
    .sort()
    .join("\n");

/** @returns outcome and reason of a new intent, told by an actuator that runs */
async function asked(name: string, more: object, intent: IntentInit): Promise<readonly [Outcome, string]> {
  const id = actuator.offer({ nodeId: NODE, ...intent });
  actuator.start(name, settings(more));
  const { outcome, reason } = await actuator.settled(id);
  await actuator.ended("SIGTERM");
  return [outcome, reason];
}

test("a purge takes nothing that is not named, is protected, is another's or is too much, nor what another host was told; and is done once", {
  timeout: 600_000,
}, async () => {
  await imported("cart");
  await docker("tag", "cart", "cart:named");
  const [cart = "", box = ""] = [await docker("inspect", "-f", "{{.Id}}", "cart"), await docker("inspect", "-f", "{{.Id}}", "box")];
  const chainId = await docker("image", "inspect", "-f", "{{index .RootFS.Layers 0}}", "cart");
  const purge = { kind: ActionKind.PURGE, purge: { chainId, imageDigests: [cart] } };
  const allowed = { purge: true };
  await started("beside", "box");
  await started("cart-1", "cart");
  const refused = async (why: string, more: object, intent: IntentInit = purge): Promise<void> => {
    const before = await all();
    expect(await asked(`purge-${why}`, more, intent), why).toEqual([Outcome.REFUSED, why]);
    expect(await all(), why).toBe(before);
  };
  await refused("purge-not-allowed", {});
  await refused("protected", { ...allowed, limits: { hourlyPercent: 100, pauseSeconds: 1, protect: ["cart-*"] } });
  // A layer of the engine's, and images that do not stand on it: none of them goes.
  await refused("more-than-named", allowed, { ...purge, purge: { chainId, imageDigests: [box] } });
  await docker("commit", "cart-1", "onit");
  await refused("more-than-named", allowed);
  await docker("rmi", "onit");
  await refused("gone", allowed, { ...purge, purge: { chainId: `sha256:${"9".repeat(64)}`, imageDigests: [cart] } });
  await started("cart-2", "cart", "--label", "com.docker.compose.project=shop");
  await refused("owned-by-compose", allowed);
  await docker("rm", "-f", "cart-2");
  await started("cart-3", "cart");
  await refused("breaker", { ...allowed, limits: { hourlyPercent: 100, pauseSeconds: 1, purgeContainers: 1 } });
  await docker("rm", "-f", "cart-3");

  // Nothing is told of what is not whole, or not for this host: the last of them shows that it came past the others.
  const before = await all();
  const past = await docker("inspect", "-f", "{{.Id}}", "beside");
  const whole = { nodeId: NODE, ...purge };
  const silent = [
    { ...whole, nodeId: "ffffffffffffffff" },
    { ...whole, region: "us-1" },
    { ...whole, containerId: past },
    { ...whole, configDigest: cart },
  ];
  actuator.offered.splice(0, Number.POSITIVE_INFINITY, ...silent.map((each) => actuator.signed(each)));
  const last = Buffer.alloc(16, 7);
  actuator.offered.push(actuator.signed({ id: last, ...whole, purge: { chainId: `sha256:${"9".repeat(64)}`, imageDigests: [cart] } }));
  const told = actuator.reports.length;
  actuator.start("purge-silent", settings(allowed));
  expect(await actuator.settled(last)).toMatchObject({ outcome: Outcome.REFUSED, reason: "gone" });
  await actuator.ended("SIGTERM");
  expect([actuator.reports.length - told, await all()]).toEqual([1, before]);

  // Done, and told again to whoever says it again: what was started of it since stays.
  const id = actuator.offer(whole);
  actuator.start("purge-again", settings(allowed));
  expect(await actuator.settled(id)).toMatchObject({ outcome: Outcome.DONE });
  await actuator.ended("SIGTERM");
  expect(await all()).not.toContain("cart");
  await imported("cart");
  await started("cart-1", "cart");
  const anew = await all();
  const again = actuator.told(id).length;
  actuator.start("purge-again", settings(allowed));
  await expect.poll(() => actuator.told(id).length, { timeout: 90_000 }).toBeGreaterThan(again);
  expect(new Set(actuator.told(id).map(({ outcome }) => outcome))).toEqual(new Set([Outcome.DONE]));
  expect(await all()).toBe(anew);
  await docker("rm", "-f", "cart-1", "beside");
});

test("marks go to no node but those that the host allows, to no more than it says, and are lifted where it put them on itself; each once", {
  timeout: 600_000,
}, async () => {
  const calls = join(actuator.home, "calls");
  const command = join(actuator.home, "hook");
  writeFileSync(command, `#!/bin/sh\necho "$1 $2 $3" >> ${calls}\n`);
  chmodSync(command, 0o755);
  const called = (): readonly string[] => (existsSync(calls) ? readFileSync(calls, "utf8").trim().split("\n") : []);
  const nodes = { nodes: { hook: { command }, allow: ["w-*"] } };
  const about = (kind: ActionKind, name: string, digit = "9"): IntentInit => ({
    ...{ nodeId: NODE, kind },
    node: { nodeId: digit.repeat(16), name, marks: [NodeMark.CORDON], reason: kind === ActionKind.MARK_NODE ? "layer" : "" },
  });
  expect(await asked("no-nodes", {}, about(ActionKind.MARK_NODE, "w-9"))).toEqual([Outcome.REFUSED, "unknown-kind"]);
  expect(await asked("nodes", nodes, about(ActionKind.MARK_NODE, "db-1"))).toEqual([Outcome.REFUSED, "protected"]);
  expect(await asked("nodes", nodes, about(ActionKind.LIFT_NODE, "w-9"))).toEqual([Outcome.REFUSED, "not-ours"]);
  expect(called()).toEqual([]);

  const marking = actuator.offer(about(ActionKind.MARK_NODE, "w-9"));
  const [replayed] = actuator.offered;
  if (!replayed) throw new Error("nothing is offered");
  actuator.start("nodes", settings(nodes));
  expect(await actuator.settled(marking)).toMatchObject({ outcome: Outcome.DONE });
  await actuator.ended("SIGTERM");
  expect(await asked("nodes", nodes, about(ActionKind.MARK_NODE, "w-8", "8"))).toEqual([Outcome.REFUSED, "breaker"]);
  // Nor another's that goes by the same name.
  expect(await asked("nodes", nodes, about(ActionKind.LIFT_NODE, "w-9", "8"))).toEqual([Outcome.REFUSED, "not-ours"]);
  expect(await asked("nodes", nodes, about(ActionKind.LIFT_NODE, "w-9"))).toEqual([Outcome.DONE, ""]);
  expect(called()).toEqual(["mark cordon w-9", "lift cordon w-9"]);

  const told = actuator.told(marking).length;
  actuator.offered.splice(0, Number.POSITIVE_INFINITY, replayed);
  actuator.start("nodes", settings(nodes));
  await expect.poll(() => actuator.told(marking).length, { timeout: 90_000 }).toBeGreaterThan(told);
  expect(called()).toEqual(["mark cordon w-9", "lift cordon w-9"]);
});

const CAPTURING = [...FAILPOINTS.captures, "captured"];
test.each([ActionKind.STOP, ActionKind.ROLLBACK].flatMap((kind) => CAPTURING.map((failpoint) => ({ kind, failpoint }))))(
  "killed at $failpoint, started again: one capture, and it is done, once (kind $kind)",
  async ({ kind, failpoint }) => {
    const name = `captured-${kind}-${failpoint}`;
    const old = await started(name, "box", "--restart", "always");
    const configDigest = await docker("inspect", "-f", "{{.Image}}", old);
    const earlier = await docker("inspect", "-f", "{{.Id}}", "earlier");
    const back = kind === ActionKind.ROLLBACK ? { targetConfigDigest: earlier, targetReference: `registry.example/box@${earlier}` } : {};
    const id = actuator.offer({ nodeId: NODE, containerId: old, configDigest, kind, ...back });
    const own = settings({ capture: { recipients: [recipient], maxSeconds: 120 } });
    actuator.start(name, own, failpoint);
    // A place that is not passed would leave it running.
    expect(await actuator.ended()).toBe("SIGKILL");
    expect(await docker("inspect", "-f", "{{.State.Running}}", old)).toBe("true");
    actuator.start(name, own);
    expect(await actuator.settled(id)).toMatchObject({ outcome: Outcome.DONE, capture: { digest: expect.stringMatching(/^sha256:/) } });
    await actuator.ended("SIGTERM");
    expect(readdirSync(join(actuator.home, name, "captures"))).toHaveLength(1);
    expect(actuator.taken(name)).toHaveLength(1);
    expect(await docker("inspect", "-f", "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}", old)).toBe("false no");
    const ids = (await docker("ps", "-a", "--no-trunc", "-q", "--filter", `name=^${name}`)).split("\n");
    expect(ids).toHaveLength(kind === ActionKind.ROLLBACK ? 2 : 1);
    if (kind === ActionKind.ROLLBACK) expect(await docker("inspect", "-f", "{{.Image}} {{.State.Running}}", name)).toBe(`${earlier} true`);
    await docker("rm", "-f", ...ids);
  },
);
