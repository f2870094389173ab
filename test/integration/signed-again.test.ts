/** An image that runs and is signed anew: nobody is paged for a signature that its registry has, on a real registry with the tag scheme, whichever of policy and signature comes first. */
import { generateKeyPairSync, hash, type KeyObject } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeRecord } from "@hullmark/proto/codec";
import { DriftState, ProvenanceStatus } from "@hullmark/proto/v1/query";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import { signCommand } from "hullmark/commands/sign";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Registry, startRegistry } from "../../deploy/testbed/registry.ts";
import type { Attester } from "../fakes/attester.ts";
import { runCommand } from "../fakes/command-run.ts";
import { HttpReceiver } from "../fakes/http-receiver.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const CONF = "port=80\n";
const PATIENCE = { timeout: 60_000, interval: 50 };
const folder = mkdtempSync(join(tmpdir(), "hullmark-signed-again-"));
const verifier = new TestVerifier();
const hook = new HttpReceiver();
const keys = Array.from({ length: 5 }, () => generateKeyPairSync("ec", { namedCurve: "P-256" }));
let registry: Registry;
let node: Attester;

beforeAll(async () => {
  registry = await startRegistry(folder, {}, "127.0.0.1");
  await hook.start();
  for (const [i, { privateKey }] of keys.entries()) writeFileSync(join(folder, `${i}.key`), privateKey.export({ type: "pkcs8", format: "pem" }));
  await verifier.start(`policyFile: ${trusting(0)}\nenrolment: { mode: tofu, acceptWithoutCertificate: true }`);
  node = verifier.attester({ name: "n-1", quoter: new FakeQuoter() });
  await node.connect();
});
afterAll(async () => {
  await verifier.dispose();
  await hook[Symbol.asyncDispose]();
  await registry?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const pem = (key: KeyObject | undefined) => JSON.stringify(key?.export({ type: "spki", format: "pem" }));

/** Saves a policy that asks for a signature by this key. */
function trusting(key: number): string {
  return verifier.policy(`apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: again }
spec:
  intervals: { heartbeat: 5m, quote: 1h }
  authorities: [{ name: lab, key: ${pem(keys[key]?.publicKey)} }]
  rules: [{ name: all, require: { signatures: { authorities: [lab] } }, allow: { env: ["**"], mounts: ["/**"], args: true, users: ["**"] } }]
  alerts: { routes: [{ name: hook, type: webhook, url: "${hook.url}", minSeverity: info }] }
`);
}

const sign = async ({ repository, manifestDigest }: PushedImage, key: number): Promise<void> =>
  expect(await runCommand(signCommand, [`${repository}@${manifestDigest}`, "--key", join(folder, `${key}.key`)], { DOCKER_CONFIG: folder })).toMatchObject({
    code: 0,
  });

/** Runs an image of its own, signed by this key. */
async function runs(name: string, key: number): Promise<PushedImage> {
  const image = await pushImage(`${registry.host}/acme/${name}`, { layers: [{ "etc/app.conf": CONF, "etc/name": name }] });
  await sign(image, key);
  const file = (content: string) =>
    ({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(content.length), sha256: hash("sha256", content, "buffer") }) as const;
  const tree = LayerTree.build([
    { path: Buffer.from("etc"), record: encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false }), implied: true },
    { path: Buffer.from("etc/app.conf"), record: encodeRecord(file(CONF)), implied: false },
    { path: Buffer.from("etc/name"), record: encodeRecord(file(name)), implied: false },
  ]);
  node.set({
    ...{ id: name.padEnd(64, "0"), name, image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest } },
    layers: [
      { id: `layer-${name}`, tree },
      { id: `init-${name}`, tree: dockerInitLayer(MergedTree.of([tree])), runtimeMade: true },
    ],
    upper: new Map(),
  });
  await node.report();
  await reaches(name, ProvenanceStatus.SIGNED);
  return image;
}

const provenance = async (container: string) => (await verifier.query.getWorkload({ container })).workload?.provenance;
const reaches = (name: string, status: ProvenanceStatus) => expect.poll(async () => (await provenance(name))?.status, PATIENCE).toBe(status);
/** All that was ever told of it. */
const drifts = async (name: string) =>
  (await verifier.query.listDrift({ states: [DriftState.OPEN, DriftState.ACKNOWLEDGED, DriftState.RESOLVED] })).drifts.filter(
    (drift) => drift.containerName === name,
  );
const inForce = async (name: string) => await expect.poll(async () => (await provenance(name))?.text, PATIENCE).not.toBe("signed by lab");
/** Nobody was told of it, ever. */
const quiet = async (name: string): Promise<void> => {
  await node.report();
  expect(await drifts(name)).toEqual([]);
  expect(JSON.stringify(hook.received)).not.toContain(name);
};

test("signed by a new key, then the policy is changed to it: nobody is told of a wrong key", async () => {
  const image = await runs("rotated", 0);
  await sign(image, 1);
  trusting(1);
  await inForce("rotated");
  await reaches("rotated", ProvenanceStatus.SIGNED);
  await quiet("rotated");
});

test("with the registry away nobody can tell, and nobody is told, until it is there", async () => {
  const image = await runs("away", 1);
  await sign(image, 2);
  await registry.stop();
  trusting(2);
  await reaches("away", ProvenanceStatus.UNKNOWN);
  verifier.clock.pass(3500);
  await quiet("away");
  await registry.start();
  verifier.clock.pass(120_000);
  await reaches("away", ProvenanceStatus.SIGNED);
  await quiet("away");
});

test("a policy that comes first is told of, and is over soon after the signature", async () => {
  const image = await runs("late", 2);
  trusting(3);
  await reaches("late", ProvenanceStatus.WRONG_KEY);
  await expect.poll(async () => await drifts("late"), PATIENCE).toMatchObject([{ kind: "wrong-key" }]);
  await sign(image, 3);
  verifier.clock.pass(10_000);
  await reaches("late", ProvenanceStatus.SIGNED);
  await expect.poll(async () => await drifts("late"), PATIENCE).toMatchObject([{ state: DriftState.RESOLVED }]);
});
