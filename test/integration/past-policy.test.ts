/** A week as a real verifier recorded it, gone through under other policies: what would have been otherwise, and that the same policy changes nothing. */
import "reflect-metadata";
import { createPrivateKey, createPublicKey, webcrypto } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fromJson } from "@hullmark/verifier/adapters/sqlite/json";
import { nodeUri } from "@hullmark/verifier/core/enrolment/peer-identity";
import {
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  PublicKey,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { Attester } from "../fakes/attester.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { scriptedWeb } from "../fakes/scripted-web.ts";
import { TestVerifier } from "../fakes/verifier.ts";

vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });
const POLL = { timeout: 80_000, interval: 100 };
const DAY_MS = 86_400_000;
let registry: FakeRegistry;
let image: PushedImage;
let verifier: TestVerifier;
let node: Attester;

const policy = (spec: string): string =>
  `apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec:\n  intervals: { heartbeat: 5m, quote: 1h }\n${spec}`;
const PRESENT = policy("  mode: observe\n");

/** Gives the node a certificate for weeks: TLS goes by the machine's clock, the verifier by its own, and no certificate of an hour is good by both. */
async function lasting({ credential }: Attester): Promise<void> {
  if (!credential) throw new Error("enrol first");
  const ca = join(verifier.directory, "state/ca");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const key = createPrivateKey(readFileSync(join(ca, "ca-key.pem")));
  const signingKey = await webcrypto.subtle.importKey("pkcs8", key.export({ type: "pkcs8", format: "der" }), algorithm, false, ["sign"]);
  const root = new X509Certificate(readFileSync(join(ca, "ca.pem"), "utf8"));
  const leaf = await X509CertificateGenerator.create({
    ...{ serialNumber: "41", subject: "", issuer: root.subjectName, signingKey, signingAlgorithm: algorithm },
    publicKey: new PublicKey(new Uint8Array(createPublicKey(credential.privateKey).export({ type: "spki", format: "der" }))),
    ...{ notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 30 * DAY_MS) },
    extensions: [
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth], true),
      new SubjectAlternativeNameExtension([{ type: "url", value: nodeUri(verifier.region, credential.nodeId) }], true),
    ],
  });
  node.credential = { ...credential, certificateChain: `${leaf.toString("pem")}\n` };
}

/** One day later, on the same stream. */
async function nextDay(): Promise<void> {
  verifier.clock.shiftMs += DAY_MS;
  await node.report();
  await verifier.adminClient.requestQuote({ nodeId: node.options.name });
}

const drifts = async () => (await verifier.query.listDrift({ states: [1, 2, 3] })).drifts;

/** Six days: on each a container that drifts; all but the last have ended. The last of them has an executable file beside. */
beforeAll(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  verifier = new TestVerifier();
  await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(PRESENT)}`);
  node = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await node.enrol();
  await lasting(node);
  await node.connect();
  node.set(scriptedWeb(image, 99, []));
  await node.report();
  for (let day = 1; day <= 5; day++) {
    const { id } = scriptedWeb(image, day, []);
    node.set(scriptedWeb(image, day, ["etc/added"]));
    await node.report([id]);
    await vi.waitFor(async () => expect((await drifts()).length).toBe(day), POLL);
    if (day < 5) {
      node.containers.delete(id);
      await node.report([], [id]);
      await nextDay();
    }
  }
});
afterAll(async () => {
  await verifier.dispose();
  await registry.close();
});

interface View {
  readonly driftsChanged: number;
  readonly days: readonly Readonly<Record<string, number | string>>[];
  readonly sum: Readonly<Record<string, number>>;
  readonly drifts: readonly { readonly id: string | null; readonly before: string | null; readonly after: string | null }[];
  readonly actions: readonly { readonly at: string; readonly kind: string; readonly state: string }[];
  readonly heldBack: Readonly<Record<string, number>>;
  readonly unknown: Readonly<Record<string, number | string | null>>;
  readonly pages: { readonly after: Readonly<Record<string, number>> };
}

async function simulated(text: string, ...more: string[]): Promise<View & { readonly code: unknown }> {
  const file = join(verifier.directory, "proposed.yaml");
  writeFileSync(file, text);
  const hullmark = await hullmarkOf(verifier);
  const { code, out, err } = await hullmark("policy", "simulate", file, "--since", "7d", "-o", "json", ...more);
  if (out === "") throw new Error(err);
  return { code, ...(JSON.parse(out) as View) };
}

test("the same policy changes nothing, and nothing is written", async () => {
  const before = await verifier.query.getStatus({});
  const rows = await drifts();
  const found = await simulated(PRESENT);
  expect(found).toMatchObject({ driftsChanged: 0, drifts: [], actions: [], sum: { drifts: 5, driftsNew: 0, driftsGone: 0, driftsOther: 0 } });
  expect(found.days.filter(({ drifts }) => drifts === 1).map(({ date }) => date)).toHaveLength(5);
  // Four are gone, and the record does not begin a week ago: it is not all that is known.
  expect(found.unknown).toMatchObject({ containersGone: 4, keptSince: expect.any(String) });
  expect(found.code).toBe(3);
  expect(await drifts()).toEqual(rows);
  expect((await verifier.query.getStatus({})).logSize).toBe(before.logSize);
});

test("paths that may change take drift away, of what runs and of what is gone; of a file whose kind was never kept it is said that nobody knows", async () => {
  const mutable = (cls: string) => policy(`  mode: observe\n  mutable: [{ name: m, class: ${cls}, paths: ["/etc/**"] }]\n`);
  const found = await simulated(mutable("data"));
  expect(found).toMatchObject({ code: 1, driftsChanged: 5, sum: { drifts: 5, driftsGone: 5, driftsUnknown: 0 } });
  expect(found.drifts.every(({ id, before, after }) => id?.startsWith("D-") && before === "med" && after === null)).toBe(true);
  // As a verifier of before would have written it.
  const database = new Database(join(verifier.directory, "state/verifier.db"));
  const [row] = database.prepare<[], { number: number; body: string }>("SELECT number, body FROM drifts WHERE state = 3 ORDER BY number LIMIT 1").all();
  if (!row) throw new Error("no drift");
  const { executable: _kept, ...older } = JSON.parse(row.body) as Record<string, unknown>;
  database.prepare("UPDATE drifts SET body = ? WHERE number = ?").run(JSON.stringify(older), row.number);
  expect(await simulated(mutable("data"))).toMatchObject({ sum: { driftsGone: 4, driftsUnknown: 1 }, unknown: { drifts: 1 } });
  expect(await simulated(mutable("any"))).toMatchObject({ sum: { driftsGone: 5, driftsUnknown: 0 } });
  database.prepare("UPDATE drifts SET body = ? WHERE number = ?").run(row.body, row.number);
  database.close();
  expect(fromJson<{ executable: boolean }>(row.body).executable).toBe(false);
});

test("other severities, what would have been done about them, and who would have been told", async () => {
  const severe = (response: string) =>
    policy(
      `  mode: enforce\n  severities: { added: critical }\n  alerts: { routes: [{ name: page, type: webhook, url: "https://page.example/", minSeverity: high }] }\n  response:\n    rules: [{ name: all, ladder: { critical: [recreate] } }]\n${response}`,
    );
  const found = await simulated(severe(""));
  expect(found).toMatchObject({
    code: 1,
    driftsChanged: 5,
    sum: { driftsOther: 5, actionsRecorded: 0, actionsBefore: 0, actionsAfter: 5, pagesBefore: 0, pagesAfter: 5 },
  });
  expect(found.days.filter(({ actionsAfter }) => actionsAfter === 1)).toHaveLength(5);
  expect(found.actions.map(({ kind, state }) => `${kind} ${state}`)).toEqual(Array(5).fill("recreate done"));
  expect(found.pages.after).toEqual({ page: 5 });
  // A freeze over the third and fourth day: what ended meanwhile was never acted on.
  const [, , third, fourth, fifth] = found.actions.map(({ at }) => Date.parse(at));
  if (third === undefined || fourth === undefined || fifth === undefined) throw new Error("five actions");
  const time = (ms: number) => new Date(ms).toISOString();
  const frozen = await simulated(severe(`    freezes: [{ reason: sale, from: "${time(third - 3_600_000)}", until: "${time(fifth - 3_600_000)}" }]\n`));
  expect(frozen).toMatchObject({ sum: { actionsAfter: 3 }, heldBack: { frozen: 2 } });
  expect((await simulated(severe("").replace("recreate] }", "recreate] }, approvals: 1"))).actions.map(({ state }) => state)).toEqual(
    Array(5).fill("awaiting"),
  );
  expect((await simulated(severe("").replace("enforce", "dry-run"))).actions.map(({ state }) => state)).toEqual(Array(5).fill("dry-run"));
});

test("a policy that asks for signatures would not have accepted what nobody signed", async () => {
  const key = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAFjnDq1CeWCiMaWXSe8f/bu/X9O1PWeP873Zmbnn8Mfc=\n-----END PUBLIC KEY-----\n";
  const signed = policy(
    `  authorities: [{ name: release, key: ${JSON.stringify(key)} }]\n  rules: [{ name: all, require: { signatures: { authorities: [release] } } }]\n`,
  );
  const found = await simulated(signed);
  expect(found.sum).toMatchObject({ images: 1, imagesBefore: 0, imagesAfter: 1, refusedAfter: 0 });
  // Of the containers that run it still: what of the others would have been said, the record does not hold.
  expect(found.drifts.filter(({ id }) => id === null).length).toBeGreaterThan(0);
});

test("people read a line a day and a sum, and a time that is no time is refused", async () => {
  const hullmark = await hullmarkOf(verifier);
  const { code, out } = await hullmark("policy", "simulate", join(verifier.directory, "proposed.yaml"), "--since", "7d");
  expect(code).toBe(1);
  expect(out).toMatch(/^DAY +DRIFTS +NEW +GONE +OTHER SEV/);
  expect(out).toMatch(/^sum +5 /m);
  expect(out).toContain("cannot be known: what was excused in 4 containers that are gone");
  for (const wrong of ["soon", "5m", "400d"]) {
    const asked = hullmark("policy", "simulate", verifier.policyPath, "--since", wrong);
    await expect(asked).rejects.toThrow("process.exit");
  }
});
