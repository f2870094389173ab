/** Living baselines over two real TPMs: proposed from one node, approved by somebody else, an update let in beforehand, the old one ended. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { imaListFile } from "@hullmark/agent/adapters/ima/ima-list-file";
import { Tpm2Quoter } from "@hullmark/agent/adapters/tpm2/index";
import { Tpm } from "@hullmark/native";
import { Admin } from "@hullmark/proto/v1/admin";
import { DriftState, Query } from "@hullmark/proto/v1/query";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { aggregated, boot, event, sha256 } from "../fakes/boot-log.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { listOf, measured } from "../fakes/ima-list.ts";
import { Swtpm } from "../fakes/swtpm.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const KERNEL = event(4, 0x80000003, "kernel 1");
const POLICY = `apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec:\n  nodes:\n    - name: workers\n      select: { nodes: ["w-*"] }\n      boot: { eventLog: optional }\n    - name: edge\n      select: { nodes: ["e-*"] }\n      boot: { eventLog: optional }\n      ima: { list: required }\n`;

const directory = mkdtempSync(join(tmpdir(), "hullmark-baselines-"));
const verifier = new TestVerifier();
const chips: { tpm: Swtpm; quoter: Tpm2Quoter }[] = [];
const CONFIG = `enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(POLICY)}`;

/** A node with a TPM that has measured the first kernel. */
async function join1(name: string) {
  const tpm = await Swtpm.start({ withoutEkCertificate: true });
  const quoter = new Tpm2Quoter({ tcti: tpm.tcti, stateDir: mkdtempSync(join(directory, "tpm-")) });
  // Before anything can fail: what is listed is stopped.
  chips.push({ tpm, quoter });
  await boot(tpm.tcti, [KERNEL]);
  const attester = verifier.attester({ name, quoter });
  await attester.connect();
  await attester.report();
  return { attester, tpm, quoter };
}

beforeAll(async () => {
  await verifier.start(CONFIG);
});
afterAll(async () => {
  await verifier.dispose();
  for (const { tpm, quoter } of chips) {
    await quoter.close();
    await tpm.stop();
  }
  rmSync(directory, { recursive: true });
});

/** The node measures something else into PCR 4. A software TPM serves one client at a time: the agent's goes, and comes back with the next quote. */
async function measures({ attester, tpm, quoter }: Awaited<ReturnType<typeof join1>>, what: Measured = { 4: [randomBytes(32)] }): Promise<void> {
  attester.answering = false;
  await quoter.close();
  const chip = new Tpm();
  await chip.open(tpm.tcti);
  for (const [pcr, digests] of Object.entries(what)) for (const digest of digests) await chip.extendPcr(Number(pcr), "sha256", digest);
  await chip.close();
  attester.answering = true;
}
type Measured = Readonly<Record<number, readonly Buffer[]>>;

/** Why a node is not believed, by a quote made after now. */
async function judged(name: string): Promise<string[]> {
  await verifier.adminClient.requestQuote({ nodeId: name });
  return (await verifier.query.getNode({ id: name })).node?.reasons.filter(({ code }) => code === "pcr").map(({ detail }) => detail) ?? [];
}
const accepted = (name: string) => expect.poll(() => judged(name), { timeout: 20_000 }).toEqual([]);
const refused = (name: string) =>
  expect.poll(() => judged(name), { timeout: 20_000 }).toEqual([expect.stringMatching(/^PCR 4 is [0-9a-f]{64}, which policy does not list$/)]);
const quoted = (name: string) =>
  expect.poll(async () => (await verifier.query.getNode({ id: name })).boot?.pcrs.length, { timeout: 20_000 }).toBeGreaterThan(0);
const states = async (): Promise<string[]> => (await verifier.query.listBaselines({})).baselines.map(({ id, state }) => `${id} ${state}`).sort();

test("what chosen nodes prove counts once somebody else approves it; an update that was approved first raises nothing, an unexpected one does", async () => {
  const [one, two] = [await join1("w-1"), await join1("w-2")];
  await join1("other");
  for (const name of ["w-1", "w-2", "other"]) await quoted(name);
  // A name that no rule is for is told.
  const codes = async (name: string): Promise<string[]> => (await verifier.query.getNode({ id: name })).node?.reasons.map(({ code }) => code) ?? [];
  expect(await codes("other")).toContain("no-rule");
  expect(await codes("w-1")).not.toContain("no-rule");
  const responder = (await verifier.operator("responder")).client(Admin);
  const approver = (await verifier.operator("approver")).client(Admin);
  const request = { pool: "workers", nodes: ["w-1"], pcrs: [0, 4], files: false, reason: "first" };

  await expect(responder.proposeBaseline({ ...request, nodes: ["nobody"] })).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(responder.proposeBaseline({ ...request, nodes: ["other"] })).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(responder.proposeBaseline({ ...request, pcrs: [13] })).rejects.toMatchObject({ detail: { reason: "UNPROVEN" } });
  await expect(responder.proposeBaseline({ ...request, files: true })).rejects.toMatchObject({ detail: { reason: "UNPROVEN" } });
  await expect(responder.proposeBaseline({ ...request, pcrs: [24] })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(responder.proposeBaseline({ ...request, reason: " " })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(await states()).toEqual([]);

  expect(await responder.proposeBaseline(request)).toMatchObject({ id: "workers@1" });
  // Before somebody approves it, nothing is asked for.
  await accepted("w-2");
  await expect(approver.approveBaseline({ id: "workers@9", reviewDays: 30 })).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(approver.approveBaseline({ id: "workers@1", reviewDays: 367 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await approver.approveBaseline({ id: "workers@1", reviewDays: 30 });
  await expect(approver.approveBaseline({ id: "workers@1", reviewDays: 30 })).rejects.toMatchObject({ detail: { reason: "NOT_OPEN" } });
  for (const name of ["w-1", "w-2"]) await accepted(name);

  // One node boots something else, which nobody approved.
  await measures(two);
  await refused("w-2");
  await accepted("w-1");
  // It is the update that was planned: taken from the node that has it, and approved by another than proposed it.
  expect(await approver.proposeBaseline({ ...request, nodes: ["w-2"], reason: "kernel 2" })).toMatchObject({ id: "workers@2" });
  await expect(approver.approveBaseline({ id: "workers@2", reviewDays: 1 })).rejects.toMatchObject({
    code: "PERMISSION_DENIED",
    detail: { reason: "OWN_REQUEST" },
  });
  await verifier.adminClient.approveBaseline({ id: "workers@2", reviewDays: 1 });
  for (const name of ["w-1", "w-2"]) await accepted(name);

  // The campaign is over: who is left behind is told of.
  await approver.expireBaseline({ id: "workers@1", reason: "rolled out", last: false });
  await refused("w-1");
  await accepted("w-2");
  await expect(approver.expireBaseline({ id: "workers@2", reason: "x", last: false })).rejects.toMatchObject({ detail: { reason: "LAST" } });
  await expect(approver.expireBaseline({ id: "workers@1", reason: "x", last: false })).rejects.toMatchObject({ detail: { reason: "NOT_OPEN" } });

  // It holds over a restart, of which the policy knows nothing.
  for (const { attester } of [one, two]) await attester.close();
  await verifier.stop();
  const database = new Database(join(verifier.directory, "state", "verifier.db"), { readonly: true });
  const entries = database.prepare<[], { entry: Buffer }>("SELECT entry FROM log_entries").all();
  database.close();
  const actions = entries.flatMap(
    ({ entry }) => /"action":"baseline-(\w+)".*"baseline":"(workers@\d)","by":"([^"]+)"/.exec(entry.toString())?.slice(1).join(" ") ?? [],
  );
  expect(actions).toEqual([
    "proposed workers@1 some-responder",
    "approved workers@1 some-approver",
    "proposed workers@2 some-approver",
    "approved workers@2 admin",
    "expired workers@1 some-approver",
  ]);
  await verifier.start(CONFIG);
  expect(await states()).toEqual(["workers@1 expired", "workers@2 approved"]);
  expect(await verifier.query.getNode({ id: "w-1" })).toMatchObject({ node: { reasons: expect.arrayContaining([expect.objectContaining({ code: "pcr" })]) } });

  const claims = async (): Promise<string[]> => (await (await verifier.operator("viewer")).client(Query).getStatus({})).claims.map(({ code }) => code);
  expect(await claims()).toEqual([]);
  verifier.clock.shiftMs += 2 * 86_400_000;
  expect(await verifier.query.getStatus({})).toMatchObject({
    claims: [{ code: "baseline-review", detail: "workers@2, approved by admin, is past its review date" }],
  });
  const metrics = await (await fetch(`http://127.0.0.1:${verifier.running?.httpPort}/metrics`)).text();
  expect(metrics).toMatch(/^hullmark_baselines_to_review 1$/m);
  verifier.clock.shiftMs = 0;
  await verifier.adminClient.expireBaseline({ id: "workers@2", reason: "over", last: true });
  expect(await claims()).toEqual([]);
}, 120_000);

test("the same from the command line, with the files that ran: proposed, looked at, approved by another, let into the pool before it is rolled out, ended", async () => {
  const file = (name: string) => measured({ path: `/usr/bin/${name}`, content: name });
  const first = [measured({ path: "boot_aggregate", content: aggregated([KERNEL]) }), file("a"), file("b")];
  const update = { more: [randomBytes(32)], files: [file("c")] };
  const hex = (name: string): string => sha256(name).toString("hex");
  const [one, canary] = [await edge("e-1"), await edge("e-2")];
  for (const node of [one, canary]) await node.ran(first);
  const [responder, approver] = [await hullmarkOf(verifier, "responder"), await hullmarkOf(verifier, "approver")];
  /** A list that is told while it grows is proven by one of the next quotes. */
  const proposed = (node: string, reason: string, id: string) =>
    expect
      .poll(() => responder("baseline", "propose", "edge", "--node", node, "--pcrs", "14", "--files", "--reason", reason), { timeout: 30_000, interval: 500 })
      .toMatchObject({ code: 0, out: expect.stringContaining(`proposed ${id}: somebody else approves it`) });
  const drifts = async (node: string): Promise<string[]> => {
    await verifier.adminClient.requestQuote({ nodeId: node });
    return (await verifier.query.listDrift({ nodeId: (await verifier.query.getNode({ id: node })).node?.id ?? "" })).drifts.map(({ kind }) => kind).sort();
  };
  const raises = (node: string, kinds: readonly string[]) => expect.poll(() => drifts(node), { timeout: 30_000 }).toEqual(kinds);

  // What ran is what nobody vouches for, until somebody does.
  for (const name of ["e-1", "e-2"]) await raises(name, ["ima", "ima"]);
  await proposed("e-1", "as delivered", "edge@1");
  const diff = await responder("baseline", "diff", "edge@1");
  expect(diff.code).toBe(1);
  expect(diff.out.split("\n").map((line) => line.replace(/[0-9a-f]{64}$/, (value) => (value === hex("a") ? "a" : value === hex("b") ? "b" : "?")))).toEqual(
    expect.arrayContaining(["+ PCR 14  ?", "+ file  a", "+ file  b"]),
  );
  expect(await responder("baseline", "approve", "edge@1")).toMatchObject({ code: 2, err: expect.stringContaining("this needs the role approver") });
  expect(await approver("baseline", "approve", "edge@1", "--review-days", "2")).toMatchObject({ code: 0, out: "approved\n" });
  for (const name of ["e-1", "e-2"]) await raises(name, []);

  // The canary is updated: an alarm there, and there alone, until what it has become is let in.
  await canary.ran(update.files, update.more);
  await raises("e-2", ["ima", "pcr"]);
  expect((await responder("nodes")).out).toMatch(/e-2 .*contraindicated/);
  await proposed("e-2", "release 2", "edge@2");
  const more = await approver("baseline", "diff", "edge@2");
  expect(more).toMatchObject({ code: 1, out: expect.stringContaining(`+ file  ${hex("c")}\n`) });
  expect(more.out).toContain(`  file  ${hex("a")}\n`);
  expect(more.out.match(/^\+/gm)).toHaveLength(2);
  expect(more.out.match(/^- PCR 14 /gm)).toHaveLength(1);
  expect(await approver("baseline", "approve", "edge@2", "--review-days", "30")).toMatchObject({ code: 0 });
  await raises("e-2", []);
  const everSeen = async (): Promise<number> => (await verifier.query.listDrift({ states: [DriftState.OPEN, DriftState.RESOLVED] })).drifts.length;
  const seen = await everSeen();

  // The rest of the pool is rolled over: nobody is called. What comes besides is told.
  await one.ran(update.files, update.more);
  await raises("e-1", []);
  await one.ran([file("evil")]);
  await raises("e-1", ["ima"]);
  expect(await everSeen()).toBe(seen + 1);

  expect(await approver("baseline", "expire", "edge@1", "--reason", "rolled out")).toMatchObject({ code: 0, out: "ended\n" });
  // What ran before the update is vouched for still.
  await raises("e-2", []);
  expect(await approver("baseline", "expire", "edge@2", "--reason", "x")).toMatchObject({ code: 3, err: expect.stringContaining("last of its pool") });
  expect((await approver("baseline", "ls")).out).toMatch(/edge@2 +approved +14 +3 .*\nedge@1 +expired +14 +2 /);
  expect((await responder("status")).out).not.toContain("baseline-review");
  const before = await responder("baseline", "report", "-o", "json");
  expect(before.code).toBe(0);
  expect(JSON.parse(before.out).filter(({ id }: { id: string }) => id === "edge@2")).toMatchObject([
    { kind: "nodes", of: "edge", state: "approved", owner: "some-responder", approvedBy: "some-approver", overdue: false, ends: false, uses: 2, unused: false },
  ]);
  verifier.clock.shiftMs += 31 * 86_400_000;
  expect(await hullmarkOf(verifier).then((admin) => admin("baseline", "report"))).toMatchObject({
    code: 1,
    out: expect.stringMatching(/^edge@2 +edge +approved +some-responder +some-approver +\d{4}-\d\d-\d\d OVERDUE +2 nodes /m),
  });
  expect((await hullmarkOf(verifier).then((admin) => admin("status"))).out).toMatch(
    /baseline-review: edge@2, approved by some-approver, is past its review date/,
  );
}, 180_000);

/** A node of the other pool, whose kernel measures what it runs. */
async function edge(name: string) {
  const node = await join1(name);
  const list = join(directory, `${name}.list`);
  writeFileSync(list, "");
  node.attester.imaList = imaListFile(list);
  const ran = async (files: readonly ReturnType<typeof measured>[], more: readonly Buffer[] = []): Promise<void> => {
    writeFileSync(list, listOf(files), { flag: "a" });
    await measures(node, { 10: files.map(({ hashed }) => hashed), 14: more });
    node.attester.imaList = imaListFile(list);
  };
  return { ...node, ran };
}
