/** SHA-256 of the files that processes run, from outside the layers: by native threads, each file once, and within a budget. */
import { type BigIntStats, constants } from "node:fs";
import { open, stat } from "node:fs/promises";
import { hashFile } from "@hullmark/native";

/** Larger files are told without digest. */
const MAX_HASHED_BYTES = 128 * 1024 * 1024;
const MAX_CACHED = 4096;

/** What may still be read in one look at one container, which chooses what there is to read. */
export class HashBudget {
  #leftBytes: number;
  #exceeded = false;

  constructor(bytes: number) {
    this.#leftBytes = bytes;
  }

  /** Something was left unread. */
  get exceeded(): boolean {
    return this.#exceeded;
  }

  /** @returns whether so much may be read */
  take(bytes: number): boolean {
    if (bytes > this.#leftBytes) {
      this.#exceeded = true;
      return false;
    }
    this.#leftBytes -= bytes;
    return true;
  }
}

export class FileDigests {
  readonly #known = new Map<string, Buffer>();
  readonly #underWay = new Map<string, Promise<Buffer | undefined>>();

  /** undefined: no regular file, too large, changing, or over the budget (which then says so). What is known, or being read for another, costs nothing. */
  async of(path: string, budget: HashBudget): Promise<Buffer | undefined> {
    const file = await stat(path, { bigint: true }).catch(() => undefined);
    if (!file?.isFile() || file.size > BigInt(MAX_HASHED_BYTES)) return undefined;
    const key = keyOf(file);
    // Another's reading may have failed because its path had gone: ours leads there yet.
    const underWay = this.#underWay.get(key);
    const known = this.#known.get(key) ?? (underWay && (await underWay));
    if (known) return known;
    if (!budget.take(Number(file.size))) return undefined;
    const reading = readAs(key, path)
      .catch(() => undefined)
      .finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, reading);
    const digest = await reading;
    if (digest) this.#remember(key, digest);
    return digest;
  }

  #remember(key: string, digest: Buffer): void {
    for (const oldest of this.#known.keys()) {
      if (this.#known.size < MAX_CACHED) break;
      this.#known.delete(oldest);
    }
    this.#known.set(key, digest);
  }
}

function keyOf(file: BigIntStats): string {
  return [file.dev, file.ino, file.size, file.mtimeNs, file.ctimeNs].join(":");
}

/** Held while it is read: a process that ends, or becomes another program, takes its path along. undefined: it leads to another file by now. */
async function readAs(key: string, path: string): Promise<Buffer | undefined> {
  const held = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (keyOf(await held.stat({ bigint: true })) !== key) return undefined;
    return await hashFile(`/proc/self/fd/${held.fd}`, MAX_HASHED_BYTES);
  } finally {
    await held.close();
  }
}
