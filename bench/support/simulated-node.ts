/**
 * One simulated node of bench/attestations.ts: its own TPM in plain code, enrolled as any other, twenty containers. Asked for a quote it answers with a full
 * report of them and a quote that vouches for that very report.
 */
import { randomBytes } from "node:crypto";
import { performance } from "node:perf_hooks";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { credentials } from "@grpc/grpc-js";
import { type Credential, enrol } from "@hullmark/agent/adapters/grpc/enrolment";
import { CHAIN_START } from "@hullmark/proto/codec";
import { RpcChannel } from "@hullmark/proto/rpc";
import { Attestation, type AttestRequestSchema } from "@hullmark/proto/v1/attestation";
import type { FleetTrees } from "./fleet-image.ts";
import { NodeReports, PCRS, type ReportedImage } from "./node-reports.ts";

export interface FleetOptions {
  readonly mainAddress: string;
  readonly enrolmentAddress: string;
  readonly ca: string;
  readonly containers: number;
  readonly image: ReportedImage;
}

type Outgoing = NonNullable<MessageInitShape<typeof AttestRequestSchema>["message"]>;
const never = new AbortController().signal;

export class SimulatedNode {
  readonly #options: FleetOptions;
  readonly #reports: NodeReports;
  readonly #sentAt = new Map<bigint, number>();
  readonly #queue: Outgoing[] = [];
  #wake: (() => void) | undefined;
  #channel: RpcChannel | undefined;
  #credential: Credential | undefined;
  #closed = false;
  reportBytes = 0;
  failure: unknown;
  /** Milliseconds from sending a report to its acknowledgement, since {@link reset}. */
  latenciesMs: number[] = [];

  constructor(name: string, trees: FleetTrees, options: FleetOptions) {
    this.#reports = new NodeReports(name, trees);
    this.#options = options;
  }

  /** Enrols and opens the stream; the first report goes out when the verifier asks for a quote. */
  async start(): Promise<void> {
    const { enrolmentAddress, mainAddress, ca } = this.#options;
    const { name, bootId, quoter } = this.#reports;
    const caCertificate = Buffer.from(ca);
    this.#credential = await enrol({ address: enrolmentAddress, caCertificate, nodeName: name, bootId, quoter, joinToken: undefined, pcrs: PCRS }, never);
    const { privateKey, certificateChain } = this.#credential;
    this.#channel = new RpcChannel(mainAddress, credentials.createSsl(caCertificate, Buffer.from(privateKey), Buffer.from(certificateChain)));
    this.#push({
      case: "hello",
      value: { protocolVersion: 1, agentVersion: "0.1.0", bootId, lastSeq: 0n, lastDigest: CHAIN_START, chainId: randomBytes(16) },
    });
    const welcomed = Promise.withResolvers<void>();
    void this.#read(welcomed.resolve).catch((error: unknown) => {
      if (!this.#closed) this.failure = error;
      welcomed.reject(error);
    });
    await welcomed.promise;
  }

  reset(): void {
    this.latenciesMs = [];
  }

  close(): void {
    this.#closed = true;
    this.#wake?.();
    this.#channel?.close();
  }

  async #read(welcomed: () => void): Promise<void> {
    const responses = (this.#channel as RpcChannel).client(Attestation).attest(this.#requests());
    for await (const { message } of responses) {
      if (message.case === "welcome") {
        this.#reports.measure(message.value.policy?.digest ?? Buffer.alloc(32), this.#options.containers, this.#options.image);
        welcomed();
      } else if (message.case === "challenge") await this.#attest(message.value.nonce);
      else if (message.case === "acknowledgement") this.#acknowledged(message.value.seq);
      else if (message.case === "resync") throw new Error(`resync: ${message.value.reason}`);
    }
  }

  async *#requests() {
    while (!this.#closed) {
      const next = this.#queue.shift();
      if (next) yield { message: next };
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }

  #push(message: Outgoing): void {
    this.#queue.push(message);
    this.#wake?.();
  }

  #acknowledged(seq: bigint): void {
    const nowMs = performance.now();
    for (const [sent, atMs] of this.#sentAt) {
      if (sent > seq) break;
      this.#sentAt.delete(sent);
      this.latenciesMs.push(nowMs - atMs);
    }
  }

  async #attest(nonce: Uint8Array): Promise<void> {
    const body = this.#reports.next();
    this.reportBytes = body.length;
    const quote = await this.#reports.quote(nonce, this.#credential as Credential);
    this.#sentAt.set(this.#reports.seq, performance.now());
    this.#push({ case: "evidence", value: { body } });
    this.#push({ case: "quote", value: quote });
  }
}
