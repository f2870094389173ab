/** {@link Captures} as files of this host: a compressed archive, encrypted to the responders' keys (age), which this host cannot open again. */
import { createHash } from "node:crypto";
import { closeSync, constants, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { archive } from "./archive.ts";
import {
  type Capture,
  CaptureError,
  type CaptureFailpoint,
  type CaptureSubject,
  type Captures,
  type ChangedFiles,
  type KeptCaptures,
  MAX_ATTEMPTS,
  type Seal,
} from "./capture.ts";
import { type CaptureLimits, type Collected, collect, type ProcessSource } from "./collect.ts";
import { ATTEMPTS, HALF_WRITTEN, HOUR_MS, type Keeping, NAME, type OwnFile, ownFiles } from "./expiry.ts";

/** The directory is made with mode 0700. */
export interface CaptureOptions extends CaptureLimits, Keeping {
  readonly seal: Seal;
  readonly required: boolean;
  /** @throws CaptureError where nothing is known of such a container */
  readonly filesOf: (containerId: string) => ChangedFiles;
  readonly processes: ProcessSource;
  readonly passing?: (point: CaptureFailpoint) => void;
}

/** All captures together may take as much as so many of the largest. */
const MAX_WHOLE_CAPTURES = 16;
const PART_BYTES = 262_144;
const compress = promisify(gzip);

export class CaptureFiles implements Captures, KeptCaptures {
  readonly #options: CaptureOptions;

  /** @throws the system's error */
  constructor(options: CaptureOptions) {
    this.#options = options;
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
  }

  get required(): boolean {
    return this.#options.required;
  }

  async take(subject: CaptureSubject): Promise<Capture> {
    try {
      const taken = this.#taken(subject.intentId);
      if (!taken) return await this.#take(subject);
      this.#tidy(subject.intentId);
      return taken;
    } catch (error) {
      throw captureError(error);
    }
  }

  first(actionId: string): Capture | undefined {
    try {
      const [first] = this.#filesOf(actionId).toSorted((a, b) => a.mtimeMs - b.mtimeMs);
      return first && this.#read(first.path);
    } catch (error) {
      throw captureError(error);
    }
  }

  async open(actionId: string, digest: string): Promise<AsyncIterable<Buffer> | undefined> {
    for (const { path } of this.#filesOf(actionId)) {
      const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(() => undefined);
      if (file && (await file.stat()).isFile() && (await digestOf(file)) === digest) return partsOf(file);
      await file?.close();
    }
    return undefined;
  }

  async #take(subject: CaptureSubject): Promise<Capture> {
    const { directory, maxBytes, filesOf } = this.#options;
    const kept = ownFiles(directory).reduce((sum, { size }) => sum + size, 0);
    if (kept >= MAX_WHOLE_CAPTURES * maxBytes) throw new CaptureError("there is no room left for captures: none is removed before its time");
    const changed = filesOf(subject.containerId);
    // A container may be made so that looking at it kills who looks: it is contained all the same.
    const attempts = join(directory, `${subject.intentId}${ATTEMPTS}`);
    writeDurably(attempts, Buffer.from("."), constants.O_APPEND);
    if (statSync(attempts).size > MAX_ATTEMPTS) throw new CaptureError(`it was tried ${MAX_ATTEMPTS} times, and the process ended each time`);
    try {
      return await this.#keep(subject, changed);
    } finally {
      // What failed without the end of this process may be tried again, and leaves nothing.
      this.#tidy(subject.intentId);
    }
  }

  #tidy(intentId: string): void {
    for (const end of [HALF_WRITTEN, ATTEMPTS]) rmSync(join(this.#options.directory, `${intentId}${end}`), { force: true });
  }

  async #keep(subject: CaptureSubject, changed: ChangedFiles): Promise<Capture> {
    const { directory, processes, nowMs, seal, passing = () => {} } = this.#options;
    passing("capture-begun");
    const collected = await collect(subject, { files: changed, processes }, this.#options, nowMs());
    const sealed = await seal(await compress(await archive(collected.files)));
    const halfWritten = join(directory, `${subject.intentId}${HALF_WRITTEN}`);
    writeDurably(halfWritten, sealed, constants.O_TRUNC);
    passing("capture-sealed");
    const path = join(directory, nameOf(subject, collected));
    renameSync(halfWritten, path);
    sync(directory);
    passing("capture-kept");
    return { ...captureOf(sealed, { complete: collected.complete, ...collected.counts }), expiresAtMs: this.#endOf(path) };
  }

  #filesOf(actionId: string): OwnFile[] {
    return ownFiles(this.#options.directory).filter(({ path }) => basename(path).startsWith(`${actionId}.`));
  }

  #taken(intentId: string): Capture | undefined {
    const { directory } = this.#options;
    const name = readdirSync(directory).find((each) => NAME.exec(each)?.[1] === intentId);
    return name === undefined ? undefined : this.#read(join(directory, name));
  }

  #read(path: string): Capture {
    const [, , files, processes, partial] = NAME.exec(basename(path)) ?? [];
    const counts = files === undefined ? {} : { files: Number(files), processes: Number(processes) };
    return { ...captureOf(readFileSync(path), { complete: partial === undefined, ...counts }), expiresAtMs: this.#endOf(path) };
  }

  #endOf(path: string): number {
    return Math.ceil(statSync(path).mtimeMs + this.#options.keepHours * HOUR_MS);
  }
}

function nameOf({ actionId, intentId }: CaptureSubject, { counts: { files, processes }, complete }: Collected): string {
  return `${actionId}.${intentId}.${files}f${processes}p${complete ? "" : ".partial"}.age`;
}

function captureError(error: unknown): CaptureError {
  return error instanceof CaptureError ? error : new CaptureError(error instanceof Error ? error.message : String(error), { cause: error });
}

function captureOf(sealed: Buffer, { complete, files, processes }: Pick<Capture, "complete" | "files" | "processes">): Capture {
  return { digest: `sha256:${createHash("sha256").update(sealed).digest("hex")}`, bytes: sealed.length, complete, files, processes };
}

async function digestOf(file: FileHandle): Promise<string> {
  const hash = createHash("sha256");
  for await (const part of file.createReadStream({ start: 0, autoClose: false, highWaterMark: PART_BYTES })) hash.update(part as Buffer);
  return `sha256:${hash.digest("hex")}`;
}

async function* partsOf(file: FileHandle): AsyncGenerator<Buffer> {
  try {
    for await (const part of file.createReadStream({ start: 0, autoClose: false, highWaterMark: PART_BYTES })) yield part as Buffer;
  } finally {
    await file.close();
  }
}

function writeDurably(path: string, bytes: Buffer, how: number): void {
  const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | how, 0o600);
  try {
    writeFileSync(fd, bytes);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function sync(directory: string): void {
  const fd = openSync(directory, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
