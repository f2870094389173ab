/** What the verifier concludes of a node from the agent's own words on how it works. */
import { create } from "@bufbuild/protobuf";
import { NodeStateSchema } from "@hullmark/proto/v1/attestation";
import { TrustLevel, Verdict } from "@hullmark/proto/v1/common";
import { expect, test } from "vitest";
import { appraiseNode } from "../../verifier/core/appraisal/appraise-node.ts";
import type { BootFindingKind } from "../../verifier/core/measured-boot/appraise.ts";

const WORKS = { runtimeReachable: true, changeSource: "fanotify", attribution: true, tpm: "ok" };

function appraised(change: { attribution?: boolean; changeSource?: string; runtimeReachable?: boolean; missingCapabilities?: string[] }): {
  verdict: Verdict;
  codes: string[];
} {
  const state = create(NodeStateSchema, { ...WORKS, ...change });
  const unremarkable = { revoked: false, connected: true, lastSeenMs: 0, lastQuoteMs: 0, quoteRefused: undefined, chainBroken: undefined, boot: undefined };
  const { verdict, reasons } = appraiseNode(
    {
      ...unremarkable,
      trustLevel: TrustLevel.TPM,
      state,
      heartbeatIntervalMs: 1000,
      quoteIntervalMs: 1000,
      overloaded: false,
      rival: undefined,
      clockSkew: undefined,
      clockLost: undefined,
    },
    0,
  );
  return { verdict, codes: reasons.map(({ code }) => code) };
}

test("that the kernel tells of no processes is said, and is no reason to trust the node less", () => {
  expect(appraised({})).toEqual({ verdict: Verdict.AFFIRMING, codes: [] });
  expect(appraised({ attribution: false })).toEqual({ verdict: Verdict.AFFIRMING, codes: ["no-process-events"] });
});

test("what bars or warns comes first; a source that never names anybody, and none at all, say so themselves", () => {
  expect(appraised({ attribution: false, missingCapabilities: ["CAP_NET_ADMIN"] })).toEqual({
    verdict: Verdict.WARNING,
    codes: ["missing-capabilities", "no-process-events"],
  });
  expect(appraised({ attribution: false, runtimeReachable: false })).toEqual({
    verdict: Verdict.UNKNOWN,
    codes: ["runtime-unreachable", "no-process-events"],
  });
  expect(appraised({ attribution: false, changeSource: "chokidar" }).codes).toEqual([]);
  expect(appraised({ attribution: false, changeSource: "" })).toEqual({ verdict: Verdict.UNKNOWN, codes: ["change-source-dead"] });
});

/** Codes of a node of which both have lasted too long, where that is so. */
const overdue = (facts: object, state: object = {}): string[] => {
  const unremarkable = { revoked: false, connected: true, lastSeenMs: 0, lastQuoteMs: 0, quoteRefused: undefined, chainBroken: undefined, boot: undefined };
  const more = { heartbeatIntervalMs: 1000, quoteIntervalMs: 1000, overloaded: false, rival: undefined, clockSkew: undefined, clockLost: undefined };
  const node = create(NodeStateSchema, { ...WORKS, ...state });
  const both = { silent: true, unproven: true };
  const { reasons } = appraiseNode({ ...unremarkable, ...more, trustLevel: TrustLevel.TPM, state: node, overdue: both, ...facts }, 0);
  return reasons.map(({ code }) => code);
};

test("silent is what says nothing that can be judged, for whatever reason but the verifier's own; a contradiction is told as that", () => {
  const silent = (facts: object, state: object = {}): boolean => overdue(facts, state).includes("silent");
  expect(silent({})).toBe(false);
  for (const facts of [{ lastSeenMs: undefined }, { lastSeenMs: -9e9 }, { lastQuoteMs: undefined }, { lastQuoteMs: -9e9 }, { barred: true }])
    expect(silent(facts)).toBe(true);
  // No agent says of the node that it is measuring: whoever did could say so for ever.
  for (const state of [
    { runtimeReachable: false },
    { changeSource: "" },
    { tpm: "gone" },
    ...["spool-lost", "measuring"].map((code) => ({ claims: [{ code }] })),
  ])
    expect(silent({}, state)).toBe(true);
  expect(silent({ lastQuoteMs: -9e9, overloaded: true })).toBe(false);
  expect(silent({ lastQuoteMs: -9e9, quoteRefused: "wrong" })).toBe(false);
  expect(silent({ lastSeenMs: -9e9, quoteRefused: "wrong" })).toBe(true);
  expect(silent({ lastQuoteMs: undefined, overdue: { silent: false, unproven: true } })).toBe(false);
});

test("an unproven boot is told where policy asks for proof and the time for it is over, beside silence too; a contradiction is told as that", () => {
  const booted = (unknown: readonly string[], ...kinds: BootFindingKind[]) => ({
    boot: { ...found(...kinds).boot, unknown: unknown.map((code) => ({ code, detail: "x" })), judged: false },
  });
  expect(overdue(booted(["kexec"]))).toEqual(["kexec", "boot-unproven"]);
  expect(overdue({ ...booted(["no-event-log"]), trustLevel: TrustLevel.NONE, lastQuoteMs: undefined })).toEqual(["no-event-log", "boot-unproven", "no-tpm"]);
  // What no policy asks for warns.
  const warned = { boot: { ...found().boot, warnings: [{ code: "kexec", detail: "x" }] } };
  for (const facts of [{}, booted([]), warned, { ...booted(["kexec"]), overdue: { silent: true, unproven: false } }])
    expect(overdue(facts)).not.toContain("boot-unproven");
  expect(overdue({ ...booted(["kexec"]), lastSeenMs: -9e9 })).toEqual(expect.arrayContaining(["silent", "boot-unproven"]));
  expect(overdue(booted(["kexec"], "pcr"))).toEqual(["pcr", "kexec"]);
  expect(overdue({ ...booted(["kexec"]), quoteRefused: "x" })).not.toContain("boot-unproven");
});

const vectorOf = (change: object) => {
  const facts = { revoked: false, connected: true, lastSeenMs: 0, lastQuoteMs: 0, quoteRefused: undefined, chainBroken: undefined, boot: undefined };
  const more = { heartbeatIntervalMs: 1000, quoteIntervalMs: 1000, overloaded: false, rival: undefined, clockSkew: undefined, clockLost: undefined };
  const state = create(NodeStateSchema, WORKS);
  const { instanceIdentity, hardware, executables, configuration } = appraiseNode(
    { ...facts, ...more, trustLevel: TrustLevel.TPM, state, ...change },
    0,
  ).vector;
  return { instanceIdentity, hardware, executables, configuration };
};
const found = (...kinds: BootFindingKind[]) => ({
  boot: { findings: kinds.map((kind) => ({ kind, what: "x", detail: "x" })), unknown: [], warnings: [], judged: true },
});

test("the vector says what is contradicted, and of what nobody looked at nothing", () => {
  const sound = { instanceIdentity: 2, hardware: 2, executables: 0, configuration: 0 };
  expect(vectorOf({})).toEqual(sound);
  expect(vectorOf(found())).toEqual({ ...sound, executables: 3, configuration: 2 });
  expect(vectorOf({ trustLevel: TrustLevel.TPM_TOFU })).toEqual({ ...sound, hardware: 32 });
  expect(vectorOf({ trustLevel: TrustLevel.NONE })).toEqual({ ...sound, instanceIdentity: 0, hardware: 0 });
  for (const not of [{ revoked: true }, { quoteRefused: "x" }, { chainBroken: "x" }, { rival: "x" }])
    expect(vectorOf(not), JSON.stringify(not)).toEqual({ ...sound, instanceIdentity: 96, hardware: 0 });
  expect(vectorOf({ lastQuoteMs: undefined })).toEqual({ ...sound, instanceIdentity: 0, hardware: 32 });
  const doubted = { instanceIdentity: 0, hardware: 32, executables: 0, configuration: 0 };
  for (const kind of ["boot", "ima", "agent"] as const) expect(vectorOf(found(kind)), kind).toEqual({ ...doubted, executables: 96 });
  for (const kind of ["event-log", "secure-boot", "pcr"] as const) expect(vectorOf(found(kind)), kind).toEqual({ ...doubted, configuration: 96 });
  expect(vectorOf(found("pcr", "ima"))).toEqual({ ...doubted, executables: 96, configuration: 96 });
});
