/**
 * The keys of one log over time, in files beside its own: `FILE` signs, `FILE.old` gave way to it and signs too until it is retired, `FILE.past` has the public lines of
 * those that were. All have one name: it is the log's.
 */
import { existsSync, linkSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { parseVerifierKeys } from "../../core/transparency/note.ts";
import { type NoteSigner, type NoteSigners, SignerError } from "../../ports/signer.ts";
import type { KeyToken } from "../../ports/signing-key.ts";
import { createLogKey, createTokenKey, openNoteKey, syncDirectory } from "./log-key.ts";

const MAX_PAST_KEYS = 12;

/** Where new keys are made, and as what they are for. */
export interface InToken {
  readonly token: KeyToken;
  /** a-z and -. */
  readonly as: string;
}

export class LogKeys implements NoteSigners {
  readonly #file: string;
  readonly #in: InToken | undefined;
  #keys: readonly Awaited<ReturnType<typeof openNoteKey>>[] = [];
  #past: readonly string[] = [];

  private constructor(file: string, inToken: InToken | undefined) {
    this.#file = file;
    this.#in = inToken;
  }

  /** Opens the keys, or makes the first. @param name of a log that has no key yet @param inToken undefined: new keys are in files @throws SignerError; the system's errors */
  static async open(file: string, name: string, inToken?: InToken): Promise<LogKeys> {
    const keys = new LogKeys(file, inToken);
    if (!existsSync(file)) await keys.#make(file, name, undefined);
    await keys.#read();
    return keys;
  }

  get signing(): readonly NoteSigner[] {
    return this.#keys.map(({ signer }) => signer);
  }

  get past(): readonly string[] {
    return this.#past;
  }

  /** When the key in use was made, and the one before it, Unix milliseconds: as their files say. */
  get madeAtMs(): readonly number[] {
    return this.#keys.map((_, i) => Math.floor(statSync(i === 0 ? this.#file : `${this.#file}.old`).mtimeMs));
  }

  /** A new key signs, and the one before it too. Durable; a crash leaves the old one alone in use, or both. @throws SignerError; the system's errors */
  async rotate(): Promise<void> {
    const [present, old] = this.#keys;
    if (!present || old) throw new SignerError("KEY_MALFORMED", "the key that gave way is not retired yet");
    rmSync(`${this.#file}.next`, { force: true });
    await this.#make(`${this.#file}.next`, present.signer.name, present.uri);
    rmSync(`${this.#file}.old`, { force: true });
    linkSync(this.#file, `${this.#file}.old`);
    syncDirectory(dirname(this.#file));
    renameSync(`${this.#file}.next`, this.#file);
    syncDirectory(dirname(this.#file));
    await this.#read();
  }

  /** The key that gave way signs no more; its private half is gone. Durable; idempotent. @throws the system's errors */
  async retire(): Promise<void> {
    const old = this.#keys[1];
    if (!old) return;
    const { verifierKey } = old.signer;
    const past = [verifierKey, ...this.#past.filter((line) => line !== verifierKey)].slice(0, MAX_PAST_KEYS);
    writeFileSync(`${this.#file}.past.new`, `${past.join("\n")}\n`, { mode: 0o644, flush: true });
    renameSync(`${this.#file}.past.new`, `${this.#file}.past`);
    syncDirectory(dirname(this.#file));
    rmSync(`${this.#file}.old`);
    syncDirectory(dirname(this.#file));
    await this.#read();
    if (old.uri !== undefined) await this.#in?.token.drop(old.uri);
  }

  async #make(file: string, name: string, after: string | undefined): Promise<void> {
    if (this.#in) await createTokenKey(file, name, this.#in.token, this.#in.as, after);
    else createLogKey(file, name);
  }

  async #read(): Promise<void> {
    const present = await openNoteKey(this.#file, this.#in?.token);
    const old = existsSync(`${this.#file}.old`) ? await openNoteKey(`${this.#file}.old`, this.#in?.token) : undefined;
    // The same twice: a rotation that was cut short before the new key took its place.
    this.#keys = old && old.signer.verifierKey !== present.signer.verifierKey ? [present, old] : [present];
    const past = existsSync(`${this.#file}.past`) ? readFileSync(`${this.#file}.past`, "utf8").trim() : "";
    if (past !== "") parseVerifierKeys(past);
    this.#past = past === "" ? [] : past.split("\n");
  }
}
