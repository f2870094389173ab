/**
 * One stream of one node, from its Hello to its end: `opening → live → closed`. Messages are handled in order and without waiting for the disk;
 * what they decide is committed in that order, and acknowledged once durable.
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { evidenceDigest } from "@hullmark/proto/codec";
import {
  type AttestRequest,
  type Evidence,
  type EvidenceBody,
  type Heartbeat,
  type Hello,
  type MeasurementPolicy,
  type StoppedResponse,
  type VariablesRequestSchema,
  type VariablesResponse,
  WelcomeSchema,
} from "@hullmark/proto/v1/attestation";
import { CaptureRequestSchema, CaptureWantedSchema } from "@hullmark/proto/v1/capture";
import { TrustLevel } from "@hullmark/proto/v1/common";
import type { NodeRow } from "../../ports/rows.ts";
import type { ApplyResult } from "../appraisal/apply-evidence.ts";
import { applyEvidence } from "../appraisal/apply-evidence.ts";
import { EvidenceDecoder } from "../appraisal/decode-evidence.ts";
import { timestampMs } from "../appraisal/time.ts";
import { ChangeSet } from "../fleet/change-set.ts";
import { adminFact } from "../fleet/log-facts.ts";
import type { Policy } from "../policy/types.ts";
import type { AppraisedContainer } from "./appraiser.ts";
import type { BootWatch } from "./boot-evidence.ts";
import type { Comparisons } from "./comparisons.ts";
import { type ContentAnswer, ContentQuestions, type WantedFile } from "./content-questions.ts";
import { SessionError } from "./errors.ts";
import type { ImaWatch } from "./ima-evidence.ts";
import type { LiveNode, Simulated } from "./live-node.ts";
import { measurementPolicy } from "./measurement.ts";
import { evidenceWrite } from "./memory.ts";
import { type After, OpenQuestions } from "./open-questions.ts";
import { type QuestionSession, Questions } from "./questions.ts";
import type { CaptureStream, Outgoing, SessionPeer, SessionServices, Transport } from "./stream.ts";

export const PROTOCOL_VERSION = 1;
/** Commits under way before the next message is read. */
const MAX_IN_FLIGHT = 256;
const MAX_RESYNCS = 5;
const MAX_LOSSES_TOLD = 1000;

export type WantedVariables = Omit<MessageInitShape<typeof VariablesRequestSchema>, "id" | "$typeName">;

export class Session implements QuestionSession {
  readonly #services: SessionServices;
  readonly #peer: SessionPeer;
  readonly #transport: Transport;
  readonly #live: LiveNode;
  readonly #comparisons: Comparisons;
  readonly #questions: Questions;
  readonly #contents: ContentQuestions;
  readonly #variables: OpenQuestions<VariablesResponse>;
  readonly #stopped: OpenQuestions<StoppedResponse>;
  readonly #decoder = new EvidenceDecoder();
  readonly #cancels = new Set<() => void>();
  #measurement: MeasurementPolicy;
  /** Newest Evidence handed to the store. */
  #submittedSeq: bigint;
  #resyncs = 0;
  #inFlight = 0;
  #spooled = { evidence: 0, bytes: 0 };
  #room: (() => void) | undefined;
  #closed = false;
  #handsOutContents = false;
  #tellsStopped = false;

  constructor(services: SessionServices, peer: SessionPeer, transport: Transport, live: LiveNode, comparisons: Comparisons, boot: BootWatch, ima: ImaWatch) {
    this.#services = services;
    this.#peer = peer;
    this.#transport = transport;
    this.#live = live;
    this.#comparisons = comparisons;
    this.#measurement = measurementPolicy(services.policy(), live.node.name);
    this.#submittedSeq = live.memory.seq;
    this.#questions = new Questions(services, this, live, boot, ima);
    const after: After = (delayMs, run) => services.clock.after(delayMs, run);
    this.#contents = new ContentQuestions((request) => this.send({ case: "content", value: request }), after);
    this.#variables = new OpenQuestions(after);
    this.#stopped = new OpenQuestions(after);
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

  get spkiSha256(): Buffer {
    return this.#peer.spkiSha256;
  }

  get measurementDigest(): Uint8Array {
    return this.#measurement.digest;
  }

  /** Whether the agent's configuration lets the content of any file out. */
  get handsOutContents(): boolean {
    return this.#handsOutContents;
  }

  /** Whether the agent answers {@link askStopped}. */
  get tellsStopped(): boolean {
    return this.#tellsStopped;
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
    this.#handsOutContents = hello.contents;
    this.#tellsStopped = hello.tellsStopped;
    const changes = new ChangeSet(nowMs);
    this.#live.alive(hello.lastSeq, nowMs);
    if (hello.captures) this.#cancels.add(this.#services.captures.connect(this.nodeId, this.#captureStream()));
    this.#live.update(
      { bootId: hello.bootId.slice(0, 64), captures: hello.captures, ...this.#questions.bootChange() },
      this.#services.policy(),
      changes,
      nowMs,
    );
    this.#live.appraise(this.#live.memory.containers.keys(), this.#services.policy(), this.#measurement, changes, nowMs);
    this.commit(changes);
    if (this.#live.barred !== undefined) this.#resync(this.#live.barred);
    if (this.#live.node.trustLevel !== TrustLevel.NONE) this.#services.pacer.join(this.#questions, nowMs);
    this.after(Math.max(0, this.#peer.certificateNotAfterMs - nowMs), () =>
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
        this.#questions.answer(message.value);
        break;
      case "tree":
        this.#comparisons.accept(message.value);
        break;
      case "content":
        this.#contents.accept(message.value);
        break;
      case "variables":
        this.#variables.accept(message.value);
        break;
      case "stopped":
        this.#stopped.accept(message.value);
        break;
      case "captured":
        this.#services.captures.taken(this.nodeId, message.value);
        break;
      case "heartbeat":
        this.#beat(message.value);
        this.tick();
        break;
      case "bootLog":
        this.#questions.bootLog(message.value);
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

  #captureStream(): CaptureStream {
    return {
      ask: (asked) => this.send({ case: "capture", value: create(CaptureRequestSchema, asked) }),
      want: (wanted) => this.send({ case: "captureWanted", value: create(CaptureWantedSchema, wanted) }),
    };
  }

  /** How the agent says that it is. */
  #beat({ seq, spooledEvidence, spooledBytes, losses, sentAt }: Heartbeat): void {
    const nowMs = this.#services.clock.nowMs();
    this.#live.alive(seq, nowMs);
    this.#live.clockAheadMs = sentAt && timestampMs(sentAt) - nowMs;
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
    const body = this.#decode(bytes);
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
    const told = this.#live.memory.node;
    this.#take(result, body.full || body.seq === 1n, changes, nowMs);
    const mended = this.#live.node.trustLevel === TrustLevel.NONE && this.#live.node.chainBroken !== undefined && body.seq === 1n;
    const change = {
      // What the agent consists of is told here: no quote need follow, and of a node without TPM none does.
      ...(this.#live.memory.node !== told && this.#questions.bootChange()),
      ...(mended && { chainBroken: undefined }),
    };
    this.#live.update(change, this.#services.policy(), changes, nowMs);
    this.commit(changes, () => this.send({ case: "acknowledgement", value: { seq: body.seq } }));
    if (changes.openedDrifts) this.#questions.hurry();
    this.#questions.takeHeld();
  }

  #decode(bytes: Uint8Array): EvidenceBody {
    try {
      return this.#decoder.decode(bytes);
    } catch (cause) {
      throw new SessionError("MALFORMED_EVIDENCE", "the body is not an EvidenceBody", { cause });
    }
  }

  #take(result: Extract<ApplyResult, { ok: true }>, full: boolean, changes: ChangeSet, nowMs: number): void {
    const live = this.#live;
    const otherHost = live.memory.node?.architecture !== result.memory.node?.architecture;
    live.memory = result.memory;
    this.#questions.recorded();
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
        if (this.#inFlight === 0) this.send({ case: "acknowledgement", value: { seq: this.#live.memory.seq } });
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
    this.send({ case: "resync", value: { reason } });
    this.tick();
  }

  /** A file's content, for a person: undefined where the node does not answer. @throws the signal's reason */
  async askContent(wanted: WantedFile, signal: AbortSignal): Promise<ContentAnswer> {
    return this.#closed ? undefined : await this.#contents.ask(wanted, signal);
  }

  /** Digests of variables, for a person: undefined where the node does not answer. @throws the signal's reason */
  async askVariables(wanted: WantedVariables, signal: AbortSignal): Promise<VariablesResponse | undefined> {
    return await this.#asked(this.#variables, (id) => this.send({ case: "variables", value: { ...wanted, id } }), signal);
  }

  /** Which containers of the node do not run, for a person: undefined where it does not answer. @throws the signal's reason */
  async askStopped(signal: AbortSignal): Promise<StoppedResponse | undefined> {
    return await this.#asked(this.#stopped, (id) => this.send({ case: "stopped", value: { id } }), signal);
  }

  /** @returns undefined: the node does not answer, or is asked enough already */
  async #asked<Answer extends { readonly id: bigint }>(
    open: OpenQuestions<Answer>,
    send: (id: bigint) => void,
    signal: AbortSignal,
  ): Promise<Answer | undefined> {
    const answer = this.#closed ? undefined : await open.ask(send, signal);
    return answer === "too-many" ? undefined : answer;
  }

  /** Asks for a quote now: a person wants it. */
  challenge(): void {
    this.#questions.challenge();
  }

  /** Another boot or key was refused as this node, and this one spoke after it: both live, so one of them has what it should not have. */
  rivalled(bootId: string): void {
    const [other, own] = [bootId.slice(0, 64), this.#live.node.bootId];
    const detail = other === own ? `another key of boot ${other} speaks as this node too` : `boot ${other} speaks as this node too`;
    this.#note("cloned", detail, { rival: { detail, atMs: this.#services.clock.nowMs() } });
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
    if (!changes.empty) this.commit(changes);
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
      this.send({ case: "policy", value: measurement });
    }
    this.#reappraise([...this.#live.memory.containers.keys()]);
    const nowMs = this.#services.clock.nowMs();
    const changes = new ChangeSet(nowMs);
    this.#live.update(this.#questions.bootChange(), this.#services.policy(), changes, nowMs);
    this.commit(changes);
    this.tick();
  }

  /**
   * What a policy would say of a container as it is known now, by what its agent measured under the one in force. Nothing changes by it.
   * @returns undefined where there is no such container
   */
  simulate(id: string, under: Simulated, nowMs: number): AppraisedContainer | undefined {
    return this.#live.simulate(id, under, this.#measurement, nowMs);
  }

  /** The node's row under another policy, at the intervals of the one in force; `remeasured`: its agent would be told to measure otherwise. */
  simulateNode(policy: Policy, nowMs: number): { readonly row: NodeRow; readonly remeasured: boolean } {
    const row = this.#live.simulateNode(this.#questions.bootUnder(policy), this.#services.policy(), nowMs);
    return { row, remeasured: !Buffer.from(measurementPolicy(policy, row.name).digest).equals(this.#measurement.digest) };
  }

  #reappraise(ids: readonly string[]): void {
    if (this.#closed || ids.length === 0) return;
    const nowMs = this.#services.clock.nowMs();
    const changes = new ChangeSet(nowMs);
    this.#live.appraise(ids, this.#services.policy(), this.#measurement, changes, nowMs);
    this.commit(changes);
  }

  /** Changes made for a person, in the order of everything else of this node. Durable when it resolves. @throws StoreError: the session ends then */
  amend(change: (live: LiveNode, changes: ChangeSet, nowMs: number) => void): Promise<void> {
    const nowMs = this.#services.clock.nowMs();
    const changes = new ChangeSet(nowMs);
    change(this.#live, changes, nowMs);
    this.#live.update({}, this.#services.policy(), changes, nowMs);
    return this.#persist(changes);
  }

  #note(action: string, detail: string, change: Parameters<LiveNode["update"]>[0]): void {
    const nowMs = this.#services.clock.nowMs();
    const changes = new ChangeSet(nowMs);
    changes.note(adminFact(action, nowMs, { node: this.nodeId, detail }));
    this.#live.update(change, this.#services.policy(), changes, nowMs);
    this.commit(changes);
  }

  /** Where it fails, the session ends. Nothing of a session that has ended: another one, or a person, decides about the node by now. */
  async commit(changes: ChangeSet, durable?: () => void): Promise<void> {
    if (this.#closed) return;
    await this.#persist(changes, durable).catch(() => undefined);
  }

  async #persist(changes: ChangeSet, durable?: () => void): Promise<void> {
    if (changes.empty) return durable?.();
    this.#inFlight++;
    try {
      const { commit } = await this.#services.committer.submit(changes.draft(() => this.#services.clock.nowMs()));
      this.#live.committed(commit);
      durable?.();
    } catch (cause) {
      // What this session believes is ahead of the store: only reading it again is safe.
      this.close(new SessionError("STORE", "could not be made durable: reconnect and send again", { cause }));
      throw cause;
    } finally {
      this.#inFlight--;
      this.#room?.();
    }
  }

  send(message: Outgoing): void {
    if (!this.#closed) this.#transport.send({ message });
  }

  after(delayMs: number, run: () => void): void {
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
    this.#services.pacer.leave(this.#questions);
    this.#contents.close();
    this.#variables.close();
    this.#stopped.close();
    for (const cancel of this.#cancels) cancel();
    this.#room?.();
    this.#transport.close(error);
  }
}

/** The chain's head moves, the state stays: what a refused Evidence leaves behind. */
function skipped(memory: LiveNode["memory"], body: EvidenceBody, bytes: Uint8Array): LiveNode["memory"] {
  return { ...memory, seq: body.seq, digest: evidenceDigest(bytes) };
}

/** Containers that are no more. A full report of a node whose engine does not answer names those that it could see: the others may well be there. */
function gone({ removed, memory }: Extract<ApplyResult, { ok: true }>, forgotten: readonly string[], full: boolean): ReadonlySet<string> {
  return full && memory.node?.runtimeReachable === false ? new Set() : new Set([...removed, ...forgotten]);
}
