/** People whose role holds in single namespaces: each procedure that is theirs shows and changes what is inside, and of what is outside answers as if it were not there. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { RpcChannel } from "@hullmark/proto/rpc";
import { RpcError } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Verdict } from "@hullmark/proto/v1/common";
import { DriftState, Query } from "@hullmark/proto/v1/query";
import { ActionState, Response } from "@hullmark/proto/v1/response";
import { ACCESS, SCOPES } from "@hullmark/verifier/api/grpc/index";
import { parseVerifierKey } from "@hullmark/verifier/core/transparency/note";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { acknowledgeIncident } from "../../cli/incident/acknowledge.ts";
import { fetchIncidents } from "../../cli/incident/fetch.ts";
import { makeRecord, verifyRecordWithLog } from "../../cli/incident/record.ts";
import { resourceReader, urlResources } from "../../cli/log/readers.ts";
import type { Attester } from "../fakes/attester.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { listeningActuator } from "../fakes/listening-actuator.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { scriptedWeb } from "../fakes/scripted-web.ts";
import { TestVerifier } from "../fakes/verifier.ts";

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 });
const POLL = { timeout: 120_000, interval: 100 };
/** Of shop, of somebody else, and of nobody's namespace: one that no role in namespaces reaches. */
const PLACES = ["shop", "otherteam", ""] as const;
type Place = (typeof PLACES)[number];
/** What stands in names of what is not shop's. */
const FOREIGN = /otherteam|hosts-own/;

let verifier: TestVerifier;
let registry: FakeRegistry;
let image: PushedImage;
let node: Attester;
/** The caller, with the highest role: what it may not is for its namespace. */
let shop: RpcChannel;
const drifts = new Map<Place, string>();
const actions = new Map<Place, string>();
const exceptions = new Map<Place, string>();

/** @param index of the container: of each place there is one of each */
function container(place: Place, added: readonly string[], index = PLACES.indexOf(place) + 1) {
  const name = place === "" ? `hosts-own-${index}` : `${place}-web-${index}`;
  return { ...scriptedWeb(image, index, added), name, workload: place === "" ? name : `${place}/web` };
}

beforeAll(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  verifier = new TestVerifier();
  const ladder = "{ low: [recreate], medium: [recreate], high: [recreate], critical: [recreate] }";
  const policy = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: otherteam-has-a-say }
spec:
  mode: enforce
  intervals: { heartbeat: 5m, quote: 1h }
  response: { rules: [{ name: all, approvals: 2, ladder: ${ladder} }] }
  alerts: { routes: [{ name: otherteam, type: webhook, url: "http://127.0.0.1:9/" }] }
`;
  await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(policy)}`);
  node = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await node.connect();
  await listeningActuator(verifier, node.credential?.nodeId ?? "");
  for (const place of PLACES) node.set(container(place, ["etc/added"]));
  await node.report();
  await verifier.adminClient.requestQuote({ nodeId: "w-1" });
  await vi.waitFor(async () => expect((await verifier.query.listDrift({})).drifts).toHaveLength(PLACES.length), POLL);
  const admin = verifier.admin();
  const placeOf = (containerName: string): Place => PLACES.find((each) => each !== "" && containerName.startsWith(each)) ?? "";
  await vi.waitFor(async () => expect((await admin.client(Response).listActions({ openOnly: true })).actions).toHaveLength(PLACES.length), POLL);
  for (const { id, containerName } of (await admin.client(Response).listActions({})).actions) actions.set(placeOf(containerName), id);
  const responder = (await verifier.operator("responder")).client(Admin);
  for (const { id, containerName, seen } of (await verifier.query.listDrift({})).drifts) {
    drifts.set(placeOf(containerName), id);
    const asked = { driftId: id, seen, lifeSeconds: 86_400, reason: "seed data", pathGlob: "", anyContent: false, anyImage: false };
    exceptions.set(placeOf(containerName), (await responder.requestException(asked)).id);
  }
  shop = await verifier.operator("admin", ["shop"]);
});
afterAll(async () => {
  await verifier?.dispose();
  await registry?.close();
});

/** All text of a message. */
const textOf = (message: unknown): string =>
  JSON.stringify(message, function (this: Record<string, unknown>, key: string, shown: unknown) {
    // Of bytes it would be numbers.
    const value = this[key];
    return value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : typeof shown === "bigint" ? String(shown) : shown;
  });

/** What each procedure answers about one thing, or how it refuses; `undefined`: it takes no name, and is looked at below. */
type Namespaced = { [P in keyof typeof SCOPES]: P }[keyof typeof SCOPES];
interface Ids {
  readonly drift: string;
  readonly action: string;
  readonly exception: string;
  readonly container: string;
}
const seen = "0".repeat(16);
const reason = "INC-1";
const ABOUT_ONE: Partial<Record<Namespaced, (channel: RpcChannel, ids: Ids) => Promise<unknown>>> = {
  "/hullmark.v1.Query/GetWorkload": (channel, { container: name }) => channel.client(Query).getWorkload({ container: name }),
  "/hullmark.v1.Query/CompareVariables": (channel, { container: name }) => channel.client(Query).compareVariables({ container: name }),
  "/hullmark.v1.Query/GetDrift": (channel, { drift }) => channel.client(Query).getDrift({ id: drift }),
  "/hullmark.v1.Admin/AcknowledgeDrift": (channel, { drift }) => channel.client(Admin).acknowledgeDrift({ id: drift, reason, seen }),
  "/hullmark.v1.Admin/DiffDrift": (channel, { drift }) => channel.client(Admin).diffDrift({ id: drift, reason }),
  "/hullmark.v1.Admin/RequestException": (channel, { drift }) => channel.client(Admin).requestException({ driftId: drift, reason, seen, lifeSeconds: 86_400 }),
  "/hullmark.v1.Response/GetAction": (channel, { action }) => channel.client(Response).getAction({ id: action }),
  "/hullmark.v1.Response/FetchCapture": async (channel, { action }) => {
    for await (const _ of channel.client(Response).fetchCapture({ actionId: action, reason })) break;
  },
  "/hullmark.v1.Response/ApproveAction": (channel, { action }) => channel.client(Response).approveAction({ id: action }),
  "/hullmark.v1.Response/UndoAction": (channel, { action }) => channel.client(Response).undoAction({ id: action, reason }),
  "/hullmark.v1.Response/DenyAction": (channel, { action }) => channel.client(Response).denyAction({ id: action, reason }),
  "/hullmark.v1.Admin/ApproveException": (channel, { exception }) => channel.client(Admin).approveException({ id: exception }),
  "/hullmark.v1.Admin/DenyException": (channel, { exception }) => channel.client(Admin).denyException({ id: exception, reason }),
  "/hullmark.v1.Admin/RevokeException": (channel, { exception }) => channel.client(Admin).revokeException({ id: exception, reason }),
};
/** Answers of many: what is in them is looked at. */
const ABOUT_MANY: Partial<Record<Namespaced, (channel: RpcChannel) => Promise<unknown>>> = {
  "/hullmark.v1.Query/GetStatus": (channel) => channel.client(Query).getStatus({}),
  "/hullmark.v1.Query/ListWorkloads": (channel) => channel.client(Query).listWorkloads({}),
  "/hullmark.v1.Query/ListDrift": (channel) => channel.client(Query).listDrift({ states: [DriftState.OPEN, DriftState.ACKNOWLEDGED, DriftState.NOTICE] }),
  "/hullmark.v1.Query/ListIncidents": (channel) => channel.client(Query).listIncidents({ resolved: true }),
  "/hullmark.v1.Query/GetIncident": async (channel) => {
    const [incident] = (await channel.client(Query).listIncidents({ resolved: true })).incidents;
    return await channel.client(Query).getIncident({ id: incident?.id ?? "" });
  },
  "/hullmark.v1.Query/ListExceptions": (channel) => channel.client(Query).listExceptions({}),
  "/hullmark.v1.Response/ListActions": (channel) => channel.client(Response).listActions({}),
};
/** Looked at in tests of their own. */
const ELSEWHERE: readonly Namespaced[] = ["/hullmark.v1.Query/WatchWorkloads", "/hullmark.v1.Query/WatchDrift", "/hullmark.v1.Admin/OpenDashboard"];

const idsOf = (place: Place): Ids => ({
  ...{ drift: drifts.get(place) ?? "", action: actions.get(place) ?? "", exception: exceptions.get(place) ?? "" },
  container: container(place, []).id,
});
const NO_IDS: Ids = { drift: "D-ZZZZ", action: "A-ZZZZ", exception: "X-ZZZZ", container: "f".repeat(64) };

const outcome = async (work: Promise<unknown>): Promise<unknown> =>
  await work.then(
    () => "done",
    (error: RpcError) => {
      if (!(error instanceof RpcError)) throw error;
      const { requestId: _, ...detail } = error.detail as Record<string, unknown>;
      return { code: error.code, message: error.message, detail };
    },
  );

test("every procedure that a role in namespaces opens is in one of these tables", () => {
  const open = Object.entries(SCOPES).flatMap(([path, scope]) => (scope === "namespace" ? [path] : []));
  expect([...Object.keys(ABOUT_ONE), ...Object.keys(ABOUT_MANY), ...ELSEWHERE].sort()).toEqual(open.sort());
  expect(open.every((path) => path in ACCESS)).toBe(true);
});

test.each(Object.entries(ABOUT_MANY))("%s shows what is shop's, and no name of anything else", async (_path, ask) => {
  const [own, all] = [textOf(await ask(shop)), textOf(await ask(verifier.admin()))];
  expect(all).toMatch(FOREIGN);
  expect(own).toContain("shop");
  expect(own).not.toMatch(FOREIGN);
});

test("what is counted is shop's", async () => {
  const status = await shop.client(Query).getStatus({});
  expect(status).toMatchObject({ namespaces: ["shop"], containersDrifted: 1, containersClean: 0, nodesTotal: 0, claims: [], alertRoutes: [], policyName: "" });
  expect(status.attention).toHaveLength(1);
  expect((await verifier.query.getStatus({})).containersDrifted).toBe(3);
  const { incidents, total } = await shop.client(Query).listIncidents({});
  expect([incidents.length, total, incidents[0]?.drifts, incidents[0]?.workloads]).toEqual([1, 1, 1, ["shop/web"]]);
  expect((await verifier.query.listIncidents({})).incidents).toMatchObject([{ id: incidents[0]?.id, drifts: 3 }]);
});

test("pages go on where what is shown ended, whatever lies between", async () => {
  for (const index of [11, 12, 13, 14]) node.set(container(index % 2 === 1 ? "shop" : "otherteam", [], index));
  await node.report();
  const names: string[] = [];
  for (let pageToken = ""; ; ) {
    const { workloads, nextPageToken } = await shop.client(Query).listWorkloads({ pageSize: 1, pageToken });
    names.push(...workloads.map(({ containerName }) => containerName));
    expect(workloads.length).toBe(1);
    if (nextPageToken === "") break;
    pageToken = nextPageToken;
  }
  expect(names).toEqual(["shop-web-1", "shop-web-11", "shop-web-13"]);
});

test.each(Object.entries(ABOUT_ONE))("%s: outside it is as if it were not there, to the letter", async (_path, ask) => {
  const none = await outcome(ask(shop, NO_IDS));
  expect(none).toMatchObject({ code: "NOT_FOUND" });
  for (const place of ["otherteam", ""] as const) expect(await outcome(ask(shop, idsOf(place))), place).toEqual(none);
  // To whom the whole cluster is given it is there; and nothing has happened to it.
  expect(await outcome(verifier.query.getDrift({ id: drifts.get("otherteam") ?? "" }))).toBe("done");
});

test("nothing outside was changed by what was refused", async () => {
  const { actions: all } = await verifier.admin().client(Response).listActions({});
  expect(all.map(({ state, approvals }) => [state, approvals.length])).toEqual(new Array(3).fill([ActionState.AWAITING, 0]));
  expect((await verifier.query.listExceptions({})).exceptions.map(({ state }) => state)).toEqual(new Array(3).fill("requested"));
});

test("an incident over namespaces is acknowledged for the part that its caller sees", async () => {
  const asking = { channel: shop, signal: new AbortController().signal, namespace: undefined };
  const [incident] = (await fetchIncidents(asking, false)).incidents;
  if (!incident) throw new Error("no incident");
  expect(await acknowledgeIncident(asking, incident, "mine")).toMatchObject({ acknowledged: [drifts.get("shop")], refused: [] });
  const states = async () => Object.fromEntries((await verifier.query.listDrift({})).drifts.map(({ id, state }) => [id, state]));
  await expect.poll(states, POLL).toEqual({
    ...{ [drifts.get("shop") ?? ""]: DriftState.ACKNOWLEDGED, [drifts.get("otherteam") ?? ""]: DriftState.OPEN, [drifts.get("") ?? ""]: DriftState.OPEN },
  });
  // Whose all of it is, and that it is done with, is for a role in the whole cluster.
  const whose = shop.client(Admin).assignIncident({ id: incident.id, me: true, reason, seen });
  await expect(whose).rejects.toMatchObject({ code: "PERMISSION_DENIED", message: expect.stringContaining("responder in the whole cluster") });
});

test("what is decided on all of an incident that reaches further is not told to who sees a part", async () => {
  const [listed] = (await verifier.query.listIncidents({})).incidents;
  const { incident: whole } = await verifier.query.getIncident({ id: listed?.id ?? "", now: true });
  await verifier.adminClient.assignIncident({ id: whole?.id ?? "", owner: "bob", reason: "otherteam has it", seen: whole?.seen ?? "" });
  expect((await verifier.query.listIncidents({})).incidents).toMatchObject([{ owner: "bob" }]);
  const part = await shop.client(Query).listIncidents({});
  expect(part.incidents).toMatchObject([{ owner: "some-admin-shop" }]);
  expect(textOf(part)).not.toMatch(FOREIGN);
  // Nor does it stand in what they export, which is whole for what it is.
  const [own] = (await fetchIncidents({ channel: shop, signal: new AbortController().signal, namespace: undefined }, true)).incidents;
  if (!own) throw new Error("no incident");
  const reader = resourceReader(urlResources(`http://127.0.0.1:${verifier.running?.httpPort}/log`));
  const key = parseVerifierKey(readFileSync(join(verifier.directory, "state/admin/log.pub"), "utf8"));
  const made = async (namespaces?: readonly string[]) => await verifyRecordWithLog(await makeRecord(own, reader, key, namespaces), reader, key);
  await expect.poll(() => made(["shop"]), POLL).toMatchObject({ verdict: "ok", drifts: 1, namespaces: ["shop"], complete: true });
  expect(JSON.stringify((await made(["shop"])).entries)).not.toMatch(/otherteam|hosts-own|bob/);
  expect(JSON.parse(await makeRecord(own, reader, key, ["shop"])).incident).toMatchObject({ owner: "some-admin-shop", assigned: null, nodes: ["w-1"] });
  expect(await made()).toMatchObject({ verdict: "ok", drifts: 3, namespaces: undefined });
});

test.each(Object.entries(ABOUT_ONE))("%s: inside it is answered, or refused for what it is", async (_path, ask) => {
  const inside = await outcome(ask(shop, idsOf("shop")));
  if (inside !== "done") expect(inside).toMatchObject({ code: expect.stringMatching(/^(FAILED_PRECONDITION|INVALID_ARGUMENT)$/) });
});

test("watches tell of what is shop's, and of nothing else, not even that it is gone", async () => {
  const told = { own: [] as string[], all: [] as string[] };
  const stop = new AbortController();
  const options = { signal: stop.signal };
  const follow = async (channel: RpcChannel, into: string[]): Promise<void> => {
    const read = async (answers: AsyncIterable<unknown>): Promise<void> => {
      for await (const answer of answers) into.push(textOf(answer));
    };
    await Promise.allSettled([
      read(channel.client(Query).watchDrift({ includeCurrent: true }, options)),
      read(channel.client(Query).watchWorkloads({}, options)),
    ]);
  };
  const ended = Promise.all([follow(shop, told.own), follow(verifier.admin(), told.all)]);
  // Whatever is changed until both have been told of the last one shows that they are open.
  const gone = (place: Place, index: number) => container(place, [], index).id;
  let index = 100;
  const say = (text: string, of: readonly string[]): boolean => of.some((each) => each.includes(text) && each.includes("etc/late"));
  await expect
    .poll(async () => {
      index++;
      for (const place of PLACES) node.set(container(place, ["etc/late"], index * 3 + PLACES.indexOf(place)));
      await node.report();
      return say("shop", told.own) && say("otherteam", told.all) && say("hosts-own", told.all);
    }, POLL)
    .toBe(true);
  const removed = PLACES.map((place) => gone(place, index * 3 + PLACES.indexOf(place)));
  for (const id of removed) node.containers.delete(id);
  await node.report([], removed);
  const isGone = (id: string | undefined, of: readonly string[]) => of.some((each) => each.includes('"removed":true') && each.includes(id ?? "?"));
  await expect.poll(() => isGone(removed[0], told.own) && removed.every((id) => isGone(id, told.all)), POLL).toBe(true);
  stop.abort();
  await ended;
  expect(told.own.filter((each) => FOREIGN.test(each))).toEqual([]);
  expect(removed.slice(1).some((id) => told.own.join().includes(id))).toBe(false);
});

test("a role in a namespace where nothing runs shows nothing, and one of a node's own containers does not exist for it", async () => {
  const nobody = await verifier.operator("viewer", ["empty"]);
  expect(await nobody.client(Query).listWorkloads({})).toMatchObject({ workloads: [], nextPageToken: "" });
  expect(await nobody.client(Query).listDrift({ states: [DriftState.OPEN] })).toMatchObject({ drifts: [], containersUnknown: 0 });
  await expect(nobody.client(Query).getWorkload({ container: container("", []).name })).rejects.toMatchObject({ code: "NOT_FOUND" });
  expect((await verifier.query.getWorkload({ container: container("", []).name })).workload).toMatchObject({ verdict: Verdict.CONTRAINDICATED });
  await expect(nobody.client(Query).listNodes({})).rejects.toMatchObject({
    ...{ code: "PERMISSION_DENIED", message: "this needs the role viewer in the whole cluster; some-viewer-empty has viewer in empty" },
  });
});
