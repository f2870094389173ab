/** What Docker's inspection and the configuration that was run come to as the agent's facts. */
import type Docker from "dockerode";
import { describe, expect, test } from "vitest";
import { containerFacts, hostGatewayIps } from "../../agent/adapters/docker/container-facts.ts";
import type { OciSpec } from "../../agent/core/oci-spec.ts";

const ID = "a".repeat(64);
const OTHER = "b".repeat(64);
const ENGINE = {
  rootDirectory: "/var/lib/docker",
  storageDriver: "overlay2",
  hostGateways: ["172.17.0.1"],
  hostHosts: "127.0.0.1 localhost\n127.0.1.1 node\n",
};

interface Change {
  readonly host?: object;
  readonly mounts?: readonly object[];
  readonly files?: object;
  readonly spec?: OciSpec;
}

function facts({ host = {}, mounts = [], files = {}, spec }: Change) {
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
  return containerFacts(container, spec, undefined, ENGINE);
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
