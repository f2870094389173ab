/** Verifier and agents as they are shipped (the bundles), on a test bed: what demo, end-to-end tests, soak and benches stand on. */
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { freePort } from "../testbed/http-service.ts";
import type { Testbed } from "../testbed/index.ts";
import { REPOSITORY } from "../testbed/paths.ts";
import { type Daemon, run, startDaemon } from "../testbed/run.ts";

const DIST = join(REPOSITORY, "dist");

export interface StackOptions {
  readonly bed: Testbed;
  /** Policy file's text; undefined: none is given. */
  readonly policy?: string;
  /** One agent a TPM of the test bed; default the first only. */
  readonly agents?: number;
  /** Default: the test bed's name. */
  readonly region?: string;
  /** The verifier's `people` settings without `listen`; default: nobody comes with a token. */
  readonly people?: object;
  /** The verifier's `kubernetes` settings; the agent then has the name that the cluster gives its node. */
  readonly kubernetes?: object;
  /** Change source of the agents; default `auto`. */
  readonly changes?: "auto" | "fanotify" | "chokidar";
  /** What the agents may hand out; default nothing. */
  readonly contents?: object;
  /** What the agents capture; default nothing. */
  readonly capture?: object;
  /** Whether the verifier serves the page for browsers. */
  readonly dashboard?: boolean;
  /** The agents' `runtime` settings; default: the test bed's node or engine. */
  readonly runtime?: object;
  /** Folder of the daemons that start from now on; asked at each start. Default dist/. */
  readonly dist?: () => string;
}

/** A program that can be killed and started again on the same state. */
export interface Restartable {
  readonly configPath: string;
  daemon(): Daemon;
  /** @param failpoint where it kills itself; default nowhere */
  start(failpoint?: string): Promise<void>;
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Stack {
  readonly directory: string;
  readonly verifier: Restartable;
  readonly agents: readonly Restartable[];
  /** Configuration of the `hullmark` command, for HULLMARK_CONFIG. */
  readonly cliConfig: string;
  readonly policyPath: string;
  readonly httpUrl: string;
  /** Where the page for browsers is; empty: it is not served. */
  readonly dashboardUrl: string;
  /** Where people come with tokens; empty: nobody does. */
  readonly peopleAddress: string;
  hullmark(...args: string[]): Promise<CommandResult>;
  /** The same with `-o json`, parsed. */
  json<T>(...args: string[]): Promise<T>;
  stop(): Promise<void>;
}

export async function startStack(options: StackOptions): Promise<Stack> {
  const { bed } = options;
  const directory = join(bed.directory, "stack");
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const ports = {
    main: await freePort(),
    enrolment: await freePort(),
    http: await freePort(),
    dashboard: options.dashboard ? await freePort() : 0,
    people: options.people ? await freePort() : 0,
  };
  const httpUrl = `http://127.0.0.1:${ports.http}`;
  const policyPath = join(directory, "policy.yaml");
  if (options.policy !== undefined) writeFileSync(policyPath, options.policy);
  const agentCount = options.agents ?? Math.min(1, bed.tpms.length);
  const agentConfigs = Array.from({ length: agentCount }, (_, i) => join(directory, `agent-${i}.yaml`));
  for (const [i, path] of agentConfigs.entries()) writeFileSync(path, stringify(agentSettings(options, directory, ports, i)));
  const allowed = await Promise.all(agentConfigs.map((path) => identityOf(bed, path)));
  const verifierConfig = join(directory, "verifier.yaml");
  writeFileSync(verifierConfig, stringify(verifierSettings(options, directory, ports, policyPath, allowed)));
  const verifier = restartable(options, "verifier", verifierConfig, async () => (await fetch(`${httpUrl}/readyz`, { signal: AbortSignal.timeout(2000) })).ok);
  await verifier.start();
  const cliConfig = join(directory, "verifier", "admin", "config.yaml");
  const agents: Restartable[] = [];
  for (const [i, path] of agentConfigs.entries()) {
    const agent = restartable(options, `agent-${i}`, path, async () => true);
    await agent.start();
    agents.push(agent);
  }
  const hullmark = (...args: string[]): Promise<CommandResult> => command(cliConfig, args);
  return {
    directory,
    verifier,
    agents,
    cliConfig,
    policyPath,
    httpUrl,
    peopleAddress: options.people ? `localhost:${ports.people}` : "",
    dashboardUrl: options.dashboard ? `https://localhost:${ports.dashboard}` : "",
    hullmark,
    async json<T>(...args: string[]): Promise<T> {
      const { stdout, stderr } = await hullmark(...args, "-o", "json");
      if (stdout === "") throw new Error(`hullmark ${args.join(" ")}: ${stderr}`);
      return JSON.parse(stdout) as T;
    },
    async stop() {
      for (const each of [...agents, verifier]) await each.stop();
    },
  };
}

type Ports = Readonly<Record<"main" | "enrolment" | "http" | "dashboard" | "people", number>>;

function nodeName({ bed, kubernetes }: StackOptions, index: number): string {
  return kubernetes && bed.kubernetes ? bed.kubernetes.nodeName : `node-${index}`;
}

function verifierSettings(options: StackOptions, directory: string, ports: Ports, policyPath: string, allowed: readonly string[]): object {
  const { bed, policy, region, kubernetes, people } = options;
  const makerRootFiles = bed.tpms.flatMap(({ endorsementRoots }) => endorsementRoots);
  return {
    stateDirectory: join(directory, "verifier"),
    verifierId: "verifier-1",
    region: region ?? bed.name,
    listen: { main: `127.0.0.1:${ports.main}`, enrolment: `127.0.0.1:${ports.enrolment}`, http: `127.0.0.1:${ports.http}` },
    advertisedNames: ["localhost", "127.0.0.1"],
    enrolment: { mode: "allowlist", makerRootFiles, allow: allowed.map((ekSha256, i) => ({ ekSha256, name: nodeName(options, i) })) },
    ...(kubernetes && { kubernetes }),
    ...(ports.dashboard !== 0 && { dashboard: { listen: `127.0.0.1:${ports.dashboard}` } }),
    ...(people && { people: { ...people, listen: `127.0.0.1:${ports.people}` } }),
    registries: { plainHttp: bed.registry ? [bed.registry.host] : [] },
    ...(policy === undefined ? {} : { policyFile: policyPath }),
    logging: { level: "debug" },
  };
}

/** What an operator does once for each node: ask its agent for the EK's hash. */
async function identityOf(bed: Testbed, configPath: string): Promise<string> {
  const output = await run(bed.wrap([process.execPath, join(REPOSITORY, "dist/agent.js"), "--config", configPath, "--show-identity"]), bed.env);
  return (JSON.parse(output) as { ekSha256: string }).ekSha256;
}

function agentSettings(options: StackOptions, directory: string, ports: Ports, index: number): object {
  const { bed, changes, contents, capture, runtime } = options;
  const node = bed.kubernetes ?? bed.nodeRuntime;
  return {
    nodeName: nodeName(options, index),
    stateDirectory: join(directory, `agent-${index}`),
    verifier: { address: `localhost:${ports.main}`, enrolmentAddress: `localhost:${ports.enrolment}`, caFile: join(directory, "verifier", "admin", "ca.crt") },
    tpm: { tcti: bed.tpms[index]?.tcti ?? "none" },
    // Other test beds of this machine have containers too.
    runtime: runtime ?? (node ? { cri: { socket: node.criSocket, otherContainers: "ignore" } } : { docker: { socket: bed.engine?.socketPath ?? "" } }),
    changes: { source: changes ?? "auto" },
    ...(contents && { contents }),
    ...(capture && { capture }),
    log: { level: "debug" },
  };
}

function restartable({ bed, dist = () => DIST }: StackOptions, name: string, configPath: string, ready: () => Promise<boolean>): Restartable {
  const program = name.replace(/-\d+$/, "");
  const logPath = join(bed.directory, `${name}.log`);
  let daemon: Daemon | undefined;
  const current = (): Daemon => {
    if (!daemon) throw new Error(`${name} was not started`);
    return daemon;
  };
  return {
    configPath,
    daemon: current,
    async start(failpoint) {
      const argv = bed.wrap([process.execPath, join(dist(), `${program}.js`), "--config", configPath]);
      const env = { ...bed.env, ...(failpoint !== undefined && { HULLMARK_FAILPOINT: failpoint }) };
      daemon = await startDaemon({ name, argv, env, logPath, ready: () => ready().catch(() => false) });
    },
    stop: () => current().stop(),
    kill: () => current().kill(),
  };
}

function command(cliConfig: string, args: readonly string[]): Promise<CommandResult> {
  return new Promise((resolve) => {
    const environment = { ...process.env, HULLMARK_CONFIG: cliConfig };
    execFile(process.execPath, [join(REPOSITORY, "dist/hullmark.js"), ...args], { env: environment, maxBuffer: 256 << 20 }, (error, stdout, stderr) => {
      const code = error ? (typeof error.code === "number" ? error.code : 3) : 0;
      resolve({ code, stdout, stderr });
    });
  });
}

/** The log's end, for a failed test's message. */
export function tail(path: string, lines = 40): string {
  return readFileSync(path, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
}
