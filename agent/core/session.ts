/**
 * The conversation with the verifier. States: connecting → greeting (Hello sent) → streaming; any failure leads back to connecting after a jittered wait.
 * Nothing is lost in between: Evidence goes to the spool first, and the verifier says what it holds durably.
 */
import { fromBinary } from "@bufbuild/protobuf";
import {
  type Challenge,
  type ContentRequest,
  EvidenceBodySchema,
  type MeasurementPolicy,
  type StoppedRequest,
  type TreeRequest,
  type VariablesRequest,
  type Welcome,
} from "@hullmark/proto/v1/attestation";
import type { CaptureRequest, CaptureWanted } from "@hullmark/proto/v1/capture";
import type { CheckpointMemory } from "../ports/checkpoint-memory.ts";
import type { Clock } from "../ports/clock.ts";
import type { AttestResponse, EvidenceSink, OutgoingMessage } from "../ports/evidence-sink.ts";
import type { Spool } from "../ports/spool.ts";
import { backoffMs } from "./backoff.ts";
import { checkpointToKeep } from "./checkpoint.ts";
import { Outgoing } from "./outgoing.ts";
import { timestampFromMs } from "./timestamp.ts";

export const PROTOCOL_VERSION = 1;
const RECONNECT = { baseMs: 500, maxMs: 20_000 };
/** A stream that lived this long was a good one: the next wait starts small again. */
const STABLE_MS = 30_000;
/** Once the agent is asked to end: how long the stream stays open for what the verifier has not acknowledged. Then the spool keeps it for the next start. */
const DRAIN_MS = 4_000;

type Answers = NonNullable<OutgoingMessage["message"]>;
type Answer<Case extends Answers["case"]> = Extract<Answers, { case: Case }>["value"];

/** What the session asks of the rest of the agent. */
export interface SessionHandlers {
  /** A quote over the nonce and the newest Evidence; failures are told in the message. */
  quote(challenge: Challenge, signal: AbortSignal): Promise<Answer<"quote">>;
  /** The measured-boot event log. */
  bootLog(): Promise<Buffer>;
  /** Positions in one of the measured trees. */
  tree(request: TreeRequest): Promise<Answer<"tree">>;
  /** The content of a file, or why it is not handed out. */
  content(request: ContentRequest): Promise<Answer<"content">>;
  /** Which variables of containers are equal. */
  variables(request: VariablesRequest): Answer<"variables">;
  /** Which containers do not run, or why that cannot be told. */
  stopped(request: StoppedRequest): Promise<Answer<"stopped">>;
  /** What is kept of a container, or why nothing is. */
  capture(request: CaptureRequest): Promise<Answer<"captured">>;
  /** Somebody fetches a capture: it goes its own way. */
  captureWanted(wanted: CaptureWanted): void;
  policy(policy: MeasurementPolicy): void;
  /** The next Evidence must hold the whole state. `lost`: how many never reached the verifier. */
  resync(reason: string, lost: number): void;
  connected(connected: boolean): void;
  failed(error: unknown, waitMs: number): void;
}

export interface SessionOptions {
  readonly sink: EvidenceSink;
  readonly spool: Spool;
  readonly clock: Clock;
  readonly agentVersion: string;
  readonly bootId: string;
  readonly random: () => number;
  /** Times that events or reports were lost. */
  readonly losses: () => number;
  readonly checkpoints: CheckpointMemory;
  /** Whether the configuration lets any content out. */
  readonly contents: boolean;
  /** Whether it says whom captures are sealed to. */
  readonly captures: boolean;
  readonly handlers: SessionHandlers;
}

export class Session {
  readonly #options: SessionOptions;
  #outgoing: Outgoing | undefined;
  #heartbeatMs = 15_000;
  #heartbeatChanged: AbortController | undefined;
  /** The newest ContentRequest of this stream: none is answered twice. */
  #contentId = 0n;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  /** Something was spooled. */
  notify(): void {
    this.#outgoing?.notify();
  }

  /** Runs until the signal aborts and, where the verifier listens, holds what was spooled by then: {@link DRAIN_MS} at most. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, handlers, random } = this.#options;
    for (let attempt = 0; !signal.aborted; attempt++) {
      const startedMs = clock.nowMs();
      let problem: unknown = new Error("the verifier closed the stream");
      try {
        await this.#stream(signal);
      } catch (error) {
        problem = error;
      }
      handlers.connected(false);
      if (signal.aborted) return;
      if (clock.nowMs() - startedMs > STABLE_MS) attempt = 0;
      const waitMs = backoffMs(RECONNECT, attempt, random());
      handlers.failed(problem, waitMs);
      await clock.sleep(waitMs, signal);
    }
  }

  async #stream(signal: AbortSignal): Promise<void> {
    const { sink, spool, clock, agentVersion, bootId, handlers, checkpoints, contents, captures } = this.#options;
    const outgoing = new Outgoing(spool);
    const { chainId, seq, digest } = spool.head();
    const known = { lastSeq: seq, lastDigest: digest, chainId, checkpoint: checkpoints.read() };
    const hello = { protocolVersion: PROTOCOL_VERSION, agentVersion, bootId, ...known, contents, captures, tellsStopped: true };
    this.#contentId = 0n;
    outgoing.answer({ message: { case: "hello", value: hello } });
    this.#outgoing = outgoing;
    const end = new AbortController();
    const drain = (): void => {
      if (!signal.aborted || end.signal.aborted) return;
      if (!outgoing.started || spool.pending().evidence === 0) end.abort();
    };
    const stop = (): void => {
      drain();
      if (!end.signal.aborted) void clock.sleep(DRAIN_MS, end.signal).then(() => end.abort());
    };
    signal.addEventListener("abort", stop, { once: true });
    const beat = this.#beat(outgoing, end.signal);
    try {
      for await (const response of sink.connect(outgoing, end.signal)) {
        if (response.message.case === "welcome" && this.#greet(response.message.value, outgoing)) handlers.connected(true);
        else this.#receive(response, outgoing, signal);
        drain();
      }
    } finally {
      signal.removeEventListener("abort", stop);
      end.abort();
      this.#outgoing = undefined;
      outgoing.close();
      await beat;
    }
  }

  async #beat(outgoing: Outgoing, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const changed = new AbortController();
      this.#heartbeatChanged = changed;
      await this.#options.clock.sleep(this.#heartbeatMs, AbortSignal.any([signal, changed.signal]));
      if (signal.aborted) return;
      const { spool, clock, losses } = this.#options;
      const { evidence, bytes } = spool.pending();
      const sentAt = timestampFromMs(clock.nowMs());
      const value = { seq: spool.head().seq, spooledEvidence: evidence, spooledBytes: BigInt(bytes), losses: losses(), sentAt };
      outgoing.answer({ message: { case: "heartbeat", value } });
    }
  }

  /** @returns false where the verifier's memory and ours cannot be joined: a new chain starts, on a new stream */
  #greet(welcome: Welcome, outgoing: Outgoing): boolean {
    const { spool, handlers } = this.#options;
    const { seq } = spool.head();
    const durable = welcome.durableSeq;
    this.#keep(welcome.checkpoint);
    if (outgoing.stale) return false;
    if (!joins(spool, durable, welcome.durableDigest)) {
      const lost = spool.restart();
      handlers.resync(`what the verifier holds, up to Evidence ${durable}, is not what the spool, up to ${seq}, continues: a new chain starts`, lost);
      outgoing.close();
      return false;
    }
    spool.acknowledge(durable);
    if (welcome.policy) this.#policy(welcome.policy);
    outgoing.startAfter(durable);
    return true;
  }

  #receive({ message }: AttestResponse, outgoing: Outgoing, signal: AbortSignal): void {
    const { spool, handlers } = this.#options;
    const answer = (told: Promise<Answers>): void =>
      void told.then(
        (made) => outgoing.answer({ message: made }),
        (error: unknown) => handlers.failed(error, 0),
      );
    switch (message.case) {
      case "acknowledgement":
        if (!outgoing.stale) spool.acknowledge(message.value.seq);
        break;
      case "challenge":
        this.#keep(message.value.checkpoint);
        if (signal.aborted) break;
        answer(handlers.quote(message.value, signal).then((value) => ({ case: "quote", value })));
        break;
      case "tree":
        answer(handlers.tree(message.value).then((value) => ({ case: "tree", value })));
        break;
      case "bootLog":
        answer(handlers.bootLog().then((log) => ({ case: "bootLog", value: { log } })));
        break;
      case "content":
        if (message.value.id <= this.#contentId) break;
        this.#contentId = message.value.id;
        answer(handlers.content(message.value).then((value) => ({ case: "content", value })));
        break;
      case "variables":
        outgoing.answer({ message: { case: "variables", value: handlers.variables(message.value) } });
        break;
      case "stopped":
        answer(handlers.stopped(message.value).then((value) => ({ case: "stopped", value })));
        break;
      case "capture":
        answer(handlers.capture(message.value).then((value) => ({ case: "captured", value })));
        break;
      case "captureWanted":
        handlers.captureWanted(message.value);
        break;
      case "policy":
        this.#policy(message.value);
        break;
      case "resync":
        handlers.resync(message.value.reason, 0);
        break;
    }
  }

  /** What cannot be written is told, and no reason to stop: the one before is kept. */
  #keep(offered: string): void {
    const { checkpoints, handlers } = this.#options;
    const held = checkpoints.read();
    const kept = checkpointToKeep(held, offered);
    if (kept === held) return;
    try {
      checkpoints.write(kept);
    } catch (error) {
      handlers.failed(error, 0);
    }
  }

  #policy(policy: MeasurementPolicy): void {
    const heartbeatMs = policy.heartbeatIntervalSeconds * 1000;
    if (heartbeatMs > 0 && heartbeatMs !== this.#heartbeatMs) {
      this.#heartbeatMs = heartbeatMs;
      this.#heartbeatChanged?.abort();
    }
    this.#options.handlers.policy(policy);
  }
}

/** Whether the spool continues what the verifier holds: its next Evidence must name that very one as its predecessor, not only its number. */
function joins(spool: Spool, durableSeq: bigint, durableDigest: Uint8Array): boolean {
  const { seq, digest } = spool.head();
  if (durableSeq > seq) return false;
  if (durableSeq === seq) return seq === 0n || digest.equals(durableDigest);
  const next = spool.after(durableSeq)[0];
  return next?.seq === durableSeq + 1n && Buffer.from(durableDigest).equals(fromBinary(EvidenceBodySchema, next.body).previousDigest);
}
