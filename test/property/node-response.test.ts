/** Nodes: for any verdicts in any order only what is contraindicated is marked, within the limits, and only what was put on is lifted. */
import { Severity, Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { ActionKind, ActionState, NodeMark, Outcome } from "@hullmark/proto/v1/response";
import { parsePolicy } from "@hullmark/verifier/core/policy/index";
import { HOUR_MS } from "@hullmark/verifier/core/response/breaker";
import { MAX_ATTEMPTS } from "@hullmark/verifier/core/response/decide";
import { decideNode, type NodeAct, type NodeSituation } from "@hullmark/verifier/core/response/decide-node";
import { affectedBy, openPoison, poisonOf, unhealed } from "@hullmark/verifier/core/response/poison";
import { standingMarks } from "@hullmark/verifier/core/response/standing-marks";
import { issued, newNodeAction, reported, settled } from "@hullmark/verifier/core/response/steps";
import type { ActionRow, DriftRow, NodeRow, WorkloadRow } from "@hullmark/verifier/ports/rows";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { drift, node, T0, workload } from "../contract/store-fixtures.ts";

function policyOf(nodes: string, more = "", mode = "enforce"): NodeSituation["policy"] {
  const text = `apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec:\n  mode: ${mode}\n  response:\n    nodes: ${nodes}\n${more}`;
  const parsed = parsePolicy(text, "p.yaml");
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
  return parsed.policy;
}

const rule = (more = ""): string => `{ rules: [{ name: all, marks: [cordon, label], actuators: [ops-*]${more} }] }`;
const MARK = policyOf(rule());
const DRY_RUN = policyOf(rule(), "", "dry-run");
const [LABEL, CORDON] = [NodeMark.LABEL, NodeMark.CORDON];
const OPS = { id: "ops", name: "ops-1", verdict: Verdict.WARNING };
const bad = (id = "n1", more: Partial<NodeRow> = {}): NodeRow => node(id, { name: `w-${id}`, verdict: Verdict.CONTRAINDICATED, ...more });
const open = (more: Partial<DriftRow> = {}): DriftRow => drift(1, { id: "D-1", state: DriftState.OPEN, place: "node", kind: "boot", containerId: "", ...more });

function situation(more: Partial<NodeSituation> = {}): NodeSituation {
  const history = more.history ?? [];
  return {
    ...{
      policy: MARK,
      node: bad(),
      drifts: [open()],
      poison: [],
      unhealed: false,
      history,
      standing: standingMarks(history),
      members: 10,
      isMember: () => true,
    },
    ...{ listening: [OPS], cluster: undefined, paused: false, nowMs: T0 },
    ...more,
  };
}

const why = (more: Partial<NodeSituation>): string => {
  const decision = decideNode(situation(more));
  return decision.act ? `act ${ActionKind[decision.kind]} ${decision.marks.join()}` : decision.why;
};

const intent = (number: number) => ({ id: Buffer.alloc(16, number), body: Buffer.alloc(1), signatures: [] });

function acting(more: Partial<NodeSituation> = {}): NodeAct {
  const decision = decideNode(situation(more));
  if (!decision.act) throw new Error(decision.why);
  return decision;
}

const LONG_AGO = T0 - 2 * HOUR_MS;
function past(state: ActionState, more: Partial<ActionRow> = {}, done: readonly NodeMark[] = [LABEL, CORDON]): ActionRow {
  const row = newNodeAction(1, acting(), ActionState.AWAITING, LONG_AGO);
  return { ...row, state, issuedAtMs: LONG_AGO, ...(row.node && { node: { ...row.node, done: state === ActionState.DONE ? done : [] } }), ...more };
}

const well = { node: node("n1", { name: "w-n1", verdict: Verdict.AFFIRMING }), drifts: [] };

const layer = (more: Partial<DriftRow> = {}): DriftRow =>
  drift(7, { id: "D-7", state: DriftState.OPEN, place: "layer", kind: "content", severity: Severity.CRITICAL, containerId: "c1", layerIndex: 0, ...more });

describe("a node whose layers are not the image's", () => {
  const attested = { node: node("n1", { name: "w-n1", verdict: Verdict.AFFIRMING }), drifts: [], poison: [layer()] };
  const standing = { ...well, history: [past(ActionState.DONE)] };

  test("is marked while it is attested, for that reason; what nobody vouches for is not believed of it", () => {
    expect(acting(attested)).toMatchObject({ kind: ActionKind.MARK_NODE, marks: [LABEL, CORDON], reason: "layer", drift: { id: "D-7" } });
    const verdicts = fc.constantFrom(Verdict.UNSPECIFIED, Verdict.AFFIRMING, Verdict.WARNING, Verdict.CONTRAINDICATED, Verdict.UNKNOWN);
    fc.assert(
      fc.property(verdicts, (verdict) => {
        const decision = decideNode(situation({ ...attested, node: node("n1", { name: "w-n1", verdict }) }));
        expect(decision.act).toBe(verdict === Verdict.AFFIRMING || verdict === Verdict.WARNING);
      }),
    );
    expect(why({ ...attested, policy: policyOf(rule(", reasons: [boot]")) })).toBe("not-contradicted");
    expect(why({ ...attested, policy: policyOf(rule(", reasons: [image, layer]")) })).toBe("act MARK_NODE 1,3");
    expect(why({ ...attested, history: [past(ActionState.DONE, { driftId: "D-7" })] })).toBe("contained");
  });

  test("is lifted once what was found is measured equal, and where policy says nothing of it any more when people say so", () => {
    expect(why(standing)).toBe("act LIFT_NODE 1,3");
    expect(why({ ...standing, unhealed: true })).toBe("not-measured");
    expect(why({ ...standing, unhealed: true, policy: policyOf(rule(", reasons: [boot]")) })).toBe("act LIFT_NODE 1,3");
    // Not before the purge that the same ends.
    const ending = (state: ActionState): Partial<NodeSituation> => {
      const purge = { chainId: "sha256:c", layerIndex: 0, imageDigests: [], containerIds: [], purgedAtMs: T0 };
      return { ...standing, history: [...(standing.history ?? []), past(state, { kind: ActionKind.PURGE, node: undefined, purge })] };
    };
    expect([ActionState.ISSUED, ActionState.DONE].map((state) => why(ending(state)))).toEqual(["not-measured", "act LIFT_NODE 1,3"]);
  });

  test("only what contradicts and is open counts, of its containers, and not what is theirs", () => {
    const rows = [
      ...[layer(), layer({ place: "runtime-layer" }), layer({ place: "image", kind: "replaced" }), layer({ place: "configuration", kind: "unlisted" })],
      ...[layer({ severity: Severity.LOW }), layer({ state: DriftState.ACKNOWLEDGED }), layer({ containerId: "" }), layer({ place: "upper" })],
      ...[layer({ place: "image", kind: "unsigned" }), layer({ place: "configuration" })],
    ];
    expect(openPoison(rows).map(poisonOf)).toEqual(["layer", "runtime-layer", "image", "unlisted"]);
  });

  test("everything that stands on one chain is listed once, also of images that other nodes run; what is of one container alone is its own", () => {
    const chains: Readonly<Record<string, readonly string[]>> = { a: ["base", "top-a"], b: ["base", "top-b"], c: ["other"] };
    const chainsOf = (configDigest: string): readonly string[] => chains[configDigest] ?? [];
    const runs = (containerName: string, configDigest: string) => ({ containerId: containerName, containerName, configDigest });
    const images = ["a", "b", "c"].map((configDigest) => ({ configDigest, references: [`r.example/${configDigest}:1`] }));
    const found = (drifts: DriftRow[]) => affectedBy(drifts, [runs("c1", "a"), runs("c2", "b"), runs("c3", "c")], images, chainsOf);
    const [one, two] = [layer({ configDigest: "a" }), layer({ id: "D-8", configDigest: "b", containerId: "c2", state: DriftState.RESOLVED })];
    expect(found([one, two])).toEqual([
      {
        ...{ place: "layer", layerIndex: 0, chainId: "base", open: true, driftIds: ["D-7", "D-8"] },
        ...{ containers: ["c1", "c2"], images: ["r.example/a:1", "r.example/b:1"], moreDrifts: 0, moreContainers: 0, moreImages: 0 },
        ...{ stopped: [], moreStopped: 0 },
      },
    ]);
    expect(found([two])).toMatchObject([{ open: false, containers: ["c1", "c2"] }]);
    expect(found([layer({ configDigest: "a", layerIndex: 1 })])).toMatchObject([{ chainId: "top-a", containers: ["c1"], images: ["r.example/a:1"] }]);
    const image = layer({ place: "image", kind: "replaced", layerIndex: -1, configDigest: "b", containerId: "c2" });
    const unlisted = layer({ place: "configuration", kind: "unlisted", layerIndex: -1, configDigest: "", containerId: "c3" });
    expect(
      found([image, unlisted]).map(({ place, layerIndex, chainId, containers, images: named }) => [place, layerIndex, chainId, containers, named]),
    ).toEqual([
      // It is gone once all that stands on its layers is.
      ["image", 1, "top-b", ["c2"], ["r.example/b:1"]],
      ["unlisted", -1, "", ["c3"], []],
    ]);
    expect(found([layer({ place: "image", kind: "replaced", layerIndex: -1, configDigest: "x", containerId: "c2" })])).toMatchObject([
      { place: "image", layerIndex: -1, chainId: "", containers: ["c2"] },
    ]);
    // Of an image whose layers are not known nothing else is said to stand on it.
    expect(found([layer({ configDigest: "x" })])).toMatchObject([{ chainId: "", containers: ["c1"], images: [] }]);
    expect(found([])).toEqual([]);
  });

  test("what is not listed is counted: nobody takes a list that is cut for all that has to go", () => {
    const chainsOf = (): readonly string[] => ["base"];
    const names = Array.from({ length: 120 }, (_, i) => `c${String(i).padStart(3, "0")}`);
    const runs = names.map((name) => ({ containerId: name, containerName: name, configDigest: "a" }));
    const images = [{ configDigest: "a", references: [...names, "c000"].map((name) => `r.example/${name}:1`) }];
    const drifts = names.slice(0, 20).map((containerId, i) => layer({ id: `D-${i}`, configDigest: "a", containerId }));
    const [all] = affectedBy(drifts, runs, images, chainsOf);
    expect(all).toMatchObject({ moreDrifts: 4, moreContainers: 20, moreImages: 20 });
    expect([all?.driftIds.length, all?.containers, all?.images.length]).toEqual([16, names.slice(0, 100), 100]);
    const [few] = affectedBy(drifts.slice(0, 16), runs.slice(0, 100), [], chainsOf);
    expect(few).toMatchObject({ moreDrifts: 0, moreContainers: 0, moreImages: 0 });
  });

  test("what does not run is listed where its image, or one of those that it may be, stands there", () => {
    const chainsOf = (configDigest: string): readonly string[] => (configDigest === "b" ? ["other"] : ["base"]);
    const told = ["a", "b", "ba", ""].map((images) => ({ name: `of ${images}`, configDigests: [...images] }));
    expect(affectedBy([layer({ configDigest: "a" })], [], [], chainsOf, told)).toMatchObject([{ stopped: ["of a", "of ba"], moreStopped: 0 }]);
    const many = Array.from({ length: 120 }, (_, i) => ({ name: `c${i}`, configDigests: ["a"] }));
    const [cut] = affectedBy([layer({ configDigest: "a" })], [], [], chainsOf, many);
    expect([cut?.stopped.length, cut?.moreStopped]).toEqual([100, 20]);
  });

  describe("of what is over", () => {
    const over = (more: Partial<DriftRow> = {}): DriftRow => layer({ state: DriftState.RESOLVED, resolvedAtMs: T0, configDigest: "a", layerIndex: 1, ...more });
    const chains: Readonly<Record<string, readonly string[]>> = { a: ["base", "shared", "top-a"], b: ["base", "shared", "top-b"], c: ["base", "other"] };
    const chainsOf = (configDigest: string): readonly string[] => chains[configDigest] ?? [];
    const on = (configDigest: string, content: Verdict, more: Partial<WorkloadRow> = {}): WorkloadRow =>
      workload("n1", "new", { configDigest, appraised: { verdict: content, content, reasons: [] }, appraisedAtMs: T0, ...more });
    const left = (drifts: DriftRow[], workloads: WorkloadRow[]): number => unhealed(drifts, workloads, chainsOf).length;

    test("a layer whose containers are gone, or of which one image of two was removed, is not well", () => {
      expect(left([over()], [])).toBe(1);
      expect(left([over()], [on("c", Verdict.AFFIRMING)])).toBe(1);
      expect(left([over()], [on("b", Verdict.AFFIRMING, { appraisedAtMs: T0 - 1 })])).toBe(1);
      for (const content of [Verdict.UNKNOWN, Verdict.WARNING, Verdict.CONTRAINDICATED, Verdict.UNSPECIFIED])
        expect(left([over()], [on("b", content)])).toBe(1);
    });

    test("it is once a container on that very chain was judged as signed since, of whatever image; what is not known is no proof", () => {
      expect(left([over()], [on("b", Verdict.AFFIRMING)])).toBe(0);
      expect(left([over()], [on("a", Verdict.AFFIRMING)])).toBe(0);
      expect(left([over({ layerIndex: 2 })], [on("b", Verdict.AFFIRMING)])).toBe(1);
      expect(left([over({ configDigest: "x" })], [on("y", Verdict.AFFIRMING)])).toBe(1);
      // Put right in its place, under the container itself.
      expect(left([over()], [on("a", Verdict.AFFIRMING, { containerId: "c1", appraisedAtMs: T0 - 5 })])).toBe(0);
    });

    test("an image's configuration is by that image; what was of one container alone went with it", () => {
      const image = over({ place: "image", kind: "replaced", layerIndex: -1 });
      const read = (configDigest: string, more: Partial<WorkloadRow> = {}) => on(configDigest, Verdict.AFFIRMING, { configEqual: true, ...more });
      expect([left([image], [read("b")]), left([image], [read("a")]), left([image], [read("a", { appraisedAtMs: T0 - 1 })])]).toEqual([1, 0, 1]);
      // It was taken away under what runs of it, or cannot be read: nobody tells that it is altered, and nobody has measured it.
      for (const containerId of ["c1", "new"]) {
        expect(left([image], [on("a", Verdict.AFFIRMING, { containerId })])).toBe(1);
        expect(left([image], [read("a", { containerId })])).toBe(0);
        expect(left([over()], [on("a", Verdict.AFFIRMING, { containerId })])).toBe(0);
      }
      expect(left([over({ place: "runtime-layer" }), over({ place: "configuration", kind: "unlisted" }), over({ place: "upper" })], [])).toBe(0);
    });
  });
});

describe("one node", () => {
  test("contraindicated with a contradiction that is open, it gets what policy says, by an actuator elsewhere", () => {
    const decision = acting();
    expect(decision).toMatchObject({ kind: ActionKind.MARK_NODE, marks: [LABEL, CORDON], reason: "boot", actuator: { nodeId: "ops", name: "ops-1" } });
  });

  test.each<[string, Partial<NodeSituation>, string]>([
    ["observing", { policy: policyOf(rule(), "", "observe") }, "observe"],
    ["no rule", { policy: policyOf("{ rules: [] }") }, "no-rule"],
    ["a rule for others", { policy: policyOf(rule(", select: { nodes: [other] }")) }, "no-rule"],
    ["another reason than the rule's", { policy: policyOf(rule(", reasons: [secure-boot]")) }, "no-drift"],
    ["everything acknowledged", { drifts: [] }, "no-drift"],
    ["a rule that only tells", { policy: policyOf("{ rules: [{ name: all }] }") }, "alert"],
    ["a name that no scheduler has", { node: bad("n1", { name: "w 1; reboot" }) }, "gone"],
    ["paused", { paused: true }, "paused"],
    ["frozen", { policy: policyOf(rule(), "    freezes: [{ reason: sale, from: 2023-11-01T00:00:00Z, until: 2023-12-01T00:00:00Z }]\n") }, "frozen"],
    ["no actuator", { listening: [] }, "no-actuator"],
    ["no actuator but its own", { listening: [{ id: "n1", name: "ops-1", verdict: Verdict.AFFIRMING }] }, "no-actuator"],
    ["an actuator of a node that is not believed", { listening: [{ ...OPS, verdict: Verdict.UNKNOWN }] }, "no-actuator"],
    ["an actuator that the rule does not name", { listening: [{ ...OPS, name: "w-2" }] }, "no-actuator"],
    ["another is under way", { history: [past(ActionState.ISSUED)] }, "under-way"],
    ["it waits for approval", { history: [past(ActionState.AWAITING)] }, "under-way"],
    ["people denied it for this", { history: [past(ActionState.DENIED)] }, "denied"],
    ["it is there", { history: [past(ActionState.DONE)] }, "contained"],
    ["it was there before, by somebody else", { history: [past(ActionState.DONE, {}, [])] }, "contained"],
    ["it failed too often", { history: Array.from({ length: MAX_ATTEMPTS }, (_, i) => past(ActionState.FAILED, { id: `A-${i}` })) }, "given-up"],
    ["it was just tried", { history: [past(ActionState.FAILED, { issuedAtMs: T0 - 1000 })] }, "cooling-down"],
    ["another node was marked within the hour", { history: [past(ActionState.DONE, { nodeId: "n2", issuedAtMs: T0 - 1000 })] }, "breaker"],
    ["another was, by a clock that was ahead", { history: [past(ActionState.DONE, { nodeId: "n2", issuedAtMs: T0 + HOUR_MS })] }, "breaker"],
    ["as many as may be at once are marked", { history: [past(ActionState.DONE, { nodeId: "n2" })] }, "breaker"],
    ["as many as may be at once would be", { policy: DRY_RUN, history: [past(ActionState.DRY_RUN, { nodeId: "n2", issuedAtMs: undefined })] }, "breaker"],
    [
      "in a dry run too, a node whose marks were lifted counts for nothing",
      {
        policy: DRY_RUN,
        history: [
          past(ActionState.DONE, { nodeId: "n2" }),
          past(ActionState.DONE, { nodeId: "n2", number: 2, id: "A-2", kind: ActionKind.LIFT_NODE, driftId: "" }),
        ],
      },
      "act MARK_NODE 1,3",
    ],
    ["a container's actions count for nothing", { history: [past(ActionState.DONE, { nodeId: "n2", issuedAtMs: T0, node: undefined })] }, "act MARK_NODE 1,3"],
    [
      "a marked node that is gone for good counts for nothing",
      { history: [past(ActionState.DONE, { nodeId: "n2" })], isMember: (id) => id !== "n2" },
      "act MARK_NODE 1,3",
    ],
    ["a part is there", { history: [past(ActionState.DONE, { driftId: "D-0" }, [LABEL])] }, "act MARK_NODE 3"],
    ["a revoked one", { node: bad("n1", { revokedAtMs: T0 }), drifts: [] }, "act MARK_NODE 1,3"],
    [
      "a revoked one that was marked and lifted before",
      {
        node: bad("n1", { revokedAtMs: T0 - HOUR_MS }),
        drifts: [],
        history: [past(ActionState.DONE), past(ActionState.DONE, { number: 2, id: "A-2", kind: ActionKind.LIFT_NODE, driftId: "" })],
      },
      "act MARK_NODE 1,3",
    ],
    [
      "one that was revoked, marked, approved, lifted, and is revoked again",
      {
        node: bad("n1", { revokedAtMs: T0 - HOUR_MS }),
        drifts: [],
        history: [past(ActionState.DONE, { driftId: "" }), past(ActionState.DONE, { number: 2, id: "A-2", kind: ActionKind.LIFT_NODE, driftId: "" })],
      },
      "act MARK_NODE 1,3",
    ],
    [
      "a revocation before, of which people denied it",
      { node: bad("n1", { revokedAtMs: T0 - HOUR_MS }), drifts: [], history: [past(ActionState.DENIED, { driftId: "" })] },
      "act MARK_NODE 1,3",
    ],
    ["a denial before it was revoked as well", { node: bad("n1", { revokedAtMs: T0 - HOUR_MS }), history: [past(ActionState.DENIED)] }, "act MARK_NODE 1,3"],
    [
      "a denial before a revocation that policy does nothing about",
      { policy: policyOf(rule(", reasons: [boot]")), node: bad("n1", { revokedAtMs: T0 - HOUR_MS }), history: [past(ActionState.DENIED)] },
      "denied",
    ],
    [
      "people denied it for this revocation",
      { node: bad("n1", { revokedAtMs: LONG_AGO }), drifts: [], history: [past(ActionState.DENIED, { driftId: "" })] },
      "denied",
    ],
    [
      "a revoked one where somebody else had marked it",
      { node: bad("n1", { revokedAtMs: LONG_AGO }), drifts: [], history: [past(ActionState.DONE, { driftId: "" }, [])] },
      "contained",
    ],
    [
      "one that was marked and lifted, and is found so again for the same",
      { history: [past(ActionState.DONE), past(ActionState.DONE, { number: 2, id: "A-2", kind: ActionKind.LIFT_NODE, driftId: "" })] },
      "act MARK_NODE 1,3",
    ],
  ])("%s", (_name, more, expected) => expect(why(more)).toBe(expected));

  test("only contraindicated is marked, only attested is lifted: unknown, stale and unreachable lead to nothing", () => {
    const verdicts = fc.constantFrom(Verdict.UNSPECIFIED, Verdict.AFFIRMING, Verdict.WARNING, Verdict.CONTRAINDICATED, Verdict.UNKNOWN);
    fc.assert(
      fc.property(verdicts, fc.boolean(), (verdict, marked) => {
        const history = marked ? [past(ActionState.DONE)] : [];
        const decision = decideNode(situation({ node: bad("n1", { verdict }), history }));
        if (verdict === Verdict.CONTRAINDICATED) expect(decision.act).toBe(!marked);
        else expect(decision.act).toBe(marked && (verdict === Verdict.AFFIRMING || verdict === Verdict.WARNING));
        if (decision.act) expect(decision.kind).toBe(marked ? ActionKind.LIFT_NODE : ActionKind.MARK_NODE);
      }),
    );
  });
});

describe("lifting", () => {
  const automatic = policyOf(rule(", lift: automatic"));
  test.each<[string, Partial<NodeSituation>, string]>([
    ["what Hullmark put on", { history: [past(ActionState.DONE)] }, "act LIFT_NODE 1,3"],
    ["not what was there before", { history: [past(ActionState.DONE, {}, [LABEL])] }, "act LIFT_NODE 1"],
    ["nothing of its own", { history: [past(ActionState.DONE, {}, [])] }, "not-contradicted"],
    [
      "what is done in part",
      { history: [past(ActionState.FAILED, { node: { marks: [LABEL, CORDON], done: [LABEL], reason: "boot", actuator: { nodeId: "ops", name: "ops-1" } } })] },
      "act LIFT_NODE 1",
    ],
    ["not so soon after it was marked", { history: [past(ActionState.DONE, { issuedAtMs: T0 - 1000 })] }, "cooling-down"],
    ["by who put it on alone", { history: [past(ActionState.DONE)], listening: [{ ...OPS, id: "ops2", name: "ops-2" }] }, "no-actuator"],
    ["not while paused", { history: [past(ActionState.DONE)], paused: true }, "paused"],
    [
      "also when the hour's share of marks is used up",
      { history: [past(ActionState.DONE), past(ActionState.DONE, { number: 2, id: "A-2", nodeId: "n2", issuedAtMs: T0 })] },
      "act LIFT_NODE 1,3",
    ],
    [
      "not once it was denied",
      { history: [past(ActionState.DONE), past(ActionState.DENIED, { number: 2, id: "A-2", kind: ActionKind.LIFT_NODE, driftId: "" })] },
      "denied",
    ],
  ])("%s", (_name, more, expected) => expect(why({ ...well, policy: automatic, ...more })).toBe(expected));

  test("waits for somebody's approval unless policy says automatic", () => {
    const history = [past(ActionState.DONE)];
    expect(acting({ ...well, history }).approvals).toBe(1);
    expect(acting({ ...well, history, policy: automatic }).approvals).toBe(0);
    expect(acting({ ...well, history, policy: policyOf("{ rules: [] }") }).approvals).toBe(1);
    expect(acting({ ...well, history, policy: policyOf(rule(", approvals: 2")) }).approvals).toBe(2);
  });
});

test("a false alarm of the whole fleet, over hours, with any outcomes: no more are marked in an hour, or at once, than policy allows, and nothing that was not put on is lifted", () => {
  const step = fc.record({
    at: fc.integer({ min: 0, max: 40 }),
    verdict: fc.constantFrom(Verdict.CONTRAINDICATED, Verdict.CONTRAINDICATED, Verdict.AFFIRMING, Verdict.UNKNOWN),
    minutes: fc.integer({ min: 0, max: 30 }),
    outcome: fc.constantFrom(Outcome.DONE, Outcome.DONE, Outcome.FAILED, Outcome.REFUSED, undefined),
    done: fc.subarray([LABEL, CORDON]),
  });
  const policy = policyOf(`{ rules: [{ name: all, marks: [label, cordon], actuators: [ops-*], lift: automatic }], hourlyPercent: 5, atOncePercent: 10 }`);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
      let nowMs = T0;
      const rows: ActionRow[] = [];
      const on = new Map<string, Set<NodeMark>>();
      for (const { at, verdict, minutes, outcome, done } of steps) {
        nowMs += minutes * 60_000;
        const id = `n${at}`;
        const decision = decideNode(
          situation({
            policy,
            node: bad(id, { verdict }),
            drifts: [open({ id: `D-${at}-${rows.length}` })],
            history: rows,
            members: 41,
            nowMs,
            standing: standingMarks(rows),
          }),
        );
        if (!decision.act) continue;
        const row = issued(newNodeAction(rows.length + 1, decision, ActionState.AWAITING, nowMs), intent(rows.length + 1), nowMs);
        const own = on.get(id) ?? new Set();
        if (decision.kind === ActionKind.LIFT_NODE) for (const mark of decision.marks) expect(own.has(mark)).toBe(true);
        const report = outcome === undefined ? undefined : { outcome, reason: "", detail: "", newContainerId: "", marks: done };
        const next = report ? reported(row, report, nowMs) : settled(row, ActionState.EXPIRED, "not-reported", nowMs);
        if (!next) throw new Error("not settled");
        rows.push(next);
        for (const mark of next.node?.done ?? []) decision.kind === ActionKind.MARK_NODE ? own.add(mark) : own.delete(mark);
        if (decision.kind === ActionKind.LIFT_NODE && outcome === Outcome.DONE) own.clear();
        on.set(id, own);
        const hour = rows.filter((each) => each.kind === ActionKind.MARK_NODE && nowMs - (each.issuedAtMs ?? 0) < HOUR_MS);
        expect(hour.length).toBeLessThanOrEqual(2);
        expect([...on.values()].filter(({ size }) => size > 0).length).toBeLessThanOrEqual(4);
      }
    }),
    { numRuns: 300 },
  );
});
