/** What the verifier asks a host to take away, when it may, and how a purge ends by what is measured after it. */
import { Severity, Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { ActionState, Outcome } from "@hullmark/proto/v1/response";
import {
  affectedLayer,
  endOfPurge,
  isMeasuredEqual,
  MEASURING_MS,
  newPurge,
  type PurgeSituation,
  purgedByHand,
  purgeHeldBy,
  purgeOf,
  reportedPurge,
  uncontained,
} from "@hullmark/verifier/core/response/purge";
import { isOverdue, issued } from "@hullmark/verifier/core/response/steps";
import type { ActionRow, DriftRow, PurgeRow } from "@hullmark/verifier/ports/rows";
import { describe, expect, test } from "vitest";
import { drift, node, T0, workload } from "../contract/store-fixtures.ts";

const digest = (digit: string): string => `sha256:${digit.repeat(64)}`;
const [CART, TILL, OTHER] = [digest("1"), digest("2"), digest("3")];
const [BASE, ELSE] = [digest("a"), digest("b")];
const CHAINS: Readonly<Record<string, readonly string[]>> = { [CART]: [BASE, digest("c")], [TILL]: [BASE, digest("d")], [OTHER]: [ELSE] };
const chainsOf = (configDigest: string): readonly string[] => CHAINS[configDigest] ?? [];
const PURGE: PurgeRow = { chainId: BASE, layerIndex: 0, imageDigests: [CART, TILL], containerIds: ["old"] };

const at = (containerId: string, configDigest: string, content = Verdict.AFFIRMING, appraisedAtMs = T0 + 2000) => {
  const row = workload("n1", containerId, { configDigest, appraisedAtMs });
  return { ...row, appraised: { ...row.appraised, content } };
};
const poison = (more: Partial<DriftRow> = {}): DriftRow =>
  drift(7, {
    ...{
      id: "D-7",
      state: DriftState.OPEN,
      place: "layer",
      kind: "content",
      severity: Severity.CRITICAL,
      containerId: "new",
      layerIndex: 0,
      configDigest: TILL,
    },
    ...{ committedAtMs: T0 + 1000, ...more },
  });

describe("which layer", () => {
  const one = (layerIndex: number, chainId: string) =>
    ({
      place: "layer",
      layerIndex,
      chainId,
      open: true,
      driftIds: ["D-7"],
      containers: [],
      images: [],
      moreDrifts: 0,
      moreContainers: 0,
      moreImages: 0,
      stopped: [],
      moreStopped: 0,
    }) as const;

  test("by index where that is one, by its chain id, and none that is not affected; that of an image's configuration, unless the layer itself is meant", () => {
    const image = { ...one(3, digest("e")), place: "image" as const };
    const affected = [
      image,
      { ...image, layerIndex: 1, chainId: digest("c") },
      one(0, BASE),
      one(1, digest("c")),
      { ...one(2, ELSE), place: "runtime-layer" as const },
    ];
    expect(affectedLayer(affected, "1")).toBe(affected[3]);
    expect(affectedLayer(affected, "3")).toBe(image);
    expect(affectedLayer(affected, BASE)).toBe(affected[2]);
    expect(affectedLayer(affected, "2")).toMatch(/^no layer/);
    expect(affectedLayer([...affected, one(0, ELSE)], "0")).toMatch(/^2 layers of index 0/);
  });

  test("names each image that stands on it, by whatever name an engine has it, and no other", () => {
    const manifest = digest("0");
    const rows = [{ ...at("c1", TILL), imageId: manifest }, at("c2", OTHER)];
    const images = [CART, TILL, OTHER].map((configDigest) => ({ configDigest }));
    expect(purgeOf({ chainId: BASE, layerIndex: 0 }, rows, images, chainsOf)).toEqual({
      ...{ chainId: BASE, layerIndex: 0, imageDigests: [manifest, CART, TILL], containerIds: ["c1"] },
    });
    const many = Array.from({ length: 41 }, (_, i) => ({ configDigest: `sha256:${i.toString(16).padStart(64, "0")}` }));
    expect(purgeOf({ chainId: BASE, layerIndex: 0 }, [], many, () => [BASE])).toBeUndefined();
  });
});

test("it is held where policy does not act, the node is not believed, people have paused, a freeze is on, or nobody listens", () => {
  const response = { freezes: [], rules: [], nodes: { rules: [] } } as unknown as PurgeSituation["policy"]["response"];
  const good: PurgeSituation = {
    ...{ policy: { mode: "enforce", response }, node: node("n1", { verdict: Verdict.AFFIRMING }), paused: false, actuator: true, nowMs: T0 },
  };
  const frozen = { ...response, freezes: [{ reason: "f", fromMs: T0, untilMs: T0 + 1 }] };
  const cases: readonly Partial<PurgeSituation>[] = [
    {},
    { policy: { mode: "observe", response } },
    { policy: { mode: "dry-run", response } },
    { node: node("n1", { verdict: Verdict.UNKNOWN }) },
    { node: node("n1", { verdict: Verdict.AFFIRMING, revokedAtMs: T0 }) },
    { paused: true },
    { policy: { mode: "enforce", response: frozen } },
    { actuator: false },
  ];
  const why = cases.map((each) => purgeHeldBy({ ...good, ...each }));
  expect(why).toEqual([undefined, "observe", "dry-run", "node-not-attested", "node-not-attested", "paused", "frozen", "no-actuator"]);
  const asked = newPurge(3, good, PURGE, poison(), [], { by: "ann", reason: "INC-1" }, T0);
  expect(asked).toMatchObject({ state: ActionState.AWAITING, driftId: "D-7", approvalsNeeded: 1, owners: [], approvals: [{ by: "ann" }] });
});

describe("how it ends", () => {
  const asked = newPurge(
    3,
    { policy: { mode: "enforce", response: { rules: [], nodes: { rules: [] } } as unknown as PurgeSituation["policy"]["response"] }, node: node("n1") },
    PURGE,
    undefined,
    [],
    { by: "ann", reason: "INC-1" },
    T0 - 1000,
  );
  const sent: ActionRow = issued(asked, { id: Buffer.alloc(16), body: Buffer.alloc(1), signatures: [] }, T0 - 500);
  const report = { outcome: Outcome.DONE, reason: "", detail: "", newContainerId: "" };
  const gone = reportedPurge(sent, report, T0) as ActionRow;

  test("its actuator's word is not the end, and counts once; a failure is", () => {
    expect(gone).toMatchObject({ state: ActionState.ISSUED, reason: "measuring", settledAtMs: undefined, purge: { purgedAtMs: T0 } });
    expect(isOverdue(gone, T0 + 7 * 86_400_000)).toBe(false);
    expect(isOverdue(sent, T0 + 7 * 86_400_000)).toBe(true);
    expect(reportedPurge(gone, { ...report, outcome: Outcome.FAILED }, T0 + 1)).toBeUndefined();
    const failed = reportedPurge(sent, { ...report, outcome: Outcome.FAILED, reason: "containment-failed" }, T0);
    expect(failed).toMatchObject({ state: ActionState.FAILED, reason: "containment-failed", settledAtMs: T0 });
  });

  test("the word of people who did it is not the end either; nobody is asked to do it again, and no limit counts it", () => {
    const own = purgedByHand(asked, T0);
    expect(own).toMatchObject({
      state: ActionState.ISSUED,
      reason: "measuring",
      issuedAtMs: undefined,
      intent: undefined,
      purge: { purgedAtMs: T0, byHand: true },
    });
    expect(isOverdue(own, T0 + 7 * 86_400_000)).toBe(false);
    expect(reportedPurge(own, report, T0 + 1)).toBeUndefined();
    expect(endOfPurge(own, [], [], chainsOf, T0 + 1)).toBeUndefined();
    expect(endOfPurge(own, [poison()], [at("well", CART)], chainsOf, T0 + 1)?.state).toBe(ActionState.FAILED);
  });

  test("of an image's configuration by a container of that image, on whose layers others may stand; where it is altered again it has failed", () => {
    const [image, twin] = [digest("4"), digest("5")];
    const chains = () => [BASE];
    const own: ActionRow = { ...gone, purge: { ...PURGE, configDigest: image, purgedAtMs: T0 } };
    const ends = (drifts: DriftRow[], workloads: ReturnType<typeof at>[]) => endOfPurge(own, drifts, workloads, chains, T0 + 1);
    const read = (configDigest: string) => ({ ...at("new", configDigest), configEqual: true as const });
    expect(ends([], [read(twin)])).toBeUndefined();
    // One whose configuration the node does not have, or not in a place where it can be read, shows nothing of it.
    expect(ends([], [at("new", image)])).toBeUndefined();
    expect(ends([], [read(image)])?.state).toBe(ActionState.DONE);
    const again = poison({ place: "image", kind: "replaced", layerIndex: -1, configDigest: image });
    expect(ends([again], [])).toMatchObject({ state: ActionState.FAILED, detail: "containment failed: the image's configuration is altered again (D-7)" });
    // It stands on more than this layer.
    expect(endOfPurge(own, [again], [], () => [BASE, ELSE], T0 + 1)).toBeUndefined();
  });

  test.each<[string, DriftRow[], ReturnType<typeof at>[], number, ActionState | undefined]>([
    ["nothing has been started", [], [], T0 + 1, undefined],
    ["a container on that layer is measured equal", [], [at("new", CART)], T0 + 1, ActionState.DONE],
    ["one on another layer is", [], [at("new", OTHER)], T0 + 1, undefined],
    ["one was before", [], [at("new", CART, Verdict.AFFIRMING, T0)], T0 + 1, undefined],
    ["one is otherwise, not for the layer", [], [at("new", CART, Verdict.CONTRAINDICATED)], T0 + 1, undefined],
    ["the layer is altered again", [poison()], [at("new", TILL, Verdict.CONTRAINDICATED)], T0 + 1, ActionState.FAILED],
    ["it is, though another container was measured equal", [poison()], [at("well", CART)], T0 + 1, ActionState.FAILED],
    ["what was found of one that was there before", [poison({ containerId: "old" })], [], T0 + 1, undefined],
    ["what was found before", [poison({ committedAtMs: T0 - 1 })], [], T0 + 1, undefined],
    ["another layer of it is altered", [poison({ layerIndex: 1 })], [], T0 + 1, undefined],
    ["the same index on another chain is", [poison({ configDigest: OTHER })], [], T0 + 1, undefined],
    ["nothing was started for a day", [], [], T0 + MEASURING_MS, ActionState.DONE],
  ])("%s", (_name, drifts, workloads, nowMs, state) => {
    expect(endOfPurge(gone, drifts, workloads, chainsOf, nowMs)?.state).toBe(state);
    // What its actuator told of it stays.
    expect(endOfPurge({ ...gone, detail: "told" }, [], [at("new", CART)], chainsOf, T0 + 1)?.detail).toBe("told");
    // Before the actuator has said that it is gone nothing ends it.
    expect(endOfPurge(sent, drifts, workloads, chainsOf, nowMs)).toBeUndefined();
  });

  test("a failure counts until the same layer is purged anew, or measured equal", () => {
    const failed: ActionRow = { ...gone, state: ActionState.FAILED, reason: "containment-failed" };
    expect(uncontained([failed]).map(({ id }) => id)).toEqual([failed.id]);
    expect(uncontained([{ ...gone, id: "A-4", number: 4 }, failed])).toEqual([]);
    expect(uncontained([failed, { ...gone, number: 4, purge: { ...PURGE, chainId: ELSE } }])).toHaveLength(1);
    expect(uncontained([{ ...failed, reason: "engine" }])).toEqual([]);
    expect([T0, T0 + 2000].map((sinceMs) => isMeasuredEqual(PURGE, sinceMs, [at("new", CART)], chainsOf))).toEqual([true, false]);
  });

  test("what is told of an older one after a newer has ended is ended by nothing that came before, and ends no newer failure", () => {
    const told = (outcome: Outcome, reason: string): ActionRow => reportedPurge(sent, { ...report, outcome, reason }, T0 + 5000) as ActionRow;
    const failed = told(Outcome.FAILED, "containment-failed");
    const newer = (more: Partial<ActionRow>): ActionRow => ({ ...gone, id: "A-4", number: 4, ...more });
    const left = (...rows: ActionRow[]): string[] => uncontained(rows).map(({ id }) => id);
    const ended = { state: ActionState.DONE, reason: "", settledAtMs: T0 + 3000 };
    const inVain = { state: ActionState.FAILED, reason: "containment-failed", settledAtMs: T0 + 3000 };
    expect(left(newer(ended), failed)).toEqual([sent.id]);
    expect(left(failed, newer({ ...inVain, purge: PURGE }))).toEqual(["A-4"]);
    expect(left(failed, newer({ ...ended, purge: { ...PURGE, purgedAtMs: T0 + 6000 } }))).toEqual([]);
    expect(left(told(Outcome.DONE, ""), newer(inVain))).toEqual(["A-4"]);
    // The one that was measured equal again ends none that was told of since.
    expect(left(failed, newer({ ...inVain, purge: { ...PURGE, purgedAtMs: T0, wellAtMs: T0 + 4000 } }))).toEqual([sent.id]);
  });
});
