import { chooseSubnet } from "../bridge.ts";
import type { MountNamespace } from "../namespace.ts";
import { program } from "../paths.ts";
import { run } from "../run.ts";

/** The node's network: a link between the host and the node's own network namespace, and the pods' addresses behind the node. */
export interface NodeNetwork {
  /** The host's end of the link, an interface name of at most 15 bytes. It goes with the namespace. */
  readonly link: string;
  /** The host as node and pods see it. */
  readonly hostAddress: string;
  readonly nodeAddress: string;
  /** 126 pod addresses, in CIDR notation. */
  readonly podSubnet: string;
}

/** Chooses a /24 below 10.214.0.0/16 that is free on this machine. @throws TestbedError `no_free_subnet` */
export async function chooseNodeNetwork(id: string): Promise<NodeNetwork> {
  const prefix = await chooseSubnet(id, "10.214");
  return { link: `hk${id.slice(0, 10)}`, hostAddress: `${prefix}.1`, nodeAddress: `${prefix}.2`, podSubnet: `${prefix}.128/25` };
}

/**
 * Joins the namespace to the host. On the host that is one interface and one route, both gone with the namespace; packet filter,
 * forwarding and address translation are only changed inside.
 */
export async function joinNodeNetwork(network: NodeNetwork, namespace: MountNamespace): Promise<void> {
  const ip = program("ip");
  const inside = (...argv: string[]) => run(namespace.wrap([ip, ...argv]));
  await run([ip, "link", "add", network.link, "type", "veth", "peer", "name", "eth0", "netns", String(namespace.holder.pid)]);
  await run([ip, "address", "add", `${network.hostAddress}/30`, "dev", network.link]);
  await run([ip, "link", "set", network.link, "up"]);
  await inside("link", "set", "lo", "up");
  await inside("address", "add", `${network.nodeAddress}/30`, "dev", "eth0");
  await inside("link", "set", "eth0", "up");
  await inside("route", "add", "default", "via", network.hostAddress);
  await run([ip, "route", "add", network.podSubnet, "via", network.nodeAddress]);
}

/** Removes the link where the namespace has left it. Idempotent. */
export async function removeLink(link: string): Promise<void> {
  const ip = program("ip");
  const exists = async (): Promise<boolean> => {
    const links = JSON.parse(await run([ip, "-json", "link", "show", "type", "veth"])) as { readonly ifname?: string }[];
    return links.some(({ ifname }) => ifname === link);
  };
  // The kernel takes a dead namespace down in its own time, and may do so between the look and the removal.
  if (await exists()) {
    await run([ip, "link", "delete", link]).catch(async (error: unknown) => {
      if (await exists()) throw error;
    });
  }
}
