/** Enrolment's view of the fleet: nodes, allow-list and tokens; its outcome is one commit with its log entry. */
import { TrustLevel, Verdict } from "@hullmark/proto/v1/common";
import type { EnrolledNode, EnrolmentRecord, EnrolmentRecords, KnownNode, TrustGrade } from "../../ports/enrolment-records.ts";
import type { NodeRow } from "../../ports/rows.ts";
import { type Store, StoreError } from "../../ports/store.ts";
import { clockLoss } from "../endorsement/index.ts";
import type { Sessions } from "../session/sessions.ts";
import { akReplacedSubject } from "./alerts.ts";
import { claimRow } from "./claims.ts";
import type { Committer } from "./committer.ts";
import type { Fleet } from "./fleet.ts";
import { entry } from "./log-facts.ts";

const LEVEL: Readonly<Record<TrustGrade, TrustLevel>> = { none: TrustLevel.NONE, "tpm-tofu": TrustLevel.TPM_TOFU, tpm: TrustLevel.TPM };

/** No boot has this id. */
const NO_BOOT = "";
/** A TPM's clock is wrong by no more than one part in so many, as they are built. */
const CLOCK_ERROR = 8;
/** What passes between a question and the quote that answers it, and between a quote and its being recorded, as a rule. */
const QUOTE_MS = 2000;

function gradeOf(level: TrustLevel): TrustGrade {
  if (level === TrustLevel.TPM) return "tpm";
  return level === TrustLevel.TPM_TOFU ? "tpm-tofu" : "none";
}

function known({ id, name, trustLevel, ekSha256, akPublic, clock, revokedAtMs }: NodeRow): KnownNode {
  return { id, name, trust: gradeOf(trustLevel), ekSha256, akPublic, clock, revoked: revokedAtMs !== undefined };
}

export interface EnrolmentRecordServices {
  readonly fleet: Fleet;
  readonly store: Store;
  readonly committer: Committer;
  readonly nowMs: () => number;
  readonly sessions: Pick<Sessions, "enrol">;
}

export function enrolmentRecords({ fleet, store, committer, nowMs, sessions }: EnrolmentRecordServices): EnrolmentRecords {
  return {
    async findNode(nodeId) {
      const row = fleet.get(nodeId);
      return row && known(row);
    },
    async findNodeByName(name) {
      const row = fleet.all().find((each) => each.name === name && each.revokedAtMs === undefined);
      return row && known(row);
    },
    async findAllowedEk(sha256) {
      return (await store.readAllowedEks()).find((row) => row.ekSha256 === sha256);
    },
    findJoinToken: (sha256, atMs) => store.readJoinToken(sha256, atMs),
    async record({ node, spendToken, spendNonce }: EnrolmentRecord) {
      const atMs = nowMs();
      const fact = entry("enrolment", atMs, {
        node: node.id,
        name: node.name,
        trust: node.trust,
        ek: node.ekSha256 === undefined ? null : `sha256:${node.ekSha256}`,
        boot: node.bootId.slice(0, 64),
        model: node.tpmModel?.slice(0, 256).toWellFormed() ?? null,
        keyReplaced: node.akReplaced,
      });
      try {
        return await sessions.enrol(node.id, async (present, turn) => {
          if (present?.revokedAtMs !== undefined) return "revoked";
          // Whether it goes back was looked at for the key that it had then.
          if (present && otherAk(present, node) !== node.akReplaced) return "changed";
          if (node.akReplaced && turn.contest(node.bootId)) return "in-use";
          const row = turn.become(enrolledRow(node, present, atMs));
          const subjects = node.akReplaced ? [akReplacedSubject(row, true, atMs)] : [];
          await committer.submit({ entries: [fact], build: () => ({ nodes: [row], spendNonce, ...(spendToken && { spendToken }) }), subjects });
          return "recorded";
        });
      } catch (error) {
        if (error instanceof StoreError && error.code === "STORE_CONFLICT") return "spent";
        throw error;
      }
    },
  };
}

function otherAk({ akPublic: before }: NodeRow, { akPublic }: EnrolledNode): boolean {
  return before !== undefined && akPublic !== undefined && !before.equals(akPublic);
}

function sameCounters({ clock: before }: NodeRow, { clock }: EnrolledNode): boolean {
  return before?.resetCount === clock?.resetCount && before?.restartCount === clock?.restartCount;
}

/**
 * Whether the TPM was not cleared since the newest quote: its counters are the same, and its clock has gone on as the verifier's, but for what clocks may differ.
 * Clearing sets all of them to zero, so counters alone may be equal by chance. Where another key came since that quote, this holds of both times or not at all.
 */
function uncleared(before: NodeRow, node: EnrolledNode, nowMs: number): boolean {
  if (!before.clock || !node.clock || !sameCounters(before, node)) return false;
  if (before.quotedBoot === NO_BOOT && before.uncleared !== true) return false;
  const elapsedMs = nowMs - Math.max(before.enrolledAtMs, before.lastQuoteMs ?? 0);
  return Number(node.clock.clock - before.clock.clock) >= Math.max(0, elapsedMs - elapsedMs / CLOCK_ERROR - QUOTE_MS);
}

/** A node that comes again keeps what is known of it; the AK, boot and clock are the new ones. No quote of before stands where the TPM says that this is another boot. */
function enrolledRow(node: EnrolledNode, before: NodeRow | undefined, nowMs: number): NodeRow {
  const fresh: Omit<NodeRow, "id" | "name" | "trustLevel" | "ekSha256" | "ekPublic" | "akPublic" | "clock" | "bootId"> = {
    enrolledAtMs: nowMs,
    revokedAtMs: undefined,
    revokedReason: "",
    verdict: Verdict.UNKNOWN,
    reasons: [claimRow("never-seen", "enrolled, and no Evidence yet")],
    vector: undefined,
    lastSeenMs: undefined,
    lastQuoteMs: undefined,
    quoteRefused: undefined,
    chainBroken: undefined,
    kernel: "",
    runtime: "",
    changeSource: "",
    agentVersion: "",
    containers: 0,
    claims: [],
  };
  const { id, name, trust, ekSha256, ekPublic, akPublic, clock, bootId, akReplaced, ekCertificateSha256 } = node;
  const clockLost = before && clock && !akReplaced ? clockLoss(before, clock) : undefined;
  const replaced = akReplaced && { akReplacedAtMs: nowMs, uncleared: before !== undefined && uncleared(before, node, nowMs) };
  const unquoted = before && (akReplaced || !sameCounters(before, node)) && { quotedBoot: NO_BOOT };
  const keys = { ekSha256, ekCertificateSha256, ekPublic, akPublic, clock, clockLost, ...replaced, ...unquoted };
  return { ...fresh, ...before, id, name, trustLevel: LEVEL[trust], ...keys, bootId, enrolledAtMs: nowMs };
}
