/** People get certificates by name and role, and lose them at once: what is open ends, what comes is refused, on no restart, and the log has it. */
import { execFile } from "node:child_process";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { credentials } from "@grpc/grpc-js";
import { RpcChannel, type RpcError } from "@hullmark/proto/rpc";
import { Query } from "@hullmark/proto/v1/query";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { logEntries } from "../fakes/log-entries.ts";
import { program } from "../fakes/program.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const run = promisify(execFile);
const main = program("cli");

// Each command is a process of its own.
vi.setConfig({ testTimeout: 240_000 });

let verifier: TestVerifier;
let directory: string;
beforeAll(async () => {
  verifier = await new TestVerifier().start();
  directory = mkdtempSync(join(tmpdir(), "hullmark-people-"));
});
afterAll(async () => {
  await verifier.dispose();
  rmSync(directory, { recursive: true });
});

interface Told {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** @param as who asks: the admin, or a person whose directory `add` has made */
async function hullmark(as: string, ...args: string[]): Promise<Told> {
  const config = as === "admin" ? join(verifier.directory, "state/admin/config.yaml") : join(directory, as, "config.yaml");
  return await run(process.execPath, [main, "--config", config, ...args]).then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }),
    ({ code, stdout, stderr }) => ({ code, out: stdout, err: stderr }),
  );
}
const add = (name: string, role: string, ...more: string[]) =>
  hullmark("admin", "person", "add", name, "--role", role, "--dir", join(directory, name), ...more);
const revoke = (name: string, as = "admin") => hullmark(as, "person", "revoke", name, "-m", "has left");

/** A person's connection, kept open. */
function connection(files: string): RpcChannel {
  const [key, certificate] = ["client.key", "client.crt"].map((name) => readFileSync(join(files, name)));
  return verifier.track(new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca, key, certificate)));
}

/** A watch that is open: resolves with how it ended. */
async function watching(channel: RpcChannel): Promise<{ readonly ended: Promise<RpcError | undefined> }> {
  const seen = Promise.withResolvers<void>();
  const ended = (async () => {
    for await (const _ of channel.client(Query).watchNodes({})) seen.resolve();
  })().then(
    () => undefined,
    (error: RpcError) => error,
  );
  // Whatever nodes tell shows that it is open.
  const node = verifier.attester({ name: `node-${Math.random().toString(16).slice(2, 10)}`, quoter: new FakeQuoter() });
  await node.connect();
  let open = false;
  void seen.promise.then(() => {
    open = true;
  });
  await expect
    .poll(
      async () => {
        await node.report();
        return open;
      },
      { timeout: 90_000, interval: 200 },
    )
    .toBe(true);
  return { ended };
}

test("a second person gets certificate and configuration, and may what the role may", async () => {
  const made = await add("bob", "responder", "--days", "30");
  expect(made).toMatchObject({ code: 0, out: expect.stringMatching(/^bob, responder: /) });
  expect(statSync(join(directory, "bob")).mode & 0o777).toBe(0o700);
  expect(statSync(join(directory, "bob/client.key")).mode & 0o777).toBe(0o600);
  expect(await hullmark("bob", "action", "ls")).toMatchObject({ code: 0 });
  expect(await hullmark("bob", "log", "verify")).toMatchObject({ code: 0, out: expect.stringMatching(/^VERIFIED/) });
  expect(await hullmark("bob", "action", "pause", "-m", "bob is trying")).toMatchObject({ code: 0 });
  expect(await hullmark("bob", "action", "resume", "-m", "enough")).toMatchObject({ code: 2, err: expect.stringContaining("this needs the role approver") });
  expect(await hullmark("bob", "person", "add", "eve", "--role", "admin", "--dir", join(directory, "eve"))).toMatchObject({ code: 2 });
  expect(logEntries(verifier, "person-certificate")).toMatchObject([{ name: "bob", role: "responder", by: "admin", key: expect.stringMatching(/^sha256:/) }]);
  expect(JSON.parse((await hullmark("bob", "person", "ls", "-o", "json")).out)).toMatchObject({
    people: [{ name: "bob", role: "responder", state: "good", issuedBy: "admin" }],
  });
});

test("a role in namespaces is in the certificate, the list and the log, and opens nothing of the whole cluster", async () => {
  expect(await add("sam", "approver", "--in", "shop", "--in", "till")).toMatchObject({ code: 0, out: expect.stringMatching(/^sam, approver in shop, till: /) });
  const { subjectAltName } = new X509Certificate(readFileSync(join(directory, "sam/client.crt")));
  expect(subjectAltName).toBe("URI:spiffe://hullmark/eu-1/namespaced-operator/approver/sam/shop/till");
  expect(logEntries(verifier, "person-certificate").at(-1)).toMatchObject({ name: "sam", role: "approver", namespaces: "shop till" });
  expect((await hullmark("admin", "person", "ls")).out).toMatch(/sam +approver in shop, till +good/);
  // Where nothing runs in them nothing is known to be clean.
  expect(await hullmark("sam", "status")).toMatchObject({ code: 3, out: expect.stringMatching(/^In +shop, till$/m) });
  expect(await hullmark("sam", "drift", "ls")).toMatchObject({ code: 0 });
  expect(await hullmark("sam", "nodes")).toMatchObject({
    code: 2,
    err: expect.stringContaining("in the whole cluster; sam has approver in shop, approver in till"),
  });
  expect(await hullmark("sam", "person", "ls")).toMatchObject({ code: 2 });
  for (const name of ["Shop", "shop-*", ""]) expect(await add("tom", "viewer", "--in", name), name).toMatchObject({ code: 2 });
  expect((await hullmark("admin", "person", "ls")).out).not.toContain("tom");
});

test("a request that names a role everywhere and one in namespaces gives neither", async () => {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = publicKey.export({ type: "spki", format: "der" });
  const asked = { name: "tom", role: "viewer", namespaced: { role: "admin", namespaces: ["shop"] }, publicKey: spki, days: 1 };
  await expect(verifier.adminClient.issuePersonCertificate(asked)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", detail: { field: "role" } });
  await expect(verifier.adminClient.issuePersonCertificate({ ...asked, role: "", namespaced: { role: "admin", namespaces: [] } })).rejects.toMatchObject({
    detail: { field: "namespaces" },
  });
});

test("the verifier's own names are given to nobody, and what is no name or role is refused", async () => {
  expect(await add("admin", "viewer")).toMatchObject({ code: 3, err: expect.stringContaining("choose another name") });
  expect(await add("../x", "viewer")).toMatchObject({ code: 2 });
  expect(await add("ann", "root")).toMatchObject({ code: 2 });
});

test("once revoked nothing is answered any more: what is open ends, on connections that are there too; others go on", async () => {
  await add("cat", "viewer");
  const [bob, cat] = [connection(join(directory, "bob")), connection(join(directory, "cat"))];
  const [{ ended }, other] = [await watching(bob), await watching(cat)];
  let catEnded = false;
  void other.ended.then(() => {
    catEnded = true;
  });
  expect(await revoke("bob")).toMatchObject({ code: 0, out: "revoked\n" });
  expect(await ended).toMatchObject({ code: "UNAUTHENTICATED", detail: { reason: "REVOKED" } });
  await expect(bob.client(Query).getStatus({})).rejects.toMatchObject({ code: "UNAUTHENTICATED", detail: { reason: "REVOKED" } });
  expect(await hullmark("bob", "status")).toMatchObject({ code: 2, err: expect.stringContaining("was revoked") });
  await expect(cat.client(Query).getStatus({})).resolves.toMatchObject({ region: "eu-1" });
  expect(catEnded).toBe(false);
  expect(logEntries(verifier, "person-revoked")).toMatchObject([{ name: "bob", by: "admin", reason: "has left" }]);
});

test("a restart forgets nothing", async () => {
  await verifier.stop();
  await verifier.start();
  await expect(connection(join(directory, "bob")).client(Query).getStatus({})).rejects.toMatchObject({ detail: { reason: "REVOKED" } });
  await expect(connection(join(directory, "cat")).client(Query).getStatus({})).resolves.toMatchObject({ region: "eu-1" });
});

test("the name can be given again at once, and what it had before stays refused", async () => {
  const old = connection(join(directory, "bob"));
  await verifier.adminClient.revokePerson({ name: "bob", reason: "again" });
  expect(await add("bob", "admin")).toMatchObject({ code: 0 });
  expect(await hullmark("bob", "person", "ls")).toMatchObject({ code: 0, out: expect.stringMatching(/^bob +admin +good/m) });
  await expect(old.client(Query).getStatus({})).rejects.toMatchObject({ detail: { reason: "REVOKED" } });
});

test("the verifier's own credential is revoked like any other, and made anew: a stolen copy opens nothing", async () => {
  const stolen = connection(join(verifier.directory, "state/admin"));
  await expect(stolen.client(Query).getStatus({})).resolves.toMatchObject({ region: "eu-1" });
  expect(await revoke("admin", "bob")).toMatchObject({ code: 0, out: "revoked\n" });
  await expect(stolen.client(Query).getStatus({})).rejects.toMatchObject({ detail: { reason: "REVOKED" } });
  expect(await hullmark("admin", "person", "ls")).toMatchObject({ code: 0, out: expect.stringMatching(/^admin +admin +good .* has left$/m) });
  expect(logEntries(verifier, "person-certificate").at(-1)).toMatchObject({ name: "admin", by: null });
  await verifier.stop();
  await verifier.start();
  expect(await hullmark("admin", "person", "ls")).toMatchObject({ code: 0 });
});

test("whoever an older Hullmark, or nobody known, certified can be revoked too, however it was dated: it is said that the name is not known", async () => {
  // Older ones began a minute before their issue; ours would do so if they were made in 23 hours and 59 minutes.
  const zoes = [0, 86_340_000].map(async (laterMs) => {
    const made = verifier.certify((authority, spki) => authority.issueOperator("viewer", "zoe", spki, 3_600_000), { nowMs: () => Date.now() + laterMs });
    const { key, pem } = await made;
    return verifier.track(new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca, key, pem))).client(Query);
  });
  for (const zoe of zoes) await expect((await zoe).getStatus({})).resolves.toMatchObject({ region: "eu-1" });
  expect(await revoke("zoe")).toMatchObject({ code: 0, out: expect.stringContaining("no certificate of this name is known") });
  for (const zoe of zoes) await expect((await zoe).getStatus({})).rejects.toMatchObject({ detail: { reason: "REVOKED" } });
});
