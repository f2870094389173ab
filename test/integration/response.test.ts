/** The verifier's part of acting: decided once, approved by people, held by pause and breaker, told to the actuator of that node alone. */
import { spawn } from "node:child_process";
import { generateKeyPairSync, sign } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toBinary } from "@bufbuild/protobuf";
import { intentMessage } from "@hullmark/proto/codec";
import { Verdict } from "@hullmark/proto/v1/common";
import { ActionKind, ActionState, type Intent, IntentSchema, NodeMark, Outcome, Response } from "@hullmark/proto/v1/response";
import { fromJson, toJson } from "@hullmark/verifier/adapters/sqlite/json";
import { QUIET_MS } from "@hullmark/verifier/core/response/alarm";
import type { ActionRow } from "@hullmark/verifier/ports/rows";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { Alertmanager } from "../fakes/alertmanager.ts";
import type { Attester } from "../fakes/attester.ts";
import { alertsOf, HttpReceiver } from "../fakes/http-receiver.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { listeningActuator } from "../fakes/listening-actuator.ts";
import { program } from "../fakes/program.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { Scrape } from "../fakes/scrape.ts";
import { scriptedWeb } from "../fakes/scripted-web.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const ACTUATOR = program("actuator");

let registry: FakeRegistry;
let image: PushedImage;
let verifier: TestVerifier;
let node: Attester;

beforeEach(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  verifier = new TestVerifier();
});
afterEach(async () => {
  await verifier.dispose();
  await registry.close();
});

const policy = (mode: string, rule: string, more = ""): string =>
  `apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec:\n  mode: ${mode}\n  intervals: { heartbeat: 5m, quote: 1h }\n  response:\n    rules: [{ name: all, ${rule} }]\n${more}`;
const RECREATE = "ladder: { low: [recreate], medium: [recreate], high: [recreate], critical: [recreate] }";

async function start(text: string): Promise<void> {
  await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(text)}`);
  node = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await node.connect();
}

const container = (index: number, added: readonly string[]) => scriptedWeb(image, index, added);

async function drifted(...indexes: number[]): Promise<void> {
  for (const index of indexes) node.set(container(index, ["etc/added"]));
  await node.report();
  // A quote for what has just been said: before it the node's word is not acted on.
  await verifier.adminClient.requestQuote({ nodeId: node.options.name });
}

const actuator = (nodeId = node.credential?.nodeId ?? "") => listeningActuator(verifier, nodeId);

/** Where people are paged. */
async function pager(): Promise<HttpReceiver> {
  const receiver = await new HttpReceiver().start();
  onTestFinished(() => receiver[Symbol.asyncDispose]());
  return receiver;
}

const paging = ({ url }: HttpReceiver): string => `  alerts: { routes: [{ name: page, type: webhook, url: "${url}", groupBy: [] }] }\n`;
const pages = (receiver: HttpReceiver): string[] => alertsOf(receiver, "breaker").map(({ status }) => status);

const people = () => verifier.admin().client(Response);
const listed = async () => (await people().listActions({})).actions;
const held = async () => (await people().listActions({})).held;
// Polls end when the condition holds; a busy machine may take its time.
vi.setConfig({ testTimeout: 180_000 });
const POLL = { timeout: 80_000, interval: 100 };
const SLOW_POLL = { timeout: 80_000, interval: 2000 };

test("drift becomes one intent, for the actuator of its node alone, and is settled by its first report", async () => {
  await start(policy("enforce", RECREATE));
  const other = verifier.attester({ name: "w-2", quoter: new FakeQuoter() });
  await other.connect();
  const [own, foreign] = [await actuator(), await actuator(other.credential?.nodeId ?? "")];
  await drifted(1);
  await expect.poll(() => own.intents.length, POLL).toBe(1);
  const [intent] = own.intents as [Intent];
  const [issued] = await listed();
  expect(intent).toMatchObject({ actionId: issued?.id, nodeId: node.credential?.nodeId, region: "eu-1", verifierId: "v1", kind: ActionKind.RECREATE });
  expect(intent).toMatchObject({ containerId: container(1, []).id, configDigest: image.configDigest, driftId: issued?.driftId });
  expect(issued).toMatchObject({ state: ActionState.ISSUED, rule: "all", containerName: "web-1" });
  // It comes again to who connects anew: what it carries out once is the actuator's to know.
  const again = await actuator();
  await expect.poll(() => again.intents.map(({ actionId }) => actionId), POLL).toEqual([intent.actionId]);
  await expect(foreign.report(intent, Outcome.DONE)).rejects.toMatchObject({ code: "NOT_FOUND" });
  await own.report(intent, Outcome.DONE);
  await own.report(intent, Outcome.REFUSED);
  expect(await listed()).toMatchObject([{ state: ActionState.DONE, newContainerId: "f".repeat(64), reason: "" }]);
  expect(foreign.intents).toEqual([]);
});

test("100 containers drift at once: the breaker lets two percent through, holds the rest and pages once, until that is over", async () => {
  const receiver = await pager();
  await start(policy("enforce", RECREATE, paging(receiver)));
  const { intents } = await actuator();
  await drifted(...Array.from({ length: 100 }, (_, i) => i));
  await expect.poll(held, POLL).toEqual({ breaker: 98 });
  expect(intents.length).toBe(2);
  expect(await listed()).toHaveLength(2);
  expect((await verifier.query.getStatus({})).claims).toMatchObject([{ code: "breaker", detail: expect.stringMatching(/^98 containers wait/) }]);
  await expect.poll(() => pages(receiver), POLL).toEqual(["firing"]);
  for (let i = 0; i < 100; i++) node.set(container(i, []));
  await node.report();
  await expect.poll(held, POLL).toEqual({});
  await expect
    .poll(() => {
      verifier.clock.shiftMs += QUIET_MS;
      return pages(receiver);
    }, SLOW_POLL)
    .toEqual(["firing", "resolved"]);
  expect(alertsOf(receiver, "breaker")[0]).toMatchObject({
    severity: "critical",
    summary: "CRITICAL the breaker of v1 holds actions back",
    nextCommand: "hullmark action ls",
  });
});

test("a host's own limits that refuse page too", async () => {
  const receiver = await pager();
  await start(policy("enforce", RECREATE, paging(receiver)));
  const { intents, report } = await actuator();
  await drifted(1);
  await expect.poll(() => intents.length, POLL).toBe(1);
  await report(intents[0] as Intent, Outcome.REFUSED);
  await expect.poll(() => pages(receiver), POLL).toEqual(["firing"]);
});

test("without an actuator nothing is asked for; when one comes, what is still wrong is", async () => {
  await start(policy("enforce", RECREATE));
  await drifted(1);
  await expect.poll(held, POLL).toEqual({ "no-actuator": 1 });
  expect(await listed()).toEqual([]);
  const { intents } = await actuator();
  await expect.poll(() => intents.length, POLL).toBe(1);
});

test("the stream of a revoked node's actuator ends at once, and is not taken up again", async () => {
  await start(policy("enforce", RECREATE));
  const first = await actuator();
  await drifted(1);
  await expect.poll(() => first.intents.length, POLL).toBe(1);
  await verifier.adminClient.revokeNode({ nodeId: node.options.name, reason: "stolen" });
  await expect.poll(() => first.ended(), POLL).toBe(true);
  await expect(first.report(first.intents[0] as Intent, Outcome.DONE)).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
});

test("the key of intents gives way: until it is retired both sign, so that actuators that know either go on; what was issued before is signed anew by those that count", async () => {
  await start(policy("enforce", RECREATE));
  const old = await actuator();
  await verifier.adminClient.rotateKey({ name: "intent", reason: "a year old" });
  await expect(verifier.adminClient.rotateKey({ name: "intent", reason: "again" })).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
  await drifted(1);
  await expect.poll(() => old.signed, POLL).toEqual([2]);
  await verifier.stop();
  await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policyPath}`);
  const both = await actuator();
  await expect.poll(() => both.signed, POLL).toEqual([2]);
  await verifier.adminClient.retireKey({ name: "intent", reason: "all have the new one" });
  // So that it reads its credentials anew.
  await expect.poll(() => both.ended(), POLL).toBe(true);
  const fresh = await actuator();
  await expect.poll(() => fresh.signed, POLL).toEqual([1]);
  expect(fresh.intents).toEqual(old.intents);
  await fresh.report(fresh.intents[0] as Intent, Outcome.DONE);
  expect(await listed()).toMatchObject([{ state: ActionState.DONE }]);
});

test("what somebody puts into the database is not signed: an intent goes out only if a key that counts signed it when it was issued", async () => {
  await start(policy("enforce", RECREATE));
  const first = await actuator();
  await drifted(1);
  await expect.poll(() => first.intents.length, POLL).toBe(1);
  const issued = first.intents[0] as Intent;
  await verifier.stop();
  const database = new Database(join(verifier.directory, "state", "verifier.db"));
  const stored = database.prepare<[], Record<string, unknown> & { body: string }>("SELECT * FROM actions").get();
  const row = fromJson<ActionRow>(stored?.body ?? "");
  const forge = (number: number, signatures: readonly Buffer[] | undefined): void => {
    const container = `${number}`.repeat(64);
    const id = Buffer.alloc(16, number);
    const body = Buffer.from(toBinary(IntentSchema, { ...issued, id, actionId: `A-${number}`, containerId: container }));
    const forged = { ...row, number, id: `A-${number}`, containerId: container, intent: { id, body, signatures } };
    const { names, values } = { names: Object.keys(stored ?? {}), values: { ...stored, number, id: forged.id, container_id: container, body: toJson(forged) } };
    database.prepare(`INSERT INTO actions (${names.join(", ")}) VALUES (${names.map((name) => `@${name}`).join(", ")})`).run(values);
  };
  forge(7, undefined);
  forge(8, row.intent?.signatures);
  const foreign = generateKeyPairSync("ed25519").privateKey;
  forge(9, [sign(null, intentMessage(Buffer.from("x")), foreign)]);
  database.close();
  await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policyPath}`);
  // Newest first: the genuine one, which comes again, is the last.
  const again = await actuator();
  await expect.poll(() => again.intents.length, POLL).toBeGreaterThan(0);
  expect(again.intents).toEqual([issued]);
});

test("a dry run records what would be done, once, and hands nothing out", async () => {
  await start(policy("dry-run", RECREATE));
  const { intents } = await actuator();
  await drifted(1);
  await expect.poll(listed, POLL).toMatchObject([{ state: ActionState.DRY_RUN, kind: ActionKind.RECREATE }]);
  node.set(container(1, ["etc/added", "etc/more"]));
  await node.report();
  verifier.policy(policy("observe", RECREATE));
  await verifier.adminClient.reloadPolicy({});
  expect(await listed()).toHaveLength(1);
  expect(intents).toEqual([]);
});

describe("people", () => {
  test("as many as policy asks for must approve, each once; then it is issued", async () => {
    await start(policy("enforce", `${RECREATE}, approvals: 2`));
    const { intents } = await actuator();
    await drifted(1);
    await expect.poll(listed, POLL).toMatchObject([{ state: ActionState.AWAITING, approvalsNeeded: 2 }]);
    const id = (await listed())[0]?.id ?? "";
    const approver = (await verifier.operator("approver")).client(Response);
    expect((await approver.approveAction({ id })).action).toMatchObject({ state: ActionState.AWAITING, approvals: [{ by: "some-approver" }] });
    await expect(approver.approveAction({ id })).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    expect(intents).toEqual([]);
    expect((await people().approveAction({ id })).action).toMatchObject({ state: ActionState.ISSUED });
    await expect.poll(() => intents.map(({ actionId }) => actionId), POLL).toEqual([id]);
    await expect(people().approveAction({ id })).rejects.toMatchObject({ code: "FAILED_PRECONDITION", detail: { reason: "NOT_AWAITING" } });
  });

  test("whoever is paged reads what waits for their yes, and later what was done, and is not paged again for that", async () => {
    const receiver = await pager();
    const alertmanager = await Alertmanager.start(receiver.url, ["incident"]);
    onTestFinished(() => alertmanager[Symbol.asyncDispose]());
    const route = `  alerts: { routes: [{ name: pager, type: alertmanager, url: "${alertmanager.url}" }] }\n`;
    await start(policy("enforce", `${RECREATE}, approvals: 1`, route));
    const { intents, report } = await actuator();
    await drifted(1);
    const told = async () => (await alertmanager.alerts()).map(({ annotations }) => annotations["description"]?.split("\n")[0]);
    const waits = /^Waits {2}for a yes to recreate web-1 on w-1 \(0 of 1\) · hullmark action approve (A-\w+)$/;
    await expect.poll(told, POLL).toEqual([expect.stringMatching(waits)]);
    const [, id = ""] = waits.exec((await told())[0] ?? "") ?? [];
    await people().approveAction({ id });
    await expect.poll(() => intents.length, POLL).toBe(1);
    await report(intents[0] as Intent, Outcome.DONE);
    await expect.poll(told, POLL).toEqual([expect.stringMatching(new RegExp(`^Done {3}web-1 on w-1 recreated \\d\\d:\\d\\d:\\d\\dZ \\(${id}\\)$`))]);
    expect(receiver.received).toHaveLength(1);
  });

  test("whoever was paged while something was being done is told, once, that it came to nothing", async () => {
    const receiver = await pager();
    const route = `  alerts: { routes: [{ name: pager, type: webhook, url: "${receiver.url}" }] }\n`;
    await start(policy("enforce", RECREATE, route));
    const { intents, report } = await actuator();
    await drifted(1);
    const told = () => alertsOf(receiver, "added").map(({ status, description }) => `${status} ${description.split("\n")[0]}`);
    await expect.poll(told, POLL).toEqual([expect.stringMatching(/^firing Doing {2}recreate web-1 on w-1, since /)]);
    await report(intents[0] as Intent, Outcome.FAILED);
    const failed = expect.stringMatching(/^firing Failed to recreate web-1 on w-1: .* · hullmark action show A-\w+$/);
    await expect.poll(told, POLL).toEqual([expect.anything(), failed]);
    expect((await listed()).filter(({ state }) => state === ActionState.FAILED)).not.toEqual([]);
    expect(told()).toHaveLength(2);
  });

  test("what was denied is not asked for again, and what is gone is withdrawn", async () => {
    await start(policy("enforce", `${RECREATE}, approvals: 1`, "    hourlyPercent: 100\n"));
    await actuator();
    await drifted(1, 2);
    await expect.poll(async () => (await listed()).length, POLL).toBe(2);
    const idOf = async (name: string): Promise<string> => (await listed()).find(({ containerName }) => containerName === name)?.id ?? "";
    await people().denyAction({ id: await idOf("web-1"), reason: "a test of ours" });
    node.set(container(2, []));
    await node.report();
    await expect
      .poll(async () => (await listed()).map(({ containerName, state, deniedBy }) => [containerName, ActionState[state], deniedBy]).sort(), POLL)
      .toEqual([
        ["web-1", "DENIED", "admin"],
        ["web-2", "WITHDRAWN", ""],
      ]);
  });

  test("an isolation contains its incident until people undo it, as many as policy asks for, and while all else is paused", async () => {
    const rule = "ladder: { low: [isolate], medium: [isolate], high: [isolate], critical: [isolate] }, approvals: 1, approvalsFor: { isolate: 0, release: 2 }";
    await start(policy("enforce", rule, "    hourlyPercent: 100\n"));
    const { intents, report } = await actuator();
    await drifted(1);
    await expect.poll(() => intents.map(({ kind }) => kind), POLL).toEqual([ActionKind.ISOLATE]);
    const id = intents[0]?.actionId ?? "";
    await expect(people().undoAction({ id, reason: "early" })).rejects.toMatchObject({ code: "FAILED_PRECONDITION", detail: { reason: "NOT_UNDOABLE" } });
    await report(intents[0] as Intent, Outcome.DONE);
    const state = async () => (await verifier.query.listIncidents({})).incidents.map((each) => each.state);
    await expect.poll(state, POLL).toEqual(["contained"]);
    await drifted(1, 2);
    await expect.poll(() => intents.map(({ containerId }) => containerId), POLL).toEqual([container(1, []).id, container(2, []).id]);
    await report(intents[1] as Intent, Outcome.REFUSED);

    await people().pauseActions({ reason: "INC-1" });
    const approver = (await verifier.operator("approver")).client(Response);
    const asked = (await approver.undoAction({ id, reason: "a test of ours" })).action;
    expect(asked).toMatchObject({ kind: ActionKind.RELEASE, state: ActionState.AWAITING, undoes: id, detail: "a test of ours", approvalsNeeded: 2 });
    await expect(people().undoAction({ id, reason: "again" })).rejects.toMatchObject({ detail: { reason: "NOT_UNDOABLE" } });
    await expect(approver.approveAction({ id: asked?.id ?? "" })).rejects.toMatchObject({ detail: { reason: "NOT_AWAITING" } });
    expect((await people().approveAction({ id: asked?.id ?? "" })).action).toMatchObject({ state: ActionState.ISSUED });
    await expect.poll(() => intents.at(-1)?.kind, POLL).toBe(ActionKind.RELEASE);
    expect(intents.at(-1)).toMatchObject({ containerId: container(1, []).id, actionId: asked?.id });
    await report(intents.at(-1) as Intent, Outcome.DONE);
    await expect.poll(state, POLL).toEqual(["open"]);
    await expect(people().undoAction({ id, reason: "again" })).rejects.toMatchObject({ detail: { reason: "NOT_UNDOABLE" } });
    await expect(people().undoAction({ id: "A-0000", reason: "none" })).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  test("a pause outlives the verifier; resumed, it goes on", async () => {
    await start(policy("enforce", RECREATE));
    await people().pauseActions({ reason: "INC-1" });
    await verifier.stop();
    await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policyPath}`);
    node = verifier.attester({ name: "w-3", quoter: new FakeQuoter() });
    await node.connect();
    const { intents } = await actuator();
    await drifted(1);
    await expect.poll(held, POLL).toEqual({ paused: 1 });
    expect((await people().listActions({})).pause).toMatchObject({ by: "admin", reason: "INC-1" });
    await people().resumeActions({ reason: "over" });
    await expect.poll(() => intents.length, POLL).toBe(1);
  });
});

describe("nodes that are not to be trusted", () => {
  const nodes = (pcr: string): string => `  nodes: [{ name: edge, select: { nodes: ["w-*"] }, boot: { eventLog: optional }, pcrs: { "4": ["${pcr}"] } }]\n`;
  const marking = (mode: string, pcr: string, more = ""): string => {
    const rule = `{ name: marked, select: { nodes: ["w-*"] }, marks: [label, cordon], actuators: ["ops-*"], lift: automatic }`;
    return policy(mode, RECREATE, `    pause: 1m\n    nodes: { rules: [${rule}] }\n${nodes(pcr)}${more}`);
  };
  const [RIGHT, WRONG] = ["00".repeat(32), "11".repeat(32)];
  /** Its boot is judged by a quote. */
  const judged = async (attester: Attester): Promise<void> => {
    await attester.report();
    await verifier.adminClient.requestQuote({ nodeId: attester.options.name });
  };
  const marksOf = async (id: string) => (await verifier.query.getNode({ id })).node;

  test("a false alarm of a pool marks one of them, by an actuator elsewhere, and pages once; well again it is lifted of what was put on, and of nothing else", async () => {
    const receiver = await pager();
    await verifier.start(
      `enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(marking("enforce", WRONG, paging(receiver)))}`,
    );
    const attesters: Attester[] = [];
    for (const name of ["ops-1", "w-1", "w-2", "w-3"]) {
      const attester = verifier.attester({ name, quoter: new FakeQuoter() });
      await attester.connect();
      await judged(attester);
      attesters.push(attester);
    }
    const [ops, own] = attesters as [Attester, Attester];
    const [elsewhere, there] = [await actuator(ops.credential?.nodeId ?? ""), await actuator(own.credential?.nodeId ?? "")];
    await expect.poll(held, POLL).toEqual({ breaker: 2 });
    await expect.poll(() => elsewhere.intents.length, POLL).toBe(1);
    const [intent] = elsewhere.intents as [Intent];
    expect(intent).toMatchObject({ kind: ActionKind.MARK_NODE, nodeId: ops.credential?.nodeId, containerId: "", configDigest: "" });
    expect(intent.node).toMatchObject({ name: expect.stringMatching(/^w-[123]$/), marks: [NodeMark.LABEL, NodeMark.CORDON], reason: "pcr" });
    const name = intent.node?.name ?? "";
    expect((await verifier.query.getStatus({})).claims).toMatchObject([{ code: "breaker", detail: expect.stringMatching(/^2 nodes wait/) }]);
    await expect.poll(() => pages(receiver), POLL).toEqual(["firing"]);
    // Somebody had cordoned it before.
    await elsewhere.report(intent, Outcome.DONE, [NodeMark.LABEL]);
    await expect.poll(() => marksOf(name), POLL).toMatchObject({ marks: [NodeMark.LABEL], markActions: [intent.actionId] });
    const action = { kind: ActionKind.MARK_NODE, state: ActionState.DONE, nodeName: name, actuatorNodeName: "ops-1", marksDone: [NodeMark.LABEL] };
    expect(await listed()).toMatchObject([action]);
    await verifier.stop();
    await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policyPath}`);
    expect(await marksOf(name)).toMatchObject({ marks: [NodeMark.LABEL] });
    verifier.policy(marking("enforce", RIGHT, paging(receiver)));
    await verifier.adminClient.reloadPolicy({});
    const again = await actuator(ops.credential?.nodeId ?? "");
    for (const attester of attesters) {
      const { mainAddress, enrolmentAddress } = verifier.attester({ name: attester.options.name }).options;
      attester.options = { ...attester.options, mainAddress, enrolmentAddress };
      await attester.connect();
      await judged(attester);
    }
    verifier.clock.shiftMs += 61_000;
    await expect.poll(() => again.intents.length, POLL).toBe(1);
    const [lift] = again.intents as [Intent];
    expect(lift).toMatchObject({ kind: ActionKind.LIFT_NODE, node: { name, marks: [NodeMark.LABEL], reason: "" } });
    await again.report(lift, Outcome.DONE, [NodeMark.LABEL]);
    await expect.poll(() => marksOf(name), POLL).toMatchObject({ marks: [], markActions: [] });
    expect(there.intents).toEqual([]);
  });

  test("an actuator's own process asks the operator's program on one node about another, and has what it put on taken off again", async () => {
    // An actuator takes no intent of a time to come: the pause passes by a clock that is behind at first.
    verifier.clock.shiftMs = -61_000;
    await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(marking("enforce", WRONG))}`);
    const [ops, bad] = ["ops-1", "w-1"].map((name) => verifier.attester({ name, quoter: new FakeQuoter() })) as [Attester, Attester];
    for (const attester of [ops, bad]) {
      await attester.connect();
      await judged(attester);
    }
    const directory = join(verifier.directory, "actuator");
    const calls = join(directory, "calls");
    mkdirSync(directory);
    writeFileSync(join(directory, "hook"), `#!/bin/sh\necho "$@" >> ${calls}\n`, { mode: 0o755 });
    const hullmark = await hullmarkOf(verifier);
    expect(await hullmark("node", "actuator", "ops-1", "--dir", join(directory, "credentials"))).toMatchObject({ code: 0 });
    const nodesOf = `nodes: { hook: { command: ${directory}/hook, arguments: [--pool, edge] }, allow: ["w-*"] }`;
    writeFileSync(
      join(directory, "actuator.yaml"),
      `credentialDirectory: ${directory}/credentials\nverifier: { address: "${verifier.mainAddress}" }\nstateDirectory: ${directory}/state\n${nodesOf}\n`,
    );
    const child = spawn(process.execPath, [ACTUATOR, "--config", join(directory, "actuator.yaml")], { stdio: ["ignore", "ignore", "inherit"] });
    const exited = new Promise((resolve) => child.once("exit", resolve));
    onTestFinished(async () => {
      child.kill("SIGKILL");
      await exited;
    });
    const called = (): string[] => (existsSync(calls) ? readFileSync(calls, "utf8").trimEnd().split("\n") : []);
    const marks = [NodeMark.LABEL, NodeMark.CORDON];
    await expect.poll(async () => (await marksOf("w-1"))?.marks, POLL).toEqual(marks);
    expect(called()).toEqual(["--pool edge mark label w-1", "--pool edge mark cordon w-1"]);
    verifier.policy(marking("enforce", RIGHT));
    await verifier.adminClient.reloadPolicy({});
    await verifier.adminClient.requestQuote({ nodeId: "w-1" });
    verifier.clock.shiftMs = 0;
    await expect.poll(async () => (await marksOf("w-1"))?.marks, POLL).toEqual([]);
    expect(called().slice(2).sort()).toEqual(["--pool edge lift cordon w-1", "--pool edge lift label w-1"]);
    expect((await listed()).map(({ kind, state }) => [kind, state]).sort()).toEqual([
      [ActionKind.MARK_NODE, ActionState.DONE],
      [ActionKind.LIFT_NODE, ActionState.DONE],
    ]);
  });

  test("a dry run tells once what would be put on, and hands nothing out; what runs there is told as on that node, never as clean, and the node is one page", async () => {
    const receiver = await pager();
    await start(marking("dry-run", WRONG, paging(receiver)));
    const { intents } = await actuator();
    for (let i = 0; i < 5; i++) node.set(container(i, []));
    await judged(node);
    await expect.poll(async () => (await marksOf("w-1"))?.verdict, POLL).toBe(Verdict.CONTRAINDICATED);
    const workloads = async () => (await verifier.query.listWorkloads({})).workloads;
    const shown = { verdict: Verdict.UNKNOWN, reason: "pcr", detail: expect.stringMatching(/^node w-1: /) };
    await expect
      .poll(async () => (await workloads()).map(({ verdict, reasons: [first] }) => ({ verdict, reason: first?.code, detail: first?.detail })), POLL)
      .toEqual(Array.from({ length: 5 }, () => shown));
    const counts = { containersClean: 0, containersWarning: 0, containersDrifted: 0, containersUnknown: 5 };
    expect(await verifier.query.getStatus({})).toMatchObject({ nodesTotal: 1, nodesAttested: 0, ...counts, unknownReasons: { pcr: 5 } });
    const { jwt } = await verifier.query.issueEar({ container: (await workloads())[0]?.containerId ?? "" });
    const ear = JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()) as {
      ear_status: string;
      submods: Record<string, { ear_status: string }>;
    };
    expect(ear.ear_status).toBe("contraindicated");
    expect(Object.values(ear.submods).map(({ ear_status: each }) => each)).not.toContain("affirming");
    const metrics = async () => (await Scrape.from(`http://127.0.0.1:${verifier.running?.httpPort}`)).text;
    await expect.poll(metrics, POLL).toMatch(/^hullmark_workloads\{verdict="unknown"\} 5$/m);
    await expect.poll(() => alertsOf(receiver, "pcr").length, POLL).toBe(1);
    const kinds = receiver.received.flatMap(({ body }) => (JSON.parse(body) as { data: { alerts: { kind: string }[] } }).data.alerts.map(({ kind }) => kind));
    expect(new Set(kinds)).toEqual(new Set(["pcr"]));
    await expect
      .poll(listed, POLL)
      .toMatchObject([{ state: ActionState.DRY_RUN, kind: ActionKind.MARK_NODE, nodeName: "w-1", driftId: expect.stringMatching(/^D-/) }]);
    expect(intents).toEqual([]);
    expect(await marksOf("w-1")).toMatchObject({ marks: [] });
  });
});
