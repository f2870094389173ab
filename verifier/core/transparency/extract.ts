/** Single entries of a log with the proof that they are in it: what can be handed to somebody who has only the log's key. */
import { type LogReader, TILE_WIDTH } from "../../ports/log-store.ts";
import { type LogKeys, openCheckpoint } from "./checkpoint.ts";
import { decodeLogEntry, type LogEntry } from "./entry.ts";
import { TransparencyError } from "./errors.ts";
import { hashLeaf } from "./hash.ts";
import { verifyInclusion } from "./proof.ts";
import { TileHashes } from "./tile-hashes.ts";

/** Entries in one extract. */
export const MAX_EXTRACT_ENTRIES = 100_000;

export interface ExtractedEntry {
  /** Position in the log. */
  readonly index: number;
  readonly entry: Uint8Array;
  /** RFC 6962 inclusion proof at the size of the extract's checkpoint. */
  readonly proof: readonly Uint8Array[];
}

export interface LogExtract {
  /** The signed checkpoint as it was served. */
  readonly note: string;
  /** In the order of the log, each once. */
  readonly entries: readonly ExtractedEntry[];
}

/** An entry that is proven to be in the log. */
export interface ProvenEntry extends LogEntry {
  readonly index: number;
}

/**
 * Reads the whole log and takes out what is wanted. Entries that are not in our format are no one's. What the reader says is not verified here: {@link openExtract} is for that.
 * @throws TransparencyError MISSING, OUT_OF_RANGE for more than {@link MAX_EXTRACT_ENTRIES}, and what {@link openCheckpoint} throws; what the reader throws
 */
export async function extract(reader: LogReader, key: LogKeys, wanted: (entry: LogEntry, index: number) => boolean): Promise<LogExtract> {
  const note = (await reader.readCheckpoint())?.note;
  if (note === undefined) throw new TransparencyError("MISSING", "the log has no checkpoint yet");
  const { size } = openCheckpoint(note, key);
  const hashes = new TileHashes(reader, size);
  const entries: ExtractedEntry[] = [];
  for (let first = 0; first < size; first += TILE_WIDTH) {
    const count = Math.min(TILE_WIDTH, size - first);
    const bundle = await reader.readEntries(first, count);
    if (bundle.length !== count) throw new TransparencyError("MISSING", `entries ${first} to ${first + count - 1}`);
    for (const [at, entry] of bundle.entries()) {
      const decoded = decodedOrNot(entry);
      if (!decoded || !wanted(decoded, first + at)) continue;
      if (entries.length === MAX_EXTRACT_ENTRIES) throw new TransparencyError("OUT_OF_RANGE", `more than ${MAX_EXTRACT_ENTRIES} entries`);
      entries.push({ index: first + at, entry, proof: await hashes.inclusionProof(first + at) });
    }
  }
  return { note, entries };
}

/** Verifies an extract that anybody may have made. What it leaves out cannot be seen. @throws TransparencyError UNKNOWN_KEY where it is not by this key; any other: it does not hold */
export function openExtract({ note, entries }: LogExtract, key: LogKeys): readonly ProvenEntry[] {
  const { size, root } = openCheckpoint(note, key);
  let last = -1;
  return entries.map(({ index, entry, proof }) => {
    if (!Number.isSafeInteger(index) || index <= last) throw new TransparencyError("BAD_PROOF", `entry ${index} after entry ${last}`);
    last = index;
    verifyInclusion(hashLeaf(entry), index, size, proof, root);
    return { index, ...decodeLogEntry(entry) };
  });
}

function decodedOrNot(bytes: Uint8Array): LogEntry | undefined {
  try {
    return decodeLogEntry(bytes);
  } catch (error) {
    if (error instanceof TransparencyError) return undefined;
    throw error;
  }
}
