/** The Registry port's contract, over Debian's registry (tag fallback) and one with the referrers API, bare and behind the cache. */

import { CachingRegistry } from "@hullmark/verifier/adapters/oci-registry/caching";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { readBlob } from "@hullmark/verifier/core/provenance/index";
import { MAX_MANIFEST_BYTES, type Registry, RegistryError } from "@hullmark/verifier/ports/registry";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { pushImage, sha256 } from "../fakes/images.ts";
import { never } from "../fakes/judging.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";

const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const ABSENT = `sha256:${"0".repeat(64)}`;
let bed: Testbed;
let fake: FakeRegistry;
const client = new OciRegistry();

beforeAll(async () => {
  bed = await startTestbed({ name: "prov-registry", parts: { registry: true } });
  fake = await startFakeRegistry({ pageSize: 2 });
});
afterAll(async () => {
  client.close();
  await fake?.close();
  await bed?.down();
});

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "no error",
    (error: unknown) => (error instanceof RegistryError ? error.code : error),
  );

function artifact(
  subject: string,
  size: number,
  serial: number,
): { mediaType: string; artifactType: string; annotations: Record<string, string>; bytes: Buffer } {
  const artifactType = "application/vnd.example.test";
  const annotations = { serial: String(serial) };
  const empty = { mediaType: "application/vnd.oci.empty.v1+json", digest: sha256(Buffer.from("{}")), size: 2 };
  const manifest = {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    artifactType,
    config: empty,
    layers: [empty],
    subject: { mediaType: OCI_MANIFEST, digest: subject, size },
    annotations,
  };
  return { mediaType: OCI_MANIFEST, artifactType, annotations, bytes: Buffer.from(JSON.stringify(manifest)) };
}

const SUBJECTS: readonly [string, () => string, () => Registry][] = [
  ["docker-registry", () => bed.registry?.host ?? "", () => client],
  ["docker-registry, cached", () => bed.registry?.host ?? "", () => new CachingRegistry(client)],
  ["a registry with the referrers API", () => fake.host, () => client],
  ["a registry with the referrers API, cached", () => fake.host, () => new CachingRegistry(client)],
];

describe.each(SUBJECTS)("%s", (name, host, make) => {
  const folder = name.replace(/[^a-z]+/g, "-").replace(/-$/, "");
  const at = (repository: string) => `${host()}/${folder}/${repository}`;

  test("serves manifests by tag and by digest, with the digest of their bytes", async () => {
    const registry = make();
    const image = await pushImage(at("image"), { tag: "v1" });
    for (const reference of ["v1", image.manifestDigest]) {
      const manifest = await registry.manifest(image.repository, reference, MAX_MANIFEST_BYTES, never);
      expect(manifest).toMatchObject({ digest: image.manifestDigest, mediaType: OCI_MANIFEST });
      expect(manifest.bytes.equals(image.manifestBytes)).toBe(true);
    }
  });

  test("serves Docker schema 2 as it is", async () => {
    const image = await pushImage(at("schema2"), { dialect: "docker" });
    const manifest = await make().manifest(image.repository, image.manifestDigest, MAX_MANIFEST_BYTES, never);
    expect(manifest.mediaType).toBe("application/vnd.docker.distribution.manifest.v2+json");
  });

  test("says NOT_FOUND for what is absent, TOO_LARGE beyond the limit, BAD_REFERENCE for no name", async () => {
    const registry = make();
    const image = await pushImage(at("image"), { tag: "v1" });
    expect(await code(registry.manifest(image.repository, "absent", MAX_MANIFEST_BYTES, never))).toBe("NOT_FOUND");
    expect(await code(registry.manifest(image.repository, ABSENT, MAX_MANIFEST_BYTES, never))).toBe("NOT_FOUND");
    expect(await code(readBlob(registry, image.repository, ABSENT, 100, never))).toBe("NOT_FOUND");
    expect(await code(registry.manifest(image.repository, "v1", image.manifestBytes.length - 1, never))).toBe("TOO_LARGE");
    for (const bad of ["../../etc", "a b", "sha256:00", `sha256:${"G".repeat(64)}`, ""]) {
      expect(await code(registry.manifest(image.repository, bad, MAX_MANIFEST_BYTES, never)), bad).toBe("BAD_REFERENCE");
    }
    for (const bad of [`${host()}/../x`, `${host()}/X`, "host only", `user@${host()}/x`, `${host()}/x?y`, `${host()}/a//b`]) {
      expect(await code(registry.manifest(bad, "v1", MAX_MANIFEST_BYTES, never)), bad).toBe("BAD_REFERENCE");
    }
  });

  test("takes a blob that streams in, mounts what the host has, reads nothing that is there, and refuses other bytes", async () => {
    const bytes = Buffer.alloc(20_000_000, `streamed ${name}`);
    const blob = { digest: sha256(bytes), size: bytes.length };
    let reads = 0;
    const read = (from: Buffer) =>
      async function* () {
        reads++;
        for (let at = 0; at < from.length; at += 1_500_000) yield from.subarray(at, at + 1_500_000);
      };
    const push = (repository: string, from: Buffer, mountFrom?: string) => client.pushStream(at(repository), blob, read(from), mountFrom, never);
    expect(await code(push("streams", bytes.subarray(1)))).toBe("MALFORMED");
    expect(await code(push("streams", Buffer.concat([bytes, bytes])))).toBe("MALFORMED");
    expect(await code(push("streams", Buffer.alloc(bytes.length)))).toBe("MALFORMED");
    await push("streams", bytes);
    expect((await readBlob(make(), at("streams"), blob.digest, bytes.length, never)).equals(bytes)).toBe(true);
    reads = 0;
    await push("streams", bytes);
    expect(reads).toBe(0);
    await push("mounted", bytes, at("streams"));
    expect((await readBlob(make(), at("mounted"), blob.digest, bytes.length, never)).equals(bytes)).toBe(true);
  });

  test("streams blobs, also when only their beginning is read", async () => {
    const registry = make();
    const bytes = Buffer.alloc(3_000_000, "layer");
    const { digest } = await client.pushBlob(at("blobs"), bytes, never);
    expect((await readBlob(registry, at("blobs"), digest, bytes.length, never)).equals(bytes)).toBe(true);
    for await (const chunk of registry.blob(at("blobs"), digest, never)) {
      expect(chunk.length).toBeGreaterThan(0);
      break;
    }
    await expect(readBlob(registry, at("blobs"), digest, bytes.length - 1, never)).rejects.toMatchObject({ code: "TOO_LARGE" });
  });

  test("lists referrers, none lost when several are attached at once or twice", async () => {
    const image = await pushImage(at("referred"));
    const { repository, manifestDigest } = image;
    expect(await make().referrers(repository, manifestDigest, never)).toEqual([]);
    await client.pushBlob(repository, Buffer.from("{}"), never);
    const artifacts = [1, 2, 3, 4, 5].map((serial) => artifact(manifestDigest, image.manifestBytes.length, serial));
    for (const one of artifacts.slice(0, 2)) await client.attach(repository, manifestDigest, one, never);
    await Promise.all(artifacts.slice(1).map((one) => client.attach(repository, manifestDigest, one, never)));
    const listed = await make().referrers(repository, manifestDigest, never);
    expect(listed.map(({ digest }) => digest).sort()).toEqual(artifacts.map(({ bytes }) => sha256(bytes)).sort());
    expect(listed.every(({ artifactType }) => artifactType === "application/vnd.example.test")).toBe(true);
  });

  test("stops at once for an aborted caller, with the caller's reason", async () => {
    const reason = new Error("no longer wanted");
    await expect(make().manifest(at("image"), "v1", MAX_MANIFEST_BYTES, AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});
