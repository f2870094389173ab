/** A layer that two images share is altered on a real engine's disk: the node is marked by an actuator elsewhere, and lifted once that very layer is measured as signed again, and not before. */
import { createHash } from "node:crypto";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tpm } from "@hullmark/native";
import { afterAll, beforeAll, expect, onTestFailed, test } from "vitest";
import { tail } from "../../deploy/stack/stack.ts";
import type { Daemon } from "../../deploy/testbed/run.ts";
import { alertsOf, HttpReceiver } from "../fakes/http-receiver.ts";
import { directory, file, symlink, tar } from "../fakes/tar-writer.ts";
import { drifts, engineOf, eventually, type FaultBed, startFaultBed, type ToldNode, verifyLog, workloads } from "./fault-support.ts";
import { startActuatorOf } from "./host-actuator.ts";
import { loadPrograms } from "./images/programs.ts";
import { layerOf, type PushedImage, pushImage } from "./images/push.ts";

/** Of what a software TPM starts with. */
const UNMEASURED = "00".repeat(32);

/** @param mok values of PCR 14 that pass */
const policyOf = (pager: string, mok: readonly string[] = [UNMEASURED]): string => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: layers }
spec:
  mode: enforce
  intervals: { quote: 10s, rescan: 1m, heartbeat: 1s }
  nodes: [{ name: all, boot: { eventLog: optional }, pcrs: { "14": [${mok.map((value) => `"${value}"`).join()}] } }]
  alerts: { routes: [{ name: page, type: webhook, url: "${pager}", groupBy: [] }] }
  response:
    pause: 1m
    nodes:
      hourlyPercent: 100
      atOncePercent: 100
      rules:
        - { name: victim, select: { nodes: [node-0] }, reasons: [layer], marks: [label, cordon], actuators: [node-1], lift: automatic }
        - { name: other, select: { nodes: [node-1] }, reasons: [image], marks: [cordon], actuators: [node-0], lift: automatic }
        - { name: third, select: { nodes: [node-2] }, reasons: [pcr], marks: [cordon], actuators: [node-1], lift: automatic }
`;

interface MarkedNode extends ToldNode {
  readonly marks: readonly string[];
}

const SETTLE_MS = 120_000;
const NODES = 3;
let faults: FaultBed;
let pager: HttpReceiver;
const actuators: Daemon[] = [];
let calls: string;
const images: Record<string, PushedImage> = {};

beforeAll(async () => {
  pager = await new HttpReceiver().start();
  faults = await startFaultBed("layers", { tpms: NODES }, { agents: NODES, policy: policyOf(pager.url) });
  const { stack, bed } = faults;
  const programs = await loadPrograms();
  // Both stand on the same directory of the engine's.
  const base = layerOf(tar(directory("bin"), file("bin/busybox", programs.busybox, { mode: 0o755 }), symlink("bin/sh", "busybox")));
  for (const name of ["cart", "till"]) {
    const steps = [base, layerOf(tar(file("edition", `${name}\n`)))].map((layer, i) => ({ createdBy: `step ${i}`, layer }));
    images[name] = await pushImage(bed.registry?.host ?? "", `acme/${name}`, "1", { steps, config: { Cmd: ["/bin/busybox", "sleep", "86400"] } });
  }
  calls = join(stack.directory, "calls");
  const command = join(stack.directory, "hook");
  writeFileSync(command, `#!/bin/sh\necho "$@" "$HULLMARK_REASON" >> ${calls}\n`);
  chmodSync(command, 0o755);
  await startActuator("node-1", { nodes: { hook: { command }, allow: ["node-0", "node-2"], hourly: 2 }, purge: true });
  await startActuator("node-0", { nodes: { hook: { command }, allow: ["node-1"] }, purge: true });
});

async function startActuator(node: string, more: object): Promise<void> {
  actuators.push(await startActuatorOf(node, faults, { limits: { pauseSeconds: 1, hourlyPercent: 100 }, ...more }));
}

afterAll(async () => {
  for (const each of actuators) await each.stop();
  await faults?.bed.down();
  await pager?.[Symbol.asyncDispose]();
});

const told = (): string[] => (existsSync(calls) ? readFileSync(calls, "utf8").trim().split(/\s*\n/) : []);
const marked = async (node = "node-0"): Promise<readonly string[]> => (await faults.stack.json<MarkedNode>("node", "show", node)).marks;
/** On all nodes, whose agents see the same engine. */
const contents = async (name: string): Promise<string[]> =>
  (await workloads(faults.stack)).filter(({ container }) => container.name === name).map(({ content }) => content);
const settled = (name: string, content: string): Promise<string[]> =>
  eventually(
    `${name} is ${content}`,
    () => contents(name),
    (seen) => seen.length === NODES && seen.every((each) => each === content),
    SETTLE_MS,
  );
const open = async (): Promise<number> => (await drifts(faults.stack)).filter(({ state }) => state === "open").length;
const waits = async (): Promise<string[]> => {
  const { claims } = await faults.stack.json<{ claims: { code: string; detail: string }[] }>("status");
  return claims.filter(({ code }) => code === "not-measured").map(({ detail }) => detail);
};

const tagged = (name: string): string => images[name]?.tagged ?? "";
interface ToldAction {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly reason: string;
  readonly detail: string;
}
/** Asks for it, and waits until it is where it stays. @returns how that is */
async function purge(wanted: (action: ToldAction) => boolean, node = "node-0", layer = "0"): Promise<ToldAction> {
  const { code, stdout, stderr } = await faults.stack.hullmark("node", "purge", node, "--layer", layer, "-m", "INC-1");
  expect([code, stderr]).toEqual([0, ""]);
  const id = /^A-[0-9A-Z]+/.exec(stdout)?.[0] ?? "";
  return await eventually(stdout, () => action(id), wanted, SETTLE_MS);
}
const action = (id: string): Promise<ToldAction> => faults.stack.json<ToldAction>("action", "show", id);
/** Waits for how a purge that is measured ends. */
const ended = ({ id }: ToldAction, as: "failed" | "done"): Promise<ToldAction> =>
  eventually(
    as === "failed" ? "it is altered again" : "it is measured equal",
    () => action(id),
    ({ state }) => state === as,
    SETTLE_MS,
  );
const held = async (): Promise<unknown> => (await faults.stack.json<{ held: unknown }>("action", "ls")).held;
const pages = (): string[] => alertsOf(pager, "breaker").map(({ status, summary }) => `${status}: ${summary}`);
const isMeasuring = ({ state, reason }: ToldAction): boolean => state === "issued" && reason === "measuring";
const affected = async (node = "node-0"): Promise<unknown> => (await faults.stack.json<{ affected: unknown }>("node", "show", node)).affected;
const started = (name: string, image = name): Promise<string> => faults.victim(name).docker("run", "-d", "--name", name, tagged(image));
function logsOnFailure(): void {
  onTestFailed(() => {
    for (const name of ["actuator-node-0", "actuator-node-1", "verifier"]) console.error(`--- ${name}\n${tail(join(faults.bed.directory, `${name}.log`), 40)}`);
  });
}

test("poison on a layer that two images share: removing one image heals nothing, nor does having nothing run; the chain purged and measured equal does", async () => {
  logsOnFailure();
  const [cart, till] = [faults.victim("cart"), faults.victim("till")];
  // On layers of its own: what may be taken away in an hour is a share of all that runs.
  await cart.docker("run", "-d", "--name", "beside", faults.image.reference);
  for (const name of ["cart", "till"]) {
    await started(name);
    await settled(name, "affirming");
  }
  const layer = await cart.layerDirectory(0);
  expect(await till.layerDirectory(0)).toBe(layer);

  await cart.onHost("sh", "-c", `printf evil >> ${layer}/bin/busybox`);

  await eventually("the node is marked", marked, (marks) => marks.join() === "label,cordon", SETTLE_MS);
  expect(told()).toEqual(["mark label node-0 layer", "mark cordon node-0 layer"]);
  for (const name of ["cart", "till"]) await settled(name, "contraindicated");

  expect(await affected()).toMatchObject([
    { place: "layer", layerIndex: 0, open: true, containers: ["cart", "till"], images: [tagged("cart"), tagged("till")] },
  ]);

  // One of the two images: the directory stays, and what runs on it.
  await cart.docker("rm", "--force", "cart");
  await cart.docker("rmi", "--force", images["cart"]?.tagged ?? "");
  await eventually(
    "one is gone",
    () => contents("cart"),
    ({ length }) => length === 0,
    SETTLE_MS,
  );
  expect(await cart.onHost("ls", `${layer}/bin`)).toContain("busybox");
  await settled("till", "contraindicated");
  // Nothing runs on it any more, and nothing is open: that is no proof.
  await till.docker("rm", "--force", "till");
  await eventually("nothing is open", open, (count) => count === 0, SETTLE_MS);
  await eventually("it is said for what the node waits", waits, ([first]) =>
    /^node-0 stays marked until layer 0 of \S+acme\/(cart|till):1 is measured equal/.test(first ?? ""),
  );
  expect(await affected()).toMatchObject([{ open: false, containers: [], images: [tagged("cart"), tagged("till")] }]);
  // The next container of the image that is left runs the same.
  await started("till");
  await settled("till", "contraindicated");
  expect(await marked()).toEqual(["label", "cordon"]);

  // An image that the verifier knows nothing of stands on it too: not without people's knowledge.
  await till.docker("commit", "till", "other");
  await till.docker("create", "--name", "spare", tagged("till"), "true");
  await till.docker("create", "--name", "other-spare", "other", "true");
  // What does not run holds it as well, and stands on it as soon as it is started.
  expect(await faults.stack.json("node", "show", "node-0")).toMatchObject({
    affected: [{ containers: ["till"], stopped: ["spare"] }],
    stopped: { problem: null, unknown: 1, more: 0 },
  });
  await till.docker("rm", "other-spare");
  expect(await purge(({ state }) => state === "refused")).toMatchObject({ kind: "purge", reason: "more-than-named", detail: "other:latest" });
  expect(await till.onHost("ls", `${layer}/bin`)).toContain("busybox");
  await till.docker("rmi", "other");

  const first = await purge(isMeasuring);
  expect(await till.onHost("sh", "-c", `test -e ${layer} || echo gone`)).toBe("gone");
  expect(await till.docker("ps", "--all", "--format", "{{.Names}}")).toBe("beside");
  expect(await marked()).toEqual(["label", "cordon"]);
  // What altered it is there still, and does it again.
  await till.docker("create", "--name", "till", tagged("till"));
  const anew = await till.docker("image", "inspect", "-f", "{{.GraphDriver.Data.LowerDir}}", tagged("till"));
  await till.onHost("sh", "-c", `printf evil >> ${anew.trim()}/bin/busybox`);
  await till.docker("start", "till");
  expect(await ended(first, "failed")).toMatchObject({
    reason: "containment-failed",
    detail: expect.stringMatching(/^containment failed: the layer is altered again \(D-/),
  });
  expect(await held()).toMatchObject({ "containment-failed": 1 });
  await eventually(
    "people are paged",
    async () => pages(),
    ({ length }) => length > 0,
    SETTLE_MS,
  );
  expect(await marked()).toEqual(["label", "cordon"]);

  const second = await purge(isMeasuring);
  await started("till");
  await settled("till", "affirming");
  await ended(second, "done");
  await eventually("nothing is held", held, (now) => JSON.stringify(now) === "{}", SETTLE_MS);
  await eventually("the marks are lifted", marked, ({ length }) => length === 0, SETTLE_MS);
  expect(told().slice(2).sort()).toEqual(["lift cordon node-0", "lift label node-0"]);
  expect(pages()).toEqual(["firing: CRITICAL containment failed: layer 0 of node-0 is not as signed after it was purged"]);
  expect([await waits(), await affected()]).toEqual([[], []]);
  await verifyLog(faults.stack);
});

test("an image's configuration is altered in the engine's store: its host is marked, all that stands on the image's layers is listed and purged; altered again containment has failed; as signed, the marks are lifted", async () => {
  logsOnFailure();
  const node = "node-1";
  const before = told().length;
  const cart = faults.victim("cart");
  // What may be taken away in an hour is a share of all that runs.
  for (const spare of ["spare-1", "spare-2", "spare-3"]) await cart.docker("run", "-d", "--name", spare, faults.image.reference);
  for (const name of ["cart", "cart-two"]) await started(name, "cart");
  for (const name of ["cart", "cart-two"]) await settled(name, "affirming");
  const stored = join(engineOf(faults.bed).dataRoot, "image/overlay2/imagedb/content/sha256", images["cart"]?.configDigest.slice("sha256:".length) ?? "");
  // Of the same length: nothing but its bytes shows it.
  const alter = () => cart.onHost("sed", "-i", "s/86400/86409/", stored);

  await alter();

  await eventually(
    "its host is marked",
    () => marked(node),
    (marks) => marks.join() === "cordon",
    SETTLE_MS,
  );
  expect(told().slice(before)).toEqual(["mark cordon node-1 image"]);
  const poisoned = { place: "image", layerIndex: 1, chainId: expect.stringMatching(/^sha256:/), images: [tagged("cart")] };
  expect(await affected(node)).toMatchObject([{ ...poisoned, open: true, containers: ["cart", "cart-two"] }]);
  const first = await purge(isMeasuring, node, "1");
  expect(await cart.docker("ps", "--all", "--format", "{{.Names}}")).not.toContain("cart");
  expect(await affected(node)).toMatchObject([{ ...poisoned, open: false, containers: [] }]);
  // The engine makes nothing of it, and a pull brings the signed one.
  await expect(cart.docker("create", "--pull", "never", tagged("cart"))).rejects.toThrow();
  await cart.docker("pull", tagged("cart"));
  // What altered it does so again.
  await cart.docker("create", "--name", "cart", tagged("cart"));
  await alter();
  await cart.docker("start", "cart");
  expect(await ended(first, "failed")).toMatchObject({
    reason: "containment-failed",
    detail: expect.stringMatching(/^containment failed: the image's configuration is altered again \(D-/),
  });
  expect(await held()).toMatchObject({ "containment-failed": 1 });
  expect(await marked(node)).toEqual(["cordon"]);

  const second = await purge(isMeasuring, node, "1");
  await started("cart");
  await settled("cart", "affirming");
  await ended(second, "done");
  await eventually(
    "the marks are lifted",
    () => marked(node),
    ({ length }) => length === 0,
    SETTLE_MS,
  );
  expect(told().slice(before + 1)).toEqual(["lift cordon node-1"]);
  expect(await affected(node)).toEqual([]);
  await verifyLog(faults.stack);
});

test("a node measures into its TPM what policy does not list: it is marked, nothing that runs there is touched, and the marks are lifted once policy lists it", async () => {
  logsOnFailure();
  const node = "node-2";
  const [before, agent, tpm] = [told().length, faults.stack.agents[2], faults.bed.tpms[2]];
  if (!agent || !tpm) throw new Error("no agent, no TPM");
  const running = (): Promise<string> => faults.victim("till").docker("ps", "--no-trunc", "--quiet");
  const beside = await running();
  const measured = createHash("sha256").update("another key").digest();

  // A software TPM has one client at a time.
  await agent.stop();
  const chip = new Tpm();
  await chip.open(tpm.tcti);
  await chip.extendPcr(14, "sha256", measured);
  await chip.close();
  await agent.start();

  const reasons = async () => (await faults.stack.json<{ reasons: { code: string }[] }>("node", "show", node)).reasons.map(({ code }) => code);
  await eventually("it contradicts policy", reasons, (codes) => codes.includes("pcr"), SETTLE_MS);
  await eventually(
    "it is marked",
    () => marked(node),
    (marks) => marks.join() === "cordon",
    SETTLE_MS,
  );
  expect(told().slice(before)).toEqual(["mark cordon node-2 pcr"]);
  expect(await marked()).toEqual([]);
  expect(await running()).toBe(beside);

  const listed = createHash("sha256").update(Buffer.from(UNMEASURED, "hex")).update(measured).digest("hex");
  writeFileSync(faults.stack.policyPath, policyOf(pager.url, [UNMEASURED, listed]));
  await eventually(
    "the mark is lifted",
    () => marked(node),
    ({ length }) => length === 0,
    SETTLE_MS,
  );
  expect(told().slice(before + 1)).toEqual(["lift cordon node-2"]);
  expect(await reasons()).not.toContain("pcr");
  await verifyLog(faults.stack);
});
