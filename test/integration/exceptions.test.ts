/** A drift is excused until a day: asked for from it, decided by somebody else, in force on what runs without a restart, shown where it counts, and over by itself. */
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { RpcChannel } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Severity, Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { decodeLogEntry } from "@hullmark/verifier/core/transparency/entry";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import type { Attester, ScriptedContainer } from "../fakes/attester.ts";
import { alertsOf, HttpReceiver } from "../fakes/http-receiver.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { scriptedWeb } from "../fakes/scripted-web.ts";
import { TestVerifier } from "../fakes/verifier.ts";

vi.setConfig({ testTimeout: 480_000 });
// That an alert is over is told half a minute later, lest it flaps.
const POLL = { timeout: 150_000, interval: 100 };
const DAY_MS = 86_400_000;
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

async function startVerifier(more = ""): Promise<void> {
  const text = `apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec:\n  intervals: { heartbeat: 5m, quote: 1h }\n${more}`;
  await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(text)}`);
}

async function start(more = ""): Promise<void> {
  await startVerifier(more);
  node = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await node.connect();
}

/** Services of one name, each of a Compose project of its own. */
function web(index: number, added: readonly string[]): ScriptedContainer {
  return { ...scriptedWeb(image, index, added), workload: "web", labels: { "com.docker.compose.project": `shop-${index}` } };
}

/** A container with one file more than its image. */
async function drifted(index = 1, path = "etc/added"): Promise<string> {
  node.set(web(index, [path]));
  await node.report();
  await expect.poll(async () => (await open()).filter(({ containerName }) => containerName === `web-${index}`).length, POLL).toBe(1);
  return (await open()).find(({ containerName }) => containerName === `web-${index}`)?.id ?? "";
}

const open = async () => (await verifier.query.listDrift({ states: [DriftState.OPEN] })).drifts;
const drift = async (id: string) => (await verifier.query.getDrift({ id })).drift;
const workload = async (name: string) => (await verifier.query.getWorkload({ container: name })).workload;
const listed = async () => (await verifier.query.listExceptions({})).exceptions;
const as = async (role: "viewer" | "responder" | "approver" | "admin") => (await verifier.operator(role)).client(Admin);
const REQUEST = { lifeSeconds: 7 * 86_400, reason: "seed data, CHG-7", pathGlob: "", anyContent: false, anyImage: false };
/** Of a drift as it is shown now. */
const of = async (driftId: string, more: Partial<typeof REQUEST> = {}) => ({ ...REQUEST, ...more, driftId, seen: (await drift(driftId))?.seen ?? "" });

/** Somebody with a certificate under this name and role, issued by the verifier as people get theirs. */
async function person(name: string, role: string) {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { certificateChain } = await verifier.adminClient.issuePersonCertificate({
    ...{ name, role, days: 1, publicKey: publicKey.export({ type: "spki", format: "der" }) },
  });
  const pem = certificateChain.map((der) => `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString("base64")}\n-----END CERTIFICATE-----\n`).join("");
  const key = Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" }));
  return verifier.track(new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca, key, Buffer.from(pem)))).client(Admin);
}

test("asked for by one person and approved by another, it counts within seconds, is shown on the result, and ends by itself", async () => {
  const receiver = await new HttpReceiver().start();
  onTestFinished(() => receiver[Symbol.asyncDispose]());
  await start(`  alerts: { routes: [{ name: page, type: webhook, url: "${receiver.url}", groupBy: [] }] }\n`);
  const id = await drifted();
  await expect.poll(() => alertsOf(receiver, "added").map(({ status }) => status), POLL).toEqual(["firing"]);
  const { id: exception } = await (await as("responder")).requestException(await of(id));
  expect(exception).toMatch(/^X-/);
  // As narrow as it can be: nothing counts before somebody else has looked.
  expect(await listed()).toMatchObject([
    {
      ...{ id: exception, state: "requested", driftId: id, requestedBy: "some-responder", containerName: "web-1" },
      scope: {
        service: "shop-1/web",
        place: "upper",
        kind: "added",
        severity: Severity.MEDIUM,
        pathGlob: "",
        configDigest: image.configDigest,
        observed: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
    },
  ]);
  expect((await drift(id))?.state).toBe(DriftState.OPEN);
  expect((await verifier.query.getStatus({})).claims.map(({ code }) => code)).toContain("exception-requested");
  await (await as("approver")).approveException({ id: exception });
  await expect.poll(async () => await drift(id), POLL).toMatchObject({ state: DriftState.NOTICE, exception });
  // It is not as in the image all the same, and the result says by what it is let be.
  expect(await workload("web-1")).toMatchObject({ verdict: Verdict.WARNING, content: Verdict.WARNING, openDrifts: 0, notices: 1 });
  expect((await workload("web-1"))?.reasons).toContainEqual(expect.objectContaining({ code: "exception", detail: expect.stringContaining(exception) }));
  await expect.poll(() => alertsOf(receiver, "added").map(({ status }) => status), POLL).toEqual(["firing", "resolved"]);
  // Another content of the same file is another drift.
  node.set({ ...web(1, ["etc/added"]), upper: new Map([...web(1, ["etc/added"]).upper, ["etc/added", other()]]) });
  await node.report();
  await expect.poll(async () => (await drift(id))?.state, POLL).toBe(DriftState.OPEN);
  node.set(web(1, ["etc/added"]));
  await node.report();
  await expect.poll(async () => (await drift(id))?.state, POLL).toBe(DriftState.NOTICE);
  // A service of its name in another project has no part in it.
  const second = await drifted(2);
  expect((await drift(second))?.exception).toBe("");
  // A quarter of its life before the end people are reminded; at the end it is drift again, and told again.
  verifier.clock.shiftMs += 6 * DAY_MS;
  await expect.poll(() => alertsOf(receiver, "exception-ending").map(({ status }) => status), POLL).toEqual(["firing"]);
  expect(alertsOf(receiver, "exception-ending")[0]).toMatchObject({ nextCommand: `hullmark exception show ${exception}`, workload: "web" });
  verifier.clock.shiftMs += 2 * DAY_MS;
  await expect.poll(async () => (await listed()).map(({ state }) => state), POLL).toEqual(["expired"]);
  await expect.poll(() => alertsOf(receiver, "exception-ending").map(({ status }) => status), POLL).toEqual(["firing", "resolved"]);
});

function other(): Buffer {
  return web(1, ["etc/different"]).upper.get("etc/different") as Buffer;
}

test("what ends is drift again on what runs, by a day or by somebody's word; what is decided holds over a restart", async () => {
  await start();
  const id = await drifted();
  const { id: exception } = await (await as("responder")).requestException(await of(id, { lifeSeconds: 3600 }));
  await (await as("approver")).approveException({ id: exception });
  await expect.poll(async () => (await drift(id))?.state, POLL).toBe(DriftState.NOTICE);
  await node.close();
  await verifier.stop();
  await startVerifier();
  node.options = { ...node.options, mainAddress: verifier.mainAddress };
  await node.connect();
  await node.report();
  expect(await listed()).toMatchObject([{ id: exception, state: "approved" }]);
  await expect.poll(async () => await workload("web-1"), POLL).toMatchObject({ verdict: Verdict.WARNING, openDrifts: 0 });
  await (await as("responder")).revokeException({ id: exception, reason: "it was not seed data" });
  await expect.poll(async () => (await workload("web-1"))?.openDrifts, POLL).toBe(1);
  const again = (await open())[0]?.id ?? "";
  const { id: short } = await (await as("responder")).requestException(await of(again, { lifeSeconds: 3600 }));
  await (await as("approver")).approveException({ id: short });
  await expect.poll(async () => (await workload("web-1"))?.openDrifts, POLL).toBe(0);
  // Within the certificate's hour: two steps of half a life.
  verifier.clock.shiftMs += 3_600_000 - 120_000;
  await expect.poll(async () => (await listed()).find((row) => row.id === short)?.remindedAt !== undefined, POLL).toBe(true);
  verifier.clock.shiftMs += 180_000;
  await expect.poll(async () => (await listed()).find((row) => row.id === short)?.state, POLL).toBe("expired");
  const database = new Database(join(verifier.directory, "state/verifier.db"), { readonly: true });
  onTestFinished(() => void database.close());
  const entries = database
    .prepare<[], { entry: Buffer }>("SELECT entry FROM log_entries ORDER BY position")
    .all()
    .map(({ entry }) => decodeLogEntry(entry));
  const steps = entries.flatMap(({ fields }) =>
    String(fields["action"]).startsWith("exception-") ? [[fields["action"], fields["exception"], fields["by"]]] : [],
  );
  expect(steps).toEqual([
    ["exception-requested", exception, "some-responder"],
    ["exception-approved", exception, "some-approver"],
    ["exception-revoked", exception, "some-responder"],
    ["exception-requested", short, "some-responder"],
    ["exception-approved", short, "some-approver"],
    ["exception-expired", short, null],
  ]);
});

test("nobody approves what they asked for, by whichever certificate; what was decided cannot be decided again", async () => {
  await start();
  const id = await drifted();
  const [asks, decides] = [await person("ann", "responder"), await person("ann", "approver")];
  const { id: exception } = await asks.requestException(await of(id));
  await expect(decides.approveException({ id: exception })).rejects.toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "OWN_REQUEST" } });
  await expect(asks.approveException({ id: exception })).rejects.toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "ROLE" } });
  await expect(asks.requestException({ ...(await of(id)), seen: "0".repeat(16) })).rejects.toMatchObject({ detail: { reason: "CHANGED" } });
  await expect(asks.requestException({ ...(await of(id)), seen: "" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(asks.requestException(await of(id))).rejects.toMatchObject({ detail: { reason: "NOT_OPEN" } });
  expect((await drift(id))?.state).toBe(DriftState.OPEN);
  await (await person("bob", "approver")).denyException({ id: exception, reason: "bring it into the image" });
  await expect(decides.approveException({ id: exception })).rejects.toMatchObject({ detail: { reason: "NOT_OPEN" } });
  expect(await listed()).toMatchObject([{ state: "denied", decidedBy: "bob", decision: "bring it into the image" }]);
  expect((await drift(id))?.state).toBe(DriftState.OPEN);
});

test("what is too broad is refused with what would do, and that does", async () => {
  await start("  exceptions: { maxDays: 14 }\n");
  const id = await drifted(1, "etc/app/added.conf");
  const responder = await as("responder");
  const refused = async (more: Partial<typeof REQUEST>): Promise<unknown> => {
    const error = (await responder.requestException(await of(id, more)).catch((thrown: unknown) => thrown)) as {
      detail: Record<string, string>;
    };
    expect(error.detail["reason"]).toBe("TOO_BROAD");
    return error.detail["fix"];
  };
  expect(await refused({ lifeSeconds: 15 * 86_400 })).toBe("--until 14d");
  for (const pathGlob of ["/**", "/etc/**", "/etc/*/added.conf", "/etc/app/other*"]) expect(await refused({ pathGlob })).toBe("--path '/etc/app/*.conf'");
  const { id: exception } = await responder.requestException(await of(id, { pathGlob: "/etc/app/*.conf" }));
  await (await as("approver")).approveException({ id: exception });
  await expect.poll(async () => (await drift(id))?.state, POLL).toBe(DriftState.NOTICE);
});

test("it counts where the node does not tell which image runs: the registry does", async () => {
  await start();
  const told = web(1, ["etc/added"]);
  node.set({ ...told, image: { ...told.image, untold: true } });
  await node.report();
  await expect.poll(async () => (await open()).map(({ configDigest }) => configDigest), POLL).toEqual([image.configDigest]);
  const id = (await open())[0]?.id ?? "";
  const { id: exception } = await (await as("responder")).requestException(await of(id));
  await (await as("approver")).approveException({ id: exception });
  await expect.poll(async () => await drift(id), { ...POLL, timeout: 60_000 }).toMatchObject({ state: DriftState.NOTICE, exception });
});

test("people use it by the command", async () => {
  await start();
  const id = await drifted();
  const responder = await hullmarkOf(verifier, "responder");
  expect((await responder("drift", "show", id)).out).toContain(`hullmark exception request ${id} --seen ${(await drift(id))?.seen}`);
  const asked = await responder("exception", "request", id, "-m", "seed data", "--until", "2d");
  expect(asked).toMatchObject({ code: 0, out: expect.stringMatching(/Content +as it was seen[\s\S]*Service +shop-1\/web alone/) });
  const [, exception = ""] = /exception approve (X-\w+)/.exec(asked.out) ?? [];
  expect((await responder("exception", "ls")).out).toMatch(new RegExp(`${exception} +requested +shop-1/web +/etc/added +in 4[78]h|2d`));
  const wide = await responder("exception", "request", id, "-m", "x", "--path", "/**");
  expect(wide).toMatchObject({ code: 2, err: expect.stringContaining("leave --path and --any-content out") });
  const approver = await hullmarkOf(verifier, "approver");
  expect(await approver("exception", "approve", exception)).toMatchObject({ code: 0, out: `${exception} approved\n` });
  await expect.poll(async () => (await drift(id))?.exception, POLL).toBe(exception);
  const viewer = await hullmarkOf(verifier, "viewer");
  expect((await viewer("exception", "show", exception)).out).toMatch(new RegExp(`Excuses +${id}`));
  expect(JSON.parse((await viewer("exception", "show", exception, "-o", "json")).out)).toMatchObject({
    state: "approved",
    excuses: [id],
    covers: { pathGlob: null },
  });
  expect((await viewer("drift", "show", id)).out).toContain(`Excused by ${exception}`);
  // Its incident is over by that, and says so.
  const [incident] = JSON.parse((await viewer("incident", "ls", "--all", "-o", "json")).out).incidents;
  expect(incident).toMatchObject({ state: "resolved", drifts: [{ id, state: "notice", exception }] });
  expect((await verifier.query.getIncident({ id: incident.id })).incident).toMatchObject({ state: "resolved", standing: 0 });
  const page = await viewer("incident", "show", incident.id);
  expect(page).toMatchObject({ code: 0, out: expect.stringMatching(new RegExp(`${id} +\\w+ +excused ${exception} `)) });
  expect(page.out).toMatch(
    new RegExp(`exception +${id} on w-1 by some-responder: ${exception}: seed data\n.* excused +${id} on w-1 by some-approver: ${exception}\n`),
  );
  expect((await viewer("incident", "ls")).out).toContain("no incident");
  // Who excused it, and when, is proven by what was exported.
  const [log, exported] = [`http://127.0.0.1:${verifier.running?.httpPort}/log`, join(verifier.directory, "excused.json")];
  const source = ["--url", log, "--key", join(verifier.directory, "state/admin/log.pub")];
  await expect.poll(async () => await viewer("incident", "export", incident.id, exported, ...source), POLL).toMatchObject({ code: 0 });
  expect(JSON.parse((await viewer("incident", "verify", exported, ...source, "-o", "json")).out)).toMatchObject({ verdict: "ok", complete: true });
  const { state, timeline } = JSON.parse(readFileSync(exported, "utf8")).incident;
  expect([state, timeline]).toEqual(["resolved", expect.arrayContaining([expect.objectContaining({ what: "excused", by: "some-approver" })])]);
  expect(await responder("exception", "revoke", exception, "-m", "done")).toMatchObject({ code: 0 });
  await expect.poll(async () => (await drift(id))?.state, POLL).toBe(DriftState.OPEN);
  expect((await viewer("incident", "show", incident.id)).out).toMatch(new RegExp(`excuse-over +${id} on w-1 by some-responder: ${exception}: done\n`));
  expect((await viewer("exception", "ls")).out).not.toContain(exception);
  expect((await viewer("exception", "ls", "--all")).out).toMatch(new RegExp(`${exception} +revoked`));
});
