/**
 * Byte helpers for the canonical encodings: an append-only writer and a bounded reader.
 * Every integer is big-endian; every variable field is preceded by its length.
 */
import { CodecError } from "./errors.ts";

/** Appends fields to a growing buffer. Not thread-safe; `finish()` hands the bytes over to the caller. */
export class ByteWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(initialBytes = 256) {
    this.#buffer = Buffer.allocUnsafe(initialBytes);
  }

  #reserve(bytes: number): number {
    const at = this.#length;
    const needed = at + bytes;
    if (needed > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
      this.#buffer.copy(grown, 0, 0, at);
      this.#buffer = grown;
    }
    this.#length = needed;
    return at;
  }

  u8(value: number): this {
    const at = this.#reserve(1);
    this.#buffer.writeUInt8(value, at);
    return this;
  }

  u16(value: number): this {
    const at = this.#reserve(2);
    this.#buffer.writeUInt16BE(value, at);
    return this;
  }

  u32(value: number): this {
    const at = this.#reserve(4);
    this.#buffer.writeUInt32BE(value, at);
    return this;
  }

  u64(value: bigint): this {
    const at = this.#reserve(8);
    this.#buffer.writeBigUInt64BE(value, at);
    return this;
  }

  /** Bytes without a length: only for fields of fixed width. */
  fixed(value: Uint8Array, bytes: number): this {
    if (value.length !== bytes) throw new CodecError("WRONG_LENGTH", `fixed field: got ${value.length} bytes, want ${bytes}`);
    const at = this.#reserve(bytes);
    this.#buffer.set(value, at);
    return this;
  }

  /** A u32 length, then the bytes. */
  bytes(value: Uint8Array): this {
    this.u32(value.length);
    const at = this.#reserve(value.length);
    this.#buffer.set(value, at);
    return this;
  }

  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }
}

/** Reads what {@link ByteWriter} wrote. The bytes come from the peer: every read is bounded, and `end()` rejects trailing bytes. */
export class ByteReader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  #take(bytes: number): number {
    const at = this.#at;
    if (bytes > this.#buffer.length - at) throw new CodecError("TRUNCATED", `want ${bytes} bytes at ${at}, have ${this.#buffer.length - at}`);
    this.#at = at + bytes;
    return at;
  }

  u8(): number {
    return this.#buffer.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.#buffer.readUInt16BE(this.#take(2));
  }

  u32(): number {
    return this.#buffer.readUInt32BE(this.#take(4));
  }

  u64(): bigint {
    return this.#buffer.readBigUInt64BE(this.#take(8));
  }

  /** A view of the next `bytes` bytes; it shares memory with the input. */
  fixed(bytes: number): Buffer {
    const at = this.#take(bytes);
    return this.#buffer.subarray(at, at + bytes);
  }

  /** A length-prefixed field of at most `maxBytes`. */
  bytes(maxBytes: number): Buffer {
    const length = this.u32();
    if (length > maxBytes) throw new CodecError("TOO_LONG", `field of ${length} bytes, limit ${maxBytes}`);
    return this.fixed(length);
  }

  /** Bytes not read yet. */
  get remaining(): number {
    return this.#buffer.length - this.#at;
  }

  end(): void {
    if (this.#at !== this.#buffer.length) throw new CodecError("TRAILING_BYTES", `${this.#buffer.length - this.#at} bytes after the end`);
  }
}

/** A {@link ByteReader} for what firmware and kernels write: integers are little-endian. */
export class LittleEndianReader extends ByteReader {
  override u16(): number {
    return this.fixed(2).readUInt16LE(0);
  }

  override u32(): number {
    return this.fixed(4).readUInt32LE(0);
  }

  override u64(): bigint {
    return this.fixed(8).readBigUInt64LE(0);
  }
}
