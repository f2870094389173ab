/** What a workload writes is learned from its drift, approved by somebody else, counts on what runs, goes on with the next version, and is over at its review date. */
import { hash } from "node:crypto";
import { encodeRecord } from "@hullmark/proto/codec";
import { DriftState } from "@hullmark/proto/v1/query";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Attester } from "../fakes/attester.ts";
import { alertsOf, HttpReceiver } from "../fakes/http-receiver.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { logEntries } from "../fakes/log-entries.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { scriptedWeb } from "../fakes/scripted-web.ts";
import { TestVerifier } from "../fakes/verifier.ts";

vi.setConfig({ testTimeout: 240_000 });
const POLL = { timeout: 60_000, interval: 100 };
const DAY_MS = 86_400_000;
let registry: FakeRegistry;
let image: PushedImage;
let verifier: TestVerifier;
let node: Attester;
let receiver: HttpReceiver;

const policy = () => `${POLICY}  alerts: { routes: [{ name: page, type: webhook, url: "${receiver.url}", groupBy: [] }] }\n`;
const POLICY = "apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec:\n  intervals: { heartbeat: 5m, quote: 1h }\n";
const start = () => verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(policy())}`);

beforeEach(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  receiver = await new HttpReceiver().start();
  verifier = new TestVerifier();
  await start();
  node = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await node.connect();
});
afterEach(async () => {
  await verifier.dispose();
  await receiver[Symbol.asyncDispose]();
  await registry.close();
});

const script = encodeRecord({ type: "f", mode: 0o755, uid: 0, gid: 0, xattrs: [], size: 1n, sha256: hash("sha256", "x", "buffer") });
const LOGS = [1, 2, 3].map((n) => `var/log/app/${n}.log`);

/** The container has these files more than its image, and these that can be executed. */
async function writes(files: readonly string[], executables: readonly string[] = []): Promise<void> {
  const container = scriptedWeb(image, 1, files);
  node.set({ ...container, upper: new Map([...container.upper, ...executables.map((path) => [path, script] as const)]) });
  await node.report();
}
const open = async () => (await verifier.query.listDrift({ states: [DriftState.OPEN] })).drifts.map(({ path }) => Buffer.from(path).toString()).sort();
const drifts = (...paths: string[]) => expect.poll(open, POLL).toEqual(paths.map((path) => `/${path}`).sort());

test("from drift to what may change: proposed, looked at, approved by another; executables and code are drift all the same; over on its day", async () => {
  const [responder, approver] = [await hullmarkOf(verifier, "responder"), await hullmarkOf(verifier, "approver")];
  expect(await responder("baseline", "propose", "--workload", "web-1", "--reason", "x")).toMatchObject({
    code: 2,
    err: expect.stringContaining("no drift of that workload"),
  });
  await writes([...LOGS, "etc/app/gen.json", "var/cache/app/x.py"], ["var/log/app/run"]);
  await drifts(...LOGS, "etc/app/gen.json", "var/cache/app/x.py", "var/log/app/run");

  const args = ["baseline", "propose", "--workload", "web-1", "--since", "1h", "--owner", "team-web", "--reason", "logs"];
  const proposed = await responder(...args);
  expect(proposed.code, proposed.err).toBe(0);
  expect(proposed.out).toMatch(/log +\/var\/log\/app\/\*\.log +3/);
  expect(proposed.out).toMatch(/configuration +\/etc\/app\/gen\.json +1/);
  expect(proposed.out).toContain("not proposed: /var/cache/app/x.py: programs load code from there");
  expect(proposed.out).toContain("not proposed: /var/log/app/run: it can be executed");
  expect(proposed.out).toContain("proposed web-1@1: somebody else approves it");
  const diff = await approver("baseline", "diff", "web-1@1");
  expect(diff).toMatchObject({ code: 1, out: "+ configuration  /etc/app/gen.json\n+ log  /var/log/app/*.log\n" });
  // Nothing counts before somebody else has looked.
  expect(await open()).toHaveLength(6);
  expect((await responder("baseline", "approve", "web-1@1")).err).toContain("this needs the role approver");
  expect((await approver("baseline", "propose", "--workload", "web-1", "--reason", "own")).code).toBe(0);
  expect((await approver("baseline", "approve", "web-1@2")).err).toContain("cannot approve");
  expect(await approver("baseline", "expire", "web-1@2", "--reason", "not needed")).toMatchObject({ code: 0 });
  expect(await approver("baseline", "approve", "web-1@1", "--review-days", "30")).toMatchObject({ code: 0 });
  await drifts("var/cache/app/x.py", "var/log/app/run");

  // Another of the kind is no drift; what can be executed, or is code, is; and so is another's.
  await writes([...LOGS, "var/log/app/4.log", "var/log/app/4.log.sh", "var/log/other/5.log"], ["var/log/app/6.log"]);
  await drifts("var/log/app/4.log.sh", "var/log/other/5.log", "var/log/app/6.log");

  // It holds over a restart, and over one of the node.
  await node.close();
  await verifier.stop();
  await start();
  node.options = { ...node.options, mainAddress: verifier.mainAddress };
  await node.connect();
  await writes([...LOGS, "var/log/other/5.log"]);
  await drifts("var/log/other/5.log");

  // The next version takes over what is used still, which is no drift by now, beside what was drift in this time.
  const [again, others] = [await hullmarkOf(verifier, "responder"), await hullmarkOf(verifier, "approver")];
  expect((await again(...args)).code).toBe(0);
  expect((await others("baseline", "diff", "web-1@3")).out).toBe(
    "  configuration  /etc/app/gen.json\n  log  /var/log/app/*.log\n+ log  /var/log/other/5.log\n",
  );
  expect(await others("baseline", "approve", "web-1@3", "--review-days", "40")).toMatchObject({ code: 0 });
  expect(await others("baseline", "expire", "web-1@1", "--reason", "web-1@3")).toMatchObject({ code: 0 });
  await drifts();
  expect(JSON.parse((await again("baseline", "report", "-o", "json")).out)).toMatchObject([
    {
      kind: "workload",
      id: "web-1@3",
      of: "web-1",
      owner: "team-web",
      reason: "logs",
      approvedBy: "some-approver",
      ends: true,
      overdue: false,
      uses: 4,
      unused: false,
    },
  ]);
  expect((await again("baseline", "ls")).out).toMatch(/web-1@3 +approved +- +0 +3 +team-web +some-responder +some-approver/);

  verifier.clock.shiftMs += 34 * DAY_MS;
  await expect.poll(() => alertsOf(receiver, "baseline-review").map(({ status }) => status), POLL).toEqual(["firing"]);
  expect(alertsOf(receiver, "baseline-review")[0]).toMatchObject({
    summary: "MEDIUM baseline web-1@3 is to be looked at again",
    nextCommand: "hullmark baseline report",
  });
  expect((await (await hullmarkOf(verifier))("status")).out).toContain("baseline-ending: web-1@3 ends at");
  verifier.clock.shiftMs += 7 * DAY_MS;
  await expect.poll(() => logEntries(verifier, "baseline-expired").length, POLL).toBe(3);
  await expect.poll(() => alertsOf(receiver, "baseline-review").map(({ status }) => status), POLL).toEqual(["firing", "resolved"]);
  // Its certificate is over too by then: what has ended stays so.
  verifier.clock.shiftMs = 0;
  await node.close();
  await node.connect();
  await node.report();
  await drifts(...LOGS, "var/log/other/5.log");
  expect(logEntries(verifier, "baseline-expired").map(({ baseline, by }) => `${baseline} ${by}`)).toEqual([
    "web-1@2 some-approver",
    "web-1@1 some-approver",
    "web-1@3 null",
  ]);
  expect(logEntries(verifier, "baseline-approved")[0]).toMatchObject({
    baseline: "web-1@1",
    workload: "web-1",
    owner: "team-web",
    paths: 2,
    by: "some-approver",
  });
});

test("what is asked for wrongly is told before anything is asked", async () => {
  const responder = await hullmarkOf(verifier, "responder");
  for (const flags of [[], ["p", "--workload", "w"], ["--workload", "w", "--files"], ["p"], ["p", "--node", "n", "--since", "7d"]])
    await expect(responder("baseline", "propose", ...flags, "--reason", "x"), flags.join(" ")).rejects.toThrow("process.exit");
  for (const since of ["1m", "91d", "soon"])
    await expect(responder("baseline", "propose", "--workload", "w", "--since", since, "--reason", "x")).rejects.toThrow("process.exit");
});
