/** What an index says of its entries keeps none of them from being judged that an engine may run. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { afterAll, beforeAll, expect, test } from "vitest";
import { admissionService } from "../fakes/admission.ts";
import { attachNotary } from "../fakes/attach.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { never } from "../fakes/judging.ts";
import { notaryPayload, signNotary } from "../fakes/notary.ts";
import { OpensslCa } from "../fakes/openssl-ca.ts";
import { policyOf } from "../fakes/policy.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";

const INDEX = "application/vnd.oci.image.index.v1+json";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
let registry: FakeRegistry;
let client: OciRegistry;
let folder: string;
let ca: OpensslCa;
let good: PushedImage;
let bad: PushedImage;

beforeAll(async () => {
  registry = await startFakeRegistry();
  client = new OciRegistry({ maxAttempts: 1 });
  folder = mkdtempSync(join(tmpdir(), "hullmark-platforms-"));
  ca = await OpensslCa.create(join(folder, "ca"));
  good = await pushImage(`${registry.host}/acme/app`, { tag: "good" });
  bad = await pushImage(`${registry.host}/acme/app`, { tag: "bad", layers: [{ evil: "1" }] });
  await attachNotary(client, good, signNotary(ca.issue("leaf"), notaryPayload(good.manifestDigest, good.manifestBytes.length)));
});
afterAll(async () => {
  client?.close();
  await ca?.close();
  await registry?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

async function ask(spec: object, manifests: readonly (readonly [PushedImage, object])[]) {
  const policy = policyOf({
    admission: { mode: "enforce" },
    trustStores: [{ name: "acme", certificates: [ca.rootPem], revocation: "skip" }],
    authorities: [{ name: "vendor", notary: { trustStore: "acme", subject: { CN: "release" } } }],
    ...spec,
  });
  const service = admissionService({ registry: client, policy: () => policy });
  const entries = manifests.map(([image, more]) => ({ mediaType: MANIFEST, digest: image.manifestDigest, size: image.manifestBytes.length, ...more }));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: entries }));
  const digest = await client.pushManifest(good.repository, "index", INDEX, bytes, never);
  const containers = [{ name: "c", image: `${good.repository}@${digest}` }];
  const object = { spec: { containers, nodeSelector: { "kubernetes.io/arch": "amd64" } } };
  const user = { name: "ann", groups: [] };
  return await service.answer(
    { ...{ uid: "u", kind: "Pod", namespace: "shop", name: "p", operation: "CREATE", user, dryRun: true, object }, oldObject: undefined },
    "fail",
    never,
  );
}

const rules = [{ name: "vendor", require: { signatures: { authorities: ["vendor"] } } }];
const on = (os: string, architecture: string): object => ({ platform: { os, architecture } });

test("an image of another architecture needs no signature", async () => {
  expect(
    await ask({ rules }, [
      [bad, on("linux", "arm64")],
      [good, on("linux", "amd64")],
    ]),
  ).toMatchObject({ allowed: true });
});

test.each([
  ["by another name of the architecture", on("linux", "x86_64")],
  ["by its name in capitals", on("linux", "AMD64")],
  ["for an older processor", on("linux", "386")],
  ["without an architecture", on("linux", "")],
  ["that calls itself an attestation", { ...on("linux", "amd64"), annotations: { "vnd.docker.reference.type": "attestation-manifest" } }],
])("an unsigned image %s is refused beside a signed one, and a revoked one alone", async (_, entry) => {
  expect(
    await ask({ rules }, [
      [bad, entry],
      [good, on("windows", "amd64")],
    ]),
  ).toMatchObject({ allowed: false });
  const revocations = [{ reason: "leaked", digest: bad.manifestDigest }];
  expect(await ask({ rules: [], revocations }, [[bad, entry]])).toMatchObject({ allowed: false, message: expect.stringContaining("leaked") });
});

test("an index that is built so that nobody can look through it does not hide what is revoked, though no rule asks for anything", async () => {
  const revocations = [{ reason: "leaked", digest: bad.configDigest }];
  const many = Array.from({ length: 33 }, () => [bad, on("linux", "amd64")] as const);
  const text = { allowed: false, message: expect.stringContaining("nobody can tell whether something revoked is in it") };
  expect(await ask({ rules: [], revocations }, many)).toMatchObject(text);
  const inner = { mediaType: MANIFEST, digest: bad.manifestDigest, size: bad.manifestBytes.length };
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: [inner] }));
  const digest = await client.pushManifest(bad.repository, "inner", INDEX, bytes, never);
  const nested = { mediaType: INDEX, digest, size: bytes.length, ...on("linux", "amd64") };
  expect(await ask({ rules: [], revocations }, [[bad, nested]])).toMatchObject(text);
  // Where nothing is revoked, nothing is asked.
  expect(await ask({ rules: [] }, many)).toMatchObject({ allowed: true });
});
