/** Debian's Prometheus scrapes a running verifier, evaluates the rules that we ship, and tells the real Alertmanager. */
import { hash } from "node:crypto";
import { encodeRecord } from "@hullmark/proto/codec";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { type Prometheus, startPrometheus } from "../../deploy/testbed/prometheus.ts";
import type { ScriptedContainer } from "../fakes/attester.ts";
import { HttpReceiver } from "../fakes/http-receiver.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const RULES = new URL("../../deploy/monitoring/rules.yaml", import.meta.url).pathname;
const POLICY = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: monitored }
spec:
  mode: observe
  severities: { added: critical, "upper/added": critical }
`;
const ID = "web".padEnd(64, "0");
const directory = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false });

interface Told {
  readonly alerts: readonly {
    readonly status: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
  }[];
}

let receiver: HttpReceiver;
let bed: Testbed;
let images: FakeRegistry;
let image: PushedImage;
let verifier: TestVerifier;
let prometheus: Prometheus;

beforeAll(async () => {
  receiver = await new HttpReceiver().start();
  bed = await startTestbed({ name: "prometheus", parts: { alertmanager: { webhookUrl: receiver.url } } });
  images = await startFakeRegistry();
  image = await pushImage(`${images.host}/acme/web`);
  verifier = new TestVerifier();
  await verifier.start(`policyFile: ${verifier.policy(POLICY)}\nenrolment: { mode: tofu, acceptWithoutCertificate: true }`);
  const target = `http://127.0.0.1:${verifier.running?.httpPort}`;
  prometheus = await startPrometheus(bed.directory, bed.env, { target, alertmanager: bed.alertmanager?.url ?? "", ruleFile: RULES });
});
afterAll(async () => {
  await bed?.down();
  await verifier?.dispose();
  await images?.close();
  await receiver?.[Symbol.asyncDispose]();
});

const value = async (expression: string): Promise<number | undefined> => (await prometheus.query(expression))[0]?.value;
const becomes = (expression: string, wanted: number): Promise<void> => expect.poll(() => value(expression), { timeout: 40_000, interval: 250 }).toBe(wanted);
const told = (alert: string, status: string) =>
  receiver.waitFor(({ body }) => (JSON.parse(body) as Told).alerts.find((each) => each.status === status && each.labels["alertname"] === alert), 40_000);

function web(upper: ScriptedContainer["upper"]): ScriptedContainer {
  const content = Buffer.from("port=80\n");
  const file = encodeRecord({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(content.length), sha256: hash("sha256", content, "buffer") });
  const layer = LayerTree.build([
    { path: Buffer.from("etc"), record: directory, implied: true },
    { path: Buffer.from("etc/app.conf"), record: file, implied: false },
  ]);
  const init = dockerInitLayer(MergedTree.of([layer]));
  const reference = { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest };
  const layers = [
    { id: "layer-0", tree: layer },
    { id: "init-web", tree: init, runtimeMade: true },
  ];
  return { id: ID, name: "web", image: reference, layers, upper };
}

test("the shipped rules are loaded, healthy, and the dead man's switch arrives", async () => {
  await told("HullmarkDeadMansSwitch", "firing");
  await becomes('up{job="hullmark"}', 1);
  await becomes("min(hullmark_component_ready)", 1);
  const response = await fetch(`${prometheus.url}/api/v1/rules`);
  const { data } = (await response.json()) as { data: { groups: { rules: { name: string; health: string; lastError?: string }[] }[] } };
  const rules = data.groups.flatMap((group) => group.rules);
  expect(rules.length).toBeGreaterThan(15);
  expect(rules.filter(({ lastError }) => lastError)).toEqual([]);
});

test("a critical drift is seen by the rule, told to Alertmanager, and resolved when it is over", async () => {
  const attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await attester.connect();
  attester.set(web(new Map()));
  await attester.report();
  await becomes('hullmark_images{state="ready"}', 1);
  attester.set(web(new Map([["evil", directory]])));
  await attester.report([ID]);
  await becomes('sum(hullmark_drifts_open{severity="critical",kind="added"})', 1);
  expect(await told("HullmarkDriftCriticalOpen", "firing")).toMatchObject({
    labels: { severity: "critical", kind: "added", job: "hullmark" },
    annotations: { summary: "1 critical drift of kind added is open", runbook_url: "docs/playbooks.md#critical-drift" },
  });
  attester.set(web(new Map()));
  await attester.report([ID]);
  await becomes('sum(hullmark_drifts_open{severity="critical"}) or vector(0)', 0);
  await told("HullmarkDriftCriticalOpen", "resolved");
});
