/** A node's own verdict brought up to date. */

import type { NodeState } from "@hullmark/proto/v1/attestation";
import { Verdict } from "@hullmark/proto/v1/common";
import type { NodeRow } from "../../ports/rows.ts";
import { appraiseNode, holds, type Overdue } from "../appraisal/appraise-node.ts";
import type { PolicyIntervals } from "../policy/types.ts";
import { claimRow, claimRows, sameClaims, vectorRow } from "./claims.ts";

export interface NodeView {
  readonly row: NodeRow;
  readonly connected: boolean;
  /** As last reported; undefined: never, or not at hand (then its own claims stay as they are in the row). */
  readonly state: NodeState | undefined;
  /** Why its last report could not be taken, although the stream goes on; undefined: it was. */
  readonly barred: string | undefined;
  /** How far its clock is ahead of the verifier's, negative: behind; undefined: not told, or not at hand (then what was said of it stays). */
  readonly clockAheadMs: number | undefined;
  /** The verifier leaves nodes out that it should ask for a quote. */
  readonly overloaded: boolean;
  readonly overdue: Overdue;
}

/** Whether nothing was heard for so long that silence is the verdict. */
export function isSilent(lastSeenMs: number | undefined, { heartbeatSeconds }: PolicyIntervals, nowMs: number): boolean {
  return !holds(lastSeenMs, heartbeatSeconds * 1000, nowMs);
}

/** When the newest quote of the boot that speaks now was asked for; undefined: it has not quoted yet. A quote of the boot before says nothing of this one. */
export function quotedMs({ lastQuoteMs, quotedBoot, bootId }: Pick<NodeRow, "lastQuoteMs" | "quotedBoot" | "bootId">): number | undefined {
  return quotedBoot === undefined || quotedBoot === bootId ? lastQuoteMs : undefined;
}

/** The row with verdict, reasons and vector of now; the same object where nothing changes. */
export function appraisedNode(
  { row, connected, state, barred, clockAheadMs, overloaded, overdue }: NodeView,
  intervals: PolicyIntervals,
  nowMs: number,
): NodeRow {
  const appraisal = appraiseNode(
    {
      trustLevel: row.trustLevel,
      revoked: row.revokedAtMs !== undefined,
      connected,
      lastSeenMs: row.lastSeenMs,
      lastQuoteMs: quotedMs(row),
      quoteRefused: row.quoteRefused,
      chainBroken: row.chainBroken,
      boot: row.boot,
      state,
      clockSkew: clockAheadMs === undefined ? row.reasons.find(({ code }) => code === "clock-skew")?.detail : clockSkew(clockAheadMs),
      clockLost: row.clockLost,
      rival: row.rival && Math.abs(nowMs - row.rival.atMs) <= RIVAL_MS ? row.rival.detail : undefined,
      akReplaced: row.akReplacedAtMs !== undefined,
      heartbeatIntervalMs: intervals.heartbeatSeconds * 1000,
      quoteIntervalMs: intervals.quoteSeconds * 1000,
      overloaded,
      overdue,
      barred: barred !== undefined,
    },
    nowMs,
  );
  const believed = appraisal.verdict === Verdict.AFFIRMING || appraisal.verdict === Verdict.WARNING;
  const verdict = barred !== undefined && believed ? Verdict.UNKNOWN : appraisal.verdict;
  const reasons = [...(barred !== undefined ? [claimRow("resync", barred)] : []), ...claimRows(appraisal.reasons)];
  const next = { verdict, reasons, vector: vectorRow(appraisal.vector) };
  // A growing number of seconds in a text is no news: codes are.
  const news = verdict !== row.verdict || !sameCodes(next.reasons, row.reasons) || JSON.stringify(next.vector) !== JSON.stringify(row.vector);
  return news ? { ...row, ...next } : row;
}

function sameCodes(a: NodeRow["reasons"], b: NodeRow["reasons"]): boolean {
  return a.length === b.length && a.every(({ code }, i) => code === b[i]?.code);
}

/** What a node says of itself, in its row; the same object where nothing changes. */
export function describedNode(row: NodeRow, state: NodeState, containers: number): NodeRow {
  const facts = {
    kernel: state.kernel.slice(0, 256),
    runtime: `${state.runtime} ${state.runtimeVersion}`.trim().slice(0, 256),
    changeSource: state.changeSource.slice(0, 64),
    agentVersion: state.agentVersion.slice(0, 64),
    containers,
    claims: claimRows(state.claims),
  };
  const { kernel, runtime, changeSource, agentVersion } = row;
  const same =
    kernel === facts.kernel &&
    runtime === facts.runtime &&
    changeSource === facts.changeSource &&
    agentVersion === facts.agentVersion &&
    row.containers === containers &&
    sameClaims(row.claims, facts.claims);
  return same ? row : { ...row, ...facts };
}

/** How long a second one that spoke as the node is held against it: what it had to show, a certificate, lives no longer. */
const RIVAL_MS = 3_600_000;
/** More than a message may take on its way. */
const MAX_CLOCK_SKEW_MS = 60_000;

function clockSkew(aheadMs: number): string | undefined {
  const seconds = Math.round(Math.abs(aheadMs) / 1000);
  if (seconds * 1000 <= MAX_CLOCK_SKEW_MS) return undefined;
  return `its clock is ${seconds} s ${aheadMs > 0 ? "ahead of" : "behind"} the verifier's: so are the times that it tells`;
}
