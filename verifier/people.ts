/** Composition of who people are: what configuration says of them, and whoever is asked about their tokens. No decisions here. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { ApiServer } from "@hullmark/daemon/api-server";
import type { CallContext, RpcError } from "@hullmark/proto/rpc";
import type { Logger } from "pino";
import { KubernetesTokenReviewer, ReviewedPeople } from "./adapters/kubernetes/index.ts";
import { OidcIssuer, OidcSignIn } from "./adapters/oidc/index.ts";
import type { SignInFact, SignInServices } from "./api/dashboard/sign-in.ts";
import type { VerifierConfig } from "./config.ts";
import { Bearers, bearerOf } from "./core/people/bearers.ts";
import { Identities } from "./core/people/identities.ts";
import { SignIns } from "./core/people/sign-ins.ts";

export function identitiesOf({ people }: VerifierConfig): Identities {
  return new Identities({ aliases: people?.aliases ?? {}, roles: people?.roles ?? [] });
}

/** What stands before the names of people who come with tokens. */
export function sourcesOf({ people }: VerifierConfig): string[] {
  return [...(people?.oidc.map(({ name }) => name) ?? []), ...(people?.kubernetes ? [people.kubernetes.name] : [])];
}

type Issuer = NonNullable<VerifierConfig["people"]>["oidc"][number];

function issuerOf({ caFile, signIn: _, ...issuer }: Issuer, nowMs: () => number): OidcIssuer {
  return new OidcIssuer({ ...issuer, ca: caOf(caFile), nowMs });
}

/** Once now, so that a file that is not there is known at the start. @throws the system's error */
function caOf(file: string | undefined): () => string | undefined {
  const read = () => (file === undefined ? undefined : readFileSync(file, "utf8"));
  read();
  return read;
}

/** @returns undefined where nobody signs in to the dashboard at an issuer @throws the system's error where a file of certificates cannot be read */
export function signInOf({ people, dashboard }: VerifierConfig, identities: Identities, nowMs: () => number): SignInServices | undefined {
  const providers = (people?.oidc ?? []).flatMap((issuer) => {
    const { signIn, issuer: url, caFile } = issuer;
    if (!signIn) return [];
    return [new OidcSignIn({ ...signIn, issuer: url, clientSecretFile: signIn.clientSecretFile, ca: caOf(caFile), tokens: issuerOf(issuer, nowMs), nowMs })];
  });
  if (!dashboard?.url || providers.length === 0) return undefined;
  const lifetimeMs = dashboard.sessionHours * 3_600_000;
  return {
    ...{ providers, origin: new URL(dashboard.url).origin, waiting: new SignIns({ nowMs, random: (bytes) => randomBytes(bytes) }) },
    admit: (source, proven) => bearerOf(identities, source, proven, nowMs() + lifetimeMs),
  };
}

/** @param api of the cluster, where there is one @returns undefined where nobody comes with tokens @throws the system's error where a file of certificates cannot be read */
export function bearersOf({ people }: VerifierConfig, identities: Identities, api: ApiServer | undefined, nowMs: () => number): Bearers | undefined {
  if (!people) return undefined;
  const issuers = people.oidc.map((issuer) => issuerOf(issuer, nowMs));
  const reviewed = api && people.kubernetes ? [new ReviewedPeople({ ...people.kubernetes, nowMs, reviewer: new KubernetesTokenReviewer(api) })] : [];
  const authenticators = [...issuers, ...reviewed];
  return authenticators.length === 0 ? undefined : new Bearers({ authenticators, identities, nowMs });
}

const LINE_EVERY_MS = 60_000;

/** Refusals that anybody can bring about as often as they like: a line a minute, with how many there were. */
function aLineAMinute(logger: Pick<Logger, "warn">, nowMs: () => number, text: string): (fact: object) => void {
  let since = 0;
  let lineAtMs = Number.NEGATIVE_INFINITY;
  return (fact) => {
    since++;
    const atMs = nowMs();
    // A clock that was set back keeps nothing quiet.
    if (atMs >= lineAtMs && atMs - lineAtMs < LINE_EVERY_MS) return;
    logger.warn({ ...fact, refused: since }, text);
    [since, lineAtMs] = [0, atMs];
  };
}

/** Refused tokens in the log. @returns whether the error is one */
export function tokenRefusals(
  logger: Pick<Logger, "warn">,
  nowMs: () => number,
): (error: RpcError, context: Pick<CallContext, "peer" | "requestId">) => boolean {
  const line = aLineAMinute(logger, nowMs, "tokens were refused");
  return ({ code, message, detail }, { peer, requestId }) => {
    if (detail.reason !== "TOKEN") return false;
    line({ code, peer, requestId, detail: message });
    return true;
  };
}

/** Who came back from an issuer and was not signed in, in the log. */
export function signInRefusals(logger: Pick<Logger, "warn">, nowMs: () => number): (fact: SignInFact) => void {
  return aLineAMinute(logger, nowMs, "a browser was not signed in");
}
