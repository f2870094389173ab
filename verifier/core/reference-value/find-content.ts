/** The content of one file in a layer's blob, found by its digest: whatever its name there, it is the content that was signed. */
import { decompress } from "./decompress.ts";
import { Refusal } from "./refusal.ts";
import { DEFAULT_REPLAY_LIMITS } from "./replay.ts";
import { TarError } from "./tar-error.ts";
import { TarReader } from "./tar-reader.ts";

export interface WantedContent {
  readonly sha256: Buffer;
  /** Bytes: so many are held at the most. */
  readonly size: number;
}

/**
 * Reads the blob only as far as it must; breaking off closes it. Of its bytes nothing but that content counts, which its digest proves.
 * @param maxBlobBytes more than the manifest says is not read
 * @returns undefined: the blob has no such file, or is no layer. Errors of `blob` (network, abort) pass through
 */
export async function findContent(blob: AsyncIterable<Buffer>, maxBlobBytes: number, wanted: WantedContent, signal: AbortSignal): Promise<Buffer | undefined> {
  let found: Buffer | undefined;
  const reader = new TarReader(
    ({ content, sha256 }) => {
      if (content && sha256.equals(wanted.sha256)) found = content;
    },
    DEFAULT_REPLAY_LIMITS,
    ({ size }) => size === wanted.size,
  );
  let bytes = 0;
  try {
    for await (const chunk of decompress(bounded(blob, maxBlobBytes))) {
      signal.throwIfAborted();
      bytes += chunk.length;
      if (bytes > DEFAULT_REPLAY_LIMITS.maxTarBytes) return undefined;
      reader.push(chunk);
      if (found !== undefined || reader.done) return found;
    }
  } catch (error) {
    if (!(error instanceof Refusal) && !(error instanceof TarError)) throw error;
  }
  return found;
}

async function* bounded(blob: AsyncIterable<Buffer>, maxBytes: number): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of blob) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new Refusal("BLOB_MISMATCH", `blob longer than its ${maxBytes} bytes`);
    yield chunk;
  }
}
