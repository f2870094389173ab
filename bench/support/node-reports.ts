/** What a simulated node says: a TPM in plain code, containers, full reports of them and quotes that vouch for those reports. No transport. */
import { createHash, randomUUID } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { CHAIN_START, EMPTY_ROOT, evidenceDigest, quoteExtraData, StateTree } from "@hullmark/proto/codec";
import {
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

export const PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14];
const NONE = Buffer.alloc(0);
const never = new AbortController().signal;

/** What quotes are bound to besides what is reported. */
interface Binding {
  readonly verifierId: string;
  readonly region: string;
  readonly nodeId: string;
  readonly spkiSha256: Uint8Array;
}

export interface ReportedImage {
  readonly reference: string;
  readonly configDigest: string;
}

export class NodeReports {
  readonly name: string;
  readonly quoter = new FakeQuoter();
  readonly bootId = randomUUID();
  readonly #trees: FleetTrees;
  #policyDigest: Uint8Array = Buffer.alloc(32);
  #tail: Uint8Array = NONE;
  #stateRoot: Buffer = EMPTY_ROOT;
  #seq = 0n;
  #digest: Buffer = CHAIN_START;

  constructor(name: string, trees: FleetTrees) {
    this.name = name;
    this.#trees = trees;
  }

  /** Of the newest report. */
  get seq(): bigint {
    return this.#seq;
  }

  /** The next Evidence: the whole state. */
  next(): Buffer {
    const head = create(EvidenceBodySchema, { seq: ++this.#seq, previousDigest: this.#digest });
    const body = Buffer.concat([toBinary(EvidenceBodySchema, head), this.#tail]);
    this.#digest = evidenceDigest(body);
    return body;
  }

  /** A quote that vouches for the newest report. */
  async quote(nonce: Uint8Array, { verifierId, region, nodeId, spkiSha256 }: Binding) {
    const facts = { seq: this.#seq, evidenceDigest: this.#digest, stateRoot: this.#stateRoot, bootId: this.bootId, policyDigest: this.#policyDigest };
    const ima = { imaCount: 0n, imaAggregate: NONE, eventLogSha256: NONE };
    const extraData = quoteExtraData({ verifierId, region, nonce, spkiSha256, tlsExporter: NONE, nodeId, ...facts, ...ima });
    const { attest, signature, pcrs } = await this.quoter.quote(extraData, PCRS, never);
    return { nonce, ...facts, attest, signature, pcrs: pcrs.map((pcr) => ({ ...pcr })) };
  }

  /** To be called before the first report. */
  measure(policyDigest: Uint8Array, containers: number, image: ReportedImage): void {
    this.#policyDigest = policyDigest;
    const state = {
      ...{ agentVersion: "0.1.0", nodeName: this.name, kernel: "6.1.0", architecture: "x86_64", runtime: "docker", runtimeVersion: "20.10.24" },
      ...{ storageDriver: "overlay2", runtimeReachable: true, changeSource: "fanotify", attribution: true, tpm: "ok" },
    };
    const nodeState = toBinary(NodeStateSchema, create(NodeStateSchema, state));
    const tree = new StateTree();
    tree.setNode(nodeState);
    const reported = Array.from({ length: containers }, (_, i) => {
      const id = createHash("sha256").update(`${this.name}/${i}`).digest("hex");
      const parts = this.#container(id, `web-${i}`, image);
      tree.setContainer(id, parts);
      return { id, parts };
    });
    this.#stateRoot = tree.root();
    // A message is the fields of its parts one after the other: what is the same in each report is written once, so that the nodes do not bound what is measured.
    const constant = create(EvidenceBodySchema, {
      bootId: this.bootId,
      measuredAt: timestampFromMs(Date.now()),
      full: true,
      node: nodeState,
      containers: reported.map(({ id, parts }) => ({ id, ...parts, upperReset: true })),
      stateRoot: this.#stateRoot,
    });
    this.#tail = toBinary(EvidenceBodySchema, constant);
  }

  #container(id: string, name: string, { reference, configDigest }: ReportedImage) {
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
