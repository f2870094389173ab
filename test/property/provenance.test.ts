/** No altered byte, no added artefact and no garbage ever makes an image signed. From recorded signatures of released cosign and our own. */
import { generateKeyPairSync, sign as nodeSign } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { type Artefact, type ProvenanceVerdict, SLSA_V1, verifyProvenance } from "@hullmark/verifier/core/provenance/index";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AT_MS, authority, question, verifiers } from "../fakes/judging.ts";

interface Vector {
  readonly source: string;
  readonly publicKeyPem: string;
  readonly subject: string;
  readonly format: "simple-signing" | "dsse" | "bundle";
  readonly layout: Artefact["layout"];
  readonly manifestDigest: string;
  readonly contentBase64: string;
  readonly signature?: string;
  readonly expected: "signature" | "attestation";
}

interface Envelope {
  payload: string;
  payloadType: string;
  signatures: { sig: string }[];
}

const FOLDER = new URL("../vectors/provenance/", import.meta.url);
const VECTORS: readonly [string, Vector][] = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".json"))
  .map((name) => [name, JSON.parse(readFileSync(new URL(name, FOLDER), "utf8")) as Vector]);

function artefactOf(vector: Vector, content: Buffer, signature = vector.signature): Artefact {
  const { manifestDigest, layout, subject } = vector;
  const common = { repository: "registry.example/app", manifestDigest, foundUnder: subject, layout };
  if (vector.format === "simple-signing") return { ...common, format: "simple-signing", payload: content, signature };
  return vector.format === "dsse" ? { ...common, format: "dsse", envelope: content } : { ...common, format: "bundle", bundle: content };
}

function judge(vector: Vector, artefacts: readonly Artefact[], subject = vector.subject): ProvenanceVerdict {
  return verifyProvenance(question({ subjects: [subject], artefacts, authorities: [authority("release", vector.publicKeyPem)] }), verifiers);
}

const content = (vector: Vector) => Buffer.from(vector.contentBase64, "base64");
const holds = (verdict: ProvenanceVerdict) => verdict.artefacts.some(({ code }) => code === "signature" || code === "attestation");
const flipped = (bytes: Buffer, at: number, mask: number) => {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ mask;
  return copy;
};

/** What a content says once decoded; undefined where it cannot be read. */
function envelopeOf(vector: Vector, bytes: Buffer): Envelope | undefined {
  try {
    const json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as Envelope & { dsseEnvelope?: Envelope };
    return vector.format === "bundle" ? json.dsseEnvelope : json;
  } catch {
    return undefined;
  }
}
const meaning = (envelope: Envelope | undefined) =>
  envelope && JSON.stringify([envelope.payload, envelope.payloadType, envelope.signatures?.map(({ sig }) => sig)]);

/** The artefact with its payload and signature bytes changed, everything else as it was. */
function rebuilt(vector: Vector, change: (payload: Buffer, signature: Buffer) => [Buffer, Buffer]): Artefact {
  if (vector.format === "simple-signing") {
    const [payload, signature] = change(content(vector), Buffer.from(vector.signature ?? "", "base64"));
    return artefactOf(vector, payload, signature.toString("base64"));
  }
  const json = JSON.parse(content(vector).toString()) as Envelope & { dsseEnvelope: Envelope };
  const envelope = vector.format === "bundle" ? json.dsseEnvelope : json;
  const [first] = envelope.signatures;
  if (!first) throw new Error("a vector without signature");
  const [payload, signature] = change(Buffer.from(envelope.payload, "base64"), Buffer.from(first.sig, "base64"));
  envelope.payload = payload.toString("base64");
  first.sig = signature.toString("base64");
  return artefactOf(vector, Buffer.from(JSON.stringify(json)));
}

/** DSSE protocol.md, transcribed. */
function preAuthEncoding(type: string, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `), payload]);
}

test("the vectors are there", () => expect(VECTORS.length).toBeGreaterThanOrEqual(7));

describe.each(VECTORS)("%s", (_, vector) => {
  test("holds as it was recorded, for its own subject only", () => {
    const verdict = judge(vector, [artefactOf(vector, content(vector))]);
    expect(verdict.artefacts).toMatchObject([{ code: vector.expected, authorities: ["release"] }]);
    expect(verdict.status).toBe(vector.expected === "signature" ? "signed" : "attestation-only");
    expect(judge(vector, [artefactOf(vector, content(vector))], `sha256:${"0".repeat(64)}`)).toMatchObject({ status: "other-digest", signedBy: [] });
  });

  test("with any byte of payload or signature changed, by one bit or all, holds no more", () => {
    const sizes: number[] = [];
    rebuilt(vector, (payload, signature) => {
      sizes.push(payload.length, signature.length);
      return [payload, signature];
    });
    const [payloadBytes = 0, signatureBytes = 0] = sizes;
    expect(holds(judge(vector, [rebuilt(vector, (payload, signature) => [payload, signature])]))).toBe(true);
    for (let at = 0; at < payloadBytes + signatureBytes; at++) {
      for (const mask of [1 << (at % 8), 0xff]) {
        const artefact = rebuilt(vector, (payload, signature) =>
          at < payloadBytes ? [flipped(payload, at, mask), signature] : [payload, flipped(signature, at - payloadBytes, mask)],
        );
        if (holds(judge(vector, [artefact]))) throw new Error(`byte ${at} ^ ${mask} still holds`);
      }
    }
  });

  test("with a byte of the file changed, holds only if it still says exactly the same", () => {
    const original = content(vector);
    const said = meaning(envelopeOf(vector, original));
    fc.assert(
      fc.property(fc.nat(original.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const changed = flipped(original, at, mask);
        if (!holds(judge(vector, [artefactOf(vector, changed)]))) return true;
        return vector.format !== "simple-signing" && meaning(envelopeOf(vector, changed)) === said;
      }),
      { numRuns: 300 },
    );
  });

  test("cut, doubled or spliced, never throws and never holds", () => {
    const original = content(vector);
    fc.assert(
      fc.property(fc.nat(original.length - 1), fc.uint8Array({ minLength: 1, maxLength: 64 }), (at, insert) => {
        const cut = artefactOf(vector, original.subarray(0, at));
        const spliced = Buffer.concat([original.subarray(0, at), insert, original.subarray(at)]);
        if (holds(judge(vector, [cut]))) return false;
        return (
          !holds(judge(vector, [artefactOf(vector, spliced)])) ||
          (vector.format !== "simple-signing" && meaning(envelopeOf(vector, spliced)) === meaning(envelopeOf(vector, original)))
        );
      }),
      { numRuns: 100 },
    );
  });

  test("with base64 that merely decodes to the same is refused: one encoding for each content", () => {
    const tricks: ((text: string) => string)[] = [
      (text) => `${text}\n`,
      (text) => ` ${text}`,
      (text) => text.replace(/=+$/, ""),
      (text) => `${text}=`,
      (text) => text.replace(/.$/, "$&!"),
    ];
    for (const trick of tricks) {
      if (vector.format === "simple-signing") {
        const changed = trick(vector.signature ?? "");
        if (changed !== vector.signature) expect(holds(judge(vector, [artefactOf(vector, content(vector), changed)]))).toBe(false);
        continue;
      }
      const json = JSON.parse(content(vector).toString()) as Envelope & { dsseEnvelope: Envelope };
      const envelope = vector.format === "bundle" ? json.dsseEnvelope : json;
      const before = envelope.payload;
      envelope.payload = trick(before);
      if (envelope.payload !== before) expect(holds(judge(vector, [artefactOf(vector, Buffer.from(JSON.stringify(json)))]))).toBe(false);
    }
  });

  test("beside any garbage keeps its verdict, and garbage alone is never signed", () => {
    const garbage = fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      fc.json().map((text) => Buffer.from(text)),
      fc
        .record({
          payload: fc.base64String(),
          payloadType: fc.constant("application/vnd.in-toto+json"),
          signatures: fc.array(fc.record({ sig: fc.base64String({ minLength: 4 }) })),
        })
        .map((value) => Buffer.from(JSON.stringify(value))),
    );
    const format = fc.constantFrom("simple-signing", "dsse", "bundle");
    fc.assert(
      fc.property(fc.array(fc.tuple(format, garbage, fc.option(fc.base64String(), { nil: undefined })), { maxLength: 5 }), (items) => {
        const added = items.map(([kind, bytes, signature]) => artefactOf({ ...vector, format: kind as Vector["format"] }, bytes, signature));
        if (holds(judge(vector, added))) return false;
        return holds(judge(vector, [...added, artefactOf(vector, content(vector))]));
      }),
      { numRuns: 60 },
    );
  });
});

describe("what decides beyond the signature", () => {
  const [, vector] = VECTORS.find(([name]) => name === "cosign-v3-sign.json") ?? [];
  if (!vector) throw new Error("no vector");
  const signed = artefactOf(vector, content(vector));
  const base = { subjects: [vector.subject], artefacts: [signed] };

  test("a key outside its validity does not count, at either end, both inclusive", () => {
    const at = (notBeforeMs: number | undefined, notAfterMs: number | undefined) =>
      verifyProvenance(question({ ...base, authorities: [authority("release", vector.publicKeyPem, { notBeforeMs, notAfterMs })] }), verifiers).status;
    expect(at(AT_MS, AT_MS)).toBe("signed");
    expect(at(AT_MS + 1, undefined)).toBe("wrong-key");
    expect(at(undefined, AT_MS - 1)).toBe("wrong-key");
  });

  test("what could not be fetched makes a missing signature unknown, and leaves a found one", () => {
    const authorities = [authority("release", vector.publicKeyPem)];
    const incomplete = ["referrers: the registry could not be reached"];
    expect(verifyProvenance(question({ ...base, authorities, incomplete }), verifiers).status).toBe("signed");
    expect(verifyProvenance(question({ ...base, artefacts: [], authorities, incomplete }), verifiers)).toMatchObject({ status: "unknown", satisfied: false });
  });

  test("a moved tag is said of what is not signed, and only told of what is", () => {
    const authorities = [authority("release", vector.publicKeyPem)];
    const tag = { status: "moved", reference: "registry.example/app:v1", names: `sha256:${"a".repeat(64)}` } as const;
    expect(verifyProvenance(question({ ...base, artefacts: [], authorities, tag }), verifiers).status).toBe("moved-tag");
    const verdict = verifyProvenance(question({ ...base, authorities, tag }), verifiers);
    expect(verdict.status).toBe("signed");
    expect(verdict.text).toContain("registry.example/app:v1 now names");
  });

  test("requirements that cannot be judged are errors, never verdicts", () => {
    const authorities = [authority("release", vector.publicKeyPem)];
    const ask = (overrides: Parameters<typeof question>[0]) => () => verifyProvenance(question({ ...base, authorities, ...overrides }), verifiers);
    expect(ask({ signatures: { authorities: ["nobody"], threshold: 1 } })).toThrow("which has no key");
    expect(ask({ signatures: { authorities: ["release"], threshold: 0 } })).toThrow("cannot be required");
    expect(ask({ signatures: { authorities: ["release"], threshold: 2 } })).toThrow("cannot be required");
    expect(ask({ attestations: [{ predicateType: SLSA_V1, authorities: [], threshold: 1, maxAgeSeconds: undefined, where: undefined }] })).toThrow(
      "cannot be required",
    );
    expect(ask({ subjects: [] })).toThrow("no digest");
    expect(ask({ authorities: [authority("release", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")] })).toThrow(
      "the key of authority release",
    );
  });

  test("weak and foreign kinds of keys are refused", () => {
    const pem = (pair: { publicKey: import("node:crypto").KeyObject }) => pair.publicKey.export({ type: "spki", format: "pem" }).toString();
    const refused = [
      generateKeyPairSync("rsa", { modulusLength: 1024 }),
      generateKeyPairSync("ec", { namedCurve: "secp256k1" }),
      generateKeyPairSync("x25519"),
    ];
    for (const pair of refused) expect(() => verifiers.sigstore.key(pem(pair))).toThrow("want ECDSA");
    expect(() => verifiers.sigstore.key(pem(generateKeyPairSync("ec", { namedCurve: "P-256" })).repeat(2))).toThrow("not one public key");
  });

  test.each(["ed25519", "p384-sha256", "p384-sha384", "rsa"] as const)("an envelope signed with %s verifies with its key and no other", (kind) => {
    const pair =
      kind === "ed25519"
        ? generateKeyPairSync("ed25519")
        : kind === "rsa"
          ? generateKeyPairSync("rsa", { modulusLength: 2048 })
          : generateKeyPairSync("ec", { namedCurve: "P-384" });
    const digest = kind === "ed25519" ? null : kind === "p384-sha384" ? "sha384" : "sha256";
    const type = "application/vnd.in-toto+json";
    const payload = Buffer.from(
      JSON.stringify({
        _type: "https://in-toto.io/Statement/v1",
        subject: [{ digest: { sha256: vector.subject.slice(7) } }],
        predicateType: "https://sigstore.dev/cosign/sign/v1",
        predicate: {},
      }),
    );
    const sig = nodeSign(digest, preAuthEncoding(type, payload), pair.privateKey).toString("base64");
    const envelope = Buffer.from(JSON.stringify({ payloadType: type, payload: payload.toString("base64"), signatures: [{ sig }] }));
    const artefacts = [artefactOf({ ...vector, format: "dsse" }, envelope)];
    const own = authority("own", pair.publicKey.export({ type: "spki", format: "pem" }).toString());
    expect(verifyProvenance(question({ ...base, artefacts, authorities: [own] }), verifiers).status).toBe("signed");
    expect(verifyProvenance(question({ ...base, artefacts, authorities: [authority("release", vector.publicKeyPem)] }), verifiers).status).toBe("wrong-key");
    const message = verifiers.sigstore.readMessage(payload, nodeSign(digest, payload, pair.privateKey).toString("base64"));
    expect(verifiers.sigstore.verifyByKey(message, verifiers.sigstore.key(pair.publicKey.export({ type: "spki", format: "pem" }).toString()))).toBe(true);
  });
});
