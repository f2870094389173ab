/** An exception excuses what it was asked for from, and nothing that somebody has not looked at: no other content, kind, path, workload or image, nothing graver, nothing that can be executed. */
import { Severity } from "@hullmark/proto/v1/common";
import type { Finding } from "@hullmark/verifier/core/appraisal/index";
import { type AskedScope, scopeOf } from "@hullmark/verifier/core/policy/exception-scope";
import { containerRules, DRIFT_KINDS, DRIFT_PLACES, defaultPolicy } from "@hullmark/verifier/core/policy/index";
import type { DriftRow } from "@hullmark/verifier/ports/rows";
import fc from "fast-check";
import { expect, test } from "vitest";
import { drift } from "../contract/store-fixtures.ts";

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
  .map(({ content, ...fields }) => drift(1, { ...fields, differences: [{ field: "sha256", expected: "a", observed: String(content) }] }));
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
  const { imageReference, containerName, workload, nodeName, configDigest } = other;
  const policy = { ...defaultPolicy(), granted: [{ id: "X-1", ...scoped.scope }] };
  const rules = containerRules(policy, { imageReference, containerName, workload, nodeName, configDigest, labels: {} });
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
