/** What changed in a file, asked of a whole verifier before a registry, with a node that answers as it likes. */
import { hash, randomBytes } from "node:crypto";
import { encodeRecord } from "@hullmark/proto/codec";
import { ContentRefusal, type ContentRequest } from "@hullmark/proto/v1/attestation";
import { Verdict } from "@hullmark/proto/v1/common";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Attester, ScriptedContainer } from "../fakes/attester.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const CONFIG = "enrolment: { mode: tofu, acceptWithoutCertificate: true }";
const POLICY = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: pilot }
spec: { mode: observe, intervals: { heartbeat: 5m, quote: 1h } }
`;
const SIGNED = "port=80\n";
const THERE = "port=81\n";
/** So much that the verifier keeps no copy of the layer. */
const NOISE = randomBytes(400_000).toString("hex");

const file = (content: string): Buffer =>
  encodeRecord({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(content.length), sha256: hash("sha256", content, "buffer") });
const folder = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false });
const layer = LayerTree.build([
  { path: Buffer.from("etc"), record: folder, implied: true },
  { path: Buffer.from("etc/app.conf"), record: file(SIGNED), implied: false },
  { path: Buffer.from("etc/noise"), record: file(NOISE), implied: false },
]);

let registry: FakeRegistry;
let image: PushedImage;
let verifier: TestVerifier;
let open: Attester;
let shut: Attester;

beforeAll(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`, { layers: [{ "etc/app.conf": SIGNED, "etc/noise": NOISE }] });
  verifier = new TestVerifier();
  await verifier.start(`${CONFIG}\npolicyFile: ${verifier.policy(POLICY)}`);
  [open, shut] = [await node("open", true), await node("shut", false)];
}, 300_000);
afterAll(async () => {
  await verifier?.dispose();
  await registry?.close();
});

async function node(name: string, contents: boolean): Promise<Attester> {
  const attester = verifier.attester({ name, contents, quoter: new FakeQuoter() });
  await attester.connect();
  attester.set(container(name));
  await attester.report();
  return attester;
}

function container(node: string, upper: Readonly<Record<string, Buffer>> = {}): ScriptedContainer {
  const name = `web-${node}`;
  return {
    ...{ id: name.padEnd(64, "0"), name },
    image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest },
    layers: [
      { id: "layer-0", tree: layer },
      { id: `init-${node}`, tree: dockerInitLayer(MergedTree.of([layer])), runtimeMade: true },
    ],
    upper: new Map(Object.entries(upper)),
  };
}

async function write(attester: Attester, content: string | undefined): Promise<void> {
  const changed = container(attester.options.name, content === undefined ? {} : { etc: folder, "etc/app.conf": file(content) });
  attester.set(changed);
  await attester.report([changed.id]);
}

async function driftOf(node: string): Promise<string> {
  const { drifts } = await verifier.query.listDrift({ container: `web-${node}` });
  return drifts.find(({ path }) => Buffer.from(path).toString() === "/etc/app.conf")?.id ?? "";
}

const REASON = "INC-7";

test("both nodes have the drift", { timeout: 300_000 }, async () => {
  for (const name of ["web-open", "web-shut"]) {
    const judged = async () => (await verifier.query.getWorkload({ container: name })).workload;
    await expect.poll(judged, { timeout: 240_000 }).toMatchObject({ content: Verdict.AFFIRMING });
  }
  for (const each of [open, shut]) await write(each, THERE);
});

test("the image's content beside the node's, which is asked for by path, digest, person and reason, and is in the log before it is", async () => {
  const id = await driftOf("open");
  const shown = verifier.adminClient.diffDrift({ id, reason: REASON });
  const request = await open.next("content");
  expect(request).toMatchObject({ containerId: container("open").id, layerId: "", requestedBy: "admin", reason: REASON, driftId: id });
  expect([Buffer.from(request.path).toString(), Buffer.from(request.sha256)]).toEqual(["etc/app.conf", hash("sha256", THERE, "buffer")]);
  const { entries } = await verifier.query.listLogEntries({ pageSize: 1 });
  expect(JSON.parse(Buffer.from(entries[0]?.entry ?? []).toString())).toMatchObject({
    ...{ type: "admin", action: "content-asked", drift: id, by: "admin", reason: REASON, path: "/etc/app.conf" },
  });
  open.send({ case: "content", value: { id: request.id, content: Buffer.from(THERE) } });
  expect(await shown).toMatchObject({ binary: false, sizeBefore: 8n, sizeAfter: 8n, hunks: "@@ -1,1 +1,1 @@\n-port=80\n+port=81\n" });
});

test("a node that does not hand contents out is asked for none", async () => {
  const id = await driftOf("shut");
  await expect(verifier.adminClient.diffDrift({ id, reason: REASON })).rejects.toMatchObject({
    ...{ code: "FAILED_PRECONDITION", message: expect.stringContaining("not allowed by the node"), detail: { reason: "NOT_ALLOWED" } },
  });
  expect(shut.received.filter(({ message }) => message.case === "content")).toEqual([]);
});

test.each<[string, (request: ContentRequest) => Parameters<Attester["send"]>[0][], string]>([
  ["content of another digest", ({ id }) => [{ case: "content", value: { id, content: Buffer.from("port=82\n") } }], "CHANGED"],
  ["more than may be", ({ id }) => [{ case: "content", value: { id, content: Buffer.alloc(1_048_577) } }], "CHANGED"],
  ["a refusal with content", ({ id }) => [{ case: "content", value: { id, content: Buffer.from(THERE), refusal: ContentRefusal.SECRET } }], "NOT_ALLOWED"],
  ["a refusal of no kind", ({ id }) => [{ case: "content", value: { id, refusal: 99 as ContentRefusal } }], "NO_CONTENT"],
  [
    "answers to what was not asked, or was answered",
    ({ id }) => [
      { case: "content", value: { id: id + 1n, content: Buffer.from(THERE) } },
      { case: "content", value: { id, refusal: ContentRefusal.TOO_LARGE } },
      { case: "content", value: { id, content: Buffer.from(THERE) } },
    ],
    "TOO_LARGE",
  ],
])("a node that answers with %s shows nothing", async (_what, answers, reason) => {
  const shown = verifier.adminClient.diffDrift({ id: await driftOf("open"), reason: REASON }).catch((error: unknown) => error);
  for (const message of answers(await open.next("content"))) open.send(message);
  expect(await shown).toMatchObject({ code: "FAILED_PRECONDITION", detail: { reason } });
});

test("one that falls silent, or goes, is waited for no longer", async () => {
  const id = await driftOf("open");
  const silent = verifier.adminClient.diffDrift({ id, reason: REASON }).catch((error: unknown) => error);
  await open.next("content");
  await open.close();
  expect(await silent).toMatchObject({ detail: { reason: "SILENT" } });
  await expect
    .poll(() => verifier.adminClient.diffDrift({ id, reason: REASON }).catch((error: unknown) => error))
    .toMatchObject({ detail: { reason: "NOT_LIVE" } });
  await open.connect();
});

test("what no file's content is, nobody knows, is over, or has no reason, is not shown; whose layer is gone neither, and the node keeps it", async () => {
  const { adminClient } = verifier;
  const id = await driftOf("open");
  await expect(adminClient.diffDrift({ id: "D-0000", reason: REASON })).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(adminClient.diffDrift({ id, reason: " " })).rejects.toMatchObject({ detail: { field: "reason" } });
  const { layers } = JSON.parse(image.manifestBytes.toString()) as { layers: { digest: string }[] };
  registry.tamper(layers[0]?.digest ?? "", Buffer.from("no layer"));
  await expect(adminClient.diffDrift({ id, reason: REASON })).rejects.toMatchObject({ detail: { reason: "NO_ORIGINAL" } });
  registry.fault = (_request, response) => {
    response.writeHead(404).end();
    return true;
  };
  await expect(adminClient.diffDrift({ id, reason: REASON })).rejects.toMatchObject({ code: "UNAVAILABLE", detail: { reason: "REGISTRY" } });
  expect(open.received.filter(({ message }) => message.case === "content")).toEqual([]);
  await write(open, undefined);
  await expect(adminClient.diffDrift({ id, reason: REASON })).rejects.toMatchObject({ detail: { reason: "NOT_OPEN" } });
});
