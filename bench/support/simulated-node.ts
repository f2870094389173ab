/**
 * One simulated node of bench/attestations.ts: its own TPM in plain code, enrolled as any other, twenty containers. Asked for a quote it answers with a full
 * report of them and a quote that vouches for that very report.
 */
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { performance } from "node:perf_hooks";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { credentials } from "@grpc/grpc-js";
import { type Credential, enrol } from "@hullmark/agent/adapters/grpc/enrolment";
import { CHAIN_START, EMPTY_ROOT, evidenceDigest, quoteExtraData, StateTree } from "@hullmark/proto/codec";
import { RpcChannel } from "@hullmark/proto/rpc";
import {
  Attestation,
  type AttestRequestSchema,
  CodePlace,
  CodeSetSchema,
  ContainerConfigurationSchema,
  ContainerIdentitySchema,
  EvidenceBodySchema,
  FilesystemKind,
  FilesystemStateSchema,
  NodeStateSchema,
} from "@hullmark/proto/v1/attestation";
import { FakeQuoter } from "../../test/fakes/quoter.ts";
import type { FleetTrees } from "./fleet-image.ts";

export interface FleetOptions {
  readonly mainAddress: string;
  readonly enrolmentAddress: string;
  readonly ca: string;
  readonly containers: number;
  readonly image: { readonly reference: string; readonly configDigest: string };
}

type Outgoing = NonNullable<MessageInitShape<typeof AttestRequestSchema>["message"]>;
const PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14];
const NONE = Buffer.alloc(0);
const never = new AbortController().signal;

export class SimulatedNode {
  readonly #options: FleetOptions;
  readonly #name: string;
  readonly #trees: FleetTrees;
  readonly #quoter = new FakeQuoter();
  readonly #bootId = randomUUID();
  readonly #sentAt = new Map<bigint, number>();
  readonly #queue: Outgoing[] = [];
  #wake: (() => void) | undefined;
  #channel: RpcChannel | undefined;
  #credential: Credential | undefined;
  #policyDigest: Uint8Array = Buffer.alloc(32);
  #parts: { id: string; parts: Parameters<StateTree["setContainer"]>[1] }[] = [];
  #nodeState: Uint8Array = NONE;
  #tail: Uint8Array = NONE;
  #stateRoot: Buffer = EMPTY_ROOT;
  #seq = 0n;
  #digest: Buffer = CHAIN_START;
  #closed = false;
  reportBytes = 0;
  failure: unknown;
  /** Milliseconds from sending a report to its acknowledgement, since {@link reset}. */
  latenciesMs: number[] = [];

  constructor(name: string, trees: FleetTrees, options: FleetOptions) {
    this.#name = name;
    this.#trees = trees;
    this.#options = options;
  }

  /** Enrols and opens the stream; the first report goes out when the verifier asks for a quote. */
  async start(): Promise<void> {
    const { enrolmentAddress, mainAddress, ca } = this.#options;
    const caCertificate = Buffer.from(ca);
    this.#credential = await enrol(
      { address: enrolmentAddress, caCertificate, nodeName: this.#name, bootId: this.#bootId, quoter: this.#quoter, joinToken: undefined, pcrs: PCRS },
      never,
    );
    const { privateKey, certificateChain } = this.#credential;
    this.#channel = new RpcChannel(mainAddress, credentials.createSsl(caCertificate, Buffer.from(privateKey), Buffer.from(certificateChain)));
    this.#push({
      case: "hello",
      value: { protocolVersion: 1, agentVersion: "0.1.0", bootId: this.#bootId, lastSeq: 0n, lastDigest: CHAIN_START, chainId: randomBytes(16) },
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
        this.#measure(message.value.policy?.digest ?? Buffer.alloc(32));
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
    const body = this.#report();
    const { verifierId, region, spkiSha256, nodeId } = this.#credential as Credential;
    const facts = { seq: this.#seq, evidenceDigest: this.#digest, stateRoot: this.#stateRoot, bootId: this.#bootId, policyDigest: this.#policyDigest };
    const ima = { imaCount: 0n, imaAggregate: NONE, eventLogSha256: NONE };
    const extraData = quoteExtraData({ verifierId, region, nonce, spkiSha256, tlsExporter: NONE, nodeId, ...facts, ...ima });
    const { attest, signature, pcrs } = await this.#quoter.quote(extraData, PCRS, never);
    this.#sentAt.set(this.#seq, performance.now());
    this.#push({ case: "evidence", value: { body } });
    this.#push({ case: "quote", value: { nonce, ...facts, attest, signature, pcrs: pcrs.map((pcr) => ({ ...pcr })) } });
  }

  /** The next Evidence: the whole state. */
  #report(): Buffer {
    const head = create(EvidenceBodySchema, { seq: ++this.#seq, previousDigest: this.#digest });
    const body = Buffer.concat([toBinary(EvidenceBodySchema, head), this.#tail]);
    this.#digest = evidenceDigest(body);
    this.reportBytes = body.length;
    return body;
  }

  #measure(policyDigest: Uint8Array): void {
    this.#policyDigest = policyDigest;
    const state = {
      ...{ agentVersion: "0.1.0", nodeName: this.#name, kernel: "6.1.0", architecture: "x86_64", runtime: "docker", runtimeVersion: "20.10.24" },
      ...{ storageDriver: "overlay2", runtimeReachable: true, changeSource: "fanotify", attribution: true, tpm: "ok" },
    };
    this.#nodeState = toBinary(NodeStateSchema, create(NodeStateSchema, state));
    const tree = new StateTree();
    tree.setNode(this.#nodeState);
    this.#parts = Array.from({ length: this.#options.containers }, (_, i) => {
      const id = createHash("sha256").update(`${this.#name}/${i}`).digest("hex");
      const parts = this.#container(id, `web-${i}`);
      tree.setContainer(id, parts);
      return { id, parts };
    });
    this.#stateRoot = tree.root();
    // A message is the fields of its parts one after the other: what is the same in each report is written once, so that the nodes do not bound what is measured.
    const constant = create(EvidenceBodySchema, {
      bootId: this.#bootId,
      measuredAt: timestampFromMs(Date.now()),
      full: true,
      node: this.#nodeState,
      containers: this.#parts.map(({ id, parts }) => ({ id, ...parts, upperReset: true })),
      stateRoot: this.#stateRoot,
    });
    this.#tail = toBinary(EvidenceBodySchema, constant);
  }

  #container(id: string, name: string) {
    const { reference, configDigest } = this.#options.image;
    const identity = { id, name, runtime: "docker", imageReference: reference, imageId: configDigest, configDigest, workload: "web", pid: 4711 };
    const configuration = {
      ...{ args: ["/bin/app"], user: "", seccomp: "default", apparmor: "docker-default", hostname: id.slice(0, 12), stopSignal: "SIGTERM" },
      ...{ envKey: createHash("sha256").update(id).digest() },
      mounts: [{ destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"], declared: true }],
    };
    const code = { objects: [{ place: CodePlace.LAYER, path: Buffer.from("/srv/l0/f0"), mainExecutable: true, pid: 4711 }] };
    const filesystem = {
      kind: FilesystemKind.OVERLAY,
      dialect: "docker",
      layers: [
        ...this.#trees.layers.map(({ root, entries }, i) => ({ id: `layer-${i}`, root, entries: BigInt(entries) })),
        { id: `init-${id.slice(0, 12)}`, root: this.#trees.init.root, runtimeMade: true, entries: BigInt(this.#trees.init.entries) },
      ],
      upperRoot: EMPTY_ROOT,
      exclusionDigest: this.#policyDigest,
    };
    return {
      identity: toBinary(ContainerIdentitySchema, create(ContainerIdentitySchema, identity)),
      configuration: toBinary(ContainerConfigurationSchema, create(ContainerConfigurationSchema, configuration)),
      code: toBinary(CodeSetSchema, create(CodeSetSchema, code)),
      filesystem: toBinary(FilesystemStateSchema, create(FilesystemStateSchema, filesystem)),
    };
  }
}
