/**
 * A container's delta tree with what was last reported of each entry: one persistent tree, so that a change costs the path to the root
 * however many entries there are. Paths and records come from a node, checked before they get here.
 */
import { EMPTY_ROOT, PatriciaTree, pathKey, recordDigest } from "@hullmark/proto/codec";
import type { UpperEntry } from "./types.ts";

export class UpperEntries {
  readonly #tree: PatriciaTree<UpperEntry>;
  /** Of paths and records together. */
  readonly bytes: number;

  private constructor(tree: PatriciaTree<UpperEntry>, bytes: number) {
    this.#tree = tree;
    this.bytes = bytes;
  }

  static readonly EMPTY: UpperEntries = new UpperEntries(new PatriciaTree(), 0);

  static of(entries: Iterable<UpperEntry>): UpperEntries {
    return UpperEntries.EMPTY.with(entries, []);
  }

  get size(): number {
    return this.#tree.size;
  }

  /** Of the canonical tree over paths and records. */
  get root(): Buffer {
    return this.#tree.size === 0 ? EMPTY_ROOT : this.#tree.root();
  }

  /** @param path raw bytes, no leading slash */
  get(path: Uint8Array): UpperEntry | undefined {
    return this.#tree.value(pathKey(path));
  }

  has(path: Uint8Array): boolean {
    return this.get(path) !== undefined;
  }

  /** In an order that depends on the set of paths alone. */
  values(): Generator<UpperEntry> {
    return this.#tree.values();
  }

  /** The entries with some put in and some taken out; these stay as they are. */
  with(put: Iterable<UpperEntry>, taken: Iterable<Uint8Array>): UpperEntries {
    const tree = this.#tree.clone();
    let bytes = this.bytes;
    const forget = (key: Buffer): void => {
      const before = tree.value(key);
      if (before) bytes -= sizeOf(before);
    };
    for (const path of taken) {
      const key = pathKey(path);
      forget(key);
      tree.delete(key);
    }
    for (const entry of put) {
      const key = pathKey(entry.path);
      forget(key);
      bytes += sizeOf(entry);
      tree.set(key, recordDigest(entry.record), entry);
    }
    return new UpperEntries(tree, bytes);
  }
}

function sizeOf({ path, record }: UpperEntry): number {
  return path.length + record.length;
}
