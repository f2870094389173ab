/** A node's memory between the store's rows and appraisal's values. */
import type { ContainerUpdate, EvidenceBody } from "@hullmark/proto/v1/attestation";
import type { ContainerRow, ContainerWrite, EvidenceWrite, MemoryRow, UpperRow } from "../../ports/rows.ts";
import { stateTreeOf } from "../appraisal/apply-evidence.ts";
import { decodeNode, decodeParts } from "../appraisal/decode-parts.ts";
import type { ContainerState, NodeMemory } from "../appraisal/types.ts";
import { UpperEntries } from "../appraisal/upper-entries.ts";

/**
 * The memory that the rows stand for.
 * @returns undefined where they do not have the state root that was committed with them: then the node must report in full again
 */
export function restoreMemory({ head, node, containers }: MemoryRow): NodeMemory | undefined {
  const states = new Map(containers.map((row) => [row.id, restoreContainer(row)]));
  const stateTree = stateTreeOf(node, states);
  if (!stateTree.root().equals(head.stateRoot)) return undefined;
  const { nodeId, chainId, seq, digest, stateRoot } = head;
  return { nodeId, chainId, seq, digest, nodeBytes: node, node: node.length > 0 ? decodeNode(node) : undefined, containers: states, stateTree, stateRoot };
}

function restoreContainer({ id, parts, upper }: ContainerRow): ContainerState {
  const present = upper.filter(({ record }) => record.length > 0);
  const gone = upper.filter(({ record }) => record.length === 0);
  const removed = new Map(gone.map(({ path, actor, changedAtMs }) => [path.toString("latin1"), { actor, changedAtMs }]));
  return { id, parts, ...decodeParts(parts, undefined), upper: UpperEntries.of(present), upperDelta: undefined, removed };
}

/**
 * What one accepted Evidence changes in the store: of what it repeats, nothing.
 * @param before the memory that it was applied to, and that the store holds @param after the memory that it led to
 */
export function evidenceWrite(previousSeq: bigint, before: NodeMemory, after: NodeMemory, body: EvidenceBody, receivedAtMs: number): EvidenceWrite {
  // Of a node that is not remembered the store may hold containers of another chain: then the report replaces them all.
  const full = body.full && before.containers.size === 0;
  return {
    nodeId: after.nodeId,
    chainId: after.chainId,
    previousSeq,
    seq: after.seq,
    digest: after.digest,
    stateRoot: after.stateRoot,
    receivedAtMs,
    node: after.nodeBytes === before.nodeBytes ? undefined : after.nodeBytes,
    full,
    containers: body.containers.flatMap((update): ContainerWrite[] => {
      const state = after.containers.get(update.id);
      const known = before.containers.get(update.id);
      if (!state || (state === known && !full)) return [];
      // A part that is the object that was there before is stored.
      const changed = (name: keyof ContainerState["parts"]): Uint8Array | undefined =>
        state.parts[name] === known?.parts[name] ? undefined : state.parts[name];
      const parts = { identity: changed("identity"), configuration: changed("configuration"), code: changed("code"), filesystem: changed("filesystem") };
      return [{ id: update.id, parts, ...upperWrite(state, known, update) }];
    }),
    removed: body.full && !full ? [...before.containers.keys()].filter((id) => !after.containers.has(id)) : body.removedContainers,
  };
}

/** The entries that differ from those before, and the removals that were told, whatever was there: who removed what is kept. */
function upperWrite(
  state: ContainerState,
  before: ContainerState | undefined,
  { upperChanges }: ContainerUpdate,
): Pick<ContainerWrite, "upperReset" | "upper"> {
  const delta = state.upper === before?.upper ? [] : (state.upperDelta?.paths ?? []);
  const paths = new Map(delta.map((path) => [path.toString("latin1"), path]));
  for (const { path, record } of upperChanges) if (record.length === 0) paths.set(Buffer.from(path).toString("latin1"), Buffer.from(path));
  return { upperReset: before === undefined, upper: [...paths.values()].map((path) => upperRow(state, path)) };
}

function upperRow(state: ContainerState, path: Buffer): UpperRow {
  const entry = state.upper.get(path);
  if (entry) return entry;
  const gone = state.removed.get(path.toString("latin1"));
  return { path, record: Buffer.alloc(0), inode: 0n, actor: gone?.actor, changedAtMs: gone?.changedAtMs };
}
