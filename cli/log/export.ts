/** A static copy of a log in a directory: what any tile-log client reads, and `hullmark log verify --dir` too. */
import { mkdir, open, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { MAX_BUNDLE_BYTES } from "@hullmark/verifier/core/transparency/bundle";
import { type Checkpoint, type LogKeys, openCheckpoint } from "@hullmark/verifier/core/transparency/checkpoint";
import { MAX_NOTE_BYTES } from "@hullmark/verifier/core/transparency/note";
import { tilePath, tilesOf } from "@hullmark/verifier/core/transparency/tile";
import { TILE_WIDTH } from "@hullmark/verifier/ports/log-store";
import { directoryResources, type ReadResource } from "./readers.ts";

/**
 * Copies what the newest checkpoint covers; full tiles that are there already are left alone, so that it can be run again and again into one directory.
 * The checkpoint is written last: an interrupted copy is still the old one. It does not verify the tiles: verify the copy.
 * @throws TransparencyError where the checkpoint is not by this key; Error where something is missing
 */
export async function exportLog(read: ReadResource, key: LogKeys, directory: string): Promise<{ readonly checkpoint: Checkpoint; readonly copied: number }> {
  const note = await read("checkpoint", MAX_NOTE_BYTES);
  if (!note) throw new Error("the log has no checkpoint yet");
  const checkpoint = openCheckpoint(note.toString("utf8"), key);
  const present = directoryResources(directory);
  let copied = 0;
  for (const tile of tilesOf(checkpoint.size)) {
    const path = tilePath(tile);
    if (tile.width === TILE_WIDTH && (await present(path, MAX_BUNDLE_BYTES))) continue;
    const bytes = await read(path, MAX_BUNDLE_BYTES);
    if (!bytes) throw new Error(`${path} is not there`);
    await writeWhole(join(directory, path), bytes);
    copied++;
  }
  await writeWhole(join(directory, "checkpoint"), note);
  return { checkpoint, copied };
}

async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.new`;
  const file = await open(temporary, "w", 0o644);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}
