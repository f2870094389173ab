/** What a real Docker Engine reports of pulled, retagged, moved and locally made images, resolved and judged. */

import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import Docker from "dockerode";
import { SIGN_PREDICATE, signStatement } from "hullmark/signing/bundle";
import { loadSigningKey } from "hullmark/signing/keys";
import { signImage } from "hullmark/signing/sign-image";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { examineImage, type JudgedImage, judgeImage } from "../fakes/examining.ts";
import { type PushedImage, pushImage, pushIndex } from "../fakes/images.ts";
import { AT_MS, authority, never, verifiers } from "../fakes/judging.ts";

const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
const trust = {
  authorities: [authority("release", pair.publicKey.export({ type: "spki", format: "pem" }).toString())],
  trustRoots: [],
  trustStores: [],
  build: undefined,
  builders: [],
  revocations: [],
  signatures: undefined,
  attestations: [],
};
const registry = new OciRegistry();
let bed: Testbed;
let docker: Docker;

beforeAll(async () => {
  bed = await startTestbed({ name: "prov-engine", parts: { registry: true, engine: true } });
  docker = new Docker({ socketPath: bed.engine?.socketPath ?? "" });
});
afterAll(async () => {
  registry.close();
  await bed?.down();
});

const repository = (name: string) => `${bed.registry?.host}/engine/${name}`;

async function pull(reference: string): Promise<void> {
  const stream = await docker.pull(reference);
  await new Promise<void>((resolve, reject) => docker.modem.followProgress(stream, (error) => (error ? reject(error) : resolve())));
}

/** As an agent tells it: from a container that the engine made of the reference. */
async function judgeContainer(reference: string): Promise<JudgedImage & { readonly manifestDigest: string | undefined }> {
  const container = await docker.createContainer({ Image: reference });
  try {
    const { Image, Config } = await container.inspect();
    const { RepoDigests } = await docker.getImage(Image).inspect();
    const examined = await examineImage(registry, { imageReference: Config.Image, imageId: Image, repoDigests: RepoDigests ?? [], configDigest: Image }, never);
    const manifestDigest = examined.resolution.kind === "resolved" ? examined.resolution.image.manifestDigest : undefined;
    return { ...judgeImage(examined, trust, verifiers, AT_MS), manifestDigest };
  } finally {
    await container.remove();
  }
}

async function sign(image: PushedImage | string): Promise<void> {
  const home = mkdtempSync(join(tmpdir(), "hullmark-engine-"));
  try {
    writeFileSync(join(home, "key"), pair.privateKey.export({ type: "pkcs8", format: "pem" }));
    const reference = typeof image === "string" ? image : `${image.repository}@${image.manifestDigest}`;
    const key = await loadSigningKey(join(home, "key"), {});
    await signImage(registry, reference, SIGN_PREDICATE, (statement) => signStatement(statement, key), AT_MS, never);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

test.each(["oci", "docker"] as const)("a signed %s image, pulled by tag, by digest, and run by its id", async (dialect) => {
  const image = await pushImage(repository(`signed-${dialect}`), { tag: "v1", dialect });
  await sign(image);
  const byDigest = `${image.repository}@${image.manifestDigest}`;
  for (const reference of [`${image.repository}:v1`, byDigest]) await pull(reference);
  for (const reference of [`${image.repository}:v1`, byDigest, image.configDigest, image.configDigest.slice(7, 19)]) {
    expect(await judgeContainer(reference), reference).toMatchObject({ status: "signed", manifestDigest: image.manifestDigest });
  }
});

test("a signed index: what runs is its platform's image, and the index's signature counts for it", async () => {
  const index = await pushIndex(repository("multi"), "v1", ["amd64", "arm64"]);
  await sign(`${index.repository}:v1`);
  await pull(`${index.repository}:v1`);
  const judged = await judgeContainer(`${index.repository}:v1`);
  expect(judged.status).toBe("signed");
  expect(index.images.map(({ manifestDigest }) => manifestDigest)).toContain(judged.manifestDigest);
});

test("a tag that moved: the container of the old image keeps its own status, and the new image does not inherit it", async () => {
  const before = await pushImage(repository("moving"), { tag: "v1", layers: [{ a: "1" }] });
  await sign(before);
  await pull(`${before.repository}:v1`);
  const after = await pushImage(before.repository, { tag: "v1", layers: [{ a: "2" }] });
  const old = await judgeContainer(`${before.repository}:v1`);
  expect(old).toMatchObject({ status: "signed", manifestDigest: before.manifestDigest });
  expect(old.text).toContain(`now names ${after.manifestDigest}`);
  await pull(`${before.repository}:v1`);
  expect(await judgeContainer(`${before.repository}:v1`)).toMatchObject({ status: "unsigned", manifestDigest: after.manifestDigest });
});

test("an image made on the node that was given a signed image's name is moved-tag", async () => {
  const image = await pushImage(repository("named"), { tag: "v1" });
  await sign(image);
  await pull(`${image.repository}:v1`);
  const container = await docker.createContainer({ Image: `${image.repository}:v1` });
  await container.putArchive(tarOf("evil"), { path: "/" });
  await container.commit({ repo: image.repository, tag: "v1" });
  await container.remove();
  const judged = await judgeContainer(`${image.repository}:v1`);
  expect(judged).toMatchObject({ status: "moved-tag", satisfied: false, manifestDigest: undefined });
  expect(judged.text).toContain(image.manifestDigest);
});

test("an image that no registry holds is unknown, with the reason", async () => {
  const image = await pushImage(repository("base"), { tag: "v1" });
  await pull(`${image.repository}:v1`);
  const container = await docker.createContainer({ Image: `${image.repository}:v1` });
  await container.putArchive(tarOf("local"), { path: "/" });
  await container.commit({ repo: repository("only-here"), tag: "dev" });
  await container.remove();
  expect(await judgeContainer(`${repository("only-here")}:dev`)).toMatchObject({ status: "unknown", satisfied: false });
});

/** An archive of one empty file (ustar). */
function tarOf(name: string): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write("0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00        0", 100);
  header.write("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return Buffer.concat([header, Buffer.alloc(1024)]);
}
