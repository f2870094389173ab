/** What Docker's inspection and the configuration that was run come to as the agent's facts. */
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type Docker from "dockerode";
import { describe, expect, test } from "vitest";
import { containerFacts, hostGatewayIps } from "../../agent/adapters/docker/container-facts.ts";
import { namespacesOfHost } from "../../agent/adapters/docker/host-namespaces.ts";
import type { OciSpec } from "../../agent/core/oci-spec.ts";
import { scratch } from "../native/tree-support.ts";

const ID = "a".repeat(64);
const OTHER = "b".repeat(64);
const ENGINE = {
  hostGateways: ["172.17.0.1"],
  hostHosts: "127.0.0.1 localhost\n127.0.1.1 node\n",
};

interface Change {
  readonly host?: object;
  readonly mounts?: readonly object[];
  readonly files?: object;
  readonly spec?: OciSpec;
  /** Whose network it has; default: its own. */
  readonly owner?: object | undefined;
  readonly hostNamespaces?: readonly string[];
}

function facts(change: Change) {
  const { host = {}, mounts = [], files = {}, spec, hostNamespaces = [] } = change;
  const kept = `/var/lib/docker/containers/${ID}`;
  const container = {
    Id: ID,
    Name: "/web",
    Path: "/app/serve",
    Args: ["now"],
    State: { Pid: 7, StartedAt: "" },
    Config: { Image: "i", User: "", WorkingDir: "", Hostname: "web" },
    HostConfig: host,
    Mounts: mounts,
    NetworkSettings: {},
    HostsPath: `${kept}/hosts`,
    HostnamePath: `${kept}/hostname`,
    ResolvConfPath: `${kept}/resolv.conf`,
    ...files,
  } as unknown as Docker.ContainerInspectInfo;
  const networkOwner = "owner" in change ? (change.owner as Docker.ContainerInspectInfo | undefined) : container;
  return containerFacts(container, spec, undefined, undefined, { ...ENGINE, networkOwner, hostNamespaces });
}

describe("files of the engine's", () => {
  const destinations = (change: Change) => facts(change).engineFiles.map(({ destination }) => destination);

  test("are those that it keeps itself, for this container or for the one whose network it joins", () => {
    const all = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
    expect(destinations({})).toEqual(all);
    expect(destinations({ files: { HostsPath: `/var/lib/docker/containers/${OTHER}/hosts` } })).toEqual(all);
  });

  test("are not what a user mounts in their place, not even another container's", () => {
    for (const Source of ["/home/mallory/resolv.conf", `/var/lib/docker/containers/${OTHER}/resolv.conf`]) {
      const change = { mounts: [{ Type: "bind", Source, Destination: "/etc/resolv.conf" }], files: { ResolvConfPath: Source } };
      expect(destinations(change)).toEqual(["/etc/hosts", "/etc/hostname"]);
      expect(facts(change).mounts).toMatchObject([{ destination: "/etc/resolv.conf", type: "bind", source: Source }]);
    }
    expect(destinations({ files: { ResolvConfPath: "/home/mallory/resolv.conf", HostnamePath: "" } })).toEqual(["/etc/hosts"]);
  });
});

describe("hosts", () => {
  const hosts = (host: object) => facts({ host }).extraHosts;

  test("host-gateway is told as the address that the engine writes for it", () => {
    const asked = ["host.docker.internal:host-gateway", "db:10.0.0.1", "host-gateway:10.0.0.2"];
    expect(hosts({ ExtraHosts: asked })).toEqual(["host.docker.internal:172.17.0.1", "db:10.0.0.1", "host-gateway:10.0.0.2"]);
  });

  test("in the host's network, and there only, the host's own lines are among them", () => {
    expect(hosts({ NetworkMode: "host" })).toEqual(["localhost:127.0.0.1", "node:127.0.1.1"]);
    expect(hosts({ NetworkMode: "bridge" })).toEqual([]);
  });

  test("the engine's configuration file may name other gateways; what is no such file says nothing", () => {
    expect(hostGatewayIps('{"host-gateway-ip":"10.1.1.1","init":true}')).toEqual(["10.1.1.1"]);
    expect(hostGatewayIps('{"host-gateway-ips":["10.1.1.1","fd00::1"]}')).toEqual(["10.1.1.1", "fd00::1"]);
    for (const text of ["", "{}", "[", "[1]", '{"host-gateway-ip":7}', `{"host-gateway-ip":"10.1.1.1"}${" ".repeat(70_000)}`])
      expect(hostGatewayIps(text)).toEqual([]);
  });
});

describe("a network joined (--network container:…)", () => {
  const owner = {
    Id: OTHER,
    Name: "/db",
    State: { Status: "running", Dead: false },
    HostConfig: { NetworkMode: "default", ExtraHosts: ["cache:10.0.0.9"] },
    NetworkSettings: { Networks: { bridge: { IPAddress: "172.17.0.7", Aliases: ["primary"] } } },
  };
  const host = { NetworkMode: `container:${OTHER}` };
  const files = { HostsPath: `/var/lib/docker/containers/${OTHER}/hosts` };

  test("brings the names, addresses and hosts of the container whose it is", () => {
    const { addresses, networkNames, extraHosts } = facts({ host, files, owner });
    expect(addresses).toEqual(["172.17.0.7"]);
    expect(networkNames).toEqual(["web", ID.slice(0, 12), "db", OTHER.slice(0, 12), "primary"]);
    expect(extraHosts).toEqual(["cache:10.0.0.9"]);
  });

  test("of one in the host's network brings the host's own lines; of one that is gone nothing is known", () => {
    expect(facts({ host, files, owner: { ...owner, HostConfig: { NetworkMode: "host" } } }).extraHosts).toEqual(["localhost:127.0.0.1", "node:127.0.1.1"]);
    expect(facts({ host, files, owner: { ...owner, HostConfig: { NetworkMode: "host" } } }).hostNamespaces).toEqual(["net"]);
    expect(facts({ host, files, owner: undefined })).toMatchObject({ addresses: [], extraHosts: [], networkOwnerGone: true });
  });

  test("is nobody's once that container is being removed, or another has its name", () => {
    const gone = { addresses: [], extraHosts: [], networkOwnerGone: true };
    expect(facts({ host, files, owner })).not.toHaveProperty("networkOwnerGone");
    expect(facts({ host, files, owner: { ...owner, State: { Status: "exited", Dead: false } } })).not.toHaveProperty("networkOwnerGone");
    for (const State of [
      { Status: "removing", Dead: false },
      { Status: "dead", Dead: true },
    ])
      expect(facts({ host, files, owner: { ...owner, State } })).toMatchObject(gone);
    expect(facts({ host, files, owner: { ...owner, Id: "c".repeat(64) } })).toMatchObject(gone);
    expect(facts({ host: { NetworkMode: "bridge" } })).not.toHaveProperty("networkOwnerGone");
  });

  test("is the host's where the kernel says so, whatever the settings say", () => {
    expect(facts({ host, files, owner, hostNamespaces: ["net"] }).hostNamespaces).toEqual(["net"]);
  });
});

test("namespaces that a process shares with the first one are the host's; of one that is gone none are", async () => {
  const proc = scratch();
  const process = (pid: number, namespaces: Record<string, number>): void => {
    mkdirSync(join(proc, `${pid}/ns`), { recursive: true });
    for (const [name, inode] of Object.entries(namespaces)) symlinkSync(`${name}:[${inode}]`, join(proc, `${pid}/ns/${name}`));
  };
  process(1, { pid: 1, net: 2, ipc: 3, uts: 4, user: 5 });
  process(7, { pid: 11, net: 2, ipc: 13, uts: 4, user: 5 });
  process(8, { pid: 11, net: 12, ipc: 13, uts: 14, user: 5 });
  expect(await namespacesOfHost(7, proc)).toEqual(["net", "uts"]);
  expect(await namespacesOfHost(8, proc)).toEqual([]);
  expect(await namespacesOfHost(9, proc)).toEqual([]);
  // Where the first process may not be looked at.
  rmSync(join(proc, "1"), { recursive: true });
  expect(await namespacesOfHost(7, proc)).toEqual([]);
});

test("the host's network is told, though the engine names its namespace like any other's path", () => {
  const namespaces = [{ type: "pid" }, { type: "ipc" }, { type: "uts" }, { type: "network", path: "/var/run/docker/netns/default" }];
  const spec = { process: {}, linux: { namespaces } };
  expect(facts({ host: { NetworkMode: "host" }, spec }).hostNamespaces).toEqual(["net"]);
  expect(facts({ host: { NetworkMode: `container:${OTHER}` }, spec }).hostNamespaces).toEqual([]);
  expect(facts({ host: { PidMode: "host" }, spec: { process: {}, linux: { namespaces: namespaces.slice(1) } } }).hostNamespaces).toEqual(["pid"]);
});

describe("the engine's own init", () => {
  const mount = { destination: "/sbin/docker-init", type: "bind", source: "/usr/bin/docker-init", options: ["bind", "ro"] };
  const args = ["/sbin/docker-init", "--", "/app/serve", "now"];
  const told = (change: Change) => {
    const { args: ran, mounts } = facts(change);
    return { ran, types: mounts.map(({ type }) => type) };
  };

  test("is told by what was run: the engine may be configured to give one to every container", () => {
    for (const Init of [true, null, undefined])
      expect(told({ host: { Init }, spec: { process: { args }, mounts: [mount] } })).toEqual({ ran: ["/app/serve", "now"], types: ["engine-init"] });
  });

  test("is not a user's program of that name, nor one that nothing is mounted for", () => {
    const mounts = [{ Type: "bind", Source: "/home/mallory/init", Destination: "/sbin/docker-init" }];
    expect(told({ host: { Init: true }, mounts, spec: { process: { args }, mounts: [mount] } })).toEqual({ ran: args, types: ["bind"] });
    expect(told({ host: { Init: true }, spec: { process: { args } } })).toEqual({ ran: args, types: [] });
    expect(told({ host: { Init: true }, spec: { process: { args: ["/app/serve"] }, mounts: [mount] } })).toEqual({ ran: ["/app/serve"], types: ["bind"] });
  });
});
