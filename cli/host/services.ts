/** Background services of a host, whoever keeps them running. */
import type { Layout, ServiceName } from "./layout.ts";
import type { HostRecord } from "./record.ts";

export interface ServiceDefinition {
  readonly name: ServiceName;
  readonly description: string;
  /** Program and arguments, absolute paths. */
  readonly argv: readonly string[];
  /** Run before each start; its failure does not prevent the start. Only where something restarts the service by itself. */
  readonly before?: readonly string[];
}

export interface ServiceKeeper {
  /** For people: what keeps them running. */
  readonly description: string;
  /** Starts it, or starts it anew. Resolves when the process is there, not when it serves. @throws HostError START_FAILED */
  start(service: ServiceDefinition): Promise<void>;
  /** Resolves when it has ended. Idempotent. @throws HostError STOP_FAILED */
  stop(name: ServiceName): Promise<void>;
  isRunning(name: ServiceName): Promise<boolean>;
  /** The log's end, for a message. */
  logTail(name: ServiceName): Promise<string>;
  /** After all were stopped: removes what {@link start} left beside the process. */
  remove(name: ServiceName): Promise<void>;
}

export function definitions(layout: Layout, { nodeName, tcti, act }: Pick<HostRecord, "nodeName" | "tcti" | "act">): readonly ServiceDefinition[] {
  const withTpm = tcti !== "none";
  const argv = (name: ServiceName): string[] => [process.execPath, `${layout.program}/${name}.js`, "--config", layout.settings(name)];
  // After an hour switched off, the certificate is over, and a join token serves only once: root of this host is its verifier's admin as well. The two start together.
  const command = [process.execPath, `${layout.program}/hullmark.js`, "--config", layout.adminConfig];
  const before = withTpm ? {} : { before: [...command, "node", "token", nodeName, "--wait", "60", "--output", layout.joinToken] };
  return [
    { name: "verifier", description: "Hullmark verifier", argv: argv("verifier") },
    { name: "agent", description: "Hullmark agent", argv: argv("agent"), ...before },
    ...(act ? [{ name: "actuator", description: "Hullmark actuator", argv: argv("actuator") } as const] : []),
  ];
}
