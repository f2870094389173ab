/**
 * Takes one Evidence into what the verifier remembers of a node: chain, state root and delta roots are checked before anything is believed.
 * The sender is an authenticated node, which may be compromised: every count is bounded and every root recomputed.
 */
import {
  assertPath,
  CHAIN_START,
  CodecError,
  type ContainerParts,
  decodeRecord,
  EMPTY_ROOT,
  evidenceDigest,
  PatriciaTree,
  pathKey,
  recordDigest,
  StateTree,
} from "@hullmark/proto/codec";
import type { ContainerUpdate, EntryChange, EvidenceBody, LayerUpdate } from "@hullmark/proto/v1/attestation";
import { type DecodedParts, decodeNode, decodeParts } from "./decode-parts.ts";
import type { ActorFacts, ContainerState, NodeMemory } from "./types.ts";

export const MAX_CONTAINERS_PER_NODE = 2000;
/** Entries of one container's delta tree that the verifier is ready to hold; the agent reports `unmeasurable` below that. */
export const MAX_UPPER_ENTRIES = 200_000;
const MAX_REMEMBERED_REMOVALS = 256;
/** Bytes of parts, paths and records that one node may make the verifier hold: far above 110 containers at the agent's own limits. */
const MAX_NODE_BYTES = 512 * 1024 * 1024;

/** `gap`: a number is missing. `fork`: another Evidence with this number is on record. `replay`: already on record, the same. */
export type EvidenceProblem = "gap" | "fork" | "replay" | "state-root" | "malformed" | "over-limit";

export type ApplyResult =
  | {
      readonly ok: true;
      readonly memory: NodeMemory;
      readonly changed: ReadonlySet<string>;
      readonly removed: readonly string[];
      readonly layerChanges: readonly LayerUpdate[];
    }
  | { readonly ok: false; readonly problem: EvidenceProblem; readonly detail: string };

/** A node of which nothing has been said yet on this chain. */
export function emptyMemory(nodeId: string, chainId: Uint8Array): NodeMemory {
  return {
    nodeId,
    chainId: Buffer.from(chainId),
    seq: 0n,
    digest: CHAIN_START,
    nodeBytes: new Uint8Array(),
    node: undefined,
    containers: new Map(),
    stateTree: new StateTree(),
    stateRoot: EMPTY_ROOT,
  };
}

class Refusal extends Error {
  readonly problem: EvidenceProblem;
  constructor(problem: EvidenceProblem, detail: string) {
    super(detail);
    this.problem = problem;
  }
}

/** Pure: `memory` is never changed; on success the result holds its successor. `bodyBytes` are the bytes as received, from which `body` was decoded. */
export function applyEvidence(memory: NodeMemory, body: EvidenceBody, bodyBytes: Uint8Array): ApplyResult {
  try {
    return apply(memory, body, bodyBytes);
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, problem: error.problem, detail: error.message };
    if (error instanceof CodecError) return { ok: false, problem: "malformed", detail: error.message };
    throw error;
  }
}

function apply(memory: NodeMemory, body: EvidenceBody, bodyBytes: Uint8Array): ApplyResult {
  const digest = evidenceDigest(bodyBytes);
  checkChain(memory, body, digest);
  const containers = body.full ? new Map<string, ContainerState>() : new Map(memory.containers);
  const removed = new Set(body.full ? memory.containers.keys() : []);
  for (const id of body.removedContainers) if (containers.delete(id)) removed.add(id);
  const changed = new Set<string>();
  for (const update of body.containers) {
    if (changed.has(update.id)) throw new Refusal("malformed", `container ${update.id} twice in one Evidence`);
    containers.set(update.id, applyContainer(memory.containers.get(update.id), update, body.full));
    changed.add(update.id);
    removed.delete(update.id);
  }
  if (containers.size > MAX_CONTAINERS_PER_NODE) throw new Refusal("over-limit", `${containers.size} containers, limit ${MAX_CONTAINERS_PER_NODE}`);
  checkSize(containers);
  const nodeBytes = body.node.length > 0 ? body.node : memory.nodeBytes;
  if (nodeBytes.length === 0) throw new Refusal("malformed", "the first Evidence says nothing of the node");
  const stateTree = memory.stateTree.clone();
  if (body.node.length > 0) stateTree.setNode(nodeBytes);
  for (const id of removed) stateTree.removeContainer(id);
  for (const id of changed) {
    const { parts } = containers.get(id) as ContainerState;
    if (parts !== memory.containers.get(id)?.parts) stateTree.setContainer(id, parts);
  }
  const stateRoot = stateTree.root();
  if (!stateRoot.equals(body.stateRoot)) throw new Refusal("state-root", "the state root differs from the state that was reported");
  const node = body.node.length > 0 ? decodeNode(body.node) : memory.node;
  const next: NodeMemory = { nodeId: memory.nodeId, chainId: memory.chainId, seq: body.seq, digest, nodeBytes, node, containers, stateTree, stateRoot };
  return { ok: true, memory: next, changed, removed: [...removed], layerChanges: body.layers };
}

/** Bytes of a delta. Deltas are never changed, only replaced. */
const upperBytes = new WeakMap<ContainerState["upper"], number>();

function bytesOf({ parts, upper }: ContainerState): number {
  let bytes = upperBytes.get(upper);
  if (bytes === undefined) {
    bytes = 0;
    for (const { path, record } of upper.values()) bytes += path.length + record.length;
    upperBytes.set(upper, bytes);
  }
  return bytes + parts.identity.length + parts.configuration.length + parts.code.length + parts.filesystem.length;
}

function checkSize(containers: ReadonlyMap<string, ContainerState>): void {
  let bytes = 0;
  for (const state of containers.values()) bytes += bytesOf(state);
  if (bytes > MAX_NODE_BYTES) throw new Refusal("over-limit", `${bytes} bytes of state, limit ${MAX_NODE_BYTES}`);
}

function checkChain(memory: NodeMemory, body: EvidenceBody, digest: Buffer): void {
  if (body.seq <= memory.seq) {
    if (body.seq === memory.seq && digest.equals(memory.digest)) throw new Refusal("replay", `Evidence ${body.seq} is on record`);
    throw new Refusal(body.seq === memory.seq ? "fork" : "replay", `Evidence ${body.seq} after ${memory.seq}`);
  }
  if (body.seq !== memory.seq + 1n) throw new Refusal("gap", `Evidence ${body.seq} after ${memory.seq}`);
  if (!memory.digest.equals(body.previousDigest)) throw new Refusal("fork", `Evidence ${body.seq} continues another chain`);
}

/** The tree over a node's state. A pure function of the parts as sent. */
export function stateTreeOf(nodeBytes: Uint8Array, containers: ReadonlyMap<string, { readonly parts: ContainerParts }>): StateTree {
  const tree = new StateTree();
  tree.setNode(nodeBytes);
  for (const [id, { parts }] of containers) tree.setContainer(id, parts);
  return tree;
}

function applyContainer(previous: ContainerState | undefined, update: ContainerUpdate, full: boolean): ContainerState {
  const parts = partsOf(previous?.parts, update, full);
  const decoded: DecodedParts = decodeParts(parts, previous);
  if (decoded.identity.id !== update.id) throw new Refusal("malformed", `container ${update.id} calls itself ${decoded.identity.id}`);
  const { upper, upperTree, removed } = applyUpper(full ? undefined : previous, update);
  const reported = decoded.filesystem.upperRoot;
  if (reported.length > 0 && !upperTree.root().equals(reported))
    throw new Refusal("state-root", `delta root of container ${update.id} differs from its entries`);
  return { id: update.id, parts, ...decoded, upper, upperTree, removed };
}

/** What was sent again byte for byte stays the object that it was: neither decoded, nor hashed, nor stored once more. */
function partsOf(before: ContainerParts | undefined, update: ContainerUpdate, full: boolean): ContainerParts {
  const part = (name: keyof ContainerParts): Uint8Array => {
    const sent = update[name];
    const known = before?.[name];
    if (sent === undefined && (full || known === undefined)) throw new Refusal("malformed", `a new container without its ${name}`);
    return known && (sent === undefined || Buffer.compare(known, sent) === 0) ? known : (sent as Uint8Array);
  };
  const parts = { identity: part("identity"), configuration: part("configuration"), code: part("code"), filesystem: part("filesystem") };
  const { identity, configuration, code, filesystem } = parts;
  const same = before?.identity === identity && before.configuration === configuration && before.code === code && before.filesystem === filesystem;
  return same ? before : parts;
}

type UpperState = Pick<ContainerState, "upper" | "upperTree" | "removed">;

function applyUpper(previous: ContainerState | undefined, update: ContainerUpdate): UpperState {
  if (previous && !update.upperReset && update.upperChanges.length === 0) return previous;
  const keep = previous && !update.upperReset;
  const upper = new Map(keep ? previous.upper : []);
  const removed = new Map(keep ? previous.removed : []);
  const upperTree = keep ? previous.upperTree.clone() : new PatriciaTree();
  for (const change of update.upperChanges) applyChange({ upper, removed, upperTree }, change);
  if (upper.size > MAX_UPPER_ENTRIES) throw new Refusal("over-limit", `${upper.size} delta entries, limit ${MAX_UPPER_ENTRIES}`);
  for (const key of removed.keys()) {
    if (removed.size <= MAX_REMEMBERED_REMOVALS) break;
    removed.delete(key);
  }
  return { upper, upperTree, removed };
}

function applyChange({ upper, removed, upperTree }: UpperState, change: EntryChange): void {
  assertPath(change.path);
  const path = Buffer.from(change.path);
  const key = path.toString("latin1");
  const actor = actorOf(change);
  const changedAtMs = change.changedAt ? Number(change.changedAt.seconds) * 1000 + change.changedAt.nanos / 1e6 : undefined;
  if (change.record.length === 0) {
    upper.delete(key);
    upperTree.delete(pathKey(path));
    removed.set(key, { actor, changedAtMs });
    return;
  }
  decodeRecord(change.record);
  // A re-measure without an event (a rescan) must not forget who was seen to write these very bytes.
  const before = upper.get(key);
  const record = Buffer.from(change.record);
  upperTree.set(pathKey(path), recordDigest(record));
  const same = before?.record.equals(record) === true;
  upper.set(key, {
    path,
    record,
    inode: change.inode,
    actor: actor ?? (same ? before.actor : undefined),
    changedAtMs: changedAtMs ?? (same ? before.changedAtMs : undefined),
  });
}

/** Strings of the peer, cut to sane lengths. */
export function actorOf(change: EntryChange): ActorFacts | undefined {
  const actor = change.actor;
  if (!actor) return undefined;
  return {
    pid: actor.pid,
    executable: actor.executable.slice(0, 4096),
    located: actor.located,
    uid: actor.uid,
    containerId: actor.containerId.slice(0, 128),
    ancestry: actor.ancestry.slice(0, 5).map((name) => name.slice(0, 64)),
  };
}
