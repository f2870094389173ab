import { TestbedError } from "./error.ts";
import { program } from "./paths.ts";
import { run } from "./run.ts";

/** A network of the test bed's own: a /24 of which the first half is the default bridge's and the rest user networks'. */
export interface Bridge {
  /** Interface name, at most 15 bytes. */
  readonly name: string;
  /** First three octets, "10.213.7". */
  readonly prefix: string;
}

interface Address {
  readonly ifname: string;
  readonly addr_info: readonly { readonly local?: string }[];
}

/** Chooses a /24 below 10.213.0.0/16 that no interface or route uses. @throws TestbedError `no_free_subnet` */
export async function chooseBridge(id: string): Promise<Bridge> {
  return { name: `hm${id.slice(0, 10)}`, prefix: await chooseSubnet(id, "10.213") };
}

/** Chooses a /24 below a /16, both as their first octets, that no interface or route uses. @throws TestbedError `no_free_subnet` */
export async function chooseSubnet(id: string, within: string): Promise<string> {
  const [addresses, routes] = await Promise.all([
    run([program("ip"), "-4", "-json", "address"]),
    run([program("ip"), "-4", "-json", "route", "show", "table", "all"]),
  ]);
  const used = `${addresses}${routes}`;
  const start = Number.parseInt(id.slice(0, 2), 16);
  for (let i = 0; i < 256; i++) {
    const prefix = `${within}.${(start + i) % 256}`;
    if (!used.includes(`"${prefix}.`)) return prefix;
  }
  throw new TestbedError("no_free_subnet", `every /24 of ${within}.0.0/16 is in use on this machine`);
}

/** Makes the bridge; nothing else on the host changes: no forwarding, no address translation, no packet filter rule. */
export async function createBridge(bridge: Bridge): Promise<void> {
  const ip = program("ip");
  await run([ip, "link", "add", bridge.name, "type", "bridge"]);
  await run([ip, "address", "add", `${bridge.prefix}.1/25`, "dev", bridge.name]);
  await run([ip, "link", "set", bridge.name, "up"]);
}

/** Removes the named bridge and the engine's bridges for user networks, told by their addresses. Idempotent. */
export async function removeBridge(name: string): Promise<void> {
  const ip = program("ip");
  const all = JSON.parse(await run([ip, "-4", "-json", "address", "show", "type", "bridge"])) as Address[];
  const own = all.find((entry) => entry.ifname === name);
  const local = own?.addr_info?.[0]?.local;
  const prefix = local?.slice(0, local.lastIndexOf(".") + 1);
  // The named one last: its address is what tells the others.
  const others = prefix === undefined ? [] : all.filter((entry) => entry.ifname !== name && entry.addr_info?.some((a) => a.local?.startsWith(prefix)));
  for (const entry of others) await run([ip, "link", "delete", entry.ifname]);
  const links = JSON.parse(await run([ip, "-json", "link", "show", "type", "bridge"])) as Address[];
  if (links.some((entry) => entry.ifname === name)) await run([ip, "link", "delete", name]);
}
