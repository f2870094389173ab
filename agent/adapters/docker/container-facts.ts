/** Engine inspection and OCI configuration as {@link ContainerFacts}. Where both tell, the OCI configuration is believed: it is what was run. */
import type Docker from "dockerode";
import * as z from "zod";
import { hostsEntries } from "../../core/hosts-file.ts";
import { boundingCapabilities, givenDevices, type OciSpec, sharedNamespaces } from "../../core/oci-spec.ts";
import { hidesSystemPaths } from "../../core/system-paths.ts";
import type { ContainerFacts, DeclaredMount, EngineFile } from "../../ports/container-runtime.ts";

export interface EngineFacts {
  /** What `host-gateway` stands for in the hosts that a container is given (`--add-host`). */
  readonly hostGateways: readonly string[];
  /** The host's own `/etc/hosts`, which the engine copies for containers in the host's network. */
  readonly hostHosts: string;
  /** Whose network, and with it whose `/etc/hosts`, the container has: its own, or that of the container that it joined (`--network container:…`), if that still is there. */
  readonly networkOwner: Inspected | undefined;
  /** Namespaces of its main process that are the host's by the kernel's word, however it came by them. */
  readonly hostNamespaces: readonly string[];
}

type Inspected = Docker.ContainerInspectInfo;

const MAX_DAEMON_CONFIGURATION_CHARS = 64 * 1024;

export function containerFacts(
  container: Inspected,
  spec: OciSpec | undefined,
  image: Docker.ImageInspectInfo | undefined,
  configBlobPath: string | undefined,
  given: EngineFacts,
): ContainerFacts {
  const { Config: config, HostConfig: host } = container;
  const networkOwnerGone = isOwnerGone(container, given.networkOwner);
  const engine = networkOwnerGone ? { ...given, networkOwner: undefined } : given;
  const name = container.Name.replace(/^\//, "");
  const labels = config.Labels ?? {};
  const security: readonly string[] = host.SecurityOpt ?? [];
  return {
    id: container.Id,
    name,
    pid: container.State.Pid,
    startedAtMs: Date.parse(container.State.StartedAt) || 0,
    rootPath: spec?.root?.path ?? (container as { GraphDriver?: { Data?: { MergedDir?: string } | null } }).GraphDriver?.Data?.MergedDir,
    workload: labels["dev.hullmark.workload"] ?? labels["com.docker.compose.service"] ?? name,
    imageReference: config.Image,
    imageId: container.Image,
    repoDigests: image?.RepoDigests ?? [],
    configBlobPath,
    labels,
    unlisted: false,
    pod: undefined,
    args: spec ? (spec.process.args ?? []).slice(hasEngineInit(container, spec) ? 2 : 0) : [container.Path, ...container.Args],
    env: spec?.process.env ?? config.Env ?? [],
    user: config.User,
    workingDirectory: spec?.process.cwd ?? config.WorkingDir,
    capabilities: spec ? boundingCapabilities(spec) : [],
    privileged: host.Privileged === true,
    readOnlyRoot: host.ReadonlyRootfs === true || spec?.root?.readonly === true,
    noNewPrivileges: spec ? spec.process.noNewPrivileges === true : asksNoNewPrivileges(security),
    unmet: spec ? unmetBy(spec, security) : [],
    seccomp: seccompOf(security, spec),
    apparmor: security.includes("apparmor=unconfined") ? "unconfined" : (spec?.process.apparmorProfile ?? ""),
    hostNamespaces: hostNamespaces(host, spec, engine),
    devices: devicesOf(host, spec),
    mounts: declaredMounts(container, spec),
    maskedPaths: [...(spec?.linux?.maskedPaths ?? []), ...(spec?.linux?.readonlyPaths ?? [])],
    hostname: spec?.hostname || config.Hostname,
    extraHosts: extraHosts(engine),
    ...networkFacts(container, engine.networkOwner),
    engineFiles: engineFiles(container),
    ...(networkOwnerGone && { networkOwnerGone }),
  };
}

function unmetBy(spec: OciSpec, security: readonly string[]): string[] {
  const gains = spec.process.noNewPrivileges !== true && asksNoNewPrivileges(security);
  return [...(gains ? ["no-new-privileges"] : []), ...(hidesSystemPaths(spec) ? [] : ["system-paths"])];
}

/** `no-new-privileges`, or with `=` or `:` and a boolean. */
function asksNoNewPrivileges(security: readonly string[]): boolean {
  return security.some((each) => /^no-new-privileges(?:[=:](?:true|1|t))?$/i.test(each));
}

function seccompOf(security: readonly string[], spec: OciSpec | undefined): ContainerFacts["seccomp"] {
  if (security.includes("seccomp=unconfined")) return "unconfined";
  if (security.some((each) => each.startsWith("seccomp="))) return "custom";
  return spec && !spec.linux?.seccomp ? "unconfined" : "default";
}

function hostNamespaces(host: Inspected["HostConfig"], spec: OciSpec | undefined, engine: EngineFacts): string[] {
  const modes: [string, string | undefined][] = [
    ["pid", host.PidMode],
    ["net", engine.networkOwner?.HostConfig.NetworkMode ?? host.NetworkMode],
    ["ipc", host.IpcMode],
    ["uts", host.UTSMode],
  ];
  // Of the host's network the engine gives the runtime the path (moby daemon/oci_linux.go, `WithNamespaces`), like that of any other.
  const asked = modes.filter(([, mode]) => mode === "host").map(([name]) => name);
  return [...new Set([...(spec?.linux?.namespaces ? sharedNamespaces(spec) : []), ...asked, ...engine.hostNamespaces])];
}

function devicesOf(host: Inspected["HostConfig"], spec: OciSpec | undefined): string[] {
  const asked = ((host.Devices ?? []) as { PathInContainer?: string }[]).map(({ PathInContainer }) => PathInContainer ?? "");
  const requests = ((host.DeviceRequests ?? []) as { Driver?: string; Capabilities?: string[][] | null }[]).map(
    ({ Driver, Capabilities }) => `/device-request/${Driver || Capabilities?.flat().join("+") || "any"}`,
  );
  return [...new Set([...asked, ...requests, ...(spec ? givenDevices(spec) : [])])].filter((path) => path !== "").sort();
}

/** moby daemon/oci_linux.go, `inContainerInitPath`. */
const ENGINE_INIT_DESTINATION = "/sbin/docker-init";

/** A container's shared memory, as the engine keeps it for others to join (moby `container.ShmResourcePath`). */
const SHARED_MEMORY = /\/containers\/[0-9a-f]{64}\/mounts\/shm$/;
/** What the engine binds from the host itself where a container shares the host's namespace (`--ipc host`, `--network host` under user namespaces). */
const SHARED_WITH_HOST: ReadonlySet<string> = new Set(["/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"]);

/** Whether a mount of the configuration that was run is the engine's own bind; one that a user asked for is told again by `container.Mounts`. */
function isEngineBind({ destination, type, source }: NonNullable<OciSpec["mounts"]>[number]): boolean {
  if ((type ?? "bind") !== "bind" || !SHARED_WITH_HOST.has(destination)) return false;
  return source === destination || (destination === "/dev/shm" && SHARED_MEMORY.test(source ?? ""));
}

/** Asked for with the container, or of the engine for all (`"init": true` in daemon.json), which the container's own settings do not tell. */
function hasEngineInit(container: Inspected, { process, mounts }: OciSpec): boolean {
  const [program, separator] = process.args ?? [];
  const bound = mounts?.some(({ destination }) => destination === ENGINE_INIT_DESTINATION) === true;
  return program === ENGINE_INIT_DESTINATION && separator === "--" && bound && !isUsers(container, ENGINE_INIT_DESTINATION);
}

/** `container.Mounts` has what was asked for, and nothing of the engine's own. */
function isUsers(container: Inspected, destination: string): boolean {
  return container.Mounts.some((each) => each.Destination === destination);
}

function declaredMounts(container: Inspected, spec: OciSpec | undefined): DeclaredMount[] {
  const byDestination = new Map<string, DeclaredMount>();
  // The engine's own init is told apart from anything that a user mounts: `container.Mounts`, which comes second, has only the latter.
  const typeOf = (destination: string, type: string): string =>
    spec && destination === ENGINE_INIT_DESTINATION && hasEngineInit(container, spec) ? "engine-init" : type;
  for (const each of spec?.mounts ?? [])
    byDestination.set(each.destination, {
      destination: each.destination,
      type: isEngineBind(each) ? "engine" : typeOf(each.destination, each.type ?? "bind"),
      source: each.source ?? "",
      options: each.options ?? [],
    });
  for (const each of container.Mounts as { Destination: string; Type?: string; Source?: string; RW?: boolean }[])
    byDestination.set(each.Destination, {
      destination: each.Destination,
      type: each.Type ?? "bind",
      source: each.Source ?? "",
      options: byDestination.get(each.Destination)?.options ?? [each.RW ? "rw" : "ro"],
    });
  return [...byDestination.values()].sort((a, b) => (a.destination < b.destination ? -1 : 1));
}

function networkFacts(container: Inspected, owner = container): Pick<ContainerFacts, "addresses" | "networkNames"> {
  const networks = Object.values(owner.NetworkSettings.Networks ?? {}) as { IPAddress?: string; GlobalIPv6Address?: string; Aliases?: string[] | null }[];
  const addresses = networks.flatMap(({ IPAddress, GlobalIPv6Address }) => [IPAddress, GlobalIPv6Address]).filter((each): each is string => !!each);
  const names = [container, owner].flatMap(({ Name, Id }) => [Name.replace(/^\//, ""), Id.slice(0, 12)]);
  return { addresses, networkNames: [...new Set([...names, ...networks.flatMap(({ Aliases }) => Aliases ?? [])])] };
}

/** What the engine wrote for whose network it is. An address is told for the engine's word for it; in the host's network the file begins with the host's own lines. */
function extraHosts({ hostGateways, hostHosts, networkOwner }: EngineFacts): string[] {
  const asked = (networkOwner?.HostConfig.ExtraHosts ?? []) as string[];
  const given = asked.flatMap((each) => {
    const name = /^([^:=]+)[:=]host-gateway$/.exec(each)?.[1];
    return name === undefined ? [each] : hostGateways.map((address) => `${name}:${address}`);
  });
  return networkOwner?.HostConfig.NetworkMode === "host" ? [...given, ...hostsEntries(hostHosts)] : given;
}

/** Where the engine keeps its files for a container: for this one, or for the one whose network it joins. A user's own file is a mount like any other. */
const ENGINE_FILE = /\/containers\/([0-9a-f]{64})\/(?:hosts|hostname|resolv\.conf)$/;

/**
 * While the engine removes a container it still tells of it, as `removing` and then `dead`; its files go before its name does (moby daemon/delete.go,
 * `cleanupContainer`). Another that was given the name meanwhile is not the one whose files these are.
 */
function isOwnerGone(container: Inspected, owner: Inspected | undefined): boolean {
  if (!container.HostConfig.NetworkMode?.startsWith("container:")) return false;
  if (!owner || owner.State.Dead || owner.State.Status === "removing") return true;
  const keeper = ENGINE_FILE.exec(container.HostsPath)?.[1];
  return keeper !== undefined && keeper !== owner.Id;
}

function engineFiles(container: Inspected): EngineFile[] {
  const own = (destination: string, path: string): string | undefined => (ENGINE_FILE.test(path) && !isUsers(container, destination) ? path : undefined);
  const HostsPath = own("/etc/hosts", container.HostsPath);
  const HostnamePath = own("/etc/hostname", container.HostnamePath);
  const ResolvConfPath = own("/etc/resolv.conf", container.ResolvConfPath);
  const files: EngineFile[] = [];
  if (HostsPath) files.push({ destination: "/etc/hosts", hostPath: HostsPath, digestPath: undefined });
  if (HostnamePath) files.push({ destination: "/etc/hostname", hostPath: HostnamePath, digestPath: undefined });
  if (ResolvConfPath) files.push({ destination: "/etc/resolv.conf", hostPath: ResolvConfPath, digestPath: `${ResolvConfPath}.hash` });
  return files;
}

const DaemonConfiguration = z.object({ "host-gateway-ip": z.string().nullish(), "host-gateway-ips": z.array(z.string()).nullish() });

/** `host-gateway-ip` of the engine's configuration file, or its list of them. @param text of `daemon.json`, at most 64 KiB; what is no such document says nothing */
export function hostGatewayIps(text: string): string[] {
  if (text === "" || text.length > MAX_DAEMON_CONFIGURATION_CHARS) return [];
  try {
    const { "host-gateway-ip": one, "host-gateway-ips": several } = DaemonConfiguration.parse(JSON.parse(text));
    return [...(one ? [one] : []), ...(several ?? [])];
  } catch {
    return [];
  }
}
