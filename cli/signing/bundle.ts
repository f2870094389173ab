/** Sigstore bundles v0.3 around DSSE envelopes of in-toto statements, as cosign v3 writes and reads them. */

import { SIGN_PREDICATE_TYPE, STATEMENT_PAYLOAD_TYPE, STATEMENT_V1 } from "@hullmark/verifier/core/provenance/index";
import { bundleToJSON, toDSSEBundle } from "@sigstore/bundle";
import { dsse } from "@sigstore/core";
import type { SigningKey } from "./keys.ts";

/** A predicate and what it is. */
export interface Predicate {
  readonly type: string;
  readonly value: Readonly<Record<string, unknown>>;
}

/** The predicate that says nothing but "this image". */
export const SIGN_PREDICATE: Predicate = { type: SIGN_PREDICATE_TYPE, value: {} };

/** in-toto Statement v1 about one image. @param digest `sha256:` and 64 hex digits */
export function statement(digest: string, predicate: Predicate): Buffer {
  const subject = [{ digest: { sha256: digest.slice("sha256:".length) } }];
  return Buffer.from(JSON.stringify({ _type: STATEMENT_V1, subject, predicateType: predicate.type, predicate: predicate.value }), "utf8");
}

/** Signs a statement. Without certificate, log entry or timestamp: the key alone vouches. */
export async function signStatement(payload: Buffer, key: Pick<SigningKey, "hint" | "sign">): Promise<Buffer> {
  const signature = await key.sign(dsse.preAuthEncoding(STATEMENT_PAYLOAD_TYPE, payload));
  const built = toDSSEBundle({ artifact: payload, artifactType: STATEMENT_PAYLOAD_TYPE, signature, keyHint: key.hint });
  // The hint belongs to the bundle alone: cosign v3 passes over a signature whose envelope names a key id that is not its own.
  const dsseEnvelope = { ...built.content.dsseEnvelope, signatures: [{ sig: signature, keyid: "" }] };
  return Buffer.from(JSON.stringify(bundleToJSON({ ...built, content: { $case: "dsseEnvelope", dsseEnvelope } })), "utf8");
}
