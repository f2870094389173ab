/** A log as someone else keeps it: in a directory or behind a URL. Everything read is untrusted and bounded. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { decodeBundle, MAX_BUNDLE_BYTES } from "@hullmark/verifier/core/transparency/bundle";
import { MAX_NOTE_BYTES } from "@hullmark/verifier/core/transparency/note";
import { type TileId, tilePath } from "@hullmark/verifier/core/transparency/tile";
import { type LogReader, TILE_WIDTH } from "@hullmark/verifier/ports/log-store";
import { because } from "../output/because.ts";

const TILE_BYTES = 8192;
const FETCH_TIMEOUT_MS = 30_000;

/** Reads one resource of a log, for example `tile/0/000.p/3`; undefined where it does not exist. */
export type ReadResource = (path: string, maxBytes: number) => Promise<Buffer | undefined>;

/** A reader over static resources. A partial tile or bundle that is gone is looked for in its full one, as C2SP tlog-tiles allows. */
export function resourceReader(read: ReadResource): LogReader & { readNote(): Promise<string | undefined> } {
  const readEither = async (tile: TileId, maxBytes: number): Promise<Buffer | undefined> =>
    (await read(tilePath(tile), maxBytes)) ?? (tile.width < TILE_WIDTH ? await read(tilePath({ ...tile, width: TILE_WIDTH }), maxBytes) : undefined);
  const readNote = async () => (await read("checkpoint", MAX_NOTE_BYTES))?.toString("utf8");
  return {
    readNote,
    readTile: (level, index, width) => readEither({ level, index, width }, TILE_BYTES),
    async readEntries(first, count) {
      const offset = first % TILE_WIDTH;
      const bundle = await readEither({ level: "entries", index: Math.floor(first / TILE_WIDTH), width: offset + count }, MAX_BUNDLE_BYTES);
      return bundle ? decodeBundle(bundle).slice(offset, offset + count) : [];
    },
    async readCheckpoint() {
      const note = await readNote();
      // The size is only believed once the note is opened.
      return note === undefined ? undefined : { size: 0, note };
    },
  };
}

/** Resources below a directory. @throws the system's error for anything but absence; an Error for a file larger than it may be */
export function directoryResources(directory: string): ReadResource {
  return async (path, maxBytes) => {
    const file = await open(join(directory, path)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
      throw error;
    });
    if (!file) return undefined;
    try {
      const { size } = await file.stat();
      if (size > maxBytes) throw new Error(`${path}: ${size} bytes, limit ${maxBytes}`);
      return await file.readFile();
    } finally {
      await file.close();
    }
  };
}

/** Resources below a URL prefix, for example `http://verifier:8080/log`. @throws Error for any answer but 200 and 404 */
export function urlResources(prefix: string, signal?: AbortSignal): ReadResource {
  const base = prefix.replace(/\/+$/, "");
  return async (path, maxBytes) => {
    const timeout = AbortSignal.timeout(FETCH_TIMEOUT_MS);
    const bounded = signal ? AbortSignal.any([signal, timeout]) : timeout;
    const response = await fetch(`${base}/${path}`, { redirect: "error", signal: bounded }).catch((cause: unknown) => {
      throw new Error(`${base} cannot be reached: ${because(cause)}`, { cause });
    });
    if (response.status === 404) {
      await response.body?.cancel();
      return undefined;
    }
    if (response.status !== 200 || !response.body) throw new Error(`${path}: HTTP ${response.status}`);
    const chunks: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of response.body) {
      length += chunk.length;
      if (length > maxBytes) throw new Error(`${path}: more than ${maxBytes} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  };
}
