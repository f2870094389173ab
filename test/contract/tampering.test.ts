/** Every field of every envelope, altered and taken away, has its code (test/vectors/tampered.json): a field that the table does not have fails the test, and so does one that it has in vain. */
import { generateKeyPairSync, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Authority, TrustRoot, TrustStore } from "@hullmark/verifier/core/policy/types";
import { type Artefact, type ArtefactVerdict, SIGN_PREDICATE_TYPE, SLSA_VSA, verifyProvenance } from "@hullmark/verifier/core/provenance/index";
import { decode, Tagged } from "cborg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { question, verifiers } from "../fakes/judging.ts";
import { cbor, NotaryCa, notaryPayload, signNotary, trustStoreOf } from "../fakes/notary.ts";
import { PAYLOAD_TYPE, preAuthEncoding, type SignOptions, TestSigstore } from "../fakes/sigstore/index.ts";
import { FakeTsa } from "../fakes/sigstore/tsa.ts";
import { tamper } from "../fakes/tamper.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;
const PERSON = { subject: "ann@acme.example", issuer: "https://accounts.example" };
const always = { notBeforeMs: undefined, notAfterMs: undefined };
const bare = generateKeyPairSync("ec", { namedCurve: "P-256" });
let sigstore: TestSigstore;
let ca: NotaryCa;
let tsa: FakeTsa;
let root: TrustRoot;
let store: TrustStore;
let authorities: readonly Authority[];

beforeAll(async () => {
  sigstore = await TestSigstore.create();
  ca = await NotaryCa.create();
  tsa = await FakeTsa.create();
  root = { name: "test", json: sigstore.trustedRoot(), requireLog: true, requireSct: true };
  store = trustStoreOf(ca, tsa);
  authorities = [
    { name: "ann", signers: [{ ...always, kind: "keyless", trustRoot: "test", issuer: PERSON.issuer, subject: { exact: PERSON.subject }, extensions: {} }] },
    { name: "release", signers: [{ ...always, kind: "notary", trustStore: "acme", subject: { CN: "release" } }] },
    { name: "key", signers: [{ ...always, kind: "key", publicKeyPem: bare.publicKey.export({ type: "spki", format: "pem" }).toString() }] },
  ];
});
afterAll(() => {
  sigstore?.close();
  tsa?.close();
});

type Content = Artefact extends infer A ? (A extends Artefact ? Omit<A, "repository" | "manifestDigest" | "foundUnder" | "layout"> : never) : never;

function verdictOf(content: Content): ArtefactVerdict {
  const common = { repository: "registry.example/app", manifestDigest: `sha256:${"11".repeat(32)}`, foundUnder: DIGEST, layout: "referrer" } as const;
  const asked = { subjects: [DIGEST], artefacts: [{ ...common, ...content } as Artefact], authorities, trustRoots: [root], trustStores: [store] };
  const verdict = verifyProvenance(question({ ...asked, atMs: Date.now() }), verifiers);
  const [first] = verdict.artefacts;
  if (!first) throw new Error("no verdict");
  expect(verdict.satisfied).toBe(first.code === "signature");
  return first;
}

/** `code/problem`. */
function codeOf(content: Content): string {
  const { code, problem } = verdictOf(content);
  return problem === undefined ? code : `${code}/${problem}`;
}
const statement = (predicateType: string, predicate: object = {}) =>
  Buffer.from(JSON.stringify({ _type: "https://in-toto.io/Statement/v1", subject: [{ digest: { sha256: DIGEST.slice(7) } }], predicateType, predicate }));
/** Field → what comes of it altered, and of it taken away. */
type Table = Readonly<Record<string, readonly [string, string]>>;
const expected = JSON.parse(readFileSync(new URL("../vectors/tampered.json", import.meta.url), "utf8")) as Readonly<Record<string, Table>>;

/** What may be altered without being noticed, since nothing is read from it. */
const UNREAD: readonly RegExp[] = [
  // A hint at the key: which one it is, the signature says.
  /^(dsse|summary) signatures\.0\.keyid/,
  // A log of version 2 dates nothing, and its proof has the index.
  /^bundle 0\.3, log 2 verificationMaterial\.tlogEntries\.0\.(logIndex|integratedTime)$/,
  // Without a timestamp no time is proven, and the certificate is valid now.
  /^(jws header\.io\.cncf\.notary\.timestampSignature|cose unprotected\.1\.label)$/,
];

/** Each field once; a proof has as many hashes as its log makes it. */
function expectTable(name: string, whole: unknown, judge: (tampered: unknown) => string, good = "signature"): void {
  expect(judge(whole)).toBe(good);
  const found = tamper(whole).map(({ name: field, altered, removed }) => [field.replace(/(hashes)\.\d+$/, "$1"), [judge(altered), judge(removed)]] as const);
  const table: Table = Object.fromEntries(found);
  expect(table).toEqual(expected[name]);
  for (const [field, codes] of found) {
    expect(codes, field).toEqual(table[field]);
    if (codes.includes(good))
      expect(
        UNREAD.some((each) => each.test(`${name} ${field}`)),
        `${name} ${field}`,
      ).toBe(true);
  }
}

test.each<[string, SignOptions]>([
  ["bundle 0.1", { version: "0.1" }],
  ["bundle 0.2", { version: "0.2" }],
  ["bundle 0.3", { timestamp: true }],
  ["bundle 0.3, log 2", { log: 2, timestamp: true }],
])("%s", async (name, options) => {
  const judge = (bundle: unknown) => codeOf({ format: "bundle", bundle: Buffer.from(JSON.stringify(bundle)) });
  expectTable(name, await sigstore.bundle(statement(SIGN_PREDICATE_TYPE), PERSON, options), judge);
});

test("cosign's tag scheme, with a log's promise and a timestamp in annotations", async () => {
  const payload = Buffer.from(
    JSON.stringify({ critical: { identity: {}, image: { "docker-manifest-digest": DIGEST }, type: "cosign container image signature" } }),
  );
  const signed = await sigstore.tagSignature(payload, PERSON, { timestamp: true });
  const whole = {
    ...{ payload: signed.payload.toString("base64"), signature: signed.signature, certificate: signed.annotations.certificate },
    bundle: JSON.parse(signed.annotations.rekorBundle ?? "") as object,
    timestamp: JSON.parse(signed.annotations.timestamp ?? "") as object,
  };
  const judge = (tampered: unknown) => {
    const { payload: base64 = "", signature, certificate, bundle, timestamp } = tampered as Partial<typeof whole>;
    const annotations = { certificate, rekorBundle: bundle && JSON.stringify(bundle), timestamp: timestamp && JSON.stringify(timestamp) };
    return codeOf({ format: "simple-signing", payload: Buffer.from(base64, "base64"), signature, annotations } as Content);
  };
  expectTable("tag", whole, judge);
});

test.each([
  ["dsse", SIGN_PREDICATE_TYPE, "signature"],
  ["summary", SLSA_VSA, "attestation"],
])("%s: an envelope by a bare key", (name, type, good) => {
  const payload = statement(type, { verificationResult: "PASSED" });
  const sig = sign("sha256", preAuthEncoding(PAYLOAD_TYPE, payload), bare.privateKey).toString("base64");
  const envelope = { payload: payload.toString("base64"), payloadType: PAYLOAD_TYPE, signatures: [{ sig, keyid: "k" }] };
  const judge = (tampered: unknown) => codeOf({ format: "dsse", envelope: Buffer.from(JSON.stringify(tampered)) });
  expectTable(name, envelope, judge, good);
});

test("JWS of the Notary Project, with a timestamp and an expiry", async () => {
  const { bytes, mediaType } = signNotary(await ca.identity(), notaryPayload(DIGEST), {
    expiry: Math.floor(Date.now() / 1000) + 3600,
    token: (signature) => tsa.token(signature),
  });
  const json = JSON.parse(bytes.toString()) as { protected: string };
  const whole = { ...json, protected: JSON.parse(Buffer.from(json.protected, "base64url").toString()) as object };
  const judge = (tampered: unknown) => {
    const inner = tampered as typeof whole;
    const head = Buffer.from(JSON.stringify(inner.protected)).toString("base64url");
    return codeOf({ format: "notary", mediaType, envelope: Buffer.from(JSON.stringify({ ...inner, protected: head })) });
  };
  expectTable("jws", whole, judge);
});

test("COSE of the Notary Project, with a timestamp and an expiry", async () => {
  const { bytes, mediaType } = signNotary(await ca.identity(), notaryPayload(DIGEST), {
    ...{ format: "cose", expiry: Math.floor(Date.now() / 1000) + 3600 },
    token: (signature) => tsa.token(signature),
  });
  const tags = Tagged.preserve(18, 1);
  type Parts = readonly [Uint8Array, Map<unknown, unknown>, Uint8Array, Uint8Array];
  const [head, unprotected, payload, signature] = (decode(bytes, { useMaps: true, tags }) as Tagged).value as Parts;
  const whole = {
    ...{ protected: toJson(decode(head, { useMaps: true, tags })), unprotected: toJson(unprotected) },
    ...{ payload: toJson(payload), signature: toJson(signature) },
  };
  const judge = (tampered: unknown) => {
    const parts = tampered as typeof whole;
    const protectedBytes = cbor(fromJson(parts.protected));
    const rest = [fromJson(parts.unprotected), fromJson(parts.payload), fromJson(parts.signature)];
    return codeOf({ format: "notary", mediaType, envelope: cbor(new Tagged(18, [protectedBytes, ...rest])) });
  };
  expectTable("cose", whole, judge);
});

/** CBOR as JSON: bytes are `hex`, times `time`, arrays `list`, maps lists of label and content. */
function toJson(value: unknown): unknown {
  if (value instanceof Map) return [...value].map(([label, content]) => ({ label, content: toJson(content) }));
  if (value instanceof Uint8Array) return { hex: Buffer.from(value).toString("hex") };
  if (value instanceof Tagged) return { time: value.value };
  return Array.isArray(value) ? { list: value.map(toJson) } : value;
}

function fromJson(value: unknown): unknown {
  if (Array.isArray(value))
    return new Map((value as { label: unknown; content: unknown }[]).map(({ label, content }) => [label ?? null, fromJson(content) ?? null]));
  if (typeof value !== "object" || value === null) return value ?? null;
  const { hex, time, list } = value as { hex?: string; time?: number; list?: unknown[] };
  if (time !== undefined) return new Tagged(1, time);
  return list ? list.map(fromJson) : Buffer.from(hex ?? "", "hex");
}

test("of a timestamp token, whatever byte is altered: it does not hold, or proves the same time", async () => {
  const { bytes, mediaType } = signNotary(await ca.identity(), notaryPayload(DIGEST), { token: (signature) => tsa.token(signature) });
  const json = JSON.parse(bytes.toString()) as { header: Record<string, string> };
  const name = "io.cncf.notary.timestampSignature";
  const token = Buffer.from(json.header[name] ?? "", "base64");
  const timeOf = (changed: Buffer): number | string => {
    const envelope = Buffer.from(JSON.stringify({ ...json, header: { ...json.header, [name]: changed.toString("base64") } }));
    const { code, problem, vouchers } = verdictOf({ format: "notary", mediaType, envelope });
    return code === "signature" ? (vouchers[0]?.signedAtMs ?? "no time") : `${code}/${problem}`;
  };
  const good = timeOf(token);
  expect(good).toBeTypeOf("number");
  let broken = 0;
  for (let at = 0; at < token.length; at += 9) {
    const changed = Buffer.from(token);
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    const found = timeOf(changed);
    if (found === "altered/time") broken++;
    else expect(found, `byte ${at}`).toBe(good);
  }
  // What is not held is the certificates that it brings and nobody needs.
  expect(broken).toBeGreaterThan(20);
});
