/**
 * A streaming tar reader with the semantics of Go's archive/tar, fed by chunks and without I/O. Content is hashed, and kept only of entries that are asked for.
 * The input is controlled by whoever built the image: what is buffered is bounded by {@link MAX_SPECIAL_BYTES} before it is allocated.
 */
import { createHash, type Hash, hash } from "node:crypto";
import { TarError } from "./tar-error.ts";
import { BLOCK_BYTES, parseHeader, parseString, type TarHeader } from "./tar-header.ts";
import { MAX_SPECIAL_BYTES, mergePax, type PaxRecords, parsePax } from "./tar-pax.ts";
import { checkRuns, inlineMap, LeadingMap, type SparseRun, sparseKind } from "./tar-sparse.ts";

/** One entry, after extended headers. Names are byte strings as written: neither cleaned nor checked. */
export interface TarEntry extends Readonly<TarHeader> {
  readonly pax: ReadonlyMap<string, string>;
  /** SHA-256 of the (expanded) content; of nothing for entries without. */
  readonly sha256: Buffer;
  /** Where it was asked for. */
  readonly content?: Buffer | undefined;
}

export interface TarLimits {
  /** Entries, global headers included. */
  readonly maxEntries: number;
  /** Zero bytes that sparse maps may stand for, over the whole archive: they cost hashing without costing input. */
  readonly maxSparseBytes: number;
}

type State = "header" | "special" | "map" | "data" | "padding" | "done";

const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES);
const ZEROS = Buffer.alloc(1 << 16);
const EMPTY_SHA256 = hash("sha256", "", "buffer");
const HEADER_ONLY = new Set(["1", "2", "3", "4", "5", "6"]);

/** Feed with {@link push}, then {@link end}. A {@link TarError} from either is final. */
export class TarReader {
  readonly #emit: (entry: TarEntry) => void;
  readonly #keeps: (header: TarHeader) => boolean;
  readonly #limits: TarLimits;
  #state: State = "header";
  /** Bytes of the current header block, special file, data or padding still to come. */
  #remaining = BLOCK_BYTES;
  #padding = 0;
  #parts: Buffer[] = [];
  #zeroBlocks = 0;
  #entries = 0;
  #sparseBytes = 0;

  #pax: PaxRecords = new Map();
  #longName = "";
  #longLink = "";
  #header: TarHeader | undefined;
  #hash: Hash | undefined;
  #digest: Buffer | undefined;
  #map: LeadingMap | undefined;
  #runs: SparseRun[] | undefined;
  #position = 0;
  #runIndex = 0;
  #kept: Buffer[] | undefined;

  /** @param keeps whose content is wanted: `size` bytes of it are held until the entry is handed over. Of sparse files it never is */
  constructor(emit: (entry: TarEntry) => void, limits: TarLimits, keeps: (header: TarHeader) => boolean = () => false) {
    this.#emit = emit;
    this.#limits = limits;
    this.#keeps = keeps;
  }

  /** True once two zero blocks were read: what follows is ignored. */
  get done(): boolean {
    return this.#state === "done";
  }

  /** Consumes a chunk; it is not kept. @throws TarError, and whatever `emit` throws */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && this.#state !== "done") {
      const part = chunk.subarray(at, at + Math.min(this.#remaining, chunk.length - at));
      at += part.length;
      this.#remaining -= part.length;
      if (this.#state === "data") this.#data(part);
      else if (this.#state !== "padding") this.#collect(part);
      while (this.#remaining === 0 && this.#advance());
    }
  }

  /** The input is over. @throws TarError where it stops within a header or content; within padding it may */
  end(): void {
    if (this.#state === "done" || this.#state === "padding") return;
    const atHeader = this.#state === "header" && this.#remaining === BLOCK_BYTES;
    if (!atHeader) throw new TarError("tar ends unexpectedly");
  }

  #collect(part: Buffer): void {
    this.#parts.push(this.#remaining === 0 && this.#parts.length === 0 ? part : Buffer.from(part));
  }

  #collected(): Buffer {
    const [only] = this.#parts;
    const whole = this.#parts.length === 1 && only ? only : Buffer.concat(this.#parts);
    this.#parts = [];
    return whole;
  }

  /** Moves to the next state when the current one has all its bytes. @returns whether to look again at once */
  #advance(): boolean {
    switch (this.#state) {
      case "header":
        this.#onBlock(this.#collected());
        return true;
      case "special":
        this.#onSpecial(this.#collected());
        this.#enter("padding", this.#padding);
        return true;
      case "map":
        this.#onMapBlock(this.#collected());
        return true;
      case "data":
        this.#finishEntry();
        return true;
      case "padding":
        this.#enter("header", BLOCK_BYTES);
        return false;
      default:
        return false;
    }
  }

  #enter(state: State, bytes: number): void {
    this.#state = state;
    this.#remaining = bytes;
  }

  #onBlock(block: Buffer): void {
    if (block.equals(ZERO_BLOCK)) {
      this.#zeroBlocks++;
      this.#enter(this.#zeroBlocks === 2 ? "done" : "header", BLOCK_BYTES);
      return;
    }
    if (this.#zeroBlocks > 0) throw new TarError("data after a zero block");
    const header = parseHeader(block);
    if (header.typeflag === "S") throw new TarError("old GNU sparse file");
    const bytes = contentBytes(header);
    if ("xgLK".includes(header.typeflag)) {
      if (bytes > MAX_SPECIAL_BYTES) throw new TarError("extended header too long");
      this.#header = header;
      this.#padding = paddingOf(bytes);
      this.#enter("special", bytes);
      return;
    }
    mergePax(header, this.#pax);
    if (this.#longName !== "") header.name = this.#longName;
    if (this.#longLink !== "") header.linkname = this.#longLink;
    if (header.typeflag === "\0") header.typeflag = header.name.endsWith("/") ? "5" : "0";
    this.#begin(header);
  }

  #begin(header: TarHeader): void {
    const bytes = contentBytes(header);
    this.#header = header;
    this.#padding = paddingOf(bytes);
    this.#hash = undefined;
    this.#digest = undefined;
    this.#runs = undefined;
    this.#kept = undefined;
    const kind = sparseKind(header, this.#pax);
    if (kind !== "none" && HEADER_ONLY.has(header.typeflag)) throw new TarError("sparse entry without content");
    if (kind === "leading") {
      this.#map = new LeadingMap();
      this.#position = bytes;
      this.#nextMapBlock();
      return;
    }
    if (kind === "inline") this.#startRuns(inlineMap(this.#pax), bytes);
    this.#kept = kind === "none" && this.#keeps(header) ? [] : undefined;
    this.#enter("data", bytes);
  }

  #nextMapBlock(): void {
    if (this.#position < BLOCK_BYTES) throw new TarError("sparse map cut short");
    this.#position -= BLOCK_BYTES;
    this.#enter("map", BLOCK_BYTES);
  }

  #onMapBlock(block: Buffer): void {
    const runs = this.#map?.push(block);
    if (!runs) {
      this.#nextMapBlock();
      return;
    }
    const bytes = this.#position;
    this.#startRuns(runs, bytes);
    this.#enter("data", bytes);
  }

  #startRuns(runs: SparseRun[], bytes: number): void {
    const header = this.#header as TarHeader;
    checkRuns(runs, header.size);
    const data = runs.reduce((sum, run) => sum + run.length, 0);
    if (data !== bytes) throw new TarError(`sparse map of ${data} bytes for ${bytes} bytes of data`);
    this.#sparseBytes += header.size - data;
    if (this.#sparseBytes > this.#limits.maxSparseBytes) throw new TarError(`sparse files over ${this.#limits.maxSparseBytes} bytes`);
    this.#runs = runs.filter((run) => run.length > 0);
    this.#runIndex = 0;
    this.#position = 0;
    this.#hash = createHash("sha256");
  }

  #data(part: Buffer): void {
    this.#kept?.push(Buffer.from(part));
    if (this.#runs) this.#sparseData(part);
    else if (this.#hash) this.#hash.update(part);
    else if (this.#remaining === 0) this.#digest = hash("sha256", part, "buffer");
    else this.#hash = createHash("sha256").update(part);
  }

  #sparseData(part: Buffer): void {
    for (let at = 0; at < part.length; ) {
      const run = this.#runs?.[this.#runIndex];
      if (!run) throw new TarError("data beyond the sparse map");
      if (this.#position < run.offset) this.#zeros(run.offset - this.#position);
      const bytes = Math.min(part.length - at, run.offset + run.length - this.#position);
      this.#hash?.update(part.subarray(at, at + bytes));
      this.#position += bytes;
      at += bytes;
      if (this.#position === run.offset + run.length) this.#runIndex++;
    }
  }

  #zeros(bytes: number): void {
    for (let left = bytes; left > 0; left -= ZEROS.length) this.#hash?.update(left < ZEROS.length ? ZEROS.subarray(0, left) : ZEROS);
    this.#position += bytes;
  }

  #finishEntry(): void {
    const header = this.#header as TarHeader;
    if (this.#runs) this.#zeros(header.size - this.#position);
    const sha256 = this.#hash?.digest() ?? this.#digest ?? EMPTY_SHA256;
    this.#deliver({ ...header, pax: this.#pax, sha256, content: this.#kept && Buffer.concat(this.#kept) });
    this.#kept = undefined;
    this.#enter("padding", this.#padding);
  }

  #onSpecial(bytes: Buffer): void {
    const header = this.#header as TarHeader;
    switch (header.typeflag) {
      case "x":
        this.#pax = parsePax(bytes);
        break;
      case "g": {
        const pax = parsePax(bytes);
        this.#deliver({ ...header, name: pax.get("path") || header.name, linkname: "", mode: 0, uid: 0, gid: 0, size: 0, pax, sha256: EMPTY_SHA256 });
        break;
      }
      case "L":
        this.#longName = parseString(bytes, 0, bytes.length);
        break;
      default:
        this.#longLink = parseString(bytes, 0, bytes.length);
    }
  }

  #deliver(entry: TarEntry): void {
    if (++this.#entries > this.#limits.maxEntries) throw new TarError(`over ${this.#limits.maxEntries} entries`);
    this.#pax = new Map();
    this.#longName = "";
    this.#longLink = "";
    this.#emit(entry);
  }
}

function contentBytes(header: TarHeader): number {
  if (HEADER_ONLY.has(header.typeflag)) return 0;
  if (header.size < 0) throw new TarError("negative size");
  return header.size;
}

function paddingOf(bytes: number): number {
  return (BLOCK_BYTES - (bytes % BLOCK_BYTES)) % BLOCK_BYTES;
}
