/** The limits of a cluster's own actuator hold back what policy lets go: real verifier, the actuator as it is over pods in memory. However many it refuses, and however often, that is one page. */
import { createPublicKey } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileLedger } from "@hullmark/actuator/adapters/file-ledger/file-ledger";
import { IntentKeys } from "@hullmark/actuator/adapters/grpc/verifier-link";
import { Actuator } from "@hullmark/actuator/core/actuator";
import { ClusterHands } from "@hullmark/actuator/core/cluster-hands";
import { ActionState, Response } from "@hullmark/proto/v1/response";
import { afterEach, beforeEach, expect, test } from "vitest";
import { admitActuator } from "../fakes/admit-actuator.ts";
import type { Attester } from "../fakes/attester.ts";
import { FakeCluster, FakeFence, FakeRollouts } from "../fakes/cluster.ts";
import { alertsOf, HttpReceiver } from "../fakes/http-receiver.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { scriptedWeb } from "../fakes/scripted-web.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const PODS = 100;
/** Of an hour, by the actuator's configuration. */
const OWN_PERCENT = 2;
const POLL = { timeout: 80_000, interval: 100 };

let registry: FakeRegistry;
let image: PushedImage;
let pager: HttpReceiver;
let directory: string;
let ledger: FileLedger;
const verifier = new TestVerifier();
const cluster = new FakeCluster();

beforeEach(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  pager = await new HttpReceiver().start();
  directory = mkdtempSync(join(tmpdir(), "hullmark-cluster-breaker-"));
  ledger = new FileLedger(directory, Date.now());
});
afterEach(async () => {
  await verifier.dispose();
  await pager[Symbol.asyncDispose]();
  await registry.close();
  ledger.close();
  rmSync(directory, { recursive: true });
});

const policy = (): string => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: p }
spec:
  mode: enforce
  intervals: { heartbeat: 5m, quote: 1h }
  alerts: { routes: [{ name: page, type: webhook, url: "${pager.url}", minSeverity: info, groupBy: [] }] }
  response:
    pause: 4m
    hourlyPercent: 100
    rules: [{ name: all, ladder: { low: [evict], medium: [evict], high: [evict], critical: [evict] } }]
`;

/** The actuator of the cluster, but for its process: it pulls, decides within its own limits, and reports. */
async function act(): Promise<void> {
  const { client, intentKeys } = await admitActuator(verifier, { cluster: true });
  const limits = { pauseMs: 0, hourlyPercent: OWN_PERCENT, protect: [] };
  const hands = new ClusterHands({
    cluster,
    rollouts: new FakeRollouts(image.configDigest),
    fence: new FakeFence(cluster),
    ledger,
    limits,
    ownNamespace: "hullmark",
    onUntold: () => {},
  });
  const known = new IntentKeys(
    intentKeys.map((der) => createPublicKey({ key: Buffer.from(der), format: "der", type: "spki" })),
    () => [],
  );
  const actuator = new Actuator({
    ...{ identity: { cluster: "prod", region: verifier.region }, hands, ledger, passing: () => {}, told: () => {} },
    ...{ verify: (message, signature) => known.verify(message, signature), nowMs: () => verifier.clock.nowMs() },
    report: async (intentId, { outcome, reason, detail }) =>
      void (await client.reportOutcome({ intentId: Buffer.from(intentId, "hex"), outcome, reason, detail })),
  });
  void (async () => {
    for await (const { intent } of client.pullIntents({})) if (intent) await actuator.offer(intent);
  })().catch(() => undefined); // the verifier stops
}

/** Pods of services of their own, all of which change at once. */
async function driftAll(): Promise<Attester> {
  const node = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await node.connect();
  for (let i = 0; i < PODS; i++) {
    const scripted = scriptedWeb(image, i, ["etc/added"]);
    const containers = [{ name: "web", id: scripted.id, imageDigest: image.configDigest, image: FakeCluster.image, running: true }];
    const { target } = cluster.add(`web-${i}`, { containers });
    const pod = { namespace: "shop", name: `web-${i}`, uid: target.uid, container: "web", ownerKind: "ReplicaSet", ownerName: `web-${i}` };
    node.set({ ...scripted, name: `shop/web-${i}/web`, workload: `shop/web-${i}`, pod });
  }
  // What goes makes the others no fewer than the limits are of.
  for (let i = 0; i < 10; i++) cluster.add(`other-${i}`);
  await node.report();
  await verifier.adminClient.requestQuote({ nodeId: node.options.name });
  return node;
}

/** Something else drifts, of which there is a page. */
async function toldOf(node: Attester, name: string): Promise<void> {
  node.set({ ...scriptedWeb(image, PODS + name.length, [`etc/${name}`]), name });
  await node.report();
  await verifier.adminClient.requestQuote({ nodeId: node.options.name });
  await expect.poll(() => alertsOf(pager, "added").some(({ path }) => path === `/etc/${name}`), POLL).toBe(true);
}

test("a hundred pods change at once and policy lets all of them go: the actuator evicts as many as its own limits allow, and people are paged once, also when it is asked again", {
  timeout: 240_000,
}, async () => {
  const settings = `enrolment: { mode: tofu, acceptWithoutCertificate: true }\nkubernetes: { apiServer: 'https://localhost:1', cluster: prod }\n`;
  await verifier.start(`${settings}policyFile: ${verifier.policy(policy())}`);
  await act();
  const node = await driftAll();
  const people = verifier.admin().client(Response);
  const listed = async () => (await people.listActions({ pageSize: 999 })).actions;
  const refused = async () => (await listed()).filter(({ state, reason }) => state === ActionState.REFUSED && reason === "breaker").length;
  const allowed = (PODS * OWN_PERCENT) / 100;
  await expect.poll(refused, POLL).toBe(PODS - allowed);
  expect(cluster.evicted).toHaveLength(allowed);
  const pages = () => alertsOf(pager, "breaker").map(({ status, severity, summary }) => [status, severity, summary]);
  await expect.poll(pages, POLL).toHaveLength(1);
  // It is asked for again when the pause is over; what was refused counts in policy's own limits too.
  verifier.clock.pass(241_000);
  const held = async () => (await people.listActions({})).held;
  await expect.poll(held, POLL).toEqual({ breaker: PODS - allowed });
  // Whatever was to be told before these has been told by then.
  for (const name of ["one", "another"]) await toldOf(node, name);
  expect(pages()).toEqual([["firing", "critical", "CRITICAL the breaker of v1 holds actions back"]]);
  // What its limits hold back is no failure of which people are told once more.
  expect(alertsOf(pager, "added").filter(({ path }) => path === "/etc/added")).toHaveLength(1);
  expect(cluster.evicted).toHaveLength(allowed);
});
