/** Look-ups over one container's delta entries that appraisal needs besides path by path. Moves on entry by entry; what it answers depends on the entries alone. */
import type { UpperEntry } from "./types.ts";

const SLASH = "/";

/** Paths as latin1, so that every byte string is a key of its own. */
export class UpperIndex {
  readonly #entries = new Map<string, UpperEntry>();
  readonly #byInode = new Map<bigint, Set<string>>();
  readonly #directoriesIn = new Map<string, Set<string>>();

  get(key: string): UpperEntry | undefined {
    return this.#entries.get(key);
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  keys(): Iterable<string> {
    return this.#entries.keys();
  }

  /** @param entry undefined: it has gone */
  put(key: string, entry: UpperEntry | undefined): void {
    const before = this.#entries.get(key);
    if (before) this.#sets(key, before, (index, at) => take(index as Map<unknown, Set<string>>, at, key));
    if (entry) this.#sets(key, entry, (index, at) => add(index as Map<unknown, Set<string>>, at, key));
    if (entry) this.#entries.set(key, entry);
    else this.#entries.delete(key);
  }

  /** Regular files with this inode, as the node says; none for 0. */
  sharing(inode: bigint): ReadonlySet<string> {
    return this.#byInode.get(inode) ?? NONE;
  }

  /** Directories among the entries that lie directly in this one. */
  directoriesIn(key: string): ReadonlySet<string> {
    return this.#directoriesIn.get(key) ?? NONE;
  }

  #sets(key: string, { record, inode }: UpperEntry, use: (index: Map<bigint, Set<string>> | Map<string, Set<string>>, at: bigint | string) => void): void {
    if (isFile(record) && inode !== 0n) use(this.#byInode, inode);
    const slash = key.lastIndexOf(SLASH);
    if (isDirectory(record) && slash > 0) use(this.#directoriesIn, key.slice(0, slash));
  }
}

const NONE: ReadonlySet<string> = new Set();

function add<K>(index: Map<K, Set<string>>, at: K, key: string): void {
  const known = index.get(at);
  if (known) known.add(key);
  else index.set(at, new Set([key]));
}

function take<K>(index: Map<K, Set<string>>, at: K, key: string): void {
  const known = index.get(at);
  known?.delete(key);
  if (known?.size === 0) index.delete(at);
}

/** The paths above one, nearest first. */
export function* above(key: string): Generator<string> {
  for (let end = key.lastIndexOf(SLASH); end > 0; end = key.lastIndexOf(SLASH, end - 1)) yield key.slice(0, end);
}

export function isFile(record: Buffer): boolean {
  return record[1] === 0x66;
}

export function isDirectory(record: Buffer): boolean {
  return record[1] === 0x64;
}

export function isWhiteout(record: Buffer): boolean {
  return record[1] === 0x77;
}

/** Whether everything of the image below this name is out of sight. */
export function hides(entry: UpperEntry | undefined): boolean {
  return entry !== undefined && (!isDirectory(entry.record) || entry.record[12] === 1);
}
