/** Composition of who people are: what configuration says of them, and whoever is asked about their tokens. No decisions here. */
import { readFileSync } from "node:fs";
import type { ApiServer } from "@hullmark/daemon/api-server";
import { KubernetesTokenReviewer, ReviewedPeople } from "./adapters/kubernetes/index.ts";
import { OidcIssuer } from "./adapters/oidc/index.ts";
import type { VerifierConfig } from "./config.ts";
import { Bearers } from "./core/people/bearers.ts";
import { Identities } from "./core/people/identities.ts";

export function identitiesOf({ people }: VerifierConfig): Identities {
  return new Identities({ aliases: people?.aliases ?? {}, roles: people?.roles ?? [] });
}

/** @param api of the cluster, where there is one @returns undefined where nobody comes with tokens @throws the system's error where a file of certificates cannot be read */
export function bearersOf({ people }: VerifierConfig, identities: Identities, api: ApiServer | undefined, nowMs: () => number): Bearers | undefined {
  if (!people) return undefined;
  const issuers = people.oidc.map(
    ({ caFile, ...issuer }) => new OidcIssuer({ ...issuer, ca: caFile === undefined ? undefined : readFileSync(caFile, "utf8"), nowMs }),
  );
  const reviewed = api && people.kubernetes ? [new ReviewedPeople({ ...people.kubernetes, reviewer: new KubernetesTokenReviewer(api) })] : [];
  const authenticators = [...issuers, ...reviewed];
  return authenticators.length === 0 ? undefined : new Bearers({ authenticators, identities, nowMs });
}
