/**
 * `binary_runtime_measurements` of securityfs, or `ascii_runtime_measurements`, which is told as the former. The verifier says which entry it wants: nothing is kept but where that entry was found, and an agent that has
 * lost that looks from the start.
 */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { CodecError, isImaAscii, MAX_IMA_ENTRY_BYTES, MAX_IMA_REPORT_BYTES, readImaAsciiEntry, readImaEntry } from "@hullmark/proto/codec";
import type { ImaList, ImaPart } from "../../ports/ima-list.ts";

const CHUNK_BYTES = 65_536;
const ABSENT: ImaPart = { entries: Buffer.alloc(0), more: false, absent: true };

/** @param path undefined: this node has no list */
export function imaListFile(path: string | undefined): ImaList {
  /** An entry and the byte where it begins. */
  let known = { entry: 0, offset: 0 };
  return {
    async read(from) {
      const handle = path === undefined ? undefined : await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch(() => undefined);
      if (!handle) return ABSENT;
      try {
        const start = known.entry <= from ? known : { entry: 0, offset: 0 };
        const offset = await skip(handle, start.offset, from - start.entry);
        if (offset === undefined) return ABSENT;
        known = { entry: from, offset };
        const entries: Buffer[] = [];
        let length = 0;
        for await (const { entry } of entriesFrom(handle, offset)) {
          if (length + entry.length > MAX_IMA_REPORT_BYTES) return { entries: Buffer.concat(entries), more: true, absent: false };
          entries.push(entry);
          length += entry.length;
        }
        return { entries: Buffer.concat(entries), more: false, absent: false };
      } catch (error) {
        // No measurement list, or none that is known: as good as none.
        if (error instanceof CodecError) return ABSENT;
        throw error;
      } finally {
        await handle.close();
      }
    },
  };
}

/** @returns the byte after `count` entries; undefined where there are not so many */
async function skip(handle: FileHandle, offset: number, count: number): Promise<number | undefined> {
  let at = offset;
  let left = count;
  if (left > 0)
    for await (const { length } of entriesFrom(handle, at)) {
      at += length;
      if (--left === 0) break;
    }
  return left === 0 ? at : undefined;
}

interface ReadEntry {
  /** In the binary form. */
  readonly entry: Buffer;
  /** Bytes in the file. */
  readonly length: number;
}

/** Whole entries. What is cut at the end is being written, and comes next time. @throws CodecError where this is no measurement list */
async function* entriesFrom(handle: FileHandle, offset: number): AsyncGenerator<ReadEntry> {
  const { buffer: start, bytesRead: known } = await handle.read(Buffer.alloc(2), 0, 2, 0);
  const cut = isImaAscii(start.subarray(0, known)) ? readImaAsciiEntry : cutBinary;
  let held = Buffer.alloc(0);
  // Text has two digits for a byte.
  for (let position = offset; held.length <= 3 * MAX_IMA_ENTRY_BYTES; ) {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    held = Buffer.concat([held, buffer.subarray(0, bytesRead)]);
    let at = 0;
    for (let read = cut(held, at); read; read = cut(held, at)) {
      yield read;
      at += read.length;
    }
    held = held.subarray(at);
  }
}

function cutBinary(held: Buffer, at: number): ReadEntry | undefined {
  const entry = readImaEntry(held, at);
  return entry && { entry: held.subarray(at, at + entry.length), length: entry.length };
}
