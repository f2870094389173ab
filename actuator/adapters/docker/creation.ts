/** What the engine must be asked for to make a container as another one is: from the whole of what it tells of that one. Pure. */
import type Docker from "dockerode";

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
  const { Hostname, ...config } = old.Config;
  const [first] = Object.entries(endpointsOf(old));
  return {
    ...config,
    name,
    Image: image,
    // The default host name is the id's beginning: the new container gets its own.
    ...(!old.Id.startsWith(Hostname) && { Hostname }),
    Labels: { ...config.Labels, [INTENT_LABEL]: intentId },
    HostConfig: { ...old.HostConfig, Binds: [...(old.HostConfig.Binds ?? []), ...anonymousVolumes(old)] },
    // Engines before 25 take one network at creation.
    ...(first && { NetworkingConfig: { EndpointsConfig: Object.fromEntries([first]) } }),
  };
}

/** Networks of `old` that `fresh` has not joined. */
export function laterNetworks(old: Inspected, fresh: Inspected): [string, object][] {
  const joined = new Set(Object.keys(fresh.NetworkSettings.Networks));
  return Object.entries(endpointsOf(old)).filter(([network]) => !joined.has(network));
}

/** Volumes without a name of their own hold the service's data too: by the name that the engine gave them. */
function anonymousVolumes({ Mounts, HostConfig }: Inspected): string[] {
  const declared = new Set([
    ...(HostConfig.Binds ?? []).map((bind) => bind.split(":")[1]),
    ...(HostConfig.Mounts ?? []).map(({ Target }) => Target),
    ...Object.keys(HostConfig.Tmpfs ?? {}),
  ]);
  return Mounts.filter(({ Type, Name, Destination }) => Type === "volume" && Name && !declared.has(Destination)).map(
    ({ Name, Destination, RW }) => `${Name}:${Destination}${RW ? "" : ":ro"}`,
  );
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
