/** Appending as a pure function: from the log's right edge and new entries to the tiles to write and the new edge. */
import { type LogAppend, type LogStore, type LogTile, MAX_LOG_ENTRY_BYTES, TILE_WIDTH } from "../../ports/log-store.ts";
import { TransparencyError } from "./errors.ts";
import { completeSubtrees, EMPTY_LOG_ROOT, foldSubtrees, hashChildren, hashLeaf, LOG_HASH_BYTES } from "./hash.ts";
import { leavesPerHash, tileWidth } from "./tile.ts";

/** All that appending must know of a log: its size and the unfinished tile of each level. Immutable. */
export interface LogEdge {
  readonly size: number;
  /** Index is the level; hashes of the unfinished rightmost tile, 0..255 of them. */
  readonly partialTiles: readonly (readonly Buffer[])[];
}

export interface PlannedAppend {
  readonly append: LogAppend;
  /** The edge once the append is committed. */
  readonly edge: LogEdge;
}

export const EMPTY_EDGE: LogEdge = { size: 0, partialTiles: [] };

/** RFC 6962 root of the log at this edge. */
export function edgeRoot(edge: LogEdge): Buffer {
  const peaks: Buffer[] = [];
  for (let level = edge.partialTiles.length - 1; level >= 0; level--) {
    const hashes = edge.partialTiles[level] ?? [];
    for (const { start, length } of completeSubtrees({ start: 0, length: hashes.length })) peaks.push(completeRoot(hashes.slice(start, start + length)));
  }
  return peaks.length === 0 ? EMPTY_LOG_ROOT : foldSubtrees(peaks);
}

/** Root over a power of two of neighbouring hashes of one level. */
export function completeRoot(hashes: readonly Uint8Array[]): Buffer {
  let level = hashes;
  while (level.length > 1) {
    const next: Buffer[] = [];
    for (let i = 0; i < level.length; i += 2) next.push(hashChildren(level[i] as Uint8Array, level[i + 1] as Uint8Array));
    level = next;
  }
  return Buffer.from(level[0] as Uint8Array);
}

/**
 * What appending `entries` writes. Neither the edge nor the entries are changed or kept.
 * @throws TransparencyError OUT_OF_RANGE for an entry of more than 65,535 bytes or a log of more than 2^53 - 1 entries
 */
export function planAppend(edge: LogEdge, entries: readonly Uint8Array[]): PlannedAppend {
  const size = edge.size + entries.length;
  if (!Number.isSafeInteger(size)) throw new TransparencyError("OUT_OF_RANGE", `log of ${size} entries`);
  for (const { length } of entries) if (length > MAX_LOG_ENTRY_BYTES) throw new TransparencyError("OUT_OF_RANGE", `entry of ${length} bytes`);
  const tiles: LogTile[] = [];
  const partialTiles: Buffer[][] = [];
  let added: Buffer[] = entries.map(hashLeaf);
  for (let level = 0; level < edge.partialTiles.length || added.length > 0; level++) {
    let hashes = [...(edge.partialTiles[level] ?? [])];
    let index = Math.floor(edge.size / leavesPerHash(level + 1));
    const filled: Buffer[] = [];
    const changed = added.length > 0;
    for (const hash of added) {
      hashes.push(hash);
      if (hashes.length < TILE_WIDTH) continue;
      tiles.push({ level, index, hashes: Buffer.concat(hashes) });
      filled.push(completeRoot(hashes));
      hashes = [];
      index++;
    }
    if (changed && hashes.length > 0) tiles.push({ level, index, hashes: Buffer.concat(hashes) });
    partialTiles.push(hashes);
    added = filled;
  }
  const next: LogEdge = { size, partialTiles };
  return { append: { firstIndex: edge.size, entries, tiles, size, root: edgeRoot(next) }, edge: next };
}

/** Reads the right edge of what is stored. @throws TransparencyError INCONSISTENT where a tile is missing or too short */
export async function loadEdge(store: LogStore): Promise<LogEdge> {
  const size = await store.readSize();
  const partialTiles: Buffer[][] = [];
  for (let level = 0; leavesPerHash(level) <= size; level++) {
    const index = Math.floor(size / leavesPerHash(level + 1));
    const width = tileWidth(level, index, size);
    const stored = width === 0 ? Buffer.alloc(0) : await store.readTile(level, index, width);
    if (!stored || stored.length < width * LOG_HASH_BYTES) throw new TransparencyError("INCONSISTENT", `tile ${level}/${index} lacks hashes for size ${size}`);
    partialTiles.push(splitHashes(stored, width));
  }
  return { size, partialTiles };
}

/** The first `count` hashes of a tile's bytes, copied. The caller has checked the length. */
export function splitHashes(bytes: Uint8Array, count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => Buffer.from(bytes.subarray(i * LOG_HASH_BYTES, (i + 1) * LOG_HASH_BYTES)));
}
