/** What is decided: for any verdicts in any order no more than the breaker allows, and nothing for what is not certain. */
import { fromBinary } from "@bufbuild/protobuf";
import { Severity, Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { ActionKind, ActionState, IntentSchema, Outcome } from "@hullmark/proto/v1/response";
import { DRIFT_KINDS, DRIFT_PLACES, PROVENANCE_KINDS } from "@hullmark/verifier/core/policy/kinds";
import { RUNGS } from "@hullmark/verifier/core/policy/types";
import { type AlarmFacts, BREAKING, nextAlarm, QUIET_MS, UNKNOWN_ALARM } from "@hullmark/verifier/core/response/alarm";
import { HOUR_MS, hourlyLimit } from "@hullmark/verifier/core/response/breaker";
import { capturing, isCaptureOver } from "@hullmark/verifier/core/response/capture-first";
import { causeOf, HEALS } from "@hullmark/verifier/core/response/causes";
import { decide, HELD, MAX_ATTEMPTS, type Situation, serviceOf } from "@hullmark/verifier/core/response/decide";
import { lifetimeFor } from "@hullmark/verifier/core/response/eviction";
import { ActionHistory } from "@hullmark/verifier/core/response/history";
import { refuseUndo } from "@hullmark/verifier/core/response/isolation";
import { NO_ROLLBACK, type Rollback, type Standing } from "@hullmark/verifier/core/response/rollback";
import { isSameAction } from "@hullmark/verifier/core/response/same-action";
import {
  INTENT_LIFETIME_MS,
  intentBody,
  isOverdue,
  issued,
  newAction,
  REPORT_GRACE_MS,
  refusedAction,
  settled,
  TERMINATING_MS,
  waiting,
} from "@hullmark/verifier/core/response/steps";
import type { ActionRow, DriftRow, WorkloadRow } from "@hullmark/verifier/ports/rows";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { drift, node, T0, workload } from "../contract/store-fixtures.ts";
import { policyOf } from "../fakes/policy.ts";

const CONTRARY = { verdict: Verdict.CONTRAINDICATED, content: Verdict.CONTRAINDICATED, reasons: [] };

const digest = (n: number): string => `sha256:${String(n).repeat(64)}`;
const every = (rungs: string): string => `{ info: ${rungs}, low: ${rungs}, medium: ${rungs}, high: ${rungs}, critical: ${rungs} }`;
const rules = (ladder: string, more = ""): string => `  mode: enforce\n  response:\n    rules: [{ name: all, ladder: ${ladder}, untrusted: [stop] }]\n${more}`;
const RECREATE = policyOf(rules(every("[recreate]")));

const POD = { cluster: "prod", namespace: "shop", name: "web-1", uid: "u-1", container: "web", imageDigests: [`sha256:${"1".repeat(64)}`] };
const RUNG_OF: Readonly<Partial<Record<ActionKind, (typeof RUNGS)[number]>>> = {
  [ActionKind.STOP]: "stop",
  [ActionKind.RECREATE]: "recreate",
  [ActionKind.ROLLBACK]: "rollback",
  [ActionKind.EVICT]: "evict",
  [ActionKind.HALT]: "halt",
  [ActionKind.ISOLATE]: "isolate",
};
const bad = (containerId = "c1", more: Partial<WorkloadRow> = {}): WorkloadRow => workload("n1", containerId, { ...CONTRARY, appraised: CONTRARY, ...more });
const open = (more: Partial<DriftRow> = {}): DriftRow => drift(1, { state: DriftState.OPEN, place: "upper", kind: "content", ...more });
/** Of an image that is signed as policy asks, and lacks an attestation. */
const LACKING = [open({ place: "image", kind: "attestation-missing" })];
/** Of an image, or of a container, whose scan says nothing of what runs. */
const NOT_AS_SCANNED: readonly (readonly DriftRow[])[] = [
  ...PROVENANCE_KINDS.filter((kind) => kind !== "attestation-missing").map((kind) => [open({ place: "image", kind })]),
  [...LACKING, open({ number: 2, id: "D-2" })],
];

function situation(more: Partial<Situation> = {}): Situation {
  return {
    ...{
      policy: RECREATE,
      node: node("n1"),
      workload: bad(),
      drifts: [open()],
      history: [],
      rollback: NO_ROLLBACK,
      pod: "none",
      cordoned: false,
      witnesses: 2,
      overBudgetMs: undefined,
      paused: false,
      actuator: () => true,
      containers: 10,
      nowMs: T0,
    },
    ...more,
  };
}

const why = (more: Partial<Situation>): string => {
  const decision = decide(situation(more));
  return decision.act ? `act ${ActionKind[decision.kind]}` : decision.why;
};

function past(state: ActionState, more: Partial<ActionRow> = {}): ActionRow {
  const decision = decide(situation());
  if (!decision.act) throw new Error(decision.why);
  const row = newAction(1, decision, "w-1", ActionState.AWAITING, T0 - 2 * HOUR_MS);
  return { ...row, state, issuedAtMs: T0 - 2 * HOUR_MS, ...more };
}

const OTHER = { workload: "other", service: "project/other" };

/** Of another service: its node is asked for a capture. */
const captured = (more: Partial<ActionRow> = {}): ActionRow =>
  past(ActionState.CAPTURING, {
    ...{ id: "A-CCCC", containerId: "cx", ...OTHER, issuedAtMs: undefined },
    ...{ capturing: { id: Buffer.alloc(16), sinceMs: T0 - 1000, untilMs: T0 + 1000 }, ...more },
  });

describe("one container", () => {
  test("its own drift on an attested node is acted on", () => expect(why({})).toBe("act RECREATE"));

  test.each<[string, Partial<Situation>, string]>([
    ["observing", { policy: policyOf("  mode: observe\n  response:\n    rules: [{ name: all, ladder: { high: [stop] } }]\n") }, "observe"],
    ["no rule", { policy: policyOf("  mode: enforce\n") }, "no-rule"],
    [
      "a rule for others",
      { policy: policyOf("  mode: enforce\n  response:\n    rules: [{ name: a, select: { nodes: [other] }, ladder: { high: [stop] } }]\n") },
      "no-rule",
    ],
    ["no rung for this severity", { policy: policyOf(rules("{ critical: [stop] }")) }, "alert"],
    ["paused", { paused: true }, "paused"],
    ["no actuator", { actuator: () => false }, "no-actuator"],
    [
      "frozen",
      { policy: policyOf(rules(every("[stop]"), "    freezes: [{ reason: sale, from: 2023-11-01T00:00:00Z, until: 2023-12-01T00:00:00Z }]\n")) },
      "frozen",
    ],
    ["a revoked node", { node: node("n1", { revokedAtMs: T0 }) }, "node-not-attested"],
    ["gone", { workload: undefined }, "gone"],
    ["acknowledged or resolved", { drifts: [] }, "no-drift"],
    ["a layer differs too", { drifts: [open(), open({ number: 2, place: "layer" })] }, "node-cause"],
    ["another of this container is under way", { history: [past(ActionState.ISSUED)] }, "under-way"],
    ["it waits for approval", { history: [past(ActionState.AWAITING)] }, "under-way"],
    ["people denied it for this drift", { history: [past(ActionState.DENIED)] }, "denied"],
    ["it was done to this very container", { history: [past(ActionState.DONE)] }, "contained"],
    ["it failed too often", { history: Array.from({ length: MAX_ATTEMPTS }, (_, i) => past(ActionState.FAILED, { id: `A-${i}` })) }, "given-up"],
    ["the same workload was just acted on", { history: [past(ActionState.DONE, { containerId: "c0", issuedAtMs: T0 - 1000 })] }, "cooling-down"],
    ["the hour's share is used up", { history: [past(ActionState.DONE, { containerId: "cx", ...OTHER, issuedAtMs: T0 - 1000 })] }, "breaker"],
    ["used up by what is captured first, however long ago it was decided", { history: [captured()] }, "breaker"],
    ["used up by a clock that was ahead", { history: [past(ActionState.DONE, { containerId: "cx", ...OTHER, issuedAtMs: T0 + HOUR_MS })] }, "breaker"],
  ])("%s: nothing is done", (_name, more, expected) => expect(why(more)).toBe(expected));

  test("a pod that its node did not capture is not asked for again at once: what hinders the node may pass", () => {
    const capturing = { id: Buffer.alloc(16), sinceMs: T0 - 20_000, untilMs: T0 + 10_000 };
    const left = { reason: "capture", issuedAtMs: undefined, capturing };
    const later = (nowMs: number, more: Partial<ActionRow> = {}) => why({ nowMs, history: [past(ActionState.FAILED, { ...left, ...more })] });
    expect([later(T0), later(T0 + 10_000)]).toEqual(["cooling-down", "act RECREATE"]);
    // A clock that was set back lengthens no wait, and another container waits for its own.
    expect([later(T0 - HOUR_MS), later(T0, { containerId: "c2" })]).toEqual(["act RECREATE", "act RECREATE"]);
  });

  test("what a host's own limits held back, however often, is no attempt: it is asked for again", () => {
    const refused = (reason: string) => Array.from({ length: MAX_ATTEMPTS + 1 }, (_, i) => past(ActionState.REFUSED, { id: `A-${i}`, reason }));
    expect(["breaker", "cooling-down", "protected"].map((reason) => why({ history: refused(reason) }))).toEqual(["act RECREATE", "act RECREATE", "given-up"]);
  });

  test("one that was stopped and is started again is stopped again for what has come since; three times, then people are waited for", () => {
    const policy = policyOf(rules(every("[stop]")));
    const stops = (times: number, more: Partial<ActionRow> = {}) =>
      Array.from({ length: times }, (_, i) => past(ActionState.DONE, { id: `A-${i}`, kind: ActionKind.STOP, settledAtMs: T0 - (9 - i) * 60_000, ...more }));
    const [before, since] = [open({ committedAtMs: T0 - HOUR_MS }), open({ number: 2, id: "D-2", committedAtMs: T0 - 1000 })];
    const stop = (times: number, drifts: readonly DriftRow[], more: Partial<ActionRow> = {}) => why({ policy, drifts, history: stops(times, more) });
    expect(stop(1, [before])).toBe("contained");
    expect([1, MAX_ATTEMPTS - 1, MAX_ATTEMPTS].map((times) => stop(times, [before, since]))).toEqual(["act STOP", "act STOP", "recurring"]);
    // Of a service with many containers each is stopped.
    expect(stop(2 * MAX_ATTEMPTS, [since], { containerId: "c0" })).toBe("act STOP");
    // A report that came hours late, from a host that was cut off, says nothing of what came before it: the stop was begun before its intent ended.
    const late = { settledAtMs: T0 - 500, expiresAtMs: T0 - HOUR_MS / 2 };
    expect([stop(1, [since], late), stop(1, [before], late), stop(1, [since], { ...late, expiresAtMs: T0 + 1000 })]).toEqual([
      "act STOP",
      "contained",
      "contained",
    ]);
  });

  test("only a contradiction of its own, on an attested node, is acted on: unknown never is", () => {
    const verdicts = fc.constantFrom(Verdict.UNSPECIFIED, Verdict.AFFIRMING, Verdict.WARNING, Verdict.CONTRAINDICATED, Verdict.UNKNOWN);
    fc.assert(
      fc.property(verdicts, verdicts, verdicts, (ofNode, shown, appraised) => {
        const decision = decide(
          situation({ node: node("n1", { verdict: ofNode }), workload: bad("c1", { verdict: shown, appraised: { ...CONTRARY, verdict: appraised } }) }),
        );
        const attested = ofNode === Verdict.AFFIRMING || ofNode === Verdict.WARNING;
        expect(decision.act).toBe(attested && shown === Verdict.CONTRAINDICATED && appraised === Verdict.CONTRAINDICATED);
      }),
    );
  });

  test("no rung is taken that does not heal every cause there is", () => {
    const severity = fc.integer({ min: 1, max: 5 });
    const any = fc.record({ place: fc.constantFrom(...DRIFT_PLACES), kind: fc.constantFrom(...DRIFT_KINDS), severity });
    // Of the others most are the node's.
    const mixed = (["upper", "configuration", "image"] as const).map((place) =>
      fc.record({ place: fc.constant(place), kind: fc.constant("unsigned"), severity }),
    );
    const cause = fc.oneof(any, ...mixed);
    const rungs = (...without: (typeof RUNGS)[number][]) =>
      fc.array(fc.constantFrom(...RUNGS.filter((rung) => !without.includes(rung))), { minLength: 1, maxLength: 3 });
    const verified = { configDigest: digest(1), imageId: digest(1), reference: `registry.example/web@${digest(1)}` };
    const rollback: Rollback = { never: false, earlier: [{ image: verified, standing: "verified" }] };
    const workload = bad("c1", { configDigest: digest(9), imageId: digest(9) });
    fc.assert(
      fc.property(
        fc.array(cause, { minLength: 1, maxLength: 5 }),
        rungs("rollback", "halt"),
        rungs("recreate", "evict"),
        fc.boolean(),
        fc.boolean(),
        (causes, ladder, untrusted, inPod, cordoned) => {
          const drifts = causes.map((each, i) => open({ ...each, number: i + 1, id: `D-${i}` }));
          const policy = policyOf(`  mode: enforce\n  response:\n    rules: [{ name: all, ladder: ${every(`[${ladder}]`)}, untrusted: [${untrusted}] }]\n`);
          const decision = decide(situation({ policy, drifts, rollback, workload, cordoned, pod: inPod ? POD : "none" }));
          if (!decision.act) return;
          const found = drifts.map(causeOf);
          expect(found).not.toContain("node");
          const rung = RUNG_OF[decision.kind] ?? "alert";
          expect(decision.pod).toEqual((rung === "evict" || rung === "isolate") && inPod ? POD : undefined);
          expect(HEALS[decision.drift ? causeOf(decision.drift) : "unmeasurable"]).toContain(rung);
          // Another of the same image would run the same again.
          if (found.includes("untrusted")) expect(["recreate", "evict"]).not.toContain(rung);
          // Another of another image would be started as this one was.
          if (rung === "rollback") expect(found).not.toContain("configuration");
        },
      ),
      { numRuns: 500 },
    );
  });

  describe("a container that is unmeasurable", () => {
    const MINUTE_MS = 60_000;
    const policy = policyOf("  mode: enforce\n  response:\n    rules: [{ name: all, unmeasurable: [recreate, stop], unmeasurableAfter: 5m }]\n");
    const reason = (code: string) => ({ code, detail: "60000 changed entries", sinceMs: undefined });
    const OWN = ["unmeasurable", "over-budget"];
    const greedy = (codes = OWN, verdict = Verdict.UNKNOWN): WorkloadRow => {
      const appraised = { verdict, content: verdict, reasons: codes.map(reason) };
      return workload("n1", "c1", { ...appraised, appraised });
    };
    const of = (more: Partial<Situation> = {}) => decide(situation({ policy, workload: greedy(), drifts: [], overBudgetMs: 6 * MINUTE_MS, ...more }));

    test("by its own doing, and for as long as policy says, has a ladder of its own; nothing is named that differs", () => {
      const decision = of();
      expect(decision).toMatchObject({ act: true, kind: ActionKind.RECREATE, drift: undefined });
      if (!decision.act) throw new Error(decision.why);
      const row = newAction(1, decision, "w-1", ActionState.AWAITING, T0);
      expect(row).toMatchObject({ driftId: "", driftLogIndex: -1, detail: "unmeasurable: 60000 changed entries" });
      expect(isSameAction(decision, row)).toBe(true);
      expect(of({ overBudgetMs: 4 * MINUTE_MS })).toEqual({ act: false, why: "settling" });
      expect(of({ history: [past(ActionState.DONE, { containerId: "c0" })] })).toMatchObject({ kind: ActionKind.STOP });
      expect(of({ history: [past(ActionState.DENIED, { driftId: "" })] })).toEqual({ act: false, why: "denied" });
      expect(of({ policy: RECREATE })).toEqual({ act: false, why: "alert" });
      expect(of({ drifts: [open({ place: "layer" })] })).toEqual({ act: false, why: "node-cause" });
      expect(
        of({ workload: greedy([...OWN, "code-truncated", "processes-truncated", "no-policy", "provenance-unsigned", "exception", "many-findings"]) }),
      ).toMatchObject({
        act: true,
      });
    });

    test("and was released for what it had changed is not so for what nobody can measure now; and is, once people have released it for that", () => {
      const undone = (driftId: string) => [
        past(ActionState.DONE, { kind: ActionKind.ISOLATE, driftId, settledAtMs: T0 - 60 * MINUTE_MS }),
        past(ActionState.DONE, {
          id: "A-2",
          number: 2,
          kind: ActionKind.RELEASE,
          driftId,
          undoes: past(ActionState.DONE).id,
          settledAtMs: T0 - 30 * MINUTE_MS,
        }),
      ];
      expect(of({ history: undone("D-1") })).toMatchObject({ act: true, kind: ActionKind.RECREATE, drift: undefined });
      expect(of({ history: undone("") })).toEqual({ act: false, why: "released" });
    });

    test("for any other reason, or beside one, is left alone: what is still to come, and what the node could not do", () => {
      const codes = fc.uniqueArray(
        fc.constantFrom(...OWN, "measuring", "vanished", "overlay-redirect", "policy-pending", "layer-comparing", "provenance-unknown", "node-unknown", "x"),
      );
      const verdicts = fc.constantFrom(Verdict.UNSPECIFIED, Verdict.AFFIRMING, Verdict.WARNING, Verdict.CONTRAINDICATED, Verdict.UNKNOWN);
      fc.assert(
        fc.property(codes, verdicts, verdicts, fc.option(fc.integer({ min: 0, max: 3_600_000 }), { nil: undefined }), (told, ofNode, shown, overBudgetMs) => {
          const { act } = of({ node: node("n1", { verdict: ofNode }), workload: greedy(told, shown), overBudgetMs });
          const attested = ofNode === Verdict.AFFIRMING || ofNode === Verdict.WARNING;
          const own = told.includes("over-budget") && told.every((code) => OWN.includes(code));
          expect(act).toBe(attested && shown === Verdict.UNKNOWN && own && (overBudgetMs ?? 0) >= 5 * MINUTE_MS);
        }),
        { numRuns: 1000 },
      );
    });

    test("as shown only because its node is stale or unreachable it is never acted on", () => {
      const { appraised } = greedy();
      for (const code of ["stale", "unreachable", "silent", "boot-unproven", "never-quoted"]) {
        const shown = { ...greedy(), reasons: [reason(code)], appraised };
        expect(of({ workload: shown, node: node("n1", { verdict: Verdict.UNKNOWN }) })).toEqual({ act: false, why: "node-not-attested" });
      }
    });
  });

  describe("a container of a pod on a layer that is not the image's", () => {
    const rules = (rungs: string) => policyOf(`  mode: enforce\n  response:\n    rules: [{ name: all, ladder: ${every("[evict]")}, node: ${rungs} }]\n`);
    const poisoned = (more: Partial<Situation> = {}) => {
      const of = { drifts: [open(), open({ number: 2, id: "D-2", place: "layer" })], pod: POD, policy: rules("[evict]") };
      return decide(situation({ ...of, workload: bad("c1", { containerName: "shop/web-1/web", workload: "shop/web" }), cordoned: true, ...more }));
    };

    test("is evicted once its node is cordoned, since the next would be put on the same; where policy says so", () => {
      expect(poisoned()).toMatchObject({ act: true, kind: ActionKind.EVICT, drift: { id: "D-2" }, pod: POD });
      expect(poisoned({ cordoned: false })).toEqual({ act: false, why: "node-cause" });
      expect(poisoned({ policy: rules("[alert]") })).toEqual({ act: false, why: "node-cause" });
      expect(poisoned({ policy: policyOf("  mode: enforce\n") })).toEqual({ act: false, why: "node-cause" });
      expect(poisoned({ pod: "none" })).toEqual({ act: false, why: "alert" });
      expect(poisoned({ node: node("n1", { verdict: Verdict.UNKNOWN }) })).toEqual({ act: false, why: "node-not-attested" });
    });
  });

  describe("a container that is isolated", () => {
    const ISOLATE = policyOf(rules(every("[isolate, recreate]")));
    const isolation = (more: Partial<ActionRow> = {}) => past(ActionState.DONE, { kind: ActionKind.ISOLATE, settledAtMs: T0 - HOUR_MS, ...more });
    const release = (more: Partial<ActionRow> = {}) =>
      past(ActionState.DONE, { id: "A-2", number: 2, kind: ActionKind.RELEASE, undoes: isolation().id, settledAtMs: T0 - 1000, ...more });
    const before = open({ committedAtMs: T0 - 2 * HOUR_MS });
    const after = open({ number: 2, id: "D-2", committedAtMs: T0 - 10 });
    const rung = (more: Partial<Situation>) => why({ policy: ISOLATE, drifts: [before], ...more });

    test("is left in peace while no more comes, however long ago it was isolated; what comes climbs, and so does another container of the service", () => {
      expect(rung({})).toBe("act ISOLATE");
      expect(rung({ history: [isolation()] })).toBe("contained");
      expect(rung({ history: [isolation({ createdAtMs: T0 - 90 * 24 * HOUR_MS, issuedAtMs: T0 - 90 * 24 * HOUR_MS })] })).toBe("contained");
      expect(rung({ history: [isolation()], drifts: [before, after] })).toBe("act RECREATE");
      expect(rung({ history: [isolation()], drifts: [before, after], actuator: () => false })).toBe("no-actuator");
      expect(rung({ history: [isolation({ containerId: "c0" })] })).toBe("act RECREATE");
      expect(rung({ history: [isolation({ containerId: "c0", createdAtMs: T0 - 25 * HOUR_MS })] })).toBe("act ISOLATE");
      // Another isolation would be the same again.
      expect(why({ policy: policyOf(rules(every("[isolate]"))), drifts: [before, after], history: [isolation()] })).toBe("contained");
    });

    test("climbs after a time where policy says so, and waits for that in sight", () => {
      const policy = policyOf(`  mode: enforce
  response:
    rules: [{ name: all, ladder: ${every("[isolate, recreate]")}, escalateAfter: 2h }]
`);
      expect(rung({ policy, history: [isolation()] })).toBe("isolated");
      expect(HELD).toContain("isolated");
      expect(rung({ policy, history: [isolation({ settledAtMs: T0 - 2 * HOUR_MS })] })).toBe("act RECREATE");
    });

    test("and was released by people is not isolated again for what was there, and is for what comes", () => {
      const history = [isolation(), release()];
      expect(rung({ history })).toBe("released");
      expect(rung({ history, drifts: [before, after] })).toBe("act ISOLATE");
      // One that was asked for, or came to nothing, releases nothing.
      expect(rung({ history: [isolation(), release({ state: ActionState.FAILED })] })).toBe("contained");
      expect(rung({ history: [isolation(), release({ state: ActionState.ISSUED, settledAtMs: undefined })], drifts: [before, after] })).toBe("under-way");
    });

    test("is undone by people, also where nothing was heard of it, and not twice nor beside another action", () => {
      const undo = (state: ActionState, ...others: ActionRow[]) => refuseUndo(isolation({ state }), others);
      for (const state of [ActionState.DONE, ActionState.FAILED, ActionState.EXPIRED]) expect(undo(state)).toBeUndefined();
      for (const state of [ActionState.AWAITING, ActionState.ISSUED, ActionState.REFUSED, ActionState.DENIED, ActionState.WITHDRAWN, ActionState.DRY_RUN])
        expect(undo(state)).toBe("it was not carried out");
      expect(undo(ActionState.DONE, release())).toBe("it is undone already");
      expect(undo(ActionState.DONE, release({ state: ActionState.FAILED }))).toBeUndefined();
      expect(undo(ActionState.DONE, release({ state: ActionState.ISSUED }))).toContain("is not settled");
      expect(refuseUndo(past(ActionState.DONE), [])).toContain("only an isolation");
    });

    test("counts in the breaker, and its release does not", () => {
      const other = { containerId: "cx", ...OTHER, issuedAtMs: T0 - 1000 };
      expect(rung({ history: [isolation(other)] })).toBe("breaker");
      expect(rung({ history: [isolation({ ...other, issuedAtMs: T0 - 2 * HOUR_MS }), release(other)] })).toBe("act ISOLATE");
      // It was done all the same, though it was undone since.
      expect(rung({ history: [isolation(other), release({ ...other, issuedAtMs: T0 - 500 })] })).toBe("breaker");
    });

    test("in a pod is so by the cluster's actuator; what that one has not seen to hold is nothing to rest on", () => {
      const policy = policyOf(rules(every("[isolate, evict]")));
      const ofPod = { containerName: "shop/web-1/web", workload: "shop/web" };
      const inPod = (more: Partial<Situation> = {}) => rung({ policy, workload: bad("c1", ofPod), pod: POD, ...more });
      expect(inPod()).toBe("act ISOLATE");
      expect(inPod({ actuator: (of) => !of })).toBe("no-actuator");
      expect(inPod({ pod: undefined })).toBe("looking-up");
      // One that is being deleted may take its time for that; there is nothing else to be done about it.
      expect(inPod({ pod: { ...POD, ending: true } })).toBe("act ISOLATE");
      expect(inPod({ policy: policyOf(rules(every("[evict]"))), pod: { ...POD, ending: true } })).toBe("looking-up");
      const done = (reason: string) => isolation({ ...ofPod, pod: POD, reason });
      expect(inPod({ history: [done("")] })).toBe("contained");
      expect(inPod({ history: [done("enforcement-unknown")] })).toBe("act EVICT");
      expect(inPod({ policy: policyOf(rules(every("[isolate]"))), history: [done("enforcement-unknown")] })).toBe("contained");
      const failed = { ...done("allowed-by-policy"), state: ActionState.FAILED };
      expect(inPod({ history: [failed] })).toBe("act EVICT");
    });

    test.each(["host-network", "shared-network", "shared-namespaces", "no-network", "protected", "unknown-kind"])(
      "cannot be where its actuator says %s: the rung after it is meant",
      (reason) => {
        const refused = past(ActionState.REFUSED, { kind: ActionKind.ISOLATE, reason });
        expect(rung({ history: [refused] })).toBe("act RECREATE");
        expect(rung({ history: [{ ...refused, containerId: "c0" }] })).toBe("act ISOLATE");
      },
    );

    test("is for people to approve where policy says so of this rung, and of no other", () => {
      const asked = (more: string, history: readonly ActionRow[] = [], drifts = [before]) => {
        const policy = policyOf(`  mode: enforce
  response:
    rules: [{ name: all, ladder: ${every("[isolate, recreate]")}, ${more} }]
`);
        const decision = decide(situation({ policy, history, drifts }));
        return decision.act ? newAction(1, decision, "w-1", ActionState.AWAITING, T0).approvalsNeeded : decision.why;
      };
      const both = "approvals: 2, approvalsFor: { isolate: 0 }";
      expect(asked(both)).toBe(0);
      expect(asked(both, [isolation()], [before, after])).toBe(2);
      expect(asked("approvalsFor: { recreate: 1 }")).toBe(0);
    });
  });

  describe("a container of a pod", () => {
    const EVICT = policyOf(rules(every("[evict]")));
    const inPod = (id = "c1", more: Partial<WorkloadRow> = {}) => bad(id, { containerName: "shop/web-1/web", workload: "shop/web", ...more });
    const evicting = (more: Partial<Situation> = {}) => why({ policy: EVICT, workload: inPod(), pod: POD, ...more });
    const refused = (reason: string, more: Partial<ActionRow> = {}) =>
      past(ActionState.REFUSED, { kind: ActionKind.EVICT, reason, containerName: "shop/web-1/web", workload: "shop/web", pod: POD, ...more });

    test("is evicted, by the cluster's actuator and no node's", () => {
      expect(evicting()).toBe("act EVICT");
      expect(evicting({ actuator: (ofPod) => !ofPod })).toBe("no-actuator");
      expect(why({ actuator: (ofPod) => !ofPod })).toBe("act RECREATE");
    });

    test("waits until its node has told of the pod, and no container outside of pods is meant", () => {
      expect(evicting({ pod: undefined })).toBe("looking-up");
      expect(evicting({ pod: "none" })).toBe("alert");
      expect(why({ policy: policyOf(rules(every("[evict, stop]"))) })).toBe("act STOP");
    });

    test.each(["bare-pod", "evict-never", "protected", "static-pod"])("that its actuator will never evict (%s) is left to the rung after it", (reason) => {
      expect(evicting({ history: [refused(reason)] })).toBe("alert");
      expect(evicting({ history: [refused(reason, { containerId: "c2" })] })).toBe("act EVICT");
    });

    test.each(["breaker", "cooling-down", "terminating"])("that may not be evicted now (%s) is asked for again, however often", (reason) => {
      expect(evicting({ history: Array.from({ length: MAX_ATTEMPTS }, (_, i) => refused(reason, { id: `A-${i}` })) })).toBe("act EVICT");
    });

    test("whose budget forbids it every time is people's", () => {
      const failed = Array.from({ length: MAX_ATTEMPTS }, (_, i) => ({ ...refused("pdb", { id: `A-${i}` }), state: ActionState.FAILED }));
      expect(evicting({ history: failed })).toBe("given-up");
    });

    test("is one of its service wherever it runs: another pod of it was evicted on another node just now", () => {
      const row = { ...refused("", { nodeId: "n2", containerId: "c2" }), state: ActionState.DONE, issuedAtMs: T0 - 1000 };
      expect(evicting({ history: [row], containers: 1000 })).toBe("cooling-down");
      expect(evicting({ history: [{ ...row, workload: "shop/api" }], containers: 1000 })).toBe("act EVICT");
    });
  });

  describe("a container of a pod whose image is not trusted", () => {
    const ladder = (rungs: string) => policyOf(`  mode: enforce\n  response:\n    hourlyPercent: 100\n    rules: [{ name: all, untrusted: ${rungs} }]\n`);
    const owner = { kind: "ReplicaSet", name: "web-9", uid: "u-9" };
    const revision = (n: number, standing: Standing = "verified", container = "web") => ({
      ...{ name: `web-${n}`, standing, images: [{ container, reference: `registry.example/web@${digest(n)}`, configDigest: digest(n) }] },
    });
    const known = (revisions: readonly ReturnType<typeof revision>[], never = false): Rollback => ({
      ...{ never, earlier: [], rollout: { owner, revision: "web-9", container: "web", revisions } },
    });
    const inPod = (id = "c1"): WorkloadRow =>
      bad(id, { containerName: `shop/web-${id}/web`, workload: "shop/web", configDigest: digest(9), imageId: digest(9) });
    const untrusted = (rollback: Rollback | undefined, more: Partial<Situation> = {}) =>
      decide(situation({ policy: ladder("[rollback]"), drifts: [open({ place: "image", kind: "unsigned" })], workload: inPod(), pod: POD, rollback, ...more }));
    const past9 = (state: ActionState, reason = "", more: Partial<ActionRow> = {}) =>
      past(state, {
        ...{ kind: ActionKind.ROLLBACK, reason, containerName: "shop/web-c1/web", workload: "shop/web", pod: POD, rollout: { owner, revisions: [] } },
        ...more,
      });

    test("any revisions: those that are verified now and are of another image, all of them, and none while one may be", () => {
      const some = fc.uniqueArray(
        fc.record({ n: fc.integer({ min: 1, max: 9 }), standing: fc.constantFrom<Standing>("verified", "looking-up", "not-verified") }),
        { selector: ({ n }) => n },
      );
      fc.assert(
        fc.property(some, fc.boolean(), (rows, never) => {
          const decision = untrusted(
            known(
              rows.map(({ n, standing }) => revision(n, standing)),
              never,
            ),
          );
          const others = rows.filter(({ n }) => n !== 9);
          const verified = others.filter(({ standing }) => standing === "verified").map(({ n }) => `web-${n}`);
          if (!never && others.some(({ standing }) => standing === "looking-up")) expect(decision).toEqual({ act: false, why: "looking-up" });
          else if (never || verified.length === 0) {
            const same = !never && rows.some(({ n, standing }) => n === 9 && standing === "verified");
            expect(decision).toEqual({ act: false, why: same ? "same-image" : "alert" });
          } else {
            expect(decision).toMatchObject({ act: true, kind: ActionKind.ROLLBACK, pod: POD, target: undefined, rollout: { owner } });
            expect(decision.act && decision.rollout?.revisions.map(({ name }) => name)).toEqual(verified);
          }
        }),
        { numRuns: 300 },
      );
    });

    test("revisions of which worse is known than of what runs are not named to the actuator; the others are", () => {
      const risk = (figure: number) => ({ figure, because: "because" });
      const of = (...figures: number[]): Rollback => ({ ...known(figures.map((figure, n) => ({ ...revision(n + 1), risk: risk(figure) }))), risk: risk(20) });
      const lacking = (rollback: Rollback, more: Partial<Situation> = {}) => untrusted(rollback, { drifts: LACKING, ...more });
      expect(lacking(of(21, 20, 50, 0))).toMatchObject({ kind: ActionKind.ROLLBACK, rollout: { revisions: [{ name: "web-2" }, { name: "web-4" }] } });
      expect(JSON.stringify(lacking(of(20)))).not.toContain("because");
      expect(lacking(of(21, 22))).toMatchObject({
        pod: POD,
        refusal: expect.stringContaining("21 (because)"),
        rollout: { revisions: [{ name: "web-1" }, { name: "web-2" }] },
      });
      // Whatever else holds actions back, it is told; but whose pod it is must be known.
      expect(lacking(of(21), { paused: true })).toHaveProperty("refusal");
      expect(lacking(of(21), { pod: undefined })).toEqual({ act: false, why: "looking-up" });
      // Nobody vouches for what runs: that no flaw of it is known says nothing.
      for (const drifts of NOT_AS_SCANNED)
        expect(untrusted(of(21, 20), { drifts })).toMatchObject({ rollout: { revisions: [{ name: "web-1" }, { name: "web-2" }] } });
      for (const drifts of NOT_AS_SCANNED) expect(untrusted(of(21), { drifts })).not.toHaveProperty("refusal");
    });

    test("is rolled back by the cluster's actuator, and waits for what is not known", () => {
      const rollback = known([revision(1)]);
      expect(untrusted(rollback, { actuator: (ofPod) => !ofPod })).toEqual({ act: false, why: "no-actuator" });
      expect(untrusted(undefined)).toEqual({ act: false, why: "looking-up" });
      expect(untrusted(rollback, { pod: undefined })).toEqual({ act: false, why: "looking-up" });
      expect(untrusted(NO_ROLLBACK)).toEqual({ act: false, why: "alert" });
      expect(untrusted(known([revision(1, "verified", "side")]))).toEqual({ act: false, why: "alert" });
      // What makes pods is put back as a whole, with how they are started.
      expect(
        untrusted(rollback, { drifts: [open({ place: "image", kind: "unsigned" }), open({ number: 2, id: "D-2", place: "configuration" })] }),
      ).toMatchObject({ act: true, kind: ActionKind.ROLLBACK });
      const many = Array.from({ length: 16 }, (_, i) => ({ ...revision(1).images[0], container: `c${i}`, reference: "r", configDigest: digest(1) }));
      const tooMany = { ...revision(1), images: [...revision(1).images, ...many] };
      expect(untrusted(known([tooMany]))).toEqual({ act: false, why: "alert" });
    });

    test("of which all that is verified is the same image by another name is held back, and that is said", () => {
      const elsewhere = { ...revision(9), name: "web-8" };
      expect(untrusted(known([elsewhere]))).toEqual({ act: false, why: "same-image" });
      expect(untrusted(known([elsewhere, revision(2, "not-verified")]))).toEqual({ act: false, why: "same-image" });
      expect(untrusted(known([elsewhere, revision(2)]))).toMatchObject({ act: true, kind: ActionKind.ROLLBACK });
      expect(untrusted(known([elsewhere], true))).toEqual({ act: false, why: "alert" });
      expect(untrusted(known([elsewhere]), { policy: ladder("[rollback, halt]") })).toMatchObject({ kind: ActionKind.HALT });
      expect(untrusted(known([elsewhere]), { policy: ladder("[alert]") })).toEqual({ act: false, why: "alert" });
      // Another was tried, and the action says why it came to nothing.
      expect(untrusted(known([elsewhere, revision(2)]), { history: [past9(ActionState.REFUSED, "no-earlier-revision")] })).toEqual({
        act: false,
        why: "alert",
      });
    });

    test("one node's word is not enough for all pods of a workload: the API server's own digest, another node, people, or policy that says so", () => {
      const rollback = known([revision(1)]);
      const withPolicy = (more: string) => policyOf(`  mode: enforce\n  response:\n    rules: [{ name: all, untrusted: [rollback, halt]${more} }]\n`);
      const alone = (more: Partial<Situation> = {}) => untrusted(rollback, { witnesses: 1, ...more });
      expect(alone()).toEqual({ act: false, why: "one-node" });
      expect(alone({ rollback: known([]), policy: withPolicy("") })).toEqual({ act: false, why: "one-node" });
      expect(alone({ witnesses: 2 })).toMatchObject({ act: true, kind: ActionKind.ROLLBACK });
      expect(alone({ pod: { ...POD, named: true } })).toMatchObject({ act: true });
      expect(alone({ policy: withPolicy(", rollbackOnOneNode: true") })).toMatchObject({ act: true });
      expect(alone({ policy: withPolicy(", approvals: 1") })).toMatchObject({ act: true });
      expect(alone({ policy: withPolicy(""), rollback: known([]), witnesses: 2 })).toMatchObject({ act: true, kind: ActionKind.HALT });
      // What is done to one pod, or one container, is that node's own.
      expect(why({ policy: policyOf(rules(every("[evict]"))), workload: inPod(), pod: POD, witnesses: 1 })).toBe("act EVICT");
      expect(why({ witnesses: 0 })).toBe("act RECREATE");
    });

    test("all pods of its workload go back together, once, and not for ever", () => {
      const rollback = known([revision(1)]);
      const other = { containerId: "c2", nodeId: "n2" };
      for (const state of [ActionState.AWAITING, ActionState.ISSUED])
        expect(untrusted(rollback, { history: [past9(state, "", other)] })).toEqual({ act: false, why: "under-way" });
      expect(untrusted(rollback, { history: [past9(ActionState.DONE, "", other)] })).toMatchObject({ act: true });
      const done = Array.from({ length: MAX_ATTEMPTS }, (_, i) => past9(ActionState.DONE, "", { ...other, id: `A-${i}` }));
      expect(untrusted(rollback, { history: done })).toEqual({ act: false, why: "recurring" });
    });

    test("is halted only where policy says so, and nothing can be gone back to; having been rolled back before is no reason", () => {
      const halting = { policy: ladder("[rollback, halt]") };
      expect(untrusted(known([]))).toEqual({ act: false, why: "alert" });
      expect(untrusted(known([]), halting)).toMatchObject({ act: true, kind: ActionKind.HALT, pod: POD, target: undefined, rollout: { owner, revisions: [] } });
      expect(untrusted(known([revision(1)]), halting)).toMatchObject({ kind: ActionKind.ROLLBACK });
      expect(untrusted(known([revision(1)]), { ...halting, history: [past9(ActionState.DONE, "", { containerId: "c0" })] })).toMatchObject({
        kind: ActionKind.ROLLBACK,
      });
      expect(untrusted(known([revision(1)]), { ...halting, history: [past9(ActionState.REFUSED, "no-earlier-revision")] })).toMatchObject({
        kind: ActionKind.HALT,
      });
      // What is not known is no reason either.
      expect(untrusted(known([revision(1, "looking-up")]), halting)).toEqual({ act: false, why: "looking-up" });
      expect(untrusted(undefined, halting)).toEqual({ act: false, why: "looking-up" });
      expect(untrusted(known([revision(1, "unknown")]), halting)).toEqual({ act: false, why: "looking-up" });
      expect(untrusted(known([revision(1, "not-verified")]), halting)).toMatchObject({ kind: ActionKind.HALT });
      // Where nobody wants it gone back to, no registry is waited for.
      expect(untrusted(known([revision(1, "unknown")]), { policy: ladder("[halt]") })).toMatchObject({ kind: ActionKind.HALT });
      const started = [open({ place: "image", kind: "unsigned" }), open({ number: 2, id: "D-2", place: "configuration" })];
      expect(untrusted(known([revision(1)]), { ...halting, drifts: started })).toMatchObject({ kind: ActionKind.ROLLBACK });
      const refused = past9(ActionState.REFUSED, "halt-never", { kind: ActionKind.HALT });
      expect(untrusted(known([]), { ...halting, history: [refused] })).toEqual({ act: false, why: "alert" });
      const rollout = { owner: { ...owner, kind: "DaemonSet" }, revision: "web-9", container: "web", revisions: [] };
      expect(untrusted({ never: false, earlier: [], rollout }, halting)).toEqual({ act: false, why: "alert" });
      expect(untrusted(NO_ROLLBACK, { ...halting, pod: "none", workload: bad() })).toEqual({ act: false, why: "alert" });
    });

    test.each(["engine", "no-right", "not-progressing"])("a rollback that came to %s is no reason to halt: people are to look", (reason) => {
      const halting = { policy: ladder("[rollback, halt]"), history: [past9(ActionState.FAILED, reason)] };
      expect(untrusted(known([revision(1)]), halting)).toEqual({ act: false, why: "alert" });
    });

    test("what something takes back each time is not done for ever, a rollback neither", () => {
      const undone = (n: number, kind = ActionKind.HALT) =>
        Array.from({ length: n }, (_, i) => past9(ActionState.FAILED, "other-rollout", { id: `A-${i}`, containerId: `c0${i}`, kind }));
      const halting = { policy: ladder("[halt]") };
      expect(untrusted(known([]), { ...halting, history: undone(MAX_ATTEMPTS - 1) })).toMatchObject({ kind: ActionKind.HALT });
      expect(untrusted(known([]), { ...halting, history: undone(MAX_ATTEMPTS) })).toEqual({ act: false, why: "recurring" });
      for (const rungs of ["[rollback]", "[rollback, halt]"])
        for (const containerId of [undefined, "c1"]) {
          // Of other pods of it, or of one that lived through all of them.
          const history = undone(MAX_ATTEMPTS, ActionKind.ROLLBACK).map((each) => ({ ...each, ...(containerId && { containerId }) }));
          const rolledBack = (n: number) => untrusted(known([revision(1)]), { policy: ladder(rungs), history: history.slice(0, n) });
          expect(rolledBack(MAX_ATTEMPTS - 1)).toMatchObject({ kind: ActionKind.ROLLBACK });
          expect(rolledBack(MAX_ATTEMPTS)).toEqual({ act: false, why: "recurring" });
        }
    });

    test("one node's word does not halt what is verified elsewhere: the same revision, of another image", () => {
      const present = { ...revision(8), name: "web-9" };
      expect(untrusted(known([present]), { policy: ladder("[halt]") })).toEqual({ act: false, why: "alert" });
      // It is gone back to itself, by the digest that was verified.
      expect(untrusted(known([present, revision(1)]))).toMatchObject({ rollout: { revisions: [{ name: "web-9" }, { name: "web-1" }] } });
      expect(untrusted(known([{ ...present, standing: "not-verified" as const }]), { policy: ladder("[halt]") })).toMatchObject({ kind: ActionKind.HALT });
    });

    test.each([
      "rollback-never",
      "owned-by-argocd",
      "owned-by-flux",
      "no-earlier-revision",
      "paused-rollout",
      "no-replicas",
      "not-progressing",
      "not-of-template",
      "other-owner",
    ])("what its actuator will not do (%s) is left to the rung after it, and is no attempt", (reason) => {
      expect(untrusted(known([revision(1)]), { history: [past9(ActionState.REFUSED, reason)] })).toEqual({ act: false, why: "alert" });
    });

    test("what people approve is what they were asked about: the same revisions, of the same images", () => {
      const [asked, now] = [untrusted(known([revision(1)])), untrusted(known([{ ...revision(2), name: "web-1" }]))];
      if (!asked.act || !now.act) throw new Error("not decided");
      const row = newAction(1, asked, "n1", ActionState.AWAITING, T0);
      expect(isSameAction(asked, row)).toBe(true);
      expect(isSameAction(now, row)).toBe(false);
    });

    test("an intent names its pod, what made it, and as many revisions as there is room for, the last affirmed first", () => {
      const decision = untrusted(known(Array.from({ length: 8 }, (_, i) => revision(i + 1))));
      if (!decision.act || "node" in decision) throw new Error("not decided");
      const row = newAction(1, decision, "n1", ActionState.AWAITING, T0);
      const long = { ...row, rollout: { owner, revisions: Array.from({ length: 20 }, (_, i) => ({ ...revision(1), name: `${"w".repeat(240)}-${i}` })) } };
      const read = (each: ActionRow) => fromBinary(IntentSchema, intentBody(each, Buffer.alloc(16, 1), { verifierId: "v1", region: "eu-1" }, T0));
      expect(read(row)).toMatchObject({
        kind: ActionKind.ROLLBACK,
        nodeId: "",
        cluster: POD.cluster,
        podUid: POD.uid,
        podOwner: owner,
        targetConfigDigest: "",
      });
      expect(read(row).revisions).toMatchObject([1, 2, 3, 4, 5, 6, 7, 8].map((n) => ({ name: `web-${n}`, images: [{ container: "web", digest: digest(n) }] })));
      const { revisions } = read(long);
      expect([revisions.length > 1, revisions.length <= 8, revisions[0]?.name.endsWith("-0")]).toEqual([true, true, true]);
    });
  });

  describe("an eviction that disruption budgets forbid", () => {
    const MINUTE_MS = 60_000;
    const policyWith = (budget: string, rungs = "[evict, isolate]") =>
      policyOf(`  mode: enforce\n  response:\n    hourlyPercent: 100\n    rules: [{ name: all, ladder: ${every(rungs)}${budget && `, budget: ${budget}`} }]\n`);
    const web = { containerName: "shop/web-1/web", workload: "shop/web" };
    /** @param agoMs when each was issued, before now */
    const forbidden = (...agoMs: number[]) =>
      agoMs.map((ms, n) =>
        past(ActionState.FAILED, { ...web, id: `A-${n}`, kind: ActionKind.EVICT, reason: "pdb", pod: POD, createdAtMs: T0 - ms, issuedAtMs: T0 - ms }),
      );
    const after = (budget: string, agoMs: readonly number[], rungs?: string) =>
      why({ policy: policyWith(budget, rungs), workload: bad("c1", web), pod: POD, history: forbidden(...agoMs) });

    test("is asked for again until policy's patience is over, then people are waited for, or the next rung is taken; whatever comes, nothing is forced", () => {
      const patience = fc.integer({ min: 1, max: 120 });
      const ages = fc.array(fc.integer({ min: 10, max: 200 }), { maxLength: 6 });
      fc.assert(
        fc.property(patience, ages, fc.constantFrom("people", "next"), fc.boolean(), (minutes, ago, denied, last) => {
          const over = Math.max(0, ...ago) >= minutes;
          const found = after(
            `{ patience: ${minutes}m, denied: ${denied} }`,
            ago.map((each) => each * MINUTE_MS),
            last ? "[evict]" : "[evict, isolate]",
          );
          if (!over) expect(found).toBe("act EVICT");
          else if (denied === "people") expect(found).toBe("given-up");
          else expect(found).toBe(last ? "alert" : "act ISOLATE");
        }),
        { numRuns: 300 },
      );
    });

    test("is left to people after a quarter of an hour where policy says nothing, and not before the pause between two is over", () => {
      expect(after("", [15 * MINUTE_MS - 1])).toBe("act EVICT");
      expect(after("", [15 * MINUTE_MS])).toBe("given-up");
      expect(after("", [MINUTE_MS])).toBe("cooling-down");
    });

    test("is asked for again for a drift that came once the one it was forbidden for was over", () => {
      const asked = (id: string) =>
        why({ policy: policyWith(""), workload: bad("c1", web), pod: POD, drifts: [open({ id })], history: forbidden(10 * 60 * MINUTE_MS) });
      const [row] = forbidden(0);
      expect([asked(row?.driftId ?? ""), asked("D-NEXT")]).toEqual(["given-up", "act EVICT"]);
    });

    test("takes no place among an hour's actions: it changed nothing", () => {
      const policy = policyOf(`  mode: enforce\n  response:\n    hourlyPercent: 0\n    rules: [{ name: all, ladder: ${every("[evict]")} }]\n`);
      const others = forbidden(MINUTE_MS, 20 * MINUTE_MS).map((row) => ({
        ...row,
        containerId: "c9",
        containerName: "shop/till-1/web",
        workload: "shop/till",
      }));
      const beside = (history: readonly ActionRow[]) => why({ policy, workload: bad("c1", web), pod: POD, history });
      expect(beside(others)).toBe("act EVICT");
      expect(beside([...others, ...others.slice(1).map((row) => ({ ...row, id: "A-9", reason: "engine" }))])).toBe("breaker");
    });

    test("its intent ends with policy's patience, where that is shorter than an intent's time", () => {
      const lifetime = (patience: string, kind = ActionKind.EVICT) =>
        lifetimeFor({ kind, rule: "all" }, policyWith(`{ patience: ${patience} }`), INTENT_LIFETIME_MS);
      expect([lifetime("1m"), lifetime("12h"), lifetime("1m", ActionKind.STOP)]).toEqual([MINUTE_MS, INTENT_LIFETIME_MS, INTENT_LIFETIME_MS]);
      const row = past(ActionState.AWAITING, { kind: ActionKind.EVICT, pod: POD });
      const body = intentBody(row, Buffer.alloc(16, 1), { verifierId: "v1", region: "eu-1" }, T0, MINUTE_MS);
      expect(Number(fromBinary(IntentSchema, body).expiresAt?.seconds)).toBe((T0 + MINUTE_MS) / 1000);
      expect(issued(row, { id: Buffer.alloc(16), body, signatures: [] }, T0, MINUTE_MS)).toMatchObject({ expiresAtMs: T0 + MINUTE_MS });
    });
  });

  describe("what an actuator waits for", () => {
    const row = (): ActionRow => past(ActionState.ISSUED, { kind: ActionKind.EVICT, pod: POD });
    const report = (reason: string) => ({ outcome: Outcome.WAITING, reason, detail: "d", newContainerId: "" });

    test("is kept with the action, which stays issued; in order, and once each", () => {
      const budget = waiting(row(), report("pdb"));
      expect(budget).toMatchObject({ state: ActionState.ISSUED, reason: "pdb", detail: "d", settledAtMs: undefined });
      if (!budget) return;
      expect(waiting(budget, report("pdb"))).toBeUndefined();
      const ending = waiting(budget, report("terminating"));
      expect(ending).toMatchObject({ reason: "terminating" });
      expect(ending && waiting(ending, report("pdb"))).toBeUndefined();
      expect(waiting(row(), report("anything"))).toBeUndefined();
      expect(waiting({ ...row(), state: ActionState.EXPIRED }, report("pdb"))).toBeUndefined();
    });

    test("ends with its report, or as expired: soon after the intent, but for a pod that takes its time to end", () => {
      const asked = issued(
        past(ActionState.AWAITING, { kind: ActionKind.EVICT, pod: POD }),
        { id: Buffer.alloc(16), body: Buffer.alloc(1), signatures: [] },
        T0,
      );
      const soon = T0 + INTENT_LIFETIME_MS + REPORT_GRACE_MS;
      const at = (reason: string, nowMs: number) => isOverdue({ ...asked, reason }, nowMs);
      expect([at("", soon - 1), at("", soon), at("pdb", soon), at("terminating", soon)]).toEqual([false, true, true, false]);
      expect([at("terminating", T0 + TERMINATING_MS - 1), at("terminating", T0 + TERMINATING_MS)]).toEqual([false, true]);
      expect(isOverdue({ ...asked, state: ActionState.DONE }, soon)).toBe(false);
    });
  });

  describe("an image that is not trusted", () => {
    const image = (n: number) => ({ configDigest: digest(n), imageId: digest(n), reference: `registry.example/web@${digest(n)}` });
    const ladder = (untrusted: string) => policyOf(`  mode: enforce\n  response:\n    rules: [{ name: all, untrusted: ${untrusted} }]\n`);
    const untrusted = (rollback: Rollback | undefined, more: Partial<Situation> = {}) =>
      decide(
        situation({
          ...{ policy: ladder("[rollback, stop]"), drifts: [open({ place: "image", kind: "unsigned" })] },
          ...{ workload: bad("c1", { configDigest: digest(9), imageId: digest(9) }), rollback, ...more },
        }),
      );
    const rolledBack = (state: ActionState, reason: string, target = image(1)) =>
      past(state, { kind: ActionKind.ROLLBACK, reason, target, id: `A-${reason}-${target.configDigest}` });

    test("any history: back to the newest that is verified now, and to nothing that is not known to be", () => {
      const earlier = fc.uniqueArray(
        fc.record({ n: fc.integer({ min: 1, max: 9 }), standing: fc.constantFrom<Standing>("verified", "looking-up", "not-verified") }),
        {
          selector: ({ n }) => n,
        },
      );
      fc.assert(
        fc.property(earlier, fc.boolean(), fc.uniqueArray(fc.integer({ min: 1, max: 9 })), (rows, never, failed) => {
          const history = failed.map((n) =>
            n % 2 ? rolledBack(ActionState.FAILED, "engine", image(n)) : rolledBack(ActionState.REFUSED, "no-target-image", image(n)),
          );
          const decision = untrusted({ never, earlier: rows.map(({ n, standing }) => ({ image: image(n), standing })) }, { history });
          const first = never ? undefined : rows.find(({ n, standing }) => n !== 9 && !failed.includes(n) && standing !== "not-verified");
          if (first?.standing === "looking-up") expect(decision).toEqual({ act: false, why: "looking-up" });
          else if (first) expect(decision).toMatchObject({ act: true, kind: ActionKind.ROLLBACK, target: image(first.n) });
          else expect(decision).toMatchObject({ act: true, kind: ActionKind.STOP, target: undefined });
        }),
        { numRuns: 500 },
      );
    });

    test("any risks: back to the newest verified one that is not known to be of a higher risk; where all are, that is refused first, and on record once", () => {
      const known = fc.option(fc.integer({ min: 0, max: 50 }), { nil: undefined });
      const riskOf = (figure: number | undefined) => (figure === undefined ? undefined : { figure, because: "because" });
      fc.assert(
        fc.property(known, fc.array(known, { minLength: 1, maxLength: 8 }), fc.boolean(), (present, risks, any) => {
          const earlier = risks.map((figure, n) => ({ image: image(n + 1), standing: "verified" as const, risk: riskOf(figure) }));
          const rollback: Rollback = { never: false, risk: riskOf(present), earlier };
          const policy = any
            ? policyOf("  mode: enforce\n  response:\n    rules: [{ name: all, untrusted: [rollback, stop], rollbackToHigherRisk: true }]\n")
            : ladder("[rollback, stop]");
          const lacking = (more: Partial<Situation>) => untrusted(rollback, { drifts: LACKING, ...more });
          const decision = lacking({ policy });
          const fit = risks.findIndex((figure) => any || figure === undefined || present === undefined || figure <= present);
          if (fit >= 0) {
            expect(decision).toMatchObject({ act: true, kind: ActionKind.ROLLBACK, target: image(fit + 1) });
            expect(decision).not.toHaveProperty("refusal");
            return;
          }
          expect(decision).toMatchObject({ act: true, kind: ActionKind.ROLLBACK, target: image(1), refusal: expect.stringContaining(image(1).reference) });
          if (!decision.act) return;
          const row = refusedAction(1, decision, "w-1", T0);
          expect(row).toMatchObject({ state: ActionState.REFUSED, reason: "higher-risk", approvalsNeeded: 0, detail: decision.refusal });
          expect(isSameAction(decision, row)).toBe(false);
          expect(lacking({ policy, history: [row] })).toMatchObject({ act: true, kind: ActionKind.STOP });
          expect(lacking({ policy: ladder("[rollback]"), history: [row] })).toEqual({ act: false, why: "higher-risk" });
          // It is no attempt on the container, however often it was.
          const often = Array.from({ length: MAX_ATTEMPTS }, (_, n) => ({ ...row, id: `A-${n}` }));
          expect(lacking({ policy, history: often })).toMatchObject({ act: true, kind: ActionKind.STOP });
        }),
        { numRuns: 300 },
      );
    });

    test("one that nobody vouches for, or that the container has changed, is left for what is verified, whatever is known of the two; also after that was refused once", () => {
      const known = (figure: number) => ({ figure, because: "because" });
      const rollback: Rollback = { never: false, risk: known(0), earlier: [{ image: image(1), standing: "verified", risk: known(34) }] };
      const refused = untrusted(rollback, { drifts: LACKING });
      if (!refused.act) throw new Error(refused.why);
      const history = [refusedAction(1, refused, "w-1", T0)];
      for (const drifts of NOT_AS_SCANNED)
        for (const before of [[], history]) {
          const decision = untrusted(rollback, { drifts, history: before });
          expect(decision).toMatchObject({ act: true, kind: ActionKind.ROLLBACK, target: image(1) });
          expect(decision).not.toHaveProperty("refusal");
          // Why it is not gone back to is another reason by now.
          const gone: Rollback = { ...rollback, earlier: [{ image: image(1), standing: "not-verified", risk: known(34) }] };
          expect(untrusted(gone, { drifts, history: before, policy: ladder("[rollback]") })).toEqual({ act: false, why: "alert" });
        }
    });

    test("with nothing to go back to it is halted only where policy says so", () => {
      expect(untrusted(NO_ROLLBACK, { policy: ladder("[rollback]") })).toEqual({ act: false, why: "alert" });
      expect(untrusted(NO_ROLLBACK, { policy: ladder("[rollback, alert, stop]") })).toEqual({ act: false, why: "alert" });
    });

    test("while its node has not told of it, nothing is known: it is neither halted, nor is what waits withdrawn", () => {
      expect(untrusted(undefined)).toEqual({ act: false, why: "looking-up" });
      expect(HELD).toContain("looking-up");
      expect(untrusted(undefined, { node: node("n1", { verdict: Verdict.UNKNOWN }) })).toEqual({ act: false, why: "node-not-attested" });
      // Where going back is out of the question, nothing is waited for.
      expect(untrusted(undefined, { policy: ladder("[stop]") })).toMatchObject({ kind: ActionKind.STOP });
      expect(untrusted(undefined, { history: [rolledBack(ActionState.REFUSED, "rollback-never")] })).toMatchObject({ kind: ActionKind.STOP });
    });

    test("a host that forbids it is not asked again: the rung after it is taken", () => {
      const rollback: Rollback = { never: false, earlier: [{ image: image(1), standing: "verified" }] };
      const history = [rolledBack(ActionState.REFUSED, "rollback-never")];
      expect(untrusted(rollback, { history })).toMatchObject({ kind: ActionKind.STOP });
      expect(untrusted(rollback, { history: [rolledBack(ActionState.REFUSED, "no-target-image")] })).toMatchObject({ kind: ActionKind.STOP });
      expect(untrusted(rollback, { history: [rolledBack(ActionState.REFUSED, "cooling-down")] })).toMatchObject({ kind: ActionKind.ROLLBACK });
    });

    test("images that the host has not any more are no attempts on the container: it is halted in the end, and what fails for another reason is waited with", () => {
      const pruned = [1, 2, 3, 4].map((n) => rolledBack(ActionState.REFUSED, "no-target-image", image(n)));
      const rollback: Rollback = { never: false, earlier: [1, 2, 3, 4].map((n) => ({ image: image(n), standing: "verified" })) };
      expect(untrusted(rollback, { history: pruned })).toMatchObject({ act: true, kind: ActionKind.STOP });
      const stops = Array.from({ length: MAX_ATTEMPTS }, (_, i) => past(ActionState.FAILED, { kind: ActionKind.STOP, reason: "engine", id: `A-stop-${i}` }));
      expect(untrusted(rollback, { history: [...pruned, ...stops] })).toEqual({ act: false, why: "given-up" });
      const uncaptured = stops.map((each) => ({ ...each, kind: ActionKind.ROLLBACK, reason: "capture", target: image(1) }));
      expect(untrusted(rollback, { history: uncaptured })).toEqual({ act: false, why: "given-up" });
    });

    test("one that was also started wrongly is not rolled back, since that would stay: the rung after it is taken", () => {
      const rollback: Rollback = { never: false, earlier: [{ image: image(1), standing: "verified" }] };
      const drifts = (place: string) => [open({ place: "image", kind: "unsigned" }), open({ number: 2, id: "D-2", place, kind: "content", severity: 1 })];
      expect(untrusted(rollback, { drifts: drifts("configuration") })).toMatchObject({ act: true, kind: ActionKind.STOP, target: undefined });
      expect(untrusted(rollback, { drifts: drifts("configuration"), policy: ladder("[rollback]") })).toEqual({ act: false, why: "alert" });
      // What the container wrote is gone with it.
      expect(untrusted(rollback, { drifts: drifts("upper") })).toMatchObject({ act: true, kind: ActionKind.ROLLBACK });
    });

    test("an image of the same digest by another name is the present one", () => {
      const same = { ...image(1), imageId: digest(9) };
      const another: Rollback = { never: false, earlier: [{ image: same, standing: "verified" }] };
      expect(untrusted(another)).toMatchObject({ kind: ActionKind.STOP });
      expect(untrusted(another, { policy: ladder("[rollback]") })).toEqual({ act: false, why: "same-image" });
    });
  });

  test("drift that returns climbs the ladder", () => {
    const policy = policyOf(rules(every("[recreate, stop]")));
    const returned = { history: [past(ActionState.DONE, { containerId: "c0" })] };
    expect(why({ policy })).toBe("act RECREATE");
    expect(why({ policy, ...returned })).toBe("act STOP");
  });

  test("services of one name in two Compose projects neither climb for each other, nor wait, nor are given up; what was stored before projects were counts for both", () => {
    const policy = policyOf(rules(every("[recreate]"), "    hourlyPercent: 100\n"));
    const act = (project: string, more: Partial<Situation> = {}) => {
      const decision = decide(situation({ policy, workload: bad(`${project}-9`, { workload: "web", service: `${project}/web` }), ...more }));
      return decision.act ? decision : decision.why;
    };
    const done = (n: number, issuedAtMs: number, of = act("shop")): ActionRow => {
      if (typeof of === "string") throw new Error(of);
      return { ...newAction(n, of, "w-1", ActionState.DONE, issuedAtMs), containerId: `c${n}`, issuedAtMs, settledAtMs: issuedAtMs };
    };
    const kind = (project: string, history: readonly ActionRow[], more: Partial<Situation> = {}) => {
      const found = act(project, { history: aboutOf(history), ...more });
      return typeof found === "string" ? found : ActionKind[found.kind];
    };
    const aboutOf = (history: readonly ActionRow[]) => {
      const rows = new ActionHistory();
      for (const row of history) rows.put(row);
      return rows.about(bad("x", { workload: "web", service: "other/web" }), T0);
    };
    const both = (history: readonly ActionRow[], more: Partial<Situation> = {}) => [kind("shop", history, more), kind("other", history, more)];
    const ofBefore = (rows: readonly ActionRow[]) => rows.map(({ service: _service, ...row }) => row);
    const climbing = { policy: policyOf(rules(every("[recreate, stop]"))) };
    const earlier = [1, 2, 3].map((n) => done(n, T0 - 5 * HOUR_MS));
    expect([both([done(1, T0 - 1000)]), both([done(1, T0 - 5 * HOUR_MS)], climbing), both(earlier)]).toEqual([
      ["cooling-down", "RECREATE"],
      ["STOP", "RECREATE"],
      ["recurring", "RECREATE"],
    ]);
    expect([both(ofBefore([done(1, T0 - 1000)])), both(ofBefore([done(1, T0 - 5 * HOUR_MS)]), climbing), both(ofBefore(earlier))]).toEqual([
      ["cooling-down", "cooling-down"],
      ["STOP", "STOP"],
      ["recurring", "recurring"],
    ]);
  });

  test.each(["recreate", "evict"])("what drifts again however often it is replaced (%s) is people's in the end: the last rung is no loop", (rung) => {
    const pod: Partial<Pick<WorkloadRow, "containerName" | "workload">> = rung === "evict" ? { containerName: "shop/web-1/web", workload: "shop/web" } : {};
    const policy = policyOf(rules(every(`[alert, ${rung}]`), "    hourlyPercent: 100\n"));
    const history: ActionRow[] = [past(ActionState.DONE, { id: "A-0", kind: ActionKind.STOP, containerId: "c-0", ...pod })];
    for (let n = 1; n < 20; n++) {
      const decision = decide(situation({ policy, workload: bad(`c${n}`, pod), pod: POD, history }));
      if (!decision.act) break;
      history.push(past(ActionState.DONE, { id: `A-${n}`, kind: decision.kind, containerId: `c${n}`, ...pod }));
    }
    expect(history).toHaveLength(1 + MAX_ATTEMPTS);
    expect(why({ policy, workload: bad("c99", pod), pod: POD, history })).toBe("recurring");
    expect(why({ policy, workload: bad("c99", pod), pod: POD, history: history.slice(1) })).toMatch(/^act /);
    expect(why({ policy: policyOf(rules(every("[stop]"))), workload: bad("c99", pod), pod: POD, history })).toBe("act STOP");
  });

  test("places that are not the workload's, and kinds that are not known, are the node's", () => {
    expect(PROVENANCE_KINDS.map((kind) => causeOf({ place: "image", kind }))).toEqual(PROVENANCE_KINDS.map(() => "untrusted"));
    for (const place of ["layer", "runtime-layer", "node", "elsewhere"]) expect(causeOf({ place, kind: "content" })).toBe("node");
    expect(causeOf({ place: "image", kind: "content" })).toBe("node");
    expect(causeOf({ place: "configuration", kind: "unlisted" })).toBe("node");
  });
});

test("what is captured first counts for all services until it is withdrawn, and waits for the limits no more, of which others have used what fewer containers leave", () => {
  const history = new ActionHistory();
  const about = (): string => why({ history: history.about(bad(), T0) });
  history.put(captured());
  expect(about()).toBe("breaker");
  history.put(settled(captured(), ActionState.WITHDRAWN, "gone", T0));
  expect(about()).toBe("act RECREATE");
  const own = captured({ id: "A-DDDD", number: 2, containerId: "c1", workload: bad().workload });
  const others = [captured(), past(ActionState.DONE, { containerId: "cx", ...OTHER, issuedAtMs: T0 - 1000 })];
  const again = (state: ActionState, more: Partial<Situation> = {}): string => {
    const decision = decide(situation({ history: [own, ...others], ...more }), { ...own, state });
    return decision.act ? "act" : decision.why;
  };
  expect([again(ActionState.AWAITING), again(ActionState.CAPTURING), again(ActionState.CAPTURING, { paused: true })]).toEqual(["breaker", "act", "paused"]);
});

test("what waits for people or for its node waits on while nobody can say what its container is like; nothing is begun then, and what is right again, or nobody's to act on, is over", () => {
  const judged = (verdict: Verdict) => ({ workload: bad("c1", { verdict, appraised: { verdict, content: verdict, reasons: [] } }) });
  const unknown = judged(Verdict.UNKNOWN);
  expect(why(unknown)).toBe("not-contradicted");
  for (const state of [ActionState.AWAITING, ActionState.CAPTURING]) {
    const own = captured({ containerId: "c1", workload: bad().workload, state });
    const again = (more: Partial<Situation>): string => {
      const decision = decide(situation({ history: [own], ...more }), own);
      return decision.act ? "act" : decision.why;
    };
    expect(again(unknown)).toBe("looking-up");
    expect(again(judged(Verdict.CONTRAINDICATED))).toBe("act");
    for (const verdict of [Verdict.AFFIRMING, Verdict.WARNING]) expect(again(judged(verdict))).toBe("not-contradicted");
    expect(again({ ...unknown, drifts: [] })).toBe("not-contradicted");
    expect(again({ ...unknown, policy: policyOf("  mode: enforce\n") })).toBe("no-rule");
    expect(again({ ...unknown, drifts: [open(), open({ number: 2, place: "layer" })] })).toBe("node-cause");
    // Silence is told as that.
    expect(again({ ...unknown, node: node("n1", { verdict: Verdict.UNKNOWN }) })).toBe("node-not-attested");
  }
});

test("nor does a container that fills its writable layer end what waits for it: until its own rung is due, if there is one, it waits", () => {
  const reasons = ["unmeasurable", "over-budget"].map((code) => ({ code, detail: "", sinceMs: T0 }));
  const UNSAID = { verdict: Verdict.UNKNOWN, content: Verdict.UNKNOWN, reasons };
  const full = { workload: bad("c1", { verdict: Verdict.UNKNOWN, appraised: UNSAID }) };
  const under = (unmeasurable: string) => ({
    policy: policyOf(rules(every("[recreate]")).replace("untrusted: [stop]", `unmeasurable: ${unmeasurable}, unmeasurableAfter: 5m`)),
    ...full,
  });
  for (const state of [ActionState.AWAITING, ActionState.CAPTURING]) {
    const own = captured({ containerId: "c1", workload: bad().workload, state });
    const again = (more: Partial<Situation>, of = own): string => {
      const decision = decide(situation({ history: [of], overBudgetMs: 0, ...more }), of);
      return decision.act ? `act ${ActionKind[decision.kind]}` : decision.why;
    };
    const late = { overBudgetMs: 300_000 };
    expect([again(under("[alert]")), again({ ...under("[alert]"), ...late })]).toEqual(["looking-up", "looking-up"]);
    expect([again(under("[stop]")), again({ ...under("[stop]"), ...late })]).toEqual(["settling", "act STOP"]);
    // That people denied what it was to be answered with says nothing of the drift.
    const denied = past(ActionState.DENIED, { id: "A-0", kind: ActionKind.STOP, driftId: "" });
    expect(again({ ...under("[stop]"), ...late, history: [own, denied] })).toBe("looking-up");
    // Without its drift it is over, as is one for having been unmeasurable that is no more.
    expect(again({ ...under("[alert]"), drifts: [] })).toBe("alert");
    expect(again(under("[alert]"), { ...own, driftId: "" })).toBe("alert");
    expect(again({ ...under("[alert]"), policy: policyOf("  mode: enforce\n") })).toBe("no-rule");
  }
});

test("any sequence of verdicts makes no more actions than the breaker allows, in any hour and for any workload", () => {
  const verdict = fc.record({
    container: fc.integer({ min: 0, max: 40 }),
    service: fc.integer({ min: 0, max: 12 }),
    pauseMs: fc.integer({ min: 0, max: 900_000 }),
  });
  const percent = fc.integer({ min: 0, max: 100 });
  fc.assert(
    fc.property(fc.array(verdict, { maxLength: 120 }), percent, fc.integer({ min: 1, max: 120 }), (verdicts, hourlyPercent, containers) => {
      const policy = policyOf(rules(every("[stop]"), `    hourlyPercent: ${hourlyPercent}\n`));
      const history: ActionRow[] = [];
      let nowMs = T0;
      for (const { container, service, pauseMs } of verdicts) {
        nowMs += pauseMs;
        const decision = decide(
          situation({
            policy,
            workload: bad(`c${container}`, { workload: `s${service % 7}`, service: `p${service}/s${service % 7}` }),
            history,
            containers,
            nowMs,
          }),
        );
        if (!decision.act) continue;
        const row = newAction(history.length + 1, decision, "w-1", ActionState.AWAITING, nowMs);
        const intent = { id: Buffer.alloc(16), body: Buffer.alloc(1), signature: Buffer.alloc(64) };
        history.push(settled(issued(row, intent, nowMs), ActionState.DONE, "", nowMs));
      }
      const at = history.map((row) => row.issuedAtMs ?? 0);
      for (const end of at)
        expect(at.filter((each) => end - HOUR_MS < each && each <= end).length).toBeLessThanOrEqual(hourlyLimit(containers, { hourlyPercent }));
      const last = new Map<string, number>();
      for (const row of history) {
        const before = last.get(serviceOf(row));
        if (before !== undefined) expect((row.issuedAtMs ?? 0) - before).toBeGreaterThanOrEqual(600_000);
        last.set(serviceOf(row), row.issuedAtMs ?? 0);
      }
    }),
    { numRuns: 200 },
  );
});

test("what waits for its node's capture, for however long, makes no more actions than the breaker allows in any hour, when all of it is let go at once too", () => {
  const step = fc.record({ begun: fc.integer({ min: 0, max: 8 }), passMs: fc.integer({ min: 0, max: 2 * HOUR_MS }), letGo: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 120 }), (steps, hourlyPercent, containers) => {
      const policy = policyOf(rules(every("[stop]"), `    hourlyPercent: ${hourlyPercent}\n`));
      const history: ActionRow[] = [];
      let nowMs = T0;
      const about = (container: number) => ({
        policy,
        workload: bad(`c${container}`, { workload: `s${container}`, service: `project/s${container}` }),
        history,
        containers,
        nowMs,
      });
      const waiting = () => history.filter(({ state }) => state === ActionState.CAPTURING);
      for (const { begun, passMs, letGo } of steps) {
        for (let i = 0; i < begun; i++) {
          const decision = decide(situation(about(history.length)));
          if (!decision.act) break;
          history.push(capturing(newAction(history.length + 1, decision, "w-1", ActionState.AWAITING, nowMs), Buffer.alloc(16), 30_000, nowMs));
        }
        nowMs += passMs;
        for (const row of letGo ? waiting() : []) {
          if (!decide(situation(about(row.number - 1)), row).act) continue;
          const intent = { id: Buffer.alloc(16), body: Buffer.alloc(1), signatures: [] };
          history[row.number - 1] = settled(issued(row, intent, nowMs), ActionState.DONE, "", nowMs);
        }
      }
      const at = history.flatMap(({ issuedAtMs }) => issuedAtMs ?? []);
      for (const end of at)
        expect(at.filter((each) => end - HOUR_MS < each && each <= end).length).toBeLessThanOrEqual(hourlyLimit(containers, { hourlyPercent }));
    }),
    { numRuns: 200 },
  );
});

test("the gravest drift decides, whatever order they come in", () => {
  const severities = fc.uniqueArray(fc.constantFrom(Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL), { minLength: 1 });
  fc.assert(
    fc.property(severities, (order) => {
      const drifts = order.map((severity, i) => open({ severity, number: i + 1, id: `D-${i}` }));
      const decision = decide(situation({ drifts }));
      expect(decision.act && decision.drift?.severity).toBe(Math.max(...order));
    }),
  );
});

describe("the page of the breaker", () => {
  const facts = (more: Partial<AlarmFacts> = {}): AlarmFacts => ({ enforcing: true, held: {}, looking: false, history: [], ...more });
  const refusal = (reason: string, settledAtMs: number) => ({ state: ActionState.REFUSED, reason, settledAtMs });

  test("any sequence: opened by the breaker alone, and ended only after nothing has waited for ten minutes", () => {
    const held = fc.dictionary(fc.constantFrom(...HELD), fc.integer({ min: 1, max: 100 }), { maxKeys: 2 });
    const look = fc.record({ held, looking: fc.boolean(), enforcing: fc.boolean(), afterMs: fc.integer({ min: 1000, max: QUIET_MS }) });
    fc.assert(
      fc.property(fc.array(look, { maxLength: 60 }), (looks) => {
        let [alarm, nowMs, waitedAtMs] = [UNKNOWN_ALARM, T0, T0];
        for (const { afterMs, ...each } of looks) {
          nowMs += afterMs;
          const before = alarm.open;
          alarm = nextAlarm(alarm, facts(each), nowMs);
          const waits =
            each.enforcing &&
            (each.looking ||
              Object.keys(each.held).some((why) => !["node-not-attested", "isolated", "one-node", "same-image", "higher-risk", "given-up"].includes(why)));
          const tripped = each.enforcing && BREAKING.some((why) => each.held[why] !== undefined);
          if (alarm.open && !before) expect(tripped).toBe(true);
          if (tripped) expect(alarm.open).toBe(true);
          if (before && !alarm.open) expect(!waits && nowMs - waitedAtMs >= QUIET_MS).toBe(true);
          if (waits) waitedAtMs = nowMs;
        }
      }),
      { numRuns: 500 },
    );
  });

  test.each<[string, Partial<AlarmFacts>, boolean | undefined]>([
    ["held by the breaker", { held: { breaker: 1 } }, true],
    ["held since it returns whatever is done", { held: { recurring: 1 } }, true],
    ["a layer is altered again after it was purged", { held: { "containment-failed": 1 } }, true],
    ["held by it in a dry run", { enforcing: false, held: { breaker: 1 } }, undefined],
    ["held by a pause", { held: { paused: 1 } }, undefined],
    ["refused by a host's breaker", { history: [refusal("breaker", T0 - 1)] }, true],
    ["refused by it long ago", { history: [refusal("breaker", T0 - QUIET_MS)] }, undefined],
    ["refused for another reason", { history: [refusal("protected", T0 - 1)] }, undefined],
  ])("%s", (_name, more, open) => expect(nextAlarm(UNKNOWN_ALARM, facts(more), T0).open).toBe(open));

  test("a process that starts ends what an earlier one opened, once it knows that it is over", () => {
    const quiet = nextAlarm(UNKNOWN_ALARM, facts(), T0);
    expect(quiet.open).toBeUndefined();
    expect(nextAlarm(quiet, facts(), T0 + QUIET_MS - 1).open).toBeUndefined();
    expect(nextAlarm(quiet, facts(), T0 + QUIET_MS).open).toBe(false);
    expect(nextAlarm(quiet, facts(), T0 - HOUR_MS).quietSinceMs).toBe(T0 - HOUR_MS);
  });
});

test("a node that is to capture is waited for as long as policy says, also where the clock is set back meanwhile", () => {
  const row = { capturing: { id: Buffer.alloc(16), sinceMs: T0, untilMs: T0 + 60_000 } };
  const over = (passedMs: number) => isCaptureOver(row, T0 + passedMs);
  expect([0, 59_999, 60_000, HOUR_MS, -1000, -HOUR_MS].map(over)).toEqual([false, false, true, true, false, true]);
});
