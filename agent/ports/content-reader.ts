/** Reads files of a tree that a hostile process may be changing. */

/** CHANGED: it is not there, is no regular file, or changed while it was read. OTHER_NAMES: the inode has another name too. UNREADABLE: the system's refusal. */
export type ContentReaderErrorCode = "CHANGED" | "TOO_LARGE" | "OTHER_NAMES" | "UNREADABLE";

export class ContentReaderError extends Error {
  readonly code: ContentReaderErrorCode;

  constructor(code: ContentReaderErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ContentReaderError";
    this.code = code;
  }
}

export interface ContentReader {
  /**
   * A regular file with one name, whole. No link is followed and no mount crossed below `root`.
   * @param path raw bytes, no leading slash, as `assertPath` takes them
   * @throws ContentReaderError
   */
  read(root: string, path: Buffer, maxBytes: number): Promise<Buffer>;
  /** The same, whatever other names it has, and what was read of it where it changes meanwhile. @throws ContentReaderError */
  readAsItIs(root: string, path: Buffer, maxBytes: number): Promise<Buffer>;
}
