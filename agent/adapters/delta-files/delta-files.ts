/** {@link ChangedFiles} by what is measured over a container's layers, read there as a measurer reads: no link followed, no mount crossed. Small files first, so that a large one keeps none out. */
import { isUtf8 } from "node:buffer";
import { type ArchiveEntry, archive } from "@hullmark/capture/archive";
import { type Archived, CaptureError, type Change, type ChangedFiles } from "@hullmark/capture/capture";
import { decodeRecord } from "@hullmark/proto/codec";
import type { TreePlace } from "../../core/file-contents.ts";
import { withSignal } from "../../core/with-signal.ts";
import { type ContentReader, ContentReaderError, type ContentReaderErrorCode } from "../../ports/content-reader.ts";

export interface MeasuredContainer {
  /** What lies over its layers; undefined: it is measured with them, and what it changed is not told apart, or it is gone. */
  readonly place: TreePlace | undefined;
  /** Where something is mounted in it. */
  readonly mounts: readonly string[];
}

/** Paths and records of what is listed. */
const MAX_LISTED_BYTES = 32 * 2 ** 20;
/** Header, padding and end of an archive of one file. */
const ARCHIVE_BYTES = 2560;

const LEFT: Readonly<Record<ContentReaderErrorCode, "too-large" | "gone" | "unreadable">> = {
  TOO_LARGE: "too-large",
  CHANGED: "gone",
  OTHER_NAMES: "unreadable",
  UNREADABLE: "unreadable",
};

export class DeltaFiles implements ChangedFiles {
  readonly #container: MeasuredContainer;
  readonly #reader: Pick<ContentReader, "readAsItIs">;
  readonly #records = new Map<Change, { readonly path: Buffer; readonly record: ReturnType<typeof decodeRecord> }>();

  constructor(container: MeasuredContainer, reader: Pick<ContentReader, "readAsItIs">) {
    this.#container = container;
    this.#reader = reader;
  }

  async mounts(): Promise<readonly string[]> {
    return this.#container.mounts.map((destination) => destination.replace(/\/+$/, ""));
  }

  async changes(): Promise<readonly Change[]> {
    const { tree } = this.#place();
    const entries = tree.entries(MAX_LISTED_BYTES);
    if (!entries) throw new CaptureError(`${tree.size} changed paths are more than can be listed`);
    const found = entries.map(({ path, record }) => ({ path, record: decodeRecord(record) }));
    const sizeOf = ({ record }: (typeof found)[number]): number => (record.type === "f" ? Number(record.size) : -1);
    for (const each of found.sort((a, b) => sizeOf(a) - sizeOf(b))) this.#records.set(changeOf(each), each);
    return [...this.#records.keys()];
  }

  async archive(change: Change, { maxBytes }: { readonly maxBytes: number }, signal: AbortSignal): Promise<Archived> {
    signal.throwIfAborted();
    const known = this.#records.get(change);
    if (!known) return { left: "gone" };
    const { path, record } = known;
    if (record.type === "d") return { left: "directory" };
    const named = { name: textOf(path).replace(/^\/+/, ""), mode: record.mode, uid: record.uid, gid: record.gid };
    if (record.type === "l") return await within(maxBytes, { ...named, content: Buffer.alloc(0), target: textOf(record.target) });
    if (record.type !== "f") return { left: "special" };
    try {
      const content = await withSignal(this.#reader.readAsItIs(this.#place().root, path, Math.max(0, maxBytes - ARCHIVE_BYTES)), signal);
      return await within(maxBytes, { ...named, content });
    } catch (error) {
      if (error instanceof ContentReaderError) return { left: LEFT[error.code] };
      throw error;
    }
  }

  #place(): TreePlace {
    if (!this.#container.place) throw new CaptureError("what it changed is not told apart from its image here");
    return this.#container.place;
  }
}

function changeOf({ path, record }: { readonly path: Buffer; readonly record: ReturnType<typeof decodeRecord> }): Change {
  const kind = record.type === "w" ? "deleted" : "changed";
  return { path: `/${textOf(path)}`, kind, ...(isUtf8(path) ? {} : { pathHex: path.toString("hex") }) };
}

/** Of what is no UTF-8 a likeness. */
function textOf(bytes: Buffer): string {
  return isUtf8(bytes) ? bytes.toString() : bytes.toString("latin1");
}

async function within(maxBytes: number, entry: ArchiveEntry): Promise<Archived> {
  const tar = await archive([entry]);
  return tar.length > maxBytes ? { left: "too-large" } : { tar };
}
