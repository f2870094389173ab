/**
 * The conversation with the verifier. States: connecting → greeting (Hello sent) → streaming; any failure leads back to connecting after a jittered wait.
 * Nothing is lost in between: Evidence goes to the spool first, and the verifier says what it holds durably.
 */
import type { Challenge, MeasurementPolicy, TreeRequest, Welcome } from "@hullmark/proto/v1/attestation";
import type { Clock } from "../ports/clock.ts";
import type { AttestResponse, EvidenceSink, OutgoingMessage } from "../ports/evidence-sink.ts";
import type { Spool } from "../ports/spool.ts";
import { backoffMs } from "./backoff.ts";
import { Outgoing } from "./outgoing.ts";

export const PROTOCOL_VERSION = 1;
const RECONNECT = { baseMs: 500, maxMs: 20_000 };
/** A stream that lived this long was a good one: the next wait starts small again. */
const STABLE_MS = 30_000;

type QuoteMessage = Extract<OutgoingMessage["message"], { case: "quote" }>["value"];
type TreeMessage = Extract<OutgoingMessage["message"], { case: "tree" }>["value"];

/** What the session asks of the rest of the agent. */
export interface SessionHandlers {
  /** A quote over the nonce and the newest Evidence; failures are told in the message. */
  quote(challenge: Challenge, signal: AbortSignal): Promise<QuoteMessage>;
  /** Positions in one of the measured trees. */
  tree(request: TreeRequest): Promise<TreeMessage>;
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
  readonly handlers: SessionHandlers;
}

export class Session {
  readonly #options: SessionOptions;
  #outgoing: Outgoing | undefined;
  #heartbeatMs = 15_000;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  /** Something was spooled. */
  notify(): void {
    this.#outgoing?.notify();
  }

  /** Runs until the signal aborts. */
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
    const { sink, spool, agentVersion, bootId, handlers } = this.#options;
    const outgoing = new Outgoing(spool);
    const ended = new AbortController();
    const { chainId, seq, digest } = spool.head();
    outgoing.answer({
      message: { case: "hello", value: { protocolVersion: PROTOCOL_VERSION, agentVersion, bootId, lastSeq: seq, lastDigest: digest, chainId } },
    });
    this.#outgoing = outgoing;
    const beat = this.#beat(outgoing, AbortSignal.any([signal, ended.signal]));
    try {
      for await (const response of sink.connect(outgoing, signal)) {
        if (response.message.case === "welcome" && this.#greet(response.message.value, outgoing)) handlers.connected(true);
        else this.#receive(response, outgoing, signal);
      }
    } finally {
      this.#outgoing = undefined;
      outgoing.close();
      ended.abort();
      await beat;
    }
  }

  async #beat(outgoing: Outgoing, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#options.clock.sleep(this.#heartbeatMs, signal);
      if (!signal.aborted) outgoing.answer({ message: { case: "heartbeat", value: { seq: this.#options.spool.head().seq } } });
    }
  }

  /** @returns false where the verifier's memory and ours cannot be joined: a new chain starts, on a new stream */
  #greet(welcome: Welcome, outgoing: Outgoing): boolean {
    const { spool, handlers } = this.#options;
    const { seq, digest } = spool.head();
    const durable = welcome.durableSeq;
    const first = spool.after(durable)[0]?.seq;
    const joins = durable <= seq && (durable === seq ? seq === 0n || digest.equals(Buffer.from(welcome.durableDigest)) : first === durable + 1n);
    if (!joins) {
      const lost = spool.restart();
      handlers.resync(`the verifier holds Evidence up to ${durable}, the spool ${first ?? "nothing"} to ${seq}: a new chain starts`, lost);
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
    switch (message.case) {
      case "acknowledgement":
        spool.acknowledge(message.value.seq);
        break;
      case "challenge":
        handlers.quote(message.value, signal).then(
          (quote) => outgoing.answer({ message: { case: "quote", value: quote } }),
          (error: unknown) => handlers.failed(error, 0),
        );
        break;
      case "tree":
        handlers.tree(message.value).then(
          (answer) => outgoing.answer({ message: { case: "tree", value: answer } }),
          (error: unknown) => handlers.failed(error, 0),
        );
        break;
      case "policy":
        this.#policy(message.value);
        break;
      case "resync":
        handlers.resync(message.value.reason, 0);
        break;
    }
  }

  #policy(policy: MeasurementPolicy): void {
    if (policy.heartbeatIntervalSeconds > 0) this.#heartbeatMs = policy.heartbeatIntervalSeconds * 1000;
    this.#options.handlers.policy(policy);
  }
}
