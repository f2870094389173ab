/** Joining by service-account token: what of an authentic token is held to the rule, and what follows from it for the node. */
import { randomBytes, webcrypto } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HmacNonceSource } from "@hullmark/verifier/adapters/nonce/index";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { readMakerTrust } from "@hullmark/verifier/core/endorsement/index";
import { type BeginResult, EnrolmentService, nodeIdOfKubernetesNode } from "@hullmark/verifier/core/enrolment/index";
import { type ReviewedToken, TokenReviewError } from "@hullmark/verifier/ports/token-reviewer";
import "reflect-metadata";
import { Pkcs10CertificateRequestGenerator } from "@peculiar/x509";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { MemoryEnrolmentRecords } from "../fakes/enrolment-records.ts";

const RULE = { audience: "hullmark", namespace: "hullmark", serviceAccount: "hullmark-agent" };
const USERNAME = "system:serviceaccount:hullmark:hullmark-agent";
const BOOT_ID = "5f0c6a55-3d5b-4d5e-8a4f-6f5a3f0f1d11";
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const clock = { nowMs: () => Date.now() };

let home: string;
let ca: X509Ca;
let records: MemoryEnrolmentRecords;
let answer: (token: string) => Promise<ReviewedToken | undefined>;
let asked: number;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-join-"));
  ca = await X509Ca.open({ stateDir: join(home, "ca"), region: "eu-1", clock });
});
afterAll(() => rmSync(home, { recursive: true }));
beforeEach(() => {
  records = new MemoryEnrolmentRecords();
  asked = 0;
  answer = async () => ({ username: USERNAME, audiences: ["hullmark"], nodeName: "w-07.example" });
});

function service(accepted = true): EnrolmentService {
  const reviewer = {
    review: (token: string) => {
      asked++;
      return answer(token);
    },
  };
  return new EnrolmentService({
    ...{ records, clock, authority: ca, nonces: new HmacNonceSource({ regionKey: randomBytes(32), clock }), trust: readMakerTrust([]) },
    ...{ verifierId: "verifier-1", region: "eu-1", selection: [{ bank: "sha256" as const, pcrs: [0] }] },
    policy: { mode: "allowlist", acceptWithoutCertificate: false, acceptJoinTokens: false },
    ...(accepted && { serviceAccounts: { rule: RULE, reviewer } }),
  });
}

/** A token's form; that it is authentic is the reviewer's word. */
function token(claims: object = {}): string {
  const all = { aud: ["hullmark"], exp: Math.floor(Date.now() / 1000) + 600, ...claims };
  return [{ alg: "RS256" }, all, "signature"].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
}
const begin = (enrolment: EnrolmentService, text = token(), nodeName = "w-07.example"): Promise<BeginResult> =>
  enrolment.begin({ nodeName, bootId: BOOT_ID, evidence: { kind: "service-account", token: text } });

async function join_(enrolment: EnrolmentService, nodeName = "w-07.example") {
  const challenge = await begin(enrolment, token(), nodeName);
  if (!challenge.ok) throw new Error(`${challenge.reason}: ${challenge.detail}`);
  return enrolment.complete({ session: challenge.session, activatedSecret: new Uint8Array(), quote: undefined, certificateRequest: await request() });
}
async function request(): Promise<Uint8Array> {
  const keys = (await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
  return new Uint8Array((await Pkcs10CertificateRequestGenerator.create({ name: "CN=x", keys, signingAlgorithm: ALGORITHM })).rawData);
}

test("the node is the token's, its trust is none, and it is the same one each time", async () => {
  const enrolment = service();
  const first = await join_(enrolment);
  expect(first).toMatchObject({ ok: true, trust: "none", node: { id: nodeIdOfKubernetesNode("w-07.example"), name: "w-07.example", trust: "none" } });
  expect(await join_(enrolment)).toMatchObject({ ok: true, node: { id: nodeIdOfKubernetesNode("w-07.example") } });
});

test("it renews by its token only: a certificate would outlive the pod", async () => {
  const enrolment = service();
  const joined = await join_(enrolment);
  if (!joined.ok) throw new Error(joined.detail);
  expect(await enrolment.renewByCertificate(joined.node?.id ?? "", await request())).toMatchObject({ ok: false, reason: "not-allowed" });
});

test("a revoked node stays out, also with a good token", async () => {
  const enrolment = service();
  await join_(enrolment);
  records.revoke(nodeIdOfKubernetesNode("w-07.example"));
  expect(await begin(enrolment)).toMatchObject({ ok: false, reason: "revoked" });
});

test("a node that is revoked between the two steps gets no certificate", async () => {
  const enrolment = service();
  await join_(enrolment);
  const challenge = await begin(enrolment);
  if (!challenge.ok) throw new Error(challenge.detail);
  records.revoke(challenge.nodeId);
  const completed = await enrolment.complete({
    session: challenge.session,
    activatedSecret: new Uint8Array(),
    quote: undefined,
    certificateRequest: await request(),
  });
  expect(completed).toMatchObject({ ok: false, reason: "revoked" });
});

test("nobody takes a name that another node has, with TPM or without", async () => {
  for (const trust of ["tpm", "none"] as const) {
    records.nodes.set("00000000000000aa", {
      ...{ id: "00000000000000aa", name: "w-07.example", trust, ekSha256: undefined, akPublic: undefined, clock: undefined },
      revoked: false,
    });
    expect(await begin(service())).toMatchObject({ ok: false, reason: "name-taken" });
  }
});

test("a node may not claim another name than its token's", async () => {
  expect(await begin(service(), token(), "w-08.example")).toMatchObject({
    ok: false,
    reason: "token",
    detail: expect.stringContaining("bound to node w-07.example"),
  });
});

test.each<[string, Partial<ReviewedToken>, object]>([
  ["another service account", { username: "system:serviceaccount:hullmark:default" }, {}],
  ["one of that name elsewhere", { username: "system:serviceaccount:evil:hullmark-agent" }, {}],
  ["one whose name goes on", { username: `${USERNAME}-2` }, {}],
  ["a person", { username: "kubernetes-admin" }, {}],
  ["another audience", { audiences: [] }, {}],
  ["more audiences than one", {}, { aud: ["hullmark", "https://kubernetes.default.svc"] }],
  ["an audience that is no list", {}, { aud: "hullmark" }],
  ["no end", {}, { exp: undefined }],
  ["an end that has passed", {}, { exp: Math.floor(Date.now() / 1000) - 1 }],
  ["no node", { nodeName: undefined }, {}],
  ["a node with a strange name", { nodeName: "../w-07" }, {}],
])("an authentic token of %s is refused", async (_, reviewed, claims) => {
  answer = async () => ({ username: USERNAME, audiences: ["hullmark"], nodeName: "w-07.example", ...reviewed });
  expect(await begin(service(), token(claims))).toMatchObject({ ok: false, reason: "token" });
});

test("what the API server does not vouch for is refused", async () => {
  answer = async () => undefined;
  expect(await begin(service())).toMatchObject({ ok: false, reason: "token" });
});

test("no answer is its own refusal, to be tried again", async () => {
  answer = () => Promise.reject(new TokenReviewError("the API server answers 500"));
  expect(await begin(service())).toMatchObject({ ok: false, reason: "review", detail: expect.stringContaining("answers 500") });
});

test.each(["", "word", "a.b", "a.b.c.d", "a.b.=", `${"a".repeat(16_400)}.b.c`])("what has not the form of a token is not asked about: %.20s", async (text) => {
  expect(await begin(service(), text)).toMatchObject({ ok: false, reason: "token" });
  expect(asked).toBe(0);
});

test("strangers do not make the verifier ask without bound", async () => {
  let release = (): void => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  answer = async () => {
    await held;
    return undefined;
  };
  const enrolment = service();
  const all = Array.from({ length: 40 }, () => begin(enrolment));
  const refused = await Promise.race([...all]);
  expect(refused).toMatchObject({ ok: false, reason: "busy" });
  release();
  const reasons = (await Promise.all(all)).map((result) => (result.ok ? "ok" : result.reason));
  expect(reasons.filter((reason) => reason === "token")).toHaveLength(16);
  expect(asked).toBe(16);
});

test("where it is not configured nobody joins so", async () => {
  expect(await begin(service(false))).toMatchObject({ ok: false, reason: "token" });
  expect(asked).toBe(0);
});
