/** Signs Attestation Results with keys of their own, which are published, and change while relying parties go on verifying. */
export interface EarSigner {
  /** @returns a JWT (JWS compact serialisation), typ `eat+jwt`, with the key's id in its header */
  sign(claims: Readonly<Record<string, unknown>>): Promise<string>;
  /** A JWK Set (RFC 7517): the key in use, the one that follows it, and those whose results may still be valid. Public halves only. */
  jwks(): { readonly keys: readonly object[] };
}
