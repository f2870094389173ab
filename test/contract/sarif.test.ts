/** What `-o sarif` writes holds against the published schema, whatever names workloads and nodes have. */
import { readFileSync } from "node:fs";
import { create } from "@bufbuild/protobuf";
import { Severity } from "@hullmark/proto/v1/common";
import { type Drift, DriftSchema, DriftState } from "@hullmark/proto/v1/query";
import { DRIFT_KINDS, DRIFT_PLACES } from "@hullmark/verifier/core/policy/kinds";
import AjvDraft4 from "ajv-draft-04";
import addFormats from "ajv-formats";
import fc from "fast-check";
import { driftFindings } from "hullmark/output/drift-sarif";
import { sarifLog } from "hullmark/output/sarif";
import { verdictFinding } from "hullmark/output/verdict-sarif";
import { expect, test } from "vitest";

// https://github.com/oasis-tcs/sarif-spec, sarif-2.1/schema/sarif-schema-2.1.0.json (errata 01), as published.
const schema = JSON.parse(readFileSync(new URL("../vectors/sarif/sarif-schema-2.1.0.json", import.meta.url), "utf8")) as object;
const ajv = new AjvDraft4.default({ strict: false, allErrors: true });
addFormats.default(ajv);
const isSarif = ajv.compile(schema);

interface Log {
  readonly runs: readonly {
    readonly tool: { readonly driver: { readonly rules: readonly { readonly id: string }[] } };
    readonly automationDetails: { readonly id: string };
    readonly versionControlProvenance?: readonly { readonly repositoryUri: string; readonly revisionId?: string }[];
    readonly results: readonly {
      readonly ruleId: string;
      readonly ruleIndex: number;
      readonly level: string;
      readonly kind: string;
      readonly baselineState?: string;
      readonly message: { readonly text: string };
      readonly partialFingerprints: Readonly<Record<string, string>>;
      readonly suppressions?: readonly { readonly status: string; readonly justification: string }[];
      readonly locations: readonly {
        readonly physicalLocation?: { readonly artifactLocation: { readonly uri: string } };
        readonly logicalLocations: readonly { readonly kind: string; readonly name: string }[];
      }[];
    }[];
  }[];
}

function valid(text: string): Log {
  const log = JSON.parse(text) as Log;
  isSarif(log);
  expect(isSarif.errors ?? []).toEqual([]);
  return log;
}
const logOf = (...drifts: readonly Drift[]): Log => valid(sarifLog("drift", driftFindings(drifts, "hullmark")));

function drift(fields: Partial<Omit<Drift, "$typeName" | "provenance" | "origin">> & { commit?: string; repository?: string; place?: string } = {}): Drift {
  const { commit = "c0ffee", repository = "git+https://git.example/acme/shop", place = "upper", ...rest } = fields;
  return create(DriftSchema, {
    ...{ id: "D-7K2Q", kind: "content", severity: Severity.HIGH, state: DriftState.OPEN, workload: "shop", containerName: "shop-1", nodeName: "w-1" },
    ...{ imageReference: "registry.example/shop:1", configDigest: `sha256:${"1".repeat(64)}`, path: Buffer.from("/etc/app.conf"), summary: "sha256 a → b" },
    origin: { place, layerIndex: 2, diffId: "sha256:77ab", history: "COPY app.conf /etc/ # buildkit" },
    provenance: { sourceRepository: repository, commit },
    ...rest,
  });
}

test("the schema is held: what is not SARIF is refused", () => {
  const log = JSON.parse(sarifLog("drift", driftFindings([drift()], "hullmark")));
  expect(isSarif(log)).toBe(true);
  for (const wrong of [{ level: "high" }, { kind: "fine" }, { message: {} }, { ruleIndex: -2 }, { unknown: 1 }])
    expect(isSarif({ ...log, runs: [{ ...log.runs[0], results: [{ ...log.runs[0].results[0], ...wrong }] }] }), JSON.stringify(wrong)).toBe(false);
  expect(isSarif({ ...log, runs: [{ ...log.runs[0], versionControlProvenance: [{ repositoryUri: "no address" }] }] })).toBe(false);
});

test("a drift: rule, level, place, commit", () => {
  const [run] = logOf(drift()).runs;
  expect(run?.versionControlProvenance).toEqual([{ repositoryUri: "https://git.example/acme/shop", revisionId: "c0ffee" }]);
  expect(run?.tool.driver.rules.map(({ id }) => id)).toEqual(["content"]);
  expect(run?.results).toMatchObject([
    {
      ...{ ruleId: "content", ruleIndex: 0, level: "error", kind: "fail" },
      message: { text: "shop: /etc/app.conf altered: sha256 a → b (hullmark drift explain D-7K2Q)" },
      locations: [{ physicalLocation: { artifactLocation: { uri: "etc/app.conf" } } }],
    },
  ]);
  expect(run?.results[0]?.locations[0]?.logicalLocations.map(({ kind, name }) => [kind, name])).toEqual([
    ["workload", "shop"],
    ["container", "shop-1"],
    ["node", "w-1"],
    ["image", "registry.example/shop:1"],
    ["imageConfigDigest", `sha256:${"1".repeat(64)}`],
  ]);
});

test("one run for each commit, each another category; none at all is a run without results", () => {
  const { runs } = logOf(drift(), drift({ id: "D-2" }), drift({ commit: "beef" }));
  expect(runs.map(({ results }) => results.length)).toEqual([2, 1]);
  expect(new Set(runs.map(({ automationDetails }) => automationDetails.id)).size).toBe(2);
  expect(valid(sarifLog("drift", [])).runs).toMatchObject([{ results: [] }]);
});

test("a repository that is no address is left out, and so are credentials in one", () => {
  for (const repository of ["", "acme/shop", "javascript:alert(1)", "file:///etc/passwd", "https://", "x".repeat(5000)])
    expect(logOf(drift({ repository })).runs[0]?.versionControlProvenance, repository).toBeUndefined();
  expect(logOf(drift({ repository: "https://user:secret@git.example/x" })).runs[0]?.versionControlProvenance?.[0]?.repositoryUri).toBe("https://git.example/x");
});

test("the fingerprint is of what differs where: not of the run, the node, the build or the time", () => {
  const print = (of: Drift) => logOf(of).runs[0]?.results[0]?.partialFingerprints["hullmarkIdentity/v1"];
  const same = [drift({ id: "D-9" }), drift({ nodeName: "w-2" }), drift({ configDigest: "sha256:2" }), drift({ state: DriftState.RESOLVED })];
  for (const each of same) expect(print(each)).toBe(print(drift()));
  const others = [drift({ path: Buffer.from("/etc/b") }), drift({ kind: "mode" }), drift({ workload: "cart" }), drift({ place: "layer" })];
  expect(new Set([print(drift()), ...others.map(print)]).size).toBe(5);
});

test("what is over, excused or acknowledged says so", () => {
  const only = (fields: Parameters<typeof drift>[0]) => logOf(drift(fields)).runs[0]?.results[0];
  expect(only({ state: DriftState.RESOLVED })?.baselineState).toBe("absent");
  expect(only({ state: DriftState.NOTICE, exception: "X-1" })).toMatchObject({
    kind: "fail",
    suppressions: [{ status: "accepted", justification: "excused by X-1" }],
  });
  expect(only({ state: DriftState.ACKNOWLEDGED, acknowledgedBy: "ann", acknowledgedReason: "mine" })?.suppressions).toMatchObject([
    { justification: "acknowledged by ann: mine" },
  ]);
  expect(only({ state: DriftState.NOTICE, kind: "alias" })).toMatchObject({ kind: "informational", level: "none" });
  expect(only({})?.suppressions).toBeUndefined();
});

test("hostile names: valid, on one line, no link, no placeholder, no way out of the root", () => {
  const name = fc.oneof(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.constantFrom("[x](https://evil.example)", "{0}", "a\nb", "\x1b[2J", "\u202egnp", "..", ""),
  );
  const path = fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    fc.constantFrom("/../../etc/passwd", "//evil.example/x", "/a:b", "/%2e%2e/x", "/ü ?#").map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(
      fc.record({ workload: name, containerName: name, nodeName: name, imageReference: name, summary: name, path, commit: name, repository: name }),
      (fields) => {
        const [result] = logOf(drift({ ...fields, kind: "added" })).runs[0]?.results ?? [];
        const text = result?.message.text ?? "";
        expect(text).not.toMatch(/[\p{Cc}\p{Cf}]|(?<!\\)\[|(?<!\\)\]/u);
        expect(text.replaceAll("{{", "").replaceAll("}}", "")).not.toMatch(/[{}]/);
        const uri = result?.locations[0]?.physicalLocation?.artifactLocation.uri;
        if (fields.path.length === 0) expect(uri).toBeUndefined();
        else expect(uri).toMatch(/^(?!\.{1,2}(\/|$))(?!\/)[\w.~%/-]+$/);
        expect(uri?.split("/") ?? []).not.toContain("..");
      },
    ),
  );
});

test("every kind at every place", () => {
  const drifts = DRIFT_KINDS.flatMap((kind) => DRIFT_PLACES.map((place) => drift({ kind, place })));
  const [run] = logOf(...drifts).runs;
  expect(run?.results.length).toBe(drifts.length);
  for (const { ruleId, ruleIndex } of run?.results ?? []) expect(run?.tool.driver.rules[ruleIndex]?.id).toBe(ruleId);
});

test("a verdict on an image: what is not accepted is an error, also where it cannot be told", () => {
  const image = { repository: "registry.example/shop", digest: `sha256:${"2".repeat(64)}` };
  const none = { satisfied: false, missingAttestations: [], signedBy: [], authorities: [], artefacts: [], answers: [], reports: [] };
  const refusals = [{ requirement: "signatures: 1 of [release]", found: "none", remedy: "sign it" }];
  const source = { ...{ repository: "https://git.example/shop", ref: "", commit: "beef", builder: "", buildType: "", invocation: "" } };
  for (const status of ["unsigned", "unknown", "revoked"] as const) {
    const verdict = { ...none, status, text: "no signature", refusals, source } as unknown as Parameters<typeof verdictFinding>[0]["verdict"];
    const [run] = valid(sarifLog("verify", [verdictFinding({ image, verdict }, false)])).runs;
    expect(run?.results).toMatchObject([
      { ruleId: status, level: "error", kind: "fail", message: { text: expect.stringContaining("signatures: 1 of \\[release\\]: none") } },
    ]);
    expect(run?.versionControlProvenance).toMatchObject([{ repositoryUri: "https://git.example/shop", revisionId: "beef" }]);
    expect(valid(sarifLog("verify", [verdictFinding({ image, verdict }, true)])).runs[0]?.results).toMatchObject([{ level: "none", kind: "pass" }]);
  }
});
