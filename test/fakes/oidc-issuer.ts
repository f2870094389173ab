/** A real OpenID Connect issuer (oidc-provider, certified) over TLS on a free port, for clients that get access tokens (RFC 9068) by their secrets: each stands for a person. */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { exportJWK, importPKCS8, type JWK, type JWTPayload, SignJWT } from "jose";
import Provider, { type Configuration } from "oidc-provider";

export const AUDIENCE = "hullmark";
const SECRET = randomBytes(24).toString("base64url");

/** By name: what their tokens say besides the standard. */
export type People = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

export class OidcIssuer {
  readonly directory: string;
  readonly url: string;
  readonly #people: People;
  readonly #server: Server;
  #key: { readonly pem: string; readonly jwk: JWK };
  #answer: ReturnType<Provider["callback"]>;
  /** Where the client `web`, by which people sign in with a browser, sends them back to. */
  #redirectUri: string | undefined;
  #keysAt = "/jwks";
  /** Requests for its keys. */
  keyRequests = 0;

  private constructor(directory: string, server: Server, people: People, key: { pem: string; jwk: JWK }) {
    this.directory = directory;
    this.#server = server;
    this.#people = people;
    this.#key = key;
    this.url = `https://localhost:${(server.address() as AddressInfo).port}`;
    this.#answer = this.#provider().callback();
    server.on("request", (request, response) => {
      if (request.url === this.#keysAt) this.keyRequests++;
      void this.#answer(request, response);
    });
  }

  static async start(people: People): Promise<OidcIssuer> {
    const directory = mkdtempSync(join(tmpdir(), "hullmark-issuer-"));
    const ca = await X509Ca.open({ stateDir: join(directory, "ca"), region: "eu-1", clock: { nowMs: () => Date.now() } });
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const { chain } = await ca.issueServer(["localhost"], publicKey.export({ type: "spki", format: "der" }), 86_400_000);
    const cert = chain.map((der) => `-----BEGIN CERTIFICATE-----\n${der.toString("base64")}\n-----END CERTIFICATE-----\n`).join("");
    writeFileSync(join(directory, "ca.pem"), ca.rootPem);
    const server = createServer({ key: privateKey.export({ type: "pkcs8", format: "pem" }), cert });
    server.listen(0, "localhost");
    await once(server, "listening");
    return new OidcIssuer(directory, server, people, await newKey());
  }

  get caFile(): string {
    return join(this.directory, "ca.pem");
  }

  /** Lets people sign in by a browser, at pages of its own that ask for a name and believe every password. */
  letSignIn(redirectUri: string): { readonly clientId: string; readonly secretFile: string } {
    this.#redirectUri = redirectUri;
    this.#answer = this.#provider().callback();
    const secretFile = join(this.directory, "secret");
    writeFileSync(secretFile, `${SECRET}\n`, { mode: 0o600 });
    return { clientId: "web", secretFile };
  }

  /** As a client gets it from the token endpoint. */
  async token(name: string): Promise<string> {
    const { default: https } = await import("node:https");
    const body = new URLSearchParams({ grant_type: "client_credentials", resource: `urn:${AUDIENCE}` }).toString();
    const headers = { "content-type": "application/x-www-form-urlencoded", authorization: `Basic ${Buffer.from(`${name}:${SECRET}`).toString("base64")}` };
    const text = await new Promise<string>((resolve, reject) => {
      const request = https.request(`${this.url}/token`, { method: "POST", headers, rejectUnauthorized: false }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () => resolve(Buffer.concat(chunks).toString()));
      });
      request.on("error", reject);
      request.end(body);
    });
    const { access_token: token } = JSON.parse(text) as { access_token?: string };
    if (token === undefined) throw new Error(`no token: ${text}`);
    return token;
  }

  /** What it would never sign, by its own key. */
  async signed(claims: JWTPayload, header: object = {}): Promise<string> {
    const key = await importPKCS8(this.#key.pem, "ES256");
    return await new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: this.#key.jwk.kid, ...header } as never).sign(key);
  }

  /** Claims of a token that does. */
  claims(name: string, more: JWTPayload = {}): JWTPayload {
    const nowS = Math.floor(Date.now() / 1000);
    return { iss: this.url, aud: AUDIENCE, sub: name, iat: nowS, exp: nowS + 600, ...this.#people[name], ...more };
  }

  get publicJwk(): JWK {
    const { d: _, ...publicHalf } = this.#key.jwk;
    return publicHalf;
  }

  /** Another key signs, and the old one is published no more. */
  async rotate(): Promise<void> {
    this.#key = await newKey();
    this.#answer = this.#provider().callback();
  }

  /** The same, and what is published is elsewhere. */
  async move(): Promise<void> {
    this.#keysAt = "/keys-elsewhere";
    await this.rotate();
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.directory, { recursive: true, force: true });
  }

  #provider(): Provider {
    const people = this.#people;
    const configuration: Configuration = {
      jwks: { keys: [this.#key.jwk as never] },
      clients: [
        ...Object.keys(people).map((name) => ({
          ...{ client_id: name, client_secret: SECRET, grant_types: ["client_credentials"], response_types: [], redirect_uris: [] },
          id_token_signed_response_alg: "ES256" as const,
        })),
        ...(this.#redirectUri === undefined
          ? []
          : [{ client_id: "web", client_secret: SECRET, redirect_uris: [this.#redirectUri], id_token_signed_response_alg: "ES256" as const }]),
      ],
      routes: { jwks: this.#keysAt },
      pkce: { required: () => true },
      claims: { openid: ["sub", "groups"] },
      conformIdTokenClaims: false,
      findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
      features: {
        devInteractions: { enabled: this.#redirectUri !== undefined },
        clientCredentials: { enabled: true },
        resourceIndicators: {
          enabled: true,
          getResourceServerInfo: () => ({ scope: "", audience: AUDIENCE, accessTokenFormat: "jwt", accessTokenTTL: 600, jwt: { sign: { alg: "ES256" } } }),
        },
      },
      extraTokenClaims: (_context, token) => people["clientId" in token ? (token.clientId as string) : ""] ?? {},
    };
    return new Provider(this.url, configuration);
  }
}

async function newKey(): Promise<{ pem: string; jwk: JWK }> {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const jwk = await exportJWK(privateKey);
  return {
    pem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    jwk: { ...jwk, kid: randomBytes(8).toString("hex"), alg: "ES256", use: "sig" },
  };
}
