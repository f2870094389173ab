/** When a node is told to be silent, or not to prove its boot; and when what was told of it is over. */
import { Severity, Verdict } from "@hullmark/proto/v1/common";
import { expect, test } from "vitest";
import { isUnproven, nodeConclusive, nodeFindings } from "../../verifier/core/fleet/node-findings.ts";
import { defaultPolicy } from "../../verifier/core/policy/default.ts";
import { OverdueNodes } from "../../verifier/core/session/overdue-nodes.ts";
import type { NodeRow } from "../../verifier/ports/rows.ts";

const T0 = 1_000_000_000_000;
const POLICY = { ...defaultPolicy(), silentAfterSeconds: 300, bootUnprovenAfterSeconds: 300 };
const PROVEN = { findings: [], unknown: [], warnings: [], judged: true };
const reasonsOf = (codes: readonly string[]) => codes.map((code) => ({ code, detail: "", sinceMs: 0 }));

/** What is looked at of a node that is heard all the time. */
function node(verdict: Verdict, codes: readonly string[], unproven: readonly string[] = [], more: Partial<NodeRow> = {}): NodeRow {
  const boot = { ...PROVEN, unknown: unproven.map((code) => ({ code, detail: "the node's own word" })) };
  return { id: "n", name: "w-1", verdict, reasons: reasonsOf([...unproven, ...codes]), boot, lastSeenMs: undefined, ...more } as unknown as NodeRow;
}

/** Seconds in which each state is seen, one after the other, and what is overdue at the end. */
function after(...states: readonly (readonly [seconds: number, row: NodeRow])[]): { readonly silent: boolean; readonly unproven: boolean } {
  const overdue = new OverdueNodes();
  let nowMs = T0;
  for (const [seconds, row] of states)
    for (let i = 0; i < seconds; i++) {
      nowMs += 1000;
      overdue.look([{ ...row, lastSeenMs: row.lastSeenMs ?? nowMs }], POLICY, nowMs);
    }
  return overdue.of("n", POLICY);
}

const kexec = node(Verdict.UNKNOWN, [], ["kexec"]);
const booting = node(Verdict.UNKNOWN, ["no-quote"]);
const proven = node(Verdict.AFFIRMING, []);
const rebooting = node(Verdict.UNKNOWN, [], ["event-log-pending"]);

test("an unproven boot is overdue after the patience, and no sooner", () => {
  expect(after([301, kexec])).toEqual({ silent: false, unproven: true });
  expect(after([300, kexec])).toEqual({ silent: false, unproven: false });
  expect(after([301, node(Verdict.UNKNOWN, [], ["no-event-log"])])).toEqual({ silent: false, unproven: true });
});

test("a reboot is not: neither what passes before its quote, nor a log that follows; nor is what a policy does not ask for, or a contradiction", () => {
  expect(after([290, booting], [5, rebooting], [60, proven], [290, booting], [5, rebooting])).toEqual({ silent: false, unproven: false });
  expect(after([9999, node(Verdict.WARNING, ["kexec", "no-tpm"])])).toEqual({ silent: false, unproven: false });
  expect(after([9999, node(Verdict.CONTRAINDICATED, ["pcr"], ["kexec"])])).toEqual({ silent: false, unproven: false });
});

test("who keeps its quotes back between, is not heard or is well for moments is told in the end, by one of the two", () => {
  const cycle = (unquoted: number, unproven: number) => [[unquoted, booting] as const, [unproven, kexec] as const];
  const times = (n: number, each: readonly (readonly [number, NodeRow])[]) => Array.from({ length: n }, () => each).flat();
  expect(after(...times(6, cycle(270, 61)))).toEqual({ silent: false, unproven: true });
  expect(after(...cycle(270, 50), [31, booting])).toEqual({ silent: true, unproven: false });
  expect(after(...times(3, [[100, kexec] as const, [59, proven] as const]), [2, kexec])).toEqual({ silent: false, unproven: true });
  expect(after([200, kexec], [500, node(Verdict.UNKNOWN, ["unreachable"], ["kexec"], { lastSeenMs: 0 })], [105, kexec])).toMatchObject({ unproven: true });
  expect(after([200, kexec], [61, proven], [200, kexec])).toEqual({ silent: false, unproven: false });
});

test("it is over when the node speaks now and proves its boot, or is revoked; a verifier that has forgotten the time ends nothing", () => {
  const over = (row: NodeRow): boolean => nodeConclusive(row, { kind: "boot-unproven" });
  for (const row of [kexec, rebooting, booting, node(Verdict.UNKNOWN, ["unreachable"]), node(Verdict.UNKNOWN, ["quote-stale"])]) expect(over(row)).toBe(false);
  for (const row of [proven, node(Verdict.CONTRAINDICATED, ["pcr"]), { ...kexec, revokedAtMs: T0 }]) expect(over(row)).toBe(true);
  expect([isUnproven(kexec), isUnproven(proven), isUnproven({ boot: undefined })]).toEqual([true, false, false]);
});

test("it is told the same of every node with the same reasons, by the severity that policy has, and without a word of the node's", () => {
  const told = (row: NodeRow, policy = POLICY) => nodeFindings(row, policy).map(({ kind, key, severity, summary }) => [kind, key, severity, summary]);
  const both = node(Verdict.UNKNOWN, ["boot-unproven"], ["tpm-reset", "kexec", "kexec", "x"]);
  const summary =
    "what policy asks of its boot is not proven: its kernel was started by another one (kexec), its TPM was reset under a kernel that runs on (tpm-reset), see the node (x)";
  expect(told(both)).toEqual([["boot-unproven", "node|boot-unproven", Severity.HIGH, summary]]);
  expect(told(both, { ...POLICY, severities: { "boot-unproven": "low" } })).toEqual([["boot-unproven", "node|boot-unproven", Severity.LOW, summary]]);
  expect(told(kexec)).toEqual([]);
});
