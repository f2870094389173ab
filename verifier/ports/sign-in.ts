/** Signing in by a browser at an issuer: OpenID Connect's authorization code flow. */
import type { ProvenToken } from "./token-authenticator.ts";

/** What one attempt is known by; secret until it is over. */
export interface SignInFlow {
  readonly state: string;
  readonly nonce: string;
  /** PKCE (RFC 7636). */
  readonly codeVerifier: string;
}

export interface SignInProvider {
  /** As configuration names it. */
  readonly source: string;
  /** @param redirectUri where the browser comes back to @returns where it goes @throws TokenError UNAVAILABLE */
  begin(redirectUri: string): Promise<{ readonly url: string; readonly flow: SignInFlow }>;
  /** @param returned the whole address that the browser came back with: a stranger's @throws TokenError */
  finish(flow: SignInFlow, returned: URL): Promise<ProvenToken>;
}
