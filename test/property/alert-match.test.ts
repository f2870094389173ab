/** Which routes an alert goes to: by hand, and against a naive reading of the rules. */
import { AlertBook, takes } from "@hullmark/verifier/core/alerting/index";
import type { AlertMatch } from "@hullmark/verifier/core/policy/types";
import fc from "fast-check";
import { expect, it } from "vitest";
import { EVERY_ALERT, subject, webhookRoute } from "../fakes/alert-subjects.ts";

const nodeRules = [
  { name: "gpu", nodes: ["gpu-*"] },
  { name: "rest", nodes: [] },
  { name: "never", nodes: ["gpu-1"] },
];
const route = (name: string, match: Partial<AlertMatch>, minSeverity: "info" | "critical" = "info") =>
  webhookRoute({ name, minSeverity, match: { ...EVERY_ALERT, ...match } });

it.each<[Partial<AlertMatch>, { kind?: string; node?: string; workload?: string }, boolean]>([
  [{}, { workload: "" }, true],
  [{ kinds: ["content"] }, {}, true],
  [{ kinds: ["content"] }, { kind: "added" }, false],
  [{ kinds: ["content"] }, { kind: "many" }, true],
  [{ kinds: ["breaker"] }, { kind: "breaker", workload: "" }, true],
  [{ namespaces: ["shop"] }, {}, true],
  [{ namespaces: ["sho?", "x"] }, {}, true],
  [{ namespaces: ["shop"] }, { workload: "shopping/cart" }, false],
  [{ namespaces: ["**"] }, { workload: "" }, false],
  [{ namespaces: ["**"] }, { workload: "cart" }, false],
  [{ nodes: ["w-*"] }, {}, true],
  [{ nodes: ["w-*"] }, { node: "gpu-1" }, false],
  [{ pools: ["gpu"], nodeRules }, { node: "gpu-1" }, true],
  [{ pools: ["gpu"], nodeRules }, {}, false],
  [{ pools: ["rest"], nodeRules }, {}, true],
  // The first rule that selects the node decides.
  [{ pools: ["never"], nodeRules }, { node: "gpu-1" }, false],
  [{ namespaces: ["shop"], nodes: ["w-07"], kinds: ["content"] }, {}, true],
  [{ namespaces: ["shop"], nodes: ["w-08"], kinds: ["content"] }, {}, false],
])("%j takes %j: %s", (match, { kind = "content", node = "w-07", workload = "shop/cart" }, expected) => {
  expect(takes({ ...EVERY_ALERT, ...match }, kind, [{ node, workload }])).toBe(expected);
});

it("takes what is somewhere that fits, as a whole: one place's node and another's namespace do not", () => {
  const namespaces = ["shop", "bank", "dev"];
  const nodes = ["a", "b"];
  const place = fc.record({ node: fc.constantFrom(...nodes), workload: fc.constantFrom("", ...namespaces.map((name) => `${name}/x`)) });
  fc.assert(
    fc.property(fc.subarray(namespaces), fc.subarray(nodes), fc.array(place, { minLength: 1, maxLength: 4 }), (wanted, on, places) => {
      const naive = places.some(({ node, workload }) => {
        const [namespace] = workload.split("/");
        return (wanted.length === 0 || (workload !== "" && wanted.includes(namespace ?? ""))) && (on.length === 0 || on.includes(node));
      });
      expect(takes({ ...EVERY_ALERT, namespaces: wanted, nodes: on }, "content", places)).toBe(naive);
    }),
  );
});

it("tells every route that takes the alert, and its end to those that were told, whatever they take by then", () => {
  const book = new AlertBook();
  const routes = [route("all", {}), route("shop", { namespaces: ["shop"] }), route("bank", { namespaces: ["bank"] }), route("grave", {}, "critical")];
  const told = (plan: ReturnType<AlertBook["plan"]>) => {
    book.apply(plan);
    return plan.commit.notifications.map(({ route: name, alerts }) => [name, alerts[0]?.status]);
  };
  expect(told(book.plan([subject({ severity: "high" })], routes, 1_790_000_000_000))).toEqual([
    ["all", "firing"],
    ["shop", "firing"],
  ]);
  const narrower = [route("all", {}), route("shop", { namespaces: ["other"] }), route("bank", {})];
  expect(told(book.plan([], narrower, 1_790_000_001_000))).toEqual([["bank", "firing"]]);
  expect(told(book.plan([subject({ severity: "high", state: "resolved" })], narrower, 1_790_000_002_000))).toEqual([
    ["all", "resolved"],
    ["shop", "resolved"],
    ["bank", "resolved"],
  ]);
});
