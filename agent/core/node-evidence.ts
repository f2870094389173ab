/**
 * The agent's account of its node: the parts of every container as last measured, what has changed since the last Evidence, and the chain.
 * Pure bookkeeping: measuring happens elsewhere, sending too.
 */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type ContainerParts, evidenceDigest, StateTree } from "@hullmark/proto/codec";
import { type EntryChangeSchema, EvidenceBodySchema, type LayerUpdateSchema } from "@hullmark/proto/v1/attestation";
import { timestampFromMs } from "./timestamp.ts";

export type EntryChangeInit = MessageInitShape<typeof EntryChangeSchema>;
export type LayerUpdateInit = MessageInitShape<typeof LayerUpdateSchema>;
export type PartName = keyof ContainerParts;

/**
 * Bytes of all deltas of the node together, as told: the whole state must fit into one message (MAX_MESSAGE_BYTES of proto/rpc), and into the spool.
 * What does not fit is withheld and claimed, so that one container never takes the word from the others.
 */
const MAX_NODE_UPPER_BYTES = 16 * 1024 * 1024;

/** Paths and records of changed layers in one message, whatever root on the node made of them. */
const MAX_LAYER_UPDATE_BYTES = 4 * 1024 * 1024;

const PART_NAMES: readonly PartName[] = ["identity", "configuration", "code", "filesystem"];

interface Tracked {
  parts: Partial<Record<PartName, Uint8Array>>;
  readonly dirty: Set<PartName>;
  upperReset: boolean;
  changes: EntryChangeInit[];
  /** Every entry of the delta tree, for Evidence that holds the whole state. */
  readonly allUpper: () => EntryChangeInit[];
  announced: boolean;
  /** Of its delta, as told. */
  upperBytes: number;
}

export interface ChainPosition {
  readonly seq: bigint;
  readonly digest: Buffer;
}

export interface BuiltEvidence extends ChainPosition {
  readonly body: Buffer;
  readonly stateRoot: Buffer;
}

export class NodeEvidence {
  readonly #tree = new StateTree();
  readonly #containers = new Map<string, Tracked>();
  readonly #removed = new Set<string>();
  #layers: LayerUpdateInit[] = [];
  #layerBytes = 0;
  #node: Uint8Array = new Uint8Array();
  #nodeDirty = false;
  #full = true;
  #upperBytes = 0;

  /**
   * One that is there already goes on with its parts until they are replaced.
   * @param allUpper gives the whole delta tree at the moment of the call
   */
  addContainer(id: string, allUpper: () => EntryChangeInit[]): void {
    this.#removed.delete(id);
    const { parts = {}, dirty = new Set<PartName>(), announced = false, upperBytes = 0 } = this.#containers.get(id) ?? {};
    this.#containers.set(id, { parts, dirty, upperReset: true, changes: [], allUpper, announced, upperBytes });
  }

  removeContainer(id: string): void {
    const tracked = this.#containers.get(id);
    if (!tracked) return;
    this.#containers.delete(id);
    this.#upperBytes -= tracked.upperBytes;
    this.#tree.removeContainer(id);
    if (tracked.announced) this.#removed.add(id);
  }

  setNode(bytes: Uint8Array): void {
    if (Buffer.compare(bytes, this.#node) === 0) return;
    this.#node = bytes;
    this.#nodeDirty = true;
  }

  /** Takes a part; an equal one changes nothing. @returns whether there is something new to say */
  setPart(id: string, name: PartName, bytes: Uint8Array): boolean {
    const tracked = this.#containers.get(id);
    if (!tracked) return false;
    const before = tracked.parts[name];
    if (before && Buffer.compare(before, bytes) === 0) return false;
    tracked.parts[name] = bytes;
    tracked.dirty.add(name);
    return true;
  }

  /** Takes room for a delta of so many bytes, instead of what the container had. @returns false where there is not enough; then it has none */
  reserveUpper(id: string, bytes: number): boolean {
    const tracked = this.#containers.get(id);
    if (!tracked) return true;
    const others = this.#upperBytes - tracked.upperBytes;
    const fits = others + bytes <= MAX_NODE_UPPER_BYTES;
    tracked.upperBytes = fits ? bytes : 0;
    this.#upperBytes = others + tracked.upperBytes;
    return fits;
  }

  addUpperChanges(id: string, changes: readonly EntryChangeInit[]): void {
    const tracked = this.#containers.get(id);
    if (tracked && !tracked.upperReset) tracked.changes.push(...changes);
  }

  /** The whole delta tree goes into the next Evidence (it was measured anew). */
  resetUpper(id: string): void {
    const tracked = this.#containers.get(id);
    if (!tracked) return;
    tracked.upperReset = true;
    tracked.changes = [];
  }

  /** What is too much for one message is told by the layer's root alone: the verifier asks for the rest. */
  addLayerUpdate(update: LayerUpdateInit): void {
    const bytes = (update.changes ?? []).reduce((sum, { path, record }) => sum + (path?.length ?? 0) + (record?.length ?? 0), 0);
    const fits = this.#layerBytes + bytes <= MAX_LAYER_UPDATE_BYTES;
    if (fits) this.#layerBytes += bytes;
    this.#layers.push(fits ? update : { ...update, changes: [], truncated: true });
  }

  /** The next Evidence holds the whole state. */
  requestFull(): void {
    this.#full = true;
  }

  /** Containers whose four parts are known. */
  get containerCount(): number {
    return [...this.#containers.values()].filter(isComplete).length;
  }

  /** The next Evidence, or undefined where there is nothing new to say. What it holds counts as said. */
  build(previous: ChainPosition, bootId: string, nowMs: number): BuiltEvidence | undefined {
    if (this.#node.length === 0) return undefined;
    const full = this.#full;
    const told = [...this.#containers].filter(
      ([, tracked]) => isComplete(tracked) && (full || tracked.dirty.size > 0 || tracked.changes.length > 0 || tracked.upperReset),
    );
    if (!full && told.length === 0 && !this.#nodeDirty && this.#removed.size === 0 && this.#layers.length === 0) return undefined;
    const containers = told.map(([id, tracked]) => this.#update(id, tracked, full));
    if (this.#nodeDirty || full) this.#tree.setNode(this.#node);
    const seq = previous.seq + 1n;
    const message = create(EvidenceBodySchema, {
      seq,
      previousDigest: previous.digest,
      bootId,
      measuredAt: timestampFromMs(nowMs),
      full,
      node: this.#nodeDirty || full ? this.#node : new Uint8Array(),
      containers,
      removedContainers: full ? [] : [...this.#removed].sort(),
      layers: this.#layers,
      stateRoot: this.#tree.root(),
    });
    this.#full = false;
    this.#nodeDirty = false;
    this.#removed.clear();
    this.#layers = [];
    this.#layerBytes = 0;
    const body = Buffer.from(toBinary(EvidenceBodySchema, message));
    return { seq, body, digest: evidenceDigest(body), stateRoot: Buffer.from(message.stateRoot) };
  }

  /** The root over what has been said so far. */
  stateRoot(): Buffer {
    return this.#tree.root();
  }

  #update(id: string, tracked: Tracked, full: boolean) {
    const parts = tracked.parts as ContainerParts;
    this.#tree.setContainer(id, parts);
    const upperReset = full || tracked.upperReset;
    const update = {
      id,
      ...Object.fromEntries(PART_NAMES.filter((name) => full || tracked.dirty.has(name)).map((name) => [name, parts[name]])),
      upperReset,
      upperChanges: upperReset ? tracked.allUpper() : tracked.changes,
    };
    tracked.dirty.clear();
    tracked.changes = [];
    tracked.upperReset = false;
    tracked.announced = true;
    return update;
  }
}

function isComplete(tracked: Tracked): boolean {
  return PART_NAMES.every((name) => tracked.parts[name] !== undefined);
}
