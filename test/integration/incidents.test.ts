/** The same file of the same image changed on two nodes: one incident for people, acknowledged once, the same after the verifier restarts and when it returns. */
import { execFile } from "node:child_process";
import { hash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join as joinPath } from "node:path";
import { encodeRecord } from "@hullmark/proto/codec";
import type { RpcChannel } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Verdict } from "@hullmark/proto/v1/common";
import { Query } from "@hullmark/proto/v1/query";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import { openCheckpoint } from "@hullmark/verifier/core/transparency/checkpoint";
import { parseVerifierKey } from "@hullmark/verifier/core/transparency/note";
import { afterAll, beforeAll, expect, test } from "vitest";
import { acknowledgeIncident } from "../../cli/incident/acknowledge.ts";
import { fetchIncidents, findIncidents, type ToldIncident } from "../../cli/incident/fetch.ts";
import { provenView, Untellable } from "../../cli/incident/proven-view.ts";
import { makeRecord, verifyRecord, verifyRecordWithLog } from "../../cli/incident/record.ts";
import { resourceReader, urlResources } from "../../cli/log/readers.ts";
import { incidentPage, incidentTable, incidentView } from "../../cli/output/incident-page.ts";
import { verificationText } from "../../cli/output/record-page.ts";
import type { Attester, ScriptedContainer } from "../fakes/attester.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { testNoteSigner } from "../fakes/note-signer.ts";
import { program } from "../fakes/program.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const file = (content: string): Buffer =>
  encodeRecord({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(content.length), sha256: hash("sha256", content, "buffer") });
const directory = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false });
const layer = LayerTree.build([
  { path: Buffer.from("etc"), record: directory, implied: true },
  { path: Buffer.from("etc/app.conf"), record: file("port=80\n"), implied: false },
]);

let verifier: TestVerifier;
let registry: FakeRegistry;
let image: PushedImage;
const nodes: Attester[] = [];

beforeAll(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  verifier = await new TestVerifier().start();
});
afterAll(async () => {
  await verifier?.dispose();
  await registry?.close();
});

function container(node: string, conf?: string, added?: string): ScriptedContainer {
  return {
    ...{ id: `web-${node}`.padEnd(64, "0"), name: `web-${node}` },
    image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest },
    layers: [
      { id: "layer-0", tree: layer },
      { id: `init-${node}`, tree: dockerInitLayer(MergedTree.of([layer])), runtimeMade: true },
    ],
    upper: new Map(
      conf === undefined ? [] : Object.entries({ etc: directory, "etc/app.conf": file(conf), ...(added !== undefined && { "etc/more.conf": file(added) }) }),
    ),
  };
}

/** Until its container is judged, so that what comes next is held against the image. */
async function join(name: string): Promise<void> {
  const attester = verifier.attester({ name, quoter: new FakeQuoter() });
  await attester.connect();
  attester.set(container(name));
  await attester.report();
  nodes.push(attester);
  const judged = async () => (await verifier.query.getWorkload({ container: `web-${name}` })).workload;
  await expect.poll(judged, { timeout: 240_000 }).toMatchObject({ content: Verdict.AFFIRMING });
}

/** One file of one node's container becomes `conf`; undefined: as the image has it. */
async function write(node: number, conf?: string, added?: string): Promise<void> {
  const name = `w-${node}`;
  const attester = nodes[node - 1];
  attester?.set(container(name, conf, added));
  await attester?.report([container(name).id]);
}

const asking = (channel: RpcChannel = verifier.admin()) => ({ channel, signal: new AbortController().signal, namespace: undefined });
const incidents = async (past = true) => (await fetchIncidents(asking(), past)).incidents;

/** The one incident, when it is as `want` says. */
async function reaches(want: Record<string, unknown>) {
  await expect.poll(async () => await incidents(), { timeout: 240_000 }).toMatchObject([want]);
  const [incident] = await incidents();
  if (!incident) throw new Error("no incident");
  return incident;
}

test("two nodes are one incident; a viewer may not acknowledge it, a responder may; it ends with the last, and comes back under its id", {
  timeout: 600_000,
}, async () => {
  await join("w-1");
  await join("w-2");
  await write(1, "port=81\n");
  await write(2, "port=82\n");
  const both = await reaches({ kind: "content", state: "open", nodes: ["w-1", "w-2"], image: image.configDigest, owner: "", reopened: 0 });
  expect(both.members).toHaveLength(2);

  const viewer = acknowledgeIncident(asking(await verifier.operator("viewer")), both, "mine");
  await expect(viewer).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
  // What changes between looking and acknowledging stays open.
  await write(2, "port=83\n");
  const responder = await verifier.operator("responder");
  const { acknowledged, refused } = await acknowledgeIncident(asking(responder), both, "mine");
  expect([acknowledged, refused]).toMatchObject([[both.members[0]?.driftId], [{ driftId: both.members[1]?.driftId, why: expect.stringContaining("changed") }]]);
  const half = await reaches({ id: both.id, state: "open", owner: "some-responder" });
  expect(await acknowledgeIncident(asking(responder), half, "this too")).toMatchObject({ acknowledged: [both.members[1]?.driftId], refused: [] });
  await reaches({ id: both.id, state: "acknowledged" });
  await given(both.id, responder);

  await write(1);
  await reaches({ id: both.id, state: "acknowledged", resolvedAtMs: undefined });
  await write(2);
  await reaches({ id: both.id, state: "resolved", resolvedAtMs: expect.any(Number) });
  expect(await incidents(false)).toEqual([]);

  // The same in another process, and on another node.
  await verifier.stop();
  for (const attester of nodes) await attester.ended();
  await verifier.start();
  await join("w-3");
  await write(3, "port=84\n");
  const back = await reaches({ id: both.id, state: "open", reopened: 1, owner: "team-cart" });
  expect(back.members).toHaveLength(3);
  // The list, which reads no drift that is over, says the same of it.
  const { severity, firstSeenMs, reopened } = back;
  await expect.poll(async () => (await incidents(false))[0], { timeout: 240_000 }).toMatchObject({ id: both.id, severity, firstSeenMs, reopened });
  expect(findIncidents(await incidents(), both.id.slice(0, 6).toLowerCase())).toHaveLength(1);

  const page = incidentPage(back, false, Date.now(), "hullmark");
  for (const part of [
    back.id,
    "/etc/app.conf",
    "3 drifts, 1 of them standing, on 3 nodes",
    "returned 1 time",
    "docs/playbooks.md#files",
    "acknowledged",
    "by some-responder: mine",
  ])
    expect(page).toContain(part);
  expect(incidentTable([back], false, Date.now())).toContain(back.id);
  const { timeline, ...view } = incidentView(back);
  expect(view).toMatchObject({ id: back.id, state: "open", path: "/etc/app.conf", nodes: ["w-1", "w-2", "w-3"], owner: "team-cart", resolvedAt: null });
  expect(view.assigned).toMatchObject({ owner: "team-cart", by: "some-responder", reason: "theirs", logIndex: expect.any(Number) });
  expect(timeline).toContainEqual(expect.objectContaining({ what: "assigned", by: "some-responder", detail: "to team-cart: theirs", driftId: "" }));
  expect(timeline.filter(({ what }) => what === "resolved")).toHaveLength(2);
  expect(timeline.map(({ at }) => at)).toEqual(timeline.map(({ at }) => at).toSorted());

  const record = await exported(back);
  provesItself(back, record);
  noPartMayBeAnother(record);
  await nothingLeftOut(record);
  await changedSince(back.id);
  await asTyped(back);
  await write(3, "port=85\n", "x");
  await expect.poll(async () => (await incidents()).length, { timeout: 240_000 }).toBe(2);
  const [own, other] = (await incidents()).toSorted((a) => (a.id === back.id ? -1 : 1)) as [ToldIncident, ToldIncident];
  await noPartsOfAnother(await exported(own), await exported(other), record);
  // What the verifier tells of and no entry has is waited for by nobody.
  const invented = makeRecord({ ...own, path: Buffer.from("/etc/invented"), id: "I-0000000000000000" }, logReader(), key());
  await expect(invented).rejects.toMatchObject({ code: "MISSING", message: expect.stringContaining("none of them is about it") });
});

/** To somebody who has acknowledged nothing, by whoever has seen whose it was. */
async function given(id: string, responder: RpcChannel): Promise<void> {
  const sight = async () => (await responder.client(Query).getIncident({ id, now: true })).incident?.seen ?? "";
  await responder.client(Admin).assignIncident({ id, owner: "team-shop", reason: "theirs at first", seen: await sight() });
  await reaches({ id, owner: "team-shop" });
  const seen = await sight();
  const assign = (channel: RpcChannel, owner: string) => channel.client(Admin).assignIncident({ id, owner, reason: "theirs", seen });
  await expect(assign(await verifier.operator("viewer"), "team-cart")).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
  await expect(assign(responder, "team cart")).rejects.toMatchObject({ code: "INVALID_ARGUMENT", detail: { field: "owner" } });
  await assign(responder, "team-cart");
  await reaches({ id, owner: "team-cart", state: "acknowledged" });
  // Two who looked at the same time: the second has not seen the first's word.
  await expect(assign(responder, "bob")).rejects.toMatchObject({ code: "FAILED_PRECONDITION", detail: { reason: "CHANGED" } });
  const resolve = responder.client(Admin).resolveIncident({ id, reason: "done", seen });
  await expect(resolve).rejects.toMatchObject({ detail: { reason: "STANDS" }, message: expect.stringMatching(/2 drifts stand: D-\S+ D-/) });
}

const key = () => parseVerifierKey(readFileSync(joinPath(verifier.directory, "state/admin/log.pub"), "utf8"));

const logReader = () => resourceReader(urlResources(`http://127.0.0.1:${verifier.running?.httpPort}/log`));

/** A checkpoint is signed after the entries that it covers: until then the log does not have all of it. */
async function exported(incident: ToldIncident): Promise<string> {
  const reader = logReader();
  let record = "";
  const made = async (): Promise<boolean> => {
    record = await makeRecord(incident, reader, key());
    return true;
  };
  await expect.poll(made, { timeout: 240_000 }).toBe(true);
  return record;
}

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
interface Parts {
  incident: { id: string; image: string; pathHex: string; timeline: Json[]; drifts: Json[] };
  told: { drifts: { id: string }[] };
  log: { checkpoint: string; entries: { index: number; entry: string; proof: string[] }[] };
}

const parts = (record: string): Parts => JSON.parse(record) as Parts;
const written = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;
const judged = (value: unknown) => verifyRecord(written(value), key());

/** Offline, and each line of it is out of an entry. */
function provesItself(back: ToldIncident, record: string): void {
  const verified = verifyRecord(record, key());
  expect(verified).toMatchObject({ verdict: "ok", drifts: 3, findings: [], complete: undefined });
  const types = verified.entries.map(({ type }) => type);
  expect([types.filter((type) => type === "drift").length >= 7, types.filter((type) => type === "acknowledgement").length]).toEqual([true, 2]);
  const { incident, told } = parts(record);
  // The same as was told, but for what no entry has.
  const { timeline: _, drifts, firstSeen: __, lastSeen: ___, ...view } = incidentView(back);
  expect(incident).toMatchObject(view);
  expect(incident.drifts).toMatchObject(
    drifts.map(({ id, state, node, container, differences, acknowledged }) => ({ id, state, node, container, differences, acknowledged })),
  );
  expect(told.drifts.map(({ id }) => id)).toEqual(drifts.map(({ id }) => id));
  for (const name of ["state", "severity", "summary", "differences", "changedAt"]) expect(verified.unproven).not.toContain(`told.drifts[].${name}`);
  expect(incident.timeline).toHaveLength(verified.entries.length);
  for (const line of [
    { what: "found", by: null },
    { what: "acknowledged", by: "some-responder", detail: "mine" },
    { what: "assigned", by: "some-responder", detail: "to team-cart: theirs", driftId: "" },
    { what: "resolved" },
  ])
    expect(incident.timeline).toContainEqual(expect.objectContaining(line));
  expect(written(parts(record))).toBe(record);
  // What is missing, unreadable, or somebody else's cannot be told.
  for (const cut of [
    "",
    "null",
    record.slice(0, -2),
    record.replace("hullmark-incident/2", "hullmark-incident/1"),
    `${"[".repeat(100_000)}${"]".repeat(100_000)}`,
  ])
    expect(verifyRecord(cut, key()).verdict).toBe("incomplete");
  expect(verifyRecord(record, parseVerifierKey(testNoteSigner().verifierKey)).verdict).toBe("incomplete");
  // Said twice, or beside it.
  expect(verifyRecord(record.replace('"owner":', '"owner": "eve",\n  "owner":'), key()).verdict).toBe("tampered");
  expect(verifyRecord(`${record} `, key()).verdict).toBe("tampered");
  const deep = JSON.parse(`${"[".repeat(2000)}${"]".repeat(2000)}`) as Json;
  expect(judged({ ...parts(record), told: { drifts: deep } }).verdict).toBe("tampered");
}

interface Change {
  readonly what: string;
  /** As the output names what is not proven: `told.drifts[].seen`. */
  readonly name: string;
  readonly value: Json;
}

/** Every way in which one part of it may be another: a value changed, a member or an element dropped, doubled or added, two elements in each other's place. */
function* changesOf(value: Json, name: string): Generator<Change> {
  const change = (what: string, changed: Json): Change => ({ what: `${what} ${name}`, name, value: changed });
  if (typeof value === "string") {
    yield change("longer", `${value}x`);
    yield change("other", value.replace(/^./su, (first) => (first === "0" ? "1" : "0")) || "0");
  } else if (typeof value === "number") yield change("more", value + 1);
  else if (typeof value === "boolean") yield change("other", !value);
  else if (value === null) yield change("some", "x");
  if (typeof value !== "object" || value === null) {
    if (value !== null) yield change("none", null);
    return;
  }
  if (Array.isArray(value)) {
    yield change("added", [...value, value[0] ?? "x"]);
    for (const [at, each] of value.entries()) {
      yield change(`dropped ${at}`, value.toSpliced(at, 1));
      if (at > 0) yield change(`swapped ${at}`, value.with(at, value[at - 1] as Json).with(at - 1, each));
      for (const inner of changesOf(each, `${name}[]`)) yield { ...inner, value: value.with(at, inner.value) };
    }
    return;
  }
  yield change("added", { ...value, more: 1 });
  for (const [member, each] of Object.entries(value)) {
    const { [member]: _, ...without } = value;
    yield change(`dropped ${member}`, without);
    for (const inner of changesOf(each, name === "" ? member : `${name}.${member}`)) yield { ...inner, value: { ...value, [member]: inner.value } };
  }
}

/** No change of any part verifies, but where the output names that part as not proven. */
function noPartMayBeAnother(record: string): void {
  let [changes, unproven] = [0, 0];
  const same = parts(record) as unknown as Json;
  for (const { what, name, value } of changesOf(same, "")) {
    if (written(value) === record) continue;
    const verified = judged(value);
    changes++;
    if (verified.verdict !== "ok") continue;
    unproven++;
    expect(verified.unproven, what).toContain(name);
    expect(name, what).toMatch(/^told($|\.)/);
  }
  expect([changes > 500, unproven > 0, unproven < changes / 2], `${changes}, ${unproven} unproven`).toEqual([true, true, true]);
}

/** By somebody who makes the file anew from fewer entries, each of which is in the log. */
async function nothingLeftOut(record: string): Promise<void> {
  const reader = logReader();
  expect(await verifyRecordWithLog(record, reader, key())).toMatchObject({ verdict: "ok", complete: true, findings: [] });
  const { entries } = verifyRecord(record, key());
  // Somebody serves the log otherwise at the second time: whole when it is verified, without one entry when they are looked for.
  let bundles = 0;
  const twoFaced = {
    ...reader,
    async readEntries(first: number, count: number) {
      const served = await reader.readEntries(first, count);
      return bundles++ === 0 ? served : served.with((entries.at(-1)?.index ?? 0) - first, served[0] as Uint8Array);
    },
  };
  await expect(verifyRecordWithLog(record, twoFaced, key())).rejects.toMatchObject({ code: "INCONSISTENT" });
  const verdicts = new Set<string>();
  for (const [at, { type, index }] of entries.entries()) {
    const whole = parts(record);
    const fewer = entries.toSpliced(at, 1);
    const { id, image, pathHex } = whole.incident;
    whole.log.entries.splice(at, 1);
    let incident: unknown;
    try {
      incident = provenView(fewer, { id, image, path: Buffer.from(pathHex, "hex") });
    } catch (error) {
      expect(error).toBeInstanceOf(Untellable);
      // As somebody writes it who does not stop at that.
      incident = whole.incident;
    }
    const made = { ...whole, incident };
    const alone = judged(made);
    verdicts.add(`${type} ${alone.verdict}`);
    if (alone.verdict !== "ok") continue;
    const message = `entry ${index} of the log is about it, and left out`;
    expect(await verifyRecordWithLog(written(made), reader, key())).toMatchObject({ verdict: "tampered", complete: false, findings: [{ message }] });
  }
  // Of a drift, only its newest can be left out unseen.
  expect([...verdicts]).toEqual(expect.arrayContaining(["drift incomplete", "acknowledgement ok"]));
}

/** Of another incident, or of another time, all of it signed by the same key. */
async function noPartsOfAnother(record: string, other: string, earlier: string): Promise<void> {
  const [own, another, before] = [parts(record), parts(other), parts(earlier)];
  expect(verifyRecord(other, key()).verdict).toBe("ok");
  const { id, ...rest } = another.incident;
  const entries = [...own.log.entries, ...another.log.entries].toSorted((a, b) => a.index - b.index);
  const made: Record<string, unknown> = {
    incident: { ...own, incident: another.incident },
    log: { ...own, log: another.log },
    checkpoint: { ...own, log: { ...own.log, checkpoint: before.log.checkpoint } },
    entries: { ...own, log: { ...own.log, entries: another.log.entries } },
    "entries of another incident beside its own": { ...own, log: { ...own.log, checkpoint: another.log.checkpoint, entries } },
    "drifts of another incident beside its own": { ...own, incident: { ...own.incident, drifts: [...own.incident.drifts, ...another.incident.drifts] } },
    "id of another": { ...own, incident: { ...own.incident, id } },
    "all but the id of another": { ...another, incident: { id: own.incident.id, ...rest } },
    "proofs of another entry": {
      ...own,
      log: { ...own.log, entries: own.log.entries.map((each, at) => ({ ...each, proof: own.log.entries.at(at - 1)?.proof })) },
    },
    "what it was before": { ...own, incident: before.incident },
  };
  for (const [what, value] of Object.entries(made)) expect(judged(value).verdict, what).not.toBe("ok");
  // Held against a copy of the log that ends before it.
  const older = { ...logReader(), readCheckpoint: async () => ({ size: 0, note: before.log.checkpoint }) };
  const findings = [{ verdict: "incomplete", message: expect.stringMatching(/^the log: it has \d+ entries, the file's checkpoint \d+$/) }];
  expect(await verifyRecordWithLog(record, older, key())).toMatchObject({ verdict: "incomplete", complete: undefined, since: undefined, findings });
  // An earlier file is true of its time; that the log goes on is said.
  const { size } = openCheckpoint(before.log.checkpoint, key());
  const later = own.log.entries.filter(({ index }) => index >= size).length;
  const held = await verifyRecordWithLog(earlier, logReader(), key());
  expect([held, later > 0, (held.since ?? 0) >= later]).toMatchObject([{ verdict: "ok", complete: true }, true, true]);
  expect(verificationText(held, [])).toMatch(/of an earlier time: the log has \d+ entries about it beyond that/);
}

/** The first change of content alone is in the log; what comes within minutes of that is in no entry, and that is said of it. */
async function changedSince(id: string): Promise<void> {
  const present = async () => (await incidents()).find((each) => each.id === id);
  const holds = async (conf: string): Promise<string> => {
    await write(3, conf);
    const sums = async () => (await present())?.members.at(-1)?.drift.differences.flatMap(({ field, observed }) => (field === "sha256" ? [observed] : []));
    await expect.poll(sums, { timeout: 240_000 }).toEqual([hash("sha256", conf)]);
    return await exported((await present()) as ToldIncident);
  };
  const unprovenOf = (record: string) => verifyRecord(record, key()).unproven.filter((name) => /\.(summary|differences|state|severity)$/.test(name));
  const logged = await holds("port=86\n");
  expect(unprovenOf(logged)).toEqual([]);
  expect(JSON.stringify(parts(logged).incident.drifts.at(-1))).toContain(hash("sha256", "port=86\n"));
  const since = await holds("port=87\n");
  expect(unprovenOf(since)).toContain("told.drifts[].differences");
  expect(verifyRecord(since, key()).verdict).toBe("ok");
  expect(JSON.stringify(parts(since).incident)).not.toContain(hash("sha256", "port=87\n"));
}

/** The command as people type it, with what it answers and its exit code. */
const ELSEWHERE = new Set(["playbook", "alert"]);

async function asTyped({ id, members }: ToldIncident): Promise<void> {
  const [config, record] = [joinPath(verifier.directory, "cli.yaml"), joinPath(verifier.directory, "incident.json")];
  const files = "caFile: state/admin/ca.crt, certFile: state/admin/client.crt, keyFile: state/admin/client.key, logKeyFile: state/admin/log.pub";
  const address = `address: '${verifier.mainAddress}', logUrl: 'http://127.0.0.1:${verifier.running?.httpPort}/log'`;
  writeFileSync(config, `currentContext: a\ncontexts:\n  a: { ${address}, ${files} }\n`);
  const main = program("cli");
  const hullmark = async (...args: string[]): Promise<{ code: number; out: string }> =>
    await new Promise((resolve) => {
      execFile(process.execPath, [main, "--config", config, ...(ELSEWHERE.has(args[0] ?? "") ? args : ["incident", ...args])], (error, stdout, stderr) => {
        resolve({ code: error ? Number(error.code) : 0, out: `${stdout}${stderr}` });
      });
    });
  expect(await hullmark("ls")).toMatchObject({ code: 1, out: expect.stringContaining(id) });
  const standing = members.find(({ state }) => state === "open");
  const filled = `hullmark drift show ${standing?.driftId}`;
  expect(await hullmark("playbook", "show", id)).toMatchObject({ code: 0, out: expect.stringContaining(filled) });
  expect(await hullmark("playbook", "show", "I-0")).toMatchObject({ code: 2, out: expect.stringContaining("no such incident") });
  expect(await hullmark("alert", "test")).toMatchObject({ code: 2, out: expect.stringContaining("the policy has no alert route") });
  expect(await hullmark("show", id.slice(0, 5), "-o", "wide")).toMatchObject({ code: 1, out: expect.stringContaining(members[0]?.driftId ?? "?") });
  expect(await hullmark("ack", id, "-m", "known")).toMatchObject({ code: 0, out: expect.stringContaining(`${id}: 1 drift acknowledged`) });
  await reaches({ id, state: "acknowledged", owner: "team-cart" });
  expect(await hullmark("assign", id, "-m", "x")).toMatchObject({ code: 2, out: expect.stringContaining("give a person, --me or --nobody") });
  expect(await hullmark("assign", id, "--me", "-m", "mine")).toMatchObject({ code: 0, out: expect.stringContaining(`${id} is given to admin`) });
  expect(await hullmark("assign", id, "--nobody", "-m", "not mine")).toMatchObject({ code: 0, out: expect.stringContaining(`${id} is nobody's`) });
  await reaches({ id, owner: "" });
  expect(await hullmark("resolve", id, "-m", "done")).toMatchObject({ code: 3, out: expect.stringContaining(`a drift stands: ${standing?.driftId}`) });
  const written = async () => (await hullmark("export", id, record)).code;
  await expect.poll(written, { timeout: 240_000 }).toBe(0);
  // What is there is not overwritten.
  expect(await hullmark("export", id, record)).toMatchObject({ code: 2, out: expect.stringContaining("incident.json: it is there already") });
  expect(await hullmark("verify", record)).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^VERIFIED.*Not proven, .*drifts\[\]\.measuredAt.*left out: --url or --dir/s),
  });
  const url = `http://127.0.0.1:${verifier.running?.httpPort}/log`;
  const { code, out } = await hullmark("verify", record, "--url", url, "-o", "json");
  expect([code, JSON.parse(out)]).toMatchObject([
    0,
    { verdict: "ok", id, complete: true, captures: [], findings: [], unproven: expect.arrayContaining(["told"]) },
  ]);
  writeFileSync(record, readFileSync(record, "utf8").replaceAll('"kind": "content"', '"kind": "added"'));
  expect(await hullmark("verify", record)).toMatchObject({ code: 1, out: expect.stringContaining("TAMPERED WITH") });
  // Once all is over it may be done with; what comes then is no return.
  await write(3);
  await reaches({ id, state: "resolved", closed: undefined });
  expect(await hullmark("resolve", id, "-m", "rebuilt")).toMatchObject({ code: 0, out: expect.stringContaining(`${id} is done with`) });
  await reaches({ id, state: "resolved", closed: expect.objectContaining({ by: "admin", reason: "rebuilt" }) });
  expect(await hullmark("show", id)).toMatchObject({ code: 0, out: expect.stringMatching(/Closed +by admin .*: rebuilt/) });
  await write(3, "port=85\n");
  expect((await reaches({ id, state: "open", reopened: 0, owner: "", closed: undefined })).members).toHaveLength(1);
}
