/** Composition of the dashboard: where it is configured, made, joined and started. No decisions here. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Server } from "node:https";
import { join } from "node:path";
import { ConfigError, splitHostPort } from "@hullmark/daemon";
import type { Logger } from "pino";
import { buildDashboardServer, type Credentials, type DashboardServerOptions } from "./api/dashboard/server.ts";
import type { AdminServices } from "./api/grpc/index.ts";
import type { VerifierConfig } from "./config.ts";
import { BrowserSessions } from "./core/people/browser-sessions.ts";
import type { Clock } from "./ports/clock.ts";
import type { KeyAndChain } from "./state-files.ts";

/** Beside the bundle; where the verifier runs from its sources, in dist/ of the checkout. */
const BUNDLED = import.meta.url.endsWith(".ts") ? join(import.meta.dirname, "../dist") : import.meta.dirname;

type Parts = Omit<DashboardServerOptions, "sessions" | "files" | "certificateChain" | "privateKey" | "onSignIn"> & {
  readonly config: VerifierConfig;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly certificate: KeyAndChain;
  readonly door: DashboardDoorway;
  /** Where the page's files are; undefined: beside the program. */
  readonly directory: string | undefined;
};

/** Where codes are asked for: there before the listener is. */
export interface DashboardDoorway {
  readonly sessions: BrowserSessions<Credentials> | undefined;
  readonly open: AdminServices["openDashboard"];
  /** It listens there from now on. */
  at(port: number): void;
}

export interface RunningDashboard {
  readonly port: number;
  /** New connections meet this certificate. */
  changeCertificate(certificate: KeyAndChain): void;
  endRefused(): void;
}

export function dashboardDoorway({ dashboard }: VerifierConfig, clock: Clock): DashboardDoorway {
  const times = dashboard && { idleMs: dashboard.idleMinutes * 60_000, lifetimeMs: dashboard.sessionHours * 3_600_000 };
  const sessions = times && new BrowserSessions<Credentials>({ nowMs: () => clock.nowMs(), random: (bytes) => randomBytes(bytes), ...times });
  let listening: number | undefined;
  return {
    sessions,
    open: ({ name }, { peerCertificate, caller }) =>
      sessions && listening !== undefined ? { ...sessions.offer(name, { peerCertificate, caller }), url: dashboard?.url ?? "", port: listening } : undefined,
    at: (port) => {
      listening = port;
    },
  };
}

/** @param stack what is started is stopped with it @returns undefined where it is not configured @throws ConfigError where its page is not there */
export async function dashboardServer(parts: Parts, stack: AsyncDisposableStack): Promise<RunningDashboard | undefined> {
  const { config, logger, certificate, door, directory = BUNDLED } = parts;
  if (!config.dashboard || !door.sessions) return undefined;
  const { server, endRefused, stop } = buildDashboardServer({
    ...parts,
    sessions: door.sessions,
    files: { html: read(directory, "dashboard.html").toString("utf8"), script: read(directory, "dashboard.js"), style: read(directory, "dashboard.css") },
    ...{ certificateChain: certificate.chainPem, privateKey: certificate.privateKeyPem },
    onSignIn: (fact) => logger.info(fact, "signed in to the dashboard"),
  });
  stack.defer(stop);
  const [host, wanted] = splitHostPort(config.dashboard.listen);
  await server.listen({ host, port: wanted });
  const https = server.server as unknown as Server;
  const { port } = https.address() as { port: number };
  door.at(port);
  return {
    port,
    changeCertificate: ({ chainPem, privateKeyPem }) => https.setSecureContext({ minVersion: "TLSv1.2", cert: chainPem, key: privateKeyPem }),
    endRefused,
  };
}

function read(directory: string, name: string): Buffer {
  try {
    return readFileSync(join(directory, name));
  } catch (cause) {
    throw new ConfigError("dashboard", `${join(directory, name)} is not there: node deploy/bundle.ts makes it (${(cause as NodeJS.ErrnoException).code})`);
  }
}
