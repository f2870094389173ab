/** The first admin's credential: kept from start to start, and made anew before it ends or when the CA is another one. */
import { createPrivateKey, generateKeyPairSync, hash, X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { IntentKeys, readCredentials } from "@hullmark/actuator/adapters/grpc/verifier-link";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { parseConfig } from "@hullmark/verifier/config";
import { readPeerIdentity } from "@hullmark/verifier/core/enrolment/index";
import type { Credential, People } from "@hullmark/verifier/core/people/people";
import { intentKeys, isCertificateDue, publishedFiles, publishedRoles, writeActuatorFiles, writeAdminFiles } from "@hullmark/verifier/state-files";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parse } from "yaml";

const DAY_MS = 86_400_000;
const ADDRESSES = { mainPort: 7443, httpPort: 7480, logVerifierKeys: "log+key\n" };

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "hullmark-admin-"));
});
afterEach(() => rmSync(home, { recursive: true }));

const config = () => parseConfig(`stateDirectory: ${home}\nregion: eu-1\nadvertisedNames: [verifier.example]`, "test");
const open = (nowMs: number) => X509Ca.open({ stateDir: join(home, "ca"), region: "eu-1", clock: { nowMs: () => nowMs } });
const certificate = () => readFileSync(join(home, "admin/client.crt"), "utf8");
const fingerprint = (pem: string) => hash("sha256", new X509Certificate(pem).raw);

async function start(
  nowMs: number,
  counts: (name: string, shown: Credential) => boolean = () => true,
  of = config(),
  issued: (name: string) => void = () => {},
): Promise<void> {
  const ca = await open(nowMs);
  const people: Pick<People, "counts" | "issueOwn"> = {
    counts,
    issueOwn: async (w) => {
      issued(w.name);
      return await ca.issueOperator(w.role, w.name, w.publicKey, w.lifetimeMs);
    },
  };
  await writeAdminFiles(of, ca, people, ADDRESSES, nowMs);
}

test("it is the same at the next start, and another in its last two months", async () => {
  const nowMs = Date.now();
  await start(nowMs);
  const first = certificate();
  await start(nowMs + 300 * DAY_MS);
  expect(certificate()).toBe(first);
  await start(nowMs + 340 * DAY_MS);
  expect(certificate()).not.toBe(first);
  expect(new X509Certificate(certificate()).validToDate.getTime()).toBeGreaterThan(nowMs + 700 * DAY_MS);
});

test("one that ends with its root is not made anew over and over: nothing that this root certifies ends later", async () => {
  const nowMs = Date.now();
  const { rootPem } = await open(nowMs);
  const rootEndsMs = new X509Certificate(rootPem).validToDate.getTime();
  expect([59, 61].map((days) => isCertificateDue(nowMs + days * DAY_MS, rootPem, nowMs))).toEqual([true, false]);
  const lateMs = rootEndsMs - 10 * DAY_MS;
  expect(isCertificateDue(rootEndsMs - DAY_MS, rootPem, lateMs)).toBe(true);
  expect(isCertificateDue(rootEndsMs, rootPem, lateMs)).toBe(false);
  await start(lateMs);
  const last = certificate();
  await start(lateMs + DAY_MS);
  expect(certificate()).toBe(last);
});

test("it is made anew where its key is another one, as after a crash between the two files", async () => {
  await start(Date.now());
  const first = certificate();
  writeFileSync(join(home, "admin/client.key"), generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "pkcs8", format: "pem" }));
  await start(Date.now());
  expect(certificate()).not.toBe(first);
  expect(new X509Certificate(certificate()).checkPrivateKey(createPrivateKey(readFileSync(join(home, "admin/client.key"))))).toBe(true);
});

test("it follows a CA that was made anew", async () => {
  await start(Date.now());
  rmSync(join(home, "ca"), { recursive: true });
  await start(Date.now());
  const root = new X509Certificate(readFileSync(join(home, "admin/ca.crt")));
  expect(new X509Certificate(certificate()).verify(root.publicKey)).toBe(true);
});

test("it is made anew where it counts no more, once", async () => {
  const nowMs = Date.now();
  await start(nowMs);
  const first = certificate();
  const counts = (name: string, { certificateSha256: sha256 }: Credential) => name === "admin" && sha256 !== fingerprint(first);
  await start(nowMs, counts);
  const second = certificate();
  expect(second).not.toBe(first);
  await start(nowMs, counts);
  expect(certificate()).toBe(second);
});

test("what is published is the same credential, for whoever brings the ports to their own machine", async () => {
  await start(Date.now());
  const { "config.yaml": text, ...files } = publishedFiles(config(), ADDRESSES);
  expect(Object.keys(files).sort()).toEqual(["ca.crt", "client.crt", "client.key", "log.pub"]);
  expect(files["client.crt"]).toBe(certificate());
  expect(parse(text ?? "")).toMatchObject({ contexts: { "eu-1": { address: "localhost:7443", logUrl: "http://localhost:7480/log", keyFile: "client.key" } } });
  expect(parse(readFileSync(join(home, "admin/config.yaml"), "utf8"))).toMatchObject({ contexts: { "eu-1": { address: "verifier.example:7443" } } });
});

test("in a cluster there is one for a responder and a viewer too, each with its own role and key", async () => {
  const publish = "publish: { namespace: hullmark, caConfigMap: ca, adminSecret: a, responderSecret: r, viewerSecret: v }";
  const cluster = parseConfig(`stateDirectory: ${home}\nregion: eu-1\nkubernetes: { ${publish} }`, "test");
  await start(Date.now(), undefined, cluster);
  const roles = publishedRoles(cluster);
  expect(roles).toEqual(["admin", "responder", "viewer"]);
  const files = roles.map((role) => publishedFiles(cluster, ADDRESSES, role));
  expect(files.map((each) => readPeerIdentity(new X509Certificate(each["client.crt"] ?? "").raw, "eu-1"))).toMatchObject(
    roles.map((role) => ({ kind: "operator", role, name: role })),
  );
  expect(new Set(files.map((each) => each["client.key"])).size).toBe(3);
});

test("where one of the files cannot be written none is replaced, and nothing is certified whose key cannot be kept; once it can, all are", async () => {
  const publish = "publish: { namespace: hullmark, caConfigMap: ca, adminSecret: a, responderSecret: r, viewerSecret: v }";
  const cluster = parseConfig(`stateDirectory: ${home}\nregion: eu-1\nkubernetes: { ${publish} }`, "test");
  const nowMs = Date.now();
  const all = () => publishedRoles(cluster).map((role) => publishedFiles(cluster, ADDRESSES, role));
  await start(nowMs, undefined, cluster);
  const before = all();
  const lateMs = nowMs + 340 * DAY_MS;
  for (const file of ["viewer/client.key", "viewer/client.crt", "admin/config.yaml"]) {
    const inTheWay = join(home, `${file}.new`);
    mkdirSync(inTheWay);
    await expect(start(lateMs, undefined, cluster)).rejects.toThrow(file);
    expect(all()).toEqual(before);
    rmdirSync(inTheWay);
  }
  const issued: string[] = [];
  mkdirSync(join(home, "responder/client.key.new"));
  await expect(start(lateMs, undefined, cluster, (name) => issued.push(name))).rejects.toThrow();
  expect(issued).toEqual(["admin"]);
  rmdirSync(join(home, "responder/client.key.new"));
  await start(lateMs, undefined, cluster);
  const after = all();
  for (const name of ["client.key", "client.crt"]) expect(after.filter((files, i) => files[name] === before[i]?.[name])).toEqual([]);
});

test("the cluster's actuator has a certificate for its cluster, and the keys of intents", async () => {
  const publish = "publish: { namespace: hullmark, caConfigMap: ca, adminSecret: a, actuatorSecret: x }";
  const cluster = parseConfig(`stateDirectory: ${home}\nregion: eu-1\nkubernetes: { cluster: prod, ${publish} }`, "test");
  const nowMs = Date.now();
  const write = async () => {
    await writeActuatorFiles(cluster, await open(nowMs), await intentKeys(cluster, undefined), nowMs);
    return publishedFiles(cluster, ADDRESSES, "actuator");
  };
  expect(publishedRoles(cluster)).toEqual(["admin", "actuator"]);
  const files = await write();
  for (const [name, content] of Object.entries(files)) writeFileSync(join(home, name), content);
  const read = readCredentials(home);
  expect(read.identity).toEqual({ region: "eu-1", cluster: "prod" });
  expect(read.intentKeys).toHaveLength(1);
  expect(readPeerIdentity(new X509Certificate(files["client.crt"] ?? "").raw, "eu-1")).toMatchObject({ kind: "cluster-actuator", cluster: "prod" });
  expect(await write()).toEqual(files);
  // Another name of the cluster is another actuator: the verifier refuses the one before.
  const renamed = parseConfig(`stateDirectory: ${home}\nregion: eu-1\nkubernetes: { cluster: prod-2, ${publish} }`, "test");
  await writeActuatorFiles(renamed, await open(nowMs), await intentKeys(renamed, undefined), nowMs);
  expect(readCredentials(join(home, "actuator")).identity).toEqual({ region: "eu-1", cluster: "prod-2" });
});

test("an actuator that is at work learns of a key of intents by the first intent of it, and forgets one that was retired", async () => {
  const publish = "publish: { namespace: hullmark, caConfigMap: ca, adminSecret: a, actuatorSecret: x }";
  const cluster = parseConfig(`stateDirectory: ${home}\nregion: eu-1\nkubernetes: { cluster: prod, ${publish} }`, "test");
  const intents = await intentKeys(cluster, undefined);
  const write = async () => await writeActuatorFiles(cluster, await open(Date.now()), intents, Date.now());
  await write();
  const directory = join(home, "actuator");
  const keys = new IntentKeys(readCredentials(directory).intentKeys, () => readCredentials(directory).intentKeys);
  const message = Buffer.from("an intent");
  const verifies = (by: Uint8Array | undefined) => keys.verify(message, by ?? Buffer.alloc(64));
  const old = await intents.signing[0]?.sign(message);
  expect(verifies(old)).toBe(true);
  await intents.rotate();
  const fresh = await intents.signing[0]?.sign(message);
  expect([verifies(fresh), verifies(old)]).toEqual([false, true]);
  await write();
  expect([verifies(fresh), verifies(old)]).toEqual([true, true]);
  await intents.retire();
  await write();
  expect([verifies(Buffer.alloc(64)), verifies(fresh), verifies(old)]).toEqual([false, true, false]);
  // What cannot be read now changes nothing.
  writeFileSync(join(directory, "intent.pub"), "");
  expect([verifies(old), verifies(fresh)]).toEqual([false, true]);
});
