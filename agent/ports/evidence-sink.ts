/** The way to the verifier: one stream at a time. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AttestRequest, AttestRequestSchema, AttestResponse } from "@hullmark/proto/v1/attestation";

export type OutgoingMessage = MessageInitShape<typeof AttestRequestSchema>;
export type { AttestRequest, AttestResponse };

export interface EvidenceSink {
  /**
   * Opens a stream under the current client certificate. Responses end when the verifier closes or the signal aborts, and throw when the connection fails.
   * Enrols or renews first where there is no valid certificate.
   */
  connect(outgoing: AsyncIterable<OutgoingMessage>, signal: AbortSignal): AsyncIterable<AttestResponse>;
  /** SHA-256 of the SubjectPublicKeyInfo of the current client key: bound into quotes. */
  spkiSha256(): Buffer;
  /** Facts of the verifier from enrolment, which quotes commit to. */
  binding(): { readonly verifierId: string; readonly region: string; readonly nodeId: string };
}
