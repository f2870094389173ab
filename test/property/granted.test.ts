/** An exception excuses what it was asked for from, and nothing that somebody has not looked at: no other content, kind, path, workload or image, nothing graver, nothing that can be executed. */
import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { encodeRecord } from "@hullmark/proto/codec";
import { BindFileSchema, ContainerConfigurationSchema } from "@hullmark/proto/v1/attestation";
import { Severity } from "@hullmark/proto/v1/common";
import { appraiseBindFiles } from "@hullmark/verifier/core/appraisal/appraise-binds";
import { fileFinding } from "@hullmark/verifier/core/appraisal/findings";
import type { ContainerInput, Finding } from "@hullmark/verifier/core/appraisal/index";
import { type AnyFinding, updateDrift } from "@hullmark/verifier/core/fleet/drift-rows";
import { type AskedScope, scopeOf } from "@hullmark/verifier/core/policy/exception-scope";
import { containerRules, DRIFT_KINDS, DRIFT_PLACES, defaultPolicy } from "@hullmark/verifier/core/policy/index";
import type { DriftRow } from "@hullmark/verifier/ports/rows";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { drift, T0 } from "../contract/store-fixtures.ts";

const NARROW: AskedScope = { path: "", anyContent: false, anyImage: false };
const anyName = fc.constantFrom("web", "we?", "*", "shop/cart", "a\\b", "");
const anyPath = fc
  .constantFrom("/etc/app.conf", "/etc/app/a.conf", "/var/lib/x/y.db", "/var/lib/x/y*.db", "/a", "/srv/\u00ff/ü.txt")
  .map((path) => Buffer.from(path));
/** So that what is asked for can be had. */
const mostly = <T>(usual: T, all: readonly T[]) => fc.oneof({ weight: 4, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...all) });
const anyDrift = fc
  .record({
    ...{ place: mostly("upper", DRIFT_PLACES), kind: mostly("content", DRIFT_KINDS), path: anyPath, executable: fc.constantFrom(true, false, undefined) },
    ...{ severity: fc.constantFrom(Severity.LOW, Severity.MEDIUM, Severity.HIGH), workload: anyName, content: fc.nat(3) },
    containerName: fc.constantFrom("web-1", "shop/cart-x/web", "shop/cart-y/web", "w*"),
    configDigest: fc.constantFrom("sha256:1", "sha256:2"),
  })
  .map(({ content, ...fields }) =>
    drift(1, {
      ...fields,
      differences: [
        { field: "type", expected: "file", observed: "symlink" },
        { field: "sha256", expected: "a", observed: String(content).repeat(64) },
      ],
    }),
  );
const anyAsked: fc.Arbitrary<AskedScope> = fc.record({
  path: fc.constantFrom(
    "",
    "",
    "/etc/app/*.conf",
    "/var/lib/x/y?*",
    "/**",
    "/etc/*",
    "/etc/app.conf",
    "/*/*/a.conf",
    "relative/*",
    "/var/lib/x/**",
    "/bad[",
    "\\",
  ),
  ...{ anyContent: fc.boolean(), anyImage: fc.boolean() },
});

const findingOf = ({ place, kind, path, severity, executable, differences }: DriftRow) =>
  ({ place, kind, path, severity, executable, differences, notice: false }) as unknown as Finding;

/** By which exception a policy that has this one lets a finding of another drift be. */
function excused(from: DriftRow, asked: AskedScope, other: DriftRow): boolean | undefined {
  const scoped = scopeOf(from, asked);
  if (!scoped.ok) return undefined;
  const { imageReference, containerName, workload, service, nodeName, configDigest } = other;
  // As it is stored.
  const granted = [{ id: "X-1", ...JSON.parse(JSON.stringify(scoped.scope)) }];
  const rules = containerRules({ ...defaultPolicy(), granted }, { imageReference, containerName, workload, service, nodeName, configDigest, labels: {} });
  return rules.excepted?.(findingOf(other)) === "X-1";
}

/** One container of a pod has another name in each of them. */
const role = ({ containerName, workload }: DriftRow): string => {
  const parts = containerName.split("/");
  return parts.length === 3 ? `${workload} ${parts[0]} ${parts[2]}` : workload;
};

test("over any two drifts and whatever is asked for", () => {
  let [narrow, wide, refused] = [0, 0, 0];
  fc.assert(
    fc.property(anyDrift, anyDrift, anyAsked, (from, other, asked) => {
      const itself = excused(from, asked, from);
      if (itself === undefined) {
        refused++;
        const scoped = scopeOf(from, asked);
        // What is offered instead would be taken.
        const [, offered] = /^--path '(.*)'$/.exec(scoped.ok ? "" : scoped.offer) ?? [];
        if (offered !== undefined) expect(excused(from, { ...NARROW, path: offered }, from)).toBe(true);
        else if (!scoped.ok && scoped.offer !== "") expect(excused(from, { ...NARROW, anyImage: asked.anyImage }, from)).toBe(true);
        return;
      }
      expect(itself).toBe(true);
      const isWide = asked.path !== "" || asked.anyContent;
      if (isWide) wide++;
      else narrow++;
      if (!excused(from, asked, other)) return;
      if (from.workload === "") expect(other.containerName).toBe(from.containerName);
      else expect(role(other)).toBe(role(from));
      expect(other.place).toBe(from.place);
      expect(other.severity).toBeLessThanOrEqual(from.severity);
      if (!asked.anyImage) expect(other.configDigest).toBe(from.configDigest);
      if (asked.path === "") expect(other.path).toEqual(from.path);
      if (isWide) expect(other.executable).toBe(false);
      else expect([other.kind, other.differences]).toEqual([from.kind, from.differences]);
    }),
    { numRuns: 20_000 },
  );
  expect(Math.min(narrow, wide, refused)).toBeGreaterThan(50);
});

test("services of one name in two Compose projects are two", () => {
  const of = (service: string | undefined): DriftRow => drift(1, { place: "upper", kind: "content", workload: "api", service });
  // Of a project, of none, and where nobody tells: an older verifier's record, and what was granted by that, go by the name alone.
  const services = ["a/api", "b/api", "api", undefined];
  const covered = services.map((from) => services.filter((other) => excused(of(from), NARROW, of(other))));
  expect(covered).toEqual([["a/api"], ["b/api"], ["api"], services]);
  expect(excused(of("a/api"), { path: "", anyContent: false, anyImage: true }, of("b/api"))).toBe(false);
});

test("drift that was open before its service was kept has it once it is told anew, and keeps the one that it has", () => {
  const finding = { kind: "content", place: "upper", severity: 3, layerIndex: -1, differences: [], notice: false } as unknown as AnyFinding;
  const told = (before: string | undefined, now: string | undefined) =>
    updateDrift(drift(1, { service: before }), finding, { ...drift(1, { service: now }), layer: () => ({ diffId: "", history: "" }) }, T0).service;
  expect([told(undefined, "a/api"), told("a/api", "b/api"), told("a/api", undefined), told(undefined, undefined)]).toEqual([
    "a/api",
    "a/api",
    "a/api",
    undefined,
  ]);
});

test("where the image's digest is not known, what is bound to one does not count", () => {
  const row = drift(1, { place: "upper", kind: "content" });
  const scoped = scopeOf(row, NARROW);
  if (!scoped.ok) throw new Error(scoped.why);
  const { imageReference, containerName, workload, nodeName } = row;
  const rules = containerRules(
    { ...defaultPolicy(), granted: [{ id: "X-1", ...scoped.scope }] },
    { imageReference, containerName, workload, nodeName, labels: {} },
  );
  expect(rules.excepted?.(findingOf(row))).toBeUndefined();
});

describe("what was not seen is not excused", () => {
  const rules = containerRules(defaultPolicy(), { imageReference: "i", containerName: "c", workload: "w", labels: {}, nodeName: "n" });
  /** What a drift is that such a finding makes. */
  const driftOf = ({ kind, place, path, severity, executable, differences }: Finding): DriftRow =>
    drift(1, { kind, place, path, severity, executable, differences });

  test("further lines of a file of the engine's, after the first that is wrong", () => {
    const hosts = (...lines: string[]): Finding => {
      const content = Buffer.from(`127.0.0.1\tlocalhost\n${lines.join("\n")}\n`);
      const file = create(BindFileSchema, { destination: "/etc/hosts", mode: 0o644, content, sha256: createHash("sha256").update(content).digest() });
      const state = { filesystem: { bindFiles: [file], claims: [] }, configuration: create(ContainerConfigurationSchema, { hostname: "web" }) };
      const [found] = appraiseBindFiles({ state, rules } as unknown as ContainerInput);
      if (!found) throw new Error("nothing is found");
      return found;
    };
    const [seen, more] = [driftOf(hosts("10.0.0.1\tdb")), driftOf(hosts("10.0.0.1\tdb", "6.6.6.6\tregistry.example"))];
    expect(excused(seen, NARROW, seen)).toBe(true);
    expect(excused(seen, NARROW, more)).toBe(false);
  });

  test("another target of what stands in a file's place", () => {
    const owner = { mode: 0o777, uid: 0, gid: 0, xattrs: [] };
    const file = encodeRecord({ ...owner, type: "f", mode: 0o644, size: 1n, sha256: Buffer.alloc(32, 1) });
    const link = (target: string): Finding => {
      const observed = encodeRecord({ ...owner, type: "l", target: Buffer.from(target) });
      const found = fileFinding(
        { place: "upper", path: Buffer.from("etc/app.conf"), expected: file, observed, layerIndex: 0, actor: undefined, changedAtMs: undefined },
        rules,
      );
      if (!found) throw new Error("nothing is found");
      return found;
    };
    const [seen, other] = [driftOf(link("/srv/app.conf")), driftOf(link("/proc/1/environ"))];
    expect(excused(seen, NARROW, seen)).toBe(true);
    expect(excused(seen, NARROW, other)).toBe(false);
    expect(link("/srv/app.conf").summary).toBe("type file → symlink");
  });

  const digest = { field: "sha256", expected: "absent", observed: "a".repeat(64) };
  const [code, changed] = [
    { field: "code", expected: "a file of the image", observed: "from memory (memfd), no file at all" },
    { field: "content", expected: "a file that can be read, at most 16 KiB", observed: "unreadable or larger" },
  ];
  const opaque = { field: "opaque", expected: "false", observed: "true" };
  test.each<[string, Partial<DriftRow>, boolean]>([
    ["code of which no digest is told", { place: "process", kind: "code-memfd", differences: [code] }, false],
    ["code of which one is", { place: "process", kind: "code-upper", differences: [code, digest] }, true],
    ["a file of the engine's that could not be read", { place: "bind", kind: "bind-file", differences: [changed] }, false],
    ["a variable's value", { place: "configuration", kind: "env", differences: [{ field: "env LD_PRELOAD", expected: "absent", observed: "set" }] }, false],
    ["that a variable is not there", { place: "configuration", kind: "env", differences: [{ field: "env A", expected: "set", observed: "absent" }] }, true],
    [
      "a command whose end is not told",
      { place: "configuration", kind: "args", differences: [{ field: "args", expected: "", observed: `${"x".repeat(255)}…` }] },
      false,
    ],
    [
      "an attribute whose end is not told",
      { kind: "xattr", differences: [{ field: "xattr user.a", expected: "absent", observed: "0x00… (80 bytes)" }] },
      false,
    ],
    ["a type alone, as older rows have it", { kind: "type", differences: [{ field: "type", expected: "file", observed: "symlink" }] }, false],
    [
      "a directory made anew that hides more than is told",
      { kind: "removed", differences: [opaque, { field: "/usr/bin/a", expected: "file", observed: "hidden" }] },
      false,
    ],
    ["a file that is gone", { kind: "removed", differences: [{ field: "sha256", expected: "a", observed: "absent" }] }, true],
  ])("%s", (_name, change, ok) => {
    const row = drift(1, { place: "upper", kind: "content", ...change });
    expect(scopeOf(row, NARROW)).toMatchObject(ok ? { ok } : { ok, code: "NOT_EXCUSABLE" });
  });

  test("an image that is not known yet is not every image", () => {
    const row = drift(1, { place: "upper", kind: "content", configDigest: "", differences: [digest] });
    expect(scopeOf(row, NARROW)).toMatchObject({ ok: false, code: "NOT_EXCUSABLE" });
    expect(scopeOf(row, { ...NARROW, anyImage: true })).toMatchObject({ ok: true });
  });
});
