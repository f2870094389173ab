/**
 * What a TPM quote commits to besides PCRs: `extraData = SHA-256(canonical binding)`.
 * Agent and verifier build the same bytes; every field is length-prefixed, in the order of {@link QuoteBinding}.
 */
import { hash } from "node:crypto";
import { ByteWriter } from "./bytes.ts";

export const QUOTE_DOMAIN = "hullmark-quote-v1";
export const NONCE_BYTES = 32;

export interface QuoteBinding {
  /** Identity of the verifier that issued the nonce. */
  readonly verifierId: string;
  readonly region: string;
  /** {@link NONCE_BYTES} bytes, single use. */
  readonly nonce: Uint8Array;
  /** SHA-256 of the SubjectPublicKeyInfo (DER) of the session's client key. */
  readonly spkiSha256: Uint8Array;
  /** TLS exporter (RFC 9266), or empty where the runtime offers none. */
  readonly tlsExporter: Uint8Array;
  readonly nodeId: string;
  /** `/proc/sys/kernel/random/boot_id`. */
  readonly bootId: string;
  /** Sequence number of the newest Evidence that the quote vouches for; 0 at enrolment. */
  readonly seq: bigint;
  /** Digest of that Evidence (the head of the chain); 32 zero bytes at enrolment. */
  readonly evidenceDigest: Uint8Array;
  /** Root over the state of every container on the node ({@link EMPTY_ROOT} at enrolment). */
  readonly stateRoot: Uint8Array;
  /** IMA entries and aggregate; 0 and empty where the kernel has none. */
  readonly imaCount: bigint;
  readonly imaAggregate: Uint8Array;
  /** SHA-256 of the measured-boot event log; empty where there is none. */
  readonly eventLogSha256: Uint8Array;
  /** SHA-256 of the measurement policy in force on the agent. */
  readonly policyDigest: Uint8Array;
}

/** The canonical bytes of a binding. */
export function encodeQuoteBinding(binding: QuoteBinding): Buffer {
  return new ByteWriter(512)
    .bytes(Buffer.from(QUOTE_DOMAIN))
    .bytes(Buffer.from(binding.verifierId))
    .bytes(Buffer.from(binding.region))
    .bytes(binding.nonce)
    .bytes(binding.spkiSha256)
    .bytes(binding.tlsExporter)
    .bytes(Buffer.from(binding.nodeId))
    .bytes(Buffer.from(binding.bootId))
    .u64(binding.seq)
    .bytes(binding.evidenceDigest)
    .bytes(binding.stateRoot)
    .u64(binding.imaCount)
    .bytes(binding.imaAggregate)
    .bytes(binding.eventLogSha256)
    .bytes(binding.policyDigest)
    .finish();
}

/** The 32 bytes that go into TPM2_Quote as qualifyingData. */
export function quoteExtraData(binding: QuoteBinding): Buffer {
  return hash("sha256", encodeQuoteBinding(binding), "buffer");
}
