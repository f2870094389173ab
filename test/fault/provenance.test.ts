/** What can go wrong, or be arranged by whoever may push, while signatures are fetched: it never makes an image signed, and never hides that something is missing. */

import { generateKeyPairSync } from "node:crypto";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { collectArtefacts, type ProvenanceVerdict, verifyProvenance } from "@hullmark/verifier/core/provenance/index";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type PushedImage, pushImage, sha256 } from "../fakes/images.ts";
import { authority, judge, manifestSubject, never, question, verifiers } from "../fakes/judging.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";

const OCI = "application/vnd.oci.image.manifest.v1+json";
const BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json";
const NOTATION = "application/vnd.cncf.notary.signature";
const release = authority("release", generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ type: "spki", format: "pem" }).toString());
let fake: FakeRegistry;
let registry: OciRegistry;
let image: PushedImage;

beforeEach(async () => {
  fake = await startFakeRegistry();
  registry = new OciRegistry({ maxAttempts: 1 });
  image = await pushImage(`${fake.host}/app`);
});
afterEach(async () => {
  registry.close();
  await fake.close();
});

const subjects = () => [manifestSubject(image.repository, image.manifestDigest)];
const verdict = (): Promise<ProvenanceVerdict> => judge(registry, subjects(), { authorities: [release] });

interface Layer {
  readonly mediaType: string;
  readonly bytes: Buffer;
  readonly size?: number;
  readonly keep?: boolean;
}

/** Attaches an artifact whose layers may lie about themselves. */
async function attach(layers: readonly Layer[], artifactType = BUNDLE, configType = "application/vnd.oci.empty.v1+json"): Promise<void> {
  const config = { mediaType: configType, ...(await registry.pushBlob(image.repository, Buffer.from("{}"), never)) };
  const described = [];
  for (const { mediaType, bytes, size = bytes.length, keep = true } of layers) {
    if (keep) await registry.pushBlob(image.repository, bytes, never);
    described.push({ mediaType, digest: sha256(bytes), size });
  }
  const subject = { mediaType: OCI, digest: image.manifestDigest, size: image.manifestBytes.length };
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI, artifactType, config, layers: described, subject }));
  await registry.attach(image.repository, image.manifestDigest, { mediaType: OCI, artifactType, annotations: {}, bytes }, never);
}

test.each([
  ["the list of referrers", (path: string) => path.includes("/referrers/")],
  ["the tag of signatures", (path: string) => path.endsWith(".sig")],
  ["the tag of attestations", (path: string) => path.endsWith(".att")],
])("a registry that fails at %s leaves the status unknown, never unsigned", async (_, matches) => {
  fake.fault = (request, response) => {
    if (!matches(request.url ?? "")) return false;
    response.writeHead(503).end();
    return true;
  };
  expect(await verdict()).toMatchObject({ status: "unknown", satisfied: false });
});

test("a registry that fails at a bundle's content leaves the status unknown", async () => {
  await attach([{ mediaType: BUNDLE, bytes: Buffer.from("{}{}") }]);
  fake.fault = (request, response) => {
    if (!request.url?.includes("/blobs/")) return false;
    response.writeHead(503).end();
    return true;
  };
  expect((await verdict()).status).toBe("unknown");
});

test("more artefacts than are looked at leave the status unknown: a flood hides nothing", async () => {
  for (let i = 0; i < 6; i++) await attach([{ mediaType: BUNDLE, bytes: Buffer.from(`{"flood":${i}}`) }]);
  const limits = { maxManifests: 4, maxArtefacts: 100, maxArtefactBytes: 1000, maxTotalBytes: 10_000, concurrency: 2 };
  const { artefacts, incomplete } = await collectArtefacts(registry, subjects(), never, limits);
  expect(incomplete).toEqual(["8 attached objects, of which 4 were looked at"]);
  expect(verifyProvenance(question({ subjects: [image.manifestDigest], artefacts, incomplete, authorities: [release] }), verifiers).status).toBe("unknown");
  const narrow = await collectArtefacts(registry, subjects(), never, { ...limits, maxManifests: 100, maxTotalBytes: 30 });
  expect(narrow.artefacts).toHaveLength(2);
  expect(narrow.incomplete).toEqual(["more than 30 bytes of signatures and attestations"]);
});

test.each<[string, Layer, RegExp]>([
  ["absent", { mediaType: BUNDLE, bytes: Buffer.from("absent"), keep: false }, /not in the registry/],
  ["larger than its descriptor says", { mediaType: BUNDLE, bytes: Buffer.from("longer than five"), size: 5 }, /larger than 5 bytes/],
  ["larger than any signature", { mediaType: BUNDLE, bytes: Buffer.from("x"), size: 9 * 1024 * 1024 }, /limit/],
  ["no bundle", { mediaType: BUNDLE, bytes: Buffer.from("{}") }, /not a sigstore bundle/],
  ["a payload without a signature", { mediaType: SIMPLE, bytes: Buffer.from("{}") }, /without a signature/],
])("content that is %s is malformed", async (_, layer, text) => {
  await attach([layer]);
  const result = await verdict();
  expect(result).toMatchObject({ status: "malformed", satisfied: false, artefacts: [{ code: "malformed" }] });
  expect(result.artefacts[0]?.text).toMatch(text);
});

test("content that the registry exchanged is malformed", async () => {
  const bytes = Buffer.from('{"a":1}');
  await attach([{ mediaType: BUNDLE, bytes }]);
  fake.tamper(sha256(bytes), Buffer.from('{"a":2}'));
  expect(await verdict()).toMatchObject({ status: "malformed", artefacts: [{ code: "malformed", format: "damaged" }] });
});

test.each([
  ["artifactType", NOTATION, "application/vnd.oci.empty.v1+json"],
  ["config media type alone", "", NOTATION],
])("a Notary Project signature, told by its %s, that is none is malformed", async (_, artifactType, configType) => {
  await attach([{ mediaType: "application/jose+json", bytes: Buffer.from("{}{}") }], artifactType, configType);
  expect(await verdict()).toMatchObject({ status: "malformed", artefacts: [{ code: "malformed", format: "notary" }] });
});

test("what is attached and no signature at all does not count as one", async () => {
  await attach([{ mediaType: "application/spdx+json", bytes: Buffer.from("{}{}{}") }], "application/spdx+json");
  await attach([{ mediaType: "text/plain", bytes: Buffer.from("note") }], "application/vnd.example");
  expect(await verdict()).toMatchObject({ status: "unsigned", artefacts: [] });
});

test("an aborted collection rejects with the caller's reason instead of a verdict", async () => {
  await expect(collectArtefacts(registry, subjects(), AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
});
