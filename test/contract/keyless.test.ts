/** Signatures by certificate, against a working certificate authority, logs of both versions and OpenSSL's timestamp authority; every field of every envelope altered. */
import type { Authority, KeylessSigner, Revocation, TrustRoot } from "@hullmark/verifier/core/policy/types";
import {
  type Artefact,
  type ProvenanceQuestion,
  type ProvenanceVerdict,
  SIGN_PREDICATE_TYPE,
  SLSA_V1,
  verifyProvenance,
} from "@hullmark/verifier/core/provenance/index";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { question, verifiers } from "../fakes/judging.ts";
import { type BundleJson, PAYLOAD_TYPE, type Person, type SignOptions, type TagSignature, TestSigstore } from "../fakes/sigstore/index.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;
const OTHER = `sha256:${"cd".repeat(32)}`;
const ISSUER = "https://token.actions.githubusercontent.com";
const WORKFLOW = "https://github.com/acme/shop/.github/workflows/release.yml@refs/tags/v1";
const RELEASE: Person = { subject: WORKFLOW, issuer: ISSUER, extensions: { 11: "github-hosted", 12: "https://github.com/acme/shop", 14: "refs/tags/v1" } };
const ANN: Person = { subject: "ann@acme.example", issuer: "https://accounts.example" };
let sigstore: TestSigstore;
let root: TrustRoot;

beforeAll(async () => {
  sigstore = await TestSigstore.create();
  root = { name: "test", json: sigstore.trustedRoot(), requireLog: true, requireSct: true };
});
afterAll(() => sigstore?.close());

const statement = (digest: string, predicateType: string = SIGN_PREDICATE_TYPE, predicate: object = {}) =>
  Buffer.from(JSON.stringify({ _type: "https://in-toto.io/Statement/v1", subject: [{ digest: { sha256: digest.slice(7) } }], predicateType, predicate }));
const simpleSigning = (digest: string) =>
  Buffer.from(
    JSON.stringify({
      critical: { identity: { "docker-reference": "" }, image: { "docker-manifest-digest": digest }, type: "cosign container image signature" },
    }),
  );

const common = { repository: "registry.example/app", manifestDigest: `sha256:${"11".repeat(32)}`, foundUnder: DIGEST };
const asBundle = (bundle: unknown): Artefact => ({ ...common, layout: "referrer", format: "bundle", bundle: Buffer.from(JSON.stringify(bundle)) });
const asTag = ({ payload, signature, annotations }: TagSignature): Artefact => ({
  ...common,
  layout: "cosign-tag",
  format: "simple-signing",
  payload,
  signature,
  annotations,
});

const signer = (overrides: Partial<KeylessSigner> = {}): KeylessSigner => ({
  ...{ kind: "keyless", trustRoot: "test", issuer: ISSUER, subject: { exact: WORKFLOW }, extensions: {} },
  ...{ notBeforeMs: undefined, notAfterMs: undefined },
  ...overrides,
});
const release = (overrides: Partial<KeylessSigner> = {}): Authority => ({ name: "release", signers: [signer(overrides)] });

function judge(artefacts: readonly Artefact[], overrides: Partial<ProvenanceQuestion> = {}): ProvenanceVerdict {
  return verifyProvenance(question({ subjects: [DIGEST], artefacts, authorities: [release()], trustRoots: [root], atMs: Date.now(), ...overrides }), verifiers);
}
const sign = async (person: Person, options?: SignOptions) => asBundle(await sigstore.bundle(statement(DIGEST), person, options));

describe("a signature by certificate holds", () => {
  test.each<[string, SignOptions]>([
    ["bundle v0.3, Rekor v1", {}],
    ["bundle v0.3, Rekor v1 and a timestamp", { timestamp: true }],
    ["bundle v0.3, Rekor v2 and a timestamp", { log: 2, timestamp: true }],
    ["bundle v0.2", { version: "0.2" }],
    ["bundle v0.1", { version: "0.1" }],
  ])("%s", async (_, options) => {
    const verdict = judge([await sign(RELEASE, options)]);
    expect(verdict.artefacts[0]?.text).toBe(`signature of ${DIGEST} by release`);
    expect(verdict).toMatchObject({ status: "signed", satisfied: true, signedBy: ["release"], refusals: [] });
    expect(verdict.artefacts).toMatchObject([{ code: "signature", identity: { subject: WORKFLOW, issuer: ISSUER } }]);
    expect(Math.abs((verdict.artefacts[0]?.vouchers[0]?.signedAtMs ?? 0) - Date.now())).toBeLessThan(60_000);
  });

  test.each<[string, SignOptions]>([
    ["the tag scheme with Rekor's promise in annotations", {}],
    ["the tag scheme with a timestamp too", { timestamp: true }],
  ])("%s", async (_, options) => {
    const verdict = judge([asTag(await sigstore.tagSignature(simpleSigning(DIGEST), RELEASE, options))]);
    expect(verdict).toMatchObject({ status: "signed", signedBy: ["release"], artefacts: [{ code: "signature" }] });
  });

  test("long after the certificate has run out: the log says when it was used", async () => {
    const atMs = Date.now() - 30 * 86_400_000;
    expect(judge([await sign(RELEASE, { atMs })])).toMatchObject({ status: "signed" });
  });

  test("an attestation alone is no signature", async () => {
    const attested = asBundle(await sigstore.bundle(statement(DIGEST, SLSA_V1, {}), RELEASE));
    expect(judge([attested])).toMatchObject({ status: "attestation-only", satisfied: false });
  });
});

describe("who signed", () => {
  test("is compared exactly: subject, issuer, extensions", async () => {
    const artefacts = [await sign(RELEASE)];
    const status = (overrides: Partial<KeylessSigner>) => judge(artefacts, { authorities: [release(overrides)] }).status;
    expect(status({ extensions: { sourceRepositoryURI: "https://github.com/acme/shop", runnerEnvironment: "github-hosted" } })).toBe("signed");
    expect(status({ subject: { glob: "https://github.com/acme/*/.github/workflows/release.yml@refs/tags/*" } })).toBe("signed");
    for (const wrong of [
      { subject: { exact: `${WORKFLOW}.evil` } },
      { subject: { exact: WORKFLOW.slice(0, -1) } },
      { subject: { glob: "https://github.com/acme/*" } },
      { issuer: `${ISSUER}/` },
      { extensions: { sourceRepositoryURI: "https://github.com/acme/shop2" } },
      { extensions: { buildTrigger: "push" } },
    ])
      expect(status(wrong)).toBe("wrong-key");
  });

  test("a stranger is named, and what would do is said", async () => {
    const verdict = judge([await sign(ANN)], { rule: "shop" });
    expect(verdict).toMatchObject({ status: "wrong-key", signedBy: [], artefacts: [{ code: "wrong-identity", identity: { subject: ANN.subject } }] });
    expect(verdict.text).toBe(
      `carries a signature, but not by release: it is by ann@acme.example (issuer https://accounts.example), who is no authority here (rule shop)`,
    );
    expect(verdict.refusals).toEqual([
      {
        requirement: "signatures: 1 of release",
        found: `${common.manifestDigest.slice(0, 19)}… is by ann@acme.example (issuer https://accounts.example), who is no authority here`,
        remedy: `sign ${DIGEST} by release as ${WORKFLOW} (issuer ${ISSUER})`,
      },
    ]);
  });

  test("one person under two names is one vote; two persons are two", async () => {
    const both = [
      { name: "a", signers: [signer()] },
      { name: "b", signers: [signer({ subject: { glob: "https://github.com/acme/**" } })] },
      { name: "ann", signers: [signer({ issuer: ANN.issuer, subject: { glob: "*@acme.example" } })] },
    ];
    const asks = (names: string[], threshold: number) => ({ authorities: both, signatures: { authorities: names, threshold } });
    const one = await sign(RELEASE);
    expect(judge([one, await sign(RELEASE)], asks(["a", "b"], 2))).toMatchObject({ status: "wrong-key", signedBy: ["a", "b"] });
    expect(judge([one], asks(["a", "b", "ann"], 2)).status).toBe("wrong-key");
    expect(judge([one, await sign(ANN)], asks(["a", "b", "ann"], 2)).status).toBe("signed");
  });

  test("an authority with an old and a new identity is one authority", async () => {
    const now = Date.now();
    const rotating = {
      name: "release",
      signers: [signer({ issuer: ANN.issuer, subject: { exact: ANN.subject }, notAfterMs: now - 86_400_000 }), signer({ notBeforeMs: now - 2 * 86_400_000 })],
    };
    const status = async (person: Person, atMs: number) => judge([await sign(person, { atMs })], { authorities: [rotating] }).status;
    expect(await status(ANN, now - 3 * 86_400_000)).toBe("signed");
    expect(await status(ANN, now - 1000)).toBe("wrong-key");
    expect(await status(RELEASE, now - 1000)).toBe("signed");
    expect(await status(RELEASE, now - 3 * 86_400_000)).toBe("wrong-key");
  });
});

describe("a revocation", () => {
  const revoke = (what: Revocation["what"], sinceMs?: number): readonly Revocation[] => [{ reason: "token stolen", sinceMs, what }];
  const identity: Revocation["what"] = { kind: "identity", issuer: ISSUER, subject: { exact: WORKFLOW } };

  test("of an identity takes all its signatures, or with a date those that are not proven older", async () => {
    const now = Date.now();
    const artefacts = [await sign(RELEASE, { atMs: now - 10 * 86_400_000 })];
    const at = (sinceMs?: number) => judge(artefacts, { revocations: revoke(identity, sinceMs) });
    expect(at().status).toBe("revoked");
    expect(at().text).toContain("token stolen");
    expect(at(now - 11 * 86_400_000).status).toBe("revoked");
    expect(at(now - 9 * 86_400_000).status).toBe("signed");
    expect(judge(artefacts, { revocations: revoke({ ...identity, issuer: "https://else.example" } as Revocation["what"]) }).status).toBe("signed");
  });

  test("of a person holds in whatever case the name is written, and whoever has two cases has one vote", async () => {
    const shouting = { ...ANN, subject: "ANN@acme.example" };
    const anybody = { name: "team", signers: [signer({ issuer: ANN.issuer, subject: { glob: "*@acme.example" } })] };
    const artefacts = [await sign(shouting)];
    const status = (revocations: readonly Revocation[]) => judge(artefacts, { authorities: [anybody], revocations }).status;
    expect(status([])).toBe("signed");
    expect(status(revoke({ kind: "identity", issuer: ANN.issuer, subject: { exact: ANN.subject } }))).toBe("revoked");
    expect(status(revoke({ kind: "identity", issuer: ANN.issuer, subject: { glob: "Ann@*.example" } }))).toBe("revoked");
    const also = { name: "ann", signers: [signer({ issuer: ANN.issuer, subject: { exact: ANN.subject } })] };
    const signatures = { authorities: ["team", "ann"], threshold: 2 };
    expect(judge([...artefacts, await sign(ANN)], { authorities: [anybody, also], signatures }).status).toBe("wrong-key");
  });

  test("of a digest, manifest or config, bars the image whoever signed it", async () => {
    const artefacts = [await sign(RELEASE)];
    expect(judge(artefacts, { revocations: revoke({ kind: "digest", digest: DIGEST }) })).toMatchObject({ status: "revoked", satisfied: false });
    expect(judge(artefacts, { configDigest: OTHER, revocations: revoke({ kind: "digest", digest: OTHER }) }).status).toBe("revoked");
    expect(judge(artefacts, { revocations: revoke({ kind: "digest", digest: OTHER }) }).status).toBe("signed");
  });

  test("of a builder or of commits bars what was built so", async () => {
    const predicate = {
      buildDefinition: {
        externalParameters: { workflow: { repository: "https://github.com/acme/shop.git", ref: "refs/tags/v1" } },
        resolvedDependencies: [
          { uri: "git+https://github.com/acme/lib@refs/tags/v3", digest: { gitCommit: "ABCD".repeat(10) } },
          { uri: "git+https://github.com/acme/shop.git", digest: { gitCommit: "3e1f".repeat(10) } },
        ],
      },
      runDetails: { builder: { id: "https://builder.example/1" } },
    };
    const artefacts = [await sign(RELEASE), asBundle(await sigstore.bundle(statement(DIGEST, SLSA_V1, predicate), RELEASE))];
    const status = (what: Revocation["what"], sinceMs?: number) => judge(artefacts, { revocations: revoke(what, sinceMs) }).status;
    expect(judge(artefacts).status).toBe("signed");
    expect(status({ kind: "builder", builder: "https://builder.example/1" })).toBe("revoked");
    expect(status({ kind: "builder", builder: "https://builder.example/1" }, Date.now() + 60_000)).toBe("signed");
    expect(status({ kind: "builder", builder: "https://builder.example/2" })).toBe("signed");
    expect(status({ kind: "commits", repository: "https://github.com/acme/shop", commits: ["3e1f".repeat(10)] })).toBe("revoked");
    expect(status({ kind: "commits", repository: "https://github.com/acme/other", commits: ["3e1f".repeat(10)] })).toBe("signed");
    expect(status({ kind: "builder", builder: "https://Builder.example/1/" })).toBe("revoked");
    expect(status({ kind: "commits", repository: "https://github.com/acme/lib", commits: ["abcd".repeat(10)] })).toBe("revoked");
    expect(status({ kind: "commits", repository: "https://github.com/acme/shop", commits: ["abcd".repeat(10)] })).toBe("signed");
    // Neither does a rotation forget: who has attested it may sign no more, and somebody else has signed.
    const [, attestation] = artefacts;
    const old = { name: "old", signers: [signer({ notAfterMs: Date.now() - 86_400_000 })] };
    const ann = { name: "ann", signers: [signer({ issuer: ANN.issuer, subject: { exact: ANN.subject } })] };
    const rotated = [await sign(ANN), ...(attestation ? [attestation] : [])];
    const commits: Revocation["what"] = { kind: "commits", repository: "https://github.com/acme/shop", commits: ["3e1f".repeat(10)] };
    expect(judge(rotated, { authorities: [old, ann] }).status).toBe("signed");
    expect(judge(rotated, { authorities: [old, ann], revocations: revoke(commits) }).status).toBe("revoked");
    // What names it may be what the registry did not give; what was given tells already.
    const revocations = revoke({ kind: "builder", builder: "https://builder.example/2" });
    const incomplete = ["the list of attestations: the registry fails"];
    const [signature] = artefacts;
    const unsure = judge(signature ? [signature] : [], { revocations, incomplete });
    expect(unsure).toMatchObject({ status: "unknown", satisfied: false, refusals: [{ found: expect.stringContaining("the registry fails") }] });
    expect(judge(signature ? [signature] : [], { incomplete }).status).toBe("signed");
    expect(judge(artefacts, { revocations, incomplete }).status).toBe("signed");
  });
});

test("each content has one encoding: bits that base64 does not need, an algorithm outside that is not the one inside", async () => {
  const bundle = await sigstore.bundle(statement(DIGEST), RELEASE, { timestamp: true });
  const text = JSON.stringify(bundle);
  expect(judge([asBundle(bundle)]).status).toBe("signed");
  const padded = [...text.matchAll(/"(rawBytes|keyId|signedEntryTimestamp|rootHash|canonicalizedBody|signedTimestamp)":"[^"]*?([A-Za-z0-9+/])=/g)];
  const names = new Set<string | undefined>();
  for (const { 0: match, 1: name, index } of padded) {
    const at = index + match.length - 2;
    const next = String.fromCharCode(text.charCodeAt(at) + 1);
    const other = /[A-Za-z0-9+/]/.test(next) ? next : "/";
    const altered: Artefact = { ...common, layout: "referrer", format: "bundle", bundle: Buffer.from(text.slice(0, at) + other + text.slice(at + 1)) };
    expect(judge([altered]), name).toMatchObject({ status: "malformed", signedBy: [] });
    names.add(name);
  }
  expect([...names]).toContain("keyId");
  const der = Buffer.from(bundle.verificationMaterial.certificate?.rawBytes ?? "", "base64");
  // ecdsa-with-SHA256, 1.2.840.10045.4.3.2: the last is the one outside.
  const oid = Buffer.from("06082a8648ce3d040302", "hex");
  der[der.lastIndexOf(oid) + oid.length - 1] = 9;
  bundle.verificationMaterial.certificate = { rawBytes: der.toString("base64") };
  expect(judge([asBundle(bundle)]).artefacts).toMatchObject([{ code: "untrusted", problem: "certificate" }]);
});

type Change = (bundle: BundleJson) => void;
const entry = (bundle: BundleJson) => {
  const [first] = bundle.verificationMaterial.tlogEntries;
  if (!first) throw new Error("no entry");
  return first;
};
/** Changes one bit of what base64 stands for: in the middle, or so many bytes from the end. */
const flip = (base64: string, from?: number) => {
  const bytes = Buffer.from(base64, "base64");
  const at = from === undefined ? bytes.length >> 1 : bytes.length + from;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes.toString("base64");
};
const decoded = (base64: string, change: (text: string) => string) => Buffer.from(change(Buffer.from(base64, "base64").toString())).toString("base64");

describe("an altered field has its own code", () => {
  test.each<[string, Change, string, string | undefined]>([
    [
      "payload",
      ({ dsseEnvelope }) => {
        dsseEnvelope.payload = decoded(dsseEnvelope.payload, (text) => text.replace("ab", "cd"));
      },
      "altered",
      "log-content",
    ],
    [
      "payload type",
      ({ dsseEnvelope }) => {
        dsseEnvelope.payloadType = "application/json";
      },
      "altered",
      "signature",
    ],
    [
      "signature",
      ({ dsseEnvelope }) => {
        dsseEnvelope.signatures = dsseEnvelope.signatures.map(({ sig }) => ({ sig: flip(sig) }));
      },
      "altered",
      "log-content",
    ],
    [
      "log body",
      (bundle) => {
        entry(bundle).canonicalizedBody = flip(entry(bundle).canonicalizedBody);
      },
      "altered",
      "log-promise",
    ],
    [
      "log index",
      (bundle) => {
        entry(bundle).logIndex = "1";
      },
      "altered",
      "log-promise",
    ],
    [
      "log id",
      (bundle) => {
        entry(bundle).logId = { keyId: flip(entry(bundle).logId.keyId) };
      },
      "altered",
      "log-promise",
    ],
    [
      "log kind",
      (bundle) => {
        entry(bundle).kindVersion = { kind: "intoto", version: "0.0.2" };
      },
      "altered",
      "log-content",
    ],
    [
      "log time",
      (bundle) => {
        entry(bundle).integratedTime = String(Number(entry(bundle).integratedTime) + 1);
      },
      "altered",
      "log-promise",
    ],
    [
      "log time beyond the certificate",
      (bundle) => {
        entry(bundle).integratedTime = "1";
      },
      "untrusted",
      "certificate",
    ],
    [
      "promise",
      (bundle) => {
        entry(bundle).inclusionPromise = { signedEntryTimestamp: flip(entry(bundle).inclusionPromise?.signedEntryTimestamp ?? "") };
      },
      "altered",
      "log-promise",
    ],
    [
      "promise taken away",
      (bundle) => {
        delete entry(bundle).inclusionPromise;
      },
      "untrusted",
      "time-missing",
    ],
    [
      "proof's index",
      (bundle) => {
        entry(bundle).inclusionProof.logIndex = "1";
      },
      "altered",
      "log-proof",
    ],
    [
      "proof's size",
      (bundle) => {
        entry(bundle).inclusionProof.treeSize = "2";
      },
      "altered",
      "log-proof",
    ],
    [
      "proof's root",
      (bundle) => {
        entry(bundle).inclusionProof.rootHash = flip(entry(bundle).inclusionProof.rootHash);
      },
      "altered",
      "log-proof",
    ],
    [
      "proof's hashes",
      (bundle) => {
        entry(bundle).inclusionProof.hashes = entry(bundle).inclusionProof.hashes.map((hash) => flip(hash));
      },
      "altered",
      "log-proof",
    ],
    [
      "checkpoint's text",
      (bundle) => {
        entry(bundle).inclusionProof.checkpoint.envelope = entry(bundle).inclusionProof.checkpoint.envelope.replace("- 1", "- 2");
      },
      "altered",
      "log-proof",
    ],
    [
      "all log entries taken away",
      ({ verificationMaterial }) => {
        verificationMaterial.tlogEntries = [];
      },
      "untrusted",
      "log-missing",
    ],
    [
      "certificate",
      ({ verificationMaterial }) => {
        verificationMaterial.certificate = { rawBytes: flip(verificationMaterial.certificate?.rawBytes ?? "") };
      },
      "untrusted",
      "certificate",
    ],
    [
      "timestamp",
      ({ verificationMaterial: { timestampVerificationData: data } }) => {
        if (data) data.rfc3161Timestamps = data.rfc3161Timestamps.map(({ signedTimestamp }) => ({ signedTimestamp: flip(signedTimestamp, -1) }));
      },
      "altered",
      "time",
    ],
    [
      "timestamp doubled",
      ({ verificationMaterial: { timestampVerificationData: data } }) => {
        if (data) data.rfc3161Timestamps = [...data.rfc3161Timestamps, ...data.rfc3161Timestamps];
      },
      "altered",
      "time",
    ],
    [
      "version",
      (bundle) => {
        bundle.mediaType = "application/vnd.dev.sigstore.bundle.v9.9+json";
      },
      "malformed",
      undefined,
    ],
  ])("%s", async (_, change, code, problem) => {
    const bundle = await sigstore.bundle(statement(DIGEST), RELEASE, { timestamp: _.startsWith("timestamp") || _.startsWith("all log") });
    change(bundle);
    const verdict = judge([asBundle(bundle)]);
    expect(verdict.artefacts.map((each) => [each.code, each.problem])).toEqual([[code, problem]]);
    expect(verdict).toMatchObject({ satisfied: false, signedBy: [] });
    expect(["malformed", "wrong-key"]).toContain(verdict.status);
  });

  test.each<[string, (signature: TagSignature) => void, string, string | undefined]>([
    [
      "payload",
      (each) => {
        Object.assign(each, { payload: simpleSigning(OTHER) });
      },
      "altered",
      "log-content",
    ],
    [
      "signature",
      (each) => {
        Object.assign(each, { signature: flip(each.signature) });
      },
      "altered",
      "log-content",
    ],
    [
      "certificate",
      ({ annotations }) => {
        annotations.certificate = annotations.certificate.replace(/MII./, "MIIA");
      },
      "malformed",
      "malformed",
    ],
    [
      "log bundle's time",
      ({ annotations }) => {
        annotations.rekorBundle = annotations.rekorBundle?.replace(/"integratedTime":(\d+)\d/, '"integratedTime":$19');
      },
      "altered",
      "log-promise",
    ],
    [
      "log bundle taken away",
      ({ annotations }) => {
        annotations.rekorBundle = undefined;
      },
      "untrusted",
      "time-missing",
    ],
    [
      "log bundle no JSON",
      ({ annotations }) => {
        annotations.rekorBundle = "{";
      },
      "malformed",
      undefined,
    ],
  ])("of the tag scheme: %s", async (_, change, code, problem) => {
    // A time of signing that is no multiple of ten seconds, so that the change of its last digit is one.
    const signature = await sigstore.tagSignature(simpleSigning(DIGEST), RELEASE, { atMs: Math.floor(Date.now() / 10_000) * 10_000 - 5000 });
    change(signature);
    const verdict = judge([asTag(signature)]);
    expect(verdict.artefacts.map((each) => [each.code, each.problem])).toEqual([[code, problem]]);
    expect(verdict.satisfied).toBe(false);
  });

  test("a log entry of another signature does not vouch for this one", async () => {
    const [one, two] = [await sigstore.bundle(statement(DIGEST), RELEASE), await sigstore.bundle(statement(OTHER), RELEASE)];
    one.verificationMaterial.tlogEntries = two.verificationMaterial.tlogEntries;
    expect(judge([asBundle(one)]).artefacts).toMatchObject([{ code: "altered", problem: "log-content" }]);
  });
});

describe("trust that is not given", () => {
  test.each<[string, SignOptions, string]>([
    ["a certificate without a promise of a certificate log", { sct: false }, "certificate-log"],
    ["a certificate for servers", { usage: "1.3.6.1.5.5.7.3.1" }, "usage"],
    ["a certificate of two subjects", { moreSubjects: ["https://github.com/evil/x"] }, "identity"],
    ["a signature that no log holds", { log: "none", timestamp: true }, "log-missing"],
    ["a signature without any proven time", { log: 2 }, "time-missing"],
  ])("%s", async (_, options, problem) => {
    const verdict = judge([await sign(RELEASE, options)]);
    expect(verdict).toMatchObject({ status: "wrong-key", artefacts: [{ code: "untrusted", problem }] });
  });

  test("where a deployment has no logs, policy may say so, and only then", async () => {
    const artefacts = [await sign(RELEASE, { log: "none", sct: false, timestamp: true })];
    const relaxed = (overrides: Partial<TrustRoot>) => judge(artefacts, { trustRoots: [{ ...root, ...overrides }] }).status;
    expect(relaxed({ requireLog: false, requireSct: false })).toBe("signed");
    expect(relaxed({ requireLog: false })).toBe("wrong-key");
    expect(relaxed({ requireSct: false })).toBe("wrong-key");
  });

  test("another deployment's signature is not this one's, whatever it says; with both roots each vouches for its own", async () => {
    const other = await TestSigstore.create();
    try {
      const strange = asBundle(await other.bundle(statement(DIGEST), RELEASE));
      expect(judge([strange])).toMatchObject({ status: "wrong-key", artefacts: [{ code: "untrusted", problem: "certificate" }] });
      const otherRoot = { ...root, name: "other", json: other.trustedRoot() };
      const authorities = [release(), { name: "theirs", signers: [signer({ trustRoot: "other" })] }];
      expect(judge([strange], { authorities, trustRoots: [root, otherRoot] })).toMatchObject({ status: "signed", signedBy: ["theirs"] });
    } finally {
      other.close();
    }
  });

  test("no authority by certificate, no trust root of that name, a root that is none: never signed", async () => {
    const artefacts = [await sign(RELEASE)];
    expect(judge(artefacts, { authorities: [] }).status).toBe("unknown");
    expect(() => judge(artefacts, { trustRoots: [] })).toThrow("names the trust root test, which is not there");
    for (const json of ["{}", "[]", "no", '{"certificateAuthorities":[{}]}'])
      expect(() => judge(artefacts, { trustRoots: [{ ...root, json }] })).toThrow("the trust root");
  });

  test("a bare envelope cannot borrow a certificate by its payload type", () => {
    const envelope = { payload: statement(DIGEST).toString("base64"), payloadType: PAYLOAD_TYPE, signatures: [{ sig: "AAAA" }] };
    const artefact: Artefact = { ...common, layout: "cosign-tag", format: "dsse", envelope: Buffer.from(JSON.stringify(envelope)) };
    expect(judge([artefact])).toMatchObject({ status: "wrong-key", artefacts: [{ code: "wrong-key" }] });
  });
});
