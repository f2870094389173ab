/** Signatures of the Notary Project by our own hand: every field altered has its own code. What notation-go says is in test/integration/provenance-notation.test.ts. */
import { createHash, createPublicKey, sign as nodeSign } from "node:crypto";
import type { Authority, NotarySignerMatch, Revocation, TrustStore } from "@hullmark/verifier/core/policy/types";
import { type Artefact, type ProvenanceQuestion, type ProvenanceVerdict, verifyProvenance } from "@hullmark/verifier/core/provenance/index";
import "reflect-metadata";
import { Extension } from "@peculiar/x509";
import { decode, Tagged } from "cborg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { question, verifiers } from "../fakes/judging.ts";
import {
  cbor,
  type Envelope,
  type EnvelopeOptions,
  type IdentityOptions,
  type KeyKind,
  NotaryCa,
  type NotaryIdentity,
  notaryPayload,
  signNotary,
  trustStoreOf,
} from "../fakes/notary.ts";
import { FakeTsa } from "../fakes/sigstore/tsa.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;
const OTHER = `sha256:${"cd".repeat(32)}`;
const DAY_MS = 86_400_000;
let ca: NotaryCa;
let tsa: FakeTsa;
let store: TrustStore;

beforeAll(async () => {
  ca = await NotaryCa.create();
  tsa = await FakeTsa.create();
  store = trustStoreOf(ca, tsa);
});
afterAll(() => {
  tsa?.close();
});

const always = { notBeforeMs: undefined, notAfterMs: undefined };
const signer = (overrides: Partial<NotarySignerMatch> = {}): NotarySignerMatch => ({
  ...{ kind: "notary", trustStore: "acme", subject: { C: "US", O: "acme", CN: "release" }, ...always },
  ...overrides,
});
const release = (overrides: Partial<NotarySignerMatch> = {}): Authority => ({ name: "release", signers: [signer(overrides)] });
const publicKeyOf = ({ privateKey }: NotaryIdentity) => createPublicKey(privateKey).export({ type: "spki", format: "pem" }).toString();
const asArtefact = ({ bytes, mediaType }: Envelope): Artefact => ({
  ...{ repository: "registry.example/app", manifestDigest: `sha256:${"11".repeat(32)}`, foundUnder: DIGEST, layout: "referrer" },
  ...{ format: "notary", envelope: bytes, mediaType },
});

function judge(envelopes: readonly Envelope[], overrides: Partial<ProvenanceQuestion> = {}): ProvenanceVerdict {
  const base = { subjects: [DIGEST], artefacts: envelopes.map(asArtefact), authorities: [release()], trustStores: [store], atMs: Date.now() };
  return verifyProvenance(question({ ...base, ...overrides }), verifiers);
}
const sign = async (options: EnvelopeOptions = {}, identity: IdentityOptions = {}) => signNotary(await ca.identity(identity), notaryPayload(DIGEST), options);
const codes = ({ artefacts }: ProvenanceVerdict) => artefacts.map(({ code, problem }) => [code, problem]);

describe.each(["jws", "cose"] as const)("%s", (format) => {
  test.each<KeyKind>(["P-256", "P-384", "P-521", "RSA-2048", "RSA-3072"])("by a key %s holds", async (kind) => {
    const verdict = judge([await sign({ format }, { kind })]);
    expect(verdict.artefacts[0]?.text).toBe(`signature of ${DIGEST} by release`);
    expect(verdict).toMatchObject({
      status: "signed",
      signedBy: ["release"],
      artefacts: [{ code: "signature", identity: { subject: expect.stringContaining("CN=release") } }],
    });
  });

  test("of another image, by somebody else, or of a name that only begins so, is not this one's", async () => {
    const envelope = signNotary(await ca.identity(), notaryPayload(OTHER), { format });
    expect(judge([envelope])).toMatchObject({ status: "other-digest", satisfied: false });
    const anybody = { authorities: [release({ subject: "any" })] };
    expect(judge([await sign({ format }, { name: "CN=release2,O=other" })], anybody)).toMatchObject({ status: "signed" });
    expect(judge([signNotary(await (await NotaryCa.create()).identity(), notaryPayload(DIGEST), { format })], anybody)).toMatchObject({ satisfied: false });
    const stranger = judge([await sign({ format }, { name: "CN=release2,O=acme,ST=WA,C=US" })]);
    expect(stranger).toMatchObject({ status: "wrong-key", artefacts: [{ code: "wrong-identity" }] });
    expect(stranger.refusals[0]?.remedy).toContain("by release with a certificate of the trust store acme for C=US, O=acme, CN=release");
    expect(judge([await sign({ format }, { name: "CN=release,CN=other,O=acme,ST=WA,C=US" })]).status).toBe("wrong-key");
  });

  test("time: expired, out of its certificate's time, or proven to be in it", async () => {
    const now = Math.floor(Date.now() / 1000);
    expect(judge([await sign({ format, expiry: now + 60 })]).status).toBe("signed");
    expect(codes(judge([await sign({ format, expiry: now - 1 })]))).toEqual([["expired", "expired"]]);
    const short = { notBeforeMs: Date.now() - DAY_MS, notAfterMs: Date.now() + 5000 };
    const token = (signature: Buffer) => tsa.token(signature);
    const later = { atMs: Date.now() + DAY_MS };
    expect(codes(judge([await sign({ format }, short)], later))).toEqual([["untrusted", "certificate-expired"]]);
    const stamped = await sign({ format, token }, short);
    expect(judge([stamped], later)).toMatchObject({ status: "signed" });
    expect(codes(judge([stamped], { ...later, trustStores: [{ ...store, timestampAuthorities: [] }] }))).toEqual([["untrusted", "certificate-expired"]]);
    const wanting = { trustStores: [{ ...store, requireTimestamp: true }] };
    expect(judge([stamped], { ...later, ...wanting })).toMatchObject({ status: "signed" });
    expect(codes(judge([await sign({ format })], wanting))).toEqual([["untrusted", "time-missing"]]);
    const stranger = await FakeTsa.create();
    const strange = await sign({ format, token: (signature) => stranger.token(signature) }, short);
    stranger.close();
    expect(codes(judge([strange], later))).toEqual([["altered", "time"]]);
    const borrowed = await sign({ format, token: () => tsa.token(Buffer.from("another signature")) }, short);
    expect(codes(judge([borrowed], later))).toEqual([["altered", "time"]]);
  });

  test("a signing authority's word on the time counts under its own kind of trust store only", async () => {
    const options = { format, scheme: "notary.x509.signingAuthority", authenticTime: Math.floor(Date.now() / 1000) - 3600 };
    const envelope = await sign(options, { notBeforeMs: Date.now() - DAY_MS });
    expect(codes(judge([envelope]))).toEqual([["untrusted", "untrusted"]]);
    const verdict = judge([envelope], { trustStores: [{ ...store, scheme: "signingAuthority" }] });
    expect(verdict).toMatchObject({ status: "signed", artefacts: [{ vouchers: [{ signedAtMs: options.authenticTime * 1000 }] }] });
    expect(codes(judge([await sign({ format })], { trustStores: [{ ...store, scheme: "signingAuthority" }] }))).toEqual([["untrusted", "untrusted"]]);
  });

  test.each<[string, EnvelopeOptions, IdentityOptions, string]>([
    ["a critical attribute that is not known", { more: { "com.example.x": "1" }, critical: ["io.cncf.notary.signingScheme", "com.example.x"] }, {}, "critical"],
    ["a critical attribute that is not there", { critical: ["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"] }, {}, "critical"],
    ["an expiry that is not marked critical", { expiry: 1, critical: ["io.cncf.notary.signingScheme"] }, {}, "critical"],
    ["a scheme that is not known", { scheme: "notary.x509.other" }, {}, "critical"],
    ["a time of a signing authority without one", { authenticTime: 1, critical: ["io.cncf.notary.signingScheme"] }, {}, "critical"],
    ["a payload of another type", { contentType: "application/json" }, {}, "malformed"],
    ["the algorithm of another key", { algorithm: "ES384" }, {}, "algorithm"],
    ["no algorithm", { algorithm: "none" }, {}, "algorithm"],
    ["a certificate for servers", {}, { usage: "1.3.6.1.5.5.7.3.1" }, "chain"],
    ["a certificate that may issue", {}, { keyUsage: 1 | 32 }, "chain"],
    ["a certificate that is not valid yet", {}, { notBeforeMs: Date.now() + DAY_MS, notAfterMs: Date.now() + 2 * DAY_MS }, "certificate-expired"],
  ])("refuses %s", async (_, options, identity, problem) => {
    const verdict = judge([await sign({ format, ...options }, identity)]);
    expect(verdict.artefacts.map((each) => each.problem)).toEqual([problem]);
    expect(verdict).toMatchObject({ satisfied: false, signedBy: [] });
  });

  test("by a certificate with an extension that must be known and is not, or twice, is untrusted", async () => {
    const extension = (oid: string, critical: boolean) => new Extension(oid, critical, new Uint8Array([0x30, 0]));
    for (const [more, held] of [
      [[extension("2.5.29.30", true)], false],
      [[extension("1.2.3.4", true)], false],
      [[extension("1.2.3.4", false), extension("1.2.3.4", false)], false],
      [[extension("1.2.3.4", false)], true],
    ] as const)
      expect(codes(judge([await sign({ format }, { more })]))).toEqual([held ? ["signature", undefined] : ["untrusted", "chain"]]);
  });

  test("of another authority, or with a root that was put in its place, is untrusted", async () => {
    const other = await NotaryCa.create();
    const envelope = signNotary(await other.identity(), notaryPayload(DIGEST), { format });
    expect(codes(judge([envelope]))).toEqual([["untrusted", "untrusted"]]);
    const identity = await other.identity();
    const grafted = signNotary({ ...identity, chain: [identity.chain[0] ?? Buffer.alloc(0), ca.root] }, notaryPayload(DIGEST), { format });
    expect(codes(judge([grafted]))).toEqual([["untrusted", "chain"]]);
    const own = await ca.identity();
    for (const at of own.chain.keys()) {
      const chain = own.chain.map((der, i) => (i === at ? Buffer.concat([der, Buffer.of(0)]) : der));
      expect(codes(judge([signNotary({ ...own, chain }, notaryPayload(DIGEST), { format })]))).toEqual([["untrusted", "chain"]]);
    }
    const short = signNotary({ ...identity, chain: identity.chain.slice(0, 1) }, notaryPayload(DIGEST), { format });
    expect(codes(judge([short]))).toEqual([["untrusted", "chain"]]);
  });

  test("with any one byte changed, by one bit, is not signed", async () => {
    const envelope = await sign({ format });
    let held = 0;
    for (let at = 0; at < envelope.bytes.length; at++) {
      const bytes = Buffer.from(envelope.bytes);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8));
      const verdict = judge([{ ...envelope, bytes }]);
      if (verdict.status === "signed") held++;
      else expect(verdict.signedBy).toEqual([]);
    }
    expect(held).toBe(0);
  });

  test("revoked by certificate, by key's owner, or with a date that the proven time is held against", async () => {
    const identity = await ca.identity();
    const envelope = signNotary(identity, notaryPayload(DIGEST), { format, token: (signature) => tsa.token(signature) });
    const leaf = identity.chain[0] ?? Buffer.alloc(0);
    const sha256 = createHash("sha256").update(leaf).digest("hex");
    const publicKeyPem = publicKeyOf(identity);
    const status = (what: Revocation["what"], sinceMs?: number) => judge([envelope], { revocations: [{ reason: "lost", sinceMs, what }] }).status;
    expect(status({ kind: "certificate", sha256 })).toBe("revoked");
    expect(status({ kind: "certificate", sha256: createHash("sha256").update(ca.root).digest("hex") })).toBe("revoked");
    expect(status({ kind: "certificate", sha256: "0".repeat(64) })).toBe("signed");
    expect(status({ kind: "key", publicKeyPem })).toBe("revoked");
    expect(status({ kind: "certificate", sha256 }, Date.now() - DAY_MS)).toBe("revoked");
    expect(status({ kind: "certificate", sha256 }, Date.now() + DAY_MS)).toBe("signed");
  });

  test("revoked with a date, a signing authority's own word on the time saves nothing: whoever has its key writes it", async () => {
    const identity = await ca.identity({ notBeforeMs: Date.now() - 10 * DAY_MS });
    const authenticTime = Math.floor((Date.now() - 5 * DAY_MS) / 1000);
    const envelope = signNotary(identity, notaryPayload(DIGEST), { format, scheme: "notary.x509.signingAuthority", authenticTime });
    const publicKeyPem = publicKeyOf(identity);
    const trustStores: TrustStore[] = [{ ...store, scheme: "signingAuthority" }];
    expect(judge([envelope], { trustStores }).status).toBe("signed");
    const revocations: Revocation[] = [{ reason: "stolen", sinceMs: Date.now() - DAY_MS, what: { kind: "key", publicKeyPem } }];
    expect(judge([envelope], { trustStores, revocations }).status).toBe("revoked");
  });

  test("one key is one vote, as a bare key and in a certificate, or under two names", async () => {
    const identity = await ca.identity();
    const payload = Buffer.from(
      JSON.stringify({ critical: { identity: {}, image: { "docker-manifest-digest": DIGEST }, type: "cosign container image signature" } }),
    );
    const bare: Artefact = {
      ...{ ...asArtefact(await sign({ format })), format: "simple-signing", payload },
      signature: nodeSign("sha256", payload, identity.privateKey).toString("base64"),
    };
    const authorities: Authority[] = [release(), { name: "security", signers: [{ ...always, kind: "key", publicKeyPem: publicKeyOf(identity) }] }];
    const asks = { authorities, signatures: { authorities: ["release", "security"], threshold: 2 } };
    const one = signNotary(identity, notaryPayload(DIGEST), { format });
    const both = (envelope: Envelope) => judge([], { ...asks, artefacts: [asArtefact(envelope), bare] });
    expect(both(one)).toMatchObject({ status: "wrong-key", satisfied: false, signedBy: ["release", "security"] });
    expect(both(await sign({ format })).status).toBe("signed");
    const renamed = signNotary(await ca.identity({ name: "CN=security,O=acme,C=US", pair: identity }), notaryPayload(DIGEST), { format });
    const names: Authority[] = [release(), { name: "security", signers: [signer({ subject: { CN: "security" } })] }];
    expect(judge([one, renamed], { ...asks, authorities: names })).toMatchObject({ status: "wrong-key", signedBy: ["release", "security"] });
  });
});

test("JWS is read strictly: no header both protected and not", async () => {
  const envelope = await sign({ format: "jws" });
  const json = JSON.parse(envelope.bytes.toString());
  const bytes = Buffer.from(JSON.stringify({ ...json, header: { ...json.header, alg: "ES384" } }));
  expect(codes(judge([{ ...envelope, bytes }]))).toEqual([["malformed", undefined]]);
});

describe("COSE is read strictly", () => {
  const parts = (envelope: Envelope) =>
    (decode(envelope.bytes, { useMaps: true, tags: { ...Tagged.preserve(18, 1) } }) as Tagged).value as [
      Uint8Array,
      Map<unknown, unknown>,
      Uint8Array,
      Uint8Array,
    ];
  const malformed = (bytes: Buffer) => expect(codes(judge([{ mediaType: "application/cose", bytes }]))).toEqual([["malformed", undefined]]);

  test("no trailing bytes, no other tag, no doubled header", async () => {
    const envelope = await sign({ format: "cose" });
    const [head, unprotected, payload, signature] = parts(envelope);
    malformed(Buffer.concat([envelope.bytes, Buffer.of(0)]));
    malformed(cbor([head, unprotected, payload, signature]));
    malformed(cbor(new Tagged(98, [head, unprotected, payload, signature])));
    malformed(cbor(new Tagged(18, [head, unprotected, payload])));
    malformed(cbor(new Tagged(18, [head, new Map([...unprotected, ["io.cncf.notary.signingScheme", "notary.x509"]]), payload, signature])));
    malformed(cbor(new Tagged(18, [head, new Map(), payload, signature])));
    expect(judge([{ ...envelope, bytes: cbor(new Tagged(18, [head, unprotected, payload, signature])) }]).status).toBe("signed");
  });
});
