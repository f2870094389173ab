/** A layer as of installed packages, from fixed pseudo-random words. */
import { gzipSync } from "node:zlib";
import { seededRandom } from "../../test/fakes/random-layers.ts";
import { entry } from "../../test/fakes/tar-writer.ts";

const MEAN_BYTES = 23_000;

export interface MadeLayer {
  readonly tar: Buffer;
  /** Compressed by gzip: about a third. */
  readonly blob: Buffer;
}

/** The same for the same numbers. @param files beneath `usr/lib`, of 23 kB in the mean; those of another seed have other content under the same names */
export function makeLayer(files: number, seed: number): MadeLayer {
  const random = seededRandom(seed);
  const words = Array.from({ length: 4096 }, () => Math.floor(random() * 2 ** 32).toString(36));
  const text = Buffer.from(Array.from({ length: 1_000_000 }, () => words[Math.floor(random() * words.length)]).join(" "));
  const parts: Buffer[] = [];
  for (let i = 0; i < files; i++) {
    const bytes = Math.min(Math.floor(-Math.log(1 - random()) * MEAN_BYTES), text.length / 2);
    const from = Math.floor(random() * (text.length - bytes));
    parts.push(entry({ name: `usr/lib/package${i % 97}/part${i % 31}/file${i}`, mode: i % 9 === 0 ? 0o755 : 0o644, data: text.subarray(from, from + bytes) }));
  }
  const tar = Buffer.concat([...parts, Buffer.alloc(1024)]);
  return { tar, blob: gzipSync(tar, { level: 6 }) };
}
