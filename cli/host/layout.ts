/** Where everything of one host lies: below one state directory, so that removing it removes all. */
import { existsSync, realpathSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

export const DEFAULT_STATE = "/var/lib/hullmark";

export type ServiceName = "verifier" | "agent" | "actuator";
/** In the order in which they start; they stop in reverse. */
export const SERVICES: readonly ServiceName[] = ["verifier", "agent", "actuator"];

/** Those that are to run. @param act whether the host may be acted on */
export function servicesOf({ act }: { readonly act: boolean }): readonly ServiceName[] {
  return act ? SERVICES : SERVICES.filter((name) => name !== "actuator");
}

export interface Layout {
  readonly state: string;
  /** What `up` has made and with which options; its presence says that the directory is ours. */
  readonly record: string;
  /** The bundle's copy: the one that came with the command may lie in a cache that is cleared. */
  readonly program: string;
  readonly settings: (service: ServiceName) => string;
  /** The service's own state. */
  readonly data: (service: ServiceName) => string;
  readonly log: (service: ServiceName) => string;
  readonly pidFile: (service: ServiceName) => string;
  readonly joinToken: string;
  /** What the actuator shows who it is by, and knows intents by. */
  readonly actuatorCredentials: string;
  /** The certificate that an agent without TPM keeps. */
  readonly credential: string;
  /** Configuration of this command, as the verifier writes it. */
  readonly adminConfig: string;
  readonly caFile: string;
}

export function layoutOf(state: string): Layout {
  return {
    state,
    record: join(state, "host.json"),
    program: join(state, "program"),
    settings: (service) => join(state, `${service}.yaml`),
    data: (service) => join(state, service),
    log: (service) => join(state, "log", `${service}.log`),
    pidFile: (service) => join(state, "run", `${service}.pid`),
    joinToken: join(state, "join-token"),
    actuatorCredentials: join(state, "actuator", "credentials"),
    credential: join(state, "agent", "credential.json"),
    adminConfig: join(state, "verifier", "admin", "config.yaml"),
    caFile: join(state, "verifier", "admin", "ca.crt"),
  };
}

/** Of the host that `up` has set up and whose configuration of this command this is; undefined: it is another's. */
export function layoutOfConfig(path: string): Layout | undefined {
  if (!existsSync(path)) return undefined;
  const config = realpathSync(path);
  const layout = layoutOf(resolve(dirname(config), "../.."));
  return layout.adminConfig === config && existsSync(layout.record) ? layout : undefined;
}

/** All that `up` and its services put below the state directory. */
export const STATE_ENTRIES = [
  "host.json",
  "program",
  "verifier",
  "agent",
  "actuator",
  "verifier.yaml",
  "agent.yaml",
  "actuator.yaml",
  "log",
  "run",
  "join-token",
] as const;
