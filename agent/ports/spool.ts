/** Evidence that the verifier has not acknowledged yet, on disk: an agent that dies and comes back loses none. */

export interface SpooledEvidence {
  readonly seq: bigint;
  /** hullmark.v1.EvidenceBody as serialised. */
  readonly body: Buffer;
}

/** Where the chain stands. */
export interface SpoolHead {
  /** Random, 16 bytes: made with the spool. */
  readonly chainId: Buffer;
  /** 0 at first start. */
  readonly seq: bigint;
  readonly digest: Buffer;
}

export interface Spool {
  head(): SpoolHead;
  /** What is not acknowledged. */
  pending(): { readonly evidence: number; readonly bytes: number };
  /**
   * Appends the next Evidence. On return the bytes are with the kernel: they survive the agent's death. (They need not survive the node's:
   * after a reboot everything is measured again.)
   * @returns false where the bound is reached: nothing was written, and the caller must `restart`
   */
  append(evidence: SpooledEvidence, digest: Buffer): boolean;
  /** What follows `afterSeq`, ascending. */
  after(afterSeq: bigint): readonly SpooledEvidence[];
  /** Everything up to and including `seq` is durable at the verifier. */
  acknowledge(seq: bigint): void;
  /** Forgets everything and starts a new chain; the next Evidence must be `full` and say what was lost. @returns number of Evidence dropped */
  restart(): number;
  close(): void;
}
