/** Each refusal of an enrolment has a code of its own, and each is reached from what is accepted by changing one thing. A code without its case does not compile. */
import { hash, randomBytes, webcrypto, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Quote } from "@hullmark/agent/ports/quoter";
import { CHAIN_START, EMPTY_ROOT, quoteExtraData } from "@hullmark/proto/codec";
import { HmacNonceSource } from "@hullmark/verifier/adapters/nonce/index";
import { QUOTE_REASONS } from "@hullmark/verifier/adapters/prometheus/labels";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { readEndorsementKey, readMakerTrust } from "@hullmark/verifier/core/endorsement/index";
import {
  type BeginEnrolment,
  type BeginResult,
  type Challenge,
  type CompleteEnrolment,
  type CompleteResult,
  ENROLMENT_CODES,
  type EnrolmentCode,
  type EnrolmentOptions,
  type EnrolmentPolicy,
  EnrolmentService,
  nodeIdOfEk,
  nodeIdOfKubernetesNode,
  type TpmEvidence,
  tokenDigest,
} from "@hullmark/verifier/core/enrolment/index";
import type { ReviewedToken } from "@hullmark/verifier/ports/token-reviewer";
import { TokenReviewError } from "@hullmark/verifier/ports/token-reviewer";
import "reflect-metadata";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequestGenerator,
  PublicKey,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MemoryEnrolmentRecords } from "../fakes/enrolment-records.ts";
import { FakeQuoter } from "../fakes/quoter.ts";

const signal = new AbortController().signal;
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const BOOT_ID = "5f0c6a55-3d5b-4d5e-8a4f-6f5a3f0f1d11";
const PCRS = [0, 1, 7];
const TOKEN = "a-join-token-of-enough-characters";
const RULE = { audience: "hullmark", namespace: "hullmark", serviceAccount: "hullmark-agent" };
const VOUCHED: ReviewedToken = { username: "system:serviceaccount:hullmark:hullmark-agent", audiences: ["hullmark"], nodeName: "w-1" };
const [EK_ATTRIBUTES, AK_ATTRIBUTES] = [0x000300b2, 0x00050472];
const BIT = { fixedTpm: 1 << 1, restricted: 1 << 16, decrypt: 1 << 17, sign: 1 << 18 };

let directory: string;
let ca: X509Ca;
let maker: webcrypto.CryptoKeyPair;
let root: Buffer;
let certificateRequest: Uint8Array;
let spki: Buffer;

const keyPair = async () => (await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-refusals-"));
  ca = await X509Ca.open({ stateDir: directory, region: "eu-1", clock: { nowMs: () => Date.now() } });
  maker = await keyPair();
  root = await certificate(maker.publicKey, { subject: "CN=Maker", ca: true });
  const keys = await keyPair();
  spki = Buffer.from(await webcrypto.subtle.exportKey("spki", keys.publicKey));
  certificateRequest = new Uint8Array((await Pkcs10CertificateRequestGenerator.create({ name: "CN=x", keys, signingAlgorithm: ALGORITHM })).rawData);
});
afterAll(() => rmSync(directory, { recursive: true }));

interface CertificateWish {
  readonly subject?: string;
  readonly ca?: boolean;
  readonly by?: webcrypto.CryptoKey;
  readonly endMs?: number;
  readonly extended?: string;
  readonly critical?: string;
}

async function certificate(publicKey: PublicKey | webcrypto.CryptoKey, wish: CertificateWish = {}): Promise<Buffer> {
  const { subject = "", ca: isCa = false, by = maker.privateKey, endMs = Date.now() + 86_400_000, extended = "2.23.133.8.1", critical } = wish;
  const made = await X509CertificateGenerator.create({
    ...{ serialNumber: "01", subject, issuer: "CN=Maker", publicKey, signingKey: by, signingAlgorithm: ALGORITHM },
    ...{ notBefore: new Date(Date.now() - 10 * 86_400_000), notAfter: new Date(endMs) },
    extensions: [
      new BasicConstraintsExtension(isCa, undefined, true),
      new KeyUsagesExtension(isCa ? KeyUsageFlags.keyCertSign : KeyUsageFlags.keyAgreement, true),
      ...(isCa ? [] : [new ExtendedKeyUsageExtension([extended])]),
      ...(critical ? [new Extension(critical, true, Buffer.from("0500", "hex"))] : []),
    ],
  });
  return Buffer.from(made.rawData);
}

type Answer = CompleteEnrolment & { readonly quote: Quote };

/** One node, one verifier, and a way to change one thing. Each case has its own. */
class World {
  readonly records = new MemoryEnrolmentRecords();
  readonly clock = { offsetMs: 0, nowMs: (): number => Date.now() + this.clock.offsetMs };
  readonly nonces = new HmacNonceSource({ regionKey: randomBytes(32), clock: this.clock });
  quoter = new FakeQuoter();
  review: () => Promise<ReviewedToken | undefined> = async () => VOUCHED;
  #enrolment: EnrolmentService | undefined;

  service(policy: Partial<EnrolmentPolicy> = {}, more: Partial<EnrolmentOptions> = {}): this {
    this.#enrolment = new EnrolmentService({
      ...{ records: this.records, clock: this.clock, authority: ca, nonces: this.nonces, trust: readMakerTrust([root]) },
      ...{ verifierId: "v", region: "eu-1", selection: [{ bank: "sha256" as const, pcrs: PCRS }] },
      policy: { mode: "tofu", acceptWithoutCertificate: true, acceptJoinTokens: true, ...policy },
      serviceAccounts: { rule: RULE, reviewer: { review: () => this.review() } },
      ...more,
    });
    return this;
  }

  get enrolment(): EnrolmentService {
    if (!this.#enrolment) this.service();
    return this.#enrolment as EnrolmentService;
  }

  async begin(change: Partial<BeginEnrolment> = {}, evidence: Partial<TpmEvidence> = {}, peer = ""): Promise<BeginResult> {
    const { ekPublic, akPublic } = await this.quoter.identify(signal);
    const tpm = { kind: "tpm" as const, ekPublic, akPublic, ekCertificate: Buffer.alloc(0), ekIntermediates: [], ...evidence };
    return await this.enrolment.begin({ nodeName: "w-1", bootId: BOOT_ID, evidence: tpm, ...change }, peer);
  }

  byToken(token = TOKEN): Promise<BeginResult> {
    return this.begin({ evidence: { kind: "token", token } });
  }

  byAccount(claims: object = {}, change: Partial<BeginEnrolment> = {}): Promise<BeginResult> {
    const all = { aud: ["hullmark"], exp: Math.floor(Date.now() / 1000) + 600, ...claims };
    const token = [{ alg: "RS256" }, all, "signature"].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
    return this.begin({ evidence: { kind: "service-account", token }, ...change });
  }

  addToken(): this {
    this.records.tokens.set(tokenDigest(TOKEN).toString("hex"), { nodeName: "w-1", expiresAtMs: Date.now() + 600_000 });
    return this;
  }

  /** What an honest agent answers; `binding` changes what the quote is made for. */
  async answer(challenge: Challenge, binding: { readonly region?: string } = {}, by = this.quoter, pcrs = PCRS): Promise<Answer> {
    const none = Buffer.alloc(0);
    const extraData = quoteExtraData({
      ...{ verifierId: "v", region: "eu-1", nonce: challenge.nonce, spkiSha256: hash("sha256", spki, "buffer"), tlsExporter: none },
      ...{ nodeId: challenge.nodeId, bootId: BOOT_ID, seq: 0n, evidenceDigest: CHAIN_START, stateRoot: EMPTY_ROOT, imaCount: 0n },
      ...{ imaAggregate: none, eventLogSha256: none, policyDigest: Buffer.alloc(32), ...binding },
    });
    const activatedSecret = await this.quoter.activate(challenge.credentialBlob, challenge.encryptedSecret, signal);
    return { session: challenge.session, activatedSecret, quote: await by.quote(extraData, pcrs, signal), certificateRequest };
  }

  async challenged(): Promise<Challenge> {
    const challenge = await this.begin();
    if (!challenge.ok) throw new Error(`${challenge.code}: ${challenge.detail}`);
    return challenge;
  }

  /** Both steps, with one change to the answer. */
  async complete(change: (answer: Answer) => Partial<CompleteEnrolment> = () => ({})): Promise<CompleteResult> {
    const answer = await this.answer(await this.challenged());
    return await this.enrolment.complete({ ...answer, ...change(answer) });
  }

  quoted(change: (quote: Quote) => Partial<NonNullable<CompleteEnrolment["quote"]>>): Promise<CompleteResult> {
    return this.complete(({ quote }) => ({ quote: { ...quote, ...change(quote) } }));
  }

  /** Enrols, changes the TPM's clock, and enrols again. */
  async again(change: (quoter: FakeQuoter) => void): Promise<CompleteResult> {
    this.quoter.restartCount = 3;
    expect(await this.complete()).toMatchObject({ ok: true });
    change(this.quoter);
    return await this.complete();
  }

  async certified(wish: CertificateWish = {}, publicKey?: webcrypto.CryptoKey): Promise<BeginResult> {
    const ek = readEndorsementKey((await this.quoter.identify(signal)).ekPublic);
    if (!ek.ok) throw new Error(ek.detail);
    return await this.begin({}, { ekCertificate: await certificate(publicKey ?? new PublicKey(new Uint8Array(ek.key.spki)), wish) });
  }

  async nodeId(): Promise<string> {
    const ek = readEndorsementKey((await this.quoter.identify(signal)).ekPublic);
    if (!ek.ok) throw new Error(ek.detail);
    return nodeIdOfEk(ek.key.sha256);
  }

  known(id: string, change: { readonly name?: string; readonly revoked?: boolean; readonly trust?: "tpm" | "none"; readonly ekSha256?: string } = {}): this {
    const { name = "other", revoked = false, trust = "none", ekSha256 } = change;
    this.records.nodes.set(id, { id, name, revoked, trust, ekSha256, akPublic: undefined, clock: undefined });
    return this;
  }
}

/** A public area in which one field is another; `from` to `to` are its bytes, the size in front is corrected. */
async function area(of: "ekPublic" | "akPublic", from: number, to: number, field: Buffer): Promise<Partial<TpmEvidence>> {
  const bytes = (await new FakeQuoter().identify(signal))[of];
  const changed = Buffer.concat([bytes.subarray(0, from), field, bytes.subarray(to)]);
  changed.writeUInt16BE(changed.length - 2);
  return { [of]: changed };
}
const withKeys = (options: ConstructorParameters<typeof FakeQuoter>[0]): Promise<BeginResult> =>
  Object.assign(new World(), { quoter: new FakeQuoter(options) }).begin();
const ek = (missing: number) => () => withKeys({ ekAttributes: EK_ATTRIBUTES & ~missing });
const ak = (missing: number) => () => withKeys({ akAttributes: AK_ATTRIBUTES & ~missing });
const reviewed = (change: Partial<ReviewedToken>) => () => Object.assign(new World(), { review: async () => ({ ...VOUCHED, ...change }) }).byAccount();

const CASES: Readonly<Record<EnrolmentCode, () => Promise<BeginResult | CompleteResult>>> = {
  "node-name": () => new World().begin({ nodeName: "a b" }),
  "boot-id": () => new World().begin({ bootId: `${BOOT_ID}0` }),
  "ek-malformed": async () => new World().begin({}, { ekPublic: (await new FakeQuoter().identify(signal)).ekPublic.subarray(0, -1) }),
  "ek-not-fixed": ek(BIT.fixedTpm),
  "ek-not-restricted": ek(BIT.restricted),
  "ek-wrong-use": ek(BIT.decrypt),
  // Size, type, hash, attributes, policy: then the symmetric algorithm with its bits and mode.
  "ek-wrong-algorithm": async () => new World().begin({}, await area("ekPublic", 44, 50, Buffer.from([0x00, 0x10]))),
  "ak-malformed": async () => new World().begin({}, { akPublic: (await new FakeQuoter().identify(signal)).akPublic.subarray(0, -1) }),
  "ak-not-fixed": ak(BIT.fixedTpm),
  "ak-not-restricted": ak(BIT.restricted),
  "ak-wrong-use": ak(BIT.sign),
  // … an empty policy, no symmetric algorithm, ECDSA: then its hash.
  "ak-wrong-algorithm": async () => new World().begin({}, await area("akPublic", 16, 18, Buffer.from([0x00, 0x0c]))),
  "certificate-malformed": () => new World().begin({}, { ekCertificate: Buffer.from("none") }),
  "certificate-for-another-key": () => new World().certified({}, maker.publicKey),
  "certificate-not-for-ek": () => new World().certified({ extended: "1.3.6.1.5.5.7.3.1" }),
  "certificate-critical-extension": () => new World().certified({ critical: "1.2.3.4.5" }),
  "certificate-expired": () => new World().certified({ endMs: Date.now() - 86_400_000 }),
  "certificate-unknown-maker": async () => new World().certified({ by: (await keyPair()).privateKey }),
  "certificate-missing": () => new World().service({ acceptWithoutCertificate: false }).begin(),
  "not-listed": () => new World().service({ mode: "allowlist" }).begin(),
  "id-of-another-key": async () => {
    const world = new World();
    return world.known(await world.nodeId(), { name: "w-1", trust: "tpm", ekSha256: "a".repeat(64) }).begin();
  },
  "name-taken": () => new World().known("00000000000000aa", { name: "w-1" }).begin(),
  revoked: async () => {
    const world = new World();
    return world.known(await world.nodeId(), { revoked: true }).begin();
  },
  "token-malformed": () => new World().addToken().byToken("short"),
  "token-not-accepted": () => new World().addToken().service({ acceptJoinTokens: false }).byToken(),
  "token-unknown": () => new World().addToken().byToken(`${TOKEN}-2`),
  "account-not-accepted": () => new World().service({}, { serviceAccounts: undefined }).byAccount(),
  "account-malformed": () => new World().begin({ evidence: { kind: "service-account", token: "word" } }),
  "account-not-vouched": () => Object.assign(new World(), { review: async () => undefined }).byAccount(),
  "account-of-another": reviewed({ username: "system:serviceaccount:hullmark:default" }),
  "account-audience": () => new World().byAccount({ aud: ["hullmark", "https://kubernetes.default.svc"] }),
  "account-ended": () => new World().byAccount({ exp: Math.floor(Date.now() / 1000) - 60 }),
  "account-unbound": reviewed({ nodeName: undefined }),
  "account-node-name": reviewed({ nodeName: "../w-1" }),
  "account-of-another-node": () => new World().byAccount({}, { nodeName: "w-2" }),
  "account-not-reviewed": () => Object.assign(new World(), { review: () => Promise.reject(new TokenReviewError("answers 500")) }).byAccount(),
  "reviews-busy": async () => {
    const held = Promise.withResolvers<undefined>();
    const world = Object.assign(new World(), { review: () => held.promise });
    const all = Array.from({ length: 17 }, () => world.byAccount());
    const first = await Promise.race(all);
    held.resolve(undefined);
    await Promise.all(all);
    return first;
  },
  rate: async () => {
    const world = new World().service({}, { beginsPerSecond: 1, pendingLimits: { maxPending: 100, maxPendingPerNode: 100 } });
    for (let i = 0; i < 20; i++) expect(await world.begin({}, {}, `10.0.0.${i % 2}:${i}`)).toMatchObject({ ok: true });
    return await world.begin({}, {}, "10.0.0.3:1");
  },
  "rate-of-address": async () => {
    const world = new World().service({}, { beginsPerSecond: 1, pendingLimits: { maxPending: 100, maxPendingPerNode: 100 } });
    for (let i = 0; i < 10; i++) expect(await world.begin({}, {}, `10.0.0.1:${i}`)).toMatchObject({ ok: true });
    return await world.begin({}, {}, "10.0.0.1:99");
  },
  "unknown-session": () => new World().complete(() => ({ session: "0".repeat(32) })),
  expired: async () => {
    const world = new World();
    const answer = await world.answer(await world.challenged());
    world.clock.offsetMs = 60_001;
    return await world.enrolment.complete(answer);
  },
  "nonce-spent": async () => {
    const world = new World();
    const challenge = await world.challenged();
    const { nonce, session, nodeId, expiresAtMs } = challenge;
    expect(world.nonces.redeem(nonce, { session, nodeId, expiresAtMs })).toBe("ok");
    return await world.enrolment.complete(await world.answer(challenge));
  },
  "certificate-request": () => new World().complete(() => ({ certificateRequest: randomBytes(200) })),
  activation: () => new World().complete(() => ({ activatedSecret: randomBytes(32) })),
  "no-quote": () => new World().complete(() => ({ quote: undefined })),
  "attest-malformed": () => new World().quoted(({ attest }) => ({ attest: attest.subarray(0, -1) })),
  "signature-malformed": () => new World().quoted(() => ({ signature: Buffer.alloc(73) })),
  "pcrs-malformed": () => new World().quoted(({ pcrs }) => ({ pcrs: Array.from({ length: 49 }, () => pcrs[0] as (typeof pcrs)[0]) })),
  "pcr-bank": () => new World().quoted(() => ({ pcrs: undefined })),
  "not-a-quote": () => new World().quoted(({ attest }) => ({ attest: Buffer.concat([Buffer.of(0), attest.subarray(1)]) })),
  "wrong-signer": async () => {
    const world = new World();
    return await world.enrolment.complete(await world.answer(await world.challenged(), {}, new FakeQuoter()));
  },
  "bad-signature": () =>
    new World().quoted(({ signature }) => ({ signature: Buffer.concat([signature.subarray(0, -1), Buffer.of((signature.at(-1) ?? 0) ^ 1)]) })),
  "wrong-binding": async () => {
    const world = new World();
    return await world.enrolment.complete(await world.answer(await world.challenged(), { region: "us-1" }));
  },
  "wrong-pcr-selection": async () => {
    const world = new World();
    return await world.enrolment.complete(await world.answer(await world.challenged(), {}, world.quoter, [...PCRS, 8]));
  },
  "wrong-pcr-values": () => new World().quoted(({ pcrs: [first, ...rest] }) => ({ pcrs: first ? [{ ...first, value: Buffer.alloc(32, 1) }, ...rest] : rest })),
  "reset-count-went-back": () => new World().again((quoter) => quoter.resetCount--),
  "restart-count-went-back": () => new World().again((quoter) => quoter.restartCount--),
  "clock-went-back": () =>
    new World().again((quoter) => {
      quoter.clock -= 100n;
    }),
  "identity-changed": async () => {
    const world = new World().addToken();
    const challenge = await world.byToken();
    if (!challenge.ok) throw new Error(challenge.detail);
    world.known("00000000000000aa", { name: "w-1" });
    return await world.enrolment.complete({ session: challenge.session, activatedSecret: Buffer.alloc(0), quote: undefined, certificateRequest });
  },
  "spent-by-another": async () => {
    const world = new World();
    world.records.record = async () => "spent";
    return await world.complete();
  },
  "node-in-use": async () => {
    const world = new World();
    world.records.record = async () => "in-use";
    return await world.complete();
  },
  "renewal-with-tpm": () => new World().known("00000000000000aa", { trust: "tpm" }).enrolment.renewByCertificate("00000000000000aa", certificateRequest),
  "renewal-by-account": () => {
    const id = nodeIdOfKubernetesNode("w-1");
    return new World().known(id, { name: "w-1" }).enrolment.renewByCertificate(id, certificateRequest);
  },
};

describe("enrolment", () => {
  test("what the cases change is accepted as it is: by TPM with and without certificate, by token, and by service account", async () => {
    expect(await new World().complete()).toMatchObject({ ok: true, trust: "tpm-tofu" });
    expect(await new World().certified()).toMatchObject({ ok: true });
    expect(await new World().addToken().byToken()).toMatchObject({ ok: true });
    expect(await new World().byAccount()).toMatchObject({ ok: true });
    expect(await new World().again((quoter) => quoter.restartCount++)).toMatchObject({ ok: true });
  });

  test.each(Object.entries(CASES) as [EnrolmentCode, () => Promise<BeginResult | CompleteResult>][])("is refused as %s", async (code, attempt) => {
    const result = await attempt();
    expect(result).toMatchObject({ ok: false, code, reason: ENROLMENT_CODES[code] });
    if (!result.ok) expect(result.detail).not.toBe("");
  });
});

test("a join token is good for another try where it cannot be told whether the certificate is withheld", async () => {
  let broken = true;
  const withheld = async (): Promise<boolean> => {
    if (broken) throw new Error("no disk");
    return true;
  };
  const world = new World().service({}, { withheld }).addToken();
  const enrolled = async (): Promise<CompleteResult> => {
    const challenge = await world.byToken();
    if (!challenge.ok) throw new Error(challenge.detail);
    return await world.enrolment.complete({ session: challenge.session, activatedSecret: Buffer.alloc(0), quote: undefined, certificateRequest });
  };
  await expect(enrolled()).rejects.toThrow("no disk");
  expect(world.records.recorded).toEqual([]);
  broken = false;
  const result = await enrolled();
  if (!result.ok) throw new Error(result.detail);
  expect(new X509Certificate(result.chain[0] as Buffer).subjectAltName).toMatch(/\/untrusted\//);
});

test("the documentation lists exactly these, and the refusals of quotes", () => {
  const page = readFileSync(new URL("../../docs/claims.md", import.meta.url), "utf8");
  const listed = (title: string): string[] => {
    const section = page.split(`## ${title}\n`)[1]?.split("\n## ")[0] ?? "";
    return section
      .split("\n")
      .flatMap((line) => (/^\| `/.test(line) ? [...(line.split("|")[1] ?? "").matchAll(/`([a-z-]+)`/g)].map(([, code = ""]) => code) : []));
  };
  expect(listed("Refusals of an enrolment").sort()).toEqual(Object.keys(ENROLMENT_CODES).sort());
  expect(listed("Refusals of a quote").sort()).toEqual([...QUOTE_REASONS].sort());
});
