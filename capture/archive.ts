/** Archives in memory, as `tar` reads them. */
import { buffer } from "node:stream/consumers";
import { pack } from "tar-stream";

export interface ArchiveEntry {
  /** No leading slash. */
  readonly name: string;
  readonly content: Buffer;
  /** mode & 07777; default 0600. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Of a symbolic link: where it leads. */
  readonly target?: string;
}

export async function archive(entries: readonly ArchiveEntry[]): Promise<Buffer> {
  const tar = pack();
  const whole = buffer(tar);
  for (const { content, target, mode = 0o600, ...named } of entries)
    if (target === undefined) tar.entry({ ...named, mode }, content);
    else tar.entry({ ...named, mode, type: "symlink", linkname: target });
  tar.finalize();
  return await whole;
}
