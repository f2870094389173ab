/** Answers a registry's 401: Basic, or a bearer token from the realm that it names (distribution, docs/spec/auth/token.md and oauth.md). */
import * as z from "zod/mini";
import { RegistryError } from "../../ports/registry.ts";
import type { CredentialSource, Credentials } from "./docker-config.ts";
import { type HttpTransport, parseUrl, readBody } from "./transport.ts";

export interface Challenge {
  readonly scheme: "basic" | "bearer";
  readonly parameters: Readonly<Record<string, string>>;
}

const MAX_CHALLENGE_CHARS = 4096;
const MAX_TOKEN_BYTES = 64 * 1024;
/** A token without `expires_in` lives 60 s by the specification; each is given up this much earlier. */
const DEFAULT_LIFETIME_S = 60;
const LEEWAY_S = 5;
const MAX_LIFETIME_S = 3600;
const MAX_CACHED_TOKENS = 1024;

/** The first Basic or Bearer challenge of a WWW-Authenticate header (RFC 9110, 11.6.1); undefined: none that we can answer. */
export function parseChallenge(header: string | undefined): Challenge | undefined {
  if (header === undefined || header.length > MAX_CHALLENGE_CHARS) return undefined;
  const found = /^\s*(basic|bearer)\s+(.*)$/is.exec(header);
  if (!found?.[1] || found[2] === undefined) return undefined;
  const parameters: Record<string, string> = {};
  for (const [, name, quoted, bare] of found[2].matchAll(/([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))/g)) {
    if (name) parameters[name.toLowerCase()] = quoted?.replace(/\\(.)/g, "$1") ?? bare ?? "";
  }
  return { scheme: found[1].toLowerCase() as Challenge["scheme"], parameters };
}

const tokenSchema = z.object({
  token: z.optional(z.string().check(z.maxLength(MAX_TOKEN_BYTES))),
  access_token: z.optional(z.string().check(z.maxLength(MAX_TOKEN_BYTES))),
  expires_in: z.optional(z.number().check(z.nonnegative())),
});

export class Authenticator {
  readonly #transport: HttpTransport;
  readonly #credentials: CredentialSource;
  readonly #headers = new Map<string, { readonly value: string; readonly expiresAtMs: number }>();

  constructor(transport: HttpTransport, credentials: CredentialSource) {
    this.#transport = transport;
    this.#credentials = credentials;
  }

  /** The Authorization header that last worked for this host and scope, while it is valid. */
  remembered(host: string, scope: string): string | undefined {
    const entry = this.#headers.get(`${host} ${scope}`);
    return entry && entry.expiresAtMs > Date.now() ? entry.value : undefined;
  }

  /**
   * The Authorization header that answers `header`; undefined where there is nothing (more) to offer.
   * @param scope what we need (`repository:name:pull`): used rather than the registry's wish, which could ask for more
   */
  async answer(host: string, scope: string, header: string | undefined, signal: AbortSignal): Promise<string | undefined> {
    const challenge = parseChallenge(header);
    if (!challenge) return undefined;
    const credentials = await this.#credentials(host, signal);
    if (challenge.scheme === "basic") {
      if (!credentials || "identityToken" in credentials) return undefined;
      return this.#remember(host, scope, basic(credentials), MAX_LIFETIME_S);
    }
    const { token, lifetimeS } = await this.#fetchToken(host, scope, challenge.parameters, credentials, signal);
    return this.#remember(host, scope, `Bearer ${token}`, lifetimeS);
  }

  #remember(host: string, scope: string, value: string, lifetimeS: number): string {
    const oldest = this.#headers.keys().next();
    if (this.#headers.size >= MAX_CACHED_TOKENS && !oldest.done) this.#headers.delete(oldest.value);
    this.#headers.set(`${host} ${scope}`, { value, expiresAtMs: Date.now() + Math.max(1, Math.min(lifetimeS, MAX_LIFETIME_S) - LEEWAY_S) * 1000 });
    return value;
  }

  async #fetchToken(host: string, scope: string, parameters: Challenge["parameters"], credentials: Credentials | undefined, signal: AbortSignal) {
    const realm = parseUrl(parameters["realm"] ?? "", new URL(`https://${host}/`));
    if (!parameters["realm"] || !this.#transport.permits(realm))
      throw new RegistryError("INSECURE", `${host} names a token service that cannot be used safely`);
    const query = { ...(parameters["service"] ? { service: parameters["service"] } : {}), scope };
    const response = await (credentials && "identityToken" in credentials
      ? this.#transport.request(
          {
            method: "POST",
            url: realm,
            headers: { "content-type": "application/x-www-form-urlencoded", accept: "application/json" },
            body: Buffer.from(
              new URLSearchParams({ ...query, grant_type: "refresh_token", refresh_token: credentials.identityToken, client_id: "hullmark" }).toString(),
            ),
          },
          signal,
        )
      : this.#transport.request(
          {
            method: "GET",
            url: withQuery(realm, query),
            headers: { accept: "application/json", ...(credentials ? { authorization: basic(credentials) } : {}) },
          },
          signal,
        ));
    const body = await readBody(response, MAX_TOKEN_BYTES, signal);
    if (response.status === 401 || response.status === 403)
      throw new RegistryError("UNAUTHORIZED", `${realm.host} refuses ${credentials ? "the credentials" : "anonymous access"} for ${host}`);
    if (response.status === 429) throw new RegistryError("RATE_LIMITED", `${realm.host} limits the rate of tokens`);
    if (response.status !== 200) throw new RegistryError("UNAVAILABLE", `${realm.host} answered ${response.status} when asked for a token`);
    return readToken(body, realm.host);
  }
}

function readToken(body: Buffer, host: string): { token: string; lifetimeS: number } {
  const parsed = tokenSchema.safeParse(parseJson(body));
  const token = parsed.data?.token ?? parsed.data?.access_token;
  // A token with control bytes could smuggle a header.
  if (!token || !/^[\x21-\x7e]+$/.test(token)) throw new RegistryError("MALFORMED", `${host} answered something else than a token`);
  return { token, lifetimeS: parsed.data?.expires_in || DEFAULT_LIFETIME_S };
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch {
    return undefined;
  }
}

function basic(credentials: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`, "utf8").toString("base64")}`;
}

function withQuery(url: URL, query: Readonly<Record<string, string>>): URL {
  const result = new URL(url);
  for (const [name, value] of Object.entries(query)) result.searchParams.set(name, value);
  return result;
}
