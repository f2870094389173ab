/**
 * The tree measurer (DESIGN, "Measuring"): a directory tree as canonical records under one root hash, kept up to date.
 *
 * All reading happens on native threads; entries stay in native memory (about 160 bytes each). Names and contents below the root are
 * controlled by the workload: nothing in them can make the measurer leave the tree, open a device or FIFO, or exceed its budget.
 */
import type { TreePosition } from "@hullmark/proto/codec";
import { assertPath } from "@hullmark/proto/codec";
import { loadAddon } from "./loader.ts";
import { checkedOptions, type LiveTreeOptions, type NativeTreeOptions } from "./tree-options.ts";

export type { ExcludedPaths, IdMapping, LiveTreeOptions } from "./tree-options.ts";

/**
 * Why a call on a tree failed. `ABORTED` is a cancelled operation without a reason, `ROOT_GONE` a removed root directory, `SYSTEM` a failed
 * system call (`syscall`, `errno`, `cause`).
 */
export type TreeErrorCode = "ABORTED" | "BAD_OPTION" | "CLOSED" | "NOT_MEASURED" | "ROOT_GONE" | "SYSTEM" | "UNMEASURABLE";

const OWN_CODES = new Set<string>(["ABORTED", "CLOSED", "NOT_MEASURED", "ROOT_GONE", "UNMEASURABLE"]);

/** Thrown by {@link LiveTree}. Never a verdict: it could not be measured. */
export class TreeError extends Error {
  readonly code: TreeErrorCode;
  /** Name of the failed system call; "" where none failed. */
  readonly syscall: string;
  /** Positive errno; 0 where no system call failed. */
  readonly errno: number;

  constructor(code: TreeErrorCode, message: string, options: { cause?: unknown; syscall?: string; errno?: number } = {}) {
    super(message, { cause: options.cause });
    this.name = "TreeError";
    this.code = code;
    this.syscall = options.syscall ?? "";
    this.errno = options.errno ?? 0;
  }

  /** Normalises what the addon throws. */
  static from(error: unknown): TreeError {
    if (error instanceof TreeError) return error;
    const { code, syscall, errno, message } = error as { code?: string; syscall?: string; errno?: number; message?: string };
    const known = code !== undefined && OWN_CODES.has(code) ? (code as TreeErrorCode) : code === "BAD_PATTERN" ? "BAD_OPTION" : "SYSTEM";
    return new TreeError(known, message ?? String(error), { cause: error, ...(syscall && { syscall }), ...(errno && { errno }) });
  }
}

/** One leaf that came, went or changed. */
export interface TreeChange {
  /** Raw bytes relative to the root; not UTF-8 in general. */
  readonly path: Buffer;
  /** Encoded records (`decodeRecord`); absent where there was, or is, no leaf. */
  readonly before?: Buffer;
  readonly after?: Buffer;
  /** Of the entry as it is now, or as it was when it is gone (then `dev` is 0); `dev` as in `stat(2)`. */
  readonly ino: bigint;
  readonly dev: bigint;
  /** True when inode, times and size say that nothing happened: it was changed beneath the filesystem. */
  readonly silent: boolean;
}

/** Why one entry has no leaf, or a leaf with a content digest of 32 zero bytes; for `unstable` the digest is of the bytes last read. */
export type ClaimReason = "file-too-large" | "mount-point" | "path-too-long" | "permission" | "io-error" | "unstable";

export interface TreeClaim {
  /** At most 4,096 bytes of a path that is itself too long. */
  readonly path: Buffer;
  readonly reason: ClaimReason;
}

export interface MeasureReport {
  /** The budget that the operation exceeded; then nothing was entered, and `root()` throws until a measure or rescan succeeds. */
  readonly unmeasurable: "max-entries" | "max-bytes" | "max-millis" | "max-metadata-bytes" | null;
  /** At most `maxChanges`, in no order; `changeCount` counts all. */
  readonly changes: readonly TreeChange[];
  readonly changeCount: number;
  readonly truncated: boolean;
  /** All claims in force after the operation, at most 1,024. */
  readonly claims: readonly TreeClaim[];
  readonly claimsTruncated: boolean;
  /** Entries looked at, excluded ones too. */
  readonly entries: number;
  /** Leaves and bytes of file content in the tree now. */
  readonly leaves: number;
  readonly bytes: number;
  /** Read by this operation. */
  readonly hashedFiles: number;
  readonly hashedBytes: number;
  /** Native memory held by the tree. */
  readonly memoryBytes: number;
  /** The wall clock was set since the last operation: nothing cached was believed. */
  readonly clockStepped: boolean;
  /** Of a scrub: every file has been read again since the cycle began. */
  readonly cycleComplete: boolean;
}

/** A position as `PatriciaTree.descend` gives it; a leaf also tells its path and record. */
export type LivePosition = Exclude<TreePosition, { kind: "leaf" }> | (Extract<TreePosition, { kind: "leaf" }> & TreeEntry);

export interface TreeEntry {
  readonly path: Buffer;
  /** Encoded record. */
  readonly record: Buffer;
  /** Inode number when it was measured. */
  readonly ino: bigint;
}

interface NativeTree {
  measure(): Promise<MeasureReport>;
  rescan(verifyShare: number): Promise<MeasureReport>;
  update(paths: readonly Uint8Array[]): Promise<MeasureReport>;
  scrub(maxBytes: number): Promise<MeasureReport>;
  cancel(): void;
  close(): void;
  /** 0 not measured, 1 measured, 2 unmeasurable. */
  state(): 0 | 1 | 2;
  root(): Buffer;
  size(): number;
  descend(key: Uint8Array, bits: number): LivePosition;
  get(path: Uint8Array): Buffer | undefined;
  entries(after: Uint8Array | null, max: number): TreeEntry[];
}
interface TreeAddon {
  Tree: new (root: Uint8Array | number, options: NativeTreeOptions) => NativeTree;
  hashKernel: string;
}

export interface OperationOptions {
  /** Ends the operation within 100 ms (unless a read from a dead disk blocks); the tree is then as before. */
  readonly signal?: AbortSignal;
}

/**
 * A directory tree under measurement. Operations are queued: one runs at a time. The readers (`root`, `get`, ...) may be called at any
 * time; they see the state before a running operation. Closing cancels what runs; `close()` is idempotent, and `using` works.
 */
export class LiveTree {
  readonly #native: NativeTree;
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;

  /**
   * @param root a path, or an fd of a directory (it is duplicated; the caller keeps its own)
   * @throws TreeError SYSTEM when the root is no directory or cannot be opened, BAD_OPTION
   */
  constructor(root: string | Uint8Array | number, options: LiveTreeOptions = {}) {
    const { Tree } = loadAddon() as TreeAddon;
    const native = checkedOptions(options, (message) => new TreeError("BAD_OPTION", message));
    try {
      this.#native = new Tree(typeof root === "string" ? Buffer.from(root) : root, native);
    } catch (error) {
      throw TreeError.from(error);
    }
  }

  /** Walks and reads everything, believing nothing that is cached. The first one reports every leaf as a change. */
  measure(options: OperationOptions = {}): Promise<MeasureReport> {
    return this.#run(options.signal, () => this.#native.measure());
  }

  /**
   * Walks everything, reads only what inode, size, times, mode or owner say may have changed.
   * @param options.verifyShare 0..1: each unchanged file is read again from the disk with this probability; default 0
   */
  rescan(options: OperationOptions & { readonly verifyShare?: number } = {}): Promise<MeasureReport> {
    const share = options.verifyShare ?? 0;
    if (!(share >= 0 && share <= 1)) throw new TreeError("BAD_OPTION", `verifyShare ${share}, want 0..1`);
    return this.#run(options.signal, () => this.#native.rescan(share));
  }

  /**
   * Measures these paths with all below them (reading only what changed), removes vanished ones, and measures other names of the same inode.
   * A path below an unknown or vanished directory is covered by measuring that directory.
   * @param paths canonical (`assertPath`), or empty for the root; the caller must not change them until the promise settles
   * @throws TreeError NOT_MEASURED or UNMEASURABLE unless the last measure or rescan succeeded
   */
  update(paths: readonly Uint8Array[], options: OperationOptions = {}): Promise<MeasureReport> {
    for (const path of paths) if (path.length > 0) assertPath(path);
    return this.#run(options.signal, () => this.#native.update(paths));
  }

  /**
   * Reads files again from the disk, whatever the cache says, until `maxBytes` are planned (the last file whole; each file counts 4 KiB
   * more). Calls continue where the last one ended, through all files in an order that is random as to paths and differs each cycle.
   */
  scrub(options: OperationOptions & { readonly maxBytes: number }): Promise<MeasureReport> {
    if (!(options.maxBytes > 0)) throw new TreeError("BAD_OPTION", `maxBytes ${options.maxBytes}, want more than 0`);
    return this.#run(options.signal, () => this.#native.scrub(Math.min(options.maxBytes, Number.MAX_SAFE_INTEGER)));
  }

  #run(signal: AbortSignal | undefined, start: () => Promise<MeasureReport>): Promise<MeasureReport> {
    const turn = async (): Promise<MeasureReport> => {
      signal?.throwIfAborted();
      if (this.#closed) throw new TreeError("CLOSED", "the tree is closed");
      const cancel = () => this.#native.cancel();
      signal?.addEventListener("abort", cancel, { once: true });
      try {
        return await start();
      } catch (error) {
        signal?.throwIfAborted();
        if (this.#closed) throw new TreeError("CLOSED", "the tree was closed", { cause: error });
        throw TreeError.from(error);
      } finally {
        signal?.removeEventListener("abort", cancel);
      }
    };
    const result = this.#queue.then(turn);
    // Not the result itself: the report of the last operation, up to 4,096 changes, would live as long as the tree.
    this.#queue = result.then(nothing, nothing);
    return result;
  }

  /** The root hash. @throws TreeError NOT_MEASURED, UNMEASURABLE, CLOSED */
  root(): Buffer {
    this.#assertMeasured();
    return this.#native.root();
  }

  /** Number of leaves. @throws TreeError as {@link root} */
  get size(): number {
    this.#assertMeasured();
    return this.#native.size();
  }

  /** The topmost position whose keys all start with the first `bits` (0..256) bits of `key` (32 bytes). @throws TreeError as {@link root} */
  descend(key: Uint8Array, bits: number): LivePosition {
    this.#assertMeasured();
    if (!Number.isInteger(bits) || bits < 0 || bits > 256) throw new TreeError("BAD_OPTION", `${bits} bits, want 0..256`);
    if (key.length !== 32) throw new TreeError("BAD_OPTION", `key of ${key.length} bytes, want 32`);
    return this.#native.descend(key, bits);
  }

  /** The encoded record of a path, or undefined. @throws TreeError as {@link root} */
  get(path: Uint8Array): Buffer | undefined {
    this.#assertMeasured();
    return this.#native.get(path);
  }

  /**
   * Leaves in ascending order of their keys (SHA-256 of the path), so that a caller can page.
   * @param options.after continues behind this key
   */
  entries(options: { readonly maxEntries: number; readonly after?: Uint8Array }): { entries: TreeEntry[]; truncated: boolean } {
    this.#assertMeasured();
    const entries = this.#native.entries(options.after ?? null, options.maxEntries + 1);
    const truncated = entries.length > options.maxEntries;
    if (truncated) entries.length = options.maxEntries;
    return { entries, truncated };
  }

  close(): void {
    this.#closed = true;
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #assertMeasured(): void {
    if (this.#closed) throw new TreeError("CLOSED", "the tree is closed");
    const state = this.#native.state();
    if (state === 0) throw new TreeError("NOT_MEASURED", "the tree was not measured yet");
    if (state === 2) throw new TreeError("UNMEASURABLE", "the last operation exceeded its budget");
  }
}

function nothing(): void {}

/** Which SHA-256 code small hashes and `engine: "auto"` use: `sha-ni` or `portable` (file content then goes through OpenSSL). */
export function hashKernel(): string {
  return (loadAddon() as TreeAddon).hashKernel;
}
