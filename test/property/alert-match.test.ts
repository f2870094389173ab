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

it("looks at each of many nodes once for a route that does not take the alert, not with every plan", () => {
  const before = new AlertBook();
  const fleet = Array.from({ length: 100 }, (_, i) => subject({ driftId: `D-${i}`, nodeName: `w-${i}` }));
  before.apply(before.plan(fleet, [], 1_790_000_000_000));
  let looks = 0;
  const counted = [...before.alerts()].map(({ record, members }) => ({
    record,
    members: [...members.values()].map((member) => ({
      ...member,
      get workload() {
        looks++;
        return member.workload;
      },
    })),
  }));
  const book = new AlertBook(counted);
  const routes = [route("bank", { namespaces: ["bank"] })];
  const looked = (...subjects: ReturnType<typeof subject>[]) => {
    looks = 0;
    const plan = book.plan(subjects, routes, 1_790_000_001_000);
    book.apply(plan);
    return [looks, plan.commit.notifications.length];
  };
  expect(looked()).toEqual([100, 0]);
  expect(looked()).toEqual([0, 0]);
  expect(looked(subject({ driftId: "D-new", nodeName: "w-new" }))).toEqual([0, 0]);
  expect(looked()).toEqual([0, 0]);
  // It reaches the bank: the text of the page names all workloads.
  expect(looked(subject({ driftId: "D-bank", workload: "bank/x" }))[1]).toBe(1);
});

it("tells the same, whatever it remembers of who does not take an alert", () => {
  const workload = fc.constantFrom("shop/x", "bank/x", "dev/x");
  const step = fc.record({
    drift: fc.integer({ min: 0, max: 4 }),
    workload,
    state: fc.constantFrom("open", "acknowledged", "resolved"),
    lost: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const routes = [route("shop", { namespaces: ["shop"] }), route("bank", { namespaces: ["bank"] }), route("other", { kinds: ["breaker"] })];
      const [remembers, forgets] = [new AlertBook(), new AlertBook()];
      for (const [i, each] of steps.entries()) {
        const change = subject({ driftId: `D-${each.drift}`, workload: each.workload, state: each.state });
        const plans = [remembers.plan([change], routes, 1_790_000_000_000 + i), forgets.plan([change], [...routes], 1_790_000_000_000 + i)] as const;
        expect(plans[0].commit).toEqual(plans[1].commit);
        // A plan that did not become durable never was.
        if (!each.lost) for (const [at, book] of [remembers, forgets].entries()) book.apply(plans[at] as (typeof plans)[0]);
        const due = [remembers.plan([], routes, 1_790_000_000_000 + i), forgets.plan([], [...routes], 1_790_000_000_000 + i)] as const;
        expect(due[0].commit).toEqual(due[1].commit);
        remembers.apply(due[0]);
        forgets.apply(due[1]);
      }
    }),
  );
});
