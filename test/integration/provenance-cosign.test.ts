/** Signatures and attestations made by released cosign v2 and v3, in every layout they have, read from a real registry. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { type RuntimeImage, readBlob, SLSA_V1, SLSA_V02 } from "@hullmark/verifier/core/provenance/index";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { type CosignKey, type CosignVersion, cosign, cosignKeyPair } from "../fakes/cosign.ts";
import { examineImage, judgeImage as judgeExamined } from "../fakes/examining.ts";
import { type PushedImage, pushImage, pushIndex, sha256 } from "../fakes/images.ts";
import { AT_MS, authority, judge, manifestSubject, never, verifiers } from "../fakes/judging.ts";

const OFFLINE: Readonly<Record<CosignVersion, readonly string[]>> = { v2: ["--tlog-upload=false"], v3: ["--use-signing-config=false", "--tlog-upload=false"] };
let bed: Testbed;
let home: string;
let registry: OciRegistry;
let release: CosignKey;
let stranger: CosignKey;
let serial = 0;

beforeAll(async () => {
  bed = await startTestbed({ name: "prov-cosign", parts: { registry: true } });
  home = mkdtempSync(join(tmpdir(), "hullmark-cosign-"));
  registry = new OciRegistry();
  release = await cosignKeyPair("v2", home, "release");
  stranger = await cosignKeyPair("v3", home, "stranger");
  const v1 = {
    buildDefinition: {
      buildType: "https://example.org/build/v1",
      externalParameters: { workflow: { repository: "https://example.org/acme/shop", ref: "refs/heads/main", path: "release.yml" } },
      resolvedDependencies: [{ uri: "git+https://example.org/acme/shop@refs/heads/main", digest: { gitCommit: "3e1f".repeat(10) } }],
    },
    runDetails: { builder: { id: "https://example.org/builder" }, metadata: { invocationId: "run-7" } },
  };
  const v02 = {
    builder: { id: "https://example.org/builder" },
    buildType: "https://example.org/build/v0",
    invocation: { configSource: { uri: "git+https://example.org/acme/shop@refs/tags/v1", digest: { sha1: "3e1f".repeat(10) }, entryPoint: "release.yml" } },
    metadata: { buildInvocationID: "run-6" },
  };
  writeFileSync(join(home, "v1.json"), JSON.stringify(v1));
  writeFileSync(join(home, "v02.json"), JSON.stringify(v02));
});

afterAll(async () => {
  registry?.close();
  await bed?.down();
  if (home) rmSync(home, { recursive: true, force: true });
});

function newImage(): Promise<PushedImage> {
  serial++;
  return pushImage(`${bed.registry?.host}/cosign/app${serial}`, { layers: [{ "etc/serial": String(serial) }] });
}

const named = ({ repository, manifestDigest }: PushedImage) => `${repository}@${manifestDigest}`;
const sign = (version: CosignVersion, key: CosignKey, image: string, ...more: string[]) =>
  cosign(version, home, ["sign", ...OFFLINE[version], "--key", key.privateKey, ...more, image]);
const attest = (version: CosignVersion, type: string, predicate: string, image: string, ...more: string[]) =>
  cosign(version, home, ["attest", ...OFFLINE[version], "--key", release.privateKey, "--type", type, "--predicate", join(home, predicate), ...more, image]);
const pem = (key: CosignKey) => readFileSync(key.publicKeyPath, "utf8");
const byRelease = () => ({ authorities: [authority("release", pem(release))] });
const judgeImage = (image: PushedImage, overrides = byRelease()) => judge(registry, [manifestSubject(image.repository, image.manifestDigest)], overrides);

describe.each<[string, CosignVersion, readonly string[], string]>([
  ["v2, tag scheme", "v2", [], "simple-signing"],
  ["v2, OCI 1.1 referrers", "v2", ["--registry-referrers-mode=oci-1-1"], "simple-signing"],
  ["v2, new bundle format", "v2", ["--new-bundle-format"], "bundle"],
  ["v3", "v3", [], "bundle"],
])("a signature by cosign %s", (_, version, flags, format) => {
  test("is signed, and by whom", async () => {
    const image = await newImage();
    await sign(version, release, named(image), ...flags);
    const verdict = await judgeImage(image);
    expect(verdict).toMatchObject({ status: "signed", satisfied: true, signedBy: ["release"], text: "signed by release" });
    expect(verdict.artefacts).toMatchObject([{ code: "signature", format, subjects: [image.manifestDigest] }]);
  });

  test("by another key is wrong-key", async () => {
    const image = await newImage();
    await sign(version, stranger, named(image), ...flags);
    const verdict = await judgeImage(image);
    expect(verdict).toMatchObject({ status: "wrong-key", satisfied: false, signedBy: [] });
    expect(verdict.text).toContain("not by release");
  });
});

describe.each<[string, CosignVersion, readonly string[], string]>([
  ["v2, tag scheme", "v2", [], "dsse"],
  ["v2, new bundle format", "v2", ["--new-bundle-format"], "bundle"],
  ["v3", "v3", [], "bundle"],
])("an attestation by cosign %s", (_, version, flags, format) => {
  test("alone is attestation-only: the image is not thereby signed", async () => {
    const image = await newImage();
    await attest(version, "slsaprovenance1", "v1.json", named(image), ...flags);
    const verdict = await judgeImage(image);
    expect(verdict).toMatchObject({
      status: "attestation-only",
      satisfied: false,
      signedBy: [],
      authorities: [{ status: "attestation-only", attestations: [SLSA_V1] }],
    });
    expect(verdict.artefacts).toMatchObject([{ code: "attestation", format }]);
    expect(verdict.source).toMatchObject({
      repository: "https://example.org/acme/shop",
      commit: "3e1f".repeat(10),
      builder: "https://example.org/builder",
      ref: "refs/heads/main",
      invocation: "run-7",
    });
  });

  test("of SLSA v0.2 tells the source as well", async () => {
    const image = await newImage();
    await attest(version, "slsaprovenance02", "v02.json", named(image), ...flags);
    const verdict = await judgeImage(image);
    expect(verdict.artefacts).toMatchObject([{ code: "attestation", predicateType: SLSA_V02 }]);
    expect(verdict.source).toMatchObject({
      repository: "https://example.org/acme/shop",
      ref: "refs/tags/v1",
      commit: "3e1f".repeat(10),
      builder: "https://example.org/builder",
    });
  });

  test("beside a signature meets a requirement for it, and its absence does not", async () => {
    const image = await newImage();
    const asks = {
      ...byRelease(),
      attestations: [{ predicateType: SLSA_V1, authorities: ["release"], threshold: 1, maxAgeSeconds: undefined, where: undefined }],
    };
    await sign(version, release, named(image), ...flags);
    expect(await judgeImage(image, asks)).toMatchObject({ status: "attestation-missing", satisfied: false, missingAttestations: [SLSA_V1] });
    await attest(version, "slsaprovenance1", "v1.json", named(image), ...flags);
    expect(await judgeImage(image, asks)).toMatchObject({ status: "signed", satisfied: true, missingAttestations: [] });
  });
});

describe("what policy asks for beside a signature: bills of materials, a scan, test results", () => {
  const TESTED = "https://in-toto.io/attestation/test-result/v0.1";
  const DAY_SECONDS = 86_400;
  const ago = (days: number) => new Date(AT_MS - days * DAY_SECONDS * 1000).toISOString();
  const needs = (predicateType: string, maxAgeDays?: number, where?: string) => ({
    ...{ predicateType, authorities: ["release"], threshold: 1, where },
    maxAgeSeconds: maxAgeDays === undefined ? undefined : maxAgeDays * DAY_SECONDS,
  });
  /** Each as its tool writes it, and two days old. */
  const predicates = {
    spdxjson: { spdxVersion: "SPDX-2.3", SPDXID: "SPDXRef-DOCUMENT", name: "app", creationInfo: { created: ago(2), creators: ["Tool: syft"] }, packages: [] },
    cyclonedx: { bomFormat: "CycloneDX", specVersion: "1.6", version: 1, metadata: { timestamp: ago(2) }, components: [{ type: "library", name: "zlib" }] },
    vuln: {
      invocation: {},
      scanner: { uri: "https://scanner.example", result: [{ severity: "LOW" }] },
      metadata: { scanStartedOn: ago(2), scanFinishedOn: ago(2) },
    },
    [TESTED]: { result: "PASSED", configuration: [{ uri: "https://ci.example/suite" }], passedTests: ["a"], failedTests: [] },
  };
  const demands = [
    needs("https://spdx.dev/Document", 3, "predicate.spdxVersion.startsWith('SPDX-2.')"),
    needs("https://cyclonedx.org/bom", 3, "predicate.components.exists(each, each.name == 'zlib')"),
    needs("https://cosign.sigstore.dev/attestation/vuln/v1", 3, "!predicate.scanner.result.exists(each, each.severity == 'CRITICAL')"),
    needs(TESTED, undefined, "predicate.result == 'PASSED' && size(predicate.failedTests) == 0"),
  ];
  const kinds = demands.map(({ predicateType }) => predicateType);

  test.each<[string, CosignVersion]>([
    ["v2 in its tag scheme", "v2"],
    ["v3 in bundles", "v3"],
  ])("by cosign %s: each meets its own demand and no other, and only for the digest that it was made for", async (_, version) => {
    const image = await newImage();
    const asks = (attestations: typeof demands) => ({ ...byRelease(), attestations });
    await sign(version, release, named(image));
    expect(await judgeImage(image, asks(demands))).toMatchObject({ status: "attestation-missing", missingAttestations: kinds });
    let lacking = kinds;
    for (const [i, [type, predicate]] of Object.entries(predicates).entries()) {
      writeFileSync(join(home, "predicate.json"), JSON.stringify(predicate));
      await attest(version, type, "predicate.json", named(image));
      lacking = lacking.filter((kind) => kind !== kinds[i]);
      expect((await judgeImage(image, asks(demands))).missingAttestations).toEqual(lacking);
    }
    expect(await judgeImage(image, asks(demands))).toMatchObject({ status: "signed", satisfied: true });
    const fresher = await judgeImage(image, asks(demands.map((each) => ({ ...each, maxAgeSeconds: DAY_SECONDS }))));
    // Test results say nothing of when: what nobody dates is not fresh.
    expect(fresher).toMatchObject({ status: "attestation-missing", missingAttestations: kinds });
    expect(fresher.refusals.map(({ found }) => found.replace(/^\S+ /, ""))).toEqual([
      ...Array.from({ length: 3 }, () => `was made on ${ago(2)}, too long ago`),
      "does not say when it was made",
    ]);
    const other = await newImage();
    await sign(version, release, named(other));
    await (version === "v2" ? copyTag(image, other, ".att") : copyReferrer(image, other));
    const elsewhere = await judgeImage(other, asks(demands));
    expect(elsewhere).toMatchObject({ satisfied: false, missingAttestations: kinds });
    expect(elsewhere.artefacts.map(({ code }) => code)).toContain("other-digest");
  });
});

test("nothing attached is unsigned", async () => {
  expect(await judgeImage(await newImage())).toMatchObject({ status: "unsigned", text: "not signed: nothing is attached to it", artefacts: [] });
});

test("without any trusted key nothing can be told of a signed image", async () => {
  const image = await newImage();
  await sign("v3", release, named(image));
  expect(await judgeImage(image, { authorities: [] })).toMatchObject({ status: "unknown", satisfied: false });
});

describe("several signatures", () => {
  test("in one list, by both versions and two keys, each have their own verdict", async () => {
    const image = await newImage();
    await sign("v2", release, named(image));
    await sign("v2", stranger, named(image));
    await sign("v3", stranger, named(image));
    const verdict = await judgeImage(image);
    expect(verdict).toMatchObject({ status: "signed", signedBy: ["release"] });
    expect(verdict.artefacts.map(({ code, layout }) => `${code} ${layout}`).sort()).toEqual([
      "signature cosign-tag",
      "wrong-key cosign-tag",
      "wrong-key referrer",
    ]);
  });

  test("two of two are needed where policy says so", async () => {
    const image = await newImage();
    const both = {
      authorities: [authority("release", pem(release)), authority("qa", pem(stranger))],
      signatures: { authorities: ["release", "qa"], threshold: 2 },
    };
    await sign("v3", release, named(image));
    expect(await judgeImage(image, both)).toMatchObject({ status: "wrong-key", satisfied: false, signedBy: ["release"] });
    await sign("v2", stranger, named(image));
    expect(await judgeImage(image, both)).toMatchObject({ status: "signed", satisfied: true, signedBy: ["release", "qa"] });
  });

  test("one key under two names is one signer", async () => {
    const image = await newImage();
    await sign("v3", release, named(image));
    const twice = { authorities: [authority("a", pem(release)), authority("b", pem(release))], signatures: { authorities: ["a", "b"], threshold: 2 } };
    await expect(judgeImage(image, twice)).rejects.toThrow("2 of 1 keys cannot be required");
  });
});

describe("a genuine signature of another image", () => {
  test.each<[string, CosignVersion]>([
    ["copied to this one's cosign tag", "v2"],
    ["pushed as this one's referrer", "v3"],
  ])("%s is other-digest", async (_, version) => {
    const [signed, victim] = [await newImage(), await newImage()];
    await sign(version, release, named(signed));
    if (version === "v2") await copyTag(signed, victim, ".sig");
    else await copyReferrer(signed, victim);
    const verdict = await judgeImage(victim);
    expect(verdict).toMatchObject({ status: "other-digest", satisfied: false, signedBy: [] });
    expect(verdict.text).toContain(signed.manifestDigest);
  });
});

describe("a tampered", () => {
  test("payload of the tag scheme is not signed: re-pushed with the victim's digest, it does not verify", async () => {
    const [signed, victim] = [await newImage(), await newImage()];
    await sign("v2", release, named(signed));
    await copyTag(signed, victim, ".sig", (bytes) => Buffer.from(bytes.toString().replace(signed.manifestDigest, victim.manifestDigest)));
    const verdict = await judgeImage(victim);
    expect(verdict).toMatchObject({ status: "wrong-key", signedBy: [] });
    expect(verdict.text).toContain("altered after signing");
  });

  test("bundle is malformed, with a text that says that it names the key", async () => {
    const [signed, victim] = [await newImage(), await newImage()];
    await sign("v3", release, named(signed));
    await copyReferrer(signed, victim, (bytes) => {
      const bundle = JSON.parse(bytes.toString()) as { dsseEnvelope: { payload: string } };
      const payload = Buffer.from(bundle.dsseEnvelope.payload, "base64").toString().replace(signed.manifestDigest.slice(7), victim.manifestDigest.slice(7));
      bundle.dsseEnvelope.payload = Buffer.from(payload).toString("base64");
      return Buffer.from(JSON.stringify(bundle));
    });
    const verdict = await judgeImage(victim);
    expect(verdict).toMatchObject({ status: "malformed", signedBy: [], artefacts: [{ code: "altered" }] });
    expect(verdict.text).toContain("names the key of release");
  });

  test("bundle that is no bundle any more is malformed", async () => {
    const [signed, victim] = [await newImage(), await newImage()];
    await sign("v3", release, named(signed));
    await copyReferrer(signed, victim, (bytes) => bytes.subarray(0, bytes.length - 10));
    expect(await judgeImage(victim)).toMatchObject({ status: "malformed", artefacts: [{ code: "malformed" }] });
  });
});

test("a signature of an index counts for its platforms' images, once the index is known to list them", async () => {
  const index = await pushIndex(`${bed.registry?.host}/cosign/multi`, "v1", ["amd64", "arm64"]);
  await sign("v3", release, `${index.repository}@${index.digest}`);
  const [amd64] = index.images;
  if (!amd64) throw new Error("no image");
  expect(await judgeImage(amd64)).toMatchObject({ status: "unsigned" });
  const subjects = [manifestSubject(amd64.repository, amd64.manifestDigest), { repository: index.repository, digest: index.digest, kind: "index" as const }];
  expect(await judge(registry, subjects, byRelease())).toMatchObject({ status: "signed", signedBy: ["release"] });
});

// Not Ed25519: cosign signs with Ed25519ph then and cannot verify its own signature by the public key either.
test("keys other than P-256 that cosign signs with verify too", async () => {
  const { generateKeyPairSync } = await import("node:crypto");
  const pairs = {
    p384: generateKeyPairSync("ec", { namedCurve: "P-384" }),
    rsa: generateKeyPairSync("rsa", { modulusLength: 2048 }),
  };
  for (const [kind, pair] of Object.entries(pairs)) {
    const path = join(home, `${kind}.pem`);
    writeFileSync(path, pair.privateKey.export({ type: "pkcs8", format: "pem" }));
    await cosign("v2", home, ["import-key-pair", "--key", path, "--output-key-prefix", join(home, kind)]);
    const key = { privateKey: join(home, `${kind}.key`), publicKeyPath: join(home, `${kind}.pub`) };
    for (const version of ["v2", "v3"] as const) {
      const image = await newImage();
      await sign(version, key, named(image));
      expect(await judgeImage(image, { authorities: [authority(kind, pem(key))] }), `${kind} by ${version}`).toMatchObject({
        status: "signed",
        signedBy: [kind],
      });
    }
  }
});

type Change = (bytes: Buffer) => Buffer;

/** What whoever can push may do: put an image's signature manifest, changed or not, under another image's tag. */
async function copyTag(from: PushedImage, to: PushedImage, suffix: string, change: Change = (bytes) => bytes): Promise<void> {
  const source = await registry.manifest(from.repository, `${from.manifestDigest.replace(":", "-")}${suffix}`, 1 << 20, never);
  const manifest = await moveBlobs(source.bytes, from, to, change);
  await registry.pushManifest(to.repository, `${to.manifestDigest.replace(":", "-")}${suffix}`, source.mediaType, manifest, never);
}

/** All of them. */
async function copyReferrer(from: PushedImage, to: PushedImage, change: Change = (bytes) => bytes): Promise<void> {
  const descriptors = await registry.referrers(from.repository, from.manifestDigest, never);
  if (descriptors.length === 0) throw new Error("no referrer");
  for (const { digest, artifactType = "" } of descriptors) {
    const source = await registry.manifest(from.repository, digest, 1 << 20, never);
    const moved = JSON.parse((await moveBlobs(source.bytes, from, to, change)).toString()) as { subject: object };
    moved.subject = { mediaType: source.mediaType, digest: to.manifestDigest, size: to.manifestBytes.length };
    const bytes = Buffer.from(JSON.stringify(moved));
    await registry.attach(to.repository, to.manifestDigest, { mediaType: source.mediaType, artifactType, annotations: {}, bytes }, never);
  }
}

async function moveBlobs(manifestBytes: Buffer, from: PushedImage, to: PushedImage, change: Change): Promise<Buffer> {
  const manifest = JSON.parse(manifestBytes.toString()) as { config: { digest: string }; layers: { digest: string; size: number }[] };
  const read = (digest: string) => readBlob(registry, from.repository, digest, 1 << 20, never);
  await registry.pushBlob(to.repository, await read(manifest.config.digest), never);
  for (const layer of manifest.layers) {
    const bytes = change(await read(layer.digest));
    await registry.pushBlob(to.repository, bytes, never);
    Object.assign(layer, { digest: sha256(bytes), size: bytes.length });
  }
  return Buffer.from(JSON.stringify(manifest));
}

describe("from what a runtime reports to the verdict", () => {
  const runs = async (image: PushedImage, overrides: Partial<RuntimeImage> = {}) => {
    const runtime = {
      imageReference: `${image.repository}:${image.tag}`,
      imageId: image.configDigest,
      repoDigests: [named(image)],
      configDigest: image.configDigest,
      ...overrides,
    };
    return judgeExamined(
      await examineImage(registry, runtime, never),
      { ...byRelease(), trustRoots: [], trustStores: [], build: undefined, builders: [], revocations: [], signatures: undefined, attestations: [] },
      verifiers,
      AT_MS,
    );
  };

  test("a signed, an unsigned and a strange image each have their status", async () => {
    const [signed, plain] = [await newImage(), await newImage()];
    await sign("v3", release, named(signed));
    expect(await runs(signed)).toMatchObject({ status: "signed", satisfied: true });
    expect(await runs(plain)).toMatchObject({ status: "unsigned", satisfied: false });
    const other = { imageId: plain.configDigest, configDigest: plain.configDigest };
    expect(await runs(signed, { ...other, repoDigests: [] })).toMatchObject({ status: "moved-tag", satisfied: false });
    expect(await runs(signed, other)).toMatchObject({ status: "other-digest", satisfied: false });
    expect(await runs(signed, { imageReference: "127.0.0.1:1/app:v1", repoDigests: [] })).toMatchObject({ status: "unknown", satisfied: false });
  });

  test("a tag that moved to an unsigned image does not lend it the old signature, and the old one keeps it", async () => {
    const before = await newImage();
    await sign("v2", release, named(before));
    const after = await pushImage(before.repository, { tag: before.tag, layers: [{ "etc/serial": "moved" }] });
    expect(await runs(after)).toMatchObject({ status: "unsigned", satisfied: false });
    const old = await runs(before);
    expect(old).toMatchObject({ status: "signed", satisfied: true });
    expect(old.text).toContain(`now names ${after.manifestDigest}`);
  });

  test("a key taken from the authorities takes its signature along, without another request", async () => {
    const image = await newImage();
    await sign("v3", release, named(image));
    const examined = await examineImage(registry, { imageReference: named(image), imageId: image.configDigest, repoDigests: [], configDigest: "" }, never);
    const judged = (authorities: ReturnType<typeof byRelease>["authorities"]) =>
      judgeExamined(
        examined,
        { authorities, trustRoots: [], trustStores: [], build: undefined, builders: [], revocations: [], signatures: undefined, attestations: [] },
        verifiers,
        AT_MS,
      ).status;
    expect(judged(byRelease().authorities)).toBe("signed");
    expect(judged([authority("qa", pem(stranger))])).toBe("wrong-key");
  });
});
