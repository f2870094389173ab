/** Options of a LiveTree: their defaults and limits, and the plain form that the addon takes. */
import { availableParallelism } from "node:os";

/** Host ids [host, host + count) are image ids [image, image + count). An id that no mapping covers becomes 2^32-1, which no image holds. */
export interface IdMapping {
  readonly image: number;
  readonly host: number;
  readonly count: number;
}

/**
 * A glob over whole paths of at most 4,096 bytes: `*` and `?` within a component, `**` across, `\` quotes; a leading `/` is ignored.
 * Never left out, whatever matches: files with an execute (unless `executables`), setuid or setgid bit or a capability, device nodes, and
 * entries with a `trusted.overlay` xattr other than the opaque flag.
 */
export interface ExcludedPaths {
  readonly pattern: string | Uint8Array;
  readonly executables?: boolean;
}

export interface LiveTreeOptions {
  /**
   * True (default) for a layer directory of overlayfs (lowerdir or upperdir): a character device 0:0 is a whiteout, and
   * `trusted.overlay.opaque=y` the opaque flag. False for a merged or plain tree.
   */
  readonly overlayLayer?: boolean;
  /**
   * Writes a file's dirty pages back before it is hashed, so that a later store through a mapping moves its ctime. For upperdirs; default
   * false.
   */
  readonly syncBeforeHash?: boolean;
  /** Threads that compute: 1..64; default: cores. */
  readonly threads?: number;
  /** Threads in all while content comes from the disk: `threads`..64; default 8. */
  readonly maxIoThreads?: number;
  /** Budget of one operation; passing it makes the tree unmeasurable. */
  readonly budget?: {
    /** Default 1,000,000. */
    readonly maxEntries?: number;
    /** Bytes read from files; default 64 GiB. */
    readonly maxBytes?: number;
    /** Default 10 minutes. */
    readonly maxMillis?: number;
    /** Names, symlink targets and xattrs of new or changed entries; default 256 MiB. */
    readonly maxMetadataBytes?: number;
    /** A larger file is not read and becomes a claim; the rest is measured. Default 16 GiB. */
    readonly maxFileBytes?: number;
  };
  /** Changes that a report lists; default 4,096. Each costs about 0.7 kB of JavaScript memory until it is collected. */
  readonly maxChanges?: number;
  readonly uids?: readonly IdMapping[];
  readonly gids?: readonly IdMapping[];
  /** Mutable paths: harmless entries that match are left out of the tree. At most 1,000. */
  readonly excluded?: readonly ExcludedPaths[];
  /** Which SHA-256 reads files; default "auto", the others are for tests. */
  readonly engine?: "auto" | "evp" | "portable";
}

/** What the addon takes: every field present. */
export interface NativeTreeOptions {
  readonly overlayLayer: boolean;
  readonly syncBeforeHash: boolean;
  readonly threads: number;
  readonly maxThreads: number;
  readonly maxEntries: number;
  readonly maxBytes: number;
  readonly maxMillis: number;
  readonly maxMetadataBytes: number;
  readonly maxFileBytes: number;
  readonly maxChanges: number;
  readonly uids: readonly IdMapping[];
  readonly gids: readonly IdMapping[];
  readonly excluded: readonly { readonly pattern: Uint8Array; readonly executables: boolean }[];
  readonly engine: "auto" | "evp" | "portable";
}

const GIB = 2 ** 30;
const MAX_THREADS = 64;
const MAX_PATTERNS = 1000;

/** @param fail makes the error to throw */
export function checkedOptions(options: LiveTreeOptions, fail: (message: string) => Error): NativeTreeOptions {
  const integer = (name: string, value: number | undefined, fallback: number, min: number, max: number): number => {
    const number = value ?? fallback;
    if (!Number.isInteger(number) || number < min || number > max) throw fail(`${name} ${number}, want an integer ${min}..${max}`);
    return number;
  };
  const mappings = (name: string, ranges: readonly IdMapping[] = []): readonly IdMapping[] => {
    for (const range of ranges) {
      for (const field of ["image", "host", "count"] as const) integer(`${name}.${field}`, range[field], 0, 0, 0xffff_ffff);
    }
    return ranges;
  };
  const budget = options.budget ?? {};
  const threads = integer("threads", options.threads, Math.min(availableParallelism(), MAX_THREADS), 1, MAX_THREADS);
  const excluded = options.excluded ?? [];
  if (excluded.length > MAX_PATTERNS) throw fail(`${excluded.length} excluded patterns, limit ${MAX_PATTERNS}`);
  return {
    overlayLayer: options.overlayLayer ?? true,
    syncBeforeHash: options.syncBeforeHash ?? false,
    threads,
    maxThreads: integer("maxIoThreads", options.maxIoThreads, Math.max(threads, 8), threads, MAX_THREADS),
    maxEntries: integer("maxEntries", budget.maxEntries, 1_000_000, 1, 2 ** 30),
    maxBytes: integer("maxBytes", budget.maxBytes, 64 * GIB, 0, Number.MAX_SAFE_INTEGER),
    maxMillis: integer("maxMillis", budget.maxMillis, 600_000, 1, 86_400_000),
    maxMetadataBytes: integer("maxMetadataBytes", budget.maxMetadataBytes, GIB / 4, 0, 2 * GIB),
    maxFileBytes: integer("maxFileBytes", budget.maxFileBytes, 16 * GIB, 0, Number.MAX_SAFE_INTEGER),
    maxChanges: integer("maxChanges", options.maxChanges, 4096, 0, 10_000_000),
    uids: mappings("uids", options.uids),
    gids: mappings("gids", options.gids),
    excluded: excluded.map(({ pattern, executables }) => ({
      pattern: typeof pattern === "string" ? Buffer.from(pattern) : pattern,
      executables: executables ?? false,
    })),
    engine: options.engine ?? "auto",
  };
}
