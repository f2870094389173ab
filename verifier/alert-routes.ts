/** The routes of the policy in force: which notifier delivers each, and what a test of one says. */
import { readFileSync } from "node:fs";
import { VERSION } from "@hullmark/daemon";
import type { Logger } from "pino";
import { notifierFor } from "./adapters/alert-http/index.ts";
import { syslogNotifier } from "./adapters/alert-syslog/index.ts";
import type { VerifierConfig } from "./config.ts";
import { type AlertBook, type HandledAlerts, standingBeside } from "./core/alerting/index.ts";
import { type TestAlert, testNotification } from "./core/fleet/alerts.ts";
import type { Deliveries } from "./core/fleet/deliveries.ts";
import type { AlertRoute } from "./core/policy/types.ts";
import type { AlertEvent, Notifier } from "./ports/notifier.ts";

export interface AlertRouteServices {
  readonly config: Pick<VerifierConfig, "alertSecretsDirectory" | "externalUrl" | "region" | "verifierId">;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly logger: Logger;
  readonly deliveries: Deliveries;
  readonly routes: () => readonly AlertRoute[];
  readonly book: Pick<AlertBook, "alerts">;
  readonly handled: Pick<HandledAlerts, "by">;
  readonly nowMs: () => number;
}

export interface TestedRoute {
  readonly route: string;
  readonly type: string;
  readonly taken: boolean;
  /** What the receiver answered, or why it did not get it. */
  readonly answer: string;
}

export class AlertRoutes {
  readonly #services: AlertRouteServices;
  /** Route → why it cannot work. */
  #problems: ReadonlyMap<string, string> = new Map();

  constructor(services: AlertRouteServices) {
    this.#services = services;
  }

  /** The policy's routes as they are now deliver from here on. */
  use(): void {
    const { deliveries, logger, routes } = this.#services;
    const problems = new Map<string, string>();
    deliveries.use(
      routes().flatMap((route) => {
        try {
          return [{ route, notifier: this.#services.handled.by(this.#notifierOf(route)) }];
        } catch (error) {
          problems.set(route.name, error instanceof Error ? error.message : String(error));
          logger.error({ route: route.name, err: error }, "this alert route cannot work");
          return [];
        }
      }),
    );
    this.#problems = problems;
  }

  /** Whether somebody delivers what is for this route. */
  works(route: string): boolean {
    return this.#services.deliveries.notifier(route) !== undefined;
  }

  /** Sends a harmless alert to the receivers themselves, past the outbox; route empty: to all. @returns one a route; none where no route has the name */
  async test({ route: wanted, severity, end, by }: TestAlert, signal: AbortSignal): Promise<TestedRoute[]> {
    const { deliveries, routes, nowMs } = this.#services;
    const tested: TestedRoute[] = [];
    for (const { name: route, type } of routes().filter(({ name }) => wanted === "" || name === wanted)) {
      const notifier = deliveries.notifier(route);
      try {
        if (!notifier) throw new Error(this.#problems.get(route) ?? "the route is not in use yet");
        const answer = await notifier.notify(testNotification({ route, severity, end, by }, nowMs()), signal);
        tested.push({ route, type, taken: true, answer });
      } catch (error) {
        tested.push({ route, type, taken: false, answer: error instanceof Error ? error.message : String(error) });
      }
    }
    return tested;
  }

  #notifierOf(route: AlertRoute): Notifier {
    const { environment, config, book } = this.#services;
    const { alertSecretsDirectory: secretsDirectory, externalUrl, region, verifierId } = config;
    if (route.type === "syslog") return syslogNotifier(route, { hostname: verifierId, version: VERSION, externalUrl });
    const readFile = (path: string) => readFileSync(path, "utf8");
    const standing = (name: string, alert: AlertEvent) => standingBeside(book.alerts(), name, alert);
    return notifierFor(route, { environment, secretsDirectory, readFile, source: `//hullmark/${region}`, externalUrl, standing });
  }
}
