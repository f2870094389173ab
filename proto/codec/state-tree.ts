/**
 * The root over everything that an agent says of its node: a {@link PatriciaTree} over the node's own state and one commitment a container.
 * A quote signs this root, so that an untouched container costs no bytes and is vouched for all the same.
 */
import { createHash, hash } from "node:crypto";
import { PatriciaTree, pathKey } from "./tree.ts";

/** The serialised parts of a container's state, as sent (hullmark.v1.ContainerUpdate). */
export interface ContainerParts {
  readonly identity: Uint8Array;
  readonly configuration: Uint8Array;
  readonly code: Uint8Array;
  /** Holds the layer roots and the root of the delta tree: through it the state commits to every file. */
  readonly filesystem: Uint8Array;
}

const CONTAINER_DOMAIN = "hullmark-container-v1";
const NODE_KEY = pathKey(Buffer.from("node"));

function containerKey(id: string): Buffer {
  return pathKey(Buffer.from(`container/${id}`));
}

/** `SHA-256(domain ‖ SHA-256(identity) ‖ SHA-256(configuration) ‖ SHA-256(code) ‖ SHA-256(filesystem))`. */
export function containerCommitment(parts: ContainerParts): Buffer {
  const commitment = createHash("sha256").update(CONTAINER_DOMAIN);
  for (const part of [parts.identity, parts.configuration, parts.code, parts.filesystem]) commitment.update(hash("sha256", part, "buffer"));
  return commitment.digest();
}

/** Both sides keep one for each node and compare roots after every Evidence. */
export class StateTree {
  #tree = new PatriciaTree();

  /** A tree of its own with the same state. O(1). */
  clone(): StateTree {
    const copy = new StateTree();
    copy.#tree = this.#tree.clone();
    return copy;
  }

  setNode(nodeState: Uint8Array): void {
    this.#tree.set(NODE_KEY, hash("sha256", nodeState, "buffer"));
  }

  setContainer(id: string, parts: ContainerParts): void {
    this.#tree.set(containerKey(id), containerCommitment(parts));
  }

  removeContainer(id: string): boolean {
    return this.#tree.delete(containerKey(id));
  }

  root(): Buffer {
    return this.#tree.root();
  }
}
