/** Mirrors: what a digest names may come from one, what can change may not, and none can make content other than it is. */
import { MirroringRegistry, OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { readBlob } from "@hullmark/verifier/core/provenance/index";
import { RegistryError } from "@hullmark/verifier/ports/registry";
import { afterEach, beforeEach, expect, test } from "vitest";
import { attachBundle } from "../fakes/attach.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { never } from "../fakes/judging.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";

const MAX = 1 << 20;
let origin: FakeRegistry;
let mirror: FakeRegistry;
let client: OciRegistry;
let image: PushedImage;

beforeEach(async () => {
  [origin, mirror] = [await startFakeRegistry(), await startFakeRegistry()];
  client = new OciRegistry({ maxAttempts: 1 });
  image = await pushImage(`${origin.host}/acme/app`);
  await pushImage(`${mirror.host}/acme/app`);
  for (const registry of [origin, mirror]) registry.requests.length = 0;
});
afterEach(async () => {
  client.close();
  await origin.close();
  await mirror.close();
});

const through = (authoritative: boolean) => new MirroringRegistry(client, [{ of: origin.host, host: mirror.host, authoritative }]);

test("a cache answers for digests, the registry itself for tags and lists of signatures", async () => {
  const registry = through(false);
  expect((await registry.manifest(image.repository, image.manifestDigest, MAX, never)).digest).toBe(image.manifestDigest);
  expect((await readBlob(registry, image.repository, image.configDigest, MAX, never)).length).toBeGreaterThan(0);
  expect(origin.requests).toEqual([]);
  await attachBundle(client, image, { signed: true });
  origin.requests.length = 0;
  expect(await registry.referrers(image.repository, image.manifestDigest, never)).toHaveLength(1);
  expect((await registry.manifest(image.repository, "latest", MAX, never)).digest).toBe(image.manifestDigest);
  expect(origin.requests).toHaveLength(2);
  expect(mirror.requests.some((line) => line.includes("referrers") || line.includes("latest"))).toBe(false);
});

test("what a cache lacks, cannot serve or serves wrongly comes from the registry itself", async () => {
  const registry = through(false);
  const newer = await pushImage(image.repository, { tag: "v2", layers: [{ new: "1" }] });
  expect((await registry.manifest(image.repository, newer.manifestDigest, MAX, never)).digest).toBe(newer.manifestDigest);
  expect((await readBlob(registry, image.repository, newer.configDigest, MAX, never)).length).toBeGreaterThan(0);
  mirror.tamper(image.manifestDigest, Buffer.from("{}"));
  expect((await registry.manifest(image.repository, image.manifestDigest, MAX, never)).digest).toBe(image.manifestDigest);
  mirror.fault = (_, response) => {
    response.writeHead(503).end();
    return true;
  };
  expect((await registry.manifest(image.repository, image.manifestDigest, MAX, never)).digest).toBe(image.manifestDigest);
  expect((await readBlob(registry, image.repository, image.configDigest, MAX, never)).length).toBeGreaterThan(0);
});

test("content that a cache changed comes from the registry itself, or is refused, and never taken for the digest's", async () => {
  mirror.tamper(image.configDigest, Buffer.from('{"rootfs":{}}'));
  expect((await readBlob(through(false), image.repository, image.configDigest, MAX, never)).toString()).toContain("diff_ids");
  // What is too large to be held is checked by whoever reads it.
  mirror.tamper(image.configDigest, Buffer.alloc(9 * MAX));
  await expect(readBlob(through(false), image.repository, image.configDigest, 10 * MAX, never)).rejects.toThrow(/asked for blob/);
});

test("an authoritative mirror stands for the registry, which is not asked", async () => {
  const registry = through(true);
  expect((await registry.manifest(image.repository, "latest", MAX, never)).digest).toBe(image.manifestDigest);
  expect(await registry.referrers(image.repository, image.manifestDigest, never)).toEqual([]);
  const newer = await pushImage(image.repository, { tag: "v2", layers: [{ new: "1" }] });
  origin.requests.length = 0;
  await expect(registry.manifest(image.repository, newer.manifestDigest, MAX, never)).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(readBlob(registry, image.repository, newer.configDigest, MAX, never)).rejects.toBeInstanceOf(RegistryError);
  expect(origin.requests).toEqual([]);
});

test("other registries are not concerned, and an aborted call asks nobody else", async () => {
  const other = new MirroringRegistry(client, [{ of: "registry.example", host: mirror.host, authoritative: true }]);
  expect((await other.manifest(image.repository, "latest", MAX, never)).digest).toBe(image.manifestDigest);
  expect(mirror.requests).toEqual([]);
  origin.requests.length = 0;
  await expect(through(false).manifest(image.repository, image.manifestDigest, MAX, AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
  expect(origin.requests).toEqual([]);
});
