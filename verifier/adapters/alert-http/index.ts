/** Alert routes that speak HTTP. */
import type { AlertRoute } from "../../core/policy/types.ts";
import type { Notifier } from "../../ports/notifier.ts";
import { alertmanagerNotifier } from "./alertmanager.ts";
import { webhookNotifier } from "./webhook.ts";

export * from "./alertmanager.ts";
export * from "./webhook.ts";

export interface RouteSurroundings {
  /** Environment variables that the policy may name. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => string;
  /** Names this verifier in CloudEvents, for example `//hullmark/eu-1`. */
  readonly source: string;
  /** Where people reach the verifier; undefined: unknown. */
  readonly externalUrl: string | undefined;
}

/** The notifier of a route of the policy. @throws Error where a named environment variable is not set or the CA file cannot be read: the route cannot work, and that must be seen */
export function notifierFor(route: AlertRoute, surroundings: RouteSurroundings): Notifier {
  const fromEnvironment = (name: string): string => {
    const value = surroundings.environment[name];
    if (value === undefined || value === "") throw new Error(`alert route ${route.name}: environment variable ${name} is not set`);
    return value;
  };
  const common = {
    route: route.name,
    url: route.url,
    headers: Object.fromEntries(
      Object.entries(route.headers).map(([name, header]) => [name, "value" in header ? header.value : fromEnvironment(header.fromEnv)]),
    ),
    timeoutMs: route.timeoutSeconds * 1000,
    ca: route.caFile === undefined ? undefined : surroundings.readFile(route.caFile),
  };
  if (route.type === "alertmanager") return alertmanagerNotifier({ ...common, externalUrl: surroundings.externalUrl });
  const hmacKey = route.hmacKeyFromEnv === undefined ? undefined : fromEnvironment(route.hmacKeyFromEnv);
  return webhookNotifier({ ...common, hmacKey, source: surroundings.source });
}
