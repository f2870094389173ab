/** From what a runtime reports to the image that it runs, on a real registry. */
import { generateKeyPairSync } from "node:crypto";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { type ImageResolution, type ResolvedImage, type RuntimeImage, resolveImage } from "@hullmark/verifier/core/provenance/index";
import { LayerTree, replayBlob } from "@hullmark/verifier/core/reference-value/index";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { COMPRESSIONS, type PushedImage, type PushedIndex, pushImage, pushIndex } from "../fakes/images.ts";
import { authority, judge, never } from "../fakes/judging.ts";
import { signByKey } from "../fakes/key-signed.ts";

let bed: Testbed;
let image: PushedImage;
let index: PushedIndex;
const registry = new OciRegistry({ maxAttempts: 1 });

beforeAll(async () => {
  bed = await startTestbed({ name: "prov-resolve", parts: { registry: true } });
  image = await pushImage(`${bed.registry?.host}/resolve/app`, { tag: "v1", layers: [{ "etc/a": "1" }, { "etc/b": "2" }] });
  index = await pushIndex(`${bed.registry?.host}/resolve/multi`, "v1", ["amd64", "arm64"]);
});
afterAll(async () => {
  registry.close();
  await bed?.down();
});

function runs(overrides: Partial<RuntimeImage>): Promise<ImageResolution> {
  return resolveImage(registry, { imageReference: "", imageId: "", repoDigests: [], configDigest: "", ...overrides }, never);
}
function resolved(resolution: ImageResolution): ResolvedImage {
  if (resolution.kind !== "resolved") throw new Error(`${resolution.kind}: ${JSON.stringify(resolution)}`);
  return resolution.image;
}
const OTHER = `sha256:${"1".repeat(64)}`;

describe("Docker with its own image store", () => {
  test("pulled by tag: found by its repo digest, with layers, history and the tag's state", async () => {
    const found = resolved(
      await runs({
        imageReference: `${image.repository}:v1`,
        imageId: image.configDigest,
        repoDigests: [`${image.repository}@${image.manifestDigest}`],
        configDigest: image.configDigest,
      }),
    );
    expect(found).toMatchObject({
      repository: image.repository,
      manifestDigest: image.manifestDigest,
      configDigest: image.configDigest,
      configClaim: "equal",
      tag: { status: "current" },
      incomplete: [],
    });
    expect(found.config).toMatchObject({ diffIds: image.diffIds, platform: { os: "linux", architecture: "amd64" }, cmd: ["/bin/app"] });
    expect(found.config.history.map(({ createdBy }) => createdBy)).toEqual(["COPY etc/a / # 0", "COPY etc/b / # 1"]);
    expect(found.layers).toHaveLength(2);
    expect(found.subjects).toEqual([{ repository: image.repository, digest: image.manifestDigest, kind: "manifest" }]);
  });

  test("pushed from here, started by id: the repo digest is enough", async () => {
    const found = resolved(
      await runs({ imageReference: image.configDigest, imageId: image.configDigest, repoDigests: [`${image.repository}@${image.manifestDigest}`] }),
    );
    expect(found).toMatchObject({ configDigest: image.configDigest, configClaim: "none", tag: { status: "none" } });
  });

  test("without a repo digest the tag finds the candidate, whose config decides", async () => {
    const found = resolved(await runs({ imageReference: `${image.repository}:v1`, imageId: image.configDigest }));
    expect(found.manifestDigest).toBe(image.manifestDigest);
  });

  test("pulled as a platform of an index: the index is a subject too", async () => {
    const arm = index.images[1] as PushedImage;
    const found = resolved(
      await runs({ imageReference: `${index.repository}:v1`, imageId: arm.configDigest, repoDigests: [`${index.repository}@${index.digest}`] }),
    );
    expect(found.manifestDigest).toBe(arm.manifestDigest);
    expect(found.config.platform.architecture).toBe("arm64");
    expect(found.subjects.map(({ digest, kind }) => [kind, digest])).toEqual([
      ["manifest", arm.manifestDigest],
      ["index", index.digest],
    ]);
  });

  test("Docker schema 2, as manifest and as list", async () => {
    const list = await pushIndex(`${bed.registry?.host}/resolve/schema2`, "v1", ["amd64", "s390x"], "docker");
    const child = list.images[1] as PushedImage;
    const found = resolved(
      await runs({ imageReference: `${list.repository}:v1`, imageId: child.configDigest, repoDigests: [`${list.repository}@${list.digest}`] }),
    );
    expect(found).toMatchObject({ manifestDigest: child.manifestDigest, configDigest: child.configDigest });
  });

  test("several manifests of one config are all subjects", async () => {
    const repository = `${bed.registry?.host}/resolve/twins`;
    const [oci, docker] = [await pushImage(repository, { tag: "oci" }), await pushImage(repository, { tag: "docker", dialect: "docker" })];
    expect(oci.configDigest).toBe(docker.configDigest);
    const repoDigests = [oci, docker].map(({ manifestDigest }) => `${repository}@${manifestDigest}`);
    const found = resolved(await runs({ imageReference: `${repository}:oci`, imageId: oci.configDigest, repoDigests }));
    expect(found.subjects.map(({ digest }) => digest).sort()).toEqual([oci.manifestDigest, docker.manifestDigest].sort());
  });
});

test("however its layers are compressed an image is the same, and who signed one of its manifests signed what runs", async () => {
  const repository = `${bed.registry?.host}/resolve/compressed`;
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const release = authority("release", publicKey.export({ type: "spki", format: "pem" }).toString());
  const pushed: PushedImage[] = [];
  for (const compression of Object.keys(COMPRESSIONS) as (keyof typeof COMPRESSIONS)[])
    pushed.push(await pushImage(repository, { tag: compression.replace(":", "-"), layers: [{ "etc/a": "1" }, { "etc/b": "b".repeat(5000) }], compression }));
  const [plain, , zstd] = pushed as [PushedImage, PushedImage, PushedImage];
  expect(new Set(pushed.map(({ configDigest }) => configDigest)).size).toBe(1);
  expect(new Set(pushed.map(({ manifestDigest }) => manifestDigest)).size).toBe(5);
  await signByKey(registry, zstd, privateKey);

  const reported = { imageReference: `${repository}:none`, imageId: plain.configDigest };
  const alone = resolved(await runs({ ...reported, repoDigests: [`${repository}@${plain.manifestDigest}`] }));
  expect(await judge(registry, alone.subjects, { authorities: [release] })).toMatchObject({ status: "unsigned" });
  const all = resolved(await runs({ ...reported, repoDigests: pushed.map(({ manifestDigest }) => `${repository}@${manifestDigest}`) }));
  expect(all.subjects.map(({ digest }) => digest).sort()).toEqual(pushed.map(({ manifestDigest }) => manifestDigest).sort());
  expect(await judge(registry, all.subjects, { authorities: [release] })).toMatchObject({ status: "signed", signedBy: ["release"] });

  const roots = new Set<string>();
  for (const { manifestDigest, configDigest } of pushed) {
    const image = resolved(await runs({ imageReference: `${repository}@${manifestDigest}`, imageId: configDigest }));
    const trees: LayerTree[] = [];
    for (const [i, { digest, size }] of image.layers.entries()) {
      const layer = { digest, size, diffId: image.config.diffIds[i] ?? "" };
      const tree = await replayBlob(registry.blob(repository, digest, never), layer, { dialect: "docker", lower: [...trees] });
      if (!(tree instanceof LayerTree)) throw new Error(JSON.stringify(tree));
      trees.push(tree);
    }
    roots.add(trees.map(({ root }) => root.toString("hex")).join());
  }
  expect(roots.size).toBe(1);
});

describe("containerd's image store", () => {
  test("where the id is the manifest's digest", async () => {
    const found = resolved(await runs({ imageReference: `${image.repository}:v1`, imageId: image.manifestDigest }));
    expect(found).toMatchObject({ manifestDigest: image.manifestDigest, configDigest: image.configDigest });
  });

  test("where the id is the index's: the measured config decides, else the node's platform, else nothing does", async () => {
    const arm = index.images[1] as PushedImage;
    const reported = { imageReference: `${index.repository}:v1`, imageId: index.digest };
    expect(resolved(await runs({ ...reported, configDigest: arm.configDigest }))).toMatchObject({ manifestDigest: arm.manifestDigest, configClaim: "equal" });
    expect(resolved(await runs({ ...reported, platform: { os: "linux", architecture: "arm64" } })).manifestDigest).toBe(arm.manifestDigest);
    expect(await runs({ ...reported, platform: { os: "linux", architecture: "riscv64" } })).toMatchObject({ kind: "other-config" });
  });

  test("where the id is name@digest (CRI)", async () => {
    const found = resolved(
      await runs({ imageReference: "sha256:0123", imageId: `${image.repository}@${image.manifestDigest}`, configDigest: image.configDigest }),
    );
    expect(found.configDigest).toBe(image.configDigest);
  });
});

describe("what does not fit", () => {
  test("a config edited on the node is told, although the runtime names a real image", async () => {
    const found = resolved(
      await runs({
        imageReference: `${image.repository}:v1`,
        imageId: image.configDigest,
        repoDigests: [`${image.repository}@${image.manifestDigest}`],
        configDigest: OTHER,
      }),
    );
    expect(found).toMatchObject({ configDigest: image.configDigest, configClaim: "differs" });
  });

  test("a repo digest that stands for another config is other-config", async () => {
    const resolution = await runs({
      imageReference: `${image.repository}:v1`,
      imageId: OTHER,
      repoDigests: [`${image.repository}@${image.manifestDigest}`],
      configDigest: OTHER,
    });
    expect(resolution).toMatchObject({ kind: "other-config" });
  });

  test("an image that only bears the name of the registry's is moved-tag", async () => {
    const resolution = await runs({ imageReference: `${image.repository}:v1`, imageId: OTHER, configDigest: OTHER });
    expect(resolution).toMatchObject({ kind: "moved-tag", tag: { status: "moved", names: image.manifestDigest } });
  });

  test("an image whose tag moved on is found by digest, and its tag's state is told", async () => {
    const repository = `${bed.registry?.host}/resolve/moving`;
    const before = await pushImage(repository, { tag: "v1", layers: [{ a: "1" }] });
    const after = await pushImage(repository, { tag: "v1", layers: [{ a: "2" }] });
    const found = resolved(
      await runs({ imageReference: `${repository}:v1`, imageId: before.configDigest, repoDigests: [`${repository}@${before.manifestDigest}`] }),
    );
    expect(found).toMatchObject({
      manifestDigest: before.manifestDigest,
      tag: { status: "moved", reference: `${repository}:v1`, names: after.manifestDigest },
    });
  });

  test("a tag alone never identifies: without any digest from the node there is no reference", async () => {
    expect(await runs({ imageReference: `${image.repository}:v1` })).toMatchObject({ kind: "no-reference" });
  });

  test("built on the node, or loaded: no reference, without a look at any other registry", async () => {
    expect(await runs({ imageReference: "0123456789ab", imageId: OTHER, configDigest: OTHER })).toMatchObject({ kind: "no-reference" });
    expect(await runs({ imageReference: `${bed.registry?.host}/resolve/local:dev`, imageId: OTHER })).toMatchObject({ kind: "no-reference" });
  });

  test("a registry that is down is unreachable, not a missing reference", async () => {
    const resolution = await runs({ imageReference: "127.0.0.1:1/app:v1", imageId: OTHER });
    expect(resolution).toMatchObject({ kind: "unreachable", code: "UNAVAILABLE", retryable: true });
  });

  test("layers and diff ids that do not add up are malformed", async () => {
    const manifest = JSON.parse(image.manifestBytes.toString()) as { layers: unknown[] };
    manifest.layers.pop();
    const digest = await registry.pushManifest(
      image.repository,
      "short",
      "application/vnd.oci.image.manifest.v1+json",
      Buffer.from(JSON.stringify(manifest)),
      never,
    );
    expect(await runs({ imageReference: "", imageId: image.configDigest, repoDigests: [`${image.repository}@${digest}`] })).toMatchObject({
      kind: "malformed",
    });
  });
});
