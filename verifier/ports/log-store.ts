/**
 * Where the transparency log lives. The core computes what to write ({@link LogAppend}); an adapter writes it, in one transaction
 * with whatever else the verifier commits at that moment, and reads tiles and entries back.
 *
 * Tiles are stored unfinished: the row of tile (level, index) holds the 1..256 hashes known so far, and a longer value replaces a shorter
 * one that it starts with. A partial tile of width W (C2SP tlog-tiles) is therefore the first W × 32 bytes of what is stored.
 */

/** Hashes a tile holds when full, and entries an entry bundle holds (C2SP tlog-tiles: 2^8). */
export const TILE_WIDTH = 256;
/** Highest tile level that a log of at most 2^53 - 1 entries can have. */
export const MAX_TILE_LEVEL = 6;
/** Longest entry: an entry bundle prefixes each with a u16. */
export const MAX_LOG_ENTRY_BYTES = 65535;

export interface LogTile {
  /** 0..{@link MAX_TILE_LEVEL}; level 0 holds leaf hashes. */
  readonly level: number;
  /** 0-based position of the tile in its level. */
  readonly index: number;
  /** 1..256 hashes of 32 bytes each. */
  readonly hashes: Uint8Array;
}

/** One append, complete: an adapter executes it without knowing how a Merkle tree works. */
export interface LogAppend {
  /** Entries before the append: also the index of the first new entry. The adapter refuses when the log has another size. */
  readonly firstIndex: number;
  /** New entries in order, each 0..{@link MAX_LOG_ENTRY_BYTES} bytes. */
  readonly entries: readonly Uint8Array[];
  /** Tiles to insert or replace. */
  readonly tiles: readonly LogTile[];
  /** Entries after the append. */
  readonly size: number;
  /** RFC 6962 root of `size` entries, 32 bytes. */
  readonly root: Uint8Array;
}

/** The newest checkpoint that was signed. */
export interface StoredCheckpoint {
  /** Entries it covers. */
  readonly size: number;
  /** The signed note, UTF-8. */
  readonly note: string;
}

/**
 * LOG_CONFLICT: the log's size is not `firstIndex` (another writer was faster, or this append was already made): reload the edge and plan again.
 * LOG_UNAVAILABLE: the storage failed; whether the append persisted is not known until the size is read again.
 */
export type LogStoreErrorCode = "LOG_CONFLICT" | "LOG_UNAVAILABLE" | "LOG_CORRUPT";

export class LogStoreError extends Error {
  readonly code: LogStoreErrorCode;

  constructor(code: LogStoreErrorCode, message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options);
    this.name = "LogStoreError";
    this.code = code;
  }
}

/** What reading needs: a store, a directory, or a URL can be one. */
export interface LogReader {
  /** The stored tile's hashes (at least `width` × 32 bytes where so many exist), or undefined. */
  readTile(level: number, index: number, width: number): Promise<Uint8Array | undefined>;
  /** Entries `first` to `first + count - 1` of one bundle (never across a multiple of {@link TILE_WIDTH}); fewer where the log ends. */
  readEntries(first: number, count: number): Promise<readonly Uint8Array[]>;
  /** The newest signed checkpoint, or undefined before the first. */
  readCheckpoint(): Promise<StoredCheckpoint | undefined>;
}

export interface LogStore extends LogReader {
  /** Entries committed. */
  readSize(): Promise<number>;
  /**
   * Commits an append on its own (the verifier's Store also takes a {@link LogAppend} within a larger commit).
   * When it returns, the entries are durable. Atomic: all or nothing.
   * @throws LogStoreError LOG_CONFLICT without having written anything; LOG_UNAVAILABLE where the outcome is unknown
   */
  append(append: LogAppend): Promise<void>;
  /** Remembers a signed checkpoint. Ignored where a checkpoint of the same or a larger size is stored. Durable on return. */
  writeCheckpoint(checkpoint: StoredCheckpoint): Promise<void>;
}
