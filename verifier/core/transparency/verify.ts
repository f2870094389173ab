/** Verifies a whole log from nothing but its public parts: what `hullmark log verify` does, offline as well. */
import { type LogReader, TILE_WIDTH } from "../../ports/log-store.ts";
import { EMPTY_EDGE, edgeRoot, planAppend } from "./append.ts";
import { type Checkpoint, type LogKeys, openCheckpoint } from "./checkpoint.ts";
import { decodeLogEntry, type LogEntryType } from "./entry.ts";
import { TransparencyError } from "./errors.ts";
import { EMPTY_LOG_ROOT } from "./hash.ts";
import { tilePath, tileWidth } from "./tile.ts";

/** `tampered`: something contradicts what was signed. `incomplete`: something needed is absent or unreadable, so it cannot be told. */
export type LogVerdict = "ok" | "tampered" | "incomplete";

export interface LogFinding {
  readonly verdict: "tampered" | "incomplete";
  /** Which part, for example `tile/0/x001/067` or `checkpoint`. */
  readonly where: string;
  readonly message: string;
}

export interface LogVerification {
  readonly verdict: LogVerdict;
  readonly checkpoint: Checkpoint | undefined;
  /** The checkpoint's note, where it could be opened: what to remember for the next time. */
  readonly note: string | undefined;
  readonly since: Checkpoint | undefined;
  /** At most {@link MAX_FINDINGS}. */
  readonly findings: readonly LogFinding[];
  readonly entries: number;
  readonly tiles: number;
  /** How many entries of each type; `other` for those not in this format. */
  readonly types: Readonly<Partial<Record<LogEntryType | "other", number>>>;
}

export const MAX_FINDINGS = 32;

/**
 * Checks the checkpoint's signature, every entry against its leaf hash, every tile of every level, the root, and that a remembered checkpoint is a prefix.
 * Memory is bounded by one bundle; everything read is untrusted. Failing to read is a finding, never a pass.
 * @param since a checkpoint note remembered from earlier, by the same key
 */
export async function verifyLog(reader: LogReader, key: LogKeys, since?: string, signal?: AbortSignal): Promise<LogVerification> {
  const verification = new Verification(reader, signal);
  const remembered = since === undefined ? undefined : verification.open("remembered checkpoint", since, key);
  const note = await verification.read("checkpoint", () => reader.readCheckpoint());
  const checkpoint = note && verification.open("checkpoint", note.note, key);
  if (checkpoint && remembered) verification.compare(remembered, checkpoint);
  if (checkpoint) await verification.replay(checkpoint, remembered);
  return verification.result(checkpoint, checkpoint && note?.note, remembered);
}

class Verification {
  readonly #reader: LogReader;
  readonly #signal: AbortSignal | undefined;
  readonly #findings: LogFinding[] = [];
  readonly #types: Partial<Record<LogEntryType | "other", number>> = {};
  #entries = 0;
  #tiles = 0;

  constructor(reader: LogReader, signal: AbortSignal | undefined) {
    this.#reader = reader;
    this.#signal = signal;
  }

  result(checkpoint: Checkpoint | undefined, note: string | undefined, since: Checkpoint | undefined): LogVerification {
    const tampered = this.#findings.some(({ verdict }) => verdict === "tampered");
    const verdict: LogVerdict = tampered ? "tampered" : this.#findings.length > 0 || !checkpoint ? "incomplete" : "ok";
    return { verdict, checkpoint, note, since, findings: this.#findings, entries: this.#entries, tiles: this.#tiles, types: this.#types };
  }

  #find(verdict: LogFinding["verdict"], where: string, message: string): void {
    if (this.#findings.length < MAX_FINDINGS) this.#findings.push({ verdict, where, message });
  }

  /** A wrong signature by the right key is tampering; a note without one by this key says nothing of this log. */
  open(where: string, note: string, key: LogKeys): Checkpoint | undefined {
    try {
      return openCheckpoint(note, key);
    } catch (error) {
      if (!(error instanceof TransparencyError)) throw error;
      this.#find(error.code === "UNKNOWN_KEY" || error.code === "BAD_NOTE" ? "incomplete" : "tampered", where, error.message);
      return undefined;
    }
  }

  /** undefined, with a finding, where it is absent or cannot be read. */
  async read<T>(where: string, read: () => Promise<T | undefined>): Promise<T | undefined> {
    this.#signal?.throwIfAborted();
    try {
      const value = await read();
      if (value === undefined) this.#find("incomplete", where, "is not there");
      return value;
    } catch (error) {
      this.#signal?.throwIfAborted();
      const malformed = error instanceof TransparencyError && error.code.startsWith("BAD_");
      this.#find(malformed ? "tampered" : "incomplete", where, error instanceof Error ? error.message : String(error));
      return undefined;
    }
  }

  compare(remembered: Checkpoint, checkpoint: Checkpoint): void {
    if (checkpoint.size < remembered.size)
      this.#find("tampered", "checkpoint", `the log shrank: ${remembered.size} entries remembered, ${checkpoint.size} now`);
    else if (checkpoint.size === remembered.size && !checkpoint.root.equals(remembered.root))
      this.#find("tampered", "checkpoint", `two roots for size ${checkpoint.size}`);
  }

  /** Builds the log again, bundle by bundle, and holds every stored tile against what comes out. */
  async replay(checkpoint: Checkpoint, remembered: Checkpoint | undefined): Promise<void> {
    let edge = EMPTY_EDGE;
    let whole = true;
    for (let index = 0, width = tileWidth(0, 0, checkpoint.size); width > 0; index++, width = tileWidth(0, index, checkpoint.size)) {
      const where = tilePath({ level: "entries", index, width });
      const entries = await this.read(where, () => this.#reader.readEntries(index * TILE_WIDTH, width));
      if (!entries) return;
      if (entries.length < width) return this.#find("incomplete", where, `${entries.length} entries, want ${width}`);
      const used = entries.slice(0, width);
      for (const entry of used) this.#count(entry);
      const prefix = remembered && remembered.size - edge.size;
      if (remembered && prefix !== undefined && prefix >= 0 && prefix <= width)
        this.#compareRoot(remembered, edgeRoot(planAppend(edge, used.slice(0, prefix)).edge));
      const planned = planAppend(edge, used);
      for (const { level, index: tile, hashes } of planned.append.tiles) {
        const final = tileWidth(level, tile, checkpoint.size);
        if (hashes.length === final * 32 && !(await this.#compareTile(level, tile, hashes))) whole = false;
      }
      edge = planned.edge;
    }
    if (remembered?.size === 0) this.#compareRoot(remembered, EMPTY_LOG_ROOT);
    if (!edgeRoot(edge).equals(checkpoint.root)) this.#find("tampered", "checkpoint", `the entries do not lead to the signed root of size ${checkpoint.size}`);
    else if (!whole) this.#find("tampered", "tile", "the entries lead to the signed root, but the tiles named above do not: the copy was altered");
  }

  #count(entry: Uint8Array): void {
    this.#entries++;
    let type: LogEntryType | "other" = "other";
    try {
      type = decodeLogEntry(entry).type;
    } catch (error) {
      if (!(error instanceof TransparencyError)) throw error;
    }
    this.#types[type] = (this.#types[type] ?? 0) + 1;
  }

  #compareRoot(remembered: Checkpoint, root: Buffer): void {
    if (!root.equals(remembered.root)) this.#find("tampered", "checkpoint", `history was rewritten below the remembered size ${remembered.size}`);
  }

  /** False only where the tile is there and differs. */
  async #compareTile(level: number, index: number, hashes: Uint8Array): Promise<boolean> {
    const width = hashes.length / 32;
    const where = tilePath({ level, index, width });
    const stored = await this.read(where, () => this.#reader.readTile(level, index, width));
    if (!stored) return true;
    this.#tiles++;
    if (Buffer.compare(stored.subarray(0, hashes.length), hashes) === 0) return true;
    this.#find("tampered", where, stored.length < hashes.length ? `${stored.length} bytes, want ${hashes.length}` : "is not the hash of its entries");
    return false;
  }
}
