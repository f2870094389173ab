/** As in hullmark.v1.ProvenanceStatus. `unknown` is no verdict: something that could have changed it was not to be had. */
export type ProvenanceStatus =
  | "signed"
  | "unsigned"
  | "wrong-key"
  | "other-digest"
  | "moved-tag"
  | "attestation-only"
  | "attestation-missing"
  | "malformed"
  | "revoked"
  | "unknown";
