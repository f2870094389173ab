/**
 * Challenges and the quotes that answer them, for one stream. A quote is fresh where it answers a nonce of this stream, unused and unexpired, and vouches
 * for everything that the verifier held when it asked. What it vouches for must be on record: same number, same digest, same state root.
 */
import type { QuoteReport } from "@hullmark/proto/v1/attestation";
import type { NonceVerdict } from "../../ports/nonce-source.ts";
import type { ClockRow, NodeRow } from "../../ports/rows.ts";
import type { QuotedPcr } from "../measured-boot/replay.ts";

/** What a quote is verified against. */
export interface QuoteFacts {
  readonly node: NodeRow;
  /** SHA-256 of the SubjectPublicKeyInfo of this stream's client key. */
  readonly spkiSha256: Buffer;
  /** Of the Evidence that the quote names, as the verifier recomputed them. */
  readonly evidenceDigest: Buffer;
  readonly stateRoot: Buffer;
}

export type QuoteOutcome =
  | { readonly ok: true; readonly clock: ClockRow; readonly pcrs: readonly QuotedPcr[]; readonly firmwareVersion: bigint }
  | { readonly ok: false; readonly code: string; readonly detail: string };

/** Issues nonces and verifies quotes: core/endorsement behind it. */
export interface QuoteAuthority {
  /** 32 bytes, for one answer by this node before `expiresAtMs`. */
  issue(nodeId: string, expiresAtMs: number): Buffer;
  /** Uses a nonce up. */
  redeem(nonce: Uint8Array, nodeId: string, expiresAtMs: number): NonceVerdict;
  /** Signature, structure, binding, PCRs and clock. Freshness and the chain are judged here. Never throws for what the report holds. */
  verify(report: QuoteReport, facts: QuoteFacts): QuoteOutcome;
}

export interface ChainPoint {
  readonly digest: Buffer;
  readonly stateRoot: Buffer;
}

interface Outstanding {
  readonly nonce: Buffer;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  /** Newest Evidence when it was asked: a fresh quote vouches for at least this. */
  readonly seqAtIssue: bigint;
}

/** `wait`: it vouches for Evidence that has not arrived. `late`: cannot count, and says nothing bad of the node. `refused`: contradicts what is known. */
export type QuoteJudgement =
  | {
      readonly kind: "fresh";
      readonly clock: ClockRow;
      readonly pcrs: readonly QuotedPcr[];
      /** Of the TPM, as its maker counts. */
      readonly firmwareVersion: bigint;
      readonly nonce: Buffer;
      readonly askedAtMs: number;
      readonly expiresAtMs: number;
    }
  | { readonly kind: "wait" }
  | { readonly kind: "late"; readonly code: string; readonly detail: string }
  | { readonly kind: "refused"; readonly code: string; readonly detail: string };

const MAX_OUTSTANDING = 4;
/** Questions given up for newer ones that are remembered: their answers are late, not lies. */
const MAX_GIVEN_UP = 64;
/** Evidence that an open question's answer may name, at most. */
const MAX_POINTS = 1024;
const NONCE_BYTES = 32;

export class Quotes {
  readonly #authority: QuoteAuthority;
  #outstanding: Outstanding[] = [];
  #givenUp: readonly Buffer[] = [];
  readonly #points = new Map<bigint, ChainPoint>();

  constructor(authority: QuoteAuthority) {
    this.#authority = authority;
  }

  /** Evidence that was accepted: what later quotes may name. What came before the oldest open question can be no fresh answer any more and is forgotten. */
  record(seq: bigint, point: ChainPoint): void {
    this.#points.set(seq, point);
    const wanted = this.#outstanding[0]?.seqAtIssue ?? seq;
    for (const oldest of this.#points.keys()) {
      if (oldest >= wanted && this.#points.size <= MAX_POINTS) break;
      this.#points.delete(oldest);
    }
  }

  challenge(nodeId: string, seq: bigint, nowMs: number, lifetimeMs: number): { readonly nonce: Buffer; readonly expiresAtMs: number } {
    const expiresAtMs = nowMs + lifetimeMs;
    const nonce = this.#authority.issue(nodeId, expiresAtMs);
    const givenUp = this.#outstanding.slice(0, Math.max(0, this.#outstanding.length + 1 - MAX_OUTSTANDING));
    this.#givenUp = [...this.#givenUp, ...givenUp.map((each) => each.nonce)].slice(-MAX_GIVEN_UP);
    this.#outstanding = [...this.#outstanding.slice(givenUp.length), { nonce, issuedAtMs: nowMs, expiresAtMs, seqAtIssue: seq }];
    return { nonce, expiresAtMs };
  }

  /** Whether a question waits for its answer. */
  pending(nowMs: number): boolean {
    return this.#outstanding.some(({ expiresAtMs }) => expiresAtMs > nowMs);
  }

  /**
   * Judges a report. A nonce is used up by any judgement but `wait`.
   * @param newestSeq newest Evidence accepted
   * @param policyDigest of the policy that the agent should measure by
   */
  judge(report: QuoteReport, facts: Pick<QuoteFacts, "node" | "spkiSha256">, newestSeq: bigint, policyDigest: Uint8Array): QuoteJudgement {
    if (report.nonce.length !== NONCE_BYTES) return refused("nonce-malformed", `a nonce of ${report.nonce.length} bytes`);
    const asked = this.#outstanding.find(({ nonce }) => nonce.equals(report.nonce));
    if (!asked && this.#givenUp.some((nonce) => nonce.equals(report.nonce))) {
      this.#givenUp = this.#givenUp.filter((nonce) => !nonce.equals(report.nonce));
      return { kind: "late", code: "superseded", detail: "answers a challenge that was given up for newer ones" };
    }
    if (!asked) return refused("nonce", "answers no open challenge of this session: an old or repeated quote");
    if (report.failure) {
      this.#spend(asked);
      return { kind: "late", code: report.failure.code.slice(0, 64), detail: report.failure.detail.slice(0, 500) };
    }
    if (report.seq > newestSeq) return { kind: "wait" };
    this.#spend(asked);
    const nonce = this.#authority.redeem(report.nonce, facts.node.id, asked.expiresAtMs);
    if (nonce === "expired") return { kind: "late", code: "expired", detail: "the answer came after the nonce had expired" };
    if (nonce !== "ok") return refused("nonce-spent", `the nonce is ${nonce}`);
    const point = this.#points.get(report.seq);
    if (!point) return { kind: "late", code: "too-old", detail: `Evidence ${report.seq} is too far behind ${newestSeq}` };
    if (!point.digest.equals(report.evidenceDigest)) return refused("evidence-digest", `names another Evidence ${report.seq} than the one on record`);
    if (!point.stateRoot.equals(report.stateRoot)) return refused("state-root", `names another state after Evidence ${report.seq} than the one on record`);
    const outcome = this.#authority.verify(report, { ...facts, evidenceDigest: point.digest, stateRoot: point.stateRoot });
    if (!outcome.ok) return refused(outcome.code, outcome.detail);
    if (!Buffer.from(report.policyDigest).equals(policyDigest))
      return { kind: "late", code: "policy-pending", detail: "made under another measurement policy" };
    if (report.seq < asked.seqAtIssue) return { kind: "late", code: "stale", detail: `vouches for Evidence ${report.seq}, asked at ${asked.seqAtIssue}` };
    const { clock, pcrs, firmwareVersion } = outcome;
    return { kind: "fresh", clock, pcrs, firmwareVersion, nonce: asked.nonce, askedAtMs: asked.issuedAtMs, expiresAtMs: asked.expiresAtMs };
  }

  #spend(used: Outstanding): void {
    this.#outstanding = this.#outstanding.filter((each) => each !== used);
  }
}

function refused(code: string, detail: string): QuoteJudgement {
  return { kind: "refused", code, detail };
}
