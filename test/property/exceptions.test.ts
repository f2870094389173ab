/** Exceptions of teams: only what the cluster's policy allows, only in their own namespace, only the file that is named, only until their day. */
import { defaultPolicy, judgeException, mutableClassesFor } from "@hullmark/verifier/core/policy/index";
import type { ExceptionTerms, SelectableContainer } from "@hullmark/verifier/core/policy/types";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

const DAY_MS = 86_400_000;
const NOW_MS = Date.UTC(2026, 10, 26);
const TERMS: ExceptionTerms = { classes: ["data"], namespaces: [], maxDays: 30 };
const SPEC = { workload: "cart", paths: ["/etc/app.conf"], expires: "2026-12-01T00:00:00Z", reason: "INC-1" };
const judge = (spec: object, terms = TERMS, namespace = "shop", nowMs = NOW_MS) =>
  judgeException({ namespace, name: "hotfix", createdMs: NOW_MS, spec: { ...SPEC, ...spec } }, terms, nowMs);
const container = (containerName: string, workload: string): SelectableContainer => ({
  containerName,
  workload,
  imageReference: "acme/cart",
  labels: {},
  nodeName: "w-1",
});

/** Whether the path may change in the container, by the exception alone. */
function excuses(judged: ReturnType<typeof judge>, where: SelectableContainer, path: string, executable = false): boolean {
  const exceptions = judged.inForce ? [judged.mutable] : [];
  return mutableClassesFor({ ...defaultPolicy(), mutable: [], exceptions }, where)(Buffer.from(path), executable);
}

test("one that is allowed excuses its file in its workload, and nothing else", () => {
  const judged = judge({});
  const own = container("shop/cart-6d9-x2k/web", "shop/cart");
  expect(excuses(judged, own, "/etc/app.conf")).toBe(true);
  expect(excuses(judged, own, "/etc/app.conf", true)).toBe(false);
  for (const path of ["/etc/app.conf2", "/etc/app", "/etc", "/etc/app.conf/x"]) expect(excuses(judged, own, path), path).toBe(false);
  expect(excuses(judged, container("shop/web-1/web", "shop/web"), "/etc/app.conf")).toBe(false);
  expect(excuses(judge({ class: "any" }, { ...TERMS, classes: ["any"] }), own, "/etc/app.conf", true)).toBe(true);
  const one = judge({ containers: ["web"] });
  expect(excuses(one, own, "/etc/app.conf")).toBe(true);
  expect(excuses(one, container("shop/cart-6d9-x2k/side", "shop/cart"), "/etc/app.conf")).toBe(false);
});

test("the cluster's policy decides: by default nothing counts", () => {
  const reasons = (terms: Partial<ExceptionTerms>, spec = {}, namespace = "shop") => {
    const judged = judge(spec, { ...TERMS, ...terms }, namespace);
    return judged.inForce ? "in force" : judged.reason;
  };
  expect(reasons(defaultPolicy().exceptionTerms)).toBe("NotAllowed");
  expect(reasons({}, { class: "any" })).toBe("NotAllowed");
  expect(reasons({ namespaces: ["team-*"] })).toBe("NotAllowed");
  expect(reasons({ namespaces: ["team-*"] }, {}, "team-a")).toBe("in force");
  expect(reasons({ maxDays: 4 })).toBe("NotAllowed");
  expect(reasons({ maxDays: 5 })).toBe("in force");
  expect(judge({}, { ...TERMS, maxDays: 4 })).toMatchObject({ message: expect.stringContaining("expires 2026-11-30T00:00:00.000Z would do") });
});

test("it ends on its day, by the verifier's clock", () => {
  const ends = Date.parse(SPEC.expires);
  expect(judge({}, TERMS, "shop", ends - 1).inForce).toBe(true);
  expect(judge({}, TERMS, "shop", ends)).toMatchObject({ inForce: false, reason: "Expired" });
});

test("its life counts from when it was made: to write a later day is no way to keep it", () => {
  const later = { ...SPEC, expires: new Date(NOW_MS + 31 * DAY_MS).toISOString() };
  expect(judgeException({ namespace: "shop", name: "x", createdMs: NOW_MS, spec: later }, TERMS, NOW_MS + 20 * DAY_MS)).toMatchObject({ reason: "NotAllowed" });
});

describe("is refused", () => {
  test.each([
    ["without a day", { expires: undefined }],
    ["with a day that is none", { expires: "2026-02-30T00:00:00Z" }],
    ["without a reason", { reason: "" }],
    ["without a path", { paths: [] }],
    ["with a glob for a path", { paths: ["/etc/**"] }],
    ["with a star", { paths: ["/etc/*.conf"] }],
    ["with an escape", { paths: ["/etc/a\\*"] }],
    ["with a relative path", { paths: ["etc/app.conf"] }],
    ["with dots", { paths: ["/etc/../bin/sh"] }],
    ["with a directory's end", { paths: ["/etc/"] }],
    ["of the root", { paths: ["/"] }],
    ["with NUL", { paths: ["/etc/a\0b"] }],
    ["with a glob for a workload", { workload: "*" }],
    ["with a workload elsewhere", { workload: "../other/cart" }],
    ["with a glob for a container", { containers: ["*"] }],
    ["with what is not known", { severity: "low" }],
    ["of another class", { class: "all" }],
  ])("%s", (_, spec) => {
    expect(judge(spec)).toMatchObject({ inForce: false, reason: "Refused", message: expect.stringMatching(/./) });
  });

  test("where it is nothing at all", () => {
    for (const spec of [undefined, null, "x", 1, []])
      expect(judgeException({ namespace: "shop", name: "x", createdMs: 0, spec }, TERMS, NOW_MS).inForce).toBe(false);
  });
});

test("whatever one namespace writes excuses nothing in another", () => {
  const name = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?$/);
  fc.assert(
    fc.property(name, name, name, name, name, fc.option(name), (own, other, workload, pod, named, only) => {
      fc.pre(own !== other);
      const judged = judge({ workload, ...(only ? { containers: [only] } : {}), class: "any" }, { ...TERMS, classes: ["any"] }, own);
      expect(judged.inForce).toBe(true);
      // A node chooses what it calls its containers: both names have to fit.
      for (const where of [container(`${other}/${pod}/${named}`, `${other}/${workload}`), container(`${other}/${pod}/${only ?? named}`, `${own}/${workload}`)])
        expect(excuses(judged, where, "/etc/app.conf")).toBe(false);
    }),
    { numRuns: 300 },
  );
});
