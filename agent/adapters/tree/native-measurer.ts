/** The native tree measurer behind the agent's port. */
import { LiveTree, type MeasureReport as NativeReport, type TreeClaim, TreeError } from "@hullmark/native";
import { EMPTY_ROOT, pathKey } from "@hullmark/proto/codec";
import {
  type MeasuredPosition,
  type MeasuredTree,
  type MeasureReport,
  type TreeMeasurer,
  TreeMeasurerError,
  type TreeOptions,
} from "../../ports/tree-measurer.ts";

const MAX_TOLD_CLAIMS = 64;
/** Each change costs three JavaScript objects; who needs more than these asks for `entries()`. */
const MAX_CHANGES = 4096;
const MAX_LAYER_CHANGES = 1024;
/** Entries fetched at a time: a workload may give each of them a path of 64 KiB. */
const PAGE_ENTRIES = 512;

/** @param options.threads computing threads of one measuring; default: cores */
export function nativeMeasurer(options: { readonly threads?: number } = {}): TreeMeasurer {
  return {
    open: async (path, treeOptions) => new NativeMeasuredTree(guarded(() => openTree(path, treeOptions, options.threads))),
  };
}

function openTree(path: string, { kind, excluded, budget }: TreeOptions, threads: number | undefined): LiveTree {
  return new LiveTree(path, {
    overlayLayer: kind !== "merged",
    syncBeforeHash: kind !== "layer",
    budget,
    maxChanges: kind === "layer" ? MAX_LAYER_CHANGES : MAX_CHANGES,
    excluded: excluded.flatMap(({ paths, executables }) => paths.map((pattern) => ({ pattern, executables }))),
    ...(threads !== undefined && { threads }),
  });
}

function portError(error: unknown): TreeMeasurerError {
  if (error instanceof TreeMeasurerError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (!(error instanceof TreeError)) return new TreeMeasurerError("TREE_CANCELLED", message, { cause: error });
  const code = error.code === "CLOSED" ? "TREE_CLOSED" : error.code === "ABORTED" ? "TREE_CANCELLED" : "TREE_IO";
  return new TreeMeasurerError(code, message, { cause: error });
}

function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw portError(error);
  }
}

/** Names may hold any bytes: what goes into a claim's text is escaped. */
function printable(path: Buffer): string {
  return path.toString("latin1").replace(/[^\x20-\x5b\x5d-\x7e]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/**
 * `unmeasurable` covers all that leaves an entry without a true leaf. An `unstable` file has one, of bytes that it held in turn, and cannot
 * equal the image's by accident; it is told, and measured again.
 */
function toldClaim({ path, reason }: TreeClaim): { code: string; detail: string } {
  return { code: reason === "unstable" ? "unstable" : "unmeasurable", detail: `${reason}: ${printable(path)}` };
}

/** Budgets that whoever fills the tree goes over; that of time may be the disk's fault. */
const SIZES: ReadonlySet<string> = new Set(["max-entries", "max-bytes", "max-metadata-bytes"]);

class NativeMeasuredTree implements MeasuredTree {
  readonly #tree: LiveTree;
  /** Over budget: the tree has no root until it is measured again. What is told instead is empty and claimed `unmeasurable`. */
  #overBudget = false;

  constructor(tree: LiveTree) {
    this.#tree = tree;
  }

  measure(signal: AbortSignal): Promise<MeasureReport> {
    return this.#told(() => this.#tree.measure({ signal }));
  }

  rescan(signal: AbortSignal): Promise<MeasureReport> {
    return this.#told(() => this.#tree.rescan({ signal }));
  }

  scrub(maxBytes: number, signal: AbortSignal): Promise<MeasureReport> {
    return this.#told(() => (this.#overBudget ? this.#tree.rescan({ signal }) : this.#tree.scrub({ maxBytes, signal })));
  }

  update(paths: readonly Buffer[], signal: AbortSignal): Promise<MeasureReport> {
    return this.#told(() => (this.#overBudget ? this.#tree.rescan({ signal }) : this.#tree.update(paths, { signal })));
  }

  async #told(work: () => Promise<NativeReport>): Promise<MeasureReport> {
    const wasOverBudget = this.#overBudget;
    const report = await work().catch((error: unknown) => {
      throw portError(error);
    });
    this.#overBudget = report.unmeasurable !== null;
    const claims = report.claims.slice(0, MAX_TOLD_CLAIMS).map(toldClaim);
    if (report.claims.length > MAX_TOLD_CLAIMS || report.claimsTruncated) claims.push({ code: "unmeasurable", detail: "and more entries" });
    if (report.unmeasurable) {
      claims.unshift({ code: "unmeasurable", detail: `over budget: ${report.unmeasurable}` });
      if (SIZES.has(report.unmeasurable)) claims.push({ code: "over-budget", detail: report.unmeasurable });
    }
    return {
      changes: report.changes.map(({ path, before, after, ino }) => ({ path, before, after, inode: ino })),
      // Going over budget, or coming back, replaces everything: that is no list of changes.
      truncated: report.truncated || wasOverBudget !== this.#overBudget,
      entries: report.entries,
      hashedBytes: report.hashedBytes,
      claims,
    };
  }

  root(): Buffer {
    return this.#overBudget ? EMPTY_ROOT : guarded(() => this.#tree.root());
  }

  get size(): number {
    return this.#overBudget ? 0 : guarded(() => this.#tree.size);
  }

  descend(key: Buffer, bits: number): MeasuredPosition {
    return this.#overBudget ? { kind: "empty" } : guarded(() => this.#tree.descend(key, bits));
  }

  entries(maxBytes: number): readonly { readonly path: Buffer; readonly record: Buffer; readonly inode: bigint }[] | undefined {
    if (this.#overBudget) return [];
    const all: { path: Buffer; record: Buffer; inode: bigint }[] = [];
    let bytes = 0;
    for (let last: Buffer | undefined; ; last = all.at(-1)?.path) {
      const after = last && { after: pathKey(last) };
      const { entries, truncated } = guarded(() => this.#tree.entries({ maxEntries: PAGE_ENTRIES, ...after }));
      for (const { path, record, ino } of entries) {
        bytes += path.length + record.length;
        if (bytes > maxBytes) return undefined;
        all.push({ path, record, inode: ino });
      }
      if (!truncated) return all;
    }
  }

  close(): void {
    this.#tree.close();
  }
}
