/**
 * A node on a script: real enrolment, real mutual TLS, real quotes by a TPM in plain code, and Evidence built with the shared codec.
 * It says what the test tells it to say, in the order that the test tells it.
 */
import { hash, randomBytes, randomUUID } from "node:crypto";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { credentials } from "@grpc/grpc-js";
import { type Credential, enrol, type Issued } from "@hullmark/agent/adapters/grpc/enrolment";
import { imaListFile } from "@hullmark/agent/adapters/ima/ima-list-file";
import { checkpointToKeep } from "@hullmark/agent/core/checkpoint";
import type { ImaList } from "@hullmark/agent/ports/ima-list";
import type { Quoter } from "@hullmark/agent/ports/quoter";
import { CHAIN_START, EMPTY_ROOT, evidenceDigest, PatriciaTree, pathKey, quoteExtraData, recordDigest, StateTree } from "@hullmark/proto/codec";
import { RpcChannel, type RpcError } from "@hullmark/proto/rpc";
import {
  Attestation,
  type AttestRequestSchema,
  type AttestResponse,
  type Challenge,
  CodeSetSchema,
  ContainerConfigurationSchema,
  ContainerIdentitySchema,
  EvidenceBodySchema,
  FilesystemKind,
  FilesystemStateSchema,
  NodeStateSchema,
  type TreeRequest,
  type Welcome,
} from "@hullmark/proto/v1/attestation";
import type { LayerTree } from "@hullmark/verifier/core/reference-value/index";

type Request = MessageInitShape<typeof AttestRequestSchema>;
type ResponseCase = NonNullable<AttestResponse["message"]["case"]>;
type ValueOf<C extends ResponseCase> = Extract<AttestResponse["message"], { case: C }>["value"];

export interface AttesterOptions {
  readonly mainAddress: string;
  readonly enrolmentAddress: string;
  readonly ca: Buffer;
  readonly name: string;
  readonly quoter?: Quoter;
  readonly joinToken?: string;
  readonly bootId?: string;
  readonly agentDigests?: Readonly<Record<string, Buffer>>;
  /** Says that it hands contents out: who is asked for one answers by hand. */
  readonly contents?: boolean;
  /** Says that it takes captures: who is asked for one answers by hand. */
  readonly captures?: boolean;
}

/** One container as the node describes it. */
export interface ScriptedContainer {
  readonly id: string;
  readonly name: string;
  /** Its name where it is not told. */
  readonly workload?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** The pod that it is of, as its kubelet labels it. */
  readonly pod?: MessageInitShape<typeof ContainerIdentitySchema>["pod"];
  /** `untold`: the node does not read the configuration, as where its runtime keeps none as a file. */
  readonly image: { readonly reference: string; readonly configDigest: string; readonly untold?: true };
  /** Image layers lowest first, and the runtime's own on top where there is one. */
  readonly layers: readonly { readonly id: string; readonly tree: LayerTree; readonly runtimeMade?: boolean }[];
  readonly upper: ReadonlyMap<string, Buffer>;
  /** As an agent tells of a container before it has measured it for the first time: neither layers nor what lies over them. */
  readonly measuring?: true;
}

const never = new AbortController().signal;
const PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14];

export class Attester {
  /** Addresses change when the verifier comes back elsewhere. */
  options: AttesterOptions;
  readonly bootId: string;
  chainId: Buffer = randomBytes(16);
  seq = 0n;
  digest: Buffer = CHAIN_START;
  stateRoot: Buffer = EMPTY_ROOT;
  credential: Credential | undefined;
  policyDigest: Uint8Array = Buffer.alloc(32);
  /** Answers challenges by itself. */
  answering = true;
  /** Of the verifier's log: shown at Hello, and replaced by what the verifier says, as an agent does. */
  checkpoint = "";
  /** Event log that it names in quotes and sends when asked; empty: it has none. */
  bootLog: Buffer = Buffer.alloc(0);
  /** Measurement list that it tells from where it is asked. */
  imaList: ImaList = imaListFile(undefined);
  readonly containers = new Map<string, ScriptedContainer>();
  readonly nodeState: Uint8Array;
  readonly received: AttestResponse[] = [];
  error: RpcError | undefined;
  #stream: Stream | undefined;

  constructor(options: AttesterOptions) {
    this.options = options;
    this.bootId = options.bootId ?? randomUUID();
    this.nodeState = toBinary(
      NodeStateSchema,
      create(NodeStateSchema, {
        agentVersion: "0.1.0",
        nodeName: options.name,
        kernel: "6.1.0",
        architecture: "x86_64",
        runtime: "docker",
        runtimeVersion: "20.10",
        runtimeReachable: true,
        changeSource: "fanotify",
        attribution: true,
        agentDigests: { ...options.agentDigests },
        tpm: options.quoter ? "ok" : "absent",
      }),
    );
  }

  async enrol(): Promise<Issued> {
    const { enrolmentAddress, ca, name, quoter, joinToken } = this.options;
    const issued = await enrol({ address: enrolmentAddress, caCertificate: ca, nodeName: name, bootId: this.bootId, quoter, joinToken, pcrs: PCRS }, never);
    this.credential = issued;
    return issued;
  }

  /** Opens a stream and says Hello. */
  async connect(hello = true): Promise<Welcome | undefined> {
    const credential = this.credential ?? (await this.enrol());
    this.error = undefined;
    this.received.length = 0;
    this.#stream = new Stream(
      this.options,
      credential,
      (response) => this.#take(response),
      (error) => (this.error = error),
    );
    if (!hello) return undefined;
    this.send({
      case: "hello",
      value: {
        ...{ protocolVersion: 1, agentVersion: "0.1.0", bootId: this.bootId },
        ...{ lastSeq: this.seq, lastDigest: this.digest, chainId: this.chainId, checkpoint: this.checkpoint },
        ...{ contents: this.options.contents ?? false, captures: this.options.captures ?? false },
      },
    });
    return await this.next("welcome");
  }

  send(message: NonNullable<Request["message"]>): void {
    this.#stream?.send({ message });
  }

  async close(): Promise<void> {
    await this.#stream?.close();
  }

  /** The stream has ended: with what. */
  async ended(): Promise<RpcError | undefined> {
    await this.#stream?.ended;
    return this.error;
  }

  /** Waits for a message that has not been looked at yet. */
  async next<C extends ResponseCase>(kind: C, where: (value: ValueOf<C>) => boolean = () => true): Promise<ValueOf<C>> {
    for (;;) {
      const at = this.received.findIndex(({ message }) => message.case === kind && where(message.value as ValueOf<C>));
      if (at >= 0) return this.received.splice(at, 1)[0]?.message.value as ValueOf<C>;
      if (this.error) throw this.error;
      await this.#stream?.arrival();
    }
  }

  /** Puts a container into the state that the next report tells. */
  set(container: ScriptedContainer): void {
    this.containers.set(container.id, container);
  }

  /** The next Evidence, not sent. @param changed containers to tell of; undefined: all, as a full report */
  evidence(
    changed?: readonly string[],
    removed: readonly string[] = [],
    alter: (body: MessageInitShape<typeof EvidenceBodySchema>) => void = () => {},
  ): Buffer {
    const tree = new StateTree();
    tree.setNode(this.nodeState);
    for (const container of this.containers.values()) tree.setContainer(container.id, partsOf(container, this.policyDigest));
    const body: MessageInitShape<typeof EvidenceBodySchema> = {
      seq: this.seq + 1n,
      previousDigest: this.digest,
      bootId: this.bootId,
      measuredAt: timestampFromMs(Date.now()),
      full: changed === undefined,
      node: changed === undefined ? this.nodeState : new Uint8Array(),
      containers: [...this.containers.values()]
        .filter(({ id }) => changed === undefined || changed.includes(id))
        .map((container) => ({
          id: container.id,
          ...partsOf(container, this.policyDigest),
          upperReset: true,
          upperChanges: [...(container.measuring ? [] : container.upper)].map(([path, record]) => ({
            path: Buffer.from(path, "latin1"),
            record,
            inode: 7n,
            actor: { pid: 4711, executable: "/usr/bin/dd", located: true, uid: 0, containerId: container.id, ancestry: ["sh"] },
            changedAt: timestampFromMs(Date.now()),
          })),
        })),
      removedContainers: [...removed],
      stateRoot: tree.root(),
    };
    alter(body);
    const bytes = Buffer.from(toBinary(EvidenceBodySchema, create(EvidenceBodySchema, body)));
    this.seq = body.seq ?? 0n;
    this.digest = evidenceDigest(bytes);
    this.stateRoot = Buffer.from(body.stateRoot ?? EMPTY_ROOT);
    return bytes;
  }

  /** Sends the next Evidence and waits until it is durable. */
  async report(changed?: readonly string[], removed: readonly string[] = []): Promise<void> {
    const body = this.evidence(changed, removed);
    const { seq } = this;
    this.send({ case: "evidence", value: { body } });
    await this.next("acknowledgement", (value) => value.seq >= seq);
  }

  /** A quote that answers a challenge, as this node would make it. */
  async quote(
    { nonce, imaFrom }: Pick<Challenge, "nonce"> & { readonly imaFrom?: bigint | undefined },
    quoter = this.options.quoter,
    nodeId = this.credential?.nodeId ?? "",
  ) {
    if (!quoter || !this.credential) throw new Error("no TPM");
    const { verifierId, region, spkiSha256 } = this.credential;
    const { seq, digest, stateRoot, bootId, policyDigest } = this;
    const none = Buffer.alloc(0);
    const eventLogSha256 = this.bootLog.length > 0 ? hash("sha256", this.bootLog, "buffer") : none;
    const extraData = quoteExtraData({
      ...{ verifierId, region, nonce, spkiSha256, tlsExporter: none, nodeId, bootId, seq, evidenceDigest: digest, stateRoot, policyDigest },
      ...{ imaCount: 0n, imaAggregate: none, eventLogSha256 },
    });
    const { attest, signature, pcrs } = await quoter.quote(extraData, PCRS, never);
    const ima = imaFrom === undefined ? {} : { ima: { start: imaFrom, ...(await this.imaList.read(Number(imaFrom))) } };
    return {
      nonce,
      seq,
      evidenceDigest: digest,
      stateRoot,
      bootId,
      attest,
      signature,
      pcrs: pcrs.map((pcr) => ({ ...pcr })),
      policyDigest,
      eventLogSha256,
      ...ima,
    };
  }

  #take(response: AttestResponse): void {
    const { message } = response;
    if (message.case === "welcome" || message.case === "challenge") this.checkpoint = checkpointToKeep(this.checkpoint, message.value.checkpoint);
    if (message.case === "welcome" || message.case === "policy") {
      const policy = message.case === "welcome" ? message.value.policy : message.value;
      if (policy) this.policyDigest = policy.digest;
    }
    if (message.case === "challenge" && this.answering && this.options.quoter) {
      void this.quote(message.value).then((value) => this.send({ case: "quote", value }));
      return;
    }
    if (message.case === "tree" && this.answering) {
      this.send({ case: "tree", value: this.positions(message.value) });
      return;
    }
    if (message.case === "bootLog" && this.answering) {
      this.send({ case: "bootLog", value: { log: this.bootLog } });
      return;
    }
    this.received.push(response);
  }

  /** What an honest node answers about the tree of a layer. */
  positions({ id, tree, queries }: TreeRequest) {
    const layer = [...this.containers.values()].flatMap(({ layers }) => layers).find((each) => tree.case === "layerId" && each.id === tree.value)?.tree;
    if (!layer) return { id, root: new Uint8Array(), positions: [] };
    const positions = queries.map(({ key, bits }) => {
      const at = layer.descend(key, bits);
      if (at.kind === "leaf") return { position: { case: "leaf" as const, value: { path: at.path, record: at.record } } };
      if (at.kind === "empty") throw new Error("asked for nothing");
      return { position: { case: "node" as const, value: { bitlen: at.bitlen, prefix: at.prefix, left: at.left, right: at.right } } };
    });
    return { id, root: layer.root, positions };
  }
}

function partsOf({ id, name, workload = name, labels = {}, pod, image, measuring, ...rest }: ScriptedContainer, policyDigest: Uint8Array) {
  const { layers, upper } = measuring ? { layers: [], upper: new Map<string, Buffer>() } : rest;
  const tree = new PatriciaTree();
  for (const [path, record] of upper) tree.set(pathKey(Buffer.from(path, "latin1")), recordDigest(record));
  return {
    identity: toBinary(
      ContainerIdentitySchema,
      create(ContainerIdentitySchema, {
        id,
        name,
        runtime: "docker",
        imageReference: image.reference,
        imageId: image.configDigest,
        configDigest: image.untold ? "" : image.configDigest,
        workload,
        labels,
        ...(pod && { pod }),
      }),
    ),
    configuration: toBinary(ContainerConfigurationSchema, create(ContainerConfigurationSchema, { seccomp: "default", apparmor: "default" })),
    code: toBinary(CodeSetSchema, create(CodeSetSchema, {})),
    filesystem: toBinary(
      FilesystemStateSchema,
      create(FilesystemStateSchema, {
        kind: FilesystemKind.OVERLAY,
        dialect: "docker",
        layers: layers.map((layer) => ({ id: layer.id, root: layer.tree.root, runtimeMade: layer.runtimeMade ?? false, entries: BigInt(layer.tree.size) })),
        upperRoot: tree.root(),
        upperEntries: BigInt(upper.size),
        exclusionDigest: policyDigest,
        claims: measuring ? [{ code: "measuring", detail: "first measuring" }] : [],
      }),
    ),
  };
}

/** One bidirectional call. */
class Stream {
  readonly #channel: RpcChannel;
  readonly #abort = new AbortController();
  readonly #outgoing: Request[] = [];
  readonly ended: Promise<void>;
  #wakeSender: (() => void) | undefined;
  #wakeReader: (() => void)[] = [];
  #over = false;

  constructor(
    { mainAddress, ca }: AttesterOptions,
    { certificateChain, privateKey }: Pick<Credential, "certificateChain" | "privateKey">,
    take: (response: AttestResponse) => void,
    fail: (error: RpcError) => void,
  ) {
    this.#channel = new RpcChannel(mainAddress, credentials.createSsl(ca, Buffer.from(privateKey), Buffer.from(certificateChain)));
    const read = async (): Promise<void> => {
      try {
        for await (const response of this.#channel.client(Attestation).attest(this.#requests(), { signal: this.#abort.signal })) {
          take(response);
          this.#wake();
        }
      } catch (error) {
        fail(error as RpcError);
      } finally {
        this.#over = true;
        this.#wakeSender?.();
        this.#wake();
        this.#channel.close();
      }
    };
    this.ended = read();
  }

  send(request: Request): void {
    this.#outgoing.push(request);
    this.#wakeSender?.();
  }

  async arrival(): Promise<void> {
    if (this.#over) throw new Error("the stream has ended");
    await new Promise<void>((resolve) => this.#wakeReader.push(resolve));
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.ended;
  }

  #wake(): void {
    for (const wake of this.#wakeReader.splice(0)) wake();
  }

  async *#requests(): AsyncGenerator<Request> {
    while (!this.#over) {
      const next = this.#outgoing.shift();
      if (next) yield next;
      else
        await new Promise<void>((resolve) => {
          this.#wakeSender = resolve;
        });
    }
  }
}
