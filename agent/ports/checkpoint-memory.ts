/** The newest signed checkpoint of the verifier's log: what this node remembers of it, whatever becomes of the verifier's database. */
export interface CheckpointMemory {
  /** Empty: none is kept, or what was kept cannot be read. */
  read(): string;
  /** Replaces what is kept. @throws the system's error */
  write(note: string): void;
}
