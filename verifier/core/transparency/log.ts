/** The log as the verifier writes it: one writer over a store, checkpoints after commits. */
import { type LogAppend, type LogStore, LogStoreError, type StoredCheckpoint } from "../../ports/log-store.ts";
import type { NoteSigner, NoteSigners } from "../../ports/signer.ts";
import { edgeRoot, type LogEdge, loadEdge, type PlannedAppend, planAppend } from "./append.ts";
import { type Checkpoint, openCheckpoint, signCheckpoint } from "./checkpoint.ts";
import { TransparencyError } from "./errors.ts";
import { parseVerifierKey } from "./note.ts";
import { TileHashes } from "./tile-hashes.ts";

export interface AppendResult {
  readonly firstIndex: number;
  readonly size: number;
  readonly root: Uint8Array;
}

/**
 * Appends and publishes. Either call {@link append}, or {@link plan}, commit the plan's {@link LogAppend} within a larger transaction, and then
 * {@link committed} (or, where the outcome is not known, {@link reload}). Plans are made and committed one at a time.
 */
export class TransparencyLog {
  readonly #store: LogStore;
  readonly #signers: NoteSigners;
  #edge: LogEdge;
  #newest: StoredCheckpoint | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #publishing: Promise<unknown> = Promise.resolve();

  private constructor(store: LogStore, signers: NoteSigners, edge: LogEdge) {
    this.#store = store;
    this.#signers = signers;
    this.#edge = edge;
  }

  /**
   * @param signer the log's one key, or its keys over time, asked at each use
   * Opens what is stored and holds it against the newest checkpoint: a log that lost or changed entries below its own checkpoint must not be continued.
   * @throws TransparencyError INCONSISTENT, BAD_SIGNATURE or UNKNOWN_KEY; LogStoreError
   */
  static async open(store: LogStore, signer: NoteSigner | NoteSigners): Promise<TransparencyLog> {
    const log = new TransparencyLog(store, "signing" in signer ? signer : { signing: [signer], past: [] }, await loadEdge(store));
    await log.check();
    return log;
  }

  /** Reads the stored tiles again and holds them against the newest checkpoint. @throws as {@link open} */
  async check(): Promise<void> {
    const stored = await this.#store.readCheckpoint();
    if (!stored) return;
    const checkpoint = this.openOwn(stored.note);
    if (checkpoint.size > this.size) throw new TransparencyError("INCONSISTENT", `${this.size} entries stored, ${checkpoint.size} in the checkpoint`);
    if (!(await this.continues(checkpoint)))
      throw new TransparencyError("INCONSISTENT", `the stored entries are not those of the checkpoint of size ${checkpoint.size}`);
  }

  /** A checkpoint that a key of this log has signed, be it retired since. The note is whoever's brings it. @throws TransparencyError BAD_NOTE, BAD_CHECKPOINT, UNKNOWN_KEY, BAD_SIGNATURE */
  openOwn(note: string): Checkpoint {
    const { signing, past } = this.#signers;
    return openCheckpoint(note, [...signing.map(({ verifierKey }) => verifierKey), ...past].map(parseVerifierKey));
  }

  /** Whether this log goes on from that checkpoint: has its entries, and the same. @throws LogStoreError; TransparencyError where tiles are missing */
  async continues({ size, root }: Checkpoint): Promise<boolean> {
    return size <= this.size && (await new TileHashes(this.#store, this.size).root(size)).equals(root);
  }

  /** The checkpoint that {@link publish} returned last. */
  get newest(): StoredCheckpoint | undefined {
    return this.#newest;
  }

  /** Entries known to be committed. */
  get size(): number {
    return this.#edge.size;
  }

  root(): Buffer {
    return edgeRoot(this.#edge);
  }

  /** Computes an append without writing it. */
  plan(entries: readonly Uint8Array[]): PlannedAppend {
    return planAppend(this.#edge, entries);
  }

  /** Tells that a plan of this log is durable. @throws TransparencyError INCONSISTENT unless it continues the present edge */
  committed({ append, edge }: PlannedAppend): AppendResult {
    if (append.firstIndex !== this.#edge.size) throw new TransparencyError("INCONSISTENT", `plan at ${append.firstIndex}, log at ${this.#edge.size}`);
    this.#edge = edge;
    return result(append);
  }

  /** Reads the edge again: after a failed commit, or when another process wrote. */
  async reload(): Promise<void> {
    this.#edge = await loadEdge(this.#store);
  }

  /**
   * Appends on its own. On return the entries are durable. Calls are served in order.
   * @throws LogStoreError LOG_UNAVAILABLE: nothing was appended, as far as the store can now tell
   */
  async append(entries: readonly Uint8Array[]): Promise<AppendResult> {
    const work = this.#queue.then(() => this.#append(entries));
    this.#queue = work.catch(() => undefined);
    return await work;
  }

  async #append(entries: readonly Uint8Array[], attempt = 0): Promise<AppendResult> {
    const planned = this.plan(entries);
    try {
      await this.#store.append(planned.append);
      return this.committed(planned);
    } catch (error) {
      if (!(error instanceof LogStoreError)) throw error;
      await this.reload();
      // It may have failed after it persisted.
      if (this.size === planned.append.size && this.root().equals(planned.append.root)) return result(planned.append);
      if (error.code === "LOG_CONFLICT" && attempt < 3) return await this.#append(entries, attempt + 1);
      throw error;
    }
  }

  /** Signs and stores a checkpoint of everything committed; the stored one where nothing was added since. Calls are served in order. */
  async publish(): Promise<StoredCheckpoint> {
    const mine = this.#publishing.then(() => this.#publish());
    this.#publishing = mine.catch(() => undefined);
    return await mine;
  }

  async #publish(): Promise<StoredCheckpoint> {
    const stored = await this.#store.readCheckpoint();
    const edge = this.#edge;
    if (stored?.size === edge.size) {
      this.#newest = stored;
      return stored;
    }
    const [signer, ...others] = this.#signers.signing;
    if (!signer) throw new TransparencyError("BAD_KEY", "the log has no key");
    const note = await signCheckpoint(edge.size, edgeRoot(edge), signer, ...others);
    const checkpoint: StoredCheckpoint = { size: edge.size, note };
    await this.#store.writeCheckpoint(checkpoint);
    this.#newest = checkpoint;
    return checkpoint;
  }
}

function result({ firstIndex, size, root }: LogAppend): AppendResult {
  return { firstIndex, size, root };
}
