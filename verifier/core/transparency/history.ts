/**
 * Holds the log against the checkpoints that agents keep. Whoever restores an older database, or writes another one, cannot take back what was signed and given
 * away: one agent that remembers is enough to see it. What agents show counts only where the log's own key has signed it.
 */
import type { Checkpoint } from "./checkpoint.ts";
import { TransparencyError } from "./errors.ts";

/** Longest checkpoint that is looked at, in characters. */
const MAX_CHECKPOINT_CHARACTERS = 4096;
/** Checkpoints whose outcome is remembered: whole fleets come back with the same few. */
const MAX_REMEMBERED = 4096;

/** What the log must hold, and does not. */
export interface Contradiction {
  /** Entries that the longest such checkpoint covers, and its root. */
  readonly size: number;
  readonly root: Buffer;
  /** Entries that the log had when it was shown. */
  readonly logSize: number;
  readonly nodeId: string;
}

/** `unsigned`: not by this log's key, or no checkpoint at all: says nothing. `lost`: of a history whose loss was accepted. */
export type Shown = "continued" | "unsigned" | "lost" | "contradicted";

/** The part of the log that is needed. */
export interface WitnessedLog {
  readonly size: number;
  openOwn(note: string): Checkpoint;
  continues(checkpoint: Checkpoint): Promise<boolean>;
}

export class HistoryWatch {
  readonly #log: WitnessedLog;
  readonly #continued = new Set<string>();
  #acceptedSize: number;
  #contradiction: Contradiction | undefined;

  /** @param acceptedSize entries of the longest history whose loss was accepted; 0: none */
  constructor(log: WitnessedLog, acceptedSize: number) {
    this.#log = log;
    this.#acceptedSize = acceptedSize;
  }

  /** What contradicts the log since this process started, or since the last {@link accept}. */
  get contradiction(): Contradiction | undefined {
    return this.#contradiction;
  }

  /** Holds a checkpoint that an agent shows against the log. @throws LogStoreError; TransparencyError MISSING, INCONSISTENT where the log itself cannot be read */
  async show(nodeId: string, note: string): Promise<Shown> {
    if (this.#continued.has(note)) return "continued";
    const checkpoint = this.#open(note);
    if (!checkpoint) return "unsigned";
    if (await this.#log.continues(checkpoint)) {
      if (this.#continued.size >= MAX_REMEMBERED) this.#continued.clear();
      this.#continued.add(note);
      return "continued";
    }
    const { size, root } = checkpoint;
    if (size <= this.#acceptedSize) return "lost";
    if (size > (this.#contradiction?.size ?? 0)) this.#contradiction = { size, root, logSize: this.#log.size, nodeId };
    return "contradicted";
  }

  /** What was shown is lost, and that is known: it contradicts no more. Longer checkpoints still do. */
  accept({ size }: Contradiction): void {
    this.#acceptedSize = Math.max(this.#acceptedSize, size);
    if ((this.#contradiction?.size ?? 0) <= this.#acceptedSize) this.#contradiction = undefined;
  }

  #open(note: string): Checkpoint | undefined {
    if (note.length > MAX_CHECKPOINT_CHARACTERS) return undefined;
    try {
      return this.#log.openOwn(note);
    } catch (error) {
      if (error instanceof TransparencyError) return undefined;
      throw error;
    }
  }
}
