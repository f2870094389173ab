/** {@link ChangedFiles} by what is measured over a container's layers, read there as a measurer reads: no link followed, no mount crossed. Small files first, so that a large one keeps none out. */
import { isUtf8 } from "node:buffer";
import { type ArchiveEntry, archive } from "@hullmark/capture/archive";
import { type Archived, CaptureError, type Change, type ChangedFiles, type FoundChanges } from "@hullmark/capture/capture";
import { decodeRecord } from "@hullmark/proto/codec";
import type { TreePlace } from "../../core/file-contents.ts";
import { withSignal } from "../../core/with-signal.ts";
import { type ContentReader, ContentReaderError, type ContentReaderErrorCode } from "../../ports/content-reader.ts";

type Entry = Pick<NonNullable<ReturnType<TreePlace["tree"]["entries"]>>[number], "path" | "record">;

export interface MeasuredContainer {
  /** What lies over its layers; undefined: it is not known. */
  readonly place: TreePlace | undefined;
  /** Why that is not known, or not all; undefined: it is. */
  readonly problem: string | undefined;
  /** Where something is mounted in it. */
  readonly mounts: readonly string[];
}

/** No more than is told as Evidence: a container that makes more files is unmeasurable for that, and is not to take the agent's memory either. Paths and records. */
const MAX_LISTED = 50_000;
const MAX_LISTED_BYTES = 8 * 2 ** 20;
/** Header, padding and end of an archive of one file. */
const ARCHIVE_BYTES = 2560;

const LEFT: Readonly<Record<ContentReaderErrorCode, "too-large" | "gone" | "unreadable">> = {
  TOO_LARGE: "too-large",
  CHANGED: "gone",
  OTHER_NAMES: "unreadable",
  UNREADABLE: "unreadable",
};

export class DeltaFiles implements ChangedFiles {
  readonly #container: () => MeasuredContainer | undefined;
  readonly #reader: Pick<ContentReader, "readAsItIs">;
  readonly #entries = new Map<Change, Entry>();
  #root = "";

  /** @param container as it is when it is looked at: another policy has it measured anew, and closes the tree of before; undefined: it is gone */
  constructor(container: () => MeasuredContainer | undefined, reader: Pick<ContentReader, "readAsItIs">) {
    this.#container = container;
    this.#reader = reader;
  }

  async mounts(): Promise<readonly string[]> {
    return this.#present().mounts.map((destination) => destination.replace(/\/+$/, ""));
  }

  async changes(): Promise<FoundChanges> {
    const { place, problem } = this.#present();
    if (!place) throw new CaptureError(problem ?? "what it changed is not known");
    const { root, tree } = place;
    this.#root = root;
    const entries = tree.size <= MAX_LISTED ? tree.entries(MAX_LISTED_BYTES) : undefined;
    if (!entries) throw new CaptureError(`${tree.size} changed paths are more than can be listed`);
    const found = entries.map((entry) => ({ entry, ...changeAndSize(entry) }));
    for (const { change, entry } of found.sort((a, b) => a.size - b.size)) this.#entries.set(change, entry);
    return { changes: [...this.#entries.keys()], ...(problem !== undefined && { problem }) };
  }

  async archive(change: Change, { maxBytes }: { readonly maxBytes: number }, signal: AbortSignal): Promise<Archived> {
    signal.throwIfAborted();
    const known = this.#entries.get(change);
    if (!known) return { left: "gone" };
    const { path } = known;
    const record = decodeRecord(known.record);
    if (record.type === "d") return { left: "directory" };
    const named = { name: textOf(path).replace(/^\/+/, ""), mode: record.mode, uid: record.uid, gid: record.gid };
    if (record.type === "l") return await within(maxBytes, { ...named, content: Buffer.alloc(0), target: textOf(record.target) });
    if (record.type !== "f") return { left: "special" };
    try {
      const content = await withSignal(this.#reader.readAsItIs(this.#root, path, Math.max(0, maxBytes - ARCHIVE_BYTES)), signal);
      return await within(maxBytes, { ...named, content });
    } catch (error) {
      if (error instanceof ContentReaderError) return { left: LEFT[error.code] };
      throw error;
    }
  }

  #present(): MeasuredContainer {
    const container = this.#container();
    if (!container) throw new CaptureError("it is gone from this node");
    return container;
  }
}

function changeAndSize({ path, record: bytes }: Entry): { readonly change: Change; readonly size: number } {
  const record = decodeRecord(bytes);
  const kind = record.type === "w" ? "deleted" : "changed";
  const change: Change = { path: `/${textOf(path)}`, kind, ...(isUtf8(path) ? {} : { pathHex: path.toString("hex") }) };
  return { change, size: record.type === "f" ? Number(record.size) : -1 };
}

/** Of what is no UTF-8 a likeness. */
function textOf(bytes: Buffer): string {
  return isUtf8(bytes) ? bytes.toString() : bytes.toString("latin1");
}

async function within(maxBytes: number, entry: ArchiveEntry): Promise<Archived> {
  const tar = await archive([entry]);
  return tar.length > maxBytes ? { left: "too-large" } : { tar };
}
