/**
 * {@link Spool} as one append-only file of frames, named after its chain, beside a small file that says which chain it is and where it stands.
 * A frame is `u32 length of what follows · u64 seq · 32 bytes digest · body`. A torn frame at the end is cut off at start; anything else that does not
 * fit together begins another chain: numbers that the verifier may hold must never be given to other Evidence.
 */
import { randomBytes } from "node:crypto";
import { closeSync, ftruncateSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { CHAIN_START, evidenceDigest } from "@hullmark/proto/codec";
import type { Spool, SpooledEvidence, SpoolHead } from "../../ports/spool.ts";

export interface FileSpoolOptions {
  /** Directory of its own, mode 0700. */
  readonly directory: string;
  /** Bytes of unacknowledged Evidence, default 64 MiB. Over it `append` refuses. */
  readonly maxBytes?: number;
  /** Of the running kernel. Another than the one that wrote the files means that the node went down: how much of them reached the disk is not known. */
  readonly bootId: string;
}

const HEADER_BYTES = 44;
const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;
/** The file is rewritten when more than this lies acknowledged at its start. */
const COMPACT_BYTES = 4 * 1024 * 1024;

interface Frame extends SpooledEvidence {
  readonly digest: Buffer;
  readonly bytes: number;
}

export class FileSpool implements Spool {
  readonly #directory: string;
  readonly #maxBytes: number;
  readonly #bootId: string;
  #fd: number;
  #head: SpoolHead;
  #frames: Frame[] = [];
  #pendingBytes = 0;
  #staleBytes = 0;

  constructor({ directory, maxBytes = DEFAULT_MAX_BYTES, bootId }: FileSpoolOptions) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#directory = directory;
    this.#maxBytes = maxBytes;
    this.#bootId = bootId;
    const stored = readHead(this.#path("head.json"), bootId);
    this.#head = stored ?? newHead();
    if (!stored) this.#writeHead();
    this.#removeOtherChains();
    this.#fd = this.#open();
    if (!this.#load()) this.restart();
    this.#writeHead();
  }

  head(): SpoolHead {
    return this.#head;
  }

  pending(): { evidence: number; bytes: number } {
    return { evidence: this.#frames.length, bytes: this.#pendingBytes };
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
    this.#frames.push({ seq, digest, body, bytes });
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
    this.#staleBytes = 0;
    this.#head = newHead();
    // From here on the old chain's file belongs to nobody: a crash leaves it to be removed at the next start.
    this.#writeHead();
    closeSync(this.#fd);
    this.#removeOtherChains();
    this.#fd = this.#open();
    return dropped;
  }

  close(): void {
    this.#writeHead();
    closeSync(this.#fd);
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }

  #open(): number {
    return openSync(this.#path(this.#fileName()), "a+", 0o600);
  }

  #fileName(): string {
    return `evidence-${this.#head.chainId.toString("hex")}`;
  }

  #removeOtherChains(): void {
    for (const name of readdirSync(this.#directory)) if (name.startsWith("evidence") && name !== this.#fileName()) rmSync(this.#path(name));
  }

  /**
   * Takes up whole frames whose digest holds and whose numbers follow one another; what comes after is cut off. The head is the newest of frames and head file.
   * @returns false where frames are missing that were here once
   */
  #load(): boolean {
    const data = readFileSync(this.#path(this.#fileName()));
    let at = 0;
    while (at + HEADER_BYTES <= data.length) {
      const bytes = data.readUInt32BE(at) + 4;
      if (bytes < HEADER_BYTES || at + bytes > data.length) break;
      const seq = data.readBigUInt64BE(at + 4);
      const digest = Buffer.from(data.subarray(at + 12, at + HEADER_BYTES));
      const body = Buffer.from(data.subarray(at + HEADER_BYTES, at + bytes));
      const last = this.#frames.at(-1);
      if ((last && seq !== last.seq + 1n) || !evidenceDigest(body).equals(digest)) break;
      this.#frames.push({ seq, digest, body, bytes });
      this.#pendingBytes += bytes;
      at += bytes;
    }
    if (at < data.length) ftruncateSync(this.#fd, at);
    const first = this.#frames[0];
    const last = this.#frames.at(-1);
    if (!first || !last) return true;
    if (last.seq < this.#head.seq || first.seq > this.#head.seq + 1n) return false;
    this.#head = { ...this.#head, seq: last.seq, digest: last.digest };
    return true;
  }

  /** The head goes first: should the agent die in between, frames that the verifier has already are sent again, and are acknowledged again. */
  #compact(): void {
    this.#writeHead();
    const next = this.#path("evidence.new");
    const fd = openSync(next, "w+", 0o600);
    for (const { seq, digest, body, bytes } of this.#frames) {
      const frame = Buffer.allocUnsafe(HEADER_BYTES);
      frame.writeUInt32BE(bytes - 4, 0);
      frame.writeBigUInt64BE(seq, 4);
      digest.copy(frame, 12);
      writeAll(fd, frame);
      writeAll(fd, body);
    }
    renameSync(next, this.#path(this.#fileName()));
    closeSync(this.#fd);
    this.#fd = fd;
    this.#staleBytes = 0;
  }

  #writeHead(): void {
    const { chainId, seq, digest } = this.#head;
    const text = JSON.stringify({ chainId: chainId.toString("hex"), seq: String(seq), digest: digest.toString("hex"), bootId: this.#bootId });
    writeFileSync(this.#path("head.json.new"), text, { mode: 0o600 });
    renameSync(this.#path("head.json.new"), this.#path("head.json"));
  }
}

function newHead(): SpoolHead {
  return { chainId: randomBytes(16), seq: 0n, digest: CHAIN_START };
}

/** @returns undefined where there is none that can be gone on from */
function readHead(path: string, bootId: string): SpoolHead | undefined {
  try {
    const { chainId, seq, digest, bootId: writtenIn } = JSON.parse(readFileSync(path, "utf8")) as Record<string, string>;
    const head = { chainId: Buffer.from(chainId ?? "", "hex"), seq: BigInt(seq ?? ""), digest: Buffer.from(digest ?? "", "hex") };
    return head.chainId.length === 16 && head.digest.length === 32 && head.seq >= 0n && writtenIn === bootId ? head : undefined;
  } catch {
    return undefined;
  }
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}
