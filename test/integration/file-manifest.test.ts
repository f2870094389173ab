/** `hullmark manifest`: what it says is what the replay of the layers says; who is trusted for it stands in for them, and for nobody else. */
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { encodeRecord } from "@hullmark/proto/codec";
import { Verdict } from "@hullmark/proto/v1/common";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { ReplayThread } from "@hullmark/verifier/adapters/replay-thread/index";
import { LayerLibrary } from "@hullmark/verifier/core/images/layer-library";
import { fetchLayerTree } from "@hullmark/verifier/core/images/signed-tree";
import { FILE_MANIFEST_TYPE, readFileManifest } from "@hullmark/verifier/core/provenance/file-manifest";
import { type FileManifest, MAX_CONFIG_BYTES, parseConfig, parseManifest, type ResolvedImage, readBlob } from "@hullmark/verifier/core/provenance/index";
import { type Dialect, dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import { decodeBundle } from "@hullmark/verifier/core/transparency/bundle";
import { decodeLogEntry } from "@hullmark/verifier/core/transparency/entry";
import type { Reference, ReferenceKey, ReferenceStore } from "@hullmark/verifier/ports/reference-store";
import type { Registry } from "@hullmark/verifier/ports/registry";
import { attestCommand } from "hullmark/commands/attest";
import { manifestCommand } from "hullmark/commands/manifest";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Attester } from "../fakes/attester.ts";
import { runCommand } from "../fakes/command-run.ts";
import { busyboxLayer, debianLayer } from "../fakes/debian-layers.ts";
import { imageConfig, sha256 } from "../fakes/image-archive.ts";
import { type PushedImage, pushIndex } from "../fakes/images.ts";
import { never } from "../fakes/judging.ts";
import { signByKey } from "../fakes/key-signed.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { randomStack } from "../fakes/random-layers.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { replayStack } from "../fakes/replay-against.ts";
import { directory, tar, file as tarFile } from "../fakes/tar-writer.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const release = generateKeyPairSync("ec", { namedCurve: "P-256" });
const builder = generateKeyPairSync("ed25519");
const stranger = generateKeyPairSync("ed25519");
const DIALECTS: readonly Dialect[] = ["docker", "containerd"];
let registry: FakeRegistry;
let client: OciRegistry;
let verifier: TestVerifier;
let attester: Attester;
let replayer: ReplayThread;

beforeAll(async () => {
  registry = await startFakeRegistry();
  client = new OciRegistry();
  replayer = new ReplayThread();
  verifier = new TestVerifier();
  for (const [name, { privateKey }] of Object.entries({ builder, stranger }))
    writeFileSync(join(verifier.directory, `${name}.key`), privateKey.export({ type: "pkcs8", format: "pem" }));
  await verifier.start(`policyFile: ${policy("")}\nenrolment: { mode: tofu, acceptWithoutCertificate: true }`);
  attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await attester.connect();
  await attester.report();
});
afterAll(async () => {
  await verifier?.dispose();
  await replayer?.close();
  client?.close();
  await registry?.close();
});

const pem = ({ publicKey }: typeof builder): string => JSON.stringify(publicKey.export({ type: "spki", format: "pem" }));

let policies = 0;
function policy(more: string): string {
  return verifier.policy(policyText(`files-${++policies}`, more));
}

function policyText(name: string, more: string): string {
  return `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: ${name} }
spec:
  authorities: [{ name: release, key: ${pem(release)} }, { name: builder, key: ${pem(builder)} }, { name: stranger, key: ${pem(stranger)} }]
  rules:
    - name: all
      require: { signatures: { authorities: [release] } }
      allow: { env: ["**"], mounts: ["/**"], args: true, users: ["**"] }
${more}
`;
}

interface TarImage extends PushedImage {
  readonly resolved: ResolvedImage;
}

let serial = 0;
async function pushTars(layers: readonly Buffer[]): Promise<TarImage> {
  const repository = `${registry.host}/files/app${serial++}`;
  const config = imageConfig(layers);
  const pushed = async (mediaType: string, bytes: Buffer) => ({ mediaType, ...(await client.pushBlob(repository, bytes, never)) });
  const descriptors: Awaited<ReturnType<typeof pushed>>[] = [];
  for (const layer of layers) descriptors.push(await pushed("application/vnd.oci.image.layer.v1.tar+zstd", zstdCompressSync(layer)));
  const type = "application/vnd.oci.image.manifest.v1+json";
  const manifest = { schemaVersion: 2, mediaType: type, config: await pushed("application/vnd.oci.image.config.v1+json", config), layers: descriptors };
  const manifestBytes = Buffer.from(JSON.stringify(manifest));
  const manifestDigest = await client.pushManifest(repository, "v1", type, manifestBytes, never);
  const resolved: ResolvedImage = {
    ...{ repository, manifestDigest, configDigest: sha256(config), config: parseConfig(config), layers: descriptors },
    ...{ subjects: [{ repository, digest: manifestDigest, kind: "manifest" }], configClaim: "equal", tag: { status: "none" }, incomplete: [] },
  };
  return { repository, tag: "v1", manifestDigest, configDigest: sha256(config), diffIds: layers.map(sha256), manifestBytes, resolved };
}

const make = (by: "builder" | "stranger", ...args: string[]) =>
  runCommand(manifestCommand, [...args, "--key", join(verifier.directory, `${by}.key`), "-o", "json"], { DOCKER_CONFIG: "/nonexistent" });

/** What was signed, as it lies in the registry. */
async function manifestOf({ repository, manifestDigest }: Pick<PushedImage, "repository" | "manifestDigest">): Promise<FileManifest> {
  for (const { digest } of await client.referrers(repository, manifestDigest, never)) {
    const parsed = parseManifest((await client.manifest(repository, digest, 1 << 20, never)).bytes, "");
    const [layer] = parsed.kind === "manifest" ? parsed.layers : [];
    if (!layer?.mediaType.includes("bundle")) continue;
    const bundle = JSON.parse((await readBlob(client, repository, layer.digest, layer.size, never)).toString());
    return readFileManifest(JSON.parse(Buffer.from(bundle.dsseEnvelope.payload, "base64").toString()).predicate);
  }
  throw new Error("no manifest is attached");
}

class MemoryStore implements ReferenceStore {
  readonly kept = new Map<string, Reference>();
  get = async (key: ReferenceKey) => this.kept.get(JSON.stringify(key));
  put = async (key: ReferenceKey, reference: Reference) => void this.kept.set(JSON.stringify(key), reference);
  findByRoot = async () => [];
}

function library(store = new MemoryStore(), fault: (digest: string) => boolean = () => false): { layers: LayerLibrary; asked: Set<string> } {
  const asked = new Set<string>();
  const counted: Registry = {
    manifest: (...args) => client.manifest(...args),
    referrers: (...args) => client.referrers(...args),
    anew: () => counted,
    blob: (repository, digest, signal) => {
      asked.add(digest);
      return client.blob(repository, fault(digest) ? `sha256:${"0".repeat(64)}` : digest, signal);
    },
  };
  return { layers: new LayerLibrary({ registry: counted, store, replayer }), asked };
}

/** Of stacks that both extractors take. */
const randomLayers = (seed: number): readonly Buffer[] =>
  randomStack(seed, 0.2, (layers) => DIALECTS.every((dialect) => !("unextractable" in replayStack(layers, dialect)))).layers;

/** Some 2,000 entries of a tar, whole: names of hard links come after what they name. */
function beginning(bytes: Buffer): Buffer {
  const sizeAt = (at: number): number => 512 + Math.ceil(Number.parseInt(bytes.toString("latin1", at + 124, at + 135), 8) / 512) * 512;
  let at = 0;
  while (at < 24 * 1024 * 1024) {
    const isExtension = bytes.toString("latin1", at + 156, at + 157) === "x";
    at += sizeAt(at);
    if (isExtension) at += sizeAt(at);
  }
  return Buffer.concat([bytes.subarray(0, at), Buffer.alloc(1024)]);
}

const NONE = { files: undefined, onlyKept: false };
const rootsOf = (trees: readonly LayerTree[]) => trees.map(({ root }) => root.toString("hex"));

describe("what the manifest says", () => {
  const stacks: readonly (readonly [string, () => Promise<readonly Buffer[]>])[] = [
    ["Debian below busybox", async () => [beginning(await debianLayer()), busyboxLayer()]],
    ...[1, 2, 3, 4, 5, 6, 7, 8].map((seed) => [`random layers (seed ${seed})`, async () => randomLayers(seed)] as const),
  ];

  test.each(stacks)(
    "of %s is what the replay of the layers says, byte for byte, under both extractors, without one of them being fetched",
    async (_, stack) => {
      const image = await pushTars(await stack());
      const run = await make("builder", `${image.repository}:v1`);
      expect(run, run.err).toMatchObject({ code: 0 });
      const manifest = await manifestOf(image);
      for (const dialect of DIALECTS) {
        const replayed = await library().layers.trees(image.resolved, dialect, NONE, never);
        if (replayed.kind !== "trees") throw new Error(replayed.kind);
        const { layers, asked } = library();
        const told = await layers.trees(image.resolved, dialect, { files: manifest, onlyKept: false }, never);
        if (told.kind !== "trees") throw new Error(told.kind);
        expect(told.trees.map((tree) => tree.serialize())).toEqual(replayed.trees.map((tree) => tree.serialize()));
        expect(rootsOf(told.trees)).toEqual(rootsOf(replayed.trees));
        expect(told.byFiles).toBe(true);
        for (const { digest } of image.resolved.layers) expect(asked.has(digest)).toBe(false);
      }
    },
    // Debian is replayed four times.
    240_000,
  );

  test("is nobody's word where a tree is missing or another: all is replayed, and nothing that rests on it is kept", async () => {
    const image = await pushTars([busyboxLayer(), ...randomLayers(3).slice(0, 1)]);
    expect(await make("builder", `${image.repository}:v1`)).toMatchObject({ code: 0 });
    const manifest = await manifestOf(image);
    const trees = manifest.layers[1]?.trees ?? [];
    const broken: Readonly<Record<string, (digest: string) => boolean>> = {
      "the upper tree": (digest) => trees.some(({ blob }) => blob.digest === digest),
      "every tree": (digest) => !image.resolved.layers.some((layer) => layer.digest === digest),
    };
    for (const [name, fault] of Object.entries(broken))
      for (const dialect of DIALECTS) {
        const store = new MemoryStore();
        const { layers, asked } = library(store, fault);
        const found = await layers.trees(image.resolved, dialect, { files: manifest, onlyKept: false }, never);
        expect(found, name).toMatchObject({ kind: "trees", byFiles: false });
        expect(image.resolved.layers.every(({ digest }) => asked.has(digest))).toBe(true);
        expect(store.kept.size).toBe(2);
      }
  });

  test("does not stand against a layer that was replayed", async () => {
    const image = await pushTars([busyboxLayer()]);
    expect(await make("builder", `${image.repository}:v1`)).toMatchObject({ code: 0 });
    const manifest = await manifestOf(image);
    const { layers } = library();
    expect(await layers.trees(image.resolved, "docker", NONE, never)).toMatchObject({ kind: "trees" });
    const lie = { ...manifest, layers: manifest.layers.map((each) => ({ ...each, trees: each.trees.map((tree) => ({ ...tree, root: "0".repeat(64) })) })) };
    expect(await layers.trees(image.resolved, "docker", { files: lie, onlyKept: false }, never)).toEqual({ kind: "contradicted", index: 0 });
    expect(await layers.trees(image.resolved, "docker", { files: manifest, onlyKept: false }, never)).toMatchObject({ kind: "trees", byFiles: false });
    expect(await library().layers.trees(image.resolved, "docker", { files: undefined, onlyKept: true }, never)).toEqual({ kind: "not-kept" });
  });

  test("is bound to the bytes of each tree: another, a longer or a damaged one is refused before it is read", async () => {
    const tree = LayerTree.build([]);
    const record = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, opaque: false, xattrs: [] });
    const other = LayerTree.build([{ path: Buffer.from("a"), record, implied: false }]);
    const pushed = async (bytes: Buffer) => client.pushBlob(`${registry.host}/files/trees`, bytes, never);
    const files = {
      dialect: "docker",
      version: 1,
      root: tree.root.toString("hex"),
      content: { digest: sha256(tree.serialize()), size: tree.serialize().length },
    };
    const fetched = async (bytes: Buffer, change: object = {}) =>
      fetchLayerTree(client, `${registry.host}/files/trees`, { ...files, blob: await pushed(bytes), ...change }, never);
    expect(await fetched(zstdCompressSync(tree.serialize()))).toBeInstanceOf(LayerTree);
    const refused = { unextractable: { code: "BLOB_MISMATCH" } };
    for (const bytes of [zstdCompressSync(other.serialize()), zstdCompressSync(Buffer.alloc(1 << 20)), Buffer.from("no zstd"), Buffer.alloc(0)])
      expect(await fetched(bytes)).toMatchObject(refused);
    expect(await fetched(zstdCompressSync(tree.serialize()), { root: other.root.toString("hex") })).toMatchObject(refused);
    expect(await fetched(zstdCompressSync(tree.serialize()), { blob: { digest: sha256(Buffer.from("none")), size: 10 } })).toMatchObject(refused);
    const implied = LayerTree.build([{ path: Buffer.from("a"), record, implied: true }]);
    expect(implied.root).toEqual(other.root);
    const flagged = { root: other.root.toString("hex"), content: { digest: sha256(other.serialize()), size: other.serialize().length } };
    expect(await fetched(zstdCompressSync(implied.serialize()), flagged)).toMatchObject(refused);
    expect(await fetched(zstdCompressSync(other.serialize()), flagged)).toBeInstanceOf(LayerTree);
    for (const entry of [{ record: Buffer.from("x") }, { path: Buffer.from("../a") }, { path: Buffer.from("/a") }]) {
      const odd = LayerTree.build([{ path: Buffer.from("a"), record, implied: false, ...entry }]);
      const signed = { root: odd.root.toString("hex"), content: { digest: sha256(odd.serialize()), size: odd.serialize().length } };
      expect(await fetched(zstdCompressSync(odd.serialize()), signed), "signed, and no tree of any layer").toMatchObject(refused);
    }
  });
});

test("of an index each image has its own, or that of one platform", async () => {
  const index = await pushIndex(`${registry.host}/files/index`, "1", ["amd64", "arm64"]);
  const one = JSON.parse((await make("builder", `${index.repository}:1`, "--platform", "linux/arm64")).out) as { manifests: { image: string }[] };
  expect(one.manifests.map(({ image }) => image)).toEqual([`${index.repository}@${index.images[1]?.manifestDigest}`]);
  const all = JSON.parse((await make("builder", `${index.repository}:1`)).out) as { manifests: { layers: number; entries: number }[] };
  expect(all.manifests).toMatchObject([
    { layers: 1, entries: 2 },
    { layers: 1, entries: 2 },
  ]);
  expect(await make("builder", `${index.repository}:none`)).toMatchObject({ code: 3, out: "" });
  const config = await readBlob(client, index.repository, index.images[0]?.configDigest ?? "", MAX_CONFIG_BYTES, never);
  expect((await manifestOf(index.images[0] as PushedImage)).layers.map(({ diffId }) => diffId)).toEqual(parseConfig(config).diffIds);
});

describe("a running container", () => {
  const TRUSTED = "  fileManifests: { authorities: [builder] }";
  const verdictOf = async (name: string) => (await verifier.query.getWorkload({ container: name })).workload?.verdict;
  const reaches = (name: string, verdict: Verdict) => expect.poll(() => verdictOf(name), { timeout: 60_000, interval: 50 }).toBe(verdict);
  /** What the log says last of where its files are known from. */
  const referenceOf = async ({ configDigest }: TarImage) => {
    const log = `http://127.0.0.1:${verifier.running?.httpPort}/log`;
    const size = Number((await (await fetch(`${log}/checkpoint`)).text()).split("\n")[1]);
    const bundle = Buffer.from(await (await fetch(`${log}/tile/entries/000.p/${size}`)).arrayBuffer());
    const entries = decodeBundle(bundle).map(decodeLogEntry);
    return entries.findLast(({ type, fields }) => type === "reference" && fields["config"] === configDigest)?.fields;
  };
  const layersAsked = ({ resolved }: TarImage) =>
    resolved.layers.filter(({ digest }) =>
      registry.requests.some((asked) => asked === `GET /v2/${resolved.repository.slice(registry.host.length + 1)}/blobs/${digest}`),
    ).length;

  /** Saves the policy, and waits until the verifier has taken it over. */
  async function inForce(more: string): Promise<void> {
    policy(more);
    await expect.poll(async () => (await verifier.query.getStatus({})).policyName, { timeout: 60_000, interval: 50 }).toBe(`files-${policies}`);
  }
  async function start(name: string, image: TarImage, extra = false): Promise<void> {
    const replayed = await library().layers.trees(image.resolved, "docker", NONE, never);
    if (replayed.kind !== "trees") throw new Error(replayed.kind);
    registry.requests.length = 0;
    const added = extra
      ? [{ path: Buffer.from("evil"), record: replayed.trees[1]?.get(Buffer.from("bin/busybox"))?.record ?? Buffer.alloc(0), implied: false }]
      : [];
    const trees = replayed.trees.map((tree) => LayerTree.build([...tree.entries(), ...added]));
    const layers = [
      ...trees.map((tree, i) => ({ id: `${name}-${i}`, tree })),
      { id: `${name}-init`, tree: dockerInitLayer(MergedTree.of(replayed.trees)), runtimeMade: true },
    ];
    attester.set({
      id: name.padEnd(64, "0"),
      name,
      image: { reference: `${image.repository}:v1`, configDigest: image.configDigest },
      layers,
      upper: new Map(),
    });
    await attester.report([name.padEnd(64, "0")]);
  }
  const signedImage = async (name: string) => {
    const own = tar(directory("etc"), tarFile(`etc/${name}`, Buffer.from(String(serial))));
    // A layer that no image before it has: what was replayed once is not asked for again.
    const image = await pushTars([own, busyboxLayer()]);
    await signByKey(client, image, release.privateKey);
    return image;
  };

  test("is held against the manifest of whom policy trusts for it, without its layers; whom it trusts no more, the layers replace at once", async () => {
    const image = await signedImage("one");
    expect(await make("stranger", `${image.repository}:v1`)).toMatchObject({ code: 0 });
    expect(await make("builder", `${image.repository}:v1`)).toMatchObject({ code: 0 });
    await inForce(TRUSTED);
    await start("told", image);
    await reaches("told", Verdict.AFFIRMING);
    expect(layersAsked(image)).toBe(0);
    await expect.poll(() => referenceOf(image), { timeout: 60_000 }).toMatchObject({ state: "ready", detail: "files by a manifest of builder" });
    const simulated = (more: string) => verifier.query.simulatePolicy({ policy: policyText("proposed", more) });
    const dropped = { containersManifestDropped: 1, manifestsDroppedOf: ["builder"], containersUnknown: 1 };
    for (const without of ["", `${TRUSTED}\n  revocations: [{ reason: key lost, key: ${pem(builder)} }]`])
      expect(await simulated(without)).toMatchObject(dropped);
    const none = { containersManifestDropped: 0, manifestsDroppedOf: [], containersUnknown: 0 };
    // Who signed the same is another's word for it.
    for (const still of [TRUSTED, TRUSTED.replace("builder", "stranger")]) expect(await simulated(still)).toMatchObject(none);
    expect(layersAsked(image), "nothing changes by it").toBe(0);
    await inForce(`${TRUSTED}\n  revocations: [{ reason: key lost, key: ${pem(builder)} }]`);
    await expect.poll(() => layersAsked(image), { timeout: 60_000 }).toBe(2);
    await reaches("told", Verdict.AFFIRMING);
    await expect.poll(() => referenceOf(image), { timeout: 60_000 }).toMatchObject({ state: "ready", detail: "" });
  });

  test("with a file more than its manifest says has drifted", async () => {
    const image = await signedImage("two");
    expect(await make("builder", `${image.repository}:v1`)).toMatchObject({ code: 0 });
    await inForce(TRUSTED);
    await start("more", image, true);
    await reaches("more", Verdict.CONTRAINDICATED);
    expect(layersAsked(image)).toBe(0);
  });

  test("is held against its layers where what its manifest says is of another image", async () => {
    const [image, other] = [await signedImage("mine"), await signedImage("other")];
    expect(await make("builder", `${other.repository}:v1`)).toMatchObject({ code: 0 });
    const file = join(verifier.directory, "predicate.json");
    writeFileSync(file, JSON.stringify(await manifestOf(other)));
    const args = [`${image.repository}:v1`, "--predicate", file, "--type", FILE_MANIFEST_TYPE, "--key", join(verifier.directory, "builder.key")];
    expect(await runCommand(attestCommand, args, { DOCKER_CONFIG: "/nonexistent" })).toMatchObject({ code: 0 });
    await inForce(TRUSTED);
    await start("mine", image);
    await reaches("mine", Verdict.AFFIRMING);
    expect(layersAsked(image)).toBe(2);
  });

  test.each([
    ["by a stranger", TRUSTED, "stranger"],
    ["that policy does not speak of", "", "builder"],
    ["by one where two are asked for", "  fileManifests: { authorities: [builder, stranger], threshold: 2 }", "builder"],
  ] as const)("is held against its layers where its manifest is one %s", async (_, trust, by) => {
    const image = await signedImage(by);
    expect(await make(by, `${image.repository}:v1`)).toMatchObject({ code: 0 });
    await inForce(trust);
    const name = `layers-${serial}`;
    await start(name, image);
    await reaches(name, Verdict.AFFIRMING);
    expect(layersAsked(image)).toBe(2);
  });
});
