/** Digests that chain Evidence: what one report commits to of the reports before it. */
import { createHash } from "node:crypto";

export const EVIDENCE_DOMAIN = "hullmark-evidence-v1";
/** `previous_digest` of the first Evidence of a chain. */
export const CHAIN_START: Buffer = Buffer.alloc(32);

/** Digest of an Evidence body, over its bytes as sent: `SHA-256(domain ‖ body)`. The body itself holds seq and the previous digest. */
export function evidenceDigest(body: Uint8Array): Buffer {
  return createHash("sha256").update(EVIDENCE_DOMAIN).update(body).digest();
}
