/** What becomes of alerts after they are written down: waiting, given up, tried again, delivered; for people to see by `hullmark alert ls`, and to test. */
import { hash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeRecord } from "@hullmark/proto/codec";
import { Verdict } from "@hullmark/proto/v1/common";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Attester, ScriptedContainer } from "../fakes/attester.ts";
import { HttpReceiver } from "../fakes/http-receiver.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { logEntries } from "../fakes/log-entries.ts";
import { Pagerduty } from "../fakes/pagerduty.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { Scrape } from "../fakes/scrape.ts";
import { Slack } from "../fakes/slack.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const file = (content: string): Buffer =>
  encodeRecord({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(content.length), sha256: hash("sha256", content, "buffer") });
const directory = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false });
const layer = LayerTree.build([
  { path: Buffer.from("etc"), record: directory, implied: true },
  { path: Buffer.from("etc/app.conf"), record: file("port=80\n"), implied: false },
]);

const verifier = new TestVerifier();
const secrets = join(verifier.directory, "secrets");
const hook = new HttpReceiver();
const slack = new Slack();
const pagerduty = new Pagerduty();
let registry: FakeRegistry;
let image: PushedImage;
let node: Attester;

const container = (conf?: string): ScriptedContainer => ({
  ...{ id: "web".padEnd(64, "0"), name: "web", image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest } },
  layers: [
    { id: "layer-0", tree: layer },
    { id: "init", tree: dockerInitLayer(MergedTree.of([layer])), runtimeMade: true },
  ],
  upper: new Map(conf === undefined ? [] : Object.entries({ etc: directory, "etc/app.conf": file(conf) })),
});

beforeAll(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  for (const receiver of [hook, slack, pagerduty]) await receiver.start();
  mkdirSync(secrets);
  writeFileSync(join(secrets, "routing-key"), Pagerduty.KEY);
  const policy = verifier.policy(`
apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: p }
spec:
  intervals: { heartbeat: 5m, quote: 1h }
  alerts:
    routes:
      - { name: hook, type: webhook, url: "${hook.url}", minSeverity: info }
      - { name: chat, type: slack, webhookUrl: { fromFile: slack }, minSeverity: info }
      - { name: oncall, type: pagerduty, url: "${pagerduty.url}/v2/enqueue", routingKey: { fromFile: routing-key }, minSeverity: info }
      - { name: other, type: webhook, url: "${hook.url}/other", minSeverity: info, match: { namespaces: [shop] } }
      - { name: broken, type: webhook, url: "${hook.url}/broken", hmacKeys: [{ fromEnv: ABSENT }], minSeverity: info }
`);
  await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${policy}\nalertSecretsDirectory: ${secrets}`);
});
afterAll(async () => {
  await verifier.dispose();
  await registry.close();
  for (const receiver of [hook, slack, pagerduty]) await receiver[Symbol.asyncDispose]();
});

interface Listed {
  readonly id: string;
  readonly route: string;
  readonly state: string;
  readonly lastError: string;
  readonly stranded: boolean;
}
const list = async (...args: string[]): Promise<Listed[]> => {
  const { out } = await (await hullmarkOf(verifier))("alert", "ls", "-o", "json", ...args);
  return (JSON.parse(out) as { notifications: Listed[] }).notifications;
};
const ofRoute = async (route: string) => (await list("--route", route))[0];

test("each route says what its receiver answered to a test, and a test has an end", { timeout: 120_000 }, async () => {
  hook.answer = (response) => response.writeHead(202).end("thank you");
  const hullmark = await hullmarkOf(verifier);
  const { code, out } = await hullmark("alert", "test");
  expect(code).toBe(1);
  expect(out.split("\n")).toEqual([
    "hook (webhook): taken: HTTP 202: thank you",
    "chat (slack): not taken: NOTIFY_SECRET: the secret slack cannot be read: ENOENT",
    expect.stringMatching(/^oncall \(pagerduty\): taken: HTTP 202: \{"status":"success","message":"Event processed"/),
    "other (webhook): taken: HTTP 202: thank you",
    "broken (webhook): not taken: alert route broken: environment variable ABSENT is not set",
    "",
  ]);
  const { code: ended, out: json } = await hullmark("alert", "test", "oncall", "--end", "-o", "json");
  expect([ended, JSON.parse(json)]).toMatchObject([0, { routes: [{ route: "oncall", type: "pagerduty", taken: true }] }]);
  expect(pagerduty.alerts).toMatchObject([
    { alert: { state: "resolved", events: [{ payload: { summary: expect.stringContaining("nothing is wrong") } }, {}] } },
  ]);
  expect((await hullmark("alert", "test", "nobody")).code).toBe(2);
});

test("what waits, what was given up and what arrived is seen, with the reason", { timeout: 600_000 }, async () => {
  hook.answer = (response) => response.writeHead(410).end("this hook was taken away");
  node = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await node.connect();
  node.set(container());
  await node.report();
  const judged = async () => (await verifier.query.getWorkload({ container: "web" })).workload;
  await expect.poll(judged, { timeout: 240_000 }).toMatchObject({ content: Verdict.AFFIRMING });
  node.set(container("port=81\n"));
  await node.report([container().id]);

  await expect
    .poll(() => ofRoute("hook"), { timeout: 60_000 })
    .toMatchObject({ state: "dead", lastError: "NOTIFY_REJECTED: HTTP 410: this hook was taken away" });
  await expect.poll(() => ofRoute("chat"), { timeout: 60_000 }).toMatchObject({ state: "pending", lastError: expect.stringContaining("NOTIFY_SECRET") });
  await expect.poll(() => ofRoute("oncall"), { timeout: 60_000 }).toMatchObject({ state: "delivered", lastError: "", stranded: false });
  expect(await ofRoute("broken")).toMatchObject({ state: "pending", stranded: true });
  expect(await ofRoute("other")).toBeUndefined();
  expect(pagerduty.alerts.at(-1)?.alert.events[0]?.payload).toMatchObject({
    source: "w-1",
    class: "content",
    summary: expect.stringContaining("/etc/app.conf"),
  });

  const hullmark = await hullmarkOf(verifier);
  const { code, out } = await hullmark("alert", "ls");
  expect(code).toBe(1);
  expect(out).toMatch(/^ID +ROUTE +STATE +AGE +SEV +ALERTS +FAILED +NEXT +WHAT +WHY\n/);
  expect(out).toMatch(/ broken +pending .* never .*no such route in the policy, or it cannot work/);
  expect((await hullmark("alert", "ls", "--state", "delivered")).code).toBe(0);
  await expect
    .poll(async () => (await hullmark("status")).out, { timeout: 60_000 })
    .toContain("1 notifications could not be delivered: hullmark alert ls --state dead");
  const metrics = (await Scrape.from(`http://127.0.0.1:${verifier.running?.httpPort}`)).text;
  expect(metrics).toContain('hullmark_alert_outbox_notifications{state="dead"} 1');
  expect(metrics).toContain('hullmark_alert_deliveries_total{type="webhook",result="given-up"} 1');
  expect(metrics).toContain('hullmark_alert_deliveries_total{type="pagerduty",result="delivered"} 1');
});

test("a responder has it tried again, a viewer may look only; what arrived is not sent again", { timeout: 120_000 }, async () => {
  hook.answer = (response) => response.writeHead(200).end();
  const before = hook.received.length;
  const [viewer, responder] = [await hullmarkOf(verifier, "viewer"), await hullmarkOf(verifier, "responder")];
  expect((await viewer("alert", "ls")).code).toBe(1);
  expect(await viewer("alert", "retry", "--dead")).toMatchObject({ code: 2, err: expect.stringContaining("this needs the role responder") });
  const dead = (await list("--state", "dead"))[0] as Listed;
  const delivered = (await ofRoute("oncall")) as Listed;
  expect(await responder("alert", "retry", dead.id.slice(0, 12), delivered.id)).toMatchObject({
    ...{ code: 1, out: "1 due now\n", err: `hullmark: ${delivered.id} is not there, or was delivered\n` },
  });
  await expect.poll(() => ofRoute("hook"), { timeout: 60_000 }).toMatchObject({ state: "delivered", lastError: "" });
  expect((await list("--route", "hook")).map(({ id }) => id)).not.toContain(dead.id);
  expect(hook.received.length).toBe(before + 1);

  writeFileSync(join(secrets, "slack"), `${slack.webhookUrl}\n`);
  const waiting = (await ofRoute("chat")) as Listed;
  if (waiting.state === "pending") await responder("alert", "retry", waiting.id);
  await expect.poll(() => ofRoute("chat"), { timeout: 60_000 }).toMatchObject({ state: "delivered" });
  expect(slack.messages).toMatchObject([{ text: expect.stringContaining("/etc/app.conf") }]);
  expect(await responder("alert", "retry", "--dead")).toMatchObject({ code: 0, out: "none was given up\n" });
  expect(await responder("alert", "retry", "nonsense")).toMatchObject({ code: 2, err: expect.stringContaining("32 lower-case hex digits") });
  expect((await responder("alert", "ls", "--state", "dead")).out).toBe("none\n");
  expect(logEntries(verifier, "retry-notifications")[0]).toMatchObject({ by: "some-responder", first: dead.id });

  node.set(container());
  await node.report([container().id]);
  await expect.poll(() => pagerduty.alerts.at(-1)?.alert.state, { timeout: 60_000 }).toBe("resolved");
  await expect.poll(() => slack.messages.at(-1)?.text, { timeout: 60_000 }).toMatch(/^RESOLVED .*\/etc\/app\.conf/);
});
