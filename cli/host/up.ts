/** `hullmark up`: verifier and agent on a host that runs containers already. Nothing of the engine or of its containers is touched. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";
import type { RpcChannel } from "@hullmark/proto/rpc";
import { Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { captures, checkActSettings, readActSettings } from "./act-settings.ts";
import { linkCommandConfig } from "./command-config.ts";
import { detachedServices } from "./detached.ts";
import { engineFacts } from "./engine.ts";
import { HostError } from "./error.ts";
import { imageSummary } from "./image-summary.ts";
import { DEFAULT_STATE, type Layout, layoutOf, SERVICES, type ServiceName, servicesOf } from "./layout.ts";
import { bundleDigest, findBundle, installProgram, runCommand } from "./program.ts";
import { type HostRecord, readRecord, writeRecord } from "./record.ts";
import { definitions, type ServiceKeeper } from "./services.ts";
import { choosePorts, writeSettings } from "./settings.ts";
import { hostRunsSystemd, systemdServices } from "./systemd.ts";
import { chooseTpm, tctiOf } from "./tpm.ts";
import { isOurs, needsToken, openAdminChannel, waitSettled, writeActuatorCredentials, writeJoinToken } from "./verifier-client.ts";

const READY_MS = 60_000;
const POLL_MS = 100;
const PORT_ATTEMPTS = 5;

export interface UpOptions {
  readonly state: string;
  /** Path of the link for the command's configuration. */
  readonly commandConfig: string;
  /** What is undefined stays as an earlier `up` was told, or is the default. */
  readonly dockerSocket: string | undefined;
  readonly policyFile: string | undefined;
  /** @throws HostError BAD_SETTINGS where the verifier would not take the policy. */
  readonly checkPolicy: (file: string) => void;
  readonly plainHttpRegistries: readonly string[] | undefined;
  readonly nodeName: string | undefined;
  readonly tcti: string | undefined;
  readonly makerRootFiles: readonly string[] | undefined;
  readonly systemd: boolean | undefined;
  readonly dashboard: boolean | undefined;
  /** Whether an actuator runs. */
  readonly act: boolean | undefined;
  /** The operator's settings of it; null: none any more. */
  readonly actConfigFile: string | null | undefined;
  /** How long to wait for the first whole picture. */
  readonly waitSeconds: number;
  readonly print: (line: string) => void;
}

/** Idempotent: what runs already as it should is left alone. @throws HostError, ContextError, RpcError */
export async function up(options: UpOptions): Promise<void> {
  const { print } = options;
  if (process.getuid?.() !== 0) throw new HostError("NOT_ROOT", "this needs root: it reads the filesystems of all containers");
  const bundle = findBundle();
  const layout = layoutOf(resolve(options.state));
  const before = readRecord(layout);
  const engine = await engineFacts(options.dockerSocket ?? before?.dockerSocket ?? "/var/run/docker.sock");
  await mayBeSet(bundle, before, options);
  let record = await claimState(layout, before, options);
  const services = keeper(layout, record.systemd);
  const digest = (): string => createHash("sha256").update(bundleDigest(bundle)).update(writeSettings(layout, record)).digest("hex");

  const current = before !== undefined && digest() === before.started && (await allRunning(services, record));
  let shortcoming: string | undefined;
  if (!current) {
    for (const name of [...SERVICES].reverse()) await services.stop(name);
    if (!record.act) await services.remove("actuator");
    installProgram(bundle, layout);
    writeSettings(layout, record);
    const tpm = await chooseTpm(layout, record.tcti, record.makerRootFiles.length);
    record = { ...record, tcti: tpm.tcti, ekSha256: tpm.ekSha256 };
    shortcoming = tpm.shortcoming;
    writeRecord(layout, { ...record, started: "" });
  }
  print(`✓ docker ${engine.version} (${engine.storageDriver}), ${engine.running} containers running   ${await fanotifyLine(layout)}`);
  if (current && record.tcti === "none") shortcoming = 'node trust "none"';
  print(shortcoming === undefined ? `✓ TPM (${record.tcti})` : `! ${shortcoming}`);
  if (!current) {
    record = await startWherePortsAreFree(layout, services, record);
    const started = digest();
    const { link, created } = linkCommandConfig(resolve(options.commandConfig), layout);
    const createdDirectories = created === undefined ? record.createdDirectories : [...record.createdDirectories, created];
    record = { ...record, started, commandConfig: link ?? null, createdDirectories };
    writeRecord(layout, record);
  }
  print(`✓ verifier${record.act ? ", agent and actuator" : " and agent"} ${current ? "are running already" : "started"} (${services.description})`);
  await report(layout, services, record, options);
}

/** The directory must be new, empty or ours: `down` removes it. */
async function claimState(layout: Layout, before: HostRecord | undefined, options: UpOptions): Promise<HostRecord> {
  const { state } = layout;
  if (!before && existsSync(state) && readdirSync(state).length > 0)
    throw new HostError("STATE_TAKEN", `${state} holds something that "hullmark up" did not put there; name another directory with --state`);
  const created = mkdirSync(state, { recursive: true, mode: 0o700 });
  const record: HostRecord = {
    version: 1,
    systemd: options.systemd ?? before?.systemd ?? hostRunsSystemd(),
    dockerSocket: options.dockerSocket ?? before?.dockerSocket ?? "/var/run/docker.sock",
    policyFile: policyOf(before, options),
    plainHttpRegistries: [...(options.plainHttpRegistries ?? before?.plainHttpRegistries ?? [])],
    nodeName: options.nodeName ?? before?.nodeName ?? nodeNameOf(hostname()),
    tcti: options.tcti ?? before?.tcti ?? tctiOf(undefined),
    makerRootFiles: (options.makerRootFiles ?? before?.makerRootFiles ?? []).map((file) => resolve(file)),
    ekSha256: before?.ekSha256 ?? null,
    dashboard: options.dashboard ?? before?.dashboard ?? false,
    act: options.act ?? before?.act ?? false,
    actConfigFile: actConfigOf(before, options),
    ports: before?.ports ?? (await choosePorts()),
    started: before?.started ?? "",
    commandConfig: before?.commandConfig ?? null,
    createdDirectories: before?.createdDirectories ?? (created === undefined ? [] : [created]),
  };
  if (before) mustBeSame(before, record);
  writeRecord(layout, record);
  return record;
}

function actConfigOf(before: HostRecord | undefined, { actConfigFile }: UpOptions): string | null {
  return actConfigFile === undefined ? (before?.actConfigFile ?? null) : actConfigFile && resolve(actConfigFile);
}

function policyOf(before: HostRecord | undefined, { policyFile }: UpOptions): string | null {
  return policyFile === undefined ? (before?.policyFile ?? null) : resolve(policyFile);
}

/** Before anything is stopped or written: a verifier is not ready without its policy, and nobody would watch the host meanwhile. @throws HostError BAD_SETTINGS */
async function mayBeSet(bundle: string, before: HostRecord | undefined, options: UpOptions): Promise<void> {
  const policy = policyOf(before, options);
  if (policy !== null) options.checkPolicy(policy);
  const file = actConfigOf(before, options);
  const act = options.act ?? before?.act ?? false;
  if (!act && options.actConfigFile) throw new HostError("BAD_SETTINGS", "--act-config is for an actuator, and none runs here: give --act too");
  if (act && file !== null) await checkActSettings(bundle, file);
}

/** What the node is known by, and what keeps the services, stays from `up` to `down`. */
function mustBeSame(before: HostRecord, wanted: HostRecord): void {
  const now = (what: string): HostError => new HostError("STATE_TAKEN", `${what}; to change that: hullmark down, then up again`);
  if (before.systemd !== wanted.systemd) throw now(`the services run ${before.systemd ? "as systemd units" : "without systemd"}`);
  if (before.nodeName !== wanted.nodeName) throw now(`this node is called ${before.nodeName}`);
  if (before.tcti !== wanted.tcti) throw now(`this node has enrolled with the TPM ${before.tcti}`);
}

/** What of a host name may be a node's name. */
function nodeNameOf(host: string): string {
  const cleaned = host.replace(/[^A-Za-z0-9._-]/g, "-").slice(0, 63);
  return cleaned.replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, "") || "node";
}

export function keeper(layout: Layout, systemd: boolean): ServiceKeeper {
  return systemd ? systemdServices(layout) : detachedServices(layout);
}

async function allRunning(services: ServiceKeeper, record: HostRecord): Promise<boolean> {
  for (const name of servicesOf(record)) if (!(await services.isRunning(name))) return false;
  return true;
}

async function fanotifyLine(layout: Layout): Promise<string> {
  const { ok, stdout, stderr } = await runCommand(process.execPath, [`${layout.program}/agent.js`, "--config", layout.settings("agent"), "--self-test"]);
  if (!ok) throw new HostError("COMMAND_FAILED", `the agent cannot run here: ${stderr}`);
  const { declined } = JSON.parse(stdout) as { declined: string | null };
  return declined === null ? "✓ fanotify self-test" : `! no fanotify: ${declined}; changes are found without telling who made them`;
}

/** Ports are chosen, then let go for the verifier to take: where another was quicker, others are chosen. @returns the record with the ports that it has */
async function startWherePortsAreFree(layout: Layout, services: ServiceKeeper, wanted: HostRecord): Promise<HostRecord> {
  for (let record = wanted, attempt = 1; ; attempt++) {
    writeSettings(layout, record);
    try {
      await startServices(layout, services, record);
      return record;
    } catch (error) {
      if (!(error instanceof HostError && error.code === "PORT_TAKEN") || attempt === PORT_ATTEMPTS) throw error;
      await services.stop("verifier");
      record = { ...record, ports: await choosePorts() };
      writeRecord(layout, record);
    }
  }
}

async function startServices(layout: Layout, services: ServiceKeeper, record: HostRecord): Promise<void> {
  for (const service of definitions(layout, record)) {
    if (service.name === "actuator") await withChannel(layout, (channel) => writeActuatorCredentials(channel, layout, record.nodeName, READY_MS));
    if (service.name === "agent" && record.tcti === "none" && needsToken(layout, Date.now()))
      await withChannel(layout, (channel) => writeJoinToken(channel, layout.joinToken, record.nodeName));
    await services.start(service);
    if (service.name === "verifier") await verifierReady(layout, services, record);
  }
}

async function verifierReady(layout: Layout, services: ServiceKeeper, { ports }: HostRecord): Promise<void> {
  for (const untilMs = Date.now() + READY_MS; ; await new Promise((resolve) => setTimeout(resolve, POLL_MS))) {
    const answer = await fetch(`http://127.0.0.1:${ports.http}/readyz`, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
    if (answer?.ok && (await withChannel(layout, isOurs).catch(() => false))) return;
    await mustRun(services, "verifier");
    if (Date.now() > untilMs)
      throw new HostError("START_FAILED", `the verifier is not ready after ${READY_MS / 1000} s:\n${await services.logTail("verifier")}`);
  }
}

async function mustRun(services: ServiceKeeper, name: ServiceName): Promise<void> {
  if (await services.isRunning(name)) return;
  const log = await services.logTail(name);
  // An older line that says so costs another attempt, no more.
  throw new HostError(name === "verifier" && log.includes("EADDRINUSE") ? "PORT_TAKEN" : "START_FAILED", `the ${name} has ended:\n${log}`);
}

async function withChannel<T>(layout: Layout, work: (channel: RpcChannel) => Promise<T>): Promise<T> {
  const channel = openAdminChannel(layout);
  try {
    return await work(channel);
  } finally {
    channel.close();
  }
}

/** What comes of the actuator is policy's to say. */
async function actingLines(channel: RpcChannel, { actConfigFile }: HostRecord): Promise<string[]> {
  const { mode, actuators } = await channel.client(Query).getStatus({});
  const does =
    mode === "observe"
      ? 'nothing is done in mode "observe"'
      : mode === "dry-run"
        ? "what would be done is recorded"
        : "policy's response rules are carried out";
  const kept = mode === "observe" || (actConfigFile !== null && captures(readActSettings(actConfigFile)));
  return [
    `${actuators > 0 ? "✓ actuator connected" : "! the actuator is not connected yet"}: ${does}`,
    ...(kept ? [] : ["! nothing is captured of a container before it is acted on: --act-config with capture.recipients (docs/response.md#capture-first)"]),
  ];
}

async function report(layout: Layout, services: ServiceKeeper, record: HostRecord, { waitSeconds, commandConfig, print }: UpOptions): Promise<void> {
  const alive = async (): Promise<void> => {
    for (const name of servicesOf(record)) await mustRun(services, name);
  };
  const running = async (): Promise<number> => (await engineFacts(record.dockerSocket)).running;
  await withChannel(layout, async (channel) => {
    const { attested, settled, claims } = await waitSettled(channel, Date.now() + waitSeconds * 1000, running, alive);
    if (attested) rmSync(layout.joinToken, { force: true });
    else print(`! the node is not attested yet; the agent's log:\n${await services.logTail("agent")}`);
    for (const { code, detail } of claims) print(`! ${code}: ${printable(detail, 300)}`);
    for (const line of await imageSummary(channel)) print(line);
    if (record.act) for (const line of await actingLines(channel, record)) print(line);
    if (!settled) print(`! not everything is judged after ${waitSeconds} s; "hullmark status --wait" goes on waiting`);
  });
  const config = record.commandConfig === null ? `--config ${layout.adminConfig} ` : "";
  if (record.commandConfig === null) print(`! ${resolve(commandConfig)} is another configuration, and was left alone`);
  if (record.dashboard) print(`In a browser: hullmark ${config}dashboard`);
  print(`Now: hullmark ${config}status    Away again: hullmark down${layout.state === DEFAULT_STATE ? "" : ` --state ${layout.state}`}`);
}
