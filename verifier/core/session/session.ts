/**
 * One stream of one node, from its Hello to its end: `opening → live → closed`. Messages are handled in order and without waiting for the disk;
 * what they decide is committed in that order, and acknowledged once durable.
 */
import { isDeepStrictEqual } from "node:util";
import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { evidenceDigest } from "@hullmark/proto/codec";
import {
  type AttestRequest,
  type AttestResponseSchema,
  type BootLog,
  type Evidence,
  type EvidenceBody,
  EvidenceBodySchema,
  type Heartbeat,
  type Hello,
  type MeasurementPolicy,
  type QuoteReport,
  WelcomeSchema,
} from "@hullmark/proto/v1/attestation";
import { TrustLevel } from "@hullmark/proto/v1/common";
import type { Clock } from "../../ports/clock.ts";
import type { Meter } from "../../ports/meter.ts";
import type { ApplyResult } from "../appraisal/apply-evidence.ts";
import { applyEvidence } from "../appraisal/apply-evidence.ts";
import { appraiseAgent } from "../appraisal/appraise-agent.ts";
import { holds } from "../appraisal/appraise-node.ts";
import { ChangeSet } from "../fleet/change-set.ts";
import type { Committer } from "../fleet/committer.ts";
import { adminFact } from "../fleet/log-facts.ts";
import { agentFiles } from "../policy/match.ts";
import type { Policy } from "../policy/types.ts";
import type { BootWatch } from "./boot-evidence.ts";
import type { Comparisons } from "./comparisons.ts";
import { SessionError } from "./errors.ts";
import type { ImaWatch } from "./ima-evidence.ts";
import type { LiveNode } from "./live-node.ts";
import { measurementPolicy } from "./measurement.ts";
import { evidenceWrite } from "./memory.ts";
import type { Paced, Pacer } from "./pacer.ts";
import { type QuoteAuthority, type QuoteJudgement, Quotes } from "./quotes.ts";

export type AttestResponseInit = MessageInitShape<typeof AttestResponseSchema>;
type Outgoing = NonNullable<AttestResponseInit["message"]>;

export interface SessionServices {
  readonly clock: Clock;
  readonly meter: Meter;
  readonly committer: Committer;
  readonly quotes: QuoteAuthority;
  readonly pacer: Pacer;
  readonly policy: () => Policy;
  /** Node → losses that its agent has told of: outlives sessions. */
  readonly losses: Map<string, number>;
  /** The log's newest signed checkpoint, for the agent to keep; empty before the first. */
  readonly checkpoint: () => string;
  readonly verifierId: string;
  readonly region: string;
}

export interface SessionPeer {
  /** SHA-256 of the client key's SubjectPublicKeyInfo. */
  readonly spkiSha256: Buffer;
  readonly certificateNotAfterMs: number;
}

/** The stream: `send` never blocks; after `close` it takes nothing more. */
export interface Transport {
  send(message: AttestResponseInit): void;
  close(error: SessionError | undefined): void;
}

export const PROTOCOL_VERSION = 1;
/** Commits under way before the next message is read. */
const MAX_IN_FLIGHT = 256;
const MAX_RESYNCS = 5;
/** A fresh drift asks for a quote at once, but not more often than this. */
const MIN_CHALLENGE_GAP_MS = 1000;
const MAX_NONCE_LIFE_MS = 120_000;
const MAX_LOSSES_TOLD = 1000;
/** Refusals that one stream writes into the log, which only grows, in a minute: a node chooses how often it is refused. Metrics count each. */
const MAX_NOTED_PER_MINUTE = 30;
const MINUTE_MS = 60_000;

export class Session implements Paced {
  readonly #services: SessionServices;
  readonly #peer: SessionPeer;
  readonly #transport: Transport;
  readonly #live: LiveNode;
  readonly #comparisons: Comparisons;
  readonly #boot: BootWatch;
  readonly #ima: ImaWatch;
  readonly #quotes: Quotes;
  readonly #cancels = new Set<() => void>();
  #measurement: MeasurementPolicy;
  /** Newest Evidence handed to the store. */
  #submittedSeq: bigint;
  #resyncs = 0;
  #heldQuote: QuoteReport | undefined;
  /** When the node was last asked for a quote; -Infinity: not on this stream. */
  askedMs = Number.NEGATIVE_INFINITY;
  /** Drift was found while a challenge was open. */
  #quoteWanted = false;
  #noted = { sinceMs: 0, count: 0 };
  #inFlight = 0;
  #spooled = { evidence: 0, bytes: 0 };
  #room: (() => void) | undefined;
  #closed = false;

  constructor(services: SessionServices, peer: SessionPeer, transport: Transport, live: LiveNode, comparisons: Comparisons, boot: BootWatch, ima: ImaWatch) {
    this.#services = services;
    this.#peer = peer;
    this.#transport = transport;
    this.#live = live;
    this.#comparisons = comparisons;
    this.#boot = boot;
    this.#ima = ima;
    this.#quotes = new Quotes(services.quotes);
    this.#measurement = measurementPolicy(services.policy(), live.node.name);
    const { seq, digest, stateRoot } = live.memory;
    this.#submittedSeq = seq;
    if (seq > 0n) this.#quotes.record(seq, { digest, stateRoot });
  }

  get nodeId(): string {
    return this.#live.node.id;
  }

  get live(): LiveNode {
    return this.#live;
  }

  /** What the agent says that it holds undelivered. */
  get spooled(): { readonly evidence: number; readonly bytes: number } {
    return this.#spooled;
  }

  /** Commits that are not durable yet. */
  get inFlight(): number {
    return this.#inFlight;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Answers Hello: what is durable, and the policy. Everything known is appraised again, for image and policy may have changed since. */
  open(hello: Hello): void {
    const { clock, verifierId, region, checkpoint } = this.#services;
    const nowMs = clock.nowMs();
    const { seq, digest } = this.#live.memory;
    this.#transport.send({
      message: {
        case: "welcome",
        value: create(WelcomeSchema, { verifierId, region, durableSeq: seq, durableDigest: digest, policy: this.#measurement, checkpoint: checkpoint() }),
      },
    });
    const changes = new ChangeSet(nowMs);
    this.#alive(hello.lastSeq, nowMs);
    this.#live.update({ bootId: hello.bootId.slice(0, 64), ...this.#bootChange() }, this.#services.policy(), changes, nowMs);
    this.#live.appraise(this.#live.memory.containers.keys(), this.#services.policy(), this.#measurement, changes, nowMs);
    this.#commit(changes);
    if (this.#live.barred !== undefined) this.#resync(this.#live.barred);
    if (this.#live.node.trustLevel !== TrustLevel.NONE) this.#services.pacer.join(this, nowMs);
    this.#after(Math.max(0, this.#peer.certificateNotAfterMs - nowMs), () =>
      this.close(new SessionError("CERTIFICATE_EXPIRED", "the client certificate has expired: enrol again")),
    );
  }

  /** Handles one message. Resolves at once unless too many commits are under way. */
  async receive({ message }: AttestRequest): Promise<void> {
    if (this.#closed) return;
    this.#checkPeer();
    switch (message.case) {
      case "evidence":
        this.#evidence(message.value);
        break;
      case "quote":
        this.#quote(message.value);
        break;
      case "tree":
        this.#comparisons.accept(message.value);
        break;
      case "heartbeat":
        this.#alive(message.value.seq, this.#services.clock.nowMs());
        this.#load(message.value);
        this.tick();
        break;
      case "bootLog":
        this.#bootLog(message.value);
        break;
      case "hello":
        throw new SessionError("PROTOCOL", "a second Hello");
      default:
        throw new SessionError("PROTOCOL", "a message without content");
    }
    while (this.#inFlight >= MAX_IN_FLIGHT && !this.#closed)
      await new Promise<void>((resolve) => {
        this.#room = resolve;
      });
  }

  /** A sign of life counts where the node has nothing to say that was not taken: what cannot be taken must not keep alive what was said before. */
  #alive(lastSeq: bigint, nowMs: number): void {
    const { seq } = this.#live.memory;
    if (seq > 0n && lastSeq <= seq && this.#live.barred === undefined) this.#live.touch(nowMs);
  }

  /** How the agent says that it is. */
  #load({ spooledEvidence, spooledBytes, losses }: Heartbeat): void {
    this.#spooled = { evidence: spooledEvidence, bytes: Number(spooledBytes) };
    const told = this.#services.losses.get(this.nodeId) ?? 0;
    // Fewer than before: the agent was started anew. Its own word: what it counts for is bounded.
    this.#services.meter.eventsLost(Math.min(losses < told ? losses : losses - told, MAX_LOSSES_TOLD));
    this.#services.losses.set(this.nodeId, losses);
  }

  #checkPeer(): void {
    if (this.#live.node.revokedAtMs !== undefined) throw new SessionError("REVOKED", "this node was revoked");
    if (this.#services.clock.nowMs() >= this.#peer.certificateNotAfterMs)
      throw new SessionError("CERTIFICATE_EXPIRED", "the client certificate has expired: enrol again");
  }

  #evidence({ body: bytes }: Evidence): void {
    const body = decodeBody(bytes);
    if (this.#live.barred !== undefined && !body.full) {
      this.#skip(body, bytes);
      return;
    }
    const result = applyEvidence(this.#live.memory, body, bytes);
    this.#services.meter.evidence(result.ok ? "accepted" : result.problem);
    if (!result.ok) {
      this.#refuse(result, body, bytes);
      return;
    }
    this.#live.barred = undefined;
    const nowMs = this.#services.clock.nowMs();
    this.#live.touch(nowMs);
    const changes = new ChangeSet(nowMs);
    changes.evidence(evidenceWrite(this.#submittedSeq, this.#live.memory, result.memory, body, nowMs));
    this.#submittedSeq = body.seq;
    this.#take(result, body.full || body.seq === 1n, changes, nowMs);
    if (this.#live.node.trustLevel === TrustLevel.NONE && this.#live.node.chainBroken !== undefined && body.seq === 1n)
      this.#live.update({ chainBroken: undefined }, this.#services.policy(), changes, nowMs);
    else this.#live.update({}, this.#services.policy(), changes, nowMs);
    this.#commit(changes, () => this.#send({ case: "acknowledgement", value: { seq: body.seq } }));
    if (changes.openedDrifts) this.challenge(MIN_CHALLENGE_GAP_MS);
    const held = this.#heldQuote;
    if (held && held.seq <= body.seq) {
      this.#heldQuote = undefined;
      this.#quote(held);
    }
  }

  #take(result: Extract<ApplyResult, { ok: true }>, full: boolean, changes: ChangeSet, nowMs: number): void {
    const live = this.#live;
    const otherHost = live.memory.node?.architecture !== result.memory.node?.architecture;
    live.memory = result.memory;
    this.#quotes.record(result.memory.seq, { digest: result.memory.digest, stateRoot: result.memory.stateRoot });
    live.noteLayerChanges(result.layerChanges);
    for (const id of gone(result, full ? live.forgotten() : [], full)) live.remove(id, changes, nowMs);
    const onLayers = result.layerChanges.length > 0 ? live.containersOnLayers(result.layerChanges) : [];
    const affected = otherHost ? result.memory.containers.keys() : new Set([...result.changed, ...live.unappraised(), ...onLayers]);
    live.appraise(affected, this.#services.policy(), this.#measurement, changes, nowMs);
  }

  #refuse({ problem, detail }: Extract<ApplyResult, { ok: false }>, body: EvidenceBody, bytes: Uint8Array): void {
    switch (problem) {
      case "replay":
        // Sent again before our acknowledgement arrived: it is on record (or on its way there, and acknowledged after).
        if (this.#inFlight === 0) this.#send({ case: "acknowledgement", value: { seq: this.#live.memory.seq } });
        return;
      case "state-root":
        this.#live.memory = skipped(this.#live.memory, body, bytes);
        this.#resync(detail);
        return;
      case "gap":
        throw new SessionError("EVIDENCE_GAP", detail);
      case "fork": {
        this.#note("chain-broken", detail, { chainBroken: detail });
        throw new SessionError("CHAIN_FORK", detail);
      }
      // One container may have made it so: without it, or when it is gone, the whole state can be taken again.
      case "malformed":
      case "over-limit":
        if (this.#live.barred === undefined) this.#note("evidence-refused", `${problem}: ${detail}`, {});
        this.#live.memory = skipped(this.#live.memory, body, bytes);
        this.#resync(`${problem}: ${detail}`);
        return;
    }
  }

  /** While a full report is awaited: the chain goes on, the content is not looked at. */
  #skip(body: EvidenceBody, bytes: Uint8Array): void {
    const { seq } = this.#live.memory;
    this.#services.meter.evidence("skipped");
    if (body.seq !== seq + 1n) throw new SessionError("EVIDENCE_GAP", `Evidence ${body.seq} after ${seq}`);
    this.#live.memory = skipped(this.#live.memory, body, bytes);
  }

  #resync(reason: string): void {
    if (++this.#resyncs > MAX_RESYNCS) throw new SessionError("RESYNC_FAILED", `${MAX_RESYNCS} full reports asked for in one session: ${reason}`);
    this.#live.barred = reason;
    this.#send({ case: "resync", value: { reason } });
    this.tick();
  }

  #quote(report: QuoteReport): void {
    const { clock, policy } = this.#services;
    const nowMs = clock.nowMs();
    const { node, memory } = this.#live;
    const facts = { node, spkiSha256: this.#peer.spkiSha256 };
    const judgement = this.#quotes.judge(report, facts, memory.seq, this.#measurement.digest);
    if (judgement.kind === "wait") {
      this.#heldQuote = report;
      return;
    }
    this.#services.meter.quote(judgement.kind, judgement.kind === "fresh" ? "" : judgement.code);
    const changes = new ChangeSet(nowMs);
    this.#conclude(judgement, changes, nowMs);
    if (judgement.kind === "fresh") {
      // Stronger than a heartbeat: a key that only this node's TPM has says that what was taken is what there is.
      this.#alive(report.seq, nowMs);
      this.#quotedBoot(judgement, report, changes);
    }
    this.#live.update({ ...nodeChange(judgement, node, this.intervalMs), ...this.#bootChange() }, policy(), changes, nowMs);
    if (judgement.kind === "fresh") this.#services.pacer.answered(this, nowMs);
    this.#commit(changes);
    if (this.#quoteWanted || (judgement.kind === "late" && judgement.code !== "expired")) this.challenge(MIN_CHALLENGE_GAP_MS);
    if (judgement.kind === "fresh" && this.#ima.impatient) this.#after(MIN_CHALLENGE_GAP_MS, () => this.challenge());
  }

  #conclude(judgement: QuoteJudgement, changes: ChangeSet, nowMs: number): void {
    if (judgement.kind === "fresh") changes.extras({ spendNonce: { nonce: judgement.nonce, expiresAtMs: judgement.expiresAtMs } });
    else if ((judgement.kind === "refused" || judgement.kind === "late") && this.#mayNote(nowMs))
      changes.note(adminFact(`quote-${judgement.kind}`, nowMs, { node: this.nodeId, reason: judgement.code, detail: judgement.detail }));
  }

  #mayNote(nowMs: number): boolean {
    if (Math.abs(nowMs - this.#noted.sinceMs) >= MINUTE_MS) this.#noted = { sinceMs: nowMs, count: 0 };
    return ++this.#noted.count <= MAX_NOTED_PER_MINUTE;
  }

  #quotedBoot({ pcrs }: Extract<QuoteJudgement, { kind: "fresh" }>, { eventLogSha256, ima }: QuoteReport, changes: ChangeSet): void {
    const measured = this.#ima.row;
    this.#ima.quoted(this.#services.policy(), this.#live.node.name, ima, pcrs);
    if (this.#ima.row && !isDeepStrictEqual(this.#ima.row, measured)) changes.ima(this.#ima.row);
    const before = this.#boot.row;
    const wanted = this.#boot.quoted(this.nodeId, eventLogSha256, pcrs);
    if (this.#boot.row && this.#boot.row !== before) changes.boot(this.#boot.row);
    if (wanted) this.#send({ case: "bootLog", value: { sha256: wanted } });
  }

  #bootLog({ log }: BootLog): void {
    const nowMs = this.#services.clock.nowMs();
    const changes = new ChangeSet(nowMs);
    if (this.#boot.received(log) && this.#boot.row) changes.boot(this.#boot.row);
    else if (this.#mayNote(nowMs))
      changes.note(
        adminFact("boot-log-refused", nowMs, {
          node: this.nodeId,
          detail: log.length > 0 ? "not the log that the newest quote bound" : "the node cannot read it",
        }),
      );
    this.#live.update(this.#bootChange(), this.#services.policy(), changes, nowMs);
    this.#commit(changes);
  }

  /** What policy says of the boot, of what ran since, and of the agent, where that has changed. */
  #bootChange(): Pick<LiveNode["node"], "boot"> {
    const { node } = this.#live;
    const booted = this.#boot.appraise(this.#services.policy(), node);
    const measured = this.#ima.appraise(this.#services.policy(), node.name);
    const agent = appraiseAgent(this.#live.memory.node, agentFiles(this.#services.policy(), node.name));
    const boot = {
      ...booted,
      findings: [...booted.findings, ...measured.findings, ...agent.findings],
      unknown: [...booted.unknown, ...measured.unknown, ...agent.unknown],
    };
    return isDeepStrictEqual(boot, node.boot) ? {} : { boot };
  }

  get intervalMs(): number {
    return this.#services.policy().intervals.quoteSeconds * 1000;
  }

  vouched(nowMs: number): boolean {
    return holds(this.#live.node.lastQuoteMs, this.intervalMs, nowMs);
  }

  /** Asks for a quote, unless one was asked for within `minGapMs`; the next follows when the pacer says so. */
  challenge(minGapMs = 0): void {
    if (this.#closed || this.#live.node.trustLevel === TrustLevel.NONE) return;
    const { clock, policy, checkpoint } = this.#services;
    const nowMs = clock.nowMs();
    // A node answers in its own time (a TPM, a busy machine): what is asked meanwhile would only be answered later still.
    if (minGapMs > 0 && this.#quotes.pending(nowMs)) {
      this.#quoteWanted = true;
      return;
    }
    if (Math.abs(nowMs - this.askedMs) < minGapMs) return;
    this.#quoteWanted = false;
    this.askedMs = nowMs;
    const lifetimeMs = Math.min(this.intervalMs, MAX_NONCE_LIFE_MS);
    const { nonce, expiresAtMs } = this.#quotes.challenge(this.nodeId, this.#live.memory.seq, nowMs, lifetimeMs);
    const imaFrom = this.#ima.wanted(policy(), this.#live.node.name, this.#live.node.bootId);
    this.#send({
      case: "challenge",
      value: { nonce, expiresAt: timestampFromMs(expiresAtMs), checkpoint: checkpoint(), ...(imaFrom !== undefined && { imaFrom }) },
    });
  }

  /** Time has passed: is the node's verdict still what it was? */
  tick(): void {
    if (this.#closed) return;
    const { clock, policy } = this.#services;
    const nowMs = clock.nowMs();
    this.#comparisons.tick();
    this.#reappraise(this.#live.containersDue(nowMs));
    const changes = new ChangeSet(nowMs);
    this.#live.update({}, policy(), changes, nowMs);
    if (!changes.empty) this.#commit(changes);
  }

  /** Images have become known, or known differently. */
  imagesChanged(keys: ReadonlySet<string>): void {
    this.#reappraise(this.#live.containersOnImages(keys));
  }

  podsChanged(uids: ReadonlySet<string>): void {
    this.#reappraise(this.#live.containersOfPods(uids));
  }

  treeCompared(tree: string): void {
    this.#reappraise(this.#live.containersComparing(tree));
  }

  policyChanged(): void {
    const measurement = measurementPolicy(this.#services.policy(), this.#live.node.name);
    if (!Buffer.from(measurement.digest).equals(this.#measurement.digest)) {
      this.#measurement = measurement;
      this.#send({ case: "policy", value: measurement });
    }
    this.#reappraise([...this.#live.memory.containers.keys()]);
    const nowMs = this.#services.clock.nowMs();
    const changes = new ChangeSet(nowMs);
    this.#live.update(this.#bootChange(), this.#services.policy(), changes, nowMs);
    this.#commit(changes);
    this.tick();
  }

  #reappraise(ids: readonly string[]): void {
    if (this.#closed || ids.length === 0) return;
    const nowMs = this.#services.clock.nowMs();
    const changes = new ChangeSet(nowMs);
    this.#live.appraise(ids, this.#services.policy(), this.#measurement, changes, nowMs);
    this.#commit(changes);
  }

  /** Changes made for a person, in the order of everything else of this node. */
  amend(change: (live: LiveNode, changes: ChangeSet, nowMs: number) => void): Promise<void> {
    const nowMs = this.#services.clock.nowMs();
    const changes = new ChangeSet(nowMs);
    change(this.#live, changes, nowMs);
    this.#live.update({}, this.#services.policy(), changes, nowMs);
    return this.#commit(changes);
  }

  #note(action: string, detail: string, change: Parameters<LiveNode["update"]>[0]): void {
    const nowMs = this.#services.clock.nowMs();
    const changes = new ChangeSet(nowMs);
    changes.note(adminFact(action, nowMs, { node: this.nodeId, detail }));
    this.#live.update(change, this.#services.policy(), changes, nowMs);
    this.#commit(changes);
  }

  async #commit(changes: ChangeSet, durable?: () => void): Promise<void> {
    if (changes.empty) return durable?.();
    this.#inFlight++;
    try {
      const { commit } = await this.#services.committer.submit(changes.draft(() => this.#services.clock.nowMs()));
      this.#live.committed(commit);
      durable?.();
    } catch (cause) {
      // What this session believes is ahead of the store: only reading it again is safe.
      this.close(new SessionError("STORE", "could not be made durable: reconnect and send again", { cause }));
    } finally {
      this.#inFlight--;
      this.#room?.();
    }
  }

  #send(message: Outgoing): void {
    if (!this.#closed) this.#transport.send({ message });
  }

  #after(delayMs: number, run: () => void): void {
    const cancel = this.#services.clock.after(Math.min(delayMs, 2 ** 31 - 1), () => {
      this.#cancels.delete(cancel);
      run();
    });
    this.#cancels.add(cancel);
  }

  /** Ends the session, once. What was handed to the store before still becomes durable. */
  close(error?: SessionError): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#services.pacer.leave(this);
    for (const cancel of this.#cancels) cancel();
    this.#room?.();
    this.#transport.close(error);
  }
}

function decodeBody(bytes: Uint8Array): EvidenceBody {
  try {
    return fromBinary(EvidenceBodySchema, bytes);
  } catch (cause) {
    throw new SessionError("MALFORMED_EVIDENCE", "the body is not an EvidenceBody", { cause });
  }
}

function nodeChange(judgement: QuoteJudgement, node: LiveNode["node"], intervalMs: number): Parameters<LiveNode["update"]>[0] {
  if (judgement.kind === "fresh") {
    const { askedAtMs, clock } = judgement;
    const { lastQuoteMs } = node;
    const gap = lastQuoteMs !== undefined && !holds(lastQuoteMs, intervalMs, askedAtMs) ? { gap: { fromMs: lastQuoteMs, toMs: askedAtMs } } : {};
    return { lastQuoteMs: askedAtMs, clock, quoteRefused: undefined, chainBroken: undefined, ...gap };
  }
  if (judgement.kind !== "refused" || node.quoteRefused !== undefined) return {};
  return { quoteRefused: `${judgement.code}: ${judgement.detail}` };
}

/** The chain's head moves, the state stays: what a refused Evidence leaves behind. */
function skipped(memory: LiveNode["memory"], body: EvidenceBody, bytes: Uint8Array): LiveNode["memory"] {
  return { ...memory, seq: body.seq, digest: evidenceDigest(bytes) };
}

/** Containers that are no more. A full report of a node whose engine does not answer names those that it could see: the others may well be there. */
function gone({ removed, memory }: Extract<ApplyResult, { ok: true }>, forgotten: readonly string[], full: boolean): ReadonlySet<string> {
  return full && memory.node?.runtimeReachable === false ? new Set() : new Set([...removed, ...forgotten]);
}
