/** The kernel's measurement list: it only grows while the node is up. */
export interface ImaPart {
  /** Whole entries from the one asked for, in the kernel's binary form; at most MAX_IMA_REPORT_BYTES. */
  readonly entries: Buffer;
  /** There are more. */
  readonly more: boolean;
  /** The kernel shows no list, or one that is shorter than what was asked for. */
  readonly absent: boolean;
}

export interface ImaList {
  /** @param from position of the first entry, from 0 */
  read(from: number): Promise<ImaPart>;
}
