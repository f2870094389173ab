/** The agent's conversation against a verifier that checks every number and digest, and whose streams break where the test says. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { checkpointFile } from "@hullmark/agent/adapters/checkpoint-file/checkpoint-file";
import { FileSpool } from "@hullmark/agent/adapters/file-spool/file-spool";
import { Outgoing } from "@hullmark/agent/core/outgoing";
import { Session, type SessionHandlers } from "@hullmark/agent/core/session";
import type { AttestResponse, EvidenceSink, OutgoingMessage } from "@hullmark/agent/ports/evidence-sink";
import { CHAIN_START, evidenceDigest } from "@hullmark/proto/codec";
import { AttestResponseSchema, EvidenceBodySchema, MeasurementPolicySchema } from "@hullmark/proto/v1/attestation";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

/** Waits are a hundredth of what they are. */
const hasty = (ms: number, signal: AbortSignal): Promise<unknown> => sleep(ms / 100, undefined, { signal }).catch(() => undefined);
const timer = { sleep: hasty };
const clock = {
  nowMs: () => Date.now(),
  sleep: async (ms: number, signal: AbortSignal) => void (await timer.sleep(ms, signal)),
};

interface Held {
  seq: bigint;
  digest: Buffer;
}

type Break = "before" | "unacknowledged" | "none";

/** Holds what it was sent, by chain, and takes nothing that does not follow. */
class StrictVerifier implements EvidenceSink {
  readonly chains = new Map<string, Held>();
  readonly accepted: { readonly chain: string; readonly seq: bigint; readonly note: string }[] = [];
  readonly violations: string[] = [];
  readonly messages: NonNullable<OutgoingMessage["message"]>[] = [];
  streams = 0;
  heartbeatIntervalSeconds = 0;
  /** What happens at an Evidence: the stream breaks before it is held, after it is held and before that is said, or not at all. */
  breakAt: () => Break = () => "none";
  /** Awaited between holding an Evidence and saying so. */
  beforeAcknowledgement: () => Promise<void> = async () => undefined;
  greets = true;
  /** Ends the newest stream: nothing more is said on it. */
  hangUp: () => void = () => undefined;
  /** Resolves when the newest stream was left. */
  left: Promise<void> = Promise.resolve();
  /** Of its log, as Welcome tells it. */
  checkpoint = "";
  /** Sent after every Welcome. */
  afterWelcome: readonly AttestResponse[] = [];

  spkiSha256 = () => Buffer.alloc(32);
  binding = () => ({ verifierId: "v", region: "r", nodeId: "n" });

  async *connect(outgoing: AsyncIterable<OutgoingMessage>, signal: AbortSignal): AsyncGenerator<AttestResponse> {
    this.streams++;
    let chain = "";
    const stop = Promise.withResolvers<"stop">();
    let left = false;
    this.hangUp = () => {
      left = true;
      stop.resolve("stop");
    };
    signal.addEventListener("abort", this.hangUp, { once: true });
    this.left = stop.promise.then(() => undefined);
    const messages = outgoing[Symbol.asyncIterator]();
    for (;;) {
      const next = await Promise.race([messages.next(), stop.promise]);
      if (next === "stop" || next.done) return;
      const { message } = next.value;
      if (!message?.case) throw new Error("empty message");
      this.messages.push(message);
      if (message.case === "hello" && this.greets) {
        chain = Buffer.from(message.value.chainId ?? []).toString("hex");
        const { seq, digest } = this.chains.get(chain) ?? { seq: 0n, digest: CHAIN_START };
        const policy = create(MeasurementPolicySchema, { heartbeatIntervalSeconds: this.heartbeatIntervalSeconds });
        yield respond({ case: "welcome", value: { durableSeq: seq, durableDigest: digest, policy, checkpoint: this.checkpoint } });
        yield* this.afterWelcome;
      }
      if (message.case !== "evidence") continue;
      const breaks = this.breakAt();
      if (breaks === "before") throw new Error("connection lost");
      const seq = this.#hold(chain, Buffer.from(message.value.body ?? []));
      if (breaks === "unacknowledged") throw new Error("connection lost");
      await this.beforeAcknowledgement();
      if (left) return;
      yield respond({ case: "acknowledgement", value: { seq } });
    }
  }

  #hold(chain: string, bytes: Buffer): bigint {
    const body = fromBinary(EvidenceBodySchema, bytes);
    const last = this.chains.get(chain) ?? { seq: 0n, digest: CHAIN_START };
    if (body.seq !== last.seq + 1n) this.violations.push(`${body.seq} after ${last.seq}`);
    if (!last.digest.equals(body.previousDigest)) this.violations.push(`${body.seq} is a fork`);
    this.chains.set(chain, { seq: body.seq, digest: evidenceDigest(bytes) });
    this.accepted.push({ chain, seq: body.seq, note: body.bootId });
    return body.seq;
  }
}

function respond(message: NonNullable<Parameters<typeof create<typeof AttestResponseSchema>>[1]>["message"]): AttestResponse {
  return create(AttestResponseSchema, { message } as never);
}

let directory: string;
let verifier: StrictVerifier;
let agent: Agent;

/** Spool and session as the agent has them; a resync appends a report as the agent does. */
class Agent {
  spool: FileSpool;
  readonly resyncs: string[] = [];
  readonly checkpoints = checkpointFile(join(directory, "checkpoint"));
  readonly failures: unknown[] = [];
  quotes = 0;
  #session: Session;
  #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  /** Captures that somebody fetches. */
  readonly wanted: Buffer[] = [];

  constructor(maxBytes?: number) {
    this.spool = new FileSpool({ directory: join(directory, "spool"), bootId: "b", ...(maxBytes ? { maxBytes } : {}) });
    this.#session = this.#newSession();
  }

  #newSession(): Session {
    const handlers: SessionHandlers = {
      quote: async () => {
        this.quotes++;
        return {};
      },
      bootLog: async () => Buffer.from("a log"),
      tree: async () => ({}),
      content: async ({ id }) => ({ id, content: Buffer.from("text") }),
      variables: ({ id }) => ({ id, containers: [{ containerId: "c" }] }),
      stopped: async ({ id }) => ({ id, containers: [{ containerId: "s", name: "ended" }] }),
      capture: async ({ id }) => ({ id, problem: "none" }),
      captureWanted: ({ requestId }) => this.wanted.push(Buffer.from(requestId)),
      policy: () => undefined,
      resync: (reason) => {
        this.resyncs.push(reason);
        this.report("full");
      },
      connected: () => undefined,
      failed: (error) => this.failures.push(error),
    };
    const { spool, checkpoints } = this;
    const own = { checkpoints, handlers, contents: true, captures: true };
    return new Session({ sink: verifier, spool, clock, agentVersion: "1", bootId: "b", random: Math.random, losses: () => 3, ...own });
  }

  run(): this {
    this.#stop = new AbortController();
    this.#running = this.#session.run(this.#stop.signal);
    return this;
  }

  /** The `note` travels in the body, so that a lost report can be named. */
  report(note: string): boolean {
    const { seq, digest } = this.spool.head();
    const body = Buffer.from(toBinary(EvidenceBodySchema, create(EvidenceBodySchema, { seq: seq + 1n, previousDigest: digest, bootId: note })));
    const taken = this.spool.append({ seq: seq + 1n, body }, evidenceDigest(body));
    this.#session.notify();
    return taken;
  }

  /** As at SIGTERM. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** As SIGKILL and another start: what was not on disk is gone. */
  async dies(): Promise<void> {
    const ended = this.stop();
    verifier.hangUp();
    await ended;
    this.spool = new FileSpool({ directory: join(directory, "spool"), bootId: "b" });
    this.#session = this.#newSession();
  }
}

beforeEach(() => {
  timer.sleep = hasty;
  directory = mkdtempSync(join(tmpdir(), "hullmark-session-"));
  verifier = new StrictVerifier();
  agent = new Agent();
});
afterEach(async () => {
  await agent.stop();
  rmSync(directory, { recursive: true });
});

const notes = (): string[] => verifier.accepted.map(({ note }) => note);
const arrived = (count: number) => expect.poll(() => verifier.accepted.length, { timeout: 20_000 }).toBeGreaterThanOrEqual(count);

describe("delivery", () => {
  test("what was reported while nobody listened arrives in order, then what follows at once", async () => {
    const wanted = Array.from({ length: 20 }, (_, i) => `r${i}`);
    for (const note of wanted.slice(0, 15)) agent.report(note);
    agent.run();
    await arrived(15);
    for (const note of wanted.slice(15)) agent.report(note);
    await arrived(20);
    expect(notes()).toEqual(wanted);
    await expect.poll(() => agent.spool.after(0n)).toEqual([]);
  });

  test.each([1, 2, 3])("streams that break before and after what they carried is held: everything arrives once (seed %i)", async (seed) => {
    let state = seed * 7919;
    const random = (): number => {
      state = (state * 1103515245 + 12345) % 2147483648;
      return state / 2147483648;
    };
    verifier.breakAt = () => (random() < 0.12 ? "before" : random() < 0.12 ? "unacknowledged" : "none");
    const wanted = Array.from({ length: 60 }, (_, i) => `r${i}`);
    agent.run();
    for (const [i, note] of wanted.entries()) {
      agent.report(note);
      if (i % 7 === 0) await sleep(5);
      if (i % 20 === 19) {
        await agent.dies();
        agent.run();
      }
    }
    await arrived(wanted.length);
    expect(verifier.violations).toEqual([]);
    expect(notes()).toEqual(wanted);
    expect(verifier.streams).toBeGreaterThan(3);
    expect(agent.resyncs).toEqual([]);
  });
});

describe("asked to end", () => {
  /** Patience that lasts as long as the test wants it to. */
  function patient(): void {
    timer.sleep = (_ms, signal) =>
      new Promise((resolve) => {
        if (signal.aborted) resolve(undefined);
        signal.addEventListener("abort", () => resolve(undefined), { once: true });
      });
  }

  test("it hands over what was spooled before, and ends when the last of it is acknowledged", async () => {
    patient();
    const release = Promise.withResolvers<void>();
    verifier.beforeAcknowledgement = () => release.promise;
    agent.run();
    for (let i = 0; i < 5; i++) agent.report(`r${i}`);
    await arrived(1);
    const ended = agent.stop();
    release.resolve();
    await ended;
    expect(notes()).toEqual(["r0", "r1", "r2", "r3", "r4"]);
    expect(agent.spool.pending()).toEqual({ evidence: 0, bytes: 0 });
  });

  test("it ends at once where nothing waits, and where the verifier has not greeted", async () => {
    patient();
    agent.run();
    agent.report("r0");
    await expect.poll(() => agent.spool.pending().evidence).toBe(0);
    await agent.stop();

    verifier.greets = false;
    agent.report("r1");
    const { streams } = verifier;
    agent.run();
    await expect.poll(() => verifier.streams).toBe(streams + 1);
    await agent.stop();
    expect(agent.spool.pending().evidence).toBe(1);
  });

  test("it waits no longer than its patience for a verifier that acknowledges nothing, and the spool keeps the rest", async () => {
    verifier.beforeAcknowledgement = () => verifier.left;
    agent.run();
    agent.report("r0");
    agent.report("r1");
    await arrived(1);
    await agent.stop();
    expect(agent.spool.pending().evidence).toBe(2);
  });
});

describe("a memory that cannot be joined", () => {
  const chainOfHello = (): string => Buffer.from(agent.spool.head().chainId).toString("hex");

  test("a verifier that lost what it had acknowledged gets a new chain with everything", async () => {
    agent.run();
    for (let i = 0; i < 5; i++) agent.report(`r${i}`);
    await arrived(5);
    await expect.poll(() => agent.spool.after(0n)).toEqual([]);
    const before = chainOfHello();
    await agent.stop();
    verifier.chains.set(before, { seq: 2n, digest: Buffer.alloc(32, 1) });
    agent.run();
    await arrived(6);
    expect(agent.resyncs).toHaveLength(1);
    expect(verifier.accepted.at(-1)).toMatchObject({ seq: 1n, note: "full" });
    expect(chainOfHello()).not.toBe(before);
    expect(verifier.violations).toEqual([]);
  });

  test("a verifier that holds more than the spool gets a new chain", async () => {
    verifier.chains.set(chainOfHello(), { seq: 9n, digest: Buffer.alloc(32, 1) });
    agent.report("r0");
    agent.run();
    await arrived(1);
    expect(verifier.accepted).toMatchObject([{ seq: 1n, note: "full" }]);
    expect(agent.resyncs).toHaveLength(1);
  });

  test.each([
    ["the same number", 1],
    ["a number on the way", 3],
  ])("a verifier that holds other Evidence of %s gets a new chain, and no fork", async (_name, reports) => {
    for (let i = 0; i < reports; i++) agent.report(`r${i}`);
    verifier.chains.set(chainOfHello(), { seq: 1n, digest: Buffer.alloc(32, 1) });
    agent.run();
    await arrived(1);
    expect(verifier.accepted).toMatchObject([{ seq: 1n, note: "full" }]);
    expect(verifier.violations).toEqual([]);
  });

  test("a chain that begins while a stream is open ends that stream; late acknowledgements take nothing of the new one away", async () => {
    const release = Promise.withResolvers<void>();
    verifier.beforeAcknowledgement = () => release.promise;
    agent.run();
    agent.report("r0");
    await arrived(1);
    // An acknowledgement of the old chain is on its way when the new chain's reports are spooled.
    agent.spool.restart();
    agent.report("full");
    agent.report("r1");
    release.resolve();
    await arrived(3);
    expect(verifier.violations).toEqual([]);
    expect(verifier.accepted.slice(1)).toMatchObject([
      { seq: 1n, note: "full" },
      { seq: 2n, note: "r1" },
    ]);
    expect(verifier.streams).toBe(2);
    expect(agent.resyncs).toEqual([]);
  });
});

describe("answers", () => {
  test("challenges are answered before Evidence that waits; a heartbeat comes at the policy's interval at once", async () => {
    verifier.heartbeatIntervalSeconds = 1;
    verifier.afterWelcome = [respond({ case: "challenge", value: { nonce: Buffer.alloc(32) } })];
    agent.run();
    await expect.poll(() => verifier.messages.filter((message) => message.case === "heartbeat").length).toBeGreaterThan(3);
    expect(verifier.messages.findLast(({ case: kind }) => kind === "heartbeat")?.value).toMatchObject({
      ...{ spooledEvidence: 0, spooledBytes: 0n, losses: 3, sentAt: { seconds: expect.any(BigInt) } },
    });
    // The interval before the first Welcome is 15 s: had it been waited for, no more than one would be here by now.
    expect(verifier.messages.findIndex((message) => message.case === "quote")).toBeGreaterThan(0);
    expect(agent.quotes).toBe(1);
  });

  test("the event log of the boot is sent when it is asked for, and only then", async () => {
    verifier.afterWelcome = [respond({ case: "bootLog", value: { sha256: Buffer.alloc(32) } })];
    agent.run();
    const logs = () => verifier.messages.filter((message) => message.case === "bootLog");
    await expect.poll(() => logs().length).toBe(1);
    expect(logs()[0]?.value).toMatchObject({ log: Buffer.from("a log") });
  });

  test("which variables are equal is answered when it is asked for", async () => {
    verifier.afterWelcome = [respond({ case: "variables", value: { id: 7n } })];
    agent.run();
    const answers = () => verifier.messages.filter((message) => message.case === "variables");
    await expect.poll(() => answers().length).toBe(1);
    expect(answers()[0]?.value).toMatchObject({ id: 7n, containers: [{ containerId: "c" }] });
  });

  test("which containers do not run is answered when it is asked for, and its Hello says that it is", async () => {
    verifier.afterWelcome = [respond({ case: "stopped", value: { id: 8n } })];
    agent.run();
    const answers = () => verifier.messages.filter((message) => message.case === "stopped");
    await expect.poll(() => answers().length).toBe(1);
    expect(answers()[0]?.value).toMatchObject({ id: 8n, containers: [{ containerId: "s", name: "ended" }] });
    expect(verifier.messages[0]).toMatchObject({ case: "hello", value: { tellsStopped: true } });
  });

  test("a verifier that asks without reading is left", async () => {
    const outgoing = new Outgoing(agent.spool);
    for (let i = 0; i < 2000; i++) outgoing.answer({ message: { case: "heartbeat", value: { seq: 0n } } });
    let count = 0;
    for await (const message of outgoing) count += message.message?.case === "heartbeat" ? 1 : 0;
    expect(count).toBe(1024);
  });

  test("nothing of an old chain is answered on its stream", async () => {
    const outgoing = new Outgoing(agent.spool);
    outgoing.startAfter(0n);
    outgoing.answer({ message: { case: "heartbeat", value: { seq: 0n } } });
    agent.spool.restart();
    agent.report("full");
    expect(outgoing.stale).toBe(true);
    for await (const message of outgoing) expect.fail(`sent ${message.message?.case}`);
  });
});

describe("the checkpoint of the verifier's log", () => {
  const note = (size: number, key = "AAAA", origin = "log/eu"): string => `${origin}\n${size}\nroot\n\n\u2014 ${origin} ${key}${"B".repeat(84)}==\n`;
  const shown = (): (string | undefined)[] => verifier.messages.flatMap((message) => (message.case === "hello" ? [message.value.checkpoint] : []));
  async function meets(checkpoint: string, later: string[] = []): Promise<void> {
    verifier.checkpoint = checkpoint;
    verifier.afterWelcome = later.map((each) => respond({ case: "challenge", value: { nonce: Buffer.alloc(32), checkpoint: each } }));
    const { streams } = verifier;
    const { quotes } = agent;
    agent.run();
    // Everything before the answer to the last challenge has been taken in.
    if (later.length > 0) await expect.poll(() => agent.quotes).toBe(quotes + later.length);
    else {
      agent.report(`after ${streams}`);
      await expect.poll(() => agent.spool.after(0n)).toEqual([]);
    }
    await agent.stop();
  }

  test("is kept, through a restart too, and shown at the next Hello; a shorter one of the same log does not replace it, nor what is none", async () => {
    await meets(note(7), [note(9), note(8), "", "junk", note(100).replace("\n100\n", "\n1e3\n"), note(100).padEnd(5000, "x")]);
    await agent.dies();
    await meets(note(3));
    await meets(note(10));
    await meets(note(11));
    expect(shown()).toEqual(["", note(9), note(9), note(10)]);
  });

  test("of another log, or by another key, replaces it: what was kept has been shown before", async () => {
    await meets(note(9));
    await meets(note(2, "AAAB"));
    await meets(note(1, "AAAB", "log/us"));
    await meets("");
    expect(shown()).toEqual(["", note(9), note(2, "AAAB"), note(1, "AAAB", "log/us")]);
  });
});
