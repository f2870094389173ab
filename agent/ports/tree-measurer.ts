/** Measures a directory tree on the node and keeps what it measured, so that a change costs what changed. */

/** TREE_CANCELLED: the signal aborted. TREE_IO: the directory cannot be measured at all (gone, no right). TREE_CLOSED: used after close. */
export type TreeMeasurerErrorCode = "TREE_CANCELLED" | "TREE_IO" | "TREE_CLOSED";

export class TreeMeasurerError extends Error {
  readonly code: TreeMeasurerErrorCode;

  constructor(code: TreeMeasurerErrorCode, message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options);
    this.name = "TreeMeasurerError";
    this.code = code;
  }
}

export interface ExcludedClass {
  /** Absolute path globs as in MeasurementPolicy. */
  readonly paths: readonly string[];
  /** Whether executables are left out as well. */
  readonly executables: boolean;
}

export interface TreeOptions {
  /** `upper` and `merged`: files are synced before hashing, since a store through a mapping changes content without event or time. `merged`: what a container sees, without crossing mounts. */
  readonly kind: "layer" | "upper" | "merged";
  readonly excluded: readonly ExcludedClass[];
  readonly budget: { readonly maxEntries: number; readonly maxBytes: number; readonly maxMillis: number };
}

export interface TreeChange {
  /** Raw bytes, no leading slash. */
  readonly path: Buffer;
  /** Canonical records; undefined: absent. */
  readonly before: Buffer | undefined;
  readonly after: Buffer | undefined;
  readonly inode: bigint;
}

export interface MeasureReport {
  readonly changes: readonly TreeChange[];
  /** There were more changes than are listed. */
  readonly truncated: boolean;
  readonly entries: number;
  readonly hashedBytes: number;
  /** `unmeasurable` and its like: limits reached, files that would not hold still. */
  readonly claims: readonly { readonly code: string; readonly detail: string }[];
}

export type MeasuredPosition =
  | { readonly kind: "empty" }
  | { readonly kind: "leaf"; readonly path: Buffer; readonly record: Buffer; readonly hash: Buffer }
  | { readonly kind: "node"; readonly bitlen: number; readonly prefix: Buffer; readonly hash: Buffer; readonly left: Buffer; readonly right: Buffer };

export interface MeasuredTree {
  /** Measures everything anew. */
  measure(signal: AbortSignal): Promise<MeasureReport>;
  /** Looks at everything and hashes what has changed by its metadata. */
  rescan(signal: AbortSignal): Promise<MeasureReport>;
  /** Reads content again, metadata or not, for at most about `maxBytes`; the next call goes on where this one stopped. */
  scrub(maxBytes: number, signal: AbortSignal): Promise<MeasureReport>;
  /** Measures these paths and what is below them. Paths that are gone are removed. */
  update(paths: readonly Buffer[], signal: AbortSignal): Promise<MeasureReport>;
  root(): Buffer;
  readonly size: number;
  descend(key: Buffer, bits: number): MeasuredPosition;
  /** Every entry. undefined: their paths and records come to more than `maxBytes`, and were not gathered. */
  entries(maxBytes: number): readonly { readonly path: Buffer; readonly record: Buffer; readonly inode: bigint }[] | undefined;
  close(): void;
}

export interface TreeMeasurer {
  /** @throws TreeMeasurerError */
  open(path: string, options: TreeOptions): Promise<MeasuredTree>;
}
