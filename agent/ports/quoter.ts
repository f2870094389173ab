/** The node's root of trust: a TPM that identifies it and signs quotes. An agent without TPM has no Quoter and joins by token. */

/**
 * ABSENT, BUSY, LOCKOUT and TIMEOUT may pass by themselves. REPLACED: this is another TPM than the one the AK was made on, or it was cleared;
 * a new AK was or will be made. REFUSED: the credential was not made for this TPM and AK. QUOTING_ORACLE: the TPM quotes without the AK's authValue.
 * STATE: the AK's file is unreadable, or readable by others. FAILED: anything else.
 */
export type QuoterErrorCode = "ABSENT" | "BUSY" | "LOCKOUT" | "TIMEOUT" | "REPLACED" | "REFUSED" | "QUOTING_ORACLE" | "STATE" | "FAILED";

const RETRYABLE: ReadonlySet<QuoterErrorCode> = new Set(["ABSENT", "BUSY", "LOCKOUT", "TIMEOUT"]);

export class QuoterError extends Error {
  readonly code: QuoterErrorCode;
  readonly retryable: boolean;

  constructor(code: QuoterErrorCode, message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options);
    this.name = "QuoterError";
    this.code = code;
    this.retryable = RETRYABLE.has(code);
  }
}

export interface QuoterIdentity {
  /** TPM2B_PUBLIC of the endorsement key. */
  readonly ekPublic: Buffer;
  /** DER; undefined where the TPM holds none. */
  readonly ekCertificate: Buffer | undefined;
  /** DER of issuing CAs that the TPM holds, leaf's issuer first. */
  readonly ekIntermediates: readonly Buffer[];
  /** TPM2B_PUBLIC of the attestation key. The same for as long as its state file and the TPM live. */
  readonly akPublic: Buffer;
}

/** Hashes of PCR banks that are quoted. */
export type PcrBank = "sha256" | "sha384";

export interface QuotedPcr {
  readonly bank: PcrBank;
  readonly index: number;
  readonly value: Buffer;
}
export interface Quote {
  /** TPMS_ATTEST: the bytes that are signed. */
  readonly attest: Buffer;
  /** ECDSA, DER. */
  readonly signature: Buffer;
  /** The values that the quote's digest covers. */
  readonly pcrs: readonly QuotedPcr[];
}

export interface QuoterHealth {
  readonly ok: boolean;
  /** `ok`, or why not, for NodeState. */
  readonly detail: string;
}

/** Every call may be made at any time, also after a failure: implementations reconnect. All reject with {@link QuoterError}, or with the signal's reason. */
export interface Quoter {
  identify(signal: AbortSignal): Promise<QuoterIdentity>;
  /** Opens a credential that was made for this EK and AK. Both parameters come from the verifier. */
  activate(credentialBlob: Buffer, encryptedSecret: Buffer, signal: AbortSignal): Promise<Buffer>;
  /**
   * Quotes PCRs, of each bank that this node is set to.
   * @param extraData 32 bytes: `quoteExtraData(binding)`
   * @param pcrs 0..23, without duplicates; may be empty
   */
  quote(extraData: Buffer, pcrs: readonly number[], signal: AbortSignal): Promise<Quote>;
  /** Outcome of the newest call; asks the TPM itself when there was none yet. Never rejects but with the signal's reason. */
  health(signal: AbortSignal): Promise<QuoterHealth>;
  /** Flushes and disconnects. Idempotent. */
  close(): Promise<void>;
}
