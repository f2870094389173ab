/**
 * Layer compressions as the engines take them: gzip (several members), zstd (several and skippable frames), none; told by magic
 * bytes. Anything after the last member or frame is refused. Bytes are hostile: output is produced only as fast as it is consumed.
 */
import { createGunzip, createZstdDecompress } from "node:zlib";
import { Refusal } from "./refusal.ts";

export type Compression = "gzip" | "zstd" | "none";

const CHUNK_BYTES = 1 << 18;
const GZIP = Buffer.from([0x1f, 0x8b, 0x08]);
const ZSTD = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
const MAGIC_BYTES = 8;

/** The compression that the engines see in the first bytes. @throws Refusal for kinds that only some of them know */
export function detectCompression(start: Buffer): Compression {
  if (start.subarray(0, 3).equals(GZIP)) return "gzip";
  const skippable = start.length >= 8 && (start.readUInt32LE(0) & 0xfffffff0) >>> 0 === 0x184d2a50;
  if (start.subarray(0, 4).equals(ZSTD) || skippable) return "zstd";
  if (start.subarray(0, 3).toString("latin1") === "BZh" || start.subarray(0, 6).toString("latin1") === "\xfd7zXZ\0") {
    throw new Refusal("BAD_COMPRESSION", "bzip2 and xz layers are not supported");
  }
  return "none";
}

/** Decompresses a stream. @throws Refusal BAD_COMPRESSION; errors of the input pass through */
export async function* decompress(input: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const source = input[Symbol.asyncIterator]();
  try {
    const start = await readStart(source);
    const compression = detectCompression(start);
    if (compression !== "none") {
      yield* inflate(compression, start, source);
      return;
    }
    yield start;
    for (let next = await source.next(); !next.done; next = await source.next()) yield next.value;
  } finally {
    await source.return?.();
  }
}

async function readStart(source: AsyncIterator<Buffer>): Promise<Buffer> {
  let start = Buffer.alloc(0);
  while (start.length < MAGIC_BYTES) {
    const next = await source.next();
    if (next.done) break;
    start = Buffer.concat([start, next.value]);
  }
  return start;
}

type Decoder = ReturnType<typeof createGunzip> | ReturnType<typeof createZstdDecompress>;

async function* inflate(compression: "gzip" | "zstd", start: Buffer, source: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  let rest: Buffer | undefined = start;
  while (rest && rest.length > 0) {
    // Flags and window: the library's defaults; zstd windows above 128 MiB are refused, as by the engines.
    const decoder: Decoder = compression === "gzip" ? createGunzip({ chunkSize: CHUNK_BYTES }) : createZstdDecompress({ chunkSize: CHUNK_BYTES });
    const fed = feed(decoder, rest, source);
    // An input that fails must be seen by the reader below, not as an unhandled rejection.
    fed.catch((error: unknown) => decoder.destroy(error as Error));
    try {
      yield* decoder as AsyncIterable<Buffer>;
    } catch (error) {
      throw decodeError(error);
    } finally {
      decoder.destroy();
    }
    rest = await fed;
    if (!rest) return;
    if (compression === "gzip" || decoder.bytesWritten === 0) throw new Refusal("BAD_COMPRESSION", `bytes after the end of the ${compression} stream`);
  }
}

/** Writes input until it is over or the decoder takes no more. @returns what the decoder left, undefined where it took all */
async function feed(decoder: Decoder, first: Buffer, source: AsyncIterator<Buffer>): Promise<Buffer | undefined> {
  let total = 0;
  for (let chunk: Buffer | undefined = first; chunk; ) {
    const current: Buffer = chunk;
    total += current.length;
    const open = await write(decoder, current);
    const left = total - decoder.bytesWritten;
    if (left > 0) return open || !decoder.errored ? current.subarray(current.length - left) : undefined;
    if (!open) return undefined;
    const next: IteratorResult<Buffer> = await source.next();
    chunk = next.done ? undefined : next.value;
  }
  decoder.end();
  return undefined;
}

/** @returns false where the decoder was closed or failed */
function write(decoder: Decoder, chunk: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    const closed = (): void => resolve(false);
    decoder.once("close", closed);
    decoder.write(chunk, (error) => {
      decoder.off("close", closed);
      resolve(!error);
    });
  });
}

function decodeError(error: unknown): unknown {
  const code = (error as { code?: unknown }).code;
  const ofDecoder = typeof code === "string" && (code.startsWith("Z_") || code.startsWith("ZSTD_"));
  return ofDecoder ? new Refusal("BAD_COMPRESSION", `${code}: ${(error as Error).message}`) : error;
}
