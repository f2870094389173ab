/** {@link SignInProvider} by OpenID Connect: authorization code with PKCE, state and nonce (OpenID Connect Core 1.0, RFC 7636, RFC 9700); the ID token is held to what any token of the issuer is. */
import { readFileSync } from "node:fs";
import * as client from "openid-client";
import type { SignInFlow, SignInProvider } from "../../ports/sign-in.ts";
import { type ProvenToken, TokenError } from "../../ports/token-authenticator.ts";
import { boundedFetch } from "./fetch.ts";
import type { OidcIssuer } from "./issuer.ts";

const TIMEOUT_SECONDS = 5;
/** What the issuer tells of itself is asked for again. */
const DISCOVERED_MS = 3_600_000;
const MAX_SECRET_BYTES = 4096;

export interface OidcSignInOptions {
  readonly issuer: string;
  readonly clientId: string;
  /** Holds the client's secret, read each time: another may be put there; undefined: a public client. */
  readonly clientSecretFile: string | undefined;
  readonly scopes: readonly string[];
  /** PEM, in place of the system's: read for each request. @throws the system's error */
  readonly ca: () => string | undefined;
  /** Whose tokens they are. */
  readonly tokens: OidcIssuer;
  readonly nowMs: () => number;
}

export class OidcSignIn implements SignInProvider {
  readonly source: string;
  readonly #options: OidcSignInOptions;
  #client: { readonly secret: string | undefined; readonly sinceMs: number; readonly configuration: Promise<client.Configuration> } | undefined;

  constructor(options: OidcSignInOptions) {
    this.source = options.tokens.source;
    this.#options = options;
  }

  async begin(redirectUri: string): Promise<{ readonly url: string; readonly flow: SignInFlow }> {
    const configuration = await this.#discovered();
    const flow = { state: client.randomState(), nonce: client.randomNonce(), codeVerifier: client.randomPKCECodeVerifier() };
    const url = client.buildAuthorizationUrl(configuration, {
      ...{ redirect_uri: redirectUri, scope: this.#options.scopes.join(" "), state: flow.state, nonce: flow.nonce },
      ...{ code_challenge: await client.calculatePKCECodeChallenge(flow.codeVerifier), code_challenge_method: "S256" },
    });
    return { url: url.href, flow };
  }

  async finish({ state, nonce, codeVerifier }: SignInFlow, returned: URL): Promise<ProvenToken> {
    const configuration = await this.#discovered();
    let idToken: string | undefined;
    try {
      const checks = { expectedState: state, expectedNonce: nonce, pkceCodeVerifier: codeVerifier, idTokenExpected: true };
      idToken = (await client.authorizationCodeGrant(configuration, returned, checks)).id_token;
    } catch (cause) {
      // Errors hold the answer, with tokens in it: of them only the code is told.
      const code = cause instanceof Error && "code" in cause ? String(cause.code).slice(0, 64) : "no answer";
      const refused = cause instanceof client.AuthorizationResponseError || cause instanceof client.ResponseBodyError || cause instanceof client.ClientError;
      throw new TokenError(refused ? "REFUSED" : "UNAVAILABLE", `${this.source} did not sign in: ${code}`);
    }
    if (idToken === undefined) throw new TokenError("REFUSED", `${this.source} gave no ID token`);
    return await this.#options.tokens.authenticate(idToken, [this.#options.clientId]);
  }

  /** @throws TokenError UNAVAILABLE; the next asks again */
  async #discovered(): Promise<client.Configuration> {
    try {
      const secret = this.#secret();
      const agoMs = this.#options.nowMs() - (this.#client?.sinceMs ?? 0);
      if (this.#client?.secret !== secret || !this.#client || agoMs < 0 || agoMs >= DISCOVERED_MS)
        this.#client = { secret, sinceMs: this.#options.nowMs(), configuration: this.#discover(secret) };
      return await this.#client.configuration;
    } catch {
      this.#client = undefined;
      throw new TokenError("UNAVAILABLE", `the issuer ${this.source} cannot be asked, or its client's secret cannot be read`);
    }
  }

  /** @throws Error */
  #secret(): string | undefined {
    const { clientSecretFile } = this.#options;
    if (clientSecretFile === undefined) return undefined;
    const secret = readFileSync(clientSecretFile, "utf8").trim();
    if (secret === "" || secret.length > MAX_SECRET_BYTES) throw new Error("no secret");
    return secret;
  }

  async #discover(secret: string | undefined): Promise<client.Configuration> {
    const { issuer, clientId, ca } = this.#options;
    const authentication = secret === undefined ? client.None() : client.ClientSecretBasic(secret);
    const options = { timeout: TIMEOUT_SECONDS, [client.customFetch]: boundedFetch(ca) };
    return await client.discovery(new URL(issuer), clientId, undefined, authentication, options);
  }
}
