/** The measured-boot event log as the kernel shows it. It does not change while the node is up. */
export interface BootLog {
  /** SHA-256 of the log as read at start; empty where there is none that could be sent. */
  readonly sha256: Buffer;
  /** Why there is none although the file exists; undefined: nothing is wrong. */
  readonly problem: string | undefined;
  /** The bytes whose digest that is; empty where they cannot be read any more. */
  read(): Promise<Buffer>;
}
