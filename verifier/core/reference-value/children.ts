/** What lies below a directory of an image: the layers' entries by parent, indexed once a layer and shared by every image that has it. */
import { latin1 } from "./latin1.ts";
import type { LayerTree } from "./layer-tree.ts";
import type { Located, MergedTree } from "./merged-tree.ts";

const SLASH = 0x2f;
/** Directory (byte string, empty for the root) to the paths right below it. */
type Children = ReadonlyMap<string, readonly Buffer[]>;

const indexes = new WeakMap<LayerTree, Children>();

function childrenOf(layer: LayerTree): Children {
  const known = indexes.get(layer);
  if (known) return known;
  const index = new Map<string, Buffer[]>();
  for (const { path } of layer.entries()) {
    const parent = latin1(path.subarray(0, Math.max(0, path.lastIndexOf(SLASH))));
    const siblings = index.get(parent);
    if (siblings) siblings.push(path);
    else index.set(parent, [path]);
  }
  indexes.set(layer, index);
  return index;
}

/**
 * Every entry that the merged view shows below a directory, parents before what they hold.
 * @param limit most entries that are given; the caller asks for one more than it can use to see that there are more
 */
export function entriesBelow(merged: MergedTree, directory: Buffer, limit: number): Located[] {
  const found: Located[] = [];
  const pending = [directory];
  for (let at = pending.pop(); at && found.length < limit; at = pending.pop()) {
    const names = new Map<string, Buffer>();
    for (const layer of merged.layers) for (const path of childrenOf(layer).get(latin1(at)) ?? []) names.set(latin1(path), path);
    for (const path of names.values()) {
      const entry = merged.get(path);
      if (!entry) continue;
      found.push(entry);
      if (found.length >= limit) break;
      if (entry.record[1] === 0x64) pending.push(path);
    }
  }
  return found;
}
