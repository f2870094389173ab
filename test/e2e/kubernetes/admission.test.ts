/** A real API server asks the webhook, by the chart's own configuration: what it lets in and keeps out, what kubectl shows, and what happens where parts are dead. */
import { execFile } from "node:child_process";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { runDrill } from "../../../cli/drill/drill.ts";
import { PodTarget } from "../../../cli/drill/pod-target.ts";
import { unsignedCanaryImage } from "../../../cli/drill/unsigned-canary-image.ts";
import { Kubectl } from "../../../cli/kubectl/kubectl.ts";
import { freePort } from "../../../deploy/testbed/http-service.ts";
import { type Kubernetes, startTestbed, type Testbed } from "../../../deploy/testbed/index.ts";
import { tool } from "../../../deploy/testbed/kubernetes/tools.ts";
import { pushImage } from "../../fakes/images.ts";
import { signByKey } from "../../fakes/key-signed.ts";
import { type FakeRegistry, startFakeRegistry } from "../../fakes/registry.ts";
import { TestVerifier } from "../../fakes/verifier.ts";
import { pod, podSpec } from "./workloads.ts";

const execute = promisify(execFile);
const CHART = new URL("../../../deploy/helm/hullmark", import.meta.url).pathname;
const [release, stranger] = [0, 1].map(() => generateKeyPairSync("ec", { namedCurve: "P-256" }));
const pem = (key: KeyObject | undefined): string => JSON.stringify(key?.export({ type: "spki", format: "pem" }));
const HOUR_MS = 3_600_000;

let home: string;
let bed: Testbed;
let cluster: Kubernetes;
let registry: FakeRegistry;
let client: OciRegistry;
let verifier: TestVerifier;
let port: number;
let signed: string;
let unsigned: string;
let serial = 0;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-admission-"));
  [bed, registry, port] = await Promise.all([startTestbed({ name: "e2e-admission", parts: { kubernetes: true } }), startFakeRegistry(), freePort()]);
  if (!bed.kubernetes) throw new Error("no cluster");
  cluster = bed.kubernetes;
  client = new OciRegistry();
  [signed, unsigned] = [await image(release?.privateKey), await image(undefined)];
  await apply(
    namespace("shop", { "hullmark.dev/admission": "fail" }),
    namespace("lenient", {}),
    namespace("warned", { "hullmark.dev/admission": "fail" }),
    namespace("watched", { "hullmark.dev/admission": "fail" }),
    { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "hullmark-ca", namespace: "default" } },
    { apiVersion: "v1", kind: "Secret", metadata: { name: "hullmark-admin", namespace: "default" } },
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "verifier", namespace: "default" } },
  );
  await apply(...(await webhookOfChart()), ...rights());
  writeFileSync(join(home, "token"), await kubectl("--namespace=default", "create", "token", "verifier"));
  verifier = new TestVerifier();
  policy();
  await start();
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await verifier?.dispose();
  client?.close();
  await registry?.close();
  await bed?.down();
  if (home) rmSync(home, { recursive: true, force: true });
});

const namespace = (name: string, labels: object): object => ({ apiVersion: "v1", kind: "Namespace", metadata: { name, labels } });
const kubectl = (...args: string[]): Promise<string> => cluster.kubectl(args);
const apply = (...items: object[]): Promise<string> => cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));

/** The verifier is this process, beside the cluster: it is reached by URL instead of by the Service. */
async function webhookOfChart(): Promise<object[]> {
  const values = ["admission.enabled=true", "admission.timeoutSeconds=10"];
  const env = { ...process.env, HELM_CACHE_HOME: home, HELM_CONFIG_HOME: home, HELM_DATA_HOME: home };
  const args = ["template", "hullmark", CHART, "--kube-version=1.33.0", "--namespace=hullmark", "--show-only=templates/admission.yaml"];
  const { stdout } = await execute(tool("helm"), [...args, "--set", values.join(",")], { env });
  const configuration = parseAllDocuments(stdout)
    .map((document) => document.toJS())
    .find((each) => each?.kind === "ValidatingWebhookConfiguration");
  for (const webhook of configuration.webhooks) {
    const { path } = webhook.clientConfig.service;
    webhook.clientConfig = { url: `https://${cluster.network.hostAddress}:${port}${path}` };
  }
  return [configuration];
}

/** Of the verifier: to write into three objects, as the chart says. */
function rights(): object[] {
  const rule = (apiGroup: string, resource: string, name: string) => ({
    apiGroups: [apiGroup],
    resources: [resource],
    resourceNames: [name],
    verbs: ["patch"],
  });
  const rules = [
    rule("", "configmaps", "hullmark-ca"),
    rule("", "secrets", "hullmark-admin"),
    rule("admissionregistration.k8s.io", "validatingwebhookconfigurations", "hullmark-hullmark"),
  ];
  return [
    { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", metadata: { name: "test-verifier" }, rules },
    {
      ...{ apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRoleBinding", metadata: { name: "test-verifier" } },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "test-verifier" },
      subjects: [{ kind: "ServiceAccount", name: "verifier", namespace: "default" }],
    },
  ];
}

function policy(more = ""): string {
  return verifier.policy(`apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: door }
spec:
  authorities: [{ name: release, key: ${pem(release?.publicKey)} }]
  rules: [{ name: acme, select: { images: ["**/acme/**"] }, require: { signatures: { authorities: [release] } } }, { name: others }]
  admission:
    mode: enforce
    namespaces: [{ names: [warned], mode: warn }, { names: [watched], mode: audit }]
    breakGlass: { users: [ann] }
${more}
`);
}

async function start(): Promise<void> {
  const [{ cluster: api }] = parse(readFileSync(cluster.kubeconfig, "utf8")).clusters;
  writeFileSync(join(home, "api-ca.crt"), Buffer.from(api["certificate-authority-data"], "base64"));
  await verifier.start(`policyFile: ${verifier.policyPath}
advertisedNames: [localhost, 127.0.0.1, ${cluster.network.hostAddress}]
admission: { listen: "${cluster.network.hostAddress}:${port}" }
kubernetes:
  apiServer: ${api.server}
  caFile: ${join(home, "api-ca.crt")}
  tokenFile: ${join(home, "token")}
  publish: { namespace: default, caConfigMap: hullmark-ca, adminSecret: hullmark-admin, webhookConfiguration: hullmark-hullmark }`);
  const bundles = () => kubectl("get", "validatingwebhookconfiguration", "hullmark-hullmark", "--output=jsonpath={.webhooks[*].clientConfig.caBundle}");
  const wanted = verifier.ca.toString("base64");
  await eventually(bundles, (seen) => seen === `${wanted} ${wanted}`);
  // The API server reads configurations a moment after they are written.
  await eventually(
    () => outcome("shop", pod("probe", signed), "--dry-run=server"),
    ({ allowed }) => allowed,
  );
}

/** A new image under acme/. @returns its reference, by tag */
async function image(by: KeyObject | undefined): Promise<string> {
  const name = `app${serial++}`;
  const pushed = await pushImage(`${registry.host}/acme/${name}`, { tag: "1", layers: [{ name }] });
  if (by) await signByKey(client, pushed, by);
  return `${pushed.repository}:1`;
}

interface Outcome {
  readonly allowed: boolean;
  /** What kubectl shows besides its result: refusals and warnings. */
  readonly shown: string;
}

/** Creates an object as a person does. */
async function outcome(into: string, object: object, ...more: string[]): Promise<Outcome> {
  const file = join(home, `object-${serial++}.json`);
  writeFileSync(file, JSON.stringify(object));
  return await shown(["--namespace", into, "create", `--filename=${file}`, ...more]);
}

async function shown(args: readonly string[]): Promise<Outcome> {
  const env = { ...process.env, KUBECONFIG: cluster.kubeconfig };
  return await execute(cluster.kubectlPath, args, { env }).then(
    ({ stderr }) => ({ allowed: true, shown: stderr }),
    ({ stderr }: { stderr: string }) => ({ allowed: false, shown: stderr }),
  );
}

async function eventually<T>(look: () => Promise<T>, done: (seen: T) => boolean, withinMs = 120_000): Promise<T> {
  const untilMs = Date.now() + withinMs;
  for (;;) {
    const seen = await look();
    if (done(seen)) return seen;
    if (Date.now() > untilMs) throw new Error(`not within ${withinMs} ms: ${JSON.stringify(seen).slice(0, 4000)}`);
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

const deployment = (name: string, reference: string, annotations: object = {}): object => ({
  ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: { name } },
  spec: { replicas: 1, selector: { matchLabels: { app: name } }, template: { metadata: { labels: { app: name }, annotations }, spec: podSpec(reference) } },
});
const glass = (): object => ({
  "hullmark.dev/break-glass-by": "ann",
  "hullmark.dev/break-glass-reason": "INC-7",
  "hullmark.dev/break-glass-until": new Date(Date.now() + HOUR_MS).toISOString(),
});

describe("kubectl", () => {
  test("is let in with what is signed", async () => {
    expect(await outcome("shop", pod("good", signed))).toEqual({ allowed: true, shown: "" });
    expect(await outcome("shop", deployment("good", signed))).toEqual({ allowed: true, shown: "" });
  });

  test("is refused what is not, and shown which rule, what evidence, what would do", async () => {
    const { allowed, shown: text } = await outcome("shop", pod("bad", unsigned));
    expect(allowed).toBe(false);
    expect(text).toContain('admission webhook "fail.admission.hullmark.dev" denied the request:');
    expect(text).toContain('is refused by rule "acme": not signed: nothing is attached to it');
    expect(text).toMatch(/\n {2}asked for: signatures: 1 of release\n {2}found: {5}nothing\n {2}would do: {2}sign sha256:[0-9a-f]{64} by release /);
    expect((await outcome("shop", pod("bad", await image(stranger?.privateKey)))).shown).toContain("carries a signature, but not by release");
    for (const kind of ["deployment", "job", "cronjob"]) {
      const make = { deployment: ["deployment", "bad"], job: ["job", "bad"], cronjob: ["cronjob", "bad", "--schedule=* * * * *"] }[kind] ?? [];
      expect((await shown(["--namespace=shop", "create", ...make, `--image=${unsigned}`])).shown, kind).toContain("is refused by rule");
    }
  });

  test("is refused for a drill too, which has found and contained it by that", async () => {
    vi.stubEnv("PATH", `${dirname(cluster.kubectlPath)}:${process.env["PATH"]}`);
    const run = "0123456789";
    const target = new PodTarget({
      ...{ kubectl: new Kubectl({ kubeconfig: cluster.kubeconfig }), release: { namespace: "hullmark", name: "hullmark" } },
      ...{ namespace: "shop", run, image: unsigned, startSeconds: 90 },
    });
    const objectives = { detectMs: 60_000, alertMs: 60_000, containMs: 60_000, patienceMs: 60_000 };
    const drill = { run, target, objectives, channel: verifier.admin(), say: () => {}, signal: AbortSignal.timeout(120_000) };
    const report = await runDrill(drill, unsignedCanaryImage(unsigned));
    expect(report).toMatchObject({ outcome: "passed", problem: "", detectMs: expect.any(Number), recorded: true });
    expect(report.containment).toMatchObject({ state: "refused", ms: report.detectMs, detail: expect.stringContaining('is refused by rule "acme"') });
  });

  test("cannot slip one into a pod that runs, nor by an update", async () => {
    const debug = (reference: string) => shown(["--namespace=shop", "debug", "good", `--image=${reference}`, "--attach=false", `--container=d${serial++}`]);
    expect((await debug(unsigned)).shown).toMatch(/ephemeral container d\d+: image .* is refused by rule "acme"/);
    expect((await debug(signed)).allowed).toBe(true);
    expect((await shown(["--namespace=shop", "set", "image", "deployment/good", `web=${unsigned}`])).shown).toContain("is refused by rule");
    expect((await shown(["--namespace=shop", "set", "image", "pod/good", `web=${unsigned}`])).shown).toContain("is refused by rule");
    expect((await shown(["--namespace=shop", "label", "pod/good", "a=b"])).allowed).toBe(true);
  });

  test("is warned where that is the mode, and told nothing where the audit log is", async () => {
    const warned = await outcome("warned", pod("bad", unsigned));
    expect(warned).toMatchObject({ allowed: true, shown: expect.stringContaining("Warning: hullmark: container web: not signed") });
    expect(await outcome("watched", pod("bad", unsigned))).toEqual({ allowed: true, shown: "" });
  });
});

test("break-glass lets a Deployment and its pods in, for whom policy names", async () => {
  const asks = deployment("broken", unsigned, glass());
  expect((await outcome("shop", asks)).shown).toContain("is not among those who may");
  const granted = await outcome("shop", asks, "--as=ann", "--as-group=system:masters");
  expect(granted).toMatchObject({ allowed: true, shown: expect.stringContaining("let in by break-glass until") });
  await eventually(
    () => kubectl("--namespace=shop", "get", "pods", "--selector=app=broken", "--output=name"),
    (seen) => seen.startsWith("pod/broken-"),
  );
});

test("a revoked key counts from the moment that the policy is saved", async () => {
  policy(`  revocations: [{ reason: key was stolen, key: ${pem(release?.publicKey)} }]`);
  const refused = await eventually(
    () => outcome("shop", pod("revoked", signed), "--dry-run=server"),
    ({ allowed }) => !allowed,
  );
  expect(refused.shown).toContain("key was stolen");
  policy();
  await eventually(
    () => outcome("shop", pod("revoked", signed), "--dry-run=server"),
    ({ allowed }) => allowed,
  );
});

test("a dead registry: what is known comes in, what is new as the namespace says", async () => {
  const fresh = await image(release?.privateKey);
  registry.fault = (_, response) => {
    response.destroy();
    return true;
  };
  try {
    expect((await outcome("shop", pod("known", signed))).allowed).toBe(true);
    expect((await outcome("shop", pod("fresh", fresh))).shown).toMatch(/cannot be judged by rule "acme"[\s\S]*would do: {2}.*make the registry answer/);
    expect(await outcome("lenient", pod("fresh", fresh))).toMatchObject({ allowed: true, shown: expect.stringContaining("let in unjudged") });
  } finally {
    registry.fault = () => false;
  }
});

test("a dead verifier: as the namespace says; what ends ends, and the cluster's own comes in", async () => {
  await verifier.stop();
  try {
    expect((await outcome("shop", pod("away", signed))).shown).toContain("failed calling webhook");
    expect((await outcome("lenient", pod("away", unsigned))).allowed).toBe(true);
    expect((await outcome("kube-system", pod("own", unsigned))).allowed).toBe(true);
    // A finalizer comes off, which is an update: nobody is asked.
    await kubectl("--namespace=warned", "delete", "pod", "bad", "--grace-period=0", "--force", "--wait=true", "--timeout=120s");
    await kubectl("--namespace=shop", "delete", "deployment", "good", "--wait=true", "--timeout=120s");
  } finally {
    await start();
  }
  expect((await outcome("shop", pod("back", signed))).allowed).toBe(true);
});

test("a CA that is made anew is followed without a hand", async () => {
  const before = verifier.ca;
  await verifier.stop();
  rmSync(join(verifier.directory, "state/ca"), { recursive: true });
  await start();
  expect(verifier.ca.equals(before)).toBe(false);
  expect((await outcome("shop", pod("new-ca", unsigned))).shown).toContain("is refused by rule");
});
