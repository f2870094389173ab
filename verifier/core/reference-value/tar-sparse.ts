/** GNU sparse files in PAX form (0.0, 0.1, 1.0), with the checks of Go's archive/tar. */
import { latin1 } from "./latin1.ts";
import { TarError } from "./tar-error.ts";
import type { TarHeader } from "./tar-header.ts";
import { MAX_SPECIAL_BYTES, type PaxRecords, parseDecimal } from "./tar-pax.ts";

/** A run of data at an offset of the expanded file; bytes between runs are zero. */
export interface SparseRun {
  readonly offset: number;
  readonly length: number;
}

/** `inline`: the map stands in the PAX records; `leading`: in the first blocks of the data. */
export type SparseKind = "none" | "inline" | "leading";

/** Tells whether an entry is sparse and applies its real name and size. @throws TarError */
export function sparseKind(header: TarHeader, records: PaxRecords): SparseKind {
  const major = records.get("GNU.sparse.major") ?? "";
  const minor = records.get("GNU.sparse.minor") ?? "";
  let kind: SparseKind;
  if (major === "0" && (minor === "0" || minor === "1")) kind = "inline";
  else if (major === "1" && minor === "0") kind = "leading";
  else if (major !== "" || minor !== "") return "none";
  else if ((records.get("GNU.sparse.map") ?? "") !== "") kind = "inline";
  else return "none";
  const name = records.get("GNU.sparse.name");
  if (name) header.name = name;
  const size = records.get("GNU.sparse.size") || records.get("GNU.sparse.realsize");
  if (size) header.size = int64(size);
  return kind;
}

/** The map of a 0.0 or 0.1 file. @throws TarError */
export function inlineMap(records: PaxRecords): SparseRun[] {
  const count = int64(records.get("GNU.sparse.numblocks") ?? "");
  const text = records.get("GNU.sparse.map") ?? "";
  const numbers = text === "" ? [] : text.split(",");
  if (count < 0 || numbers.length !== 2 * count) throw new TarError("bad sparse map length");
  return runs(numbers);
}

/** Collects the blocks of a 1.0 map until it is whole. */
export class LeadingMap {
  #text = "";
  #bytes = 0;

  /** @returns the runs once the block that ends the map is in, else undefined. @throws TarError */
  push(block: Buffer): SparseRun[] | undefined {
    this.#bytes += block.length;
    if (this.#bytes > MAX_SPECIAL_BYTES) throw new TarError("sparse map too long");
    this.#text += latin1(block);
    const tokens = this.#text.split("\n");
    if (tokens.length < 2) return undefined;
    const count = int64(tokens[0] as string);
    if (count < 0) throw new TarError("bad sparse map length");
    if (tokens.length - 1 < 1 + 2 * count) return undefined;
    return runs(tokens.slice(1, 1 + 2 * count));
  }
}

function runs(numbers: readonly string[]): SparseRun[] {
  const result: SparseRun[] = [];
  for (let i = 0; i + 1 < numbers.length; i += 2) result.push({ offset: int64(numbers[i] as string), length: int64(numbers[i + 1] as string) });
  return result;
}

/** @throws TarError unless runs are in order, do not overlap and lie within `size` */
export function checkRuns(map: readonly SparseRun[], size: number): void {
  if (size < 0) throw new TarError("bad sparse size");
  let end = 0;
  for (const run of map) {
    if (run.offset < 0 || run.length < 0 || run.offset + run.length > size || end > run.offset) throw new TarError("bad sparse map");
    end = run.offset + run.length;
  }
}

function int64(text: string): number {
  const value = parseDecimal(text);
  if (value === undefined) throw new TarError("bad number in sparse map");
  return Number(value);
}
