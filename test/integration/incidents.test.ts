/** The same file of the same image changed on two nodes: one incident for people, acknowledged once, the same after the verifier restarts and when it returns. */
import { execFile } from "node:child_process";
import { hash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join as joinPath } from "node:path";
import { fileURLToPath } from "node:url";
import { encodeRecord } from "@hullmark/proto/codec";
import type { RpcChannel } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Verdict } from "@hullmark/proto/v1/common";
import { Query } from "@hullmark/proto/v1/query";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import { parseVerifierKey } from "@hullmark/verifier/core/transparency/note";
import { afterAll, beforeAll, expect, test } from "vitest";
import { acknowledgeIncident } from "../../cli/incident/acknowledge.ts";
import { fetchIncidents, findIncidents, type ToldIncident } from "../../cli/incident/fetch.ts";
import { makeRecord, verifyRecord } from "../../cli/incident/record.ts";
import { resourceReader, urlResources } from "../../cli/log/readers.ts";
import { incidentPage, incidentTable, incidentView } from "../../cli/output/incident-page.ts";
import type { Attester, ScriptedContainer } from "../fakes/attester.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { testNoteSigner } from "../fakes/note-signer.ts";
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

function container(node: string, conf?: string): ScriptedContainer {
  return {
    ...{ id: `web-${node}`.padEnd(64, "0"), name: `web-${node}` },
    image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest },
    layers: [
      { id: "layer-0", tree: layer },
      { id: `init-${node}`, tree: dockerInitLayer(MergedTree.of([layer])), runtimeMade: true },
    ],
    upper: new Map(conf === undefined ? [] : Object.entries({ etc: directory, "etc/app.conf": file(conf) })),
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
async function write(node: number, conf?: string): Promise<void> {
  const name = `w-${node}`;
  const attester = nodes[node - 1];
  attester?.set(container(name, conf));
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
  expect(findIncidents(await incidents(), both.id.slice(0, 6).toLowerCase())).toHaveLength(1);

  const page = incidentPage(back, false, Date.now());
  for (const part of [
    back.id,
    "/etc/app.conf",
    "3 drifts, 1 of them standing, on 3 nodes",
    "returned 1 times",
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

  provesItself(await exported(back));
  await changedSince(back.id);
  await asTyped(back);
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

/** A checkpoint is signed after the entries that it covers: until then the log does not have all of it. */
async function exported(incident: ToldIncident): Promise<string> {
  const reader = resourceReader(urlResources(`http://127.0.0.1:${verifier.running?.httpPort}/log`));
  let record = "";
  const made = async (): Promise<boolean> => {
    record = await makeRecord(incident, reader, key());
    return true;
  };
  await expect.poll(made, { timeout: 240_000 }).toBe(true);
  return record;
}

interface Parts {
  incident: { id: string; state: string; owner: string; path: string; image: string; drifts: Record<string, unknown>[]; assigned: object };
  log: { checkpoint: string; entries: { index: number; entry: string; proof: string[] }[] };
}

/** Offline, and not when anything in it that the log knows of is another. */
function provesItself(record: string): void {
  const verified = verifyRecord(record, key());
  expect(verified).toMatchObject({ verdict: "ok", drifts: 3, findings: [] });
  const types = verified.entries.map(({ type }) => type);
  expect([types.filter((type) => type === "drift").length >= 7, types.filter((type) => type === "acknowledgement").length]).toEqual([true, 2]);

  const altered = (change: (parts: Parts) => void): string => {
    const parts = JSON.parse(record) as Parts;
    change(parts);
    return verifyRecord(`${JSON.stringify(parts, null, 1)}\n`, key()).verdict;
  };
  expect(altered(() => {})).toBe("ok");
  const other = Buffer.from("/etc/app.con").toString("hex");
  for (const [name, value] of Object.entries({
    kind: "added",
    severity: "low",
    state: "acknowledged",
    pathHex: other,
    node: { id: "x" },
    container: { id: "x" },
    id: "D-0000",
    summary: "nothing",
    differences: [],
    actor: { pid: 1, executable: "/bin/sh", uid: 0 },
    changedAt: "2020-01-01T00:00:00.000Z",
    origin: { place: "layer" },
  }))
    expect(
      altered(({ incident }) => Object.assign(incident.drifts.at(-1) ?? {}, { [name]: value })),
      name,
    ).toBe("tampered");
  const hers = { by: "eve", reason: "hers" };
  for (const acknowledged of [null, hers]) expect(altered(({ incident }) => Object.assign(incident.drifts[0] ?? {}, { acknowledged }))).toBe("tampered");
  expect(altered(({ incident }) => Object.assign(incident.drifts.at(-1) ?? {}, { acknowledged: hers }))).toBe("incomplete");
  expect(altered(({ incident }) => Object.assign(incident, { id: "I-0000000000000000" }))).toBe("tampered");
  expect(altered(({ incident }) => Object.assign(incident, { image: "sha256:00" }))).toBe("tampered");
  expect(altered(({ incident }) => Object.assign(incident, { state: "resolved" }))).toBe("tampered");
  for (const lie of [{ owner: "eve" }, { by: "eve" }, { reason: "hers" }])
    expect(altered(({ incident }) => Object.assign(incident.assigned, lie))).toBe("tampered");
  expect(altered(({ incident }) => Object.assign(incident.assigned, { logIndex: 1_000_000 }))).toBe("incomplete");
  expect(altered(({ incident }) => Object.assign(incident, { owner: "eve" }))).toBe("tampered");
  // What was decided before, in place of what was decided last.
  const [{ index: logIndex } = { index: -1 }] = verified.entries.filter(({ fields }) => fields["action"] === "incident-assigned");
  const before = { owner: "team-shop", by: "some-responder", reason: "theirs at first", logIndex };
  const earlier = ({ incident }: Parts) => Object.assign(incident, { owner: "team-shop", assigned: { ...incident.assigned, ...before } });
  expect(altered(earlier)).toBe("incomplete");
  expect(altered(({ incident }) => incident.drifts.push({ ...incident.drifts[0] }))).toBe("tampered");
  expect(altered(({ log }) => log.entries.reverse())).toBe("tampered");
  expect(altered(({ log }) => log.entries.push({ ...(log.entries.at(-1) as Parts["log"]["entries"][number]) }))).toBe("tampered");
  for (const at of [0, 1, -1]) {
    const entry = ({ log }: Parts) => log.entries.at(at) as Parts["log"]["entries"][number];
    const flipped = (text: string, position: number): string => {
      const bytes = Buffer.from(text, "base64");
      bytes[position] = (bytes[position] ?? 0) ^ 1;
      return bytes.toString("base64");
    };
    expect(altered((parts) => Object.assign(entry(parts), { entry: flipped(entry(parts).entry, 20) }))).toBe("tampered");
    expect(altered((parts) => Object.assign(entry(parts), { index: entry(parts).index + 1 }))).toBe("tampered");
    expect(altered((parts) => Object.assign(entry(parts), { proof: entry(parts).proof.slice(1) }))).toBe("tampered");
    expect(altered((parts) => Object.assign(entry(parts), { proof: entry(parts).proof.map((each) => flipped(each, 31)) }))).toBe("tampered");
  }
  // What is missing, unreadable, or somebody else's cannot be told.
  expect(altered(({ log }) => log.entries.splice(0))).toBe("incomplete");
  expect(altered(({ incident }) => incident.drifts.splice(0))).toBe("incomplete");
  for (const cut of ["", "null", record.slice(0, -2), record.replace("hullmark-incident/1", "hullmark-incident/2")])
    expect(verifyRecord(cut, key()).verdict).toBe("incomplete");
  expect(verifyRecord(record, parseVerifierKey(testNoteSigner().verifierKey)).verdict).toBe("incomplete");
  expect(altered(({ log }) => Object.assign(log, { checkpoint: log.checkpoint.replace(/\n(\d+)\n/, (_, size) => `\n${Number(size) + 1}\n`) }))).toBe(
    "tampered",
  );
  // Said twice, or beside it.
  expect(verifyRecord(record.replace('"owner":', '"owner": "eve",\n  "owner":'), key()).verdict).toBe("tampered");
  expect(verifyRecord(`${record} `, key()).verdict).toBe("tampered");
}

/** What a drift that stands holds now is in no entry: that is said of it, and not found wrong; it cannot be said of what the log has otherwise. */
async function changedSince(id: string): Promise<void> {
  await write(3, "port=86\n");
  const present = async () => (await incidents()).find((each) => each.id === id);
  const sizes = async () => (await present())?.members.at(-1)?.drift.differences.flatMap(({ field, observed }) => (field === "sha256" ? [observed] : []));
  await expect.poll(sizes, { timeout: 240_000 }).toEqual([hash("sha256", "port=86\n")]);
  const record = await exported((await present()) as ToldIncident);
  const driftId = (await present())?.members.at(-1)?.driftId;
  expect(verifyRecord(record, key())).toMatchObject({ verdict: "ok", unproven: [`${driftId}: summary, differences, changedAt`] });
  const unsaid = `${JSON.stringify({ ...JSON.parse(record), since: [] }, null, 1)}\n`;
  expect(verifyRecord(unsaid, key()).verdict).toBe("tampered");
  const { since: _, ...older } = JSON.parse(record);
  expect(verifyRecord(`${JSON.stringify(older, null, 1)}\n`, key())).toMatchObject({ verdict: "ok", unproven: [expect.stringContaining("differences")] });
}

/** The command as people type it, with what it answers and its exit code. */
const ELSEWHERE = new Set(["playbook", "alert"]);

async function asTyped({ id, members }: ToldIncident): Promise<void> {
  const [config, record] = [joinPath(verifier.directory, "cli.yaml"), joinPath(verifier.directory, "incident.json")];
  const files = "caFile: state/admin/ca.crt, certFile: state/admin/client.crt, keyFile: state/admin/client.key, logKeyFile: state/admin/log.pub";
  const address = `address: '${verifier.mainAddress}', logUrl: 'http://127.0.0.1:${verifier.running?.httpPort}/log'`;
  writeFileSync(config, `currentContext: a\ncontexts:\n  a: { ${address}, ${files} }\n`);
  const main = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
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
  expect(await hullmark("ack", id, "-m", "known")).toMatchObject({ code: 0, out: expect.stringContaining(`${id}: 1 drifts acknowledged`) });
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
  expect(await hullmark("verify", record)).toMatchObject({ code: 0, out: expect.stringContaining("VERIFIED") });
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
