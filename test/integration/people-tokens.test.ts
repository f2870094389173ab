/** People who come with bearer tokens of a real OpenID Connect issuer: who they are, what they may do, that one person is one by whatever credential, and every token that is refused. */
import { execFile } from "node:child_process";
import { createSecretKey, generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { credentials, Metadata } from "@grpc/grpc-js";
import { RpcChannel, type RpcError } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Attestation } from "@hullmark/proto/v1/attestation";
import { DriftState, Query } from "@hullmark/proto/v1/query";
import { type JWTPayload, SignJWT } from "jose";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { connectByFile } from "../../cli/connection/context.ts";
import { watched } from "../../cli/connection/watched.ts";
import type { Attester } from "../fakes/attester.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { logEntries } from "../fakes/log-entries.ts";
import { OidcIssuer } from "../fakes/oidc-issuer.ts";
import { program as programOf } from "../fakes/program.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { scriptedWeb } from "../fakes/scripted-web.ts";
import { TestVerifier } from "../fakes/verifier.ts";

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 });
const POLL = { timeout: 120_000, interval: 100 };
const PEOPLE = {
  ann: { groups: ["sre"] },
  bob: { groups: ["sre", "approvers", "all"] },
  eve: { groups: ["sales"] },
  dan: { groups: ["sre"] },
  fay: { groups: ["sre"] },
  root: {},
};

let issuer: OidcIssuer;
let verifier: TestVerifier;
let registry: FakeRegistry;
let image: PushedImage;
let node: Attester;
beforeAll(async () => {
  issuer = await OidcIssuer.start(PEOPLE);
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  verifier = await new TestVerifier().start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }
people:
  listen: 127.0.0.1:0
  oidc: [{ name: corp, issuer: "${issuer.url}", audiences: [hullmark], caFile: ${issuer.caFile}, skewSeconds: 0 }]
  roles:
    - { role: responder, groups: ["corp:sre"] }
    - { role: approver, groups: ["corp:approvers"] }
    - { role: admin, users: ["corp:root"] }
  aliases: { bob: ["corp:bob", "certificate:bob-laptop"] }`);
  node = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await node.connect();
});
afterAll(async () => {
  await verifier?.dispose();
  await registry?.close();
  await issuer?.stop();
});

/** @param authorization as it is sent */
function connected(authorization?: string): RpcChannel {
  const sent = credentials.createFromMetadataGenerator((_call, callback) => {
    const metadata = new Metadata();
    if (authorization !== undefined) metadata.set("authorization", authorization);
    callback(null, metadata);
  });
  const secure = credentials.combineChannelCredentials(credentials.createSsl(verifier.ca), sent);
  return verifier.track(new RpcChannel(`localhost:${verifier.running?.peoplePort}`, secure));
}
const holder = (token: string) => connected(`Bearer ${token}`);
const person = async (name: string) => holder(await issuer.token(name));
const status = (channel: RpcChannel) => channel.client(Query).getStatus({});

async function certified(name: string, role: "responder" | "approver" | "admin"): Promise<RpcChannel> {
  const { key, pem } = await verifier.certify((authority, spki) => authority.issueOperator(role, name, spki, 3_600_000));
  return verifier.track(new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca, key, pem)));
}

test("a token of the issuer gives the role that configuration names for its holder or their groups, and no more", async () => {
  for (const name of ["ann", "bob", "root"]) await status(await person(name));
  await expect(status(await person("eve"))).rejects.toMatchObject({
    code: "PERMISSION_DENIED",
    detail: { reason: "ROLE" },
    message: "corp:eve has no role here",
  });
  const tokenOf = async (name: string) => (await person(name)).client(Admin).createJoinToken({ nodeName: "x", ttlSeconds: 60 });
  await tokenOf("root");
  await expect(tokenOf("bob")).rejects.toMatchObject({ code: "PERMISSION_DENIED", message: "this needs the role admin; corp:bob has approver" });
  expect(logEntries(verifier, "join-token").at(-1)).toMatchObject({ by: "corp:root" });
  const metrics = await (await fetch(`http://127.0.0.1:${verifier.running?.httpPort}/metrics`)).text();
  expect(metrics).toMatch(/^hullmark_people_tokens_total\{result="accepted"\} [5-9]$/m);
  expect(metrics).toMatch(/^hullmark_people_tokens_total\{result="no-role"\} 1$/m);
  expect(metrics).toMatch(/^hullmark_connections\{listener="people"\} [1-9]$/m);
  // An agent is there, and people with certificates: who was let in counts no more.
  expect(metrics).toMatch(/^hullmark_connections\{listener="main"\} 0$/m);
  // Its keys are read once, for however many.
  expect(issuer.keyRequests).toBe(1);
});

test("who brings no token, two, or another kind is nobody; nodes have no business there; where certificates are asked for a token is nothing", async () => {
  for (const authorization of [undefined, "Basic cm9vdDpyb290", "Bearer", "Bearer a b"])
    await expect(status(connected(authorization)), authorization).rejects.toMatchObject({ code: "UNAUTHENTICATED", detail: { reason: "TOKEN" } });
  const token = await issuer.token("root");
  const attesting = (await person("root"))
    .client(Attestation)
    .attest((async function* () {})())
    [Symbol.asyncIterator]();
  await expect(attesting.next()).rejects.toMatchObject({ code: "UNIMPLEMENTED" });
  const sent = credentials.createFromMetadataGenerator((_call, callback) => {
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${token}`);
    callback(null, metadata);
  });
  const there = credentials.combineChannelCredentials(credentials.createSsl(verifier.ca), sent);
  await expect(status(verifier.track(new RpcChannel(verifier.mainAddress, there)))).rejects.toMatchObject({ code: "UNAVAILABLE" });
});

test("every token that does not hold is refused, and says of itself nothing in the answer", async () => {
  const nowS = Math.floor(Date.now() / 1000);
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const claims = (more: JWTPayload = {}) => issuer.claims("root", more);
  const by = (key: Parameters<SignJWT["sign"]>[0], alg: string) =>
    new SignJWT(claims()).setProtectedHeader({ alg, kid: issuer.publicJwk.kid as string }).sign(key);
  const without = (name: string): JWTPayload => Object.fromEntries(Object.entries(claims()).filter(([key]) => key !== name));
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const good = await issuer.signed(claims());
  await status(holder(good));
  const bad: Record<string, string> = {
    "not a token": "hello",
    "too long": "a".repeat(20_000),
    unsigned: `${encode({ alg: "none" })}.${encode(claims())}.`,
    "signed by a shared secret that is the public key": await by(createSecretKey(Buffer.from(JSON.stringify(issuer.publicJwk))), "HS256"),
    "signed by another key under the same id": await by(privateKey, "ES256"),
    "a signature cut short": good.slice(0, -4),
    "another's signature": `${good.split(".").slice(0, 2).join(".")}.${(await issuer.signed(claims({ sub: "ann" }))).split(".")[2]}`,
    "of another audience": await issuer.signed(claims({ aud: "grafana" })),
    "of another issuer": await issuer.signed(claims({ iss: "https://login.example" })),
    "of the issuer with a slash": await issuer.signed(claims({ iss: `${issuer.url}/` })),
    over: await issuer.signed(claims({ exp: nowS - 1 })),
    "without end": await issuer.signed(without("exp")),
    "of no time": await issuer.signed(without("iat")),
    "of the future": await issuer.signed(claims({ nbf: nowS + 600 })),
    "made in the future": await issuer.signed(claims({ iat: nowS + 600, exp: nowS + 1200 })),
    "too old": await issuer.signed(claims({ iat: nowS - 90_000 })),
    "of nobody": await issuer.signed(without("sub")),
    "with a name of more than one word": await issuer.signed(claims({ sub: "root root" })),
    "with groups that are no list": await issuer.signed(claims({ groups: { sre: true } })),
    "with a critical header": await issuer
      .signed(claims(), { crit: ["x"], x: 1 })
      .catch(() => `${encode({ alg: "ES256", crit: ["x"], x: 1 })}.${encode(claims())}.AA`),
  };
  for (const [what, token] of Object.entries(bad)) {
    const error: RpcError = await status(holder(token)).then(
      () => expect.fail(`${what}: let in`),
      (thrown) => thrown,
    );
    expect([error.code, error.detail.reason], what).toEqual(["UNAUTHENTICATED", "TOKEN"]);
    for (const part of token.split(".")) if (part.length > 8) expect(error.message).not.toContain(part);
  }
});

test("strangers who hold connections keep out nobody who was let in, and nobody who comes", async () => {
  const seen = watching(await person("ann"));
  const port = verifier.running?.peoplePort ?? 0;
  const strangers = Array.from({ length: 200 }, () => connect(port, "127.0.0.1").on("error", () => {}));
  const metric = async () => {
    const text = await (await fetch(`http://127.0.0.1:${verifier.running?.httpPort}/metrics`)).text();
    return Number(/^hullmark_connections_dropped_total\{listener="people"\} (\d+)$/m.exec(text)?.[1]);
  };
  // All but 128, and those that were there before.
  await expect.poll(metric, POLL).toBeGreaterThanOrEqual(72);
  await status(await person("bob"));
  const ended = await Promise.race([seen.ended.then(() => "ended"), status(await person("root")).then(() => "open")]);
  expect(ended).toBe("open");
  for (const each of strangers) each.destroy();
  await expect.poll(async () => strangers.every(({ closed }) => closed), POLL).toBe(true);
});

test("strangers who hold connections to where nodes enrol keep out no node", async () => {
  const port = verifier.running?.enrolmentPort ?? 0;
  const strangers: Socket[] = [];
  // One after the other: of more than the kernel's queue holds some would be connected for their end alone, and never hear that they are not.
  for (let i = 0; i < 1100; i++) {
    const socket = connect(port, "127.0.0.1").on("error", () => {});
    strangers.push(socket);
    await once(socket, "connect");
  }
  await expect.poll(() => strangers.filter(({ closed }) => closed).length, { timeout: 120_000 }).toBeGreaterThanOrEqual(76);
  const late = verifier.attester({ name: "w-late", quoter: new FakeQuoter() });
  await late.enrol();
  for (const each of strangers) each.destroy();
  await expect.poll(async () => strangers.every(({ closed }) => closed), POLL).toBe(true);
});

test("one person is one: what they asked for by one credential they cannot approve by another; others of the same name elsewhere are others", async () => {
  node.set(scriptedWeb(image, 1, ["etc/added"]));
  await node.report();
  const open = async () => (await verifier.query.listDrift({ states: [DriftState.OPEN] })).drifts;
  await expect.poll(async () => (await open()).length, POLL).toBe(1);
  const [drift] = await open();
  const request = async (channel: RpcChannel, path: string) =>
    (
      await channel.client(Admin).requestException({
        ...{ driftId: drift?.id ?? "", seen: drift?.seen ?? "", lifeSeconds: 86_400, reason: "r", pathGlob: path, anyContent: false, anyImage: false },
      })
    ).id;
  const approve = (channel: RpcChannel, id: string) => channel.client(Admin).approveException({ id });
  const own = { code: "PERMISSION_DENIED", detail: { reason: "OWN_REQUEST" } };
  const asked = await request(await person("bob"), "");
  expect((await verifier.query.listExceptions({})).exceptions).toMatchObject([{ requestedBy: "bob" }]);
  await expect(approve(await person("bob"), asked)).rejects.toMatchObject(own);
  await expect(approve(await certified("bob", "approver"), asked)).rejects.toMatchObject(own);
  await expect(approve(await certified("bob-laptop", "admin"), asked)).rejects.toMatchObject(own);
  // By certificate and approved by token.
  await (await certified("ann", "approver")).client(Admin).denyException({ id: asked, reason: "once more" });
  const again = await request(await certified("bob-laptop", "responder"), "");
  await expect(approve(await person("bob"), again)).rejects.toMatchObject(own);
  // Ann of the issuer and Ann of the certificate are two until configuration says that they are one.
  await (await certified("ann", "approver")).client(Admin).denyException({ id: again, reason: "once more" });
  const anns = await request(await person("ann"), "");
  await approve(await certified("ann", "approver"), anns);
});

/** A watch that is open: resolves with how it ended. */
function watching(channel: RpcChannel): { readonly seen: Promise<void>; readonly ended: Promise<RpcError | undefined> } {
  const seen = Promise.withResolvers<void>();
  const ended = (async () => {
    for await (const _ of channel.client(Query).watchDrift({})) seen.resolve();
  })().then(
    () => undefined,
    (error: RpcError) => error,
  );
  return { seen: seen.promise, ended };
}

test("a token that ends, ends what is open by it; a person who is revoked is out at once, by whatever token", async () => {
  const nowS = Math.floor(Date.now() / 1000);
  const short = watching(holder(await issuer.signed(issuer.claims("ann", { exp: nowS + 5 }))));
  expect(await short.ended).toMatchObject({ code: "UNAUTHENTICATED", detail: { reason: "TOKEN_EXPIRED" } });
  const dan = await person("dan");
  await status(dan);
  const long = watching(dan);
  // The watch is open once it is registered: revoking ends it whenever that was.
  await (await person("root")).client(Admin).revokePerson({ name: "corp:dan", reason: "left" });
  expect(await long.ended).toMatchObject({ code: "UNAUTHENTICATED", detail: { reason: "REVOKED" } });
  for (const channel of [dan, await person("dan")]) await expect(status(channel)).rejects.toMatchObject({ detail: { reason: "REVOKED" } });
  // Back by what they get from now on, and by nothing that they had.
  const admin = (await person("root")).client(Admin);
  await admin.allowPerson({ name: "corp:dan", reason: "back" });
  await expect(status(dan)).rejects.toMatchObject({ detail: { reason: "REVOKED" } });
  await expect
    .poll(
      async () =>
        await status(await person("dan")).then(
          () => "in",
          (error: RpcError) => error.detail.reason,
        ),
      POLL,
    )
    .toBe("in");
  await expect(admin.allowPerson({ name: "corp:ann", reason: "back" })).rejects.toMatchObject({ code: "FAILED_PRECONDITION", detail: { reason: "CHANGED" } });
  // Of somebody who is known in several ways, all.
  await (await person("root")).client(Admin).revokePerson({ name: "bob", reason: "left" });
  for (const channel of [await person("bob"), await certified("bob", "admin"), await certified("bob-laptop", "admin")])
    await expect(status(channel)).rejects.toMatchObject({ code: "UNAUTHENTICATED", detail: { reason: "REVOKED" } });
  // What would take nothing from anybody is not told as done: a certificate as configuration writes it, and a source that is none.
  const root = (await person("root")).client(Admin);
  for (const name of ["certificate:ann", "crop:ann"])
    await expect(root.revokePerson({ name, reason: "left" }), name).rejects.toMatchObject({ code: "INVALID_ARGUMENT", detail: { field: "name" } });
  // Nor is a certificate given that counts for nothing, since its person was revoked.
  const publicKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ type: "spki", format: "der" });
  const give = (name: string) => root.issuePersonCertificate({ name, role: "viewer", publicKey, days: 1 });
  await expect(give("bob-laptop")).rejects.toMatchObject({ code: "FAILED_PRECONDITION", message: "bob-laptop is bob, who was revoked" });
  await give("bob");
});

test("a command's token that ends is followed by another: in a watch that is open, and where the verifier refuses what was to last longer", async () => {
  const directory = join(verifier.directory, "renewed");
  mkdirSync(directory);
  const program = join(directory, "next.mjs");
  writeFileSync(
    program,
    `import { readFileSync, writeFileSync } from "node:fs";
const [, , file] = process.argv;
const [next, ...others] = JSON.parse(readFileSync(file, "utf8"));
writeFileSync(file, JSON.stringify(others.length > 0 ? others : [next]));
console.log(typeof next === "string" ? next : JSON.stringify(next));`,
  );
  const ca = join(directory, "ca.crt");
  writeFileSync(ca, verifier.ca);
  const endsInS = async (seconds: number) => await issuer.signed(issuer.claims("fay", { exp: Math.floor(Date.now() / 1000) + seconds }));
  const connection = async (name: string, tokens: readonly unknown[]) => {
    const file = join(directory, name);
    writeFileSync(file, JSON.stringify(tokens));
    const context = { name, address: `localhost:${verifier.running?.peoplePort}`, caFile: ca, tokenCommand: [process.execPath, program, file] };
    return verifier.track((await connectByFile(context)).channel);
  };
  const last = await issuer.token("fay");
  // Before it ends, by what it says of itself.
  await status(await connection("plain", [await endsInS(9), last]));
  expect(JSON.parse(readFileSync(join(directory, "plain"), "utf8"))).toEqual([last]);
  const claimed = { apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential" };
  const short = async () => ({ ...claimed, status: { token: await endsInS(9), expirationTimestamp: "2999-01-01T00:00:00Z" } });
  const channel = await connection("watch", [await short(), last]);
  let renewals = 0;
  const ended = (async () => {
    const open = () => channel.client(Query).watchDrift({});
    for await (const _ of watched(channel, open, async () => void renewals++));
  })().catch((error: RpcError) => error);
  const unary = await connection("unary", [await short(), last]);
  await status(unary);
  await expect.poll(() => renewals, POLL).toBe(1);
  await status(unary);
  await (await person("root")).client(Admin).revokePerson({ name: "corp:fay", reason: "left" });
  expect(await ended).toMatchObject({ code: "UNAUTHENTICATED", detail: { reason: "REVOKED" } });
});

test("the command brings a token from a file, read anew, or from a program, and says what is wrong with either", async () => {
  const directory = join(verifier.directory, "cli");
  mkdirSync(directory);
  const at = (name: string, text: string): string => {
    writeFileSync(join(directory, name), text, { mode: 0o600 });
    return join(directory, name);
  };
  at("ca.crt", verifier.ca.toString());
  at("token", `${await issuer.token("ann")}\n`);
  at("eve", await issuer.token("eve"));
  const credential = JSON.stringify({ apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential", status: { token: await issuer.token("root") } });
  const program = at("credential.mjs", `if (!JSON.parse(process.env.KUBERNETES_EXEC_INFO).spec) process.exit(1); console.log(${JSON.stringify(credential)})`);
  const contexts: Record<string, object> = {
    file: { tokenFile: "token" },
    program: { tokenCommand: [process.execPath, program] },
    fails: { tokenCommand: [process.execPath, "-e", "process.exit(3)"] },
    empty: { tokenCommand: [process.execPath, "-e", "console.log('{}')"] },
    floods: { tokenCommand: [process.execPath, "-e", "console.log('a'.repeat(100_000))"] },
    missing: { tokenCommand: ["hullmark-no-such-program"] },
    absent: { tokenFile: "nowhere" },
    eve: { tokenFile: "eve" },
    both: { tokenFile: "token", certFile: "a", keyFile: "b" },
  };
  const main = programOf("cli");
  const hullmark = async (context: string, ...args: string[]): Promise<{ code: number; out: string }> => {
    const entry = { address: `localhost:${verifier.running?.peoplePort}`, caFile: "ca.crt", ...contexts[context] };
    const config = at(`${context}.json`, JSON.stringify({ currentContext: context, contexts: { [context]: entry } }));
    return await new Promise((resolve) => {
      execFile(process.execPath, [main, "--config", config, ...args], (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code) : 0, out: `${stdout}${stderr}` }),
      );
    });
  };
  for (const context of ["file", "program"]) expect((await hullmark(context, "nodes")).out).toContain("w-1");
  expect(await hullmark("program", "node", "token", "w-9")).toMatchObject({ code: 0 });
  expect(await hullmark("file", "node", "token", "w-9")).toMatchObject({
    code: 2,
    out: expect.stringContaining("this needs the role admin; corp:ann has responder"),
  });
  // The new person comes by certificate, which is nothing at the listener for tokens.
  const add = ["person", "add", "gil", "--role", "viewer", "--dir", join(directory, "gil")];
  expect(await hullmark("program", ...add)).toMatchObject({ code: 2, out: expect.stringContaining("--address HOST:PORT") });
  expect((await verifier.query.listPeople({})).people.map(({ name }) => name)).not.toContain("gil");
  expect(await hullmark("program", ...add, "--address", verifier.mainAddress)).toMatchObject({ code: 0 });
  expect(readFileSync(join(directory, "gil", "config.yaml"), "utf8")).toContain(`address: ${verifier.mainAddress}\n`);
  expect(await hullmark("fails", "nodes")).toMatchObject({ code: 2, out: expect.stringContaining("it ended with 3") });
  expect(await hullmark("empty", "nodes")).toMatchObject({ code: 2, out: expect.stringContaining("no ExecCredential") });
  expect(await hullmark("floods", "nodes")).toMatchObject({ code: 2, out: expect.stringContaining("more than any token") });
  expect(await hullmark("missing", "nodes")).toMatchObject({ code: 2, out: expect.stringContaining("tokenCommand hullmark-no-such-program") });
  expect(await hullmark("absent", "nodes")).toMatchObject({ code: 2, out: expect.stringContaining("cannot be read") });
  expect(await hullmark("eve", "nodes")).toMatchObject({ code: 2, out: expect.stringContaining("people.roles") });
  expect(await hullmark("both", "nodes")).toMatchObject({ code: 2, out: expect.stringContaining("want certFile with keyFile, or tokenFile, or tokenCommand") });
});
