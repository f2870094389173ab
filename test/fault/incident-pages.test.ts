/** One drift on 300 nodes is one page, by a real Alertmanager, and one line in a real browser: over restarts, a crash at each step of the outbox, acknowledgement, and clocks that are set. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { ALERT_FAILPOINTS } from "@hullmark/verifier/core/alerting/index";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { acknowledgeIncident } from "../../cli/incident/acknowledge.ts";
import { fetchIncidents } from "../../cli/incident/fetch.ts";
import { bundleDashboard } from "../../dashboard/bundle.ts";
import { Alertmanager } from "../fakes/alertmanager.ts";
import { Attester } from "../fakes/attester.ts";
import { startChromium, visit } from "../fakes/chromium.ts";
import { dashboardOrigin, readable, signedIn } from "../fakes/dashboard-page.ts";
import { HttpReceiver } from "../fakes/http-receiver.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { scriptedWeb } from "../fakes/scripted-web.ts";
import { TestVerifier } from "../fakes/verifier.ts";
import { VerifierProcess } from "../fakes/verifier-process.ts";

const NODES = 300;
const POLL = { timeout: 240_000, interval: 100 };
const HOUR_MS = 3_600_000;

let registry: FakeRegistry;
let image: PushedImage;
beforeAll(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
});
afterAll(() => registry.close());

/** A webhook that is told itself, and a pager behind Alertmanager. */
async function receivers() {
  const stack = new AsyncDisposableStack();
  const hook = stack.use(await new HttpReceiver().start());
  const pager = stack.use(await new HttpReceiver().start());
  const alertmanager = stack.use(await Alertmanager.start(pager.url, ["incident"]));
  const policy = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: p }
spec:
  intervals: { heartbeat: 5m, quote: 1h }
  alerts:
    routes:
      - { name: hook, type: webhook, url: "${hook.url}", minSeverity: info, timeout: 5s }
      - { name: pager, type: alertmanager, url: "${alertmanager.url}", minSeverity: info, timeout: 5s }
`;
  return { stack, hook, pager, alertmanager, policy };
}

interface Told {
  readonly id: string;
  readonly data: { readonly alerts: readonly { readonly kind: string; readonly status: string; readonly nodeCount: number; readonly reopened: number }[] };
}

/** What the webhook was told of added files; the same notification once more counts once. */
function toldTo({ received }: HttpReceiver) {
  const events = new Map(received.map(({ body }) => JSON.parse(body) as Told).map((event) => [event.id, event]));
  return [...events.values()].flatMap(({ data }) => data.alerts.filter(({ kind }) => kind === "added"));
}
const statuses = (receiver: HttpReceiver): string[] => toldTo(receiver).map(({ status }) => status);

interface Page {
  readonly status: string;
  readonly groupKey: string;
  readonly alerts: readonly { readonly labels: Record<string, string> }[];
}
/** What Alertmanager paged of added files. */
const pagesTo = ({ received }: HttpReceiver): string[] =>
  received
    .map(({ body }) => JSON.parse(body) as Page)
    .flatMap(({ status, alerts }) => (alerts.some(({ labels }) => labels["kind"] === "added") ? [status] : []));
const heldBy = async (alertmanager: Alertmanager): Promise<(string | undefined)[]> =>
  (await alertmanager.alerts()).filter(({ labels }) => labels["kind"] === "added").map(({ annotations }) => annotations["summary"]);

const chunked = async <T>(items: readonly T[], size: number, work: (item: T, index: number) => Promise<unknown>): Promise<void> => {
  for (let at = 0; at < items.length; at += size) await Promise.all(items.slice(at, at + size).map((item, i) => work(item, at + i)));
};

/** What a person sees of it: one line, its nodes by name, and pages that can be read with so much on them. */
async function inBrowser(verifier: TestVerifier): Promise<void> {
  const browser = await startChromium();
  try {
    const page = await signedIn(browser, verifier);
    await page.getByText("1 incident stands").waitFor();
    const line = page.getByRole("row").filter({ hasText: "/etc/evil added" });
    await expect.poll(() => line.getByRole("cell").nth(3).textContent(), POLL).toBe(String(NODES));
    await readable(page, "fleet-overview");
    for (const path of ["/drift", "/images", "/log", "/nodes"]) {
      await visit(page, `${dashboardOrigin(verifier)}${path}`);
      await readable(page, `fleet${path.replace("/", "-")}`);
    }
    await page.getByRole("searchbox").fill("w-299");
    await expect.poll(() => page.getByRole("row").count(), POLL).toBe(2);
    await visit(page, `${dashboardOrigin(verifier)}/incidents`);
    await line.getByRole("link").first().click();
    await page.getByRole("heading", { name: "Timeline" }).waitFor();
    await readable(page, "fleet-incident");
  } finally {
    await browser.close();
  }
}

test(`one drift on ${NODES} nodes: one incident, one page, one more where it spreads after somebody has acknowledged it, one end`, {
  timeout: 900_000,
}, async () => {
  const { stack, hook, pager, alertmanager, policy } = await receivers();
  await using _ends = stack;
  const verifier = new TestVerifier();
  stack.defer(() => verifier.dispose());
  const config = `policyFile: ${verifier.policy(policy)}\nenrolment: { mode: tofu, acceptWithoutCertificate: true, perSecond: 1000 }`;
  const directory = mkdtempSync(join(tmpdir(), "hullmark-fleet-"));
  stack.defer(() => rmSync(directory, { recursive: true }));
  await bundleDashboard(directory);
  await verifier.start(`${config}\ndashboard: { listen: "127.0.0.1:0" }`, directory);
  const nodes = Array.from({ length: NODES + 2 }, (_, at) => verifier.attester({ name: `w-${at}`, quoter: new FakeQuoter() }));
  const addresses = () => ({ mainAddress: verifier.mainAddress, enrolmentAddress: `localhost:${verifier.running?.enrolmentPort}` });
  const connect = async (node: Attester): Promise<void> => {
    node.options = { ...node.options, ...addresses() };
    await node.connect();
  };
  const report = async (node: Attester, at: number, added: readonly string[]): Promise<void> => {
    node.set(scriptedWeb(image, at, added));
    await node.report([...node.containers.keys()]);
  };
  await chunked(nodes, 20, async (node, at) => {
    await connect(node);
    node.set(scriptedWeb(image, at, []));
    await node.report();
  });
  const judged = async () => (await verifier.query.getWorkload({ container: `web-${NODES}` })).workload;
  await expect.poll(judged, POLL).toMatchObject({ content: Verdict.AFFIRMING });
  const asking = () => ({ channel: verifier.admin(), signal: new AbortController().signal, namespace: undefined });
  const incidents = async () => (await fetchIncidents(asking(), true)).incidents;
  const drifts = async (): Promise<{ open: number; alerted: number }> => {
    const [incident] = await incidents();
    const members = incident?.members ?? [];
    return { open: members.filter(({ drift }) => drift.state !== DriftState.RESOLVED).length, alerted: members.filter(({ drift }) => drift.alertedAt).length };
  };

  await chunked(nodes.slice(0, NODES), 20, (node, at) => report(node, at, ["etc/evil"]));
  await expect.poll(drifts, POLL).toEqual({ open: NODES, alerted: NODES });
  expect(await incidents()).toHaveLength(1);
  expect(statuses(hook)).toEqual(["firing"]);
  // Who joins is in the same alert, and pages nobody.
  await expect.poll(() => heldBy(alertmanager), POLL).toEqual([expect.stringMatching(/and 299 more nodes$/)]);
  expect(pagesTo(pager)).toEqual(["firing"]);
  await inBrowser(verifier);

  // Restarts, with a clock that is set on and then back by hours. TLS goes by the real time: no certificate may be over by then.
  for (const shiftMs of [3 * HOUR_MS, -HOUR_MS / 2, 0]) {
    await verifier.stop();
    verifier.clock.shiftMs = shiftMs;
    await verifier.start(config);
    // Their certificates have expired, or are still to begin: they enrol again, as agents do.
    for (const node of nodes.slice(0, 5)) node.credential = undefined;
    await chunked(nodes.slice(0, 5), 5, connect);
    await chunked(nodes.slice(0, 5), 5, (node, at) => report(node, at, ["etc/evil"]));
  }
  await chunked(nodes.slice(5), 20, connect);
  const [incident] = await incidents();
  if (!incident) throw new Error("no incident");
  expect(await acknowledgeIncident(asking(), incident, "known")).toMatchObject({ refused: [] });
  expect([statuses(hook), pagesTo(pager)]).toEqual([["firing"], ["firing"]]);

  // News: it spreads. The one after it is not.
  for (const at of [NODES, NODES + 1]) await report(nodes[at] as Attester, at, ["etc/evil"]);
  await expect.poll(drifts, POLL).toEqual({ open: NODES + 2, alerted: NODES + 2 });
  await expect.poll(() => heldBy(alertmanager), POLL).toEqual([expect.stringMatching(/and 301 more nodes$/)]);
  expect(toldTo(hook)).toMatchObject([{ status: "firing" }, { status: "firing", nodeCount: NODES + 1 }]);

  await chunked(nodes, 20, (node, at) => report(node, at, []));
  await expect.poll(() => heldBy(alertmanager), POLL).toEqual([]);
  await expect.poll(() => pagesTo(pager), POLL).toEqual(["firing", "resolved"]);
  expect(statuses(hook)).toEqual(["firing", "firing", "resolved"]);

  // It returns, by the same name.
  await report(nodes[0] as Attester, 0, ["etc/evil"]);
  await expect.poll(() => pagesTo(pager), POLL).toEqual(["firing", "resolved", "firing"]);
  expect(toldTo(hook).at(-1)).toMatchObject({ status: "firing", nodeCount: 1, reopened: 1 });
});

describe("the verifier's process is killed", () => {
  test.each(ALERT_FAILPOINTS)("at %s: after a restart there is one page", { timeout: 240_000 }, async (failpoint) => {
    const { stack, hook, pager, alertmanager, policy } = await receivers();
    await using _ends = stack;
    const verifier = new VerifierProcess(policy);
    stack.defer(() => verifier.dispose());
    await verifier.start(failpoint);
    const node = new Attester({ ...verifier.addresses, ca: verifier.ca, name: "w-1", quoter: new FakeQuoter() });
    stack.defer(() => node.close());
    await node.enrol();
    const drift = async (): Promise<void> => {
      await node.connect();
      node.set(scriptedWeb(image, 1, ["etc/evil"]));
      await node.report();
    };
    // It may die before the last answer has arrived. A place that is not passed would leave it running.
    await drift().catch(() => undefined);
    expect(await verifier.died).toBe("SIGKILL");
    await node.close();
    await verifier.start();
    node.options = { ...node.options, ...verifier.addresses };
    await drift();
    await expect.poll(() => [statuses(hook), pagesTo(pager)], POLL).toEqual([["firing"], ["firing"]]);
    expect(await heldBy(alertmanager)).toHaveLength(1);
    const alerted = async () =>
      (await verifier.query.listDrift({ pageSize: 10 })).drifts.filter(({ kind }) => kind === "added").map(({ alertedAt }) => alertedAt !== undefined);
    await expect.poll(alerted, POLL).toEqual([true]);
    node.set(scriptedWeb(image, 1, []));
    await node.report([...node.containers.keys()]);
    await expect
      .poll(() => [statuses(hook), pagesTo(pager)], POLL)
      .toEqual([
        ["firing", "resolved"],
        ["firing", "resolved"],
      ]);
  });
});
