/** A log while it grows, read more than once. */
import { createHash } from "node:crypto";
import { TransparencyError } from "@hullmark/verifier/core/transparency/errors";
import { hashLeaf } from "@hullmark/verifier/core/transparency/hash";
import type { LogReader } from "@hullmark/verifier/ports/log-store";

/**
 * The log as it is at its newest checkpoint now, however often it is read: what was read before is the same again, whoever serves it.
 * @throws TransparencyError MISSING where it has none yet; reading throws INCONSISTENT where entries are others than before
 */
export async function steady(reader: LogReader): Promise<LogReader & { readonly note: string }> {
  const checkpoint = await reader.readCheckpoint();
  if (!checkpoint) throw new TransparencyError("MISSING", "the log has no checkpoint yet");
  const read = new Map<string, Buffer>();
  return {
    note: checkpoint.note,
    readCheckpoint: async () => checkpoint,
    readTile: (level, index, width) => reader.readTile(level, index, width),
    async readEntries(first, count) {
      const entries = await reader.readEntries(first, count);
      const hash = createHash("sha256");
      for (const entry of entries) hash.update(hashLeaf(entry));
      const [place, digest] = [`${first} ${count}`, hash.digest()];
      if (!(read.get(place) ?? digest).equals(digest))
        throw new TransparencyError("INCONSISTENT", `entries from ${first} on are others than they were when read before`);
      read.set(place, digest);
      return entries;
    },
  };
}
