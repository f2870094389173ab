/** How many there are of what, taken by the clock: whoever asks for metrics, a stranger perhaps, starts no query. */
import { Verdict } from "@hullmark/proto/v1/common";
import type { Outbox, OutboxCounts } from "../../ports/outbox.ts";
import type { ClaimRow, NodeRow } from "../../ports/rows.ts";
import type { OpenDriftCount, ResultCounts, Store } from "../../ports/store.ts";
import { claimRow } from "./claims.ts";
import type { Fleet } from "./fleet.ts";

export interface Census {
  readonly nodesByVerdict: Readonly<Record<number, number>>;
  readonly connectedNodes: number;
  /** When the node that has waited longest for it last passed; undefined where there is no node. Unix milliseconds. */
  readonly oldestAttestationMs: number | undefined;
  readonly workloads: ResultCounts;
  readonly openDrifts: readonly OpenDriftCount[];
  readonly outbox: OutboxCounts;
}

/** That people were not told of something, and nobody tries any more. */
export function outboxClaims(census: Census | undefined): ClaimRow[] {
  const dead = census?.outbox.dead ?? 0;
  return dead === 0 ? [] : [claimRow("alerts-given-up", `${dead} notifications could not be delivered: hullmark alert ls --state dead`)];
}

export function isAttested(verdict: Verdict): boolean {
  return verdict === Verdict.AFFIRMING || verdict === Verdict.WARNING;
}

/** Nodes that should attest. */
export function members(fleet: Fleet): NodeRow[] {
  return fleet.all().filter(({ revokedAtMs }) => revokedAtMs === undefined);
}

/** @throws StoreError */
export async function takeCensus(fleet: Fleet, store: Store, outbox: Outbox): Promise<Census> {
  const [workloads, openDrifts, counts] = await Promise.all([store.countResults(), store.countOpenDrifts(), outbox.counts()]);
  const nodesByVerdict: Record<number, number> = {};
  let connectedNodes = 0;
  let oldestAttestationMs: number | undefined;
  for (const row of members(fleet)) {
    nodesByVerdict[row.verdict] = (nodesByVerdict[row.verdict] ?? 0) + 1;
    if (fleet.connected(row.id)) connectedNodes++;
    oldestAttestationMs = Math.min(oldestAttestationMs ?? Number.POSITIVE_INFINITY, lastAttestationMs(row));
  }
  return { nodesByVerdict, connectedNodes, oldestAttestationMs, workloads, openDrifts, outbox: counts };
}

/** A node without TPM has no quotes: its sign of life is all there is. */
function lastAttestationMs({ akPublic, lastQuoteMs, lastSeenMs, enrolledAtMs }: NodeRow): number {
  return (akPublic ? lastQuoteMs : lastSeenMs) ?? enrolledAtMs;
}
