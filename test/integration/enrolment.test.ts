import { createHash, randomBytes, webcrypto, X509Certificate } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tpm2Quoter } from "@hullmark/agent/adapters/tpm2/index";
import type { Quoter } from "@hullmark/agent/ports/quoter";
import { CHAIN_START, EMPTY_ROOT, quoteExtraData } from "@hullmark/proto/codec";
import { HmacNonceSource } from "@hullmark/verifier/adapters/nonce/index";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { readEndorsementKey, readMakerTrust } from "@hullmark/verifier/core/endorsement/index";
import {
  type BeginEnrolment,
  type Challenge,
  type EnrolmentOptions,
  EnrolmentService,
  LiveSessions,
  nodeIdOfEk,
  readPeerIdentity,
  tokenDigest,
} from "@hullmark/verifier/core/enrolment/index";
import "reflect-metadata";
import { Pkcs10CertificateRequestGenerator } from "@peculiar/x509";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { MemoryEnrolmentRecords } from "../fakes/enrolment-records.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { createMaker, makerCertificates, Swtpm } from "../fakes/swtpm.ts";

const signal = new AbortController().signal;
const BOOT_ID = "5f0c6a55-3d5b-4d5e-8a4f-6f5a3f0f1d11";
const PCRS = [0, 1, 2, 3, 4, 5, 6, 7];
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const TOKEN = "a-join-token-of-enough-characters";

let directory: string;
let makers: string[];
let tpm: Swtpm;
let quoter: Tpm2Quoter;
let ca: X509Ca;
const clock = { offsetMs: 0, nowMs: () => Date.now() + clock.offsetMs };
let records: MemoryEnrolmentRecords;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "hullmark-enrol-"));
  makers = [await createMaker(), await createMaker()];
  tpm = await Swtpm.start({ makerDir: makers[0] as string });
  quoter = new Tpm2Quoter({ tcti: tpm.tcti, stateDir: directory });
  ca = await X509Ca.open({ stateDir: join(directory, "ca"), region: "eu-1", clock: { nowMs: () => Date.now() } });
  await (await Swtpm.start({ makerDir: makers[1] as string })).stop();
});
afterAll(async () => {
  await quoter.close();
  await tpm.stop();
  for (const path of [directory, ...makers]) await rm(path, { recursive: true });
});
beforeEach(() => {
  records = new MemoryEnrolmentRecords();
  clock.offsetMs = 0;
});

async function service(changes: Partial<EnrolmentOptions> = {}, maker = 0): Promise<EnrolmentService> {
  const { root, issuer } = await makerCertificates(makers[maker] as string);
  return new EnrolmentService({
    ...{ records, clock, authority: ca, nonces: new HmacNonceSource({ regionKey: randomBytes(32), clock }) },
    ...{ verifierId: "verifier-1", region: "eu-1", selection: [{ bank: "sha256", pcrs: PCRS }], trust: readMakerTrust([root, issuer]) },
    policy: { mode: "allowlist", acceptWithoutCertificate: false, acceptJoinTokens: true },
    ...changes,
  });
}

async function ekSha256(of: Quoter = quoter): Promise<string> {
  const ek = readEndorsementKey((await of.identify(signal)).ekPublic);
  if (!ek.ok) throw new Error(ek.detail);
  return ek.key.sha256;
}
const allow = async (name = "w-07", of: Quoter = quoter): Promise<unknown> => records.allowed.set(await ekSha256(of), { name });

async function beginRequest(of: Quoter = quoter): Promise<BeginEnrolment> {
  const { ekPublic, akPublic, ekCertificate } = await of.identify(signal);
  return {
    nodeName: "claimed",
    bootId: BOOT_ID,
    evidence: { kind: "tpm", ekPublic, akPublic, ekCertificate: ekCertificate ?? Buffer.alloc(0), ekIntermediates: [] },
  };
}

interface Answer {
  readonly secret?: Buffer;
  readonly bootId?: string;
  readonly region?: string;
  readonly spki?: Buffer;
  readonly pcrs?: readonly number[];
  readonly nonce?: Buffer;
}

/** What an agent does between the two steps; `changes` are lies. */
async function answer(challenge: Challenge, changes: Answer = {}, of: Quoter = quoter) {
  const keys = (await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
  const spki = changes.spki ?? Buffer.from(await webcrypto.subtle.exportKey("spki", keys.publicKey));
  const request = await Pkcs10CertificateRequestGenerator.create({ name: "CN=spiffe://hullmark/eu-1/operator/admin/me", keys, signingAlgorithm: ALGORITHM });
  const activatedSecret = changes.secret ?? (await of.activate(challenge.credentialBlob, challenge.encryptedSecret, signal));
  const extraData = quoteExtraData({
    ...{
      verifierId: "verifier-1",
      region: changes.region ?? "eu-1",
      nonce: changes.nonce ?? challenge.nonce,
      spkiSha256: createHash("sha256").update(spki).digest(),
    },
    ...{
      tlsExporter: Buffer.alloc(0),
      nodeId: challenge.nodeId,
      bootId: changes.bootId ?? BOOT_ID,
      seq: 0n,
      evidenceDigest: CHAIN_START,
      stateRoot: EMPTY_ROOT,
    },
    ...{ imaCount: 0n, imaAggregate: Buffer.alloc(0), eventLogSha256: Buffer.alloc(0), policyDigest: Buffer.alloc(32) },
  });
  const quote = await of.quote(extraData, changes.pcrs ?? PCRS, signal);
  return { session: challenge.session, activatedSecret, quote, certificateRequest: new Uint8Array(request.rawData) };
}

async function begun(enrolment: EnrolmentService, of: Quoter = quoter): Promise<Challenge> {
  const challenge = await enrolment.begin(await beginRequest(of));
  if (!challenge.ok) throw new Error(`${challenge.reason}: ${challenge.detail}`);
  return challenge;
}

describe("enrolment of a real TPM", () => {
  it("gives a listed and certified TPM a certificate for its own key and name", async () => {
    await allow();
    const enrolment = await service();
    const challenge = await begun(enrolment);
    const result = await enrolment.complete(await answer(challenge));
    if (!result.ok) throw new Error(result.detail);
    expect(result.trust).toBe("tpm");
    expect(result.notAfterMs).toBeLessThanOrEqual(Date.now() + 3_600_000);
    const id = nodeIdOfEk(await ekSha256());
    expect(readPeerIdentity(result.chain[0] as Buffer, "eu-1")).toMatchObject({ kind: "node", nodeId: id });
    expect(new X509Certificate(result.chain[0] as Buffer).subject ?? "").toBe("");
    expect(result.node).toMatchObject({ id, name: "w-07", akReplaced: false, tpmModel: "id:00001014 swtpm id:20191023" });
    expect(records.recorded).toHaveLength(1);
  });

  it("renews in the same way, and holds on to the TPM's clock", async () => {
    await allow();
    const enrolment = await service();
    for (let round = 0; round < 2; round++) expect(await enrolment.complete(await answer(await begun(enrolment)))).toMatchObject({ ok: true });
    const node = records.nodes.get(nodeIdOfEk(await ekSha256()));
    if (!node?.clock) throw new Error("no clock");
    records.nodes.set(node.id, { ...node, clock: { ...node.clock, resetCount: node.clock.resetCount + 1 } });
    expect(await enrolment.complete(await answer(await begun(enrolment)))).toMatchObject({
      ok: false,
      reason: "quote",
      code: "reset-count-went-back",
    });
  });

  it("refuses a TPM that is not listed, of another maker, without certificate, or with another's certificate", async () => {
    expect(await (await service()).begin(await beginRequest())).toMatchObject({ ok: false, reason: "not-allowed" });
    await allow();
    expect(await (await service({}, 1)).begin(await beginRequest())).toMatchObject({ reason: "certificate", detail: expect.stringContaining("unknown-maker") });
    const request = await beginRequest();
    const evidence = request.evidence as Extract<BeginEnrolment["evidence"], { kind: "tpm" }>;
    expect(await (await service()).begin({ ...request, evidence: { ...evidence, ekCertificate: Buffer.alloc(0) } })).toMatchObject({
      reason: "certificate-missing",
    });
    const other = await beginRequest(new FakeQuoter());
    const theirs = other.evidence as typeof evidence;
    expect(await (await service()).begin({ ...request, evidence: { ...theirs, ekCertificate: evidence.ekCertificate } })).toMatchObject({
      reason: "certificate",
      detail: expect.stringContaining("another-key"),
    });
    clock.offsetMs = -86_400_000 * 30;
    expect(await (await service()).begin(request)).toMatchObject({ reason: "certificate", detail: expect.stringContaining("certificate-expired") });
  });

  it("refuses each lie in the second step, and a second try with the same challenge", async () => {
    await allow();
    const enrolment = await service();
    const lies: [Answer, string][] = [
      [{ secret: randomBytes(32) }, "activation"],
      [{ secret: Buffer.alloc(0) }, "activation"],
      [{ bootId: "5f0c6a55-3d5b-4d5e-8a4f-6f5a3f0f1d12" }, "quote"],
      [{ region: "us-1" }, "quote"],
      [{ spki: randomBytes(91) }, "quote"],
      [{ nonce: randomBytes(32) }, "quote"],
      [{ pcrs: PCRS.slice(1) }, "quote"],
      [{ pcrs: [...PCRS, 8] }, "quote"],
    ];
    for (const [lie, reason] of lies) {
      const challenge = await begun(enrolment);
      expect(await enrolment.complete(await answer(challenge, lie)), JSON.stringify(lie)).toMatchObject({ ok: false, reason });
      expect(await enrolment.complete(await answer(challenge))).toMatchObject({ ok: false, reason: "unknown-session" });
    }
    const challenge = await begun(enrolment);
    expect(await enrolment.complete({ ...(await answer(challenge)), quote: undefined })).toMatchObject({ reason: "quote" });
    expect(await enrolment.complete({ ...(await answer(await begun(enrolment))), certificateRequest: randomBytes(300) })).toMatchObject({
      reason: "certificate-request",
    });
    expect(records.recorded).toHaveLength(0);
  });

  it("refuses an attestation key with an attribute missing, by name, and one that is not in the TPM of the endorsement key", async () => {
    await allow();
    const enrolment = await service();
    const request = await beginRequest();
    const evidence = request.evidence as Extract<BeginEnrolment["evidence"], { kind: "tpm" }>;
    // TPM2B_PUBLIC: two bytes of size, two of type, two of the name's hash, then the attributes.
    const without = (bit: number): Buffer => {
      const akPublic = Buffer.from(evidence.akPublic);
      akPublic.writeUInt32BE((akPublic.readUInt32BE(6) & ~(1 << bit)) >>> 0, 6);
      return akPublic;
    };
    for (const [bit, code] of [
      [16, "ak-not-restricted"],
      [1, "ak-not-fixed"],
      [4, "ak-not-fixed"],
      [5, "ak-not-fixed"],
      [18, "ak-wrong-use"],
      [6, "ak-wrong-use"],
    ] as const)
      expect(await enrolment.begin({ ...request, evidence: { ...evidence, akPublic: without(bit) } }), `bit ${bit}`).toMatchObject({ ok: false, code });
    const thief = new FakeQuoter();
    const challenge = await enrolment.begin({ ...request, evidence: { ...evidence, akPublic: (await thief.identify(signal)).akPublic } });
    if (!challenge.ok) throw new Error(challenge.detail);
    await expect(quoter.activate(challenge.credentialBlob, challenge.encryptedSecret, signal)).rejects.toMatchObject({ name: "QuoterError" });
    expect(await enrolment.complete(await answer(challenge, { secret: randomBytes(32) }, thief))).toMatchObject({ ok: false, code: "activation" });
    expect(records.recorded).toHaveLength(0);
  });

  it("refuses another node's answer, a late one, and one after revocation", async () => {
    await allow();
    const enrolment = await service({ policy: { mode: "tofu", acceptWithoutCertificate: true, acceptJoinTokens: false } });
    const thief = new FakeQuoter();
    const challenge = await begun(enrolment);
    const stolen = await answer(challenge, { secret: await quoter.activate(challenge.credentialBlob, challenge.encryptedSecret, signal) }, thief);
    expect(await enrolment.complete(stolen)).toMatchObject({ reason: "quote", detail: expect.stringContaining("wrong-signer") });
    const late = await answer(await begun(enrolment));
    clock.offsetMs = 61_000;
    expect(await enrolment.complete(late)).toMatchObject({ reason: "expired" });
    expect(await enrolment.complete(await answer(await begun(enrolment)))).toMatchObject({ ok: true });
    const last = await begun(enrolment);
    records.revoke(last.nodeId);
    expect(await enrolment.complete(await answer(last))).toMatchObject({ reason: "revoked" });
    expect(await enrolment.begin(await beginRequest())).toMatchObject({ reason: "revoked" });
  });
});

describe("trust on first use", () => {
  const policy = { mode: "tofu", acceptWithoutCertificate: true, acceptJoinTokens: false } as const;

  it("accepts an unknown TPM without certificate, marked as such, and keeps its name", async () => {
    const enrolment = await service({ policy });
    const [first, second] = [new FakeQuoter(), new FakeQuoter()];
    const result = await enrolment.complete(await answer(await begun(enrolment, first), {}, first));
    expect(result).toMatchObject({ ok: true, trust: "tpm-tofu", node: { name: "claimed", tpmModel: undefined } });
    expect(await enrolment.begin(await beginRequest(second))).toMatchObject({ ok: false, reason: "name-taken" });
  });

  it("refuses names, boot ids and keys that make no sense", async () => {
    const enrolment = await service({ policy });
    const request = await beginRequest(new FakeQuoter());
    for (const nodeName of ["", "a b", "-a", "a\n", "../x", "a".repeat(254)])
      expect(await enrolment.begin({ ...request, nodeName })).toMatchObject({ reason: "malformed" });
    expect(await enrolment.begin({ ...request, bootId: `${BOOT_ID}\n` })).toMatchObject({ reason: "malformed" });
    expect(await enrolment.begin(await beginRequest(new FakeQuoter({ akAttributes: 0x00040472 })))).toMatchObject({ reason: "key" });
    expect(await enrolment.begin(await beginRequest(new FakeQuoter({ ekAttributes: 0x000200b2 })))).toMatchObject({ reason: "key" });
  });

  it("holds a bounded number of begun enrolments, and a stranger who begins them for a node's key without end does not keep the node out", async () => {
    const enrolment = await service({ policy });
    const node = new FakeQuoter();
    const request = await beginRequest(node);
    const stranger = async (): Promise<void> => {
      for (let i = 0; i < 20; i++) expect(await enrolment.begin(request, `192.0.2.7:${40_000 + i}`)).toMatchObject({ ok: true });
    };
    await stranger();
    const challenge = await enrolment.begin(request, "192.0.2.1:40000");
    if (!challenge.ok) throw new Error(challenge.detail);
    await stranger();
    expect(await enrolment.complete(await answer(challenge, {}, node))).toMatchObject({ ok: true });
  });
});

describe("join tokens", () => {
  const request: BeginEnrolment = { nodeName: "w-08", bootId: BOOT_ID, evidence: { kind: "token", token: TOKEN } };
  const addToken = () => records.tokens.set(tokenDigest(TOKEN).toString("hex"), { nodeName: "w-08", expiresAtMs: Date.now() + 30_000 });
  async function completion(enrolment: EnrolmentService) {
    const challenge = await enrolment.begin(request);
    if (!challenge.ok) throw new Error(challenge.detail);
    const keys = (await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
    const csr = await Pkcs10CertificateRequestGenerator.create({ name: "CN=x", keys, signingAlgorithm: ALGORITHM });
    return { session: challenge.session, activatedSecret: Buffer.alloc(0), quote: undefined, certificateRequest: new Uint8Array(csr.rawData) };
  }

  it("admit a node at trust none, once", async () => {
    addToken();
    const enrolment = await service();
    const [first, second] = [await completion(enrolment), await completion(enrolment)];
    const result = await enrolment.complete(first);
    expect(result).toMatchObject({ ok: true, trust: "none", node: { name: "w-08", ekSha256: undefined, akPublic: undefined } });
    expect(await enrolment.complete(second)).toMatchObject({ ok: false, reason: "token" });
    expect(await enrolment.begin(request)).toMatchObject({ ok: false, reason: "token" });
    if (!result.ok || !result.node) throw new Error("unreachable");
    expect(await enrolment.renewByCertificate(result.node.id, first.certificateRequest)).toMatchObject({ ok: true, trust: "none" });
    records.revoke(result.node.id);
    expect(await enrolment.renewByCertificate(result.node.id, first.certificateRequest)).toMatchObject({ reason: "revoked" });
  });

  it("are refused when unknown, expired, malformed or not wanted, and never stand in for a TPM", async () => {
    const enrolment = await service();
    expect(await enrolment.begin(request)).toMatchObject({ reason: "token" });
    addToken();
    expect(await enrolment.begin({ ...request, evidence: { kind: "token", token: "short" } })).toMatchObject({ reason: "token" });
    expect(await (await service({ policy: { mode: "tofu", acceptWithoutCertificate: true, acceptJoinTokens: false } })).begin(request)).toMatchObject({
      reason: "token",
    });
    clock.offsetMs = 30_001;
    expect(await enrolment.begin(request)).toMatchObject({ reason: "token" });
    clock.offsetMs = 0;
    await allow("w-08");
    const withTpm = await enrolment.complete(await answer(await begun(enrolment)));
    if (!withTpm.ok || !withTpm.node) throw new Error("not enrolled");
    expect(await enrolment.begin(request)).toMatchObject({ reason: "name-taken" });
    expect(await enrolment.renewByCertificate(withTpm.node.id, new Uint8Array())).toMatchObject({ reason: "not-allowed" });
  });
});

describe("LiveSessions", () => {
  const session = (sessionId: string, bootId = BOOT_ID, key = 0) => ({ sessionId, bootId, spkiSha256: Buffer.alloc(32, key) });
  it("grants a node to one stream, gives it to the same boot's next one, and refuses a clone while it lives", () => {
    const sessions = new LiveSessions(30_000);
    expect(sessions.claim("n", session("a"), 0)).toEqual({ kind: "granted" });
    expect(sessions.claim("n", session("clone", "other"), 29_999)).toMatchObject({ kind: "refused", holder: { sessionId: "a" } });
    expect(sessions.claim("n", session("b"), 10)).toMatchObject({ kind: "superseded", previous: { sessionId: "a" } });
    expect(sessions.touch("n", "a", 20)).toBe(false);
    expect(sessions.touch("n", "b", 20_000)).toBe(true);
    sessions.release("n", "a");
    expect(sessions.claim("n", session("clone", "other"), 49_999)).toMatchObject({ kind: "refused" });
    expect(sessions.claim("n", session("c", "rebooted"), 50_000)).toMatchObject({ kind: "superseded" });
    sessions.release("n", "c");
    expect(sessions.claim("n", session("d", "again"), 50_001)).toEqual({ kind: "granted" });
  });

  it("tells of a clone once, and only when the one that it is a clone of speaks on", () => {
    const sessions = new LiveSessions(30_000);
    sessions.claim("n", session("a"), 0);
    expect(sessions.takeRival("n", "a", 20_000)).toBeUndefined();
    for (const atMs of [20_000, 25_000]) sessions.claim("n", session("clone", "other"), atMs);
    // What was on its way when a machine went down is heard after it has come up again.
    expect(sessions.takeRival("n", "a", 27_499)).toBeUndefined();
    expect(sessions.takeRival("n", "clone", 27_500)).toBeUndefined();
    expect(sessions.takeRival("n", "a", 27_500)).toBe("other");
    expect(sessions.takeRival("n", "a", 90_000)).toBeUndefined();
  });

  it("knows a copy of the same boot by a key that was given up and comes back", () => {
    const sessions = new LiveSessions(30_000);
    sessions.claim("n", session("a", BOOT_ID, 1), 0);
    expect(sessions.claim("n", session("restarted", BOOT_ID, 2), 10)).toMatchObject({ kind: "superseded" });
    expect(sessions.claim("n", session("reconnected", BOOT_ID, 2), 20)).toMatchObject({ kind: "superseded" });
    expect(sessions.claim("n", session("copy", BOOT_ID, 1), 30)).toMatchObject({ kind: "refused", holder: { sessionId: "reconnected" } });
    expect(sessions.takeRival("n", "reconnected", 7_530)).toBe(BOOT_ID);
    expect(sessions.claim("n", session("renewed", BOOT_ID, 3), 7_540)).toMatchObject({ kind: "superseded" });
    // Nothing is heard of it any more: whoever comes then has the node.
    expect(sessions.claim("n", session("back", BOOT_ID, 2), 37_540)).toMatchObject({ kind: "superseded" });
  });
});
