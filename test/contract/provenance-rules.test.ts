/** What policy asks of builds and attestations: SLSA provenance v1 and v0.2, freshness, CEL; and what people are told. Judged from a registry, from the command line too. */
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { loadPolicyFile } from "@hullmark/verifier/adapters/policy-file/index";
import { formatProblem, parsePolicy } from "@hullmark/verifier/core/policy/index";
import { matchRule } from "@hullmark/verifier/core/policy/match";
import { askedScans, chainIdsOf, SIGN_PREDICATE_TYPE, SLSA_V1, SLSA_V02, SLSA_VSA } from "@hullmark/verifier/core/provenance/index";
import type { Vouched } from "@hullmark/verifier/core/vulnerabilities/image-findings";
import { readReport } from "@hullmark/verifier/core/vulnerabilities/parse";
import { policyCommand } from "hullmark/commands/policy";
import { policyFromImage } from "hullmark/commands/policy-from-image";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { attachBundle } from "../fakes/attach.ts";
import { type PushedImage, pushImage, pushIndex } from "../fakes/images.ts";
import { judge, manifestSubject } from "../fakes/judging.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { grypeReport, openvexDocument, purlOf, type Shown, trivyReport } from "../fakes/scan-reports.ts";
import { TestSigstore } from "../fakes/sigstore/index.ts";

const DAY_MS = 86_400_000;
const NOW = Date.now();
const PIPELINE = { subject: "https://github.com/acme/shop/.github/workflows/release.yml@refs/tags/v1", issuer: "https://issuer.example" };
const SCANNER = { subject: "scanner@acme.example", issuer: "https://issuer.example" };
const VULN = "https://cosign.sigstore.dev/attestation/vuln/v1";
let registry: FakeRegistry;
let client: OciRegistry;
let sigstore: TestSigstore;
let folder: string;
let serial = 0;
const anyKey = generateKeyPairSync("ed25519").publicKey.export({ type: "spki", format: "pem" }).toString();

beforeAll(async () => {
  registry = await startFakeRegistry();
  client = new OciRegistry();
  sigstore = await TestSigstore.create();
  folder = mkdtempSync(join(tmpdir(), "hullmark-rules-"));
  writeFileSync(join(folder, "trusted_root.json"), sigstore.trustedRoot());
});
afterAll(async () => {
  client?.close();
  await registry?.close();
  sigstore?.close();
  rmSync(folder, { recursive: true, force: true });
});

const v1 = (change: Partial<Record<"repository" | "ref" | "builder" | "finishedOn", string>> = {}) => {
  const { repository = "https://github.com/acme/shop.git", ref = "refs/tags/v1", builder = "https://builder.example/hosted@v2", finishedOn } = change;
  return {
    buildDefinition: {
      buildType: "https://builder.example/workflow/v1",
      externalParameters: { workflow: { repository, ref } },
      resolvedDependencies: [{ uri: `git+${repository}@${ref}`, digest: { gitCommit: "3e1f".repeat(10) } }],
    },
    runDetails: { builder: { id: builder }, metadata: { finishedOn } },
  };
};
const v02 = {
  builder: { id: "https://builder.example/hosted@v2" },
  buildType: "https://builder.example/workflow/v1",
  invocation: { configSource: { uri: "git+https://github.com/acme/shop@refs/tags/v1", digest: { sha1: "3e1f".repeat(10) } } },
};
const scan = (severities: readonly string[], scanFinishedOn = new Date(NOW).toISOString()) => ({
  scanner: { result: severities.map((severity) => ({ severity })) },
  metadata: { scanFinishedOn },
});

interface Attached {
  readonly type: string;
  readonly predicate: object;
  readonly by?: typeof PIPELINE;
  readonly atMs?: number;
}

/** A new image, signed by the pipeline, with attestations. */
async function imageWith(...attached: readonly Attached[]): Promise<PushedImage> {
  const image = await pushImage(`${registry.host}/rules/app`, { tag: `v${serial}`, layers: [{ serial: String(serial++) }] });
  for (const { type, predicate, by = PIPELINE, atMs = NOW } of [{ type: SIGN_PREDICATE_TYPE, predicate: {} }, ...attached]) {
    const statement = {
      _type: "https://in-toto.io/Statement/v1",
      subject: [{ digest: { sha256: image.manifestDigest.slice(7) } }],
      predicateType: type,
      predicate,
    };
    await attachBundle(client, image, await sigstore.bundle(Buffer.from(JSON.stringify(statement)), by, { atMs }));
  }
  return image;
}

const policyText = (require: string) => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: rules }
spec:
  trustRoots: [{ name: test, file: trusted_root.json }]
  authorities:
    - { name: pipeline, keyless: { trustRoot: test, issuer: ${PIPELINE.issuer}, subject: "${PIPELINE.subject}" } }
    - { name: scanner, keyless: { trustRoot: test, issuer: ${SCANNER.issuer}, subject: ${SCANNER.subject} } }
  builders:
    - { id: "https://builder.example/hosted@*", level: 3 }
    - { id: "https://laptop.example/**", level: 1 }
  rules:
    - name: shop
      select: { images: ["**/rules/**"] }
      require:
        signatures: { authorities: [pipeline] }
${require.replaceAll(/^/gm, "        ")}
`;

async function judged(image: PushedImage, require: string, overrides: Parameters<typeof judge>[2] = {}) {
  const path = join(folder, "policy.yaml");
  writeFileSync(path, policyText(require));
  const { parsed } = loadPolicyFile(path);
  if (!parsed.ok) throw new Error(parsed.errors.map(formatProblem).join("\n"));
  const { policy } = parsed;
  const [rule] = policy.rules;
  return judge(client, [manifestSubject(image.repository, image.manifestDigest)], {
    ...{ authorities: policy.authorities, trustRoots: policy.trustRoots, builders: policy.builders, atMs: NOW },
    ...{ signatures: rule?.signatures, attestations: rule?.attestations ?? [], build: rule?.build, rule: rule?.name ?? "" },
    ...{ registries: rule?.registries ?? [], repository: image.repository },
    ...{ baseLayers: rule?.baseLayers ?? [], layers: [image.diffIds], ...overrides },
  });
}

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const result = { code: -1, out: "", err: "" };
  const io = {
    out: (text: string) => {
      result.out += text;
    },
    err: (text: string) => {
      result.err += text;
    },
    exit: (code: number) => {
      result.code = code;
    },
  };
  await policyCommand(io, { ...io, env: {}, now: () => NOW, signal: new AbortController().signal }).parseAsync(args, { from: "user" });
  return result;
}
const policyFile = (require: string) => {
  const path = join(folder, "explained.yaml");
  writeFileSync(path, policyText(require));
  return path;
};

describe("a build", () => {
  const asks = (more: string) => `build: { authorities: [pipeline], ${more} }`;
  const meets =
    'sources: ["https://github.com/acme/*"], refs: ["refs/tags/*"], builders: ["https://builder.example/**"], buildTypes: ["https://builder.example/**"], level: 3';

  test.each([
    ["SLSA v1", SLSA_V1, v1()],
    ["SLSA v0.2", SLSA_V02, v02],
  ])("of %s meets what it states, and names what it does not", async (_, type, predicate) => {
    const image = await imageWith({ type, predicate });
    expect(await judged(image, asks(meets))).toMatchObject({ status: "signed", satisfied: true, source: { commit: "3e1f".repeat(10) } });
    for (const [more, near] of [
      ['sources: ["https://github.com/acme/other"]', "was built from https://github.com/acme/shop"],
      ['refs: ["refs/heads/main"]', "was built from the ref refs/tags/v1"],
      ['builders: ["https://builder.example/hosted"]', "was built by https://builder.example/hosted@v2"],
      ['buildTypes: ["https://builder.example/other"]', "was built as https://builder.example/workflow/v1"],
    ] as const) {
      const verdict = await judged(image, asks(more));
      expect(verdict).toMatchObject({ status: "attestation-missing", satisfied: false, missingAttestations: ["build"] });
      expect(verdict.text).toContain(near);
      expect(verdict.text).toContain("(rule shop)");
      expect(verdict.refusals).toMatchObject([
        { found: expect.stringContaining(near), remedy: expect.stringContaining(`attest ${image.manifestDigest} with SLSA provenance`) },
      ]);
    }
  });

  test("has the level that policy trusts its builder for, whatever it says", async () => {
    const laptop = await imageWith({ type: SLSA_V1, predicate: v1({ builder: "https://laptop.example/ann" }) });
    expect((await judged(laptop, asks("level: 1"))).status).toBe("signed");
    expect((await judged(laptop, asks("level: 2"))).text).toContain("SLSA level 1");
    const strange = await imageWith({ type: SLSA_V1, predicate: v1({ builder: "https://builder.example.evil/hosted@v2" }) });
    expect((await judged(strange, asks("level: 1"))).text).toContain("SLSA level 0");
  });

  test("is not older than asked, by the earlier of its own word and the proven time", async () => {
    const said = await imageWith({ type: SLSA_V1, predicate: v1({ finishedOn: new Date(NOW - 10 * DAY_MS).toISOString() }) });
    expect((await judged(said, asks("maxAge: 9d"))).text).toContain("too long ago");
    expect((await judged(said, asks("maxAge: 11d"))).status).toBe("signed");
    const proven = await imageWith({ type: SLSA_V1, predicate: v1({ finishedOn: new Date(NOW).toISOString() }), atMs: NOW - 10 * DAY_MS });
    expect((await judged(proven, asks("maxAge: 9d"))).status).toBe("attestation-missing");
    const ahead = await imageWith({ type: SLSA_V1, predicate: v1({ finishedOn: new Date(NOW + DAY_MS).toISOString() }), atMs: NOW + DAY_MS });
    expect((await judged(ahead, asks("maxAge: 9d"))).text).toContain("says that it will be made on");
  });

  test("that does not say its source has none: not whichever repository its materials list first", async () => {
    const material = (repository: string) => ({ uri: `git+${repository}@refs/tags/v1`, digest: { gitCommit: "3e1f".repeat(10) } });
    const of = (...repositories: string[]) => {
      const predicate = v1();
      const externalParameters = { source: "git+https://evil.example/x" } as never;
      return { ...predicate, buildDefinition: { ...predicate.buildDefinition, externalParameters, resolvedDependencies: repositories.map(material) } };
    };
    const [lib, evil] = ["https://github.com/acme/lib", "https://evil.example/x"];
    const mixed = await imageWith({ type: SLSA_V1, predicate: of(lib, evil) });
    expect((await judged(mixed, asks('sources: ["https://github.com/acme/*"]'))).text).toContain("a source that is not named");
    const alone = await imageWith({ type: SLSA_V1, predicate: of(lib, `${lib}.git`) });
    expect((await judged(alone, asks('sources: ["https://github.com/acme/*"]'))).status).toBe("signed");
    const other = { ...v1(), buildDefinition: { ...v1().buildDefinition, resolvedDependencies: [material(lib)] } };
    expect((await judged(await imageWith({ type: SLSA_V1, predicate: other }), asks("level: 3"))).source).toMatchObject({
      ...{ repository: "https://github.com/acme/shop.git", commit: "" },
    });
  });

  const BASE = `sha256:${"ba5e".repeat(16)}`;
  const sourceMaterial = { uri: "git+https://github.com/acme/shop@refs/tags/v1", digest: { gitCommit: "3e1f".repeat(10) } };
  const baseMaterial = (sha256: string, uri = "pkg:docker/debian@12?platform=linux%2Famd64") => ({ uri, digest: { sha256 } });
  const detailed = (materials: readonly object[], version: object = {}) => {
    const { buildDefinition, runDetails } = v1();
    return {
      buildDefinition: { ...buildDefinition, resolvedDependencies: materials },
      runDetails: { ...runDetails, builder: { ...runDetails.builder, version } },
    };
  };

  test("was made by the tools that are asked for, in the versions", async () => {
    const image = await imageWith({ type: SLSA_V1, predicate: detailed([sourceMaterial], { go: "1.25.4", ko: "0.18.0" }) });
    expect((await judged(image, asks('tools: { go: "1.25.*", ko: "0.18.0" }'))).status).toBe("signed");
    expect((await judged(image, asks('tools: { go: "1.24.*" }'))).refusals).toMatchObject([
      { requirement: expect.stringContaining("go 1.24.*"), found: expect.stringContaining("was built with go 1.25.4, not 1.24.*") },
    ]);
    expect((await judged(image, asks('tools: { rustc: "**" }'))).text).toContain("does not say which rustc it was built with");
    const older = await imageWith({ type: SLSA_V02, predicate: v02 });
    expect((await judged(older, asks('tools: { go: "**" }'))).text).toContain("does not say which go");
  });

  test("names the commit that it was built from", async () => {
    const named = await imageWith({ type: SLSA_V1, predicate: v1() });
    expect((await judged(named, asks("commit: true"))).status).toBe("signed");
    for (const digest of [{}, { gitCommit: "not a commit" }]) {
      const other = await imageWith({ type: SLSA_V1, predicate: detailed([{ ...sourceMaterial, digest }]) });
      expect((await judged(other, asks("commit: true"))).refusals).toMatchObject([
        { requirement: expect.stringContaining("commit named"), found: expect.stringContaining("names no commit") },
      ]);
      expect((await judged(other, asks("commit: false"))).status).toBe("signed");
    }
  });

  test("had no more privileges than are allowed, and says which", async () => {
    const built = (privileges?: object) => {
      const predicate = v1();
      return imageWith({
        type: SLSA_V1,
        predicate: { ...predicate, buildDefinition: { ...predicate.buildDefinition, internalParameters: { privileges } } },
      });
    };
    const none = await built({ user: 1000, capabilities: [], noNewPrivileges: true });
    const root = await built({ user: 0, capabilities: ["CAP_CHOWN", "SETUID"], noNewPrivileges: false });
    for (const rule of ["privileges: {}", "privileges: { root: true, capabilities: [CHOWN] }"]) expect((await judged(none, asks(rule))).status).toBe("signed");
    for (const rule of ["privileges: { root: true, capabilities: [CHOWN, CAP_SETUID] }", "privileges: { root: true, capabilities: [ALL] }"])
      expect((await judged(root, asks(rule))).status).toBe("signed");
    for (const [rule, said, wants] of [
      ["privileges: {}", "was built as root", "privileges at most none"],
      ["privileges: { capabilities: [ALL] }", "was built as root", "privileges at most ALL"],
      ["privileges: { root: true, capabilities: [CHOWN] }", "was built with SETUID", "privileges at most root, CHOWN"],
    ] as const)
      expect((await judged(root, asks(rule))).refusals).toMatchObject([{ requirement: expect.stringContaining(wants), found: expect.stringContaining(said) }]);
    for (const privileges of [
      undefined,
      {},
      { user: -1, capabilities: [] },
      { user: "1000", capabilities: [] },
      { user: 1000 },
      { user: 1000, capabilities: "none" },
    ])
      expect((await judged(await built(privileges), asks("privileges: {}"))).text).toContain("does not say with which privileges");
    for (const capabilities of [[7], Array.from({ length: 65 }, () => "CHOWN")])
      expect((await judged(await built({ user: 1000, capabilities }), asks("privileges: { capabilities: [CHOWN] }"))).status).toBe("attestation-missing");
    const older = await imageWith({
      type: SLSA_V02,
      predicate: { ...v02, buildDefinition: { internalParameters: { privileges: { user: 1, capabilities: [] } } } },
    });
    expect((await judged(older, asks("privileges: {}"))).text).toContain("does not say with which privileges");
  });

  test("stands on no other base than is allowed, and on one", async () => {
    const rule = asks(`bases: ["${BASE}"]`);
    const good = await imageWith({ type: SLSA_V1, predicate: detailed([sourceMaterial, baseMaterial(BASE.slice(7))]) });
    expect((await judged(good, rule)).status).toBe("signed");
    const bad = await imageWith({
      type: SLSA_V1,
      predicate: detailed([baseMaterial(BASE.slice(7)), baseMaterial("00".repeat(32), "oci://registry.example/other")]),
    });
    expect((await judged(bad, rule)).refusals).toMatchObject([
      { requirement: expect.stringContaining(`on ${BASE}`), found: expect.stringContaining("was built on oci://registry.example/other (sha256:0000") },
    ]);
    expect((await judged(await imageWith({ type: SLSA_V1, predicate: v1() }), rule)).text).toContain("names no base image");
    const open = await imageWith({ type: SLSA_V1, predicate: detailed([{ uri: "pkg:oci/debian" }]) });
    expect((await judged(open, rule)).text).toContain("which has no digest");
  });

  test("lists its dependencies, each by a digest", async () => {
    const rule = asks("dependencies: true");
    expect((await judged(await imageWith({ type: SLSA_V1, predicate: v1() }), rule)).status).toBe("signed");
    expect((await judged(await imageWith({ type: SLSA_V1, predicate: detailed([]) }), rule)).text).toContain("lists no dependencies");
    const open = await imageWith({ type: SLSA_V1, predicate: detailed([sourceMaterial, { uri: "pkg:npm/left-pad@1.3.0" }]) });
    expect((await judged(open, rule)).text).toContain("lists the dependency pkg:npm/left-pad@1.3.0 without a digest");
    const material = { uri: "git+https://github.com/acme/shop@refs/tags/v1", digest: { sha1: "3e1f".repeat(10) } };
    expect((await judged(await imageWith({ type: SLSA_V02, predicate: { ...v02, materials: [material] } }), rule)).status).toBe("signed");
  });

  test("is vouched for by a verification summary of whom policy names, at the level, that passed, and is not too old", async () => {
    const summary = (change: object = {}) => ({
      ...{ verifier: { id: "https://verifier.example/v1" }, timeVerified: new Date(NOW - DAY_MS).toISOString(), verificationResult: "PASSED" },
      ...{ resourceUri: "oci://registry.example/app", policy: { uri: "https://policy.example" }, verifiedLevels: ["SLSA_BUILD_LEVEL_3"], ...change },
    });
    const rule = asks('level: 3, maxAge: 2d, sources: ["https://github.com/acme/*"], summaries: ["https://verifier.example/*"]');
    const by = (change: object = {}) => imageWith({ type: SLSA_VSA, predicate: summary(change) });
    expect((await judged(await by(), rule)).status).toBe("signed");
    expect((await judged(await by(), asks("level: 3"))).status, "no summary does").toBe("attestation-missing");
    for (const [change, near] of [
      [{ verifier: { id: "https://verifier.example.evil/v1" } }, "is a summary by https://verifier.example.evil/v1"],
      [{ verificationResult: "FAILED" }, "did not pass"],
      [{ verifiedLevels: ["SLSA_BUILD_LEVEL_2"] }, "is a summary of SLSA level 2"],
      [{ verifiedLevels: ["SLSA_BUILD_LEVEL_33"] }, "is a summary of SLSA level 0"],
      [{ timeVerified: new Date(NOW - 3 * DAY_MS).toISOString() }, "too long ago"],
    ] as const) {
      const { status, refusals } = await judged(await by(change), rule);
      expect(status).toBe("attestation-missing");
      expect(refusals).toMatchObject([{ found: expect.stringContaining(near), remedy: expect.stringContaining("or a summary by https://verifier.example/*") }]);
    }
    const stranger = await imageWith({ type: SLSA_VSA, predicate: summary(), by: SCANNER });
    expect((await judged(stranger, rule)).status, "by nobody who may").toBe("attestation-missing");
  });

  test("attested by somebody else, or not at all, is none", async () => {
    const wrong = await imageWith({ type: SLSA_V1, predicate: v1(), by: SCANNER });
    expect(await judged(wrong, asks(meets))).toMatchObject({ status: "attestation-missing" });
    expect((await judged(await imageWith(), asks(meets))).refusals).toMatchObject([
      { found: "nothing", requirement: expect.stringContaining("source https://github.com/acme/*") },
    ]);
  });
});

describe("an attestation", () => {
  const asks = (more: string) => `attestations: [{ predicateType: ${VULN}, authorities: [scanner], ${more} }]`;
  const CLEAN = `where: "predicate.scanner.result.all(each, each.severity != 'CRITICAL')"`;

  test("meets a condition in CEL, or is told as the one that does not", async () => {
    const clean = await imageWith({ type: VULN, predicate: scan(["LOW", "HIGH"]), by: SCANNER });
    const dirty = await imageWith({ type: VULN, predicate: scan(["LOW", "CRITICAL"]), by: SCANNER });
    expect((await judged(clean, asks(CLEAN))).status).toBe("signed");
    const verdict = await judged(dirty, asks(CLEAN));
    expect(verdict).toMatchObject({ status: "attestation-missing", missingAttestations: [VULN] });
    expect(verdict.refusals[0]?.found).toContain("does not meet predicate.scanner");
    // One clean attestation beside it is enough: an older scan need not be withdrawn.
  });

  test.each(["predicate.absent.field == 1", "predicate.scanner", "unknown", "1", "predicate.scanner.result[99].severity == 'LOW'", "1/0 == 1"])(
    "never meets %s: only true is true",
    async (where) => {
      const image = await imageWith({ type: VULN, predicate: scan(["LOW"]), by: SCANNER });
      expect((await judged(image, asks(`where: "${where}"`))).status).toBe("attestation-missing");
    },
  );

  test("whose lists are too long to be gone through within one another meets nothing, and holds up nobody", async () => {
    const of = async (length: number) => imageWith({ type: VULN, predicate: scan(Array.from({ length }, (_, i) => `S${i}`)), by: SCANNER });
    const nested =
      "predicate.scanner.result.all(a, predicate.scanner.result.all(b, predicate.scanner.result.exists(c, c.severity != a.severity + b.severity)))";
    expect((await judged(await of(20), asks(`where: "${nested}"`))).status).toBe("signed");
    const long = await of(101);
    expect((await judged(long, asks(`where: "${nested}"`))).text).toContain("holds lists too long for");
    expect((await judged(long, asks(CLEAN))).status).toBe("signed");
  });

  test("is fresh as its scan was", async () => {
    const old = await imageWith({ type: VULN, predicate: scan([], new Date(NOW - 3 * DAY_MS).toISOString()), by: SCANNER });
    expect((await judged(old, asks("maxAge: 2d"))).status).toBe("attestation-missing");
    expect((await judged(old, asks("maxAge: 4d"))).status).toBe("signed");
    expect((await judged(old, asks(`where: "now - timestamp(predicate.metadata.scanFinishedOn) < duration('96h')"`))).status).toBe("signed");
  });

  test("lint refuses what is no CEL, and globs that are not anchored", () => {
    const problems = (require: string) => {
      const parsed = parsePolicy(policyText(require), "p.yaml", { readKeyFile: () => sigstore.trustedRoot() });
      return parsed.ok ? "" : parsed.errors.map(formatProblem).join("\n");
    };
    expect(problems(asks('where: "predicate.x ="'))).toMatch(/where: is not CEL: .*1:\d+/);
    expect(problems('build: { authorities: [pipeline], sources: ["**/shop"] }')).toContain("is not anchored");
    expect(problems("build: { authorities: [pipeline], level: 4 }")).toContain("level");
    expect(problems(asks('where: "true"'))).toBe("");
  });
});

describe("registries", () => {
  const from = (...globs: string[]) => `registries: ${JSON.stringify(globs)}`;
  const stated = { type: SLSA_V1, predicate: v1() };

  test("are those where a signed image may be found: the whole name must match, and what is elsewhere is told, with what would do", async () => {
    const image = await imageWith(stated);
    for (const globs of [["**/rules/app"], ["elsewhere.example/**", `${registry.host}/rules/*`], []])
      expect((await judged(image, from(...globs))).status).toBe("signed");
    for (const glob of ["registry.example/**", `${registry.host}`, "rules/app", `${registry.host}/rules/ap`, `*${registry.host}/app`]) {
      const verdict = await judged(image, from(glob));
      expect(verdict).toMatchObject({ status: "attestation-missing", satisfied: false });
      expect(verdict.text).toContain(`; found in ${image.repository}, which no registry allowed here matches`);
      expect(verdict.refusals).toEqual([{ requirement: `registries: ${glob}`, found: `in ${image.repository}`, remedy: expect.stringContaining(glob) }]);
    }
  });

  test("add to what else is asked for, and are certain though not all that is attached could be had", async () => {
    const image = await imageWith(stated);
    const lacking = await judged(image, `${from("other.example/**")}\nbuild: { authorities: [pipeline], refs: ["refs/heads/main"] }`);
    expect(lacking.refusals.map(({ requirement }) => requirement)).toEqual([expect.stringContaining("build (ref"), "registries: other.example/**"]);
    const incomplete = ["the registry does not answer"];
    expect((await judged(image, from("other.example/**"), { incomplete })).status).toBe("attestation-missing");
    expect((await judged(image, from("**/rules/app"), { incomplete })).status).toBe("signed");
    const unsigned = await pushImage(`${registry.host}/rules/app`, { tag: "unsigned", layers: [{ unsigned: "registries" }] });
    expect((await judged(unsigned, from("**"))).status).toBe("unsigned");
    expect((await judged(unsigned, from("other.example/**"))).refusals).toHaveLength(2);
    const revoked = [{ reason: "bad", sinceMs: undefined, what: { kind: "digest", digest: image.manifestDigest } }] as const;
    expect(await judged(image, from("other.example/**"), { revocations: revoked })).toMatchObject({
      status: "revoked",
      text: expect.not.stringContaining("found in"),
    });
  });
});

describe("a base", () => {
  const on = (...chains: string[]) => `baseLayers: ${JSON.stringify(chains)}`;
  const ofTwo = (serial: string) => [{ "etc/base": "one" }, { "etc/more": "two" }, { app: serial }];
  const builtOn = async (name: string) => {
    const pushed = await pushImage(`${registry.host}/rules/app`, { tag: name, layers: ofTwo(name) });
    const statement = { _type: "https://in-toto.io/Statement/v1", subject: [{ digest: { sha256: pushed.manifestDigest.slice(7) } }] };
    const signed = await sigstore.bundle(Buffer.from(JSON.stringify({ ...statement, predicateType: SIGN_PREDICATE_TYPE, predicate: {} })), PIPELINE, {
      atMs: NOW,
    });
    await attachBundle(client, pushed, signed);
    return pushed;
  };
  const elsewhere = `sha256:${"e".repeat(64)}`;

  test("is told by the layers that an image begins with: by one or more of the lowest, in their order", async () => {
    const image = await builtOn("first");
    const chains = chainIdsOf(image.diffIds);
    for (const allowed of [[], [chains[0]], [chains[1]], [elsewhere, chains[1]], [chains[2]]] as string[][])
      expect((await judged(image, on(...allowed))).status, JSON.stringify(allowed)).toBe("signed");
    // A layer that is in it but not lowest, the base of another, its layers the other way round.
    const swapped = chainIdsOf([image.diffIds[1] ?? "", image.diffIds[0] ?? ""]);
    for (const other of [image.diffIds[1], image.diffIds[2], elsewhere, ...swapped, image.manifestDigest, image.configDigest] as string[]) {
      const verdict = await judged(image, on(other));
      expect(verdict, other).toMatchObject({ status: "attestation-missing", satisfied: false, text: expect.stringContaining("; built on none of the bases") });
      expect(verdict.refusals).toEqual([
        { requirement: `baseLayers: ${other}`, found: `layers ${chains.join(", ")}`, remedy: expect.stringContaining("base that is allowed") },
      ]);
    }
    const empty = await judged(image, on(elsewhere), { layers: [[]] });
    expect(empty.refusals).toMatchObject([{ found: "no layers" }]);
  });

  test("must be one that is allowed for each image that is judged; where layers are not known, nobody can tell", async () => {
    const image = await builtOn("second");
    const other = await pushImage(`${registry.host}/rules/app`, { tag: "other", layers: [{ "etc/base": "other" }] });
    const base = chainIdsOf(image.diffIds)[1] ?? "";
    expect((await judged(image, on(base), { layers: [image.diffIds, other.diffIds] })).status).toBe("attestation-missing");
    for (const layers of [undefined, []]) {
      const verdict = await judged(image, on(base), { layers });
      expect(verdict).toMatchObject({ status: "unknown", satisfied: false, text: expect.stringContaining("cannot tell what it is built on") });
      expect(verdict.refusals).toEqual([{ requirement: `baseLayers: ${base}`, found: expect.stringContaining("cannot tell"), remedy: expect.any(String) }]);
    }
    // It vouches for nobody.
    const unsigned = await pushImage(`${registry.host}/rules/app`, { tag: "unsigned-base", layers: ofTwo("unsigned") });
    expect((await judged(unsigned, on(base))).status).toBe("unsigned");
    expect((await judged(image, on(elsewhere), { incomplete: ["the registry does not answer"] })).status).toBe("attestation-missing");
  });

  test("that is trusted no more bars what is built on it, whoever signed that", async () => {
    const image = await builtOn("third");
    const [lowest = "", base = ""] = chainIdsOf(image.diffIds);
    const revoking = (chainId: string) => ({ revocations: [{ reason: "CVE-2026-0001", sinceMs: undefined, what: { kind: "layers", chainId } }] }) as const;
    for (const chainId of [lowest, base])
      expect(await judged(image, "", revoking(chainId))).toMatchObject({
        status: "revoked",
        text: "base revoked: CVE-2026-0001 (rule shop)",
        satisfied: false,
      });
    for (const chainId of [elsewhere, image.diffIds[1] ?? ""]) expect((await judged(image, "", revoking(chainId))).status).toBe("signed");
    expect(await judged(image, "", { ...revoking(elsewhere), layers: undefined })).toMatchObject({ status: "unknown", satisfied: false });
  });

  test("is shown of an image, and held against it, on the command line", async () => {
    const image = await builtOn("fourth");
    const base = chainIdsOf(image.diffIds)[1] ?? "";
    const reference = `${image.repository}:${image.tag}`;
    const shown = JSON.parse((await run("explain", policyFile(""), reference, "-o", "json")).out) as { baseLayers: string };
    expect(shown.baseLayers).toBe(chainIdsOf(image.diffIds).at(-1));
    expect(await run("explain", policyFile(on(base)), reference)).toMatchObject({
      code: 0,
      out: expect.stringContaining(`as a base        ${shown.baseLayers}`),
    });
    expect(await run("explain", policyFile(on(elsewhere)), reference)).toMatchObject({ code: 1, out: expect.stringContaining("built on none of the bases") });
    const index = await pushIndex(`${registry.host}/rules/app`, "many", ["amd64", "arm64"]);
    const { bytes: manifestBytes } = await client.manifest(index.repository, index.digest, 1 << 20, new AbortController().signal);
    const statement = { _type: "https://in-toto.io/Statement/v1", subject: [{ digest: { sha256: index.digest.slice(7) } }] };
    const signed = Buffer.from(JSON.stringify({ ...statement, predicateType: SIGN_PREDICATE_TYPE, predicate: {} }));
    await attachBundle(
      client,
      { repository: index.repository, manifestDigest: index.digest, manifestBytes },
      await sigstore.bundle(signed, PIPELINE, { atMs: NOW }),
    );
    const ofIndex = chainIdsOf(index.images[0]?.diffIds ?? [])[0] ?? "";
    const asked = (...more: string[]) => run("explain", policyFile(on(ofIndex)), `${index.repository}:many`, ...more);
    expect(await asked()).toMatchObject({ code: 3, out: expect.stringContaining("cannot tell what it is built on") });
    expect(await asked("--platform", "linux/arm64")).toMatchObject({ code: 0 });
  });
});

test("approvals count people, not words: each once, saying yes, to this digest, and lately", async () => {
  const APPROVAL = "https://hullmark.dev/approval/v1";
  const yes = (by: typeof PIPELINE, decision = "approved", atMs = NOW) => ({ type: APPROVAL, predicate: { decision }, by, atMs });
  const rule = (more = "") => `approvals: { authorities: [pipeline, scanner], threshold: 2${more} }`;
  expect((await judged(await imageWith(yes(PIPELINE), yes(SCANNER)), rule())).status).toBe("signed");
  const once = await judged(await imageWith(yes(PIPELINE), yes(PIPELINE)), rule());
  expect(once).toMatchObject({ status: "attestation-missing", missingAttestations: [APPROVAL] });
  expect(once.refusals[0]).toMatchObject({
    requirement: expect.stringContaining("2 of pipeline, scanner"),
    found: "by pipeline",
    remedy: expect.stringContaining("by scanner"),
  });
  expect((await judged(await imageWith(yes(PIPELINE), yes(SCANNER, "rejected")), rule())).status).toBe("attestation-missing");
  expect((await judged(await imageWith(yes(PIPELINE), yes(SCANNER, "approved", NOW - 3 * DAY_MS)), rule(", maxAge: 2d"))).status).toBe("attestation-missing");
});

describe("hullmark policy", () => {
  test("explain says which rule decides, what it asks for, what was found and what would do", async () => {
    const image = await imageWith({ type: SLSA_V1, predicate: v1() });
    const reference = `${image.repository}:${image.tag}`;
    expect(await run("explain", policyFile('build: { authorities: [pipeline], sources: ["https://github.com/acme/*"] }'), reference)).toMatchObject({
      code: 0,
      out: expect.stringContaining("✓ signed: signed by pipeline"),
    });
    const refused = await run("explain", policyFile('build: { authorities: [pipeline], refs: ["refs/heads/main"] }'), reference);
    expect(refused.code).toBe(1);
    for (const line of [
      "rule shop",
      "asked for  build (ref refs/heads/main): 1 of pipeline",
      "found  sha256:",
      "would do  attest",
      "exception  no exception can be asked for",
    ])
      expect(refused.out).toContain(line);
    const json = JSON.parse((await run("explain", policyFile(""), reference, "-o", "json")).out);
    expect(await run("explain", policyFile('registries: ["other.example/**"]'), reference)).toMatchObject({
      code: 1,
      out: expect.stringContaining("registries: other.example/**"),
    });
    expect(await run("explain", policyFile('registries: ["**/rules/*"]'), reference)).toMatchObject({ code: 0 });
    expect(json).toMatchObject({ rule: "shop", required: true, status: "signed", refusals: [], source: { builder: "https://builder.example/hosted@v2" } });
    expect(await run("explain", policyFile(""), `${registry.host}/rules/none:v1`)).toMatchObject({ code: 3 });
    expect(await run("explain", policyFile(""), reference, "--label", "tier")).toMatchObject({ code: 2, err: expect.stringContaining("want name=value") });
    expect(await run("explain", policyFile("nonsense: 1"), reference)).toMatchObject({ code: 2, err: expect.stringContaining("unknown key") });
  });

  test("init writes a policy that the image meets, out of what can be verified of it and nothing else", async () => {
    const image = await imageWith({ type: SLSA_V1, predicate: v1() });
    const file = join(folder, `init-${serial}.yaml`);
    const reference = `${image.repository}:${image.tag}`;
    expect(await run("init", file, "--from-image", reference)).toMatchObject({ code: 3, err: expect.stringContaining("no signature of") });
    expect(await run("init", file, "--from-image", reference, "--trust-root", "trusted_root.json", "--name", "first")).toMatchObject({ code: 0 });
    expect(await run("lint", "--strict", file)).toMatchObject({ code: 0 });
    const explained = await run("explain", file, reference, "-o", "json");
    expect(JSON.parse(explained.out)).toMatchObject({ rule: "signed", status: "signed", required: true, signedBy: ["pipeline"] });
    const text = readFileSync(file, "utf8");
    for (const part of [PIPELINE.subject, "https://github.com/acme/shop", "refs/tags/v1", "https://builder.example/hosted@v2"]) expect(text).toContain(part);
    const other = await imageWith({ type: SLSA_V1, predicate: v1({ ref: "refs/heads/main" }) });
    expect(await run("explain", file, `${other.repository}:${other.tag}`)).toMatchObject({
      code: 1,
      out: expect.stringContaining("was built from the ref refs/heads/main"),
    });
    expect(await run("init", file, "--from-image", reference, "--trust-root", "trusted_root.json")).toMatchObject({ code: 2 });
  });

  test("init selects one repository, as it may be written, and no other whose name begins so", () => {
    const signed = { image: { repository: "docker.io/library/nginx", digest: `sha256:${"a".repeat(64)}` }, keySigned: true, identities: [], unverified: [] };
    const text = policyFromImage({ ...signed, build: undefined } as never, { name: "p", keyFile: "k", trustRootFile: undefined }) ?? "";
    const parsed = parsePolicy(text, "p.yaml", { readKeyFile: () => anyKey });
    if (!parsed.ok) throw new Error(parsed.errors.map(formatProblem).join("\n"));
    const rule = (imageReference: string) => matchRule(parsed.policy, { imageReference, containerName: "", workload: "", nodeName: "", labels: {} })?.name;
    for (const name of ["nginx", "nginx:1.27", "library/nginx@sha256:1", "docker.io/library/nginx:1@sha256:1"]) expect(rule(name), name).toBe("signed");
    for (const name of ["nginx-evil", "nginx/evil", "other/nginx", "docker.io/library/nginx2:1"]) expect(rule(name), name).toBeUndefined();
  });

  test("test holds a policy against what is expected", async () => {
    const [good, bad] = [await imageWith({ type: SLSA_V1, predicate: v1() }), await imageWith()];
    policyFile('build: { authorities: [pipeline], sources: ["https://github.com/acme/*"] }');
    const cases = join(folder, "tests.yaml");
    const write = (accepted: boolean) =>
      writeFileSync(
        cases,
        JSON.stringify({
          policy: "explained.yaml",
          tests: [
            { name: "a release", image: `${good.repository}:${good.tag}`, expect: { accepted: true, status: "signed", rule: "shop" } },
            { name: "built by hand", image: `${bad.repository}:${bad.tag}`, expect: { accepted, status: "attestation-missing" } },
          ],
        }),
      );
    write(false);
    expect(await run("test", cases)).toMatchObject({ code: 0, out: "✓ a release\n✓ built by hand\n" });
    write(true);
    expect(await run("test", cases)).toMatchObject({
      code: 1,
      out: expect.stringContaining("✗ built by hand: accepted is false: signed by pipeline; attestation missing: build"),
    });
    for (const wrong of ["expects: {}", "expect: {}"]) {
      writeFileSync(cases, `policy: explained.yaml\ntests: [{ name: x, image: y, ${wrong} }]`);
      expect(await run("test", cases)).toMatchObject({ code: 2 });
    }
  });

  test("test takes what a failing registry does not tell for no refusal", async () => {
    const image = await imageWith();
    policyFile('build: { authorities: [pipeline], sources: ["https://github.com/acme/*"] }');
    const cases = join(folder, "failing.yaml");
    const reference = `${image.repository}:${image.tag}`;
    writeFileSync(cases, JSON.stringify({ policy: "explained.yaml", tests: [{ name: "built by hand", image: reference, expect: { accepted: false } }] }));
    expect(await run("test", cases)).toMatchObject({ code: 0 });
    registry.fault = (request, response) => {
      if (!request.url?.includes("/referrers/")) return false;
      response.writeHead(403).end();
      return true;
    };
    expect(await run("test", cases)).toMatchObject({ code: 3, out: expect.stringContaining("✗ built by hand: it cannot be told") });
    registry.fault = () => false;
    const absent = { name: "absent", image: `${registry.host}/rules/none:v1`, expect: { accepted: false } };
    const after = { name: "built by hand", image: reference, expect: { accepted: false } };
    writeFileSync(cases, JSON.stringify({ policy: "explained.yaml", tests: [absent, after] }));
    const { code, out } = await run("test", cases);
    expect([code, out.split("\n")[1]]).toEqual([3, "✓ built by hand"]);
    expect(out).toContain("✗ absent: it cannot be told: ");
  });

  test("explain of a platform tells that its config is revoked", async () => {
    const index = await pushIndex(`${registry.host}/rules/multi`, "v1", ["amd64", "arm64"]);
    const path = policyFile("");
    const reference = `${index.repository}@${index.digest}`;
    const explained = async () => (await run("explain", path, reference, "--platform", "linux/amd64", "-o", "json")).out;
    expect(JSON.parse(await explained()).status).toBe("unsigned");
    writeFileSync(path, `${policyText("")}  revocations: [{ reason: leaked, digest: "${index.images[0]?.configDigest}" }]\n`);
    expect(JSON.parse(await explained())).toMatchObject({ status: "revoked", text: expect.stringContaining("leaked") });
  });
});

describe("vulnerabilities", () => {
  const SSL: Shown = { id: "CVE-2025-0001", name: "libssl3", version: "3.0.11-1", severity: "High", fixed: "3.0.15-1" };
  const wanted = (more = "") => `vulnerabilities: { maxSeverity: medium${more} }`;
  const cosign = (result: object, scanFinishedOn = new Date(NOW).toISOString()): Attached => ({
    ...{ type: VULN, predicate: { scanner: { uri: "trivy", result }, metadata: { scanFinishedOn } }, by: SCANNER },
  });
  const clean = (createdAt = new Date(NOW - DAY_MS).toISOString()) => trivyReport([], { createdAt });
  const found = (...shown: readonly Shown[]) => trivyReport(shown, { createdAt: new Date(NOW - DAY_MS).toISOString() });
  /** As the verifier asks. @param imported what an admin handed in for it */
  const asked = (image: PushedImage, require: string, ...imported: readonly object[]) => {
    writeFileSync(join(folder, "policy.yaml"), policyText(require));
    const { parsed } = loadPolicyFile(join(folder, "policy.yaml"));
    const rule = parsed.ok ? parsed.policy.rules[0] : undefined;
    if (!rule?.vulnerabilities && !rule?.risk) throw new Error(JSON.stringify(parsed));
    const reports = imported.map(
      (report, i): Vouched => ({ ...readReport(report), digest: `sha256:${i}`, recordedAtMs: NOW, importedBy: "ada", authorities: [] }),
    );
    return judged(image, require, {
      scans: askedScans(rule, () => [{ digests: [image.manifestDigest, image.configDigest], imported: reports }]),
    });
  };

  test("without a scan nothing is met, and it is said what would do; a list of parts, a statement, and what nobody can read are none", async () => {
    const parts = { bomFormat: "CycloneDX", specVersion: "1.6", components: [], vulnerabilities: [] };
    const image = await imageWith(cosign({ severities: [] }), { type: "https://cyclonedx.org/bom", predicate: parts, by: SCANNER });
    const verdict = await asked(image, wanted(), openvexDocument([]));
    expect(verdict).toMatchObject({ status: "attestation-missing", satisfied: false, text: expect.stringContaining("; vulnerabilities: no scan") });
    expect(verdict.refusals).toEqual([
      {
        requirement: "vulnerabilities: none graver than medium, none known to be exploited",
        ...{ found: "no scan", remedy: `scan ${image.manifestDigest} and attest the result (type vuln), or hand it in: hullmark vulnerabilities import` },
      },
    ]);
  });

  test("a scan that an authority signed counts, and one that an admin handed in, unless policy says otherwise; one by a stranger does not", async () => {
    expect((await asked(await imageWith(cosign(clean())), wanted())).status).toBe("signed");
    const bare = await imageWith();
    expect((await asked(bare, wanted(), clean())).status).toBe("signed");
    expect((await asked(bare, wanted(", imported: false"), clean())).refusals).toMatchObject([
      { found: "no scan", requirement: expect.stringContaining("signed reports alone") },
    ]);
    const stranger = await imageWith({ ...cosign(clean()), by: { subject: "mallory@example.com", issuer: SCANNER.issuer } });
    expect((await asked(stranger, wanted())).status).toBe("attestation-missing");
    // It vouches for nobody.
    const unsigned = await pushImage(`${registry.host}/rules/app`, { tag: "unsigned-scan", layers: [{ unsigned: "scan" }] });
    expect((await asked(unsigned, wanted(), clean())).status).toBe("unsigned");
  });

  test("a signed scan that names another image is not of this one", async () => {
    const other = trivyReport([], { config: `sha256:${"e".repeat(64)}`, createdAt: new Date(NOW).toISOString() });
    expect((await asked(await imageWith(cosign(other)), wanted())).refusals).toMatchObject([{ found: "no scan" }]);
  });

  test("what is graver, or known to be exploited, is named with what would do; a fix that is not there and a statement of the maker excuse", async () => {
    const image = await imageWith();
    const grave = await asked(image, wanted(), found(SSL, { ...SSL, id: "CVE-2025-0002", severity: "Low" }));
    expect(grave).toMatchObject({
      status: "attestation-missing",
      refusals: [{ found: "CVE-2025-0001 in libssl3 3.0.11-1 (high)", remedy: "update libssl3 to 3.0.15-1" }],
    });
    const { fixed: _, ...unfixed } = SSL;
    expect((await asked(image, wanted(), found(unfixed))).status).toBe("attestation-missing");
    expect((await asked(image, wanted(", ignoreUnfixed: true"), found(unfixed))).status).toBe("signed");
    const exploited = grypeReport([{ ...unfixed, severity: "Low" }], { createdAt: new Date(NOW).toISOString() });
    expect((await asked(image, wanted(", ignoreUnfixed: true"), exploited)).refusals).toMatchObject([
      { found: expect.stringContaining("known to be exploited") },
    ]);
    expect((await asked(image, wanted(", allowKnownExploited: true"), exploited)).status).toBe("signed");
    expect((await asked(image, "vulnerabilities: { maxSeverity: none, allowKnownExploited: true }", exploited)).status).toBe("attestation-missing");
    const statement = {
      vulnerability: { name: "CVE-2025-0001" },
      products: [{ "@id": purlOf(SSL) }],
      status: "not_affected",
      justification: "component_not_present",
    };
    expect((await asked(image, wanted(), found(SSL), openvexDocument([statement]))).status).toBe("signed");
    const attested = await imageWith({ type: "https://openvex.dev/ns/v0.2.0", predicate: openvexDocument([statement]), by: SCANNER });
    expect((await asked(attested, wanted(), found(SSL))).status).toBe("signed");
    // Without a word its score decides, and that is 9.8.
    expect((await asked(image, wanted(), found({ ...SSL, severity: "Unknown" }))).refusals).toMatchObject([{ found: expect.stringContaining("(critical)") }]);
  });

  test("a scan grows old, and none is new because it was signed or handed in late", async () => {
    const fresh = wanted(", maxAge: 7d");
    const old = new Date(NOW - 8 * DAY_MS).toISOString();
    expect((await asked(await imageWith(cosign(clean())), fresh)).status).toBe("signed");
    expect((await asked(await imageWith(cosign(clean(old))), fresh)).refusals).toMatchObject([{ found: `the newest scan is of ${old}` }]);
    expect((await asked(await imageWith(cosign(clean(), old)), fresh)).status).toBe("attestation-missing");
    const bare = await imageWith();
    expect((await asked(bare, fresh, clean(old))).status).toBe("attestation-missing");
    expect((await asked(bare, fresh, clean(new Date(NOW + DAY_MS).toISOString()))).status).toBe("attestation-missing");
    expect((await asked(bare, fresh, { ...clean(), CreatedAt: undefined })).refusals).toMatchObject([{ found: "no scan says when it was made" }]);
    expect((await asked(bare, wanted(), { ...clean(), CreatedAt: undefined })).status).toBe("signed");
  });

  test("risk is what scans say, by a limit or by a condition over its terms; unknown it passes nothing", async () => {
    const image = await imageWith();
    const risk = (limits: string, ...imported: readonly object[]) => asked(image, `risk: { ${limits} }`, ...imported);
    // Without a scan, and with what only excuses.
    for (const limits of ["max: 70", 'where: "true"', 'where: "risk.score >= 0"'])
      expect(await risk(limits, openvexDocument([]))).toMatchObject({ status: "attestation-missing", refusals: [{ found: "no scan: its risk is not known" }] });
    expect((await risk("max: 0", clean())).status).toBe("signed");
    // One of high severity: 50 * 8 / 48.
    expect((await risk("max: 8", found(SSL))).status).toBe("signed");
    const refused = await risk("max: 7", found(SSL));
    expect(refused.text).toContain("; risk: 8 (vulnerabilities 8: 1 open, the heaviest CVE-2025-0001 in libssl3");
    expect(refused.refusals).toMatchObject([
      {
        requirement: "risk: at most 7",
        found: expect.stringMatching(/^8 \(vulnerabilities 8: .*; scan 0: /),
        remedy: expect.stringContaining("update libssl3 3.0.11-1 to 3.0.15-1"),
      },
    ]);
    // A scan of five weeks ago: two for each week begun beyond the first.
    const old = trivyReport([], { createdAt: new Date(NOW - 35 * DAY_MS).toISOString() });
    expect((await risk("max: 8", old)).status).toBe("signed");
    expect((await risk("max: 7", old)).refusals).toMatchObject([{ remedy: expect.stringContaining("scan it again") }]);
    for (const [where, status] of [
      ["risk.score == 8 && risk.terms.vulnerabilities == 8 && risk.terms.scan == 0", "signed"],
      ["risk.terms.vulnerabilities < 8", "attestation-missing"],
      ["risk.terms.drift == 0", "attestation-missing"],
      ["predicate == 1", "attestation-missing"],
      ["risk.score", "attestation-missing"],
    ])
      expect((await risk(`where: "${where}"`, found(SSL))).status, where).toBe(status);
    expect((await risk("max: 70, imported: false", clean())).refusals).toMatchObject([{ found: "no scan: its risk is not known" }]);
    expect((await asked(await imageWith(cosign(clean())), "risk: { max: 0, imported: false }")).status).toBe("signed");
    // From the future it is not fresh, and not dated.
    expect((await risk("max: 7", { ...clean(new Date(NOW + DAY_MS).toISOString()) })).status).toBe("attestation-missing");
    // Both must please.
    expect((await asked(image, `${wanted()}\nrisk: { max: 70 }`, found(SSL))).refusals).toMatchObject([
      { requirement: expect.stringContaining("vulnerabilities") },
    ]);
  });

  test("each of several images must please, and where none is known nobody can tell", async () => {
    const image = await imageWith();
    const requirement = { maxSeverity: "high" as const, ignoreUnfixed: false, allowKnownExploited: false, maxAgeSeconds: undefined, imported: true };
    const report: Vouched = { ...readReport(clean()), digest: "sha256:1", recordedAtMs: NOW, importedBy: "ada", authorities: [] };
    const of = (...imported: (readonly Vouched[])[]) => ({
      ...{ vulnerabilities: requirement, risk: undefined },
      images: imported.map((each, i) => ({ digests: [`sha256:${i}`], imported: each })),
    });
    expect((await judged(image, "readOnlyRoot: false", { scans: of([report], [report]) })).status).toBe("signed");
    expect((await judged(image, "readOnlyRoot: false", { scans: of([report], []) })).status).toBe("attestation-missing");
    expect((await judged(image, "readOnlyRoot: false", { scans: of() })).status).toBe("attestation-missing");
    // What could not be fetched may be the statement that excuses it.
    expect((await judged(image, "readOnlyRoot: false", { scans: of([]), incomplete: ["the registry does not answer"] })).status).toBe("unknown");
  });
});
