/** Freshness: nonces that this region issued, for one session of one node, used once. */

export interface NonceScope {
  /** What the nonce is for: an enrolment or an attestation stream. */
  readonly session: string;
  readonly nodeId: string;
  /** Unix milliseconds, exclusive. */
  readonly expiresAtMs: number;
}

/** `foreign`: not issued by this region, or for another session, node or expiry. */
export type NonceVerdict = "ok" | "foreign" | "expired" | "used";

export interface NonceSource {
  /** 32 bytes, never issued before. */
  issue(scope: NonceScope): Buffer;
  /**
   * Uses a nonce up: of several calls with the same nonce at most one answers `ok`, in this process. Who shares a region with other processes or
   * wants single use to outlast a crash also commits it (`Store.commit({spendNonce})`).
   * @param nonce from the node
   * @param scope from what the verifier itself keeps of the session
   */
  redeem(nonce: Uint8Array, scope: NonceScope): NonceVerdict;
  /** Fresh bytes of a cryptographic source. */
  random(bytes: number): Buffer;
}
