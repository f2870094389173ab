/** A node's memory between the store's rows and appraisal's values. */
import { PatriciaTree, pathKey, recordDigest } from "@hullmark/proto/codec";
import type { EvidenceBody } from "@hullmark/proto/v1/attestation";
import type { ContainerRow, ContainerWrite, EvidenceWrite, MemoryRow, UpperRow } from "../../ports/rows.ts";
import { stateTreeOf } from "../appraisal/apply-evidence.ts";
import { decodeNode, decodeParts } from "../appraisal/decode-parts.ts";
import type { ContainerState, NodeMemory, UpperEntry } from "../appraisal/types.ts";

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
  const entries = new Map<string, UpperEntry>();
  const removed: ContainerState["removed"] = new Map();
  const upperTree = new PatriciaTree();
  for (const { path, record, inode, actor, changedAtMs } of upper) {
    const key = path.toString("latin1");
    if (record.length === 0) {
      removed.set(key, { actor, changedAtMs });
      continue;
    }
    entries.set(key, { path, record, inode, actor, changedAtMs });
    upperTree.set(pathKey(path), recordDigest(record));
  }
  return { id, parts, ...decodeParts(parts, undefined), upper: entries, upperTree, removed };
}

/** What one accepted Evidence changes in the store. `after` is the memory that it led to. */
export function evidenceWrite(previousSeq: bigint, after: NodeMemory, body: EvidenceBody, receivedAtMs: number): EvidenceWrite {
  return {
    nodeId: after.nodeId,
    chainId: after.chainId,
    previousSeq,
    seq: after.seq,
    digest: after.digest,
    stateRoot: after.stateRoot,
    receivedAtMs,
    node: body.node.length > 0 ? body.node : undefined,
    full: body.full,
    containers: body.containers.flatMap((update): ContainerWrite[] => {
      const state = after.containers.get(update.id);
      if (!state) return [];
      // A part that is not the object just received is the one that was there before, and is stored.
      const changed = (name: keyof ContainerState["parts"]): Uint8Array | undefined => (state.parts[name] === update[name] ? update[name] : undefined);
      const parts = { identity: changed("identity"), configuration: changed("configuration"), code: changed("code"), filesystem: changed("filesystem") };
      const upper = update.upperChanges.map(({ path }) => upperRow(state, Buffer.from(path)));
      return [{ id: update.id, parts, upperReset: update.upperReset, upper }];
    }),
    removed: body.removedContainers,
  };
}

function upperRow(state: ContainerState, path: Buffer): UpperRow {
  const key = path.toString("latin1");
  const entry = state.upper.get(key);
  if (entry) return entry;
  const gone = state.removed.get(key);
  return { path, record: Buffer.alloc(0), inode: 0n, actor: gone?.actor, changedAtMs: gone?.changedAtMs };
}
