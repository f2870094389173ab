/** Small files of the node itself: what the engine keeps beside a container. Paths are the engine's, not the container's. */
export interface NodeFile {
  readonly content: Buffer;
  readonly sha256: Buffer;
  /** Permission bits: 0..0o7777. */
  readonly mode: number;
}

export interface NodeFiles {
  /** undefined: there is none, it is no regular file, or it is larger than `maxBytes`. Symlinks are not followed. */
  read(path: string, maxBytes: number): Promise<NodeFile | undefined>;
}
