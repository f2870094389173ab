/** What the engine must be asked for to make a container as another one is: from the whole of what it tells of that one. Pure. */
import { posix } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type Docker from "dockerode";
import { type EngineNetwork, NO_NETWORK } from "../../ports/engine.ts";

/** Marks what was made for an intent, so that after a crash it is found again. */
export const INTENT_LABEL = "dev.hullmark.intent";

type Inspected = Docker.ContainerInspectInfo;

interface Endpoint {
  readonly IPAMConfig?: object | null;
  readonly Links?: readonly string[] | null;
  readonly Aliases?: readonly string[] | null;
  readonly DriverOpts?: object | null;
}

export function creationOf(old: Inspected, { name, image, intentId }: { readonly name: string; readonly image: string; readonly intentId: string }) {
  const { Hostname, ...config } = ofItsOwn(old);
  const [first] = Object.entries(endpointsOf(old));
  return {
    ...config,
    name,
    Image: image,
    // The default host name is the id's beginning: the new container gets its own.
    ...(Hostname !== undefined && !old.Id.startsWith(Hostname) && { Hostname }),
    Labels: { ...config.Labels, [INTENT_LABEL]: intentId },
    HostConfig: { ...old.HostConfig, ...mountsOf(old), Binds: [...(old.HostConfig.Binds ?? []), ...anonymousVolumes(old)] },
    // Engines before 25 take one network at creation.
    ...(first && { NetworkingConfig: { EndpointsConfig: Object.fromEntries([first]) } }),
  };
}

/**
 * In another container's network the engine tells of that one's name, and refuses to be asked for any, or for ports (moby `validateNetContainerMode`). In the host's
 * network it tells of the host's, and refuses any beside the host's UTS namespace (`validateNetMode`).
 */
function ofItsOwn({ Config, HostConfig }: Inspected): Partial<Inspected["Config"]> {
  const inOthersNetwork = HostConfig.NetworkMode?.startsWith("container:");
  const byOthersName = inOthersNetwork || /^(host|container:)/.test(HostConfig.UTSMode ?? "");
  const ofOthers = [...(byOthersName ? ["Hostname", "Domainname"] : []), ...(inOthersNetwork ? ["ExposedPorts"] : [])];
  return Object.fromEntries(Object.entries(Config).filter(([key]) => !ofOthers.includes(key)));
}

/** Of an image's configuration, what a container takes over that is not told otherwise. */
const INHERITED = ["User", "WorkingDir", "Healthcheck", "StopSignal", "Shell", "OnBuild", "ArgsEscaped"] as const;

/**
 * The container without what it has from its image alone: what is left is what was asked for, and `target` fills in its own. A value that was asked for and is
 * the image's too counts as the image's: the engine does not tell the two apart. Volumes that the image alone declares go with it: it filled them.
 */
export function withoutImagesOwn(container: Inspected, image: Docker.ImageInspectInfo, target: Docker.ImageInspectInfo): Inspected {
  const own = configOf(image);
  const asked: Record<string, unknown> = { ...container.Config };
  for (const key of INHERITED) if (isSame(asked[key], own[key])) delete asked[key];
  // Whoever gives an entry point of his own gets no arguments from the image.
  if (isSame(asked["Entrypoint"], own["Entrypoint"])) {
    delete asked["Entrypoint"];
    if (isSame(asked["Cmd"], own["Cmd"])) delete asked["Cmd"];
  }
  const inherited = new Set((own["Env"] ?? []) as string[]);
  asked["Env"] = (container.Config.Env ?? []).filter((each) => !inherited.has(each));
  for (const key of ["Labels", "ExposedPorts", "Volumes"]) asked[key] = without(asked[key] as object | null, own[key] as object | null);
  const gone = new Set(Object.keys(without(own["Volumes"] as object | null, configOf(target)["Volumes"] as object | null)));
  const bound = new Set(boundTo(container));
  const Mounts = container.Mounts.filter(({ Destination }) => !gone.has(Destination) || bound.has(Destination));
  return { ...container, Mounts, Config: asked as unknown as Inspected["Config"] };
}

function configOf(image: Docker.ImageInspectInfo): Readonly<Record<string, unknown>> {
  return image.Config as unknown as Readonly<Record<string, unknown>>;
}

/** Some engines say null of what is not there, others leave it out. */
function isSame(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(a ?? null, b ?? null);
}

/** Those that its image does not bring. @param image undefined: the engine tells nothing of it */
export function givenLabels({ Config: { Labels } }: Inspected, image: Docker.ImageInspectInfo | undefined): Record<string, string> {
  return without(Labels, image?.Config?.Labels) as Record<string, string>;
}

function without(asked: object | null | undefined, own: object | null | undefined): object {
  const known = new Map(Object.entries(own ?? {}));
  return Object.fromEntries(Object.entries(asked ?? {}).filter(([key, value]) => !known.has(key) || !isSame(known.get(key), value)));
}

/** Networks of `old` that `fresh` has not joined. */
export function laterNetworks(old: Inspected, fresh: Inspected): [string, object][] {
  const joined = new Set(Object.keys(fresh.NetworkSettings.Networks));
  return Object.entries(endpointsOf(old)).filter(([network]) => !joined.has(network));
}

/** Volumes without a name of their own hold the service's data too: by the name that the engine gave them. */
function anonymousVolumes(container: Inspected): string[] {
  const declared = new Set(boundTo(container));
  return container.Mounts.filter(({ Type, Name, Destination }) => Type === "volume" && Name && !declared.has(Destination)).map(
    ({ Name, Destination, RW }) => `${Name}:${Destination}${RW ? "" : ":ro"}`,
  );
}

/** The same of a mount that was asked for without a name, as Compose asks for it: the engine would make another one, empty. */
function mountsOf({ HostConfig, Mounts }: Inspected): Pick<Inspected["HostConfig"], "Mounts"> {
  if (!HostConfig.Mounts) return {};
  const nameAt = (target: string): string => Mounts.find(({ Type, Destination }) => Type === "volume" && Destination === plain(target))?.Name ?? "";
  return {
    Mounts: HostConfig.Mounts.map((mount) => (mount.Type === "volume" && !mount.Source ? { ...mount, Source: nameAt(mount.Target) } : mount)),
  };
}

/** A path as the engine tells it, however it was asked for. */
function plain(path: string): string {
  return posix.normalize(path).replace(/(.)\/$/, "$1");
}

/** Those that nobody named: an engine that removes a container as it stops removes them too. */
export function unnamedVolumes(container: Inspected): string[] {
  const named = new Set(boundTo(container, ({ Source }) => Boolean(Source)));
  return container.Mounts.flatMap(({ Type, Name, Destination }) => (Type === "volume" && Name && !named.has(Destination) ? [Name] : []));
}

/** Where something is mounted that was asked for. @param isMeant which of the mounts; the default is all */
function boundTo({ HostConfig }: Inspected, isMeant: (mount: NonNullable<Inspected["HostConfig"]["Mounts"]>[number]) => boolean = () => true): string[] {
  return [
    ...(HostConfig.Binds ?? []).map((bind) => bind.split(":")[1]),
    ...(HostConfig.Mounts ?? []).filter(isMeant).map(({ Target }) => Target),
    ...Object.keys(HostConfig.Tmpfs ?? {}),
  ].flatMap((path) => (path ? [plain(path)] : []));
}

/** Those that it is on, with what joining each takes. */
export function networksOf(container: Inspected): EngineNetwork[] {
  const none = Object.hasOwn(container.NetworkSettings.Networks, NO_NETWORK) ? [{ name: NO_NETWORK, endpoint: {} }] : [];
  const others = Object.entries(endpointsOf(container)).filter(([name]) => name !== NO_NETWORK);
  return [...none, ...others.map(([name, endpoint]) => ({ name, endpoint: { ...endpoint } }))];
}

/** The container as it would be on these networks. */
export function onNetworks(container: Inspected, networks: readonly EngineNetwork[] | undefined): Inspected {
  if (!networks) return container;
  const Networks = Object.fromEntries(networks.map(({ name, endpoint }) => [name, endpoint])) as Inspected["NetworkSettings"]["Networks"];
  return { ...container, NetworkSettings: { ...container.NetworkSettings, Networks } };
}

/** As they were asked for: addresses that the engine chose are its own to choose again. */
function endpointsOf({ Id, HostConfig, NetworkSettings }: Inspected): Record<string, object> {
  if (/^(host|none|container:.*)$/.test(HostConfig.NetworkMode ?? "")) return {};
  return Object.fromEntries(
    Object.entries(NetworkSettings.Networks as Record<string, Endpoint>).map(([network, { IPAMConfig, Links, Aliases, DriverOpts }]) => [
      network,
      {
        ...(IPAMConfig && { IPAMConfig }),
        ...(Links && { Links }),
        ...(DriverOpts && { DriverOpts }),
        Aliases: (Aliases ?? []).filter((alias) => !Id.startsWith(alias)),
      },
    ]),
  );
}
