/** The part of an intent that is about a node: which, and what is put on it or taken away. Pure; every byte may be an attacker's who holds the verifier. */
import { ActionKind, type Intent, NodeMark } from "@hullmark/proto/v1/response";
import type { MarkedNode } from "../ports/node-hook.ts";

const NODE_ID = /^[0-9a-f]{16}$/;
const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/;
const REASON = /^(?:[a-z][a-z0-9-]{0,63})?$/;
const MARKS: ReadonlySet<NodeMark> = new Set([NodeMark.LABEL, NodeMark.TAINT, NodeMark.CORDON]);

export function isAboutNode({ kind }: Pick<Intent, "kind">): boolean {
  return kind === ActionKind.MARK_NODE || kind === ActionKind.LIFT_NODE;
}

/** An intent is about a node as a whole or not at all. */
export function isNodeWhole(intent: Intent): boolean {
  const { node, kind, containerId, configDigest, imageId, targetConfigDigest, targetImageId, targetReference, owners } = intent;
  if (!isAboutNode({ kind })) return node === undefined;
  if (!node || (node.$unknown?.length ?? 0) > 0 || owners.length > 0) return false;
  if (`${containerId}${configDigest}${imageId}${targetConfigDigest}${targetImageId}${targetReference}` !== "") return false;
  // A node is not asked to vouch for itself, nor to say that it is well again.
  if (node.nodeId === intent.nodeId || !NODE_ID.test(node.nodeId) || !NAME.test(node.name) || !REASON.test(node.reason)) return false;
  if ((node.reason === "") !== (kind === ActionKind.LIFT_NODE)) return false;
  return node.marks.length > 0 && node.marks.every((mark, i) => MARKS.has(mark) && mark > (node.marks[i - 1] ?? 0));
}

export function markedNode({ node }: Intent): MarkedNode | undefined {
  return node && { nodeId: node.nodeId, name: node.name, marks: [...node.marks], reason: node.reason };
}
