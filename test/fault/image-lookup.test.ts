/** What is told of an image while its registry cannot be asked: nothing that has ended meanwhile counts on. */
import { generateKeyPairSync, hash, sign } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HttpRevocationAnswers, NotaryProjectVerifier } from "@hullmark/verifier/adapters/notary/index";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { ReplayThread } from "@hullmark/verifier/adapters/replay-thread/replay-thread";
import { ImageService, type ImageServices } from "@hullmark/verifier/core/images/image-service";
import { LayerLibrary } from "@hullmark/verifier/core/images/layer-library";
import { defaultPolicy } from "@hullmark/verifier/core/policy/default";
import { parsePolicy } from "@hullmark/verifier/core/policy/index";
import { withTeams } from "@hullmark/verifier/core/policy/tighten";
import type { Policy } from "@hullmark/verifier/core/policy/types";
import type { Standing } from "@hullmark/verifier/core/response/rollback";
import type { Sessions } from "@hullmark/verifier/core/session/index";
import { earlierImages } from "@hullmark/verifier/earlier-images";
import type { Clock } from "@hullmark/verifier/ports/clock";
import type { LayerReplayer } from "@hullmark/verifier/ports/layer-replayer";
import type { ReferenceStore } from "@hullmark/verifier/ports/reference-store";
import { RegistryError } from "@hullmark/verifier/ports/registry";
import type { AffirmedImageRow } from "@hullmark/verifier/ports/rows";
import type { Store } from "@hullmark/verifier/ports/store";
import { manifestCommand } from "hullmark/commands/manifest";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { attachNotary } from "../fakes/attach.ts";
import { runCommand } from "../fakes/command-run.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { AT_MS, authority, verifiers } from "../fakes/judging.ts";
import { notaryPayload, signNotary } from "../fakes/notary.ts";
import { OpensslCa } from "../fakes/openssl-ca.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";

const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const DAY_MS = 86_400_000;
const SIGNAL = new AbortController().signal;
const CONFIG_TYPE = "application/vnd.oci.image.config.v1+json";
const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
let registry: FakeRegistry;
let client: OciRegistry;
let image: PushedImage;

beforeAll(async () => {
  registry = await startFakeRegistry();
  client = new OciRegistry({ maxAttempts: 1 });
  // Without layers: nothing is to be replayed.
  image = await pushImage(`${registry.host}/acme/app`, { tag: "v1", layers: [] });
  await signed(image);
});
afterAll(async () => {
  client?.close();
  await registry?.close();
});

/** As cosign does by the tag scheme, with the key of these tests. */
async function signed(of: PushedImage): Promise<void> {
  const payload = Buffer.from(
    JSON.stringify({ critical: { identity: {}, image: { "docker-manifest-digest": of.manifestDigest }, type: "cosign container image signature" } }),
  );
  const config = await client.pushBlob(of.repository, Buffer.from("{}"), SIGNAL);
  const layer = await client.pushBlob(of.repository, payload, SIGNAL);
  const annotations = { "dev.cosignproject.cosign/signature": sign("sha256", payload, privateKey).toString("base64") };
  const manifest = {
    ...{ schemaVersion: 2, mediaType: MANIFEST_TYPE, config: { mediaType: CONFIG_TYPE, ...config } },
    layers: [{ mediaType: "application/vnd.dev.cosign.simplesigning.v1+json", ...layer, annotations }],
  };
  await client.pushManifest(of.repository, `${of.manifestDigest.replace(":", "-")}.sig`, MANIFEST_TYPE, Buffer.from(JSON.stringify(manifest)), SIGNAL);
}

/** @param replayer undefined: no image has layers */
function start(policy: Policy, replayer?: LayerReplayer, by: Pick<ImageServices, "verifiers" | "revocations"> = { verifiers }) {
  const time = { nowMs: AT_MS, waiting: [] as { delayMs: number; run: () => void }[] };
  const clock: Clock = {
    nowMs: () => time.nowMs,
    after: (delayMs, run) => {
      const timer = { delayMs, run };
      time.waiting.push(timer);
      return () => {
        time.waiting = time.waiting.filter((each) => each !== timer);
      };
    },
  };
  const unused = new Proxy({}, { get: () => () => Promise.reject(new Error("nothing is to be replayed")) }) as never;
  const store: ReferenceStore = replayer ? { get: async () => undefined, findByRoot: async () => [], put: async () => undefined } : unused;
  const layers = new LayerLibrary({ registry: client, store, replayer: replayer ?? unused });
  let inForce = policy;
  const service = new ImageService({
    ...{ ...by, registry: client, layers, clock, policy: () => inForce, stored: [], save: () => undefined, onProblem: () => undefined },
  });
  const change = (to: Policy): void => {
    inForce = to;
    service.policyChanged();
  };
  return { service, time, change };
}

const question = () => ({
  ...{ imageReference: `${image.repository}:v1`, imageId: image.configDigest, repoDigests: [`${image.repository}@${image.manifestDigest}`] },
  ...{
    configDigest: image.configDigest,
    containerName: "web",
    workload: "web",
    labels: {},
    nodeName: "n",
    architecture: "x86_64",
    dialect: "docker",
    runtime: "docker",
  },
});
const policyWith = (change: Partial<Policy>): Policy => ({ ...defaultPolicy(), ...change });
const publicKeyPem = publicKey.export({ type: "spki", format: "pem" }).toString();

async function changed(service: ImageService): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = service.onChange(() => resolve());
  await promise;
  end();
}

test.each(["hangs", "makes us fail"])("a key that has ended counts no more, though the registry %s from then on", async (how) => {
  const { service, time } = start(policyWith({ authorities: [authority("release", publicKeyPem, { notAfterMs: AT_MS + DAY_MS })] }));
  const status = () => service.view(question()).provenance.status;
  expect(status()).toBe("unknown");
  while (status() !== "signed") await changed(service);
  time.nowMs += 2 * DAY_MS;
  const asked = Promise.withResolvers<void>();
  registry.fault = () => {
    asked.resolve();
    return true;
  };
  if (how !== "hangs") vi.spyOn(client, "manifest").mockRejectedValue(new TypeError("a fault of ours"));
  const told = changed(service);
  service.refresh(image.configDigest);
  if (how === "hangs") {
    await asked.promise;
    // The limit of the look-up.
    time.waiting.sort((a, b) => b.delayMs - a.delayMs)[0]?.run();
  }
  await told;
  expect(status()).toBe("wrong-key");
  registry.fault = () => false;
  vi.restoreAllMocks();
  service.stop();
});

test("a verdict that turns bad is told once the registry was asked again, later: not for a list that somebody writes anew, nor while it is away; one that stands is told on", async () => {
  const required = (pem: string): Policy => {
    const trusting = policyWith({ authorities: [authority("release", pem)] });
    return { ...trusting, rules: trusting.rules.map((rule) => ({ ...rule, signatures: { authorities: ["release"], threshold: 1 } })) };
  };
  const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ type: "spki", format: "pem" }).toString();
  const { service, time, change } = start(required(publicKeyPem));
  onTestFinished(() => {
    registry.fault = () => false;
    service.stop();
  });
  const status = () => service.view(question()).provenance.status;
  const without = (request: IncomingMessage, response: ServerResponse): boolean => {
    if (!request.url?.endsWith(".sig")) return false;
    response.writeHead(404).end();
    return true;
  };
  /** What is waited for comes. @param delayMs after which time it is due */
  const next = async (delayMs: number): Promise<void> => {
    await vi.waitFor(() => expect(time.waiting.map((each) => each.delayMs)).toEqual([delayMs]), { timeout: 30_000 });
    const told = changed(service);
    time.waiting.splice(0, 1)[0]?.run();
    await told;
  };
  const refreshed = async (): Promise<void> => {
    const told = changed(service);
    service.refresh(image.configDigest);
    await told;
  };
  while (status() !== "signed") await changed(service);
  registry.fault = without;
  await refreshed();
  expect(status(), "the list lacks it, and had it a moment ago").toBe("unknown");
  expect(service.view(question()).lookingUp).toBe(true);
  registry.fault = () => false;
  await next(3000);
  expect(status()).toBe("signed");
  registry.fault = without;
  await refreshed();
  expect(status()).toBe("unknown");
  await next(3000);
  expect(status(), "it lacks it still").toBe("unsigned");
  registry.fault = () => false;
  await next(10_000);
  expect(status(), "and has it again").toBe("signed");

  registry.fault = (_, response) => {
    response.writeHead(403).end();
    return true;
  };
  change(required(stranger));
  expect(status()).toBe("unknown");
  await next(3000);
  expect(status(), "nobody can tell").toBe("unknown");
  registry.fault = () => false;
  await next(2000);
  expect(status()).toBe("wrong-key");
  registry.fault = (_, response) => {
    response.writeHead(403).end();
    return true;
  };
  change({ ...required(stranger), name: "edited" });
  expect(status(), "it stands").toBe("wrong-key");
});

test("an image that lies in two repositories is judged by the one that it was started from, else by any that is allowed", async () => {
  const copy = await pushImage(`${registry.host}/mirror/app`, { tag: "v1", layers: [] });
  expect(copy.manifestDigest).toBe(image.manifestDigest);
  const release = { name: "release", key: publicKeyPem };
  const places = [image.repository, copy.repository];
  const judged = async (imageReference: string, repositories: readonly string[]) => {
    const rules = `rules: [{ name: all, require: { signatures: { authorities: [release] }, registries: ["${registry.host}/acme/*"] } }]`;
    const text = `apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec: { authorities: [${JSON.stringify(release)}], ${rules} }\n`;
    const parsed = parsePolicy(text, "policy", { readKeyFile: () => "" });
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
    const { service } = start(parsed.policy);
    const asked = { ...question(), imageReference, repoDigests: repositories.map((each) => `${each}@${image.manifestDigest}`) };
    while (service.view(asked).provenance.status === "unknown") await changed(service);
    service.stop();
    const { provenance, pinnedReference } = service.view(asked);
    return [provenance.status, pinnedReference];
  };
  const [own, copied] = places.map((each) => `${each}@${image.manifestDigest}`);
  for (const order of [places, [...places].reverse()]) {
    expect(await judged(`${image.repository}:v1`, order)).toEqual(["signed", own]);
    expect(await judged(`${copy.repository}:v1`, order)).toEqual(["attestation-missing", copied]);
    // What is gone back to is judged by this name, whichever its node tells of first.
    expect(await judged(image.configDigest, order)).toEqual(["signed", own]);
  }
});

test("of which images a registry did not say, or was not asked, whether a revoked index is theirs", async () => {
  const { service } = start(policyWith({}));
  while (service.view(question()).image && service.view(question()).configDigest === "") await changed(service);
  const revoking = (count: number) => {
    const digests = Array.from({ length: count }, (_, i) => `sha256:${i.toString(16).padStart(64, "0")}`);
    return policyWith({ revocations: digests.map((digest) => ({ reason: "leaked", sinceMs: undefined, what: { kind: "digest", digest } })) });
  };
  const untold = async (count: number) => (await service.under(revoking(count), SIGNAL)).untold;
  const { key } = service.view(question());
  expect(await untold(64)).toEqual(new Set());
  expect(await untold(65)).toEqual(new Set([key]));
  registry.fault = (_, response) => {
    response.writeHead(403).end();
    return true;
  };
  expect(await untold(1)).toEqual(new Set([key]));
  registry.fault = () => false;
  expect(await untold(1)).toEqual(new Set());
  service.stop();
});

test("an image that is barred by digest is barred, though no registry holds it", async () => {
  const revocations = [{ reason: "leaked", sinceMs: undefined, what: { kind: "digest", digest: image.configDigest } }] as const;
  const { service } = start(policyWith({ revocations }));
  const loaded = { ...question(), imageReference: `${registry.host}/acme/never:v1`, repoDigests: [] };
  expect(service.view(loaded).provenance).toMatchObject({ status: "revoked", text: expect.stringContaining("leaked") });
  await changed(service);
  expect(service.view(loaded)).toMatchObject({ image: { missing: "no-reference" }, provenance: { status: "revoked" } });
  expect(service.view({ ...loaded, configDigest: "", imageId: image.manifestDigest }).provenance.status).toBe("unknown");
  service.stop();
});

test("a namespace's policy is asked beside the cluster's, never in its place: its key makes nothing signed", async () => {
  const own = { ...policyWith({}), name: "shop", authorities: [authority("shop", publicKeyPem)] };
  const signing = { ...own, rules: own.rules.map((rule) => ({ ...rule, signatures: { authorities: ["shop"], threshold: 1 } })) };
  const other = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ type: "spki", format: "pem" }).toString();
  const refusing = { ...signing, authorities: [authority("shop", other)] };
  const cluster = policyWith({ authorities: [authority("release", publicKeyPem)] });
  const look = async (policy: Policy, containerName: string) => {
    const { service } = start(policy);
    const asked = { ...question(), containerName };
    await vi.waitFor(() => expect(service.view(asked)).toMatchObject({ configDigest: image.configDigest, lookingUp: false }), { timeout: 30_000 });
    const view = service.view(asked);
    service.stop();
    return { cluster: view.provenance.status, team: view.teamProvenance?.status, shown: view.provenanceRow.authorities };
  };
  const pod = "shop/cart-1/web";
  // The cluster knows nobody: what a team's own key has signed is not signed thereby.
  const before = await look(policyWith({}), pod);
  expect(await look(withTeams(policyWith({}), { shop: signing }), pod)).toEqual({ ...before, team: "signed" });
  expect(await look(withTeams(cluster, { shop: refusing }), pod)).toEqual({ cluster: "signed", team: "wrong-key", shown: [] });
  expect(await look(withTeams(cluster, { shop: own }), pod)).toEqual({ cluster: "signed", team: undefined, shown: ["release"] });
  expect(await look(withTeams(cluster, { shop: refusing }), "other/cart-1/web")).toEqual({ cluster: "signed", team: undefined, shown: ["release"] });
});

test("the files of signed images are vouched for on nodes, at their paths; those of images that are not signed, or by a team's key alone, are not", async () => {
  const replayer = new ReplayThread();
  const files = { "usr/bin/tool": "the tool", "etc/app.conf": "x = 1" };
  const tool = hash("sha256", "the tool", "buffer");
  const [good, stranger] = await Promise.all(
    ["signed", "unsigned"].map((name) =>
      pushImage(`${registry.host}/acme/${name}`, { tag: "v1", layers: [name === "signed" ? files : { ...files, "usr/bin/more": "more" }] }),
    ),
  );
  await signed(good as PushedImage);
  const cluster = policyWith({ authorities: [authority("release", publicKeyPem)] });
  const look = async (policy: Policy, of: PushedImage, containerName = "web") => {
    const { service } = start(policy, replayer);
    const { repository, configDigest, manifestDigest } = of;
    const asked = {
      ...question(),
      containerName,
      imageReference: `${repository}:v1`,
      imageId: configDigest,
      configDigest,
      repoDigests: [`${repository}@${manifestDigest}`],
    };
    await vi.waitFor(() => expect(service.view(asked).image).toHaveProperty("reference"), { timeout: 60_000 });
    const vouches = (path: string, sha256: Buffer) => service.vouches(Buffer.from(path), sha256);
    const told = {
      tool: vouches("usr/bin/tool", tool),
      elsewhere: vouches("usr/bin/other", tool),
      directory: vouches("usr/bin", tool),
      altered: vouches("usr/bin/tool", hash("sha256", "evil", "buffer")),
    };
    service.stop();
    return told;
  };
  const none = { tool: false, elsewhere: false, directory: false, altered: false };
  expect(await look(cluster, good as PushedImage)).toEqual({ ...none, tool: true });
  expect(await look(cluster, stranger as PushedImage)).toEqual(none);
  const shop = { ...policyWith({}), name: "shop", authorities: [authority("shop", publicKeyPem)] };
  const asking = { ...shop, rules: shop.rules.map((rule) => ({ ...rule, signatures: { authorities: ["shop"], threshold: 1 } })) };
  expect(await look(withTeams(policyWith({}), { shop: asking }), good as PushedImage, "shop/cart-1/web")).toEqual(none);
  await replayer.close();
});

test("an image to go back to is waited for while its registry is away for minutes, and is none when it stays away; it is one again when it is there", async () => {
  const signed = policyWith({ authorities: [authority("release", publicKeyPem)] });
  const policy = { ...signed, rules: signed.rules.map((rule) => ({ ...rule, signatures: { authorities: ["release"], threshold: 1 } })) };
  const { service, time } = start(policy);
  const { configDigest } = image;
  const row = {
    ...{ nodeId: "n1", service: "web", configDigest, imageId: configDigest },
    reference: `${image.repository}@${image.manifestDigest}`,
    affirmedAtMs: 1,
  };
  const { reference } = row;
  const asItRuns = { imageReference: reference, repoDigests: [reference], configDigest, imageId: configDigest };
  const identity = { name: "web", workload: "web", labels: {}, runtime: "docker", ...asItRuns };
  const live = {
    node: { name: "n" },
    memory: { node: { architecture: "x86_64" }, containers: new Map([["c1", { identity, filesystem: { dialect: "docker" } }]]) },
  };
  const known: AffirmedImageRow[] = [row];
  const ask = earlierImages({
    images: service,
    sessions: { get: () => ({ live }) } as unknown as Sessions,
    store: { readAffirmedImages: async () => known } as unknown as Store,
    vulnerabilities: { all: () => [] },
  });
  const standing = async () => (await ask("n1", "c1"))?.earlier.map((each) => each.standing) ?? [];
  registry.fault = () => true;
  const manifests = vi.spyOn(client, "manifest").mockRejectedValue(new RegistryError("UNAVAILABLE", "away"));
  const seen: Standing[] = await standing();
  for (let attempt = 1; attempt <= 9; attempt++) {
    await vi.waitFor(() => expect(time.waiting.map(({ delayMs }) => delayMs)).toEqual([Math.min(120_000, 2000 * 2 ** (attempt - 1))]), { timeout: 30_000 });
    seen.push(...(await standing()));
    time.waiting.splice(0, 1)[0]?.run();
  }
  expect(seen).toEqual([...Array<Standing>(9).fill("looking-up"), "unknown"]);
  registry.fault = () => false;
  manifests.mockRestore();
  // The last retry was begun while it was away, or is the one that finds it.
  await vi.waitFor(
    async () => {
      time.waiting.find(({ delayMs }) => delayMs <= 120_000)?.run();
      expect(await standing()).toEqual(["verified"]);
    },
    { timeout: 30_000 },
  );
  known.push({ ...row, configDigest: `sha256:${"2".repeat(64)}` });
  await vi.waitFor(async () => expect(await standing()).toEqual(["verified", "not-verified"]), { timeout: 30_000 });
  service.stop();
});

/** An image signed under an authority of its own, whose lists `certificate` names, and what asks for it. */
async function notarySigned(name: string, certificate: (ca: OpensslCa) => string) {
  const folder = mkdtempSync(join(tmpdir(), "hullmark-crl-"));
  const ca = await OpensslCa.create(join(folder, "ca"));
  onTestFinished(async () => {
    registry.fault = () => false;
    vi.restoreAllMocks();
    await ca.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const identity = ca.issue("leaf", certificate(ca));
  ca.served.set("/ca.crl", ca.list());
  const own = await pushImage(`${registry.host}/acme/${name}`, { tag: "v1", layers: [] });
  await attachNotary(client, own, signNotary(identity, notaryPayload(own.manifestDigest, own.manifestBytes.length)));
  const trustStore = {
    name: "acme",
    scheme: "ca",
    certificates: [ca.rootPem],
    timestampAuthorities: [],
    requireTimestamp: false,
    revocation: "enforce",
    revocationLists: [],
  } as const;
  const signer = { kind: "notary", trustStore: "acme", subject: { CN: "release" }, notBeforeMs: undefined, notAfterMs: undefined } as const;
  const now = Date.now();
  const shared: { time?: { nowMs: number } } = {};
  const revocations = new HttpRevocationAnswers({ nowMs: () => shared.time?.nowMs ?? now });
  const by = { verifiers: { ...verifiers, notary: new NotaryProjectVerifier(revocations) }, revocations };
  const { service, time } = start(policyWith({ trustStores: [trustStore], authorities: [{ name: "release", signers: [signer] }] }), undefined, by);
  time.nowMs = now;
  shared.time = time;
  onTestFinished(() => service.stop());
  const asked = {
    ...question(),
    imageReference: `${own.repository}@${own.manifestDigest}`,
    imageId: own.configDigest,
    configDigest: own.configDigest,
    repoDigests: [],
  };
  return { ca, own, service, time, status: () => service.view(asked).provenance.status };
}

test("a certificate that its authority takes back counts no more for what runs, though the registry is away by then", async () => {
  const { ca, own, service, time, status } = await notarySigned("notary", (own) => `crlDistributionPoints = URI:${own.url()}`);
  expect(status()).toBe("unknown");
  await changed(service);
  expect(status(), "nobody is told of it before its authority has answered").toBe("signed");
  ca.revoke("leaf");
  ca.served.set("/ca.crl", ca.list());
  time.nowMs += 11 * 60_000;
  registry.fault = () => true;
  vi.spyOn(client, "manifest").mockRejectedValue(new RegistryError("UNAVAILABLE", "away"));
  const seen = changed(service);
  service.refresh(own.configDigest);
  await seen;
  expect(status(), "what is signed by another meanwhile is looked for, for a while").toBe("unknown");
  const told = changed(service);
  time.waiting.find(({ delayMs }) => delayMs === 30_000)?.run();
  await told;
  expect(status()).toBe("revoked");
});

test("a list that is dead where another will do is not waited for, and where none will do it alone is asked for again, not the registry", async () => {
  const either = await notarySigned("either", (ca) => `crlDistributionPoints = points\n[points]\nfullname = URI:${ca.url("/dead.crl")},URI:${ca.url()}`);
  either.status();
  await changed(either.service);
  expect(either.status()).toBe("signed");
  expect(either.ca.asked.get("/dead.crl")).toBe(1);
  await vi.waitFor(() => expect(either.time.waiting.map(({ delayMs }) => delayMs)).toEqual([300_000]));

  const { ca, service, time, status } = await notarySigned("dead", (own) => `crlDistributionPoints = URI:${own.url("/late.crl")}`);
  status();
  await changed(service);
  expect(status()).toBe("unknown");
  const next = async (): Promise<void> => {
    await vi.waitFor(() => expect(time.waiting.length).toBe(1));
    const [timer] = time.waiting;
    expect(timer?.delayMs).toBe(60_000);
    time.waiting = [];
    time.nowMs += 60_000;
    const told = changed(service);
    timer?.run();
    await told;
  };
  const before = registry.requests.length;
  await next();
  expect([status(), ca.asked.get("/late.crl")]).toEqual(["unknown", 2]);
  ca.served.set("/late.crl", ca.list());
  await next();
  expect(status()).toBe("signed");
  expect(registry.requests.length, "nothing of the registry").toBe(before);
  await vi.waitFor(() => expect(time.waiting.map(({ delayMs }) => delayMs)).toEqual([180_000]));
});

test("a file manifest whose signer is revoked while its files are fetched stands for nothing: the layers are read at once", async () => {
  const replayer = new ReplayThread();
  const folder = mkdtempSync(join(tmpdir(), "hullmark-files-"));
  onTestFinished(async () => {
    registry.fault = () => false;
    await replayer.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const own = await pushImage(`${registry.host}/acme/files`, { tag: "v1", layers: [{ "usr/bin/tool": "the tool" }] });
  await signed(own);
  const builder = generateKeyPairSync("ec", { namedCurve: "P-256" });
  writeFileSync(join(folder, "builder.key"), builder.privateKey.export({ type: "pkcs8", format: "pem" }));
  const args = [`${own.repository}:v1`, "--key", join(folder, "builder.key")];
  expect(await runCommand(manifestCommand, args, { DOCKER_CONFIG: "/nonexistent" })).toMatchObject({ code: 0 });
  const builderPem = builder.publicKey.export({ type: "spki", format: "pem" }).toString();
  const authorities = [authority("release", publicKeyPem), authority("builder", builderPem)];
  const trusting = policyWith({ authorities, fileManifests: { authorities: ["builder"], threshold: 1 } });
  const { service, change } = start(trusting, replayer);
  onTestFinished(() => service.stop());
  const asked = {
    ...{ ...question(), imageReference: `${own.repository}:v1`, imageId: own.configDigest, configDigest: own.configDigest },
    repoDigests: [`${own.repository}@${own.manifestDigest}`],
  };
  // What the manifest told is held back until policy has changed.
  const trees = LayerLibrary.prototype.trees;
  const fetching = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const read: string[] = [];
  vi.spyOn(LayerLibrary.prototype, "trees").mockImplementation(async function (this: LayerLibrary, image, dialect, wanted, signal) {
    const found = await trees.call(this, image, dialect, wanted, signal);
    if (found.kind === "trees" && found.byFiles) {
      fetching.resolve();
      await release.promise;
    }
    if (found.kind === "trees") read.push(found.byFiles ? "files" : "layers");
    return found;
  });
  onTestFinished(() => void vi.restoreAllMocks());
  service.view(asked);
  await fetching.promise;
  change({ ...trusting, revocations: [{ reason: "stolen", sinceMs: undefined, what: { kind: "key", publicKeyPem: builderPem } }] });
  release.resolve();
  await vi.waitFor(() => expect(service.view(asked).image).toHaveProperty("reference"), { timeout: 60_000 });
  expect(read).toEqual(["files", "layers"]);
});
