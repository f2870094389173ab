/**
 * The agent's account of its node: the parts of every container as last measured, what has changed since the last Evidence, and the chain.
 * Pure bookkeeping: measuring happens elsewhere, sending too.
 */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type ContainerParts, evidenceDigest, StateTree } from "@hullmark/proto/codec";
import { type EntryChangeSchema, EvidenceBodySchema, type LayerUpdateSchema } from "@hullmark/proto/v1/attestation";
import { type Demand, leftOut, type Share, withoutShares } from "./left-out.ts";
import { timestampFromMs } from "./timestamp.ts";

export type EntryChangeInit = MessageInitShape<typeof EntryChangeSchema>;
export type LayerUpdateInit = MessageInitShape<typeof LayerUpdateSchema>;
export type PartName = keyof ContainerParts;

/** Bytes of containers as told: the whole state must fit into one message (MAX_MESSAGE_BYTES of proto/rpc) beside the layers' changes, and into the spool. */
export interface EvidenceRoom {
  /** All deltas of the node together. What does not fit is withheld and claimed, of the largest first. */
  readonly upperBytes: number;
  /** Deltas and parts together: see {@link leftOut}. */
  readonly stateBytes: number;
}

const ROOM: EvidenceRoom = { upperBytes: 16 * 1024 * 1024, stateBytes: 27 * 1024 * 1024 };

/** Of a container in a message besides its parts and its delta: id, tags and lengths. */
const CONTAINER_BYTES = 256;

/** Paths and records of changed layers in one message, whatever root on the node made of them. */
const MAX_LAYER_UPDATE_BYTES = 4 * 1024 * 1024;

const PART_NAMES: readonly PartName[] = ["identity", "configuration", "code", "filesystem"];
const SHARES: Readonly<Record<Share, readonly PartName[]>> = { code: ["code"], description: ["identity", "configuration", "filesystem"] };
const NOTHING_LEFT_OUT: ReadonlySet<Share> = new Set();

/** A container's delta, which its monitor holds. */
export interface Delta {
  /** Every entry at the moment of the call, for Evidence that holds the whole state. */
  readonly all: () => EntryChangeInit[];
  /** The room is another's now: from the end of the call on {@link all} is empty, and the part `filesystem` says why. */
  readonly withhold: () => void;
}

interface Tracked {
  parts: Partial<Record<PartName, Uint8Array>>;
  readonly dirty: Set<PartName>;
  upperReset: boolean;
  changes: EntryChangeInit[];
  readonly delta: Delta;
  announced: boolean;
  /** What is not told of it, for lack of room. */
  leftOut: ReadonlySet<Share>;
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

function actorBytes(actor: EntryChangeInit["actor"]): number {
  if (!actor) return 0;
  const { executable = "", ancestry = [], enteredFrom = [], containerName = "" } = actor;
  return 3 * (executable.length + containerName.length + [...ancestry, ...enteredFrom].join("").length) + 200;
}

/** What an entry takes in a message: an upper bound. */
export function toldBytes(entry: EntryChangeInit | undefined): number {
  if (!entry) return 0;
  return (entry.path?.length ?? 0) + (entry.record?.length ?? 0) + actorBytes(entry.actor) + 64;
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
  #partBytes = 0;
  #anyLeftOut = false;
  readonly #room: EvidenceRoom;

  /** @param room smaller in tests */
  constructor(room: EvidenceRoom = ROOM) {
    this.#room = room;
  }

  /** One that is there already goes on with its parts until they are replaced. */
  addContainer(id: string, delta: Delta): void {
    this.#removed.delete(id);
    const known = this.#containers.get(id);
    if (!known) this.#partBytes += CONTAINER_BYTES;
    const { parts = {}, dirty = new Set<PartName>(), announced = false, upperBytes = 0, leftOut: without = NOTHING_LEFT_OUT } = known ?? {};
    this.#containers.set(id, { parts, dirty, upperReset: true, changes: [], delta, announced, upperBytes, leftOut: without });
  }

  removeContainer(id: string): void {
    const tracked = this.#containers.get(id);
    if (!tracked) return;
    this.#containers.delete(id);
    this.#upperBytes -= tracked.upperBytes;
    this.#partBytes -= CONTAINER_BYTES + sizeOf(tracked, PART_NAMES);
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
    this.#partBytes += bytes.length - (before?.length ?? 0);
    tracked.parts[name] = bytes;
    tracked.dirty.add(name);
    return true;
  }

  /**
   * Takes room for a delta of so many bytes, instead of what the container had; where there is not enough, the largest of the others give theirs first.
   * @returns false where its own is the largest; then it has none
   */
  reserveUpper(id: string, bytes: number): boolean {
    const tracked = this.#containers.get(id);
    if (!tracked) return true;
    this.#upperBytes -= tracked.upperBytes;
    tracked.upperBytes = 0;
    while (this.#upperBytes + bytes > this.#room.upperBytes) {
      const largest = [...this.#containers.values()].reduce((most, each) => (each.upperBytes > most.upperBytes ? each : most), tracked);
      if (largest.upperBytes <= bytes) return false;
      this.#upperBytes -= largest.upperBytes;
      largest.upperBytes = 0;
      largest.delta.withhold();
    }
    tracked.upperBytes = bytes;
    this.#upperBytes += bytes;
    return true;
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
    const bytes = (update.changes ?? []).reduce((sum, change) => sum + toldBytes(change), 0);
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
    this.#fit();
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

  /** Leaves out what there is no room for, and tells again what there is room for. */
  #fit(): void {
    const roomBytes = this.#room.stateBytes - this.#upperBytes;
    if (this.#partBytes <= roomBytes && !this.#anyLeftOut) return;
    const demands = [...this.#containers].flatMap(([containerId, tracked]): Demand[] => [
      { containerId, share: "code", bytes: sizeOf(tracked, SHARES.code) },
      { containerId, share: "description", bytes: CONTAINER_BYTES + sizeOf(tracked, SHARES.description) },
    ]);
    const out = leftOut(demands, roomBytes);
    this.#anyLeftOut = out.length > 0;
    const without = Map.groupBy(out, ({ containerId }) => containerId);
    for (const [id, tracked] of this.#containers) {
      const shares = new Set(without.get(id)?.map(({ share }) => share));
      for (const share of ["code", "description"] as const)
        if (shares.has(share) !== tracked.leftOut.has(share)) for (const name of SHARES[share]) tracked.dirty.add(name);
      tracked.leftOut = shares;
    }
  }

  #update(id: string, tracked: Tracked, full: boolean) {
    const parts = withoutShares(tracked.parts as ContainerParts, tracked.leftOut);
    this.#tree.setContainer(id, parts);
    const upperReset = full || tracked.upperReset;
    const update = {
      id,
      ...Object.fromEntries(PART_NAMES.filter((name) => full || tracked.dirty.has(name)).map((name) => [name, parts[name]])),
      upperReset,
      upperChanges: upperReset ? tracked.delta.all() : tracked.changes,
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

function sizeOf({ parts }: Tracked, names: readonly PartName[]): number {
  return names.reduce((bytes, name) => bytes + (parts[name]?.length ?? 0), 0);
}
