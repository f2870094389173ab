/** What a container sees of its image's layers: overlayfs lookup over replayed layers. */
import { decodeRecord, encodeRecord, pathKey, recordDigest } from "@hullmark/proto/codec";
import { latin1 } from "./latin1.ts";
import type { LayerEntry, LayerTree } from "./layer-tree.ts";

const SLASH = 0x2f;

/** An entry and the layer it comes from. */
export interface Located extends LayerEntry {
  /** Index into the layers, bottom first. */
  readonly layerIndex: number;
}

const OVERLAY_XATTR = Buffer.from("trusted.overlay.");

/** An entry without overlayfs's own marks. */
function visible(entry: Located): Located {
  if (kindOf(entry.record) !== "opaque" && !entry.record.includes(OVERLAY_XATTR)) return entry;
  const record = decodeRecord(entry.record);
  const xattrs = record.xattrs.filter(({ name }) => !name.subarray(0, OVERLAY_XATTR.length).equals(OVERLAY_XATTR));
  const encoded = encodeRecord(record.type === "d" ? { ...record, xattrs, opaque: false } : { ...record, xattrs });
  return { ...entry, record: encoded, digest: recordDigest(encoded) };
}

type Kind = "directory" | "opaque" | "whiteout" | "other";

function kindOf(record: Buffer): Kind {
  switch (String.fromCharCode(record[1] ?? 0)) {
    case "d":
      return record[12] === 1 ? "opaque" : "directory";
    case "w":
      return "whiteout";
    default:
      return "other";
  }
}

/** The merged view of a stack of layers. Nothing is copied; look-ups walk the layers, and the alias index is built when first asked for. */
export class MergedTree {
  /** Bottom first. */
  readonly layers: readonly LayerTree[];
  readonly #all: readonly number[];
  readonly #stacks = new Map<string, readonly number[]>();
  #byRecord: Map<string, Located[]> | undefined;
  #byContent: Map<string, Located[]> | undefined;

  private constructor(layers: readonly LayerTree[]) {
    this.layers = layers;
    this.#all = layers.map((_, i) => layers.length - 1 - i);
  }

  /** @param layers bottom first */
  static of(layers: readonly LayerTree[]): MergedTree {
    return new MergedTree(layers);
  }

  /**
   * What the container sees at a path, or undefined: whiteouts are never returned, and overlayfs's own marks (opaque flag,
   * `trusted.overlay.*`) are taken off the record, as in a copy in the upper directory. A root marked opaque hides nothing: the kernel ignores that.
   */
  get(path: Uint8Array): Located | undefined {
    const slash = path.lastIndexOf(SLASH);
    const stack = slash < 0 ? this.#all : this.#stackOf(path.subarray(0, slash));
    const { found } = this.#lookup(pathKey(path), stack);
    return found && visible(found);
  }

  /** The layers, topmost first, that show names below a directory; empty where there is no such directory. */
  #stackOf(directory: Uint8Array): readonly number[] {
    const name = latin1(directory);
    const known = this.#stacks.get(name);
    if (known) return known;
    const slash = directory.lastIndexOf(SLASH);
    const { below } = this.#lookup(pathKey(directory), slash < 0 ? this.#all : this.#stackOf(directory.subarray(0, slash)));
    // Only directories of the image are remembered: what is asked for comes from agents.
    if (below.length > 0) this.#stacks.set(name, below);
    return below;
  }

  /** Looks one name up in a stack of merged directories, topmost first: what is found, and the stack that continues below it. */
  #lookup(key: Buffer, stack: readonly number[]): { found: Located | undefined; below: number[] } {
    let found: Located | undefined;
    const below: number[] = [];
    for (const layerIndex of stack) {
      const entry = this.layers[layerIndex]?.getByKey(key);
      if (!entry) continue;
      const kind = kindOf(entry.record);
      if (kind === "whiteout") break;
      found ??= { ...entry, layerIndex };
      if (kind === "other") break;
      below.push(layerIndex);
      if (kind === "opaque") break;
    }
    return { found, below };
  }

  /** Every visible entry, each once, in no particular order. */
  *entries(): Generator<Located> {
    for (let layerIndex = this.layers.length - 1; layerIndex >= 0; layerIndex--) {
      for (const entry of this.layers[layerIndex]?.entries() ?? []) {
        const seen = this.get(entry.path);
        if (seen?.layerIndex === layerIndex) yield seen;
      }
    }
  }

  /** Visible entries whose record has this digest: an observed record found here is a copy or link of an image file. */
  findByRecord(digest: Uint8Array): readonly Located[] {
    this.#byRecord ??= this.#index((entry) => entry.digest);
    return this.#byRecord.get(latin1(digest)) ?? [];
  }

  /** Visible regular files with this SHA-256 of content. */
  findByContent(sha256: Uint8Array): readonly Located[] {
    this.#byContent ??= this.#index((entry) => {
      const record = decodeRecord(entry.record);
      return record.type === "f" ? record.sha256 : undefined;
    });
    return this.#byContent.get(latin1(sha256)) ?? [];
  }

  #index(keyOf: (entry: Located) => Buffer | undefined): Map<string, Located[]> {
    const index = new Map<string, Located[]>();
    for (const entry of this.entries()) {
      const key = keyOf(entry);
      if (!key) continue;
      const name = latin1(key);
      const known = index.get(name);
      if (known) known.push(entry);
      else index.set(name, [entry]);
    }
    return index;
  }
}
