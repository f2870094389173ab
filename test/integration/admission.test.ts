/** The webhook as the API server asks it, over TLS, with a registry that can fail. On a real API server: test/e2e/kubernetes/admission.test.ts. */
import { generateKeyPairSync, type KeyObject, randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { budgetMs } from "@hullmark/verifier/api/admission/server";
import { readReview } from "@hullmark/verifier/core/admission/review";
import type { AdmissionService } from "@hullmark/verifier/core/admission/service";
import type { ImportedReports } from "@hullmark/verifier/core/images/image-entry";
import { judgeTeam, withTeams } from "@hullmark/verifier/core/policy/index";
import { SLSA_V1 } from "@hullmark/verifier/core/provenance/index";
import { decodeBundle } from "@hullmark/verifier/core/transparency/bundle";
import { decodeLogEntry } from "@hullmark/verifier/core/transparency/entry";
import { parseReport } from "@hullmark/verifier/core/vulnerabilities/parse";
import { attestCommand } from "hullmark/commands/attest";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Registry, startRegistry } from "../../deploy/testbed/registry.ts";
import { admissionService } from "../fakes/admission.ts";
import { attachNotary } from "../fakes/attach.ts";
import { runCommand } from "../fakes/command-run.ts";
import { type PushedImage, pushImage, pushIndex } from "../fakes/images.ts";
import { signByKey } from "../fakes/key-signed.ts";
import { notaryPayload, signNotary } from "../fakes/notary.ts";
import { OpensslCa } from "../fakes/openssl-ca.ts";
import { policyOf } from "../fakes/policy.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { bytesOf, trivyReport } from "../fakes/scan-reports.ts";
import { Scrape } from "../fakes/scrape.ts";
import { TestVerifier } from "../fakes/verifier.ts";

interface Answer {
  readonly uid: string;
  readonly allowed: boolean;
  readonly status?: { readonly code: number; readonly message: string };
  readonly warnings?: readonly string[];
  readonly auditAnnotations: Readonly<Record<string, string>>;
}
interface Asked {
  readonly kind?: string;
  readonly namespace?: string;
  readonly operation?: string;
  readonly user?: string;
  readonly groups?: readonly string[];
  readonly dryRun?: boolean;
  readonly object: object;
  readonly oldObject?: object;
}

const [release, stranger, second] = [0, 1, 2].map(() => generateKeyPairSync("ec", { namedCurve: "P-256" }));
const pem = (key: KeyObject | undefined): string => JSON.stringify(key?.export({ type: "spki", format: "pem" }));
let registry: FakeRegistry;
let client: OciRegistry;
let verifier: TestVerifier;
let serial = 0;

beforeAll(async () => {
  registry = await startFakeRegistry();
  client = new OciRegistry();
  verifier = new TestVerifier();
  await verifier.start(`policyFile: ${policy()}
admission: { listen: "127.0.0.1:0" }`);
});
afterAll(async () => {
  await verifier?.dispose();
  client?.close();
  await registry?.close();
});

/** @param more under `spec` @param authorities @param rules before the last: further ones */
function policy(more = "", authorities = "", rules = ""): string {
  return verifier.policy(`apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: door }
spec:
  authorities:
    - { name: release, key: ${pem(release?.publicKey)} }
    - { name: second, key: ${pem(second?.publicKey)} }
${authorities}
  rules:
    - name: acme
      select: { images: ["**/acme/**"] }
      require: { signatures: { authorities: [release] } }
${rules}
    - name: others
  admission:
    mode: enforce
    namespaces:
      - { names: ["warn-*"], mode: warn }
      - { names: [watched], mode: audit }
    breakGlass: { users: [ann], groups: [on-call], maxDuration: 4h }
${more}
`);
}

/** A new image under acme/. */
async function image(by: KeyObject | undefined): Promise<PushedImage & { readonly reference: string }> {
  const name = `app${serial++}`;
  const pushed = await pushImage(`${registry.host}/acme/${name}`, { tag: "1", layers: [{ name }] });
  if (by) await signed(pushed, by);
  return { ...pushed, reference: `${pushed.repository}:1` };
}

const signed = (pushed: Pick<PushedImage, "repository" | "manifestDigest">, by: KeyObject): Promise<void> => signByKey(client, pushed, by);

function pod(reference: string, metadata: object = {}, spec: object = {}): object {
  return { metadata: { name: "web", labels: {}, ...metadata }, spec: { containers: [{ name: "web", image: reference }], ...spec } };
}

interface Sent {
  readonly status: number;
  readonly text: string;
}
function send(path: string, body: string, identity: { key?: Buffer; cert?: Buffer; agent?: Agent } = {}, to = verifier): Promise<Sent> {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port: to.running?.admissionPort, path, method: "POST", ca: to.ca, servername: "localhost", agent: false, ...identity };
    const call = request({ ...options, headers: { "content-type": "application/json" } }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }));
      response.on("error", reject);
    });
    call.on("error", reject);
    call.end(body);
  });
}

function review(
  { kind = "Pod", namespace = "shop", operation = "CREATE", user = "bob", groups = [], dryRun = false, object, oldObject }: Asked,
  uid: string,
): string {
  const userInfo = { username: user, groups };
  const asked = { uid, kind: { group: "", version: "v1", kind }, namespace, operation, userInfo, dryRun, object, ...(oldObject && { oldObject }) };
  return JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request: asked });
}

async function ask(asked: Asked, failure = "fail", timeout = "30s"): Promise<Answer> {
  const uid = randomUUID();
  const { status, text } = await send(`/admission/${failure}?timeout=${timeout}`, review(asked, uid));
  expect(status, text).toBe(200);
  const { response } = JSON.parse(text) as { response: Answer };
  expect(response.uid).toBe(uid);
  return response;
}

async function admissions(): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const { log } = await verifier.query.getStatus({}).then(async () => ({ log: `http://127.0.0.1:${verifier.running?.httpPort}/log` }));
  const size = Number((await (await fetch(`${log}/checkpoint`)).text()).split("\n")[1]);
  const bundle = Buffer.from(await (await fetch(`${log}/tile/entries/000.p/${size}`)).arrayBuffer());
  return decodeBundle(bundle)
    .map(decodeLogEntry)
    .filter(({ type }) => type === "admission")
    .map(({ fields }) => fields);
}

async function until<T>(look: () => Promise<T>, done: (seen: T) => boolean): Promise<T> {
  for (let i = 0; ; i++) {
    const seen = await look();
    if (done(seen)) return seen;
    if (i === 300) throw new Error(`never: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const TEMPLATE = (spec: object) => ({ spec: { template: { metadata: { labels: {} }, ...spec } } });
const WRAPPED: Readonly<Record<string, (pod: object) => object>> = {
  Pod: (inner) => inner,
  PodTemplate: (inner) => ({ metadata: { name: "web" }, template: inner }),
  Deployment: (inner) => ({ metadata: { name: "web" }, ...TEMPLATE(inner) }),
  StatefulSet: (inner) => ({ metadata: { name: "web" }, ...TEMPLATE(inner) }),
  DaemonSet: (inner) => ({ metadata: { name: "web" }, ...TEMPLATE(inner) }),
  ReplicaSet: (inner) => ({ metadata: { name: "web" }, ...TEMPLATE(inner) }),
  ReplicationController: (inner) => ({ metadata: { name: "web" }, ...TEMPLATE(inner) }),
  Job: (inner) => ({ metadata: { name: "web" }, ...TEMPLATE(inner) }),
  CronJob: (inner) => ({ metadata: { name: "web" }, spec: { jobTemplate: TEMPLATE(inner) } }),
};

describe("an image", () => {
  test("that is refused and signed then comes in by the next question, whatever was kept; while its registry is away it is refused on", async () => {
    const late = await image(stranger?.privateKey);
    const object = pod(`${late.repository}@${late.manifestDigest}`);
    expect(await ask({ object })).toMatchObject({ allowed: false });
    await signed(late, release?.privateKey as KeyObject);
    registry.fault = (_, response) => {
      response.writeHead(503).end();
      return true;
    };
    verifier.clock.pass(1500);
    expect(await ask({ object }, "ignore", "2s")).toMatchObject({ allowed: false });
    registry.fault = () => false;
    // Or by the one after it: a look that began while it was away may be the one that is waited for.
    await until(
      () => ask({ object }),
      ({ allowed }) => allowed,
    );
  });

  test.each(Object.keys(WRAPPED))("is judged wherever a %s has it: containers, init containers, ephemeral ones", async (kind) => {
    const [good, bad] = [await image(release?.privateKey), await image(undefined)];
    const wrap = WRAPPED[kind] as (pod: object) => object;
    expect(await ask({ kind, object: wrap(pod(good.reference)) })).toMatchObject({ allowed: true, auditAnnotations: { decision: "allowed" } });
    for (const place of ["initContainers", "ephemeralContainers"]) {
      const answer = await ask({ kind, object: wrap(pod(good.reference, {}, { [place]: [{ name: "side", image: bad.reference }] })) });
      expect(answer).toMatchObject({ allowed: false, status: { code: 403 } });
      expect(answer.status?.message).toContain(`${place === "initContainers" ? "init" : "ephemeral"} container side`);
    }
  });

  test("that a volume mounts is judged like one that runs", async () => {
    const [good, bad] = [await image(release?.privateKey), await image(undefined)];
    const mounting = (reference: string) => ({
      object: pod(
        good.reference,
        {},
        {
          volumes: [
            { name: "tmp", emptyDir: {} },
            { name: "code", image: { reference } },
          ],
        },
      ),
    });
    expect((await ask(mounting(good.reference))).allowed).toBe(true);
    expect((await ask(mounting(bad.reference))).status?.message).toContain(`volume code: image ${bad.reference}`);
  });

  test("that is not signed is refused, and the answer says by which rule, on what evidence, and what would do", async () => {
    const bad = await image(undefined);
    const { allowed, status } = await ask({ object: pod(bad.reference) });
    expect(allowed).toBe(false);
    expect(status?.message.split("\n")).toEqual([
      `container web: image ${bad.reference} (${bad.manifestDigest}) is refused by rule "acme": not signed: nothing is attached to it (rule acme)`,
      "  asked for: signatures: 1 of release",
      "  found:     nothing",
      expect.stringMatching(new RegExp(`^  would do:  sign ${bad.manifestDigest} by release `)),
      expect.stringContaining("in an emergency: annotations hullmark.dev/break-glass-by"),
    ]);
  });

  test("is judged by its digest where the reference has one, and by what the tag names where not", async () => {
    const good = await image(release?.privateKey);
    expect((await ask({ object: pod(`${good.repository}@${good.manifestDigest}`) })).allowed).toBe(true);
    const other = await pushImage(good.repository, { tag: "2", layers: [{ other: "1" }] });
    expect((await ask({ object: pod(`${good.repository}:2`) })).status?.message).toContain(other.manifestDigest);
    expect((await ask({ object: pod(`${good.repository}:2@${good.manifestDigest}`) })).allowed).toBe(true);
    expect((await ask({ object: pod(`${good.repository}:none`) })).status?.message).toContain("would do:  push the image, or correct its name");
    expect((await ask({ object: pod("**/acme/**") })).allowed, "the rule selects what is no reference").toBe(false);
  });

  test("signed by another key is refused", async () => {
    const { allowed, status } = await ask({ object: pod((await image(stranger?.privateKey)).reference) });
    expect(allowed).toBe(false);
    expect(status?.message).toContain("carries a signature, but not by release");
  });

  test("of which no rule asks anything needs no registry", async () => {
    const before = registry.requests.length;
    expect((await ask({ object: pod("registry.nowhere.example/other/thing:1") })).allowed).toBe(true);
    expect(registry.requests.length).toBe(before);
  });

  test("of several platforms is signed as an index, or each of its images is; a node selector leaves one", async () => {
    const index = await pushIndex(`${registry.host}/acme/multi`, "1", ["amd64", "arm64"]);
    const [amd] = index.images;
    if (!amd) throw new Error("no image");
    await signed(amd, release?.privateKey as KeyObject);
    const reference = `${index.repository}@${index.digest}`;
    expect((await ask({ object: pod(reference) })).allowed, "arm64 is not signed").toBe(false);
    expect((await ask({ object: pod(reference, {}, { nodeSelector: { "kubernetes.io/arch": "amd64" } }) })).allowed).toBe(true);
    const whole = await pushIndex(`${registry.host}/acme/whole`, "1", ["amd64", "arm64"]);
    await signed({ repository: whole.repository, manifestDigest: whole.digest }, release?.privateKey as KeyObject);
    expect((await ask({ object: pod(`${whole.repository}:1`) })).allowed).toBe(true);
  });

  test("is looked up once for thousands of pods, many of them at once", async () => {
    const good = await image(release?.privateKey);
    const before = registry.requests.length;
    // As an API server has it: connections that stay, and less at once than the webhook takes.
    const agent = new Agent({ keepAlive: true, maxSockets: 200 });
    const asked = Array.from({ length: 2000 }, (_, i) => review({ object: pod(good.reference, { name: `web-${i}` }) }, randomUUID()));
    const answers = await Promise.all(asked.map((body) => send("/admission/fail?timeout=30s", body, { agent })));
    agent.destroy();
    expect(answers.filter(({ status, text }) => status !== 200 || !(JSON.parse(text) as { response: Answer }).response.allowed)).toEqual([]);
    const first = registry.requests.length - before;
    expect(first).toBeLessThan(10);
    await ask({ object: pod(good.reference) });
    expect(registry.requests.length - before).toBe(first);
  });
});

describe("what is not judged", () => {
  test("an update that brings no image, what is about to go, and what a node tells of its own", async () => {
    const bad = pod((await image(undefined)).reference);
    const ending = { ...bad, metadata: { name: "web", deletionTimestamp: "2026-01-01T00:00:00Z" } };
    expect(await ask({ operation: "UPDATE", object: bad, oldObject: bad })).toMatchObject({ allowed: true });
    expect(await ask({ operation: "UPDATE", object: ending, oldObject: pod("registry.example/x") })).toMatchObject({ allowed: true });
    const mirror = { ...bad, metadata: { name: "web", annotations: { "kubernetes.io/config.mirror": "x" } } };
    expect(await ask({ object: mirror, user: "system:node:w-1" })).toMatchObject({ allowed: true });
    expect(await ask({ object: mirror, user: "bob" }), "a person's word").toMatchObject({ allowed: false });
    expect(await ask({ operation: "UPDATE", object: bad, oldObject: pod("registry.example/x") }), "a new image").toMatchObject({ allowed: false });
  });

  test("the cluster's own namespaces, and kinds that hold no pod", async () => {
    const bad = pod((await image(undefined)).reference);
    expect(await ask({ namespace: "kube-system", object: bad })).toMatchObject({ allowed: true, auditAnnotations: { decision: "exempt" } });
    expect(await ask({ kind: "ConfigMap", object: {} })).toMatchObject({ allowed: true });
  });
});

describe("a mode", () => {
  test("warn lets in and tells whoever asked; audit tells the audit log", async () => {
    const bad = pod((await image(undefined)).reference);
    const warned = await ask({ namespace: "warn-shop", object: bad });
    expect(warned).toMatchObject({ allowed: true, auditAnnotations: { decision: "warned" } });
    expect(warned.warnings?.[0]).toMatch(/^hullmark: container web: not signed: nothing is attached to it \(rule acme\)/);
    expect(warned.warnings?.every((line) => line.length <= 256)).toBe(true);
    const audited = await ask({ namespace: "watched", object: bad });
    expect(audited).toMatchObject({ allowed: true, auditAnnotations: { decision: "audited", objections: expect.stringContaining("not signed") } });
    expect(audited.warnings).toBeUndefined();
  });
});

describe("break-glass", () => {
  const HOUR_MS = 3_600_000;
  const glass = (untilMs: number, reason = "INC-7, payments are down") => ({
    annotations: {
      "hullmark.dev/break-glass-by": "ann",
      "hullmark.dev/break-glass-reason": reason,
      "hullmark.dev/break-glass-until": new Date(untilMs).toISOString(),
    },
  });
  const soon = () => verifier.clock.nowMs() + HOUR_MS;

  test("lets in what is refused, for whom policy names, and is in the log before the answer", async () => {
    const bad = await image(undefined);
    const answer = await ask({ object: pod(bad.reference, glass(soon())), user: "ann" });
    expect(answer).toMatchObject({ allowed: true, auditAnnotations: { decision: "break-glass" } });
    expect(answer.warnings?.[0]).toContain("let in by break-glass until");
    const told = await until(admissions, (all) => all.some((each) => each["decision"] === "break-glass" && JSON.stringify(each).includes(bad.manifestDigest)));
    expect(told.find((each) => JSON.stringify(each).includes(bad.manifestDigest))).toMatchObject({
      ...{ by: "ann", user: "ann", reason: "INC-7, payments are down", namespace: "shop", workload: "shop/web" },
      images: [{ image: bad.reference, rule: "acme" }],
    });
    expect(await ask({ object: pod(bad.reference, glass(soon())), user: "eve", groups: ["on-call"] }), "by group").toMatchObject({ allowed: true });
  });

  test("is for nobody else, not for longer, not afterwards, and says something", async () => {
    const bad = await image(undefined);
    const why = async (metadata: object, user = "ann") => (await ask({ object: pod(bad.reference, metadata), user })).status?.message ?? "";
    expect(await why(glass(soon()), "bob")).toContain("bob is not among those who may");
    expect(await why(glass(verifier.clock.nowMs() + 5 * HOUR_MS))).toContain("at most");
    expect(await why(glass(verifier.clock.nowMs() - 1000))).toContain("it ended at");
    expect(await why(glass(soon(), " "))).toContain("must each say something");
    expect(await why({ annotations: { "hullmark.dev/break-glass-until": "tomorrow" } })).toContain("must each say something");
  });

  test("that is written into what is there already is asked for as if it were new", async () => {
    const bad = await image(undefined);
    const wrap = (metadata: object) => ({ metadata: { name: "web" }, spec: { template: pod(bad.reference, metadata) } });
    const update = (metadata: object, user: string) => ask({ kind: "Deployment", operation: "UPDATE", object: wrap(metadata), oldObject: wrap({}), user });
    expect(await update(glass(soon()), "bob")).toMatchObject({ allowed: false });
    expect(await update(glass(soon()), "ann")).toMatchObject({ allowed: true, auditAnnotations: { decision: "break-glass" } });
    expect(await update({ annotations: { other: "x" } }, "bob")).toMatchObject({ allowed: true });
  });

  test("of a template counts for the pods that the cluster's controllers make of it, until it ends", async () => {
    const bad = await image(undefined);
    const controller = "system:serviceaccount:kube-system:replicaset-controller";
    const made = { ...glass(soon()), generateName: "web-", ownerReferences: [{ kind: "ReplicaSet", name: "web-5d9c", controller: true }] };
    expect(await ask({ object: pod(bad.reference, made), user: controller })).toMatchObject({ allowed: true });
    expect(await ask({ object: pod(bad.reference, glass(soon())), user: controller }), "of no template").toMatchObject({ allowed: false });
    expect(await ask({ object: pod(bad.reference, made), user: "bob" }), "by somebody else").toMatchObject({ allowed: false });
  });

  test("is recorded once, and not at all for a dry run", async () => {
    const bad = await image(undefined);
    const count = (all: Awaited<ReturnType<typeof admissions>>) => all.filter((each) => JSON.stringify(each).includes(bad.manifestDigest)).length;
    const grant = glass(soon());
    await ask({ object: pod(bad.reference, grant), user: "ann", dryRun: true });
    await ask({ object: pod(bad.reference), dryRun: true });
    for (let i = 0; i < 5; i++) await ask({ object: pod(bad.reference, grant), user: "ann" });
    // What came later is there: what is to come of it was written before.
    const marker = await image(undefined);
    await ask({ object: pod(marker.reference) });
    expect(count(await until(admissions, (all) => all.some((each) => JSON.stringify(each).includes(marker.manifestDigest))))).toBe(1);
  });
});

describe("a registry", () => {
  test("that is dead: what it was known for stays, what is new cannot be judged", async () => {
    const known = await image(release?.privateKey);
    expect((await ask({ object: pod(known.reference) })).allowed).toBe(true);
    const fresh = await image(release?.privateKey);
    registry.fault = (_, response) => {
      response.destroy();
      return true;
    };
    try {
      verifier.clock.shiftMs += 60_000;
      expect((await ask({ object: pod(known.reference) })).allowed, "known a minute ago").toBe(true);
      const refused = await ask({ object: pod(fresh.reference) }, "fail");
      expect(refused).toMatchObject({ allowed: false, auditAnnotations: { decision: "unknown-refused" } });
      expect(refused.status?.message).toMatch(/cannot be judged by rule "acme": .*could not be reached[\s\S]*would do: {2}.*make the registry answer/);
      const letIn = await ask({ object: pod(fresh.reference) }, "ignore");
      expect(letIn).toMatchObject({ allowed: true, auditAnnotations: { decision: "unknown-allowed" } });
      expect(letIn.warnings?.[0]).toContain("let in unjudged");
    } finally {
      registry.fault = () => false;
      verifier.clock.shiftMs -= 60_000;
    }
  });

  test("that never answers holds nobody longer than the API server waits, and others not at all", async () => {
    const [slow, quick] = [await image(release?.privateKey), await image(release?.privateKey)];
    const held: (() => void)[] = [];
    registry.fault = (asked, response) => {
      if (!asked.url?.includes(slow.repository.slice(registry.host.length))) return false;
      held.push(() => response.destroy());
      return true;
    };
    try {
      const waiting = ask({ object: pod(slow.reference) }, "fail", "2s");
      expect((await ask({ object: pod(quick.reference) })).allowed).toBe(true);
      expect((await waiting).status?.message).toContain("did not answer in the time that there was");
    } finally {
      registry.fault = () => false;
      for (const release of held) release();
    }
  });
});

describe("a revocation", () => {
  test("of a key counts as soon as the policy is saved, and of one platform's digest for its index", async () => {
    const good = await image(release?.privateKey);
    const index = await pushIndex(`${registry.host}/acme/revoked`, "1", ["amd64", "arm64"]);
    await signed({ repository: index.repository, manifestDigest: index.digest }, release?.privateKey as KeyObject);
    const asked = { object: pod(`${index.repository}:1`) };
    expect((await ask(asked)).allowed).toBe(true);
    policy(`  revocations: [{ reason: bad libc, digest: "${index.images[1]?.configDigest}" }]`);
    expect(
      (
        await until(
          () => ask(asked),
          ({ allowed }) => !allowed,
        )
      ).status?.message,
    ).toContain("bad libc");
    expect((await ask({ object: pod(good.reference) })).allowed).toBe(true);
    policy(`  revocations: [{ reason: stolen, key: ${pem(release?.publicKey)} }]`);
    expect(
      (
        await until(
          () => ask({ object: pod(good.reference) }),
          ({ allowed }) => !allowed,
        )
      ).status?.message,
    ).toContain("stolen");
    policy();
    await until(
      () => ask({ object: pod(good.reference) }),
      ({ allowed }) => allowed,
    );
  });
});

describe("a registry that is stopped", () => {
  const revoked = (digest: string): string => `  revocations: [{ reason: leaked key, digest: "${digest}" }]`;
  const asking = (reference: string, more: Partial<Asked> = {}, failure = "fail") => ask({ object: pod(reference), ...more }, failure);
  const refusal = expect.objectContaining({ message: expect.stringContaining("leaked key") });
  /** In force, as a question by that digest shows: it needs no registry. */
  const inForce = async (digest: string, more = ""): Promise<void> => {
    policy(revoked(digest) + more);
    await until(
      () => asking(`registry.example/any@${digest}`),
      ({ allowed }) => !allowed,
    );
  };
  let folder: string;
  let real: Registry;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "hullmark-stopped-"));
    real = await startRegistry(folder, {}, "127.0.0.1");
  });
  afterAll(async () => {
    policy();
    await real?.stop();
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  test("lets nothing in that is revoked by the digest in its reference, or by one that is known; of what nobody knows it is said", async () => {
    // Of no rule's concern, and of one that asks for signatures.
    const [free, ruled] = [`${real.host}/free/app`, `${real.host}/acme/app`];
    const [fresh, known, signedOne] = [await pushImage(free, { tag: "1", layers: [{ a: "1" }] }), await pushImage(free, { tag: "2" }), await pushImage(ruled)];
    const index = await pushIndex(`${real.host}/free/index`, "1", ["amd64", "arm64"]);
    await signed(signedOne, release?.privateKey as KeyObject);
    await inForce(fresh.manifestDigest, `\n  # ${serial++}`);
    for (const reference of [`${free}:2`, `${index.repository}:1`]) expect(await asking(reference), reference).toMatchObject({ allowed: true });
    await real.stop();
    try {
      for (const failure of ["fail", "ignore"])
        expect(await asking(`${free}@${fresh.manifestDigest}`, {}, failure)).toMatchObject({ allowed: false, status: refusal });
      const audited = await asking(`${free}@${fresh.manifestDigest}`, { namespace: "watched" });
      expect(audited).toMatchObject({ allowed: true, auditAnnotations: { decision: "audited", objections: expect.stringContaining("leaked key") } });

      const silent = await asking(`${free}:1`);
      expect(silent, "a tag that nobody knows").toMatchObject({ allowed: true, auditAnnotations: { decision: "warned" } });
      expect(silent.warnings?.[0]).toMatch(/container web: nobody can tell whether it is revoked: .*could not be reached.*would do: make the registry answer/);
      const watched = await asking(`${free}:1`, { namespace: "watched" });
      expect(watched).toMatchObject({ allowed: true, auditAnnotations: { decision: "audited" } });
      expect(watched.warnings).toBeUndefined();

      verifier.clock.shiftMs += 60_000;
      await inForce(known.manifestDigest);
      expect(await asking(`${free}:2`), "known by its tag, older than a question").toMatchObject({ allowed: false, status: refusal });
      const [, arm] = index.images;
      for (const digest of [index.digest, arm?.manifestDigest ?? "", arm?.configDigest ?? ""]) {
        await inForce(digest);
        expect(await asking(`${index.repository}:1`), digest).toMatchObject({ allowed: false, status: refusal });
      }
      const amd = await ask({ object: pod(`${index.repository}:1`, {}, { nodeSelector: { "kubernetes.io/arch": "amd64" } }) });
      expect(amd, "of the other architecture").toMatchObject({ allowed: true });

      await inForce(signedOne.manifestDigest);
      const refused = await asking(`${ruled}@${signedOne.manifestDigest}`, {}, "ignore");
      expect(refused, "in a namespace that lets in what nobody can judge").toMatchObject({ allowed: false, status: refusal });
    } finally {
      verifier.clock.shiftMs -= 60_000;
      await real.start();
    }
  });

  test("is no way round a revoked index whose images are not all to be had", async () => {
    const index = await pushIndex(`${real.host}/free/partial${serial++}`, "1", ["amd64", "arm64"]);
    const [, arm] = index.images;
    const path = join(real.storage, "docker/registry/v2/repositories", index.repository.slice(real.host.length + 1), "_manifests/revisions/sha256");
    rmSync(join(path, arm?.manifestDigest.slice("sha256:".length) ?? ""), { recursive: true });
    await inForce(index.digest);
    expect(await asking(`${index.repository}:1`)).toMatchObject({ allowed: false, status: refusal });
    await inForce(index.images[0]?.configDigest ?? "");
    const untold = await asking(`${index.repository}:1`);
    expect(untold).toMatchObject({ allowed: true, auditAnnotations: { decision: "warned" } });
  });
});

describe("the port", () => {
  test("takes nothing but questions, of bounded size", async () => {
    const body = review({ object: {} }, "u");
    expect(await send("/admission/fail", "{}")).toEqual({ status: 400, text: expect.stringContaining("no AdmissionReview") });
    expect(await send("/admission/fail", "nonsense")).toMatchObject({ status: 400, text: "bad request\n" });
    expect(await send("/admission/other", body)).toMatchObject({ status: 404 });
    expect(await send("/admission/fail", review({ object: { spec: { containers: "x" } } }, "u"))).toMatchObject({ status: 400 });
    expect(
      await send("/admission/fail", JSON.stringify({ x: "y".repeat(9 << 20) })).then(
        ({ status }) => status,
        () => 413,
      ),
    ).toBe(413);
  });

  test("leaves time for the way back", () => {
    expect([budgetMs("10s"), budgetMs("1s"), budgetMs("500ms"), budgetMs("99999s"), budgetMs("x"), budgetMs(undefined)]).toEqual([
      9500, 500, 250, 30_000, 8000, 8000,
    ]);
  });

  test("counts by closed labels", async () => {
    const scrape = await Scrape.from(`http://127.0.0.1:${verifier.running?.httpPort}`);
    for (const decision of ["allowed", "warned", "audited", "refused", "break-glass", "unknown-allowed", "unknown-refused", "exempt"])
      expect(scrape.value("hullmark_admission_requests_total", { decision }), decision).toBeGreaterThan(0);
    expect(scrape.value("hullmark_admission_seconds_count")).toBe(scrape.value("hullmark_admission_requests_total"));
  });

  test("of a verifier that stops still answers who waits", async () => {
    const slow = await image(release?.privateKey);
    const held: (() => void)[] = [];
    registry.fault = (asked, response) => {
      if (!asked.url?.includes(slow.repository.slice(registry.host.length))) return false;
      held.push(() => response.destroy());
      return true;
    };
    const own = new TestVerifier();
    try {
      await own.start(`policyFile: ${own.policy(readFileSync(policy(), "utf8"))}\nadmission: { listen: "127.0.0.1:0" }`);
      const waiting = send("/admission/fail?timeout=30s", review({ object: pod(slow.reference) }, "u"), {}, own);
      await until(
        async () => held.length,
        (count) => count > 0,
      );
      await own.stop();
      expect((await waiting).text).toContain("the verifier is stopping");
    } finally {
      registry.fault = () => false;
      for (const letGo of held) letGo();
      await own.dispose();
    }
  });

  test("asks for a client certificate where one is configured", async () => {
    const guarded = new TestVerifier();
    try {
      await guarded.start("enrolment: { mode: tofu, acceptWithoutCertificate: true }");
      const identity = await guarded.certify((authority, spki) => authority.issueOperator("viewer", "kube-apiserver", spki, 3_600_000));
      const ca = join(guarded.directory, "client-ca.crt");
      writeFileSync(ca, guarded.ca);
      await guarded.stop();
      await guarded.start(`admission: { listen: "127.0.0.1:0", clientCaFile: ${ca} }`);
      const body = review({ kind: "ConfigMap", object: {} }, "u");
      await expect(send("/admission/fail", body, {}, guarded)).rejects.toThrow();
      expect(await send("/admission/fail", body, { key: identity.key, cert: identity.pem }, guarded)).toMatchObject({ status: 200 });
    } finally {
      await guarded.dispose();
    }
  });
});

describe("an alert of break-glass", () => {
  test("is open as long as it lasts, also across a restart", async () => {
    const bad = await image(undefined);
    const sent: string[] = [];
    const { createServer } = await import("node:http");
    const receiver = createServer((incoming, response) => {
      const chunks: Buffer[] = [];
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
      incoming.on("end", () => {
        sent.push(Buffer.concat(chunks).toString());
        response.writeHead(204).end();
      });
    });
    await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
    const own = new TestVerifier();
    const { port } = receiver.address() as { port: number };
    const text = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: door }
spec:
  authorities: [{ name: release, key: ${pem(release?.publicKey)} }]
  rules: [{ name: acme, require: { signatures: { authorities: [release] } } }]
  admission: { mode: enforce, breakGlass: { users: [ann] } }
  alerts: { routes: [{ name: hook, type: webhook, url: "http://127.0.0.1:${port}/" }] }
`;
    try {
      const config = `policyFile: ${own.policy(text)}\nadmission: { listen: "127.0.0.1:0" }`;
      await own.start(config);
      const annotations = {
        "hullmark.dev/break-glass-by": "ann",
        "hullmark.dev/break-glass-reason": "INC-8",
        "hullmark.dev/break-glass-until": new Date(own.clock.nowMs() + 3_600_000).toISOString(),
      };
      const body = review({ object: pod(bad.reference, { annotations }), user: "ann" }, "u");
      expect((await send("/admission/fail?timeout=30s", body, {}, own)).text).toContain('"allowed":true');
      const firing = await until(
        async () => sent.join(),
        (all) => all.includes('"firing"'),
      );
      expect(firing).toContain("was let in by break-glass");
      expect(firing).toContain("INC-8");
      await own.stop();
      own.clock.shiftMs += 2 * 3_600_000;
      await own.start(config);
      await until(
        async () => sent.join(),
        (all) => all.includes('"resolved"'),
      );
    } finally {
      await own.dispose();
      await new Promise((resolve) => receiver.close(resolve));
    }
  });
});

describe("a rule with a mode of its own", () => {
  const ruled = (mode: string, spec: object = {}) => ({
    authorities: [{ name: "release", key: release?.publicKey.export({ type: "spki", format: "pem" }) }],
    rules: [
      { name: "other", select: { images: ["**:other"] }, require: { signatures: { authorities: ["release"] } } },
      { name: "rolled-out", admission: mode, require: { signatures: { authorities: ["release"] } } },
    ],
    admission: { mode: "enforce" },
    ...spec,
  });

  test("goes before what is said for the namespace, either way, and for that rule alone", async () => {
    const bad = await image(undefined);
    expect(await answer(service(ruled("audit")), bad.reference)).toMatchObject({ allowed: true, warnings: 0 });
    expect(await answer(service(ruled("warn")), bad.reference)).toMatchObject({ allowed: true, warnings: 1 });
    expect(await answer(service(ruled("enforce", { admission: { mode: "audit" } })), bad.reference)).toMatchObject({ allowed: false });
    const other = await pushImage(`${registry.host}/acme/other${serial++}`, { tag: "other" });
    const both = pod(
      bad.reference,
      {},
      { containers: [bad.reference, `${other.repository}:other`].map((reference, i) => ({ name: `c${i}`, image: reference })) },
    );
    const refused = await answer(service(ruled("warn")), both);
    expect(refused).toMatchObject({ allowed: false, message: expect.stringContaining('refused by rule "other"') });
    expect(refused.message).not.toContain("container c0");
  });

  test("lets in nothing that was revoked", async () => {
    const good = await image(release?.privateKey);
    const revoked = ruled("audit", { revocations: [{ reason: "bad libc", digest: good.manifestDigest }] });
    expect(await answer(service(ruled("audit")), good.reference)).toMatchObject({ allowed: true });
    expect(await answer(service(revoked), good.reference)).toMatchObject({ allowed: false, message: expect.stringContaining("bad libc") });
  });
});

test("of registries, what is signed and lies elsewhere is refused, by its index too", async () => {
  const good = await image(release?.privateKey);
  const from = (...registries: string[]) =>
    service({
      authorities: [{ name: "release", key: release?.publicKey.export({ type: "spki", format: "pem" }) }],
      rules: [{ name: "ours", require: { signatures: { authorities: ["release"] }, registries } }],
      admission: { mode: "enforce" },
    });
  expect(await answer(from(`${registry.host}/**`), good.reference)).toMatchObject({ allowed: true });
  expect(await answer(from("registry.example/**"), good.reference)).toMatchObject({
    allowed: false,
    message: expect.stringContaining("registries: registry.example/**"),
  });
  const whole = await pushIndex(`${registry.host}/acme/whole${serial++}`, "1", ["amd64", "arm64"]);
  await signed({ repository: whole.repository, manifestDigest: whole.digest }, release?.privateKey as KeyObject);
  const each = await pushIndex(`${registry.host}/acme/each${serial++}`, "1", ["amd64", "arm64"]);
  for (const one of each.images) await signed(one, release?.privateKey as KeyObject);
  for (const { repository } of [whole, each]) {
    expect(await answer(from(`${registry.host}/acme/**`), `${repository}:1`)).toMatchObject({ allowed: true });
    expect(await answer(from("registry.example/**"), `${repository}:1`)).toMatchObject({ allowed: false, message: expect.stringContaining("registries: ") });
  }
});

test("a revoked base or digest has nothing asked of what is attached to each image of an index, whose manifest and config do", async () => {
  const index = await pushIndex(`${registry.host}/other/many${serial++}`, "1", ["amd64", "arm64", "arm", "s390x", "ppc64le", "riscv64"]);
  policy(`  revocations:\n    - { reason: old base, layers: "sha256:${"e".repeat(64)}" }\n    - { reason: other, digest: "sha256:${"d".repeat(64)}" }`);
  await until(
    () => ask({ object: pod(`registry.example/x@sha256:${"d".repeat(64)}`) }),
    ({ allowed }) => !allowed,
  );
  const asked = async (): Promise<readonly string[]> => {
    const before = registry.requests.length;
    expect(await ask({ object: pod(`${index.repository}:1`) })).toMatchObject({ allowed: true });
    return registry.requests.slice(before);
  };
  const of = (requests: readonly string[], { manifestDigest, configDigest }: PushedImage) =>
    requests.filter((each) => [manifestDigest, manifestDigest.replace(":", "-"), configDigest].some((name) => each.includes(name)));
  const first = await asked();
  for (const each of index.images)
    expect(
      of(first, each)
        .map((request) => request.slice(request.lastIndexOf("/") + 1))
        .sort(),
    ).toEqual([each.manifestDigest, each.configDigest].sort());
  // The index by its tag, and what is attached to it: two tags of cosign's and a list of referrers.
  expect(first).toHaveLength(2 * index.images.length + 4);
  policy();
});

test("a revoked builder is looked for in the provenance of each image of an index", async () => {
  const index = await pushIndex(`${registry.host}/other/built${serial++}`, "1", ["amd64", "arm64"]);
  const [file, key] = ["predicate.json", "release.key"].map((name) => join(verifier.directory, name));
  const builder = "https://builder.example/broken";
  const externalParameters = { workflow: { repository: "https://github.com/acme/shop" } };
  writeFileSync(file as string, JSON.stringify({ buildDefinition: { buildType: "t", externalParameters }, runDetails: { builder: { id: builder } } }));
  writeFileSync(key as string, release?.privateKey.export({ type: "pkcs8", format: "pem" }) as string);
  const [, arm] = index.images;
  const args = [`${index.repository}@${arm?.manifestDigest}`, "--predicate", file as string, "--type", SLSA_V1, "--key", key as string];
  expect(await runCommand(attestCommand, args, { DOCKER_CONFIG: "/nonexistent" })).toMatchObject({ code: 0 });
  const revoking = (builder: string, rules: object[] = []) =>
    service({
      authorities: [{ name: "release", key: release?.publicKey.export({ type: "spki", format: "pem" }) }],
      ...{ rules, revocations: [{ reason: "broken in", builder }], admission: { mode: "enforce" } },
    });
  const refused = { allowed: false, message: expect.stringContaining("broken in") };
  expect(await answer(revoking(builder), `${index.repository}:1`)).toMatchObject(refused);
  expect(await answer(revoking(`${builder}-not`), `${index.repository}:1`)).toMatchObject({ allowed: true });
  await signed({ repository: index.repository, manifestDigest: index.digest }, release?.privateKey as KeyObject);
  const rules = [{ name: "ours", require: { signatures: { authorities: ["release"] } } }];
  expect(await answer(revoking(builder, rules), `${index.repository}:1`), "signed as a whole").toMatchObject(refused);
  expect(await answer(revoking(`${builder}-not`, rules), `${index.repository}:1`)).toMatchObject({ allowed: true });
  const amd = pod(`${index.repository}:1`, {}, { nodeSelector: { "kubernetes.io/arch": "amd64" } });
  expect(await answer(revoking(builder, rules), amd)).toMatchObject({ allowed: true });
});

test("of bases, what is built on another is refused, of an index each image, and a config is asked for only where a policy needs it", async () => {
  const good = await image(release?.privateKey);
  const policyWith = (baseLayers: readonly string[], revocations: readonly object[] = []) =>
    service({
      authorities: [{ name: "release", key: release?.publicKey.export({ type: "spki", format: "pem" }) }],
      rules: [{ name: "ours", require: { signatures: { authorities: ["release"] }, baseLayers } }],
      revocations,
      admission: { mode: "enforce" },
    });
  const configs = (pushed: { readonly configDigest: string }) =>
    registry.requests.filter((asked) => asked.startsWith("GET ") && asked.endsWith(`/blobs/${pushed.configDigest}`)).length;
  const other = `sha256:${"e".repeat(64)}`;
  const [own = ""] = good.diffIds;
  expect(await answer(policyWith([]), good.reference)).toMatchObject({ allowed: true });
  expect(configs(good)).toBe(0);
  const asked = policyWith([other, own]);
  expect(await answer(asked, good.reference)).toMatchObject({ allowed: true });
  expect(await answer(asked, good.reference)).toMatchObject({ allowed: true });
  expect(configs(good)).toBe(1);
  expect(await answer(policyWith([other]), good.reference)).toMatchObject({ allowed: false, message: expect.stringContaining(`baseLayers: ${other}`) });
  const revoked = [{ reason: "CVE-2026-0001", layers: own }];
  expect(await answer(policyWith([], revoked), good.reference)).toMatchObject({ allowed: false, message: expect.stringContaining("CVE-2026-0001") });
  expect(await answer(policyWith([], [{ reason: "other", layers: other }]), good.reference)).toMatchObject({ allowed: true });

  const index = await pushIndex(`${registry.host}/acme/based${serial++}`, "1", ["amd64", "arm64"]);
  await signed({ repository: index.repository, manifestDigest: index.digest }, release?.privateKey as KeyObject);
  const [base = ""] = index.images[0]?.diffIds ?? [];
  expect(await answer(policyWith([base]), `${index.repository}:1`)).toMatchObject({ allowed: true });
  expect(await answer(policyWith([other]), `${index.repository}:1`)).toMatchObject({ allowed: false, message: expect.stringContaining("baseLayers: ") });
  expect(await answer(policyWith([], [{ reason: "old base", layers: base }]), `${index.repository}:1`)).toMatchObject({ allowed: false });
});

test("of vulnerabilities, an image without a scan is kept out, one with a scan that pleases is let in, of an index every image must have one", async () => {
  const good = await image(release?.privateKey);
  const index = await pushIndex(`${registry.host}/acme/scanned${serial++}`, "1", ["amd64", "arm64"]);
  await signed({ repository: index.repository, manifestDigest: index.digest }, release?.privateKey as KeyObject);
  const { findings, statements, ...scan } = parseReport(bytesOf(trivyReport([], { createdAt: new Date().toISOString() })));
  const report = { ...scan, findings, statements, digest: "sha256:1", recordedAtMs: 0, importedBy: "ada", authorities: [] };
  /** @param scanned digests of configurations of which a scan is there */
  const asking = (...scanned: readonly (string | undefined)[]) =>
    service(
      {
        authorities: [{ name: "release", key: release?.publicKey.export({ type: "spki", format: "pem" }) }],
        rules: [{ name: "ours", require: { signatures: { authorities: ["release"] }, vulnerabilities: { maxSeverity: "high" } } }],
        admission: { mode: "enforce" },
      },
      {},
      (digests) => (digests.some((digest) => scanned.includes(digest)) ? [report] : []),
    );
  expect(await answer(asking(), good.reference)).toMatchObject({ allowed: false, message: expect.stringContaining("no scan") });
  expect(await answer(asking(good.configDigest), good.reference)).toMatchObject({ allowed: true });
  const [amd, arm] = index.images.map(({ configDigest }) => configDigest);
  expect(await answer(asking(amd), `${index.repository}:1`)).toMatchObject({ allowed: false, message: expect.stringContaining("no scan") });
  expect(await answer(asking(amd, arm), `${index.repository}:1`)).toMatchObject({ allowed: true });
});

describe("a namespace's own policy", () => {
  const key = (of: KeyObject | undefined) => of?.export({ type: "spki", format: "pem" }).toString();
  const requiring = (name: string, of: KeyObject | undefined) => ({
    authorities: [{ name, key: key(of) }],
    rules: [{ name: "signed", require: { signatures: { authorities: [name] } } }],
  });
  test("asks for more, in its namespace and nowhere else, and says so in its own name", async () => {
    const [own, common] = [await image(second?.privateKey), await image(release?.privateKey)];
    const authorities = [release, second].map((pair, i) => ({ name: `a${i}`, key: key(pair?.publicKey) }));
    const cluster = { authorities, rules: [{ name: "any", require: { signatures: { authorities: ["a0", "a1"] } } }], admission: { mode: "enforce" } };
    const asking = service(cluster, requiring("team", second?.publicKey));
    expect(await answer(asking, own.reference)).toMatchObject({ allowed: true });
    expect(await answer(asking, common.reference)).toMatchObject({ allowed: false, message: expect.stringContaining('refused by rule "shop/signed"') });
    expect(await answer(asking, common.reference, "other")).toMatchObject({ allowed: true });
  });

  test("lets nothing in that the cluster's keeps out", async () => {
    const own = await image(second?.privateKey);
    const asking = service({ ...requiring("release", release?.publicKey), admission: { mode: "enforce" } }, requiring("team", second?.publicKey));
    expect(await answer(asking, own.reference)).toMatchObject({ allowed: false, message: expect.stringContaining('refused by rule "signed"') });
  });

  test("has a rule of the cluster's refuse that only tells elsewhere; a rule of its own tells as it says", async () => {
    const bad = await image(undefined);
    const asked = requiring("release", release?.publicKey);
    const cluster = { ...asked, rules: asked.rules.map((rule) => ({ ...rule, admission: "warn" })), admission: { mode: "enforce" } };
    expect(await answer(service(cluster, {}), bad.reference)).toMatchObject({ allowed: true, warnings: 1 });
    expect(await answer(service(cluster, { admission: { mode: "enforce" } }), bad.reference)).toMatchObject({ allowed: false });
    const own = { ...asked, rules: asked.rules.map((rule) => ({ ...rule, admission: "audit" })), admission: { mode: "warn" } };
    expect(await answer(service({ admission: { mode: "enforce" } }, own), bad.reference)).toMatchObject({ allowed: true, warnings: 0 });
    expect(await answer(service({ ...asked, admission: { mode: "enforce" } }, own), bad.reference)).toMatchObject({
      allowed: false,
      message: expect.not.stringContaining("shop/signed"),
    });
  });

  test("has refused what the cluster's only tells, and cannot have told only what that refuses", async () => {
    const bad = await image(undefined);
    const telling = (mode: string, own: string) => service({ ...requiring("release", release?.publicKey), admission: { mode } }, { admission: { mode: own } });
    expect(await answer(telling("audit", "enforce"), bad.reference)).toMatchObject({ allowed: false });
    expect(await answer(telling("audit", "enforce"), bad.reference, "other")).toMatchObject({ allowed: true, warnings: 0 });
    expect(await answer(telling("audit", "warn"), bad.reference)).toMatchObject({ allowed: true, warnings: 1 });
    expect(await answer(telling("enforce", "audit"), bad.reference)).toMatchObject({ allowed: false });
  });
});

/** As the verifier wires it, with the cluster's policy and one of `shop`'s own. */
function service(cluster: object, team: object = {}, imported: ImportedReports = () => []): AdmissionService {
  const whole = policyOf(cluster, "cluster");
  const judged = judgeTeam({ namespace: "shop", spec: team }, whole);
  if (!judged.inForce) throw new Error(judged.message);
  const policy = withTeams(whole, { shop: judged.policy });
  return admissionService({ registry: client, policy: () => policy, exemptNamespaces: ["kube-system"], imported });
}

async function answer(asking: AdmissionService, asked: string | object, namespace = "shop") {
  const request = readReview(JSON.parse(review({ namespace, object: typeof asked === "string" ? pod(asked) : asked }, randomUUID())));
  const { allowed, message, warnings } = await asking.answer(request, "fail", AbortSignal.timeout(30_000));
  return { allowed, message, warnings: warnings.length };
}

test("a certificate that its authority takes back lets nothing more in, and one of which nobody can tell nothing either", async () => {
  const authority = await OpensslCa.create(join(verifier.directory, "authority"));
  const [stolen, lost] = [authority.issue("stolen"), authority.issue("lost", `crlDistributionPoints = URI:${authority.url("/none.crl")}`)];
  authority.served.set("/ca.crl", authority.list());
  const notary = async (name: string, by: typeof stolen): Promise<string> => {
    const pushed = await pushImage(`${registry.host}/notary/${name}`, { tag: "1", layers: [{ name }] });
    await attachNotary(client, pushed, signNotary(by, notaryPayload(pushed.manifestDigest, pushed.manifestBytes.length)));
    return `${pushed.repository}:1`;
  };
  const [one, other] = [await notary("one", stolen), await notary("other", lost)];
  policy(
    `  trustStores: [{ name: acme, certificates: [${JSON.stringify(authority.rootPem)}] }]`,
    "    - { name: vendor, notary: { trustStore: acme, subject: { CN: release } } }",
    '    - { name: notary, select: { images: ["**/notary/**"] }, require: { signatures: { authorities: [vendor] } } }',
  );
  const answered = async (reference: string) => await ask({ object: pod(reference) });
  // Before the policy is read again no rule asks for anything there.
  const unknown = await until(
    () => answered(other),
    ({ allowed }) => !allowed,
  );
  expect(unknown.status?.message).toMatch(/none\.crl.* could not be fetched: HTTP 404/);
  expect(unknown.status?.message).toContain("revocationListFiles");
  expect(await answered(one)).toMatchObject({ allowed: true });
  authority.revoke("stolen", "-crl_reason", "keyCompromise");
  authority.served.set("/ca.crl", authority.list());
  verifier.clock.shiftMs += 11 * 60_000;
  // By the list that is good still, until the newer one is there.
  const refused = await until(
    () => answered(one),
    ({ allowed }) => !allowed,
  );
  expect(refused.status?.message).toMatch(/was revoked on .* by its authority: key compromise/);
  verifier.clock.shiftMs -= 11 * 60_000;
  policy();
  await until(
    () => answered(one),
    ({ allowed }) => allowed,
  );
  await authority.close();
});
