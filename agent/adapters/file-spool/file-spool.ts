/**
 * {@link Spool} as one append-only file of frames, beside a small file that says where the chain stands.
 * A frame is `u32 length of what follows · u64 seq · 32 bytes digest · body`. A torn frame at the end (the node lost power) is cut off at start.
 */
import { randomBytes } from "node:crypto";
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { CHAIN_START, evidenceDigest } from "@hullmark/proto/codec";
import type { Spool, SpooledEvidence, SpoolHead } from "../../ports/spool.ts";

export interface FileSpoolOptions {
  /** Directory of its own, mode 0700. */
  readonly directory: string;
  /** Bytes of unacknowledged Evidence, default 64 MiB. Over it `append` refuses. */
  readonly maxBytes?: number;
}

const HEADER_BYTES = 44;
const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;
/** The file is rewritten when more than this lies acknowledged at its start. */
const COMPACT_BYTES = 4 * 1024 * 1024;

interface Frame extends SpooledEvidence {
  readonly bytes: number;
}

export class FileSpool implements Spool {
  readonly #directory: string;
  readonly #maxBytes: number;
  #fd: number;
  #head: SpoolHead;
  #frames: Frame[] = [];
  #pendingBytes = 0;
  #staleBytes = 0;

  constructor({ directory, maxBytes = DEFAULT_MAX_BYTES }: FileSpoolOptions) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#directory = directory;
    this.#maxBytes = maxBytes;
    this.#head = readHead(this.#path("head.json")) ?? newHead();
    this.#fd = openSync(this.#path("evidence"), "a+", 0o600);
    this.#load();
    this.#writeHead();
  }

  head(): SpoolHead {
    return this.#head;
  }

  append({ seq, body }: SpooledEvidence, digest: Buffer): boolean {
    const bytes = HEADER_BYTES + body.length;
    if (this.#pendingBytes + bytes > this.#maxBytes) return false;
    if (seq !== this.#head.seq + 1n) throw new RangeError(`spool: Evidence ${seq} after ${this.#head.seq}`);
    const frame = Buffer.allocUnsafe(bytes);
    frame.writeUInt32BE(bytes - 4, 0);
    frame.writeBigUInt64BE(seq, 4);
    digest.copy(frame, 12);
    body.copy(frame, HEADER_BYTES);
    writeAll(this.#fd, frame);
    this.#frames.push({ seq, body, bytes });
    this.#pendingBytes += bytes;
    this.#head = { ...this.#head, seq, digest };
    return true;
  }

  after(afterSeq: bigint): readonly SpooledEvidence[] {
    return this.#frames.filter(({ seq }) => seq > afterSeq);
  }

  acknowledge(seq: bigint): void {
    let count = 0;
    for (const frame of this.#frames) {
      if (frame.seq > seq) break;
      count++;
      this.#pendingBytes -= frame.bytes;
      this.#staleBytes += frame.bytes;
    }
    if (count === 0) return;
    this.#frames.splice(0, count);
    if (this.#frames.length === 0 || this.#staleBytes > COMPACT_BYTES) this.#compact();
  }

  restart(): number {
    const dropped = this.#frames.length;
    this.#frames = [];
    this.#pendingBytes = 0;
    // The frames of the old chain must be gone before the new chain's head is on disk.
    ftruncateSync(this.#fd, 0);
    this.#head = newHead();
    this.#compact();
    return dropped;
  }

  close(): void {
    this.#writeHead();
    closeSync(this.#fd);
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }

  /** Takes up whole frames whose digest holds; the head is the newest of file and head file. */
  #load(): void {
    const data = readFileSync(this.#path("evidence"));
    let at = 0;
    while (at + HEADER_BYTES <= data.length) {
      const bytes = data.readUInt32BE(at) + 4;
      if (bytes < HEADER_BYTES || at + bytes > data.length) break;
      const seq = data.readBigUInt64BE(at + 4);
      const digest = Buffer.from(data.subarray(at + 12, at + HEADER_BYTES));
      const body = Buffer.from(data.subarray(at + HEADER_BYTES, at + bytes));
      if (!evidenceDigest(body).equals(digest)) break;
      this.#frames.push({ seq, body, bytes });
      this.#pendingBytes += bytes;
      if (seq > this.#head.seq) this.#head = { ...this.#head, seq, digest };
      at += bytes;
    }
    if (at < data.length) ftruncateSync(this.#fd, at);
  }

  /** The head goes first: should the agent die in between, frames that the verifier has already are sent again, and are acknowledged again. */
  #compact(): void {
    this.#writeHead();
    const next = this.#path("evidence.new");
    const fd = openSync(next, "w+", 0o600);
    for (const { seq, body, bytes } of this.#frames) {
      const frame = Buffer.allocUnsafe(HEADER_BYTES);
      frame.writeUInt32BE(bytes - 4, 0);
      frame.writeBigUInt64BE(seq, 4);
      evidenceDigest(body).copy(frame, 12);
      writeAll(fd, frame);
      writeAll(fd, body);
    }
    renameSync(next, this.#path("evidence"));
    closeSync(this.#fd);
    this.#fd = fd;
    this.#staleBytes = 0;
  }

  #writeHead(): void {
    const { chainId, seq, digest } = this.#head;
    const text = JSON.stringify({ chainId: chainId.toString("hex"), seq: String(seq), digest: digest.toString("hex") });
    writeFileSync(this.#path("head.json.new"), text, { mode: 0o600 });
    renameSync(this.#path("head.json.new"), this.#path("head.json"));
  }
}

function newHead(): SpoolHead {
  return { chainId: randomBytes(16), seq: 0n, digest: CHAIN_START };
}

function readHead(path: string): SpoolHead | undefined {
  try {
    const { chainId, seq, digest } = JSON.parse(readFileSync(path, "utf8")) as Record<string, string>;
    const head = { chainId: Buffer.from(chainId ?? "", "hex"), seq: BigInt(seq ?? ""), digest: Buffer.from(digest ?? "", "hex") };
    return head.chainId.length === 16 && head.digest.length === 32 && head.seq >= 0n ? head : undefined;
  } catch {
    return undefined;
  }
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}
