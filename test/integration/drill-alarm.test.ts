/** What a verifier makes of what drills tell it: one that failed, never ended or did not come is one alert until the next passes, over a restart too. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { alertsOf, HttpReceiver } from "../fakes/http-receiver.ts";
import { Scrape } from "../fakes/scrape.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const POLL = { timeout: 60_000, interval: 50 };
const HOUR_MS = 3_600_000;
const DAY_SECONDS = 86_400;

let receiver: HttpReceiver;
let verifier: TestVerifier;

beforeEach(async () => {
  receiver = await new HttpReceiver().start();
  verifier = new TestVerifier();
  await start();
});
afterEach(async () => {
  await verifier.dispose();
  await receiver[Symbol.asyncDispose]();
});

async function start(): Promise<void> {
  const route = `{ name: page, type: webhook, url: "${receiver.url}", groupBy: [] }`;
  const policy = `apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec: { alerts: { routes: [${route}] } }\n`;
  await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(policy)}`);
}

const objectives = { detectWithinMs: 1000, alertWithinMs: 60_000 };
const tell = (drill: string, run: string, outcome: string, more: object = {}) =>
  verifier.adminClient.recordDrill({ drill, run, outcome, container: "hullmark-drill-x", ...objectives, ...more });
const told = () => alertsOf(receiver, "drill-failed").map(({ status }) => status);
const standing = async (drill: string) => (await verifier.query.listDrills({})).standings.find((each) => each.drill === drill);
const alarm = async (drill: string) => (await Scrape.from(`http://127.0.0.1:${verifier.running?.httpPort}`)).value("hullmark_drill_alarm", { drill });

test("one that failed is told once, stays so over a restart, and is over when the next of its kind passes", async () => {
  await tell("canary-file", "aaaaaaaaaa", "begun");
  expect(await standing("canary-file")).toMatchObject({ state: "none" });
  await tell("canary-file", "aaaaaaaaaa", "failed", { problem: "no drift within 120000 ms" });
  await expect.poll(told, POLL).toEqual(["firing"]);
  expect(alertsOf(receiver, "drill-failed")[0]).toMatchObject({
    ...{ severity: "high", nextCommand: "hullmark drill report", playbook: "docs/playbooks.md#drills" },
    description: expect.stringContaining("canary-file: run aaaaaaaaaa failed: no drift within 120000 ms"),
  });
  expect(await alarm("canary-file")).toBe(1);
  expect((await verifier.query.getStatus({})).claims).toContainEqual(expect.objectContaining({ code: "drill-failed" }));
  // Another drill's success, and one that came to nothing, say nothing of it.
  for (const [drill, run, outcome] of [["canary-exec", "bbbbbbbbbb", "passed"] as const, ["canary-file", "cccccccccc", "undecided"] as const]) {
    await tell(drill, run, "begun");
    await tell(drill, run, outcome);
  }
  await verifier.stop();
  await start();
  expect(await standing("canary-file")).toMatchObject({ state: "failed", run: "aaaaaaaaaa" });
  await tell("canary-file", "dddddddddd", "begun");
  await tell("canary-file", "dddddddddd", "passed", { detectMs: 80 });
  await expect.poll(told, POLL).toEqual(["firing", "resolved"]);
  expect([await alarm("canary-file"), await alarm("canary-exec")]).toEqual([0, 0]);
  const { runs } = await verifier.query.listDrills({});
  expect(runs.map(({ run, outcome }) => `${run} ${outcome}`)).toEqual(["dddddddddd passed", "cccccccccc undecided", "bbbbbbbbbb passed", "aaaaaaaaaa failed"]);
});

test("one that began and never ended is told when its time is over", async () => {
  await tell("canary-exec", "aaaaaaaaaa", "begun", { endsWithinSeconds: 900 });
  verifier.clock.shiftMs += 2 * HOUR_MS;
  await expect.poll(told, POLL).toEqual(["firing"]);
  expect(await standing("canary-exec")).toMatchObject({ state: "never-ended", problem: expect.stringContaining("never ended") });
  // Late is better than never.
  await tell("canary-exec", "aaaaaaaaaa", "passed");
  await expect.poll(told, POLL).toEqual(["firing", "resolved"]);
});

test("one that is scheduled and does not come is told, until one comes, or until it is expected no more", async () => {
  await verifier.adminClient.scheduleDrill({ drill: "canary-file", everySeconds: DAY_SECONDS });
  await verifier.adminClient.scheduleDrill({ drill: "canary-exec", everySeconds: 30 * DAY_SECONDS });
  expect(await standing("canary-file")).toMatchObject({ state: "none", everySeconds: DAY_SECONDS, scheduledBy: "admin" });
  verifier.clock.shiftMs += 27 * HOUR_MS;
  await expect.poll(told, POLL).toEqual(["firing"]);
  expect(await standing("canary-file")).toMatchObject({ state: "overdue" });
  await tell("canary-file", "aaaaaaaaaa", "begun");
  await tell("canary-file", "aaaaaaaaaa", "passed");
  await expect.poll(told, POLL).toEqual(["firing", "resolved"]);
  verifier.clock.shiftMs += 27 * HOUR_MS;
  await expect.poll(told, POLL).toEqual(["firing", "resolved", "firing"]);
  await verifier.adminClient.scheduleDrill({ drill: "canary-file", everySeconds: 0 });
  await expect.poll(told, POLL).toEqual(["firing", "resolved", "firing", "resolved"]);
  await expect(verifier.adminClient.scheduleDrill({ drill: "canary-file", everySeconds: 0 })).rejects.toMatchObject({ code: "NOT_FOUND" });
});

test("what cannot be so is refused", async () => {
  await tell("canary-file", "aaaaaaaaaa", "passed");
  // Nobody turns a run that failed into one that passed, or the reverse.
  await expect(tell("canary-file", "aaaaaaaaaa", "failed")).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
  await tell("canary-file", "bbbbbbbbbb", "begun");
  await expect(tell("canary-exec", "bbbbbbbbbb", "passed")).rejects.toMatchObject({ code: expect.stringMatching(/ABORTED|FAILED_PRECONDITION/) });
  for (const everySeconds of [1, 3599, 367 * DAY_SECONDS])
    await expect(verifier.adminClient.scheduleDrill({ drill: "canary-file", everySeconds })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(verifier.adminClient.scheduleDrill({ drill: "other", everySeconds: DAY_SECONDS })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(tell("canary-file", "cccccccccc", "begun", { endsWithinSeconds: 7_801 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});
