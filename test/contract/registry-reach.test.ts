/** Whom the verifier asks on a node's word: listed registries, and nobody at an address of the inside who is not listed. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { ListedRegistries, OciRegistry, outside } from "@hullmark/verifier/adapters/oci-registry/index";
import { isInside } from "@hullmark/verifier/adapters/oci-registry/reach";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pushImage } from "../fakes/images.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";

const never = new AbortController().signal;
let registry: FakeRegistry;
let port: string;
beforeAll(async () => {
  registry = await startFakeRegistry();
  port = registry.host.slice(registry.host.indexOf(":"));
  await pushImage(`${registry.host}/acme/web`, { tag: "1" });
});
afterAll(() => registry?.close());

async function asked(host: string, ...listed: string[]): Promise<string> {
  const client = new OciRegistry({ reach: outside(listed), plainHttpHosts: [host] });
  try {
    return (await client.manifest(`${host}/acme/web`, "1", 1 << 20, never)).digest.slice(0, 7);
  } catch (error) {
    return (error as { code: string }).code;
  } finally {
    client.close();
  }
}

test.each([
  ...[
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.9.9.9",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "224.0.0.1",
    "255.255.255.255",
  ],
  ...[
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::a00:1",
    "2002:a00:1::",
    "[::1]",
  ],
  ...["", "nonsense", "1.2.3"],
])("%j lies inside", (address) => expect(isInside(address)).toBe(true));

test.each(["8.8.8.8", "172.15.0.1", "172.32.0.1", "192.167.1.1", "100.63.0.1", "2606:4700::1111", "2a00:1450::1"])("%s lies outside", (address) =>
  expect(isInside(address)).toBe(false),
);

describe("an address of the inside", () => {
  test("is not asked, however it is written or named", async () => {
    const before = registry.requests.length;
    for (const host of ["127.0.0.1", "localhost", "[::ffff:7f00:1]"]) expect(await asked(`${host}${port}`), host).toBe("NOT_ALLOWED");
    expect(registry.requests.length).toBe(before);
  });

  test("is asked where its host is listed, with its port", async () => {
    expect(await asked(registry.host, registry.host)).toBe("sha256:");
    expect(await asked(registry.host, "127.0.0.1:*")).toBe("sha256:");
    expect(await asked(registry.host, "127.0.0.1:1", "*.example")).toBe("NOT_ALLOWED");
  });

  test("is not asked by a redirect, nor as a token service, of a registry that is listed", async () => {
    const redirected: string[] = [];
    const target = createServer((request, response) => {
      redirected.push(request.url ?? "");
      response.end("{}");
    });
    const listening = (server: Server) =>
      new Promise<number>((resolve) => server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port)));
    const inner = await listening(target);
    const lying = createServer((request, response) => {
      const elsewhere = `http://127.0.0.1:${inner}/x`;
      if (request.url?.includes("/token-first/")) response.writeHead(401, { "www-authenticate": `Bearer realm="${elsewhere}",service="s"` }).end();
      else response.writeHead(307, { location: elsewhere }).end();
    });
    const outer = await listening(lying);
    const host = `127.0.0.1:${outer}`;
    const client = new OciRegistry({ reach: outside([host]) });
    try {
      for (const name of ["redirect", "token-first"])
        await expect(client.manifest(`${host}/${name}/web`, "1", 1 << 20, never), name).rejects.toMatchObject({ code: "NOT_ALLOWED" });
      expect(redirected).toEqual([]);
    } finally {
      client.close();
      for (const server of [target, lying]) {
        server.close();
        server.closeAllConnections();
      }
    }
  });
});

test("where registries are listed, no other is asked for anything", async () => {
  const client = new OciRegistry();
  try {
    const listed = new ListedRegistries(client, ["registry.example", registry.host]);
    expect((await listed.manifest(`${registry.host}/acme/web`, "1", 1 << 20, never)).digest).toMatch(/^sha256:/);
    const refused = { code: "NOT_ALLOWED", message: expect.stringContaining("registries.allow") };
    await expect(listed.manifest("docker.io/library/nginx", "1", 1 << 20, never)).rejects.toMatchObject(refused);
    await expect(listed.referrers("docker.io/library/nginx", `sha256:${"0".repeat(64)}`, never)).rejects.toMatchObject(refused);
    const blob = async () => {
      for await (const _ of listed.blob("docker.io/library/nginx", `sha256:${"0".repeat(64)}`, never)) throw new Error("asked");
    };
    await expect(blob()).rejects.toMatchObject(refused);
  } finally {
    client.close();
  }
});
