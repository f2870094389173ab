/**
 * The keys of one log over time, in files beside its own: `FILE` signs, `FILE.old` gave way to it and signs too until it is retired, `FILE.past` has the public lines of
 * those that were. All have one name: it is the log's.
 */
import { closeSync, constants, existsSync, fsyncSync, linkSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { parseVerifierKeys } from "../../core/transparency/note.ts";
import { type NoteSigner, type NoteSigners, SignerError } from "../../ports/signer.ts";
import { createLogKey, openLogKey } from "./log-key.ts";

const MAX_PAST_KEYS = 12;

export class LogKeys implements NoteSigners {
  readonly #file: string;
  #signing: readonly NoteSigner[] = [];
  #past: readonly string[] = [];

  private constructor(file: string) {
    this.#file = file;
    this.#read();
  }

  /** Opens the keys, or makes the first. @param name of a log that has no key yet @throws SignerError; the system's errors */
  static open(file: string, name: string): LogKeys {
    if (!existsSync(file)) createLogKey(file, name);
    return new LogKeys(file);
  }

  get signing(): readonly NoteSigner[] {
    return this.#signing;
  }

  get past(): readonly string[] {
    return this.#past;
  }

  /** When the key in use was made, and the one before it, Unix milliseconds: as their files say. */
  get madeAtMs(): readonly number[] {
    return this.#signing.map((_, i) => Math.floor(statSync(i === 0 ? this.#file : `${this.#file}.old`).mtimeMs));
  }

  /** A new key signs, and the one before it too. Durable; a crash leaves the old one alone in use, or both. @throws SignerError; the system's errors */
  rotate(): void {
    const [present, old] = this.#signing;
    if (!present || old) throw new SignerError("KEY_MALFORMED", "the key that gave way is not retired yet");
    rmSync(`${this.#file}.next`, { force: true });
    createLogKey(`${this.#file}.next`, present.name);
    rmSync(`${this.#file}.old`, { force: true });
    linkSync(this.#file, `${this.#file}.old`);
    syncDirectory(dirname(this.#file));
    renameSync(`${this.#file}.next`, this.#file);
    syncDirectory(dirname(this.#file));
    this.#read();
  }

  /** The key that gave way signs no more; its private half is gone. Durable; idempotent. @throws the system's errors */
  retire(): void {
    const old = this.#signing[1];
    if (!old) return;
    const past = [old.verifierKey, ...this.#past.filter((line) => line !== old.verifierKey)].slice(0, MAX_PAST_KEYS);
    writeFileSync(`${this.#file}.past.new`, `${past.join("\n")}\n`, { mode: 0o644, flush: true });
    renameSync(`${this.#file}.past.new`, `${this.#file}.past`);
    syncDirectory(dirname(this.#file));
    rmSync(`${this.#file}.old`);
    syncDirectory(dirname(this.#file));
    this.#read();
  }

  #read(): void {
    const present = openLogKey(this.#file);
    const old = existsSync(`${this.#file}.old`) ? openLogKey(`${this.#file}.old`) : undefined;
    // The same twice: a rotation that was cut short before the new key took its place.
    this.#signing = old && old.verifierKey !== present.verifierKey ? [present, old] : [present];
    const past = existsSync(`${this.#file}.past`) ? readFileSync(`${this.#file}.past`, "utf8").trim() : "";
    if (past !== "") parseVerifierKeys(past);
    this.#past = past === "" ? [] : past.split("\n");
  }
}

function syncDirectory(directory: string): void {
  const fd = openSync(directory, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
