import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { credentials } from "@grpc/grpc-js";
import { RpcChannel, RpcError } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Attestation } from "@hullmark/proto/v1/attestation";
import { Enrollment } from "@hullmark/proto/v1/enrollment";
import { Query } from "@hullmark/proto/v1/query";
import { Actuation, Response } from "@hullmark/proto/v1/response";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { ACCESS, SCOPES } from "@hullmark/verifier/api/grpc/index";
import { readPeerIdentity } from "@hullmark/verifier/core/enrolment/index";
import type { OperatorRole } from "@hullmark/verifier/ports/certificate-authority";
import "reflect-metadata";
import { Pkcs10CertificateRequestGenerator } from "@peculiar/x509";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Attester } from "../fakes/attester.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const ROLES: readonly OperatorRole[] = ["viewer", "responder", "approver", "admin"];
const SERVICES: readonly DescService[] = [Attestation, Query, Admin, Enrollment, Actuation, Response];
const METHODS = SERVICES.flatMap((service) => service.methods.map((method) => ({ service, method, path: `/${service.typeName}/${method.name}` })));

let verifier: TestVerifier;
let node: Attester;
const channels = new Map<string, RpcChannel>();

beforeAll(async () => {
  verifier = await new TestVerifier().start();
  node = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  const { privateKey, certificateChain } = await node.enrol();
  const secure = credentials.createSsl(verifier.ca, Buffer.from(privateKey), Buffer.from(certificateChain));
  channels.set("node", verifier.track(new RpcChannel(verifier.mainAddress, secure)));
  const actuator = await verifier.certify((authority, spki) => authority.issueActuator(node.credential?.nodeId ?? "", spki, 3_600_000));
  channels.set("actuator", verifier.track(new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca, actuator.key, actuator.pem))));
  for (const role of ROLES) channels.set(role, await verifier.operator(role));
  for (const role of ROLES) channels.set(`${role} in shop`, await verifier.operator(role, ["shop"]));
});
afterAll(() => verifier.dispose());

/**
 * Calls a procedure with an empty request, and tells how the guard decided: whatever comes after it is `allowed`.
 * @param patienceMs how long a stream may say nothing before it counts as allowed
 */
async function attempt(channel: RpcChannel, service: DescService, method: DescMethod, patienceMs: number): Promise<"allowed" | RpcError> {
  const client = channel.client(service) as unknown as Record<string, (request: unknown, options: object) => unknown>;
  const stop = new AbortController();
  const options = { signal: stop.signal };
  const denied = (error: unknown): "allowed" | RpcError => {
    if (!(error instanceof RpcError)) throw error;
    return error.detail.reason === "ROLE" || error.code === "UNAUTHENTICATED" || error.code === "UNAVAILABLE" ? error : "allowed";
  };
  const call = client[method.localName];
  if (method.methodKind === "unary") return await Promise.resolve(call?.({}, options)).then(() => "allowed" as const, denied);
  async function* none() {}
  const answers = call?.(method.methodKind === "bidi_streaming" ? none() : {}, options) as AsyncIterable<unknown>;
  const read = async (): Promise<"allowed"> => {
    for await (const _ of answers) break;
    return "allowed";
  };
  // A watch that is allowed says nothing until something happens.
  const timer = setTimeout(() => stop.abort(), patienceMs);
  return await read()
    .then(
      (value) => value,
      (error: RpcError) => (error.code === "CANCELLED" ? "allowed" : denied(error)),
    )
    .finally(() => clearTimeout(timer));
}

test("every service of the protocol is tried here: who adds one tries it too", () => {
  const folder = new URL("../../proto/hullmark/v1/", import.meta.url);
  const declared = readdirSync(folder)
    .filter((name) => name.endsWith(".proto"))
    .flatMap((name) => [...readFileSync(new URL(name, folder), "utf8").matchAll(/^service (\w+) \{/gm)].map(([, service]) => `hullmark.v1.${service}`));
  expect(SERVICES.map(({ typeName }) => typeName).sort()).toEqual(declared.sort());
});

describe.each(METHODS)("$path", ({ service, method, path }) => {
  const wanted = ACCESS[path as keyof typeof ACCESS];

  const scope = SCOPES[path as keyof typeof SCOPES];

  test("is in the table, and where people may call it there is said where their role must hold", () => {
    expect(wanted).toBeDefined();
    expect(scope !== undefined).toBe((ROLES as readonly string[]).includes(wanted));
  });

  test.each(["node", "actuator", ...ROLES, ...ROLES.map((role) => `${role} in shop`)])("%s", async (who) => {
    const machine = who === "node" || who === "actuator";
    const [role, bound] = who.split(" ");
    const allowed =
      wanted !== "nobody" &&
      (wanted === "node" || wanted === "actuator"
        ? who === wanted
        : !machine && ROLES.indexOf(role as OperatorRole) >= ROLES.indexOf(wanted) && (bound === undefined || scope === "namespace"));
    const outcome = await attempt(channels.get(who) as RpcChannel, service, method, allowed ? 400 : 30_000);
    if (allowed) expect(outcome).toBe("allowed");
    else expect(outcome).toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "ROLE" } });
  });
});

describe("the actuator of a cluster", () => {
  test("may ask only the verifier that watches this cluster", async () => {
    const { key, pem } = await verifier.certify((authority, spki) => authority.issueClusterActuator("prod", spki, 3_600_000));
    const client = verifier.track(new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca, key, pem))).client(Actuation);
    await expect(client.reportOutcome({ intentId: Buffer.alloc(16) })).rejects.toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "REVOKED" } });
  });

  test("is certified by one that watches a cluster, and of nothing else at the same time", async () => {
    const publicKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ type: "spki", format: "der" });
    const ask = (request: object) => verifier.adminClient.issueActuatorCertificate({ publicKey, ...request });
    await expect(ask({ cluster: true })).rejects.toMatchObject({ code: "FAILED_PRECONDITION", detail: { reason: "NO_CLUSTER" } });
    await expect(ask({ cluster: true, node: "w-1" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(ask({})).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("the main listener", () => {
  const status = (channel: RpcChannel) => verifier.track(channel).client(Query).getStatus({}, { timeoutMs: 5000 });

  test("refuses who shows no certificate", async () => {
    await expect(status(new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca)))).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  test("refuses a certificate of another CA, whatever it says", async () => {
    const directory = mkdtempSync(join(tmpdir(), "hullmark-other-ca-"));
    try {
      const other = await X509Ca.open({ stateDir: directory, region: "eu-1", clock: verifier.clock });
      const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
      const { chain } = await other.issueOperator("admin", "mallory", publicKey.export({ type: "spki", format: "der" }), 3_600_000);
      const pem = chain.map((der) => `-----BEGIN CERTIFICATE-----\n${der.toString("base64")}\n-----END CERTIFICATE-----\n`).join("");
      const key = Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" }));
      await expect(status(new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca, key, Buffer.from(pem))))).rejects.toMatchObject({
        code: "UNAVAILABLE",
      });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test("refuses the server's own certificate as a client's", async () => {
    const { key, pem } = await verifier.certify((authority, spki) => authority.issueServer(["localhost"], spki, 3_600_000));
    await expect(status(new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca, key, pem)))).rejects.toMatchObject({
      code: expect.stringMatching(/UNAVAILABLE|UNAUTHENTICATED/),
    });
  });

  test("refuses a certificate that has expired since the connection was made", async () => {
    const { key, pem } = await verifier.certify((authority, spki) => authority.issueOperator("viewer", "eve", spki, 60_000));
    const channel = new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca, key, pem));
    await status(channel);
    verifier.clock.shiftMs += 61_000;
    try {
      await expect(channel.client(Query).getStatus({})).rejects.toMatchObject({ code: "UNAUTHENTICATED", detail: { reason: "CERTIFICATE_EXPIRED" } });
    } finally {
      verifier.clock.shiftMs -= 61_000;
    }
  });
});

describe("what administrators do", () => {
  test("a join token admits one node, of trust none, once; its certificate renews without it", async () => {
    const { token } = await verifier.adminClient.createJoinToken({ nodeName: "bare-1", ttlSeconds: 60 });
    const bare = verifier.attester({ name: "bare-1", joinToken: token });
    await bare.connect();
    await bare.report();
    expect((await verifier.query.getNode({ id: "bare-1" })).node).toMatchObject({ trustLevel: 1, reasons: [{ code: "no-tpm" }] });
    const secure = credentials.createSsl(verifier.ca, Buffer.from(bare.credential?.privateKey ?? ""), Buffer.from(bare.credential?.certificateChain ?? ""));
    const client = verifier.track(new RpcChannel(verifier.mainAddress, secure)).client(Enrollment);
    const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
    const request = await Pkcs10CertificateRequestGenerator.create({ name: "CN=x", keys, signingAlgorithm: ALGORITHM });
    const renewed = await client.complete({ session: "", certificateRequest: new Uint8Array(request.rawData) });
    expect(readPeerIdentity(renewed.certificateChain[0] ?? new Uint8Array(), "eu-1")).toMatchObject({ kind: "node", nodeId: bare.credential?.nodeId });
    await expect(verifier.attester({ name: "bare-2", joinToken: token }).enrol()).rejects.toMatchObject({
      code: "PERMISSION_DENIED",
      detail: { reason: "TOKEN" },
    });
  });

  test("a quote of a bank that is none is refused by its code, and what was begun is over", async () => {
    const quoter = new FakeQuoter();
    const { ekPublic, akPublic } = await quoter.identify(AbortSignal.timeout(60_000));
    const client = verifier.track(new RpcChannel(`localhost:${verifier.running?.enrolmentPort}`, credentials.createSsl(verifier.ca))).client(Enrollment);
    const { session, credentialBlob, encryptedSecret } = await client.begin({
      ...{ nodeName: "w-9", bootId: "2c1e5b0a-0000-4000-8000-000000000009" },
      evidence: { case: "tpm", value: { ekPublic, akPublic } },
    });
    const activatedSecret = await quoter.activate(Buffer.from(credentialBlob), Buffer.from(encryptedSecret), AbortSignal.timeout(60_000));
    const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
    const certificateRequest = new Uint8Array((await Pkcs10CertificateRequestGenerator.create({ name: "CN=x", keys, signingAlgorithm: ALGORITHM })).rawData);
    const answer = { session, activatedSecret, certificateRequest, quote: { pcrs: [{ bank: "md5", index: 0, value: Buffer.alloc(16) }] } };
    await expect(client.complete(answer)).rejects.toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "QUOTE", refusal: "pcr-bank" } });
    await expect(client.complete(answer)).rejects.toMatchObject({ code: "NOT_FOUND", detail: { refusal: "unknown-session" } });
  });

  test("every argument is checked", async () => {
    const { adminClient } = verifier;
    await expect(adminClient.allowNode({ ekSha256: "x", name: "" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT", detail: { field: "ekSha256" } });
    await expect(adminClient.createJoinToken({ nodeName: "a b", ttlSeconds: 5 })).rejects.toMatchObject({ detail: { field: "nodeName" } });
    await expect(adminClient.createJoinToken({ nodeName: "", ttlSeconds: 86_401 })).rejects.toMatchObject({ detail: { field: "ttlSeconds" } });
    const seen = "0".repeat(16);
    await expect(adminClient.acknowledgeDrift({ id: "D-0000", reason: "r" })).rejects.toMatchObject({ detail: { field: "seen" } });
    await expect(adminClient.acknowledgeDrift({ id: "D-0000", reason: "", seen })).rejects.toMatchObject({ detail: { field: "reason" } });
    await expect(adminClient.acknowledgeDrift({ id: "D-0000", reason: "r", seen })).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(adminClient.revokeNode({ nodeId: "nobody", reason: "r" })).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(adminClient.requestQuote({ nodeId: "nobody" })).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});

/** Time to connect on a machine that is busy. */
const BRIEF_MS = 20_000;

test("a certificate that ends, ends what is open by it: what a person watches, and the intents of an actuator", { timeout: 120_000 }, async () => {
  const endsMs = Date.now() + BRIEF_MS;
  const brief = async (issue: Parameters<TestVerifier["certify"]>[0]): Promise<RpcChannel> => {
    const { key, pem } = await verifier.certify(issue);
    return verifier.track(new RpcChannel(verifier.mainAddress, credentials.createSsl(verifier.ca, key, pem)));
  };
  const person = await brief((authority, spki) => authority.issueOperator("viewer", "brief", spki, BRIEF_MS));
  const actuator = await brief((authority, spki) => authority.issueActuator(node.credential?.nodeId ?? "", spki, BRIEF_MS));
  const endOf = async (stream: AsyncIterable<unknown>): Promise<unknown> => {
    try {
      for await (const _ of stream);
      return undefined;
    } catch (error) {
      return { error, atMs: Date.now() };
    }
  };
  await person.client(Query).getStatus({});
  const ends = await Promise.all([endOf(person.client(Query).watchDrift({})), endOf(actuator.client(Actuation).pullIntents({}))]);
  for (const end of ends) {
    expect(end).toMatchObject({ error: { code: "UNAUTHENTICATED", detail: { reason: "CERTIFICATE_EXPIRED" } } });
    // By whole seconds.
    expect((end as { atMs: number }).atMs).toBeGreaterThanOrEqual(endsMs - 1000);
  }
});
