/** Signing by identity: a certificate of minutes over a key that is thrown away, with a log's entry and a timestamp, by the sigstore library. */
import { STATEMENT_PAYLOAD_TYPE } from "@hullmark/verifier/core/provenance/index";
import { type Bundle, bundleToJSON } from "@sigstore/bundle";
import { RFC3161Timestamp } from "@sigstore/core";
import { SigningConfig } from "@sigstore/protobuf-specs";
import { SigningError } from "./errors.ts";
import { readText } from "./keys.ts";
import type { StatementSigner } from "./sign-image.ts";

/** Environment variable with the identity token, as other sigstore clients have it. */
export const TOKEN_VARIABLE = "SIGSTORE_ID_TOKEN";
const MAX_TOKEN_CHARS = 16_384;
/** For each request of the three services, and how often one is tried again. */
const TIMEOUT_MS = 20_000;
const RETRIES = 2;
const LOOPBACK: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);

export interface KeylessOptions {
  /** A sigstore `signing_config.json`: which certificate authority, log and timestamp authority. */
  readonly signingConfigFile: string;
  /** Holds the identity token; undefined: the environment's, else what the CI system (GitHub Actions, Buildkite) gives. */
  readonly tokenFile: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The token goes to the certificate authority alone, and into no message. @throws SigningError FILE, USAGE; the signer too, IDENTITY */
export async function keylessSigner({ signingConfigFile, tokenFile, env }: KeylessOptions): Promise<StatementSigner> {
  const signingConfig = readConfig(await readText(signingConfigFile), signingConfigFile);
  const given = tokenFile === undefined ? env[TOKEN_VARIABLE] : await readText(tokenFile);
  // What only these commands need, no other has to start with.
  const { bundleBuilderFromSigningConfig, CIContextProvider } = await import("@sigstore/sign");
  const ci = new CIContextProvider("sigstore");
  const identityProvider = { getToken: async () => checkToken((given ?? (await ci.getToken())).trim()) };
  const fetchOptions = { timeout: TIMEOUT_MS, retry: { retries: RETRIES } };
  return async (statement) => {
    let bundle: Bundle;
    try {
      bundle = await bundleBuilderFromSigningConfig({ signingConfig, identityProvider, bundleType: "dsseEnvelope", fetchOptions }).create({
        data: statement,
        type: STATEMENT_PAYLOAD_TYPE,
      });
    } catch (error) {
      throw new SigningError("IDENTITY", `not signed: ${because(error)}`);
    }
    const { tlogEntries, timestampVerificationData } = bundle.verificationMaterial;
    const timestamps = timestampVerificationData?.rfc3161Timestamps ?? [];
    if (!timestamps.every(isTimestamp)) throw new SigningError("IDENTITY", "not signed: what the timestamp authority answered is no timestamp");
    if (timestamps.length === 0 && !tlogEntries.some(({ inclusionPromise }) => inclusionPromise))
      throw new SigningError("USAGE", `${signingConfigFile}: its services prove no time of signing: a log of version 2 needs a timestamp authority`);
    return Buffer.from(JSON.stringify(bundleToJSON(bundle)), "utf8");
  };
}

/** An authority refuses in the same form. */
function isTimestamp({ signedTimestamp }: { readonly signedTimestamp: Buffer }): boolean {
  try {
    return !Number.isNaN(RFC3161Timestamp.parse(Buffer.from(signedTimestamp)).signingTime.getTime());
  } catch {
    return false;
  }
}

function readConfig(json: string, file: string): SigningConfig {
  let config: SigningConfig;
  try {
    config = SigningConfig.fromJSON(JSON.parse(json));
  } catch {
    throw new SigningError("USAGE", `${file} is no signing_config.json`);
  }
  const { caUrls, rekorTlogUrls, tsaUrls, rekorTlogConfig, tsaConfig } = config;
  if (caUrls.length === 0) throw new SigningError("USAGE", `${file} names no certificate authority: not a signing_config.json`);
  if (!rekorTlogConfig && !tsaConfig)
    throw new SigningError("USAGE", `${file} names neither log nor timestamp authority: nothing would prove when it was signed`);
  for (const { url } of [...caUrls, ...rekorTlogUrls, ...tsaUrls]) {
    const { protocol, hostname } = URL.parse(url) ?? {};
    if (protocol !== "https:" && !(protocol === "http:" && LOOPBACK.has(hostname ?? "")))
      throw new SigningError("USAGE", `${file}: ${JSON.stringify(url)} is not https: whoever reads the token on its way signs with it`);
  }
  return config;
}

/** Its form only: whether it holds is the certificate authority's to say. */
function checkToken(token: string): string {
  if (token.length > MAX_TOKEN_CHARS || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) throw new Error("not an identity token (JWT)");
  return token;
}

/** The library quotes a token that it cannot read. */
function because(error: unknown): string {
  const { code, message, cause } = error as { code?: string; message?: string; cause?: unknown };
  if (!code?.startsWith("IDENTITY_TOKEN")) return message ?? String(error);
  return `no identity token that can be used${cause instanceof Error && code === "IDENTITY_TOKEN_READ_ERROR" ? `: ${cause.message}` : ""}`;
}
