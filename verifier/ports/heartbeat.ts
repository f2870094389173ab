/** Says elsewhere that this verifier is alive and well, so that its silence is noticed there. */
export interface Heartbeat {
  /** As configured; unique. */
  readonly name: string;
  /** Pause between beats. */
  readonly everyMs: number;
  /**
   * One beat. On return the receiver has taken it.
   * @throws NotifierError; an abort rejects with the signal's reason
   */
  beat(signal: AbortSignal): Promise<void>;
}
