/** Where a tile or entry bundle is (C2SP tlog-tiles, "Merkle Tree" and "Log entries"), and which ones a log of a given size consists of. */
import { MAX_TILE_LEVEL, TILE_WIDTH } from "../../ports/log-store.ts";
import { TransparencyError } from "./errors.ts";
import { assertCount } from "./hash.ts";

/** A tile or, with level `entries`, an entry bundle, of a width: 256 is full. */
export interface TileId {
  readonly level: number | "entries";
  readonly index: number;
  /** 1..256 hashes or entries. */
  readonly width: number;
}

/** Longest tile path that {@link parseTilePath} reads: level, 6 index elements, width. */
const MAX_TILE_PATH_CHARACTERS = 64;

/** Path below the log's prefix, for example `tile/0/x001/067.p/12`. */
export function tilePath(tile: TileId): string {
  assertCount("tile index", tile.index);
  let index = String(tile.index % 1000).padStart(3, "0");
  for (let rest = Math.floor(tile.index / 1000); rest > 0; rest = Math.floor(rest / 1000)) index = `x${String(rest % 1000).padStart(3, "0")}/${index}`;
  const partial = tile.width === TILE_WIDTH ? "" : `.p/${tile.width}`;
  return `tile/${tile.level}/${index}${partial}`;
}

/** Reads a requested path; it may be a stranger's. Only the one canonical spelling of each tile is accepted. @throws TransparencyError BAD_TILE_PATH */
export function parseTilePath(path: string): TileId {
  if (path.length > MAX_TILE_PATH_CHARACTERS) throw new TransparencyError("BAD_TILE_PATH", `${path.length} characters`);
  const match = /^tile\/(entries|[0-9]{1,2})\/((?:x[0-9]{3}\/)*[0-9]{3})(?:\.p\/([0-9]{1,3}))?$/.exec(path);
  const [, level, digits, width] = match ?? [];
  if (level === undefined || digits === undefined) throw new TransparencyError("BAD_TILE_PATH", "not a tile path");
  const tile: TileId = {
    level: level === "entries" ? "entries" : Number(level),
    index: Number(digits.replaceAll(/[x/]/g, "")),
    width: width === undefined ? TILE_WIDTH : Number(width),
  };
  const inRange = Number.isSafeInteger(tile.index) && tile.width >= 1 && (width === undefined || tile.width < TILE_WIDTH);
  if (!inRange || tilePath(tile) !== path) throw new TransparencyError("BAD_TILE_PATH", "not the canonical path of a tile");
  return tile;
}

/** Leaves below one hash of a tile at `level`: 256^level. */
export function leavesPerHash(level: number): number {
  return TILE_WIDTH ** level;
}

/** Hashes that the tile at (level, index) has in a log of `size` entries: 0..256. */
export function tileWidth(level: number, index: number, size: number): number {
  const hashes = Math.floor(size / leavesPerHash(level));
  return Math.max(0, Math.min(TILE_WIDTH, hashes - index * TILE_WIDTH));
}

/** Every tile of a log of `size` entries, entry bundles included: by level, then by index. */
export function* tilesOf(size: number): Generator<TileId> {
  assertCount("tree size", size);
  for (const level of ["entries", 0, 1, 2, 3, 4, 5, MAX_TILE_LEVEL] as const) {
    const height = level === "entries" ? 0 : level;
    for (let index = 0, width = tileWidth(height, 0, size); width > 0; index++, width = tileWidth(height, index, size)) yield { level, index, width };
  }
}
