/** Living baselines over two real TPMs: proposed from one node, approved by somebody else, an update let in beforehand, the old one ended. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tpm2Quoter } from "@hullmark/agent/adapters/tpm2/index";
import { Tpm } from "@hullmark/native";
import { Admin } from "@hullmark/proto/v1/admin";
import { Query } from "@hullmark/proto/v1/query";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { boot, event } from "../fakes/boot-log.ts";
import { Swtpm } from "../fakes/swtpm.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const KERNEL = event(4, 0x80000003, "kernel 1");
const POLICY = `apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec:\n  nodes:\n    - name: workers\n      select: { nodes: ["w-*"] }\n      boot: { eventLog: optional }\n`;

const directory = mkdtempSync(join(tmpdir(), "hullmark-baselines-"));
const verifier = new TestVerifier();
const chips: { tpm: Swtpm; quoter: Tpm2Quoter }[] = [];
const CONFIG = `enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(POLICY)}`;

/** A node with a TPM that has measured the first kernel. */
async function join1(name: string) {
  const tpm = await Swtpm.start({ withoutEkCertificate: true });
  await boot(tpm.tcti, [KERNEL]);
  const stateDir = mkdtempSync(join(directory, "tpm-"));
  const quoter = new Tpm2Quoter({ tcti: tpm.tcti, stateDir });
  chips.push({ tpm, quoter });
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
async function measures({ attester, tpm, quoter }: Awaited<ReturnType<typeof join1>>): Promise<void> {
  attester.answering = false;
  await quoter.close();
  const chip = new Tpm();
  await chip.open(tpm.tcti);
  await chip.extendPcr(4, "sha256", randomBytes(32));
  await chip.close();
  attester.answering = true;
}

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
