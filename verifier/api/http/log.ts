/** The log as static resources (C2SP tlog-tiles). Nothing beyond the newest signed checkpoint is served. */
import type { FastifyInstance, FastifyReply } from "fastify";
import { encodeBundle } from "../../core/transparency/bundle.ts";
import { TransparencyError } from "../../core/transparency/errors.ts";
import { LOG_HASH_BYTES } from "../../core/transparency/hash.ts";
import { parseTilePath, type TileId, tileWidth } from "../../core/transparency/tile.ts";
import { type LogReader, TILE_WIDTH } from "../../ports/log-store.ts";

const PREFIX = "/log/";
const FOREVER = "public, max-age=31536000, immutable";

export function registerLogRoutes(server: FastifyInstance, log: LogReader): void {
  server.get("/log/checkpoint", async (_request, reply) => {
    const checkpoint = await log.readCheckpoint();
    if (!checkpoint) return await notFound(reply);
    return await reply.header("cache-control", "no-cache").type("text/plain; charset=utf-8").send(checkpoint.note);
  });
  server.get("/log/tile/*", async (request, reply) => {
    const tile = tileOf(request.url);
    const bytes = tile && (await readTile(log, tile));
    if (!bytes) return await notFound(reply);
    return await reply.header("cache-control", FOREVER).type("application/octet-stream").send(bytes);
  });
}

function tileOf(url: string): TileId | undefined {
  try {
    return parseTilePath(url.slice(PREFIX.length));
  } catch (error) {
    if (error instanceof TransparencyError) return undefined;
    throw error;
  }
}

async function readTile(log: LogReader, { level, index, width }: TileId): Promise<Buffer | undefined> {
  const checkpoint = await log.readCheckpoint();
  const height = level === "entries" ? 0 : level;
  if (!checkpoint || tileWidth(height, index, checkpoint.size) < width) return undefined;
  if (level === "entries") {
    const entries = await log.readEntries(index * TILE_WIDTH, width);
    return entries.length < width ? undefined : encodeBundle(entries);
  }
  const hashes = await log.readTile(level, index, width);
  if (!hashes || hashes.length < width * LOG_HASH_BYTES) return undefined;
  return Buffer.from(hashes.subarray(0, width * LOG_HASH_BYTES));
}

async function notFound(reply: FastifyReply): Promise<FastifyReply> {
  return await reply.code(404).header("cache-control", "no-store").type("text/plain").send("not found\n");
}
