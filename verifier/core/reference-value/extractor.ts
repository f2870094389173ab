import type { ExtractFs } from "./extract-fs.ts";
import type { TarEntry } from "./tar-reader.ts";

/** One dialect at work on one layer. */
export interface Extractor {
  readonly fs: ExtractFs;
  /** @throws Refusal where the engine would stop */
  apply(entry: TarEntry): void;
  /** After the last entry. @throws Refusal */
  finish(): void;
}
