/** Nodes that fall silent: told by the policy's routes once for all of them, after its patience, over restarts; over when they are heard and appraised again. Nothing is done to them. */
import { DriftState } from "@hullmark/proto/v1/query";
import { Response } from "@hullmark/proto/v1/response";
import { afterEach, beforeEach, expect, test } from "vitest";
import { fetchIncidents } from "../../cli/incident/fetch.ts";
import { Attester } from "../fakes/attester.ts";
import { alertsOf, HttpReceiver } from "../fakes/http-receiver.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { scriptedWeb } from "../fakes/scripted-web.ts";
import { TestVerifier } from "../fakes/verifier.ts";
import { VerifierProcess } from "../fakes/verifier-process.ts";

const NODES = 300;
const POLL = { timeout: 240_000, interval: 100 };
/** Two heartbeats and more, within the life of a certificate. */
const LONG_MS = 11 * 60_000;

let registry: FakeRegistry;
let image: PushedImage;
let receiver: HttpReceiver;
let verifier: TestVerifier;

beforeEach(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  receiver = await new HttpReceiver().start();
  verifier = new TestVerifier();
});
afterEach(async () => {
  await verifier.dispose();
  await receiver[Symbol.asyncDispose]();
  await registry.close();
});

/** Everything that could be done to a container or node is asked for, by rules that select all of them. */
const policyOf = (silentAfter: string, more = ""): string => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: p }
spec:
  mode: enforce
  intervals: { heartbeat: 5m, quote: 10m }
  ${more}
  alerts:
    silentAfter: ${silentAfter}
    routes: [{ name: hook, type: webhook, url: "${receiver.url}", minSeverity: info }]
  response:
    rules: [{ name: all, ladder: { info: [stop], low: [stop], medium: [stop], high: [stop], critical: [stop] }, unmeasurable: [stop], unmeasurableAfter: 1m }]
    nodes: { rules: [{ name: all, marks: [label, taint, cordon], actuators: ["**"], lift: automatic, withholdCertificate: true }] }
`;

async function start(silentAfter: string, more?: string): Promise<void> {
  const file = verifier.policy(policyOf(silentAfter, more));
  await verifier.start(`policyFile: ${file}\nenrolment: { mode: tofu, acceptWithoutCertificate: true, perSecond: 1000 }`);
}

const addresses = () => ({ mainAddress: verifier.mainAddress, enrolmentAddress: `localhost:${verifier.running?.enrolmentPort}` });

async function attests(node: Attester, at: number): Promise<void> {
  node.options = { ...node.options, ...addresses() };
  node.answering = true;
  await node.connect();
  node.set(scriptedWeb(image, at, []));
  await node.report();
}

const chunked = async <T>(items: readonly T[], work: (item: T, index: number) => Promise<unknown>): Promise<void> => {
  for (let at = 0; at < items.length; at += 20) await Promise.all(items.slice(at, at + 20).map((item, i) => work(item, at + i)));
};

async function fleet(count: number): Promise<Attester[]> {
  const nodes = Array.from({ length: count }, (_, at) => verifier.attester({ name: `w-${at}`, quoter: new FakeQuoter() }));
  await chunked(nodes, attests);
  await expect.poll(unattested, POLL).toBe(0);
  return nodes;
}

const told = () => alertsOf(receiver, "silent");
const statuses = () => told().map(({ status }) => status);
const unattested = async () => (await verifier.query.getStatus({})).nodesUnattested.length;
const nodeOf = async (id: string) => await verifier.query.getNode({ id });
const drifts = async () => (await verifier.query.listDrift({ pageSize: 1000 })).drifts.filter(({ kind }) => kind === "silent");
const standing = async () => (await drifts()).filter(({ state }) => state === DriftState.OPEN || state === DriftState.ACKNOWLEDGED).length;
const incidents = async () => (await fetchIncidents({ channel: verifier.admin(), signal: new AbortController().signal, namespace: undefined }, true)).incidents;

/** No action, none that waits, and no certificate withheld. */
async function nothingDone(name: string): Promise<void> {
  const { actions, held } = await verifier.admin().client(Response).listActions({ pageSize: 100 });
  const { "node-not-attested": _, ...others } = held;
  expect({ actions, others }).toEqual({ actions: [], others: {} });
  expect((await nodeOf(name)).certificateWithheld).toBe(false);
}

test(`${NODES} nodes that fall silent at once are one incident and one page, over a restart too, and over when all are back`, {
  timeout: 600_000,
}, async () => {
  await start("5s");
  const nodes = await fleet(NODES);
  // Half of them lose their stream, half keep one of which nothing is heard.
  await chunked(nodes.slice(0, NODES / 2), (node) => node.close());
  for (const node of nodes) node.answering = false;
  verifier.clock.shiftMs += LONG_MS;
  await expect.poll(standing, POLL).toBe(NODES);
  await expect.poll(statuses, POLL).toEqual(["firing"]);
  expect(told()[0]).toMatchObject({ severity: "high", playbook: "docs/playbooks.md#silent-nodes", description: expect.stringContaining("not heard any more") });
  const [incident, ...others] = await incidents();
  expect([incident?.kind, incident?.nodes.length, others.length]).toEqual(["silent", NODES, 0]);
  const reasons = async (name: string) => (await nodeOf(name)).node?.reasons.map(({ code }) => code);
  expect([await reasons("w-0"), await reasons(`w-${NODES - 1}`)]).toMatchObject([
    expect.arrayContaining(["unreachable", "silent"]),
    expect.arrayContaining(["stale", "silent"]),
  ]);
  await nothingDone("w-0");

  await verifier.stop();
  await start("5s");
  await expect.poll(async () => await reasons("w-0"), POLL).toContain("silent");
  expect(statuses()).toEqual(["firing"]);
  expect((await incidents()).map(({ id, nodes: on }) => [id, on.length])).toEqual([[incident?.id, NODES]]);

  await chunked(nodes, attests);
  await expect.poll(standing, POLL).toBe(0);
  await expect.poll(statuses, POLL).toEqual(["firing", "resolved"]);
  await nothingDone("w-0");
});

test("what the verifier slept through is no silence, and a node that is silent longer than policy lets be is told, by the severity that it says", {
  timeout: 300_000,
}, async () => {
  await start("10m", "severities: { silent: low }");
  const [node] = (await fleet(1)) as [Attester];
  await node.close();
  await verifier.stop();
  verifier.clock.shiftMs += LONG_MS;
  await start("10m", "severities: { silent: low }");
  await expect.poll(unattested, POLL).toBe(1);
  // Minutes are not passed by a clock that is set on either.
  verifier.clock.shiftMs += LONG_MS;
  await expect.poll(async () => (await nodeOf("w-0")).node?.reasons.map(({ code }) => code)).toContain("quote-stale");
  expect([await standing(), statuses()]).toEqual([0, []]);

  verifier.policy(policyOf("5s", "severities: { silent: low }"));
  await expect.poll(statuses, POLL).toEqual(["firing"]);
  expect(told()[0]).toMatchObject({
    severity: "low",
    summary: "LOW node w-0 fell silent: its agent is not heard, or vouches for nothing",
    nextCommand: "hullmark nodes w-0",
  });

  // In words, for people.
  const hullmark = await hullmarkOf(verifier);
  const [drift] = await drifts();
  expect((await hullmark("drift", "show", drift?.id ?? "")).out).toMatch(
    /LOW {2}node {2}\(silent, open\)\nWhere {3}node w-0\nWhat {4}its agent is not heard any more.*\nTime {4}last heard /,
  );
  const explained = (await hullmark("drift", "explain", drift?.id ?? "")).out;
  expect(explained).toMatch(
    /node w-0: fell silent: its agent is not heard, or vouches for nothing\.\n.*\n {2}It was heard last at .*\n\n.*\n.*It leads to no action\./,
  );
  const [incident] = await incidents();
  expect((await hullmark("incident", "show", incident?.id ?? "")).out).toContain("(silent, open)");
  expect((await hullmark("playbook", "show", incident?.id ?? "")).out).toMatch(/## Silent nodes[\s\S]*hullmark node show w-0/);

  // Somebody who knows that it is gone for good says so.
  await verifier.adminClient.revokeNode({ nodeId: (await nodeOf("w-0")).node?.id ?? "", reason: "scrapped" });
  await expect.poll(statuses, POLL).toEqual(["firing", "resolved"]);
  expect(await standing()).toBe(0);
});

test("a node that is heard and vouches for nothing is told as one that is silent: whoever is root there would keep its agent heard, and its TPM from it", {
  timeout: 300_000,
}, async () => {
  const file = verifier.policy(policyOf("5s").replace("quote: 10m", "quote: 10s"));
  await verifier.start(`policyFile: ${file}\nenrolment: { mode: tofu, acceptWithoutCertificate: true }`);
  const node = verifier.attester({ name: "w-0", quoter: new FakeQuoter() });
  await attests(node, 0);
  await expect.poll(unattested, POLL).toBe(0);
  node.answering = false;
  verifier.clock.shiftMs += 60_000;
  await node.report();
  await expect.poll(statuses, POLL).toEqual(["firing"]);
  const codes = (await nodeOf("w-0")).node?.reasons.map(({ code }) => code);
  expect([codes?.includes("silent"), codes?.includes("quote-stale"), codes?.includes("stale")]).toEqual([true, true, false]);
  await nothingDone("w-0");
  node.answering = true;
  await verifier.adminClient.requestQuote({ nodeId: "w-0" });
  await expect.poll(statuses, POLL).toEqual(["firing", "resolved"]);
});

test("an agent that ends as often as it starts is told as silent: each start began the count anew", { timeout: 300_000 }, async () => {
  const file = verifier.policy(policyOf("10s").replace("heartbeat: 5m", "heartbeat: 10s"));
  await verifier.start(`policyFile: ${file}\nenrolment: { acceptJoinTokens: true }`);
  const { token } = await verifier.adminClient.createJoinToken({ nodeName: "w-0", ttlSeconds: 600 });
  const node = verifier.attester({ name: "w-0", joinToken: token });
  for (let starts = 0; statuses().length === 0; starts++) {
    expect(starts).toBeLessThan(60);
    await attests(node, 0);
    // Long enough to be seen to be judged, and then gone for less than policy lets be.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    await node.close();
    verifier.clock.shiftMs += 25_000;
    await new Promise((resolve) => setTimeout(resolve, 3500));
  }
  expect(statuses()).toEqual(["firing"]);
});

test("a roll of everything pages nobody: the verifier starts anew, every agent after it, with a new key and measuring first; what was told stays told", {
  timeout: 300_000,
}, async () => {
  const roll = policyOf("5m").replace("heartbeat: 5m, quote: 10m", "heartbeat: 10s, quote: 60s");
  const opened = async () =>
    await verifier.start(`policyFile: ${verifier.policy(roll)}\nenrolment: { mode: tofu, acceptWithoutCertificate: true, perSecond: 1000 }`);
  await opened();
  const nodes = await fleet(40);
  const all = () =>
    receiver.received.flatMap(({ body }) => (JSON.parse(body) as { data: { alerts: { kind: string; path: string; status: string }[] } }).data.alerts);
  const pages = () => all().map(({ status, kind, path }) => `${status} ${kind} ${path}`);
  const drifts = async (node: Attester, at: number, path?: string, more: { readonly measuring?: true } = {}): Promise<void> => {
    node.set({ ...scriptedWeb(image, at, path === undefined ? [] : [path]), ...more });
    await node.report();
  };
  await drifts(nodes[0] as Attester, 0, "etc/before");
  await expect.poll(pages, POLL).toEqual(["firing added /etc/before"]);

  await verifier.stop();
  await opened();
  const successors: Attester[] = [];
  await chunked(nodes, async (node, at) => {
    const path = at === 0 ? "etc/before" : undefined;
    node.options = { ...node.options, ...addresses() };
    await node.connect();
    await drifts(node, at, path);
    // Its stream still stands when the next one's begins, which measures first, and as every agent names all containers that there are.
    const next = verifier.attester({ ...node.options, bootId: node.bootId });
    successors[at] = next;
    await next.connect();
    await drifts(next, at, path, { measuring: true });
    await drifts(next, at, path);
  });
  await expect.poll(unattested, POLL).toBe(0);
  // What is new is told after whatever the roll led to.
  await drifts(successors[1] as Attester, 1, "etc/after");
  await expect.poll(() => pages().at(-1), POLL).toBe("firing added /etc/after");
  expect(pages()).toEqual(["firing added /etc/before", "firing added /etc/after"]);
});

test("a verifier that is killed when the alert is durable and not sent yet tells it once", { timeout: 240_000 }, async () => {
  const killed = new VerifierProcess(policyOf("5s").replace("heartbeat: 5m", "heartbeat: 1s"));
  try {
    await killed.start("alert-committed");
    const node = new Attester({ ...killed.addresses, ca: killed.ca, name: "w-1", quoter: new FakeQuoter() });
    await node.connect();
    await node.report();
    expect(await killed.died).toBe("SIGKILL");
    expect(statuses()).toEqual([]);
    await killed.start();
    await expect.poll(statuses, POLL).toEqual(["firing"]);
    const silent = async () => (await killed.query.listDrift({ pageSize: 10 })).drifts.filter(({ kind }) => kind === "silent");
    await expect.poll(async () => (await silent()).map(({ alertedAt }) => alertedAt !== undefined), POLL).toEqual([true]);
    expect(statuses()).toEqual(["firing"]);
  } finally {
    await killed.dispose();
  }
});
