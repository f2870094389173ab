/** A key of the verifier's own, as people administer it: what there is, a new one, and the end of the old. The key itself never crosses this port. */

/** `ca` certifies agents, operators and the verifier's listeners; `log` signs the log's checkpoints; `ear` signs Attestation Results; `nonce` makes nonces that no other region accepts; `intent` signs what actuators may do. */
export type OwnKeyName = "ca" | "log" | "ear" | "nonce" | "intent";

export interface OwnKeyFact {
  /** First 16 hex digits of the SHA-256 of its public half (SubjectPublicKeyInfo); of a secret one, of a digest that tells nothing of it. */
  readonly id: string;
  /** Unix milliseconds. */
  readonly madeAtMs: number;
  /** `accepted`: it gave way, and what it signed still counts. */
  readonly state: "in-use" | "accepted";
}

export interface OwnKey {
  readonly name: OwnKeyName;
  /** The one in use first. */
  facts(): readonly OwnKeyFact[];
  /** A new one is in use, durably, on return; the one before is `accepted`, or for as long as it must be without anybody's doing. Called only where none is. */
  rotate(): Promise<void>;
  /** Those that gave way count no more. Durable on return; idempotent. */
  retire(): Promise<void>;
}
