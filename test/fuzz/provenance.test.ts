/**
 * Every parser of what a registry, a signer, an API server or an operator writes, under bytes near valid ones: bundles, envelopes, JWS, COSE, manifests, policies, reviews. A parser may refuse
 * by its own error, never otherwise; and no altered byte makes a signature one of another image. `npm run fuzz` runs each for ten minutes.
 */
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Issued, type Standing, standingByList } from "@hullmark/verifier/adapters/notary/standing";
import { AdmissionError, readReview } from "@hullmark/verifier/core/admission/index";
import { askedPod, newContainers } from "@hullmark/verifier/core/admission/pods";
import { type CrlEntry, entriesOf, readCrl } from "@hullmark/verifier/core/certificates/crl";
import { serialOf } from "@hullmark/verifier/core/certificates/der";
import { certificatesIn, revocationListsIn } from "@hullmark/verifier/core/certificates/pem";
import { formatProblem, parsePolicy } from "@hullmark/verifier/core/policy/parse";
import type { Authority, TrustRoot, TrustStore } from "@hullmark/verifier/core/policy/types";
import {
  type Artefact,
  ProvenanceError,
  parseConfig,
  parseManifest,
  readBuildSource,
  SIGN_PREDICATE_TYPE,
  SLSA_V1,
  SLSA_V02,
  SLSA_VSA,
  tryParseReference,
  verifyProvenance,
} from "@hullmark/verifier/core/provenance/index";
import { readBuildDetails, readSummary } from "@hullmark/verifier/core/provenance/slsa";
import { readNotaryPayload, readSimpleSigning, readStatement, STATEMENT_PAYLOAD_TYPE } from "@hullmark/verifier/core/provenance/statement";
import { decode, encode } from "cborg";
import fc from "fast-check";
import { parseDocument } from "hullmark/notation/document";
import { SigningError } from "hullmark/signing/errors";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { authority, question, verifiers } from "../fakes/judging.ts";
import { NotaryCa, notaryPayload, signNotary } from "../fakes/notary.ts";
import { OpensslCa } from "../fakes/openssl-ca.ts";
import { TestSigstore } from "../fakes/sigstore/index.ts";
import { FUZZ_SECONDS, fuzz, near } from "./mutate.ts";

const TIMEOUT_MS = FUZZ_SECONDS * 1000 + 60_000;
const target = (name: string, run: () => number): void => it(name, () => expect(run()).toBeGreaterThan(0), TIMEOUT_MS);
const DIGEST = `sha256:${"ab".repeat(32)}`;
const OTHER = `sha256:${"cd".repeat(32)}`;
const NOW = Date.now();

/** @returns what the parser made of the input; undefined where it refused by its own error */
function parsed<T>(parse: () => T, own: new (...args: never[]) => Error = ProvenanceError): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof own) return undefined;
    throw error;
  }
}

type Trust = { readonly authorities: readonly Authority[]; readonly trustRoots?: readonly TrustRoot[]; readonly trustStores?: readonly TrustStore[] };
type Content = Pick<Artefact & { format: "bundle" }, "format" | "bundle"> | Pick<Artefact & { format: "dsse" }, "format" | "envelope">;

/** Judged as an artefact of `subject`, nothing is thrown; of an image that nobody signed, it never counts. */
function neverOfAnother(content: object, signedOf: string, trust: Trust): void {
  for (const subject of [signedOf, OTHER]) {
    const artefact = { repository: "registry.example/app", manifestDigest: DIGEST, foundUnder: subject, layout: "referrer", ...content } as Artefact & Content;
    const verdict = verifyProvenance(question({ subjects: [subject], artefacts: [artefact], atMs: NOW, ...trust }), verifiers);
    const counts = verdict.artefacts.some(({ code }) => code === "signature" || code === "attestation");
    if (counts) expect(verdict.artefacts[0]?.subjects).toContain(subject);
    if (subject === OTHER) expect(counts).toBe(false);
  }
}

function tolerant<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

const FOLDER = new URL("../vectors/provenance/", import.meta.url);
const VECTORS = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".json"))
  .map(
    (name) =>
      JSON.parse(readFileSync(new URL(name, FOLDER), "utf8")) as Readonly<
        Record<"publicKeyPem" | "subject" | "format" | "contentBase64" | "signature", string>
      >,
  );
const statement = (predicateType: string, predicate: object): Buffer =>
  Buffer.from(
    JSON.stringify({ _type: "https://in-toto.io/Statement/v1", subject: [{ name: "app", digest: { sha256: DIGEST.slice(7) } }], predicateType, predicate }),
  );

describe("signatures", () => {
  let sigstore: TestSigstore;
  let keyless: Trust;
  let bundles: Buffer[];
  let beside: Awaited<ReturnType<TestSigstore["tagSignature"]>>;
  let notary: Trust;
  let envelopes: Readonly<Record<"jws" | "cose", Buffer>>;
  let folder: string;
  let lists: OpensslCa;
  let revoked: Issued;
  let list: Buffer;
  beforeAll(async () => {
    sigstore = await TestSigstore.create();
    const person = { subject: "ann@acme.example", issuer: "https://issuer.example" };
    const payload = statement(SIGN_PREDICATE_TYPE, {});
    const versions = [{}, { version: "0.1", timestamp: true }, { version: "0.2", log: 2, timestamp: true }] as const;
    bundles = (await Promise.all(versions.map((options) => sigstore.bundle(payload, person, { atMs: NOW, ...options })))).map((bundle) =>
      Buffer.from(JSON.stringify(bundle)),
    );
    const simple = { critical: { identity: {}, image: { "docker-manifest-digest": DIGEST }, type: "cosign container image signature" } };
    beside = await sigstore.tagSignature(Buffer.from(JSON.stringify(simple)), person, { atMs: NOW, timestamp: true });
    const signer = { kind: "keyless", trustRoot: "test", issuer: person.issuer, subject: { exact: person.subject }, extensions: {} } as const;
    keyless = {
      authorities: [{ name: "ann", signers: [{ ...signer, notBeforeMs: undefined, notAfterMs: undefined }] }],
      trustRoots: [{ name: "test", json: sigstore.trustedRoot(), requireLog: true, requireSct: true }],
    };
    folder = mkdtempSync(join(tmpdir(), "hullmark-fuzz-"));
    lists = await OpensslCa.create(join(folder, "ca"));
    const [leaf, root] = lists.issue("leaf").chain;
    revoked = { certificate: new X509Certificate(leaf ?? ""), issuer: new X509Certificate(root ?? "") };
    lists.revoke("leaf", "-crl_compromise", "20260101000000Z");
    list = lists.list();
    const ca = await NotaryCa.create();
    const identity = await ca.identity();
    const sign = (format: "jws" | "cose"): Buffer => signNotary(identity, notaryPayload(DIGEST), { format }).bytes;
    envelopes = { jws: sign("jws"), cose: sign("cose") };
    const subject = { C: "US", O: "acme", CN: "release" };
    notary = {
      authorities: [{ name: "release", signers: [{ kind: "notary", trustStore: "acme", subject, notBeforeMs: undefined, notAfterMs: undefined }] }],
      trustStores: [
        {
          ...{ name: "acme", scheme: "ca", certificates: [ca.rootPem], timestampAuthorities: [], requireTimestamp: false },
          revocation: "enforce",
          revocationLists: [],
        },
      ],
    };
  });
  afterAll(async () => {
    sigstore?.close();
    await lists?.close();
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  target("bundles by certificate", () => fuzz(near(bundles), (bundle) => neverOfAnother({ format: "bundle", bundle }, DIGEST, keyless)));

  const byKey = (format: string) => VECTORS.filter((vector) => vector.format === format);
  target("bundles by key", () => {
    const [vector] = byKey("bundle");
    const seeds = byKey("bundle").map(({ contentBase64 }) => Buffer.from(contentBase64, "base64"));
    return fuzz(near(seeds), (bundle) =>
      neverOfAnother({ format: "bundle", bundle }, vector?.subject ?? "", { authorities: [authority("release", vector?.publicKeyPem ?? "")] }),
    );
  });

  target("DSSE envelopes", () => {
    const [vector] = byKey("dsse");
    const seeds = byKey("dsse").map(({ contentBase64 }) => Buffer.from(contentBase64, "base64"));
    return fuzz(near(seeds), (envelope) =>
      neverOfAnother({ format: "dsse", envelope }, vector?.subject ?? "", { authorities: [authority("release", vector?.publicKeyPem ?? "")] }),
    );
  });

  target("simple signing, and signatures in annotations", () => {
    const [vector] = byKey("simple-signing");
    const payload = Buffer.from(vector?.contentBase64 ?? "", "base64");
    const trust = { authorities: [authority("release", vector?.publicKeyPem ?? "")] };
    return fuzz(near([payload, Buffer.from(vector?.signature ?? "")]), (bytes) => {
      neverOfAnother({ format: "simple-signing", payload: bytes, signature: vector?.signature }, vector?.subject ?? "", trust);
      const text = bytes.toString("latin1");
      const annotations = { certificate: text, rekorBundle: text, timestamp: text };
      neverOfAnother({ format: "simple-signing", payload, signature: text, annotations }, vector?.subject ?? "", trust);
    });
  });

  target("what cosign's older scheme puts beside a signature", () => {
    const { payload, signature, annotations } = beside;
    const seeds = [annotations.certificate, annotations.rekorBundle, annotations.timestamp].flatMap((text) => (text ? [Buffer.from(text)] : []));
    return fuzz(near(seeds), (bytes) => {
      const text = bytes.toString("latin1");
      for (const change of [{ certificate: text }, { rekorBundle: text }, { timestamp: text }])
        neverOfAnother({ format: "simple-signing", payload, signature, annotations: { ...annotations, ...change } }, DIGEST, keyless);
    });
  });

  target("JWS of the Notary Project", () =>
    fuzz(near([envelopes.jws]), (envelope) => neverOfAnother({ format: "notary", envelope, mediaType: "application/jose+json" }, DIGEST, notary)),
  );

  target("revocation lists", () =>
    fuzz(near([list]), (der) => {
      let standing: Standing["kind"] = "unknown";
      try {
        standing = standingByList(revoked, readCrl(der), undefined, [], { nowMs: Date.now(), signedAtMs: undefined }).kind;
      } catch (error) {
        // As the verifier has it: what cannot be read tells nothing.
        expect(error).toBeInstanceOf(Error);
      }
      expect(standing, "a list that takes a certificate back never says that it is good").not.toBe("good");
    }),
  );

  target("certificates and revocation lists in PEM", () => {
    const pem = `-----BEGIN X509 CRL-----\n${list.toString("base64")}\n-----END X509 CRL-----\n`;
    const seeds = [pem, revoked.certificate.toString(), `${revoked.certificate}${revoked.issuer}${pem}${pem}`].map((text) => Buffer.from(text));
    return fuzz(near(seeds), (bytes) => {
      for (const read of [certificatesIn, revocationListsIn])
        try {
          expect(read(bytes.toString()).length).toBeGreaterThan(0);
        } catch (error) {
          // What a policy's author is told: "it holds …".
          expect((error as Error).message).toMatch(/^holds /);
        }
    });
  });

  // By themselves: of a list of which a byte is another the signature does not hold, and its entries are not come to.
  target("entries of revocation lists", () => {
    const whole = readCrl(list);
    const serial = serialOf(revoked.certificate);
    expect(entriesOf(whole, serial)).toEqual([{ revokedAtMs: expect.any(Number), reason: 1, invalidSinceMs: Date.UTC(2026, 0, 1), critical: [] }]);
    return fuzz(near([whole.entries]), (entries) => {
      let found: readonly CrlEntry[] = [];
      try {
        found = entriesOf({ ...whole, entries }, serial);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
      for (const { revokedAtMs, reason, invalidSinceMs = 0 } of found) expect([revokedAtMs, reason, invalidSinceMs].every(Number.isSafeInteger)).toBe(true);
    });
  });

  target("COSE of the Notary Project", () =>
    fuzz(near([envelopes.cose]), (envelope) => neverOfAnother({ format: "notary", envelope, mediaType: "application/cose" }, DIGEST, notary)),
  );
});

describe("what is signed, and what registries serve", () => {
  const v1 = {
    buildDefinition: {
      buildType: "t",
      externalParameters: { workflow: { repository: "r", ref: "f" } },
      internalParameters: { privileges: { user: 0, capabilities: ["CAP_CHOWN"], noNewPrivileges: true } },
      resolvedDependencies: [
        { uri: "git+https://x/y@z", digest: { gitCommit: "3e1f".repeat(10) } },
        { uri: "pkg:oci/base", digest: { sha256: "ab".repeat(32) } },
      ],
    },
    runDetails: { builder: { id: "b", version: { node: "v24" } }, metadata: { invocationId: "i" } },
  };
  const v02 = {
    builder: { id: "b" },
    invocation: { configSource: { uri: "git+https://x/y@z", digest: { sha1: "a" } } },
    materials: [{ uri: "u", digest: {} }],
  };

  const vsa = {
    verifier: { id: "https://verifier.example" },
    verificationResult: "PASSED",
    verifiedLevels: ["SLSA_BUILD_LEVEL_3"],
    timeVerified: "2026-11-01T00:00:00Z",
  };

  target("statements, simple signing and payloads", () =>
    fuzz(near([statement(SLSA_V1, v1), statement(SLSA_V02, v02), statement(SLSA_VSA, vsa), notaryPayload(DIGEST)]), (bytes) => {
      const claim = parsed(() => readStatement(STATEMENT_PAYLOAD_TYPE, bytes));
      for (const type of [SLSA_V1, SLSA_V02]) {
        parsed(() => readBuildSource(type, claim?.predicate));
        for (const { sha256 } of parsed(() => readBuildDetails(type, claim?.predicate))?.materials ?? []) expect(typeof sha256).toBe("string");
      }
      const summary = parsed(() => readSummary(SLSA_VSA, claim?.predicate));
      if (summary?.passed) expect(claim?.predicate?.["verificationResult"]).toBe("PASSED");
      for (const subject of claim?.subjects ?? []) expect(subject).toMatch(/^sha256:[0-9a-f]{64}$/);
      parsed(() => readSimpleSigning(bytes));
      parsed(() => readNotaryPayload(bytes));
    }),
  );

  target("manifests, indexes, configs and references", () => {
    const descriptor = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: DIGEST, size: 1, annotations: { a: "b" } };
    const manifest = { schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config: descriptor, layers: [descriptor] };
    const index = { schemaVersion: 2, manifests: [{ ...descriptor, platform: { os: "linux", architecture: "amd64" } }] };
    const config = {
      os: "linux",
      architecture: "amd64",
      config: { Env: ["A=b"], Volumes: { "/x": {} } },
      rootfs: { type: "layers", diff_ids: [DIGEST] },
      history: [{ created_by: "x" }],
    };
    const seeds = [manifest, index, config].map((object) => Buffer.from(JSON.stringify(object)));
    return fuzz(near([...seeds, Buffer.from(`registry.example:5000/shop/cart:1@${DIGEST}`)]), (bytes) => {
      const read = parsed(() => parseManifest(bytes, "application/vnd.oci.image.manifest.v1+json"));
      if (read?.kind === "manifest") for (const { digest } of read.layers) expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
      parsed(() => parseConfig(bytes));
      const reference = tryParseReference(bytes.toString("utf8"));
      if (reference) expect(`${reference.repository}:${reference.tag}`).not.toMatch(/[\s?#%\\]|\.\.\//);
    });
  });
});

test("a planted bug is found in each form: the mutations reach behind the first check", () => {
  const json = statement(SIGN_PREDICATE_TYPE, {});
  const cbor = encode([Buffer.from("protected"), { a: 1 }, Buffer.alloc(64, 1)]);
  const planted: readonly (readonly [Buffer, (bytes: Buffer) => void])[] = [
    // Believes that what it parsed has the form of what it expects.
    [json, (bytes) => void tolerant(() => JSON.parse(bytes.toString()) as { subject: { digest: { sha256: string } }[] })?.subject[0]?.digest.sha256.length],
    // Compares a part of what it should.
    [json, (bytes) => expect(tolerant(() => JSON.parse(bytes.toString()) as unknown) !== undefined && !bytes.equals(json)).toBe(false)],
    [Buffer.from(cbor), (bytes) => expect(tolerant(() => decode(bytes) as unknown) !== undefined && !bytes.equals(cbor)).toBe(false)],
  ];
  for (const [seed, bug] of planted) expect(fc.check(fc.property(near([seed]), bug), { numRuns: 50_000, seed: 7, endOnFailure: true }).failed).toBe(true);
});

describe("what operators and API servers write", () => {
  target("policies", () => {
    const example = readFileSync(new URL("../../deploy/config/policy.example.yaml", import.meta.url));
    const lines = example.toString().split("\n");
    const parts = ["  authorities:", "  rules:", "  admission:", "  alerts:"].map((name) => {
      const at = lines.indexOf(name);
      const end = lines.findIndex((line, i) => i > at && /^ {2}\S/.test(line));
      return Buffer.from([...lines.slice(0, lines.indexOf("spec:") + 1), ...lines.slice(at, end < 0 ? undefined : end)].join("\n"));
    });
    const aliases = Buffer.from(`a: &a [x, x, x, x, x, x, x, x]\nb: &b [${"*a, ".repeat(12)}]\nc: &c [${"*b, ".repeat(12)}]\nd: [${"*c, ".repeat(12)}]\n`);
    return fuzz(near([...parts, aliases]), (bytes) => {
      const result = parsePolicy(bytes.toString("utf8"), "p.yaml", { readKeyFile: () => "" });
      for (const problem of result.ok ? result.warnings : result.errors) {
        expect(problem.line).toBeGreaterThan(0);
        expect(problem.column).toBeGreaterThan(0);
        expect(formatProblem(problem)).toContain(`p.yaml:${problem.line}:${problem.column}: ${problem.severity}: `);
      }
      // What takes effect without anybody's key never lets anybody past.
      if (result.ok && result.policy.admission.breakGlass)
        expect(result.policy.admission.breakGlass.users.length + result.policy.admission.breakGlass.groups.length).toBeGreaterThan(0);
    });
  });

  target("trust policy documents of notation", () => {
    const [strict, skip] = [{ level: "strict", override: { expiry: "log" }, verifyTimestamp: "afterCertExpiry" }, { level: "skip" }];
    const [ann, bob] = ["x509.subject: C=US, ST=WA, O=acme\\, Inc., CN=\\C3\\A4", "x509.subject: C=US, S=WA, O=acme, OU=shop"];
    const statement = { name: "shop", registryScopes: ["registry.example/shop"], trustStores: ["ca:acme,tsa:acme", "signingAuthority:acme"] };
    const statements = [
      { ...statement, signatureVerification: strict, trustedIdentities: [ann, bob] },
      { ...statement, name: "all", registryScopes: ["*"], signatureVerification: { level: "audit" }, trustedIdentities: ["*"] },
      { name: "none", registryScopes: ["registry.example/none"], signatureVerification: skip },
    ];
    return fuzz(near([Buffer.from(JSON.stringify({ version: "1.0", trustPolicies: statements }))]), (bytes) => {
      for (const { repositories, verification } of parsed(() => parseDocument(bytes.toString("utf8"), "d"), SigningError) ?? []) {
        for (const repository of repositories ?? []) expect(repository).not.toMatch(/[\s*?@\\]/);
        for (const { name } of verification?.stores ?? []) expect(name).not.toMatch(/[\\/]|^\.*$/);
        for (const subject of verification?.identities ?? []) expect(Object.keys(subject)).toEqual(expect.arrayContaining(["C", "ST", "O"]));
      }
    });
  });

  target("admission reviews", () => {
    const pod = {
      metadata: { name: "web", labels: { a: "b" }, ownerReferences: [{ kind: "ReplicaSet", name: "web-1", controller: true }] },
      spec: { containers: [{ name: "web", image: "x" }] },
    };
    const request = {
      uid: "u",
      kind: { kind: "Pod" },
      namespace: "n",
      operation: "UPDATE",
      userInfo: { username: "ann", groups: ["g"] },
      object: pod,
      oldObject: pod,
    };
    const of = (more: object) => Buffer.from(JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request: { ...request, ...more } }));
    const template = { spec: { template: pod, jobTemplate: { spec: { template: pod } } } };
    return fuzz(near([of({}), of({ kind: { kind: "Deployment" }, object: template }), of({ kind: { kind: "CronJob" }, object: template })]), (bytes) => {
      let body: unknown;
      try {
        body = JSON.parse(bytes.toString("utf8"));
      } catch {
        return;
      }
      const review = parsed(() => readReview(body), AdmissionError);
      const asked = review && parsed(() => askedPod(review), AdmissionError);
      if (!review || !asked) return;
      for (const each of parsed(() => newContainers(review, asked), AdmissionError) ?? []) expect(typeof each.image).toBe("string");
    });
  });
});
