/** The questions of one stream: when its node is asked for a quote, what its answer proves, and which boot stands behind it. */
import { hash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { BootLog, QuoteReport } from "@hullmark/proto/v1/attestation";
import { TrustLevel } from "@hullmark/proto/v1/common";
import { appraiseAgent } from "../appraisal/appraise-agent.ts";
import { holds } from "../appraisal/appraise-node.ts";
import { clockLoss } from "../endorsement/index.ts";
import { ChangeSet } from "../fleet/change-set.ts";
import { adminFact } from "../fleet/log-facts.ts";
import { quotedMs } from "../fleet/node-appraisal.ts";
import { agentFiles, isUnruled } from "../policy/match.ts";
import type { Policy } from "../policy/types.ts";
import type { BootWatch } from "./boot-evidence.ts";
import type { ImaWatch } from "./ima-evidence.ts";
import type { LiveNode } from "./live-node.ts";
import type { Paced } from "./pacer.ts";
import { type QuoteJudgement, Quotes } from "./quotes.ts";
import type { Outgoing, SessionServices } from "./stream.ts";

/** What the session does for its questions. */
export interface QuestionSession {
  readonly closed: boolean;
  /** SHA-256 of the client key's SubjectPublicKeyInfo. */
  readonly spkiSha256: Buffer;
  /** Of the measurement policy that the agent was told last. */
  readonly measurementDigest: Uint8Array;
  send(message: Outgoing): void;
  commit(changes: ChangeSet): unknown;
  after(delayMs: number, run: () => void): void;
}

type Fresh = Extract<QuoteJudgement, { kind: "fresh" }>;
type BootChange = Pick<LiveNode["node"], "boot">;

/** A fresh drift asks for a quote at once, but not more often than this. */
const MIN_CHALLENGE_GAP_MS = 1000;
/** A TPM that needs long for each answer, or fails, is asked less and less often, until the pacer alone asks. */
const MAX_DOUBLINGS = 6;
const MAX_NONCE_LIFE_MS = 120_000;
/** Refusals that one stream writes into the log, which only grows, in a minute: a node chooses how often it is refused. Metrics count each. */
const MAX_NOTED_PER_MINUTE = 30;
const MINUTE_MS = 60_000;

/** A name may be the node's own claim: one that no rule is for must not make it green. */
const NO_RULE = { code: "no-rule", detail: "policy has rules for nodes, and none for this one: nothing of its boot is judged" };

export class Questions implements Paced {
  readonly #services: SessionServices;
  readonly #session: QuestionSession;
  readonly #live: LiveNode;
  readonly #boot: BootWatch;
  readonly #ima: ImaWatch;
  readonly #quotes: Quotes;
  /** Vouches for Evidence that has not arrived. */
  #held: QuoteReport | undefined;
  /** When the node was last asked for a quote; -Infinity: not on this stream. */
  askedMs = Number.NEGATIVE_INFINITY;
  /** Drift was found while a challenge was open. */
  #wanted = false;
  /** A question waits for its second. */
  #planned = false;
  /** Answers in a row that could not count. */
  #late = 0;
  #noted = { sinceMs: 0, count: 0 };

  constructor(services: SessionServices, session: QuestionSession, live: LiveNode, boot: BootWatch, ima: ImaWatch) {
    this.#services = services;
    this.#session = session;
    this.#live = live;
    this.#boot = boot;
    this.#ima = ima;
    this.#quotes = new Quotes(services.quotes);
    if (live.memory.seq > 0n) this.recorded();
  }

  get intervalMs(): number {
    return this.#services.policy().intervals.quoteSeconds * 1000;
  }

  vouched(nowMs: number): boolean {
    return holds(quotedMs(this.#live.node), this.intervalMs, nowMs);
  }

  /** Asks for a quote; the next follows when the pacer says so. */
  challenge(): void {
    if (this.#session.closed || this.#live.node.trustLevel === TrustLevel.NONE) return;
    const { clock, policy, checkpoint } = this.#services;
    const nowMs = clock.nowMs();
    this.#wanted = false;
    this.askedMs = nowMs;
    const { node, memory } = this.#live;
    const lifetimeMs = Math.min(this.intervalMs, MAX_NONCE_LIFE_MS);
    const { nonce, expiresAtMs } = this.#quotes.challenge(node.id, memory.seq, nowMs, lifetimeMs);
    const imaFrom = this.#ima.wanted(policy(), node.name, node.bootId);
    this.#session.send({
      case: "challenge",
      value: { nonce, expiresAt: timestampFromMs(expiresAtMs), checkpoint: checkpoint(), ...(imaFrom !== undefined && { imaFrom }) },
    });
  }

  /** Evidence opened a drift: what it says should be vouched for soon. */
  hurry(): void {
    this.#soon(MIN_CHALLENGE_GAP_MS);
  }

  /** Asks once `gapMs` have passed since the last question, however often it is called until then. */
  #soon(gapMs: number): void {
    const nowMs = this.#services.clock.nowMs();
    // A node answers in its own time (a TPM, a busy machine): what is asked meanwhile would only be answered later still.
    if (this.#quotes.pending(nowMs)) {
      this.#wanted = true;
      return;
    }
    const waitMs = gapMs - Math.abs(nowMs - this.askedMs);
    if (waitMs <= 0) this.challenge();
    if (waitMs <= 0 || this.#planned) return;
    this.#planned = true;
    this.#session.after(waitMs, () => {
      this.#planned = false;
      this.#soon(MIN_CHALLENGE_GAP_MS);
    });
  }

  /** Evidence was accepted: what later quotes may name. */
  recorded(): void {
    const { seq, digest, stateRoot } = this.#live.memory;
    this.#quotes.record(seq, { digest, stateRoot });
  }

  /** What came before the Evidence that it vouches for is judged now, if that has come. */
  takeHeld(): void {
    const held = this.#held;
    if (!held || held.seq > this.#live.memory.seq) return;
    this.#held = undefined;
    this.answer(held);
  }

  /** Judges an answer, and brings the node up to date with what it proves. */
  answer(report: QuoteReport): void {
    const { clock, policy, meter, pacer } = this.#services;
    const nowMs = clock.nowMs();
    const { node, memory } = this.#live;
    const facts = { node, spkiSha256: this.#session.spkiSha256 };
    const judgement = this.#quotes.judge(report, facts, memory.seq, this.#session.measurementDigest);
    if (judgement.kind === "wait") {
      this.#held = report;
      return;
    }
    meter.quote(judgement.kind, judgement.kind === "fresh" ? "" : judgement.code);
    const changes = new ChangeSet(nowMs);
    this.#conclude(judgement, changes, nowMs);
    if (judgement.kind === "fresh") {
      // Stronger than a heartbeat: a key that only this node's TPM has says that what was taken is what there is.
      this.#live.alive(report.seq, nowMs);
      this.#quotedBoot(judgement, report, changes);
    }
    this.#live.update({ ...nodeChange(judgement, node, this.intervalMs), ...this.bootChange() }, policy(), changes, nowMs);
    if (judgement.kind === "fresh") pacer.answered(this, nowMs);
    this.#session.commit(changes);
    const again = judgement.kind === "late" && judgement.code !== "expired";
    const more = judgement.kind === "fresh" && this.#ima.impatient;
    if (this.#wanted || again || more) this.#soon(MIN_CHALLENGE_GAP_MS * 2 ** Math.min(this.#late, MAX_DOUBLINGS));
    this.#late = again ? this.#late + 1 : 0;
  }

  #conclude(judgement: QuoteJudgement, changes: ChangeSet, nowMs: number): void {
    if (judgement.kind === "fresh") changes.extras({ spendNonce: { nonce: judgement.nonce, expiresAtMs: judgement.expiresAtMs } });
    else if ((judgement.kind === "refused" || judgement.kind === "late") && this.#mayNote(nowMs))
      changes.note(adminFact(`quote-${judgement.kind}`, nowMs, { node: this.#live.node.id, reason: judgement.code, detail: judgement.detail }));
  }

  #mayNote(nowMs: number): boolean {
    if (Math.abs(nowMs - this.#noted.sinceMs) >= MINUTE_MS) this.#noted = { sinceMs: nowMs, count: 0 };
    return ++this.#noted.count <= MAX_NOTED_PER_MINUTE;
  }

  #quotedBoot({ pcrs, firmwareVersion, clock: { resetCount, restartCount } }: Fresh, { eventLogSha256, ima }: QuoteReport, changes: ChangeSet): void {
    const { node } = this.#live;
    const measured = this.#ima.row;
    this.#ima.quoted(this.#services.policy(), node.name, ima, pcrs);
    if (this.#ima.row && !isDeepStrictEqual(this.#ima.row, measured)) changes.ima(this.#ima.row);
    const before = this.#boot.row;
    const wanted = this.#boot.quoted(
      node,
      { bootId: node.bootId, akSha256: hash("sha256", node.akPublic ?? ""), resetCount, restartCount, firmware: firmwareVersion.toString(16) },
      eventLogSha256,
      pcrs,
    );
    if (this.#boot.row && this.#boot.row !== before) changes.boot(this.#boot.row);
    if (wanted) this.#session.send({ case: "bootLog", value: { sha256: wanted } });
  }

  /** The event log came that a quote had bound, or another. */
  bootLog({ log }: BootLog): void {
    const { clock, policy } = this.#services;
    const nowMs = clock.nowMs();
    const changes = new ChangeSet(nowMs);
    if (this.#boot.received(log) && this.#boot.row) changes.boot(this.#boot.row);
    else if (this.#mayNote(nowMs))
      changes.note(
        adminFact("boot-log-refused", nowMs, {
          node: this.#live.node.id,
          detail: log.length > 0 ? "not the log that the newest quote bound" : "the node cannot read it",
        }),
      );
    this.#live.update(this.bootChange(), policy(), changes, nowMs);
    this.#session.commit(changes);
  }

  /** What policy says of the boot, of what ran since, and of the agent, where that has changed. */
  bootChange(): BootChange {
    const boot = this.bootUnder(this.#services.policy());
    return isDeepStrictEqual(boot, this.#live.node.boot) ? {} : { boot };
  }

  /** What a policy says of the boot, of what ran since, and of the agent. */
  bootUnder(policy: Policy): NonNullable<BootChange["boot"]> {
    const { node, memory } = this.#live;
    const booted = this.#boot.appraise(policy, node);
    const measured = this.#ima.appraise(policy, node.name);
    const agent = appraiseAgent(memory.node, agentFiles(policy, node.name));
    return {
      ...booted,
      findings: [...booted.findings, ...measured.findings, ...agent.findings],
      unknown: [...booted.unknown, ...measured.unknown, ...agent.unknown],
      warnings: isUnruled(policy, node.name) ? [NO_RULE, ...booted.warnings] : booted.warnings,
    };
  }
}

function nodeChange(judgement: QuoteJudgement, node: LiveNode["node"], intervalMs: number): Parameters<LiveNode["update"]>[0] {
  if (judgement.kind === "fresh") {
    const { askedAtMs, clock } = judgement;
    const { lastQuoteMs } = node;
    const gap = lastQuoteMs !== undefined && !holds(lastQuoteMs, intervalMs, askedAtMs) ? { gap: { fromMs: lastQuoteMs, toMs: askedAtMs } } : {};
    return {
      lastQuoteMs: askedAtMs,
      quotedBoot: node.bootId,
      clock,
      clockLost: clockLoss(node, clock),
      quoteRefused: undefined,
      chainBroken: undefined,
      ...gap,
    };
  }
  if (judgement.kind !== "refused" || node.quoteRefused !== undefined) return {};
  return { quoteRefused: `${judgement.code}: ${judgement.detail}` };
}
