/**
 * Takes one Evidence into what the verifier remembers of a node: chain, state root and delta roots are checked before anything is believed.
 * The sender is an authenticated node, which may be compromised: every count is bounded and every root recomputed.
 */
import { assertPath, CHAIN_START, CodecError, type ContainerParts, decodeRecord, EMPTY_ROOT, evidenceDigest, StateTree } from "@hullmark/proto/codec";
import type { ContainerUpdate, EntryChange, EvidenceBody, LayerUpdate } from "@hullmark/proto/v1/attestation";
import { actorOf } from "./actor.ts";
import { type DecodedParts, decodeNode, decodeParts } from "./decode-parts.ts";
import { timestampMs } from "./time.ts";
import type { ActorFacts, ContainerState, NodeMemory, UpperEntry } from "./types.ts";
import { UpperEntries } from "./upper-entries.ts";

export const MAX_CONTAINERS_PER_NODE = 2000;
/** Entries of one container's delta tree that the verifier is ready to hold; the agent reports `unmeasurable` below that. */
export const MAX_UPPER_ENTRIES = 200_000;
const MAX_REMEMBERED_REMOVALS = 256;
/** A part may stay in the buffer that it came in, with the others of its container, up to this size. */
const MAX_SHARED_BYTES = 4096;
/** Bytes of parts, paths and records that one node may make the verifier hold: far above 110 containers at the agent's own limits. */
const MAX_NODE_BYTES = 512 * 1024 * 1024;

/** `gap`: a number is missing. `fork`: another Evidence with this number is on record. `replay`: already on record, the same. */
export type EvidenceProblem = "gap" | "fork" | "replay" | "state-root" | "malformed" | "over-limit";

export type ApplyResult =
  | {
      readonly ok: true;
      readonly memory: NodeMemory;
      /** Containers of which the Evidence says something new; what it repeats is not among them. */
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
  const told = new Set<string>();
  const changed = new Set<string>();
  for (const update of body.containers) {
    if (told.has(update.id)) throw new Refusal("malformed", `container ${update.id} twice in one Evidence`);
    told.add(update.id);
    const before = memory.containers.get(update.id);
    const after = applyContainer(before, update, body.full);
    containers.set(update.id, after);
    if (after !== before) changed.add(update.id);
    removed.delete(update.id);
  }
  if (containers.size > MAX_CONTAINERS_PER_NODE) throw new Refusal("over-limit", `${containers.size} containers, limit ${MAX_CONTAINERS_PER_NODE}`);
  checkSize(containers);
  const news = body.node.length > 0 && Buffer.compare(body.node, memory.nodeBytes) !== 0;
  const nodeBytes = news ? owned(body.node) : memory.nodeBytes;
  if (nodeBytes.length === 0) throw new Refusal("malformed", "the first Evidence says nothing of the node");
  const stateTree = memory.stateTree.clone();
  if (news) stateTree.setNode(nodeBytes);
  for (const id of removed) stateTree.removeContainer(id);
  for (const id of changed) {
    const { parts } = containers.get(id) as ContainerState;
    if (parts !== memory.containers.get(id)?.parts) stateTree.setContainer(id, parts);
  }
  const stateRoot = stateTree.root();
  if (!stateRoot.equals(body.stateRoot)) throw new Refusal("state-root", "the state root differs from the state that was reported");
  const node = news ? decodeNode(nodeBytes) : memory.node;
  const next: NodeMemory = { nodeId: memory.nodeId, chainId: memory.chainId, seq: body.seq, digest, nodeBytes, node, containers, stateTree, stateRoot };
  return { ok: true, memory: next, changed, removed: [...removed], layerChanges: body.layers };
}

function bytesOf({ parts, upper }: ContainerState): number {
  return upper.bytes + parts.identity.length + parts.configuration.length + parts.code.length + parts.filesystem.length;
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
  const reset = full || update.upperReset;
  const upper = applyUpper(previous, update.upperChanges, reset);
  if (previous && parts === previous.parts && upper === previous) return previous;
  const decoded: DecodedParts = decodeParts(parts, previous);
  if (decoded.identity.id !== update.id) throw new Refusal("malformed", `container ${update.id} calls itself ${decoded.identity.id}`);
  const reported = decoded.filesystem.upperRoot;
  if (reported.length > 0 && !upper.upper.root.equals(reported))
    throw new Refusal("state-root", `delta root of container ${update.id} differs from its entries`);
  return { id: update.id, parts, ...decoded, upper: upper.upper, upperDelta: upper.upperDelta, removed: upper.removed };
}

/** What was sent again byte for byte stays the object that it was: neither decoded, nor hashed, nor stored once more. */
function partsOf(before: ContainerParts | undefined, update: ContainerUpdate, full: boolean): ContainerParts {
  const part = (name: keyof ContainerParts): Uint8Array => {
    const sent = update[name];
    const known = before?.[name];
    if (sent === undefined && (full || known === undefined)) throw new Refusal("malformed", `a new container without its ${name}`);
    return known && (sent === undefined || sent === known || Buffer.compare(known, sent) === 0) ? known : owned(sent as Uint8Array);
  };
  const parts = { identity: part("identity"), configuration: part("configuration"), code: part("code"), filesystem: part("filesystem") };
  const { identity, configuration, code, filesystem } = parts;
  const same = before?.identity === identity && before.configuration === configuration && before.code === code && before.filesystem === filesystem;
  return same ? before : parts;
}

/** Bytes that hold no message in memory beside themselves: one whole report for each container that once changed would be far more than what is remembered. */
function owned(sent: Uint8Array): Uint8Array {
  return sent.buffer.byteLength <= MAX_SHARED_BYTES ? sent : new Uint8Array(sent);
}

type UpperState = Pick<ContainerState, "upper" | "upperDelta" | "removed">;

/** A rescan found it gone: nobody was seen. */
const UNSEEN = { actor: undefined, changedAtMs: undefined };

/** @returns `previous` itself where nothing is new */
function applyUpper(previous: UpperState | undefined, changes: readonly EntryChange[], reset: boolean): UpperState {
  if (previous && !reset && changes.length === 0) return previous;
  const from = previous?.upper ?? UpperEntries.EMPTY;
  const put = new Map<string, UpperEntry>();
  const taken = new Map<string, Buffer>();
  const told = new Set<string>();
  const removed = new Map(previous?.removed);
  const gone = (path: Buffer, key: string, by: { actor: ActorFacts | undefined; changedAtMs: number | undefined }): void => {
    if (from.has(path)) taken.set(key, path);
    // The newest last.
    removed.delete(key);
    removed.set(key, by);
  };
  for (const change of changes) {
    assertPath(change.path);
    const path = Buffer.from(change.path);
    const key = path.toString("latin1");
    told.add(key);
    put.delete(key);
    taken.delete(key);
    if (change.record.length === 0) {
      gone(path, key, { actor: actorOf(change), changedAtMs: changedAt(change) });
      continue;
    }
    const before = from.get(path);
    const entry = entryOf(path, change, before);
    if (entry !== before) put.set(key, entry);
  }
  if (reset) for (const { path } of from.values()) if (!told.has(path.toString("latin1"))) gone(path, path.toString("latin1"), UNSEEN);
  for (const key of removed.keys()) {
    if (removed.size <= MAX_REMEMBERED_REMOVALS) break;
    removed.delete(key);
  }
  if (previous && put.size + taken.size === 0 && !changes.some(({ record }) => record.length === 0)) return previous;
  const upper = put.size === 0 && taken.size === 0 ? from : from.with(put.values(), taken.values());
  if (upper.size > MAX_UPPER_ENTRIES) throw new Refusal("over-limit", `${upper.size} delta entries, limit ${MAX_UPPER_ENTRIES}`);
  return { upper, upperDelta: { from, paths: [...[...put.values()].map(({ path }) => path), ...taken.values()] }, removed };
}

/** @returns `before` itself where the change says nothing new */
function entryOf(path: Buffer, change: EntryChange, before: UpperEntry | undefined): UpperEntry {
  const actor = actorOf(change);
  const changedAtMs = changedAt(change);
  // A re-measure without an event (a rescan) must not forget who was seen to write these very bytes.
  const same = before !== undefined && Buffer.compare(before.record, change.record) === 0;
  if (same && actor === undefined && changedAtMs === undefined && before.inode === change.inode) return before;
  if (!same) decodeRecord(change.record);
  return {
    path: before?.path ?? path,
    record: same ? before.record : Buffer.from(change.record),
    inode: change.inode,
    actor: actor ?? (same ? before.actor : undefined),
    changedAtMs: changedAtMs ?? (same ? before.changedAtMs : undefined),
  };
}

function changedAt({ changedAt: at }: EntryChange): number | undefined {
  return at && timestampMs(at);
}
