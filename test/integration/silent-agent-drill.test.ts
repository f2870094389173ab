/** The drill of a silent agent against a verifier, with the agent's own program: what it measures, and that nothing of it is left however it ends. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { alertsOf, HttpReceiver } from "../fakes/http-receiver.ts";
import { hullmarkOf, type Ran } from "../fakes/hullmark.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const COMMAND = new URL("../../dist/hullmark.js", import.meta.url).pathname;
const POLL = { timeout: 120_000, interval: 100 };

let receiver: HttpReceiver;
let verifier: TestVerifier;
let scratch: string;
let agentConfig: string;

beforeEach(async () => {
  receiver = await new HttpReceiver().start();
  verifier = new TestVerifier();
  scratch = mkdtempSync(join(tmpdir(), "hullmark-silent-agent-"));
  vi.stubEnv("TMPDIR", scratch);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await verifier.dispose();
  await receiver[Symbol.asyncDispose]();
  rmSync(scratch, { recursive: true });
});

async function start(acceptJoinTokens: boolean, more = ""): Promise<void> {
  const policy = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: p }
spec:
  mode: enforce
  intervals: { heartbeat: 1s }
  alerts: { silentAfter: 5s, routes: [{ name: hook, type: webhook, url: "${receiver.url}", minSeverity: info }, { name: gone, type: webhook, url: "http://127.0.0.1:9/" }, { name: other, type: webhook, url: "${receiver.url}", match: { kinds: [setuid] } }] }
  response: { nodes: { rules: [{ name: all, marks: [label, taint, cordon], actuators: ["**"], withholdCertificate: true }] } }
${more}`;
  await verifier.start(`policyFile: ${verifier.policy(policy)}\nenrolment: { mode: allowlist, acceptJoinTokens: ${acceptJoinTokens} }`);
  agentConfig = join(verifier.directory, "agent.yaml");
  const { mainAddress, directory, running } = verifier;
  const addresses = { address: mainAddress, enrolmentAddress: `localhost:${running?.enrolmentPort}`, caFile: join(directory, "state/admin/ca.crt") };
  writeFileSync(agentConfig, JSON.stringify({ nodeName: "other", verifier: addresses }));
}

const drill = async (...options: string[]): Promise<Ran> =>
  await (await hullmarkOf(verifier))("drill", "run", "silent-agent", "--agent-config", agentConfig, "--output=json", ...options);
const told = () => alertsOf(receiver, "silent").map(({ status }) => status);
const nodes = async () => (await verifier.query.listNodes({ pageSize: 10 })).nodes.map(({ name, revoked }) => ({ name, revoked }));

test("it is found, told, left alone, and told to be over; the node is revoked and removed, and nothing of it is left", { timeout: 240_000 }, async () => {
  await start(true);
  // Of a command that was killed; and what somebody else may have put there.
  for (const [name, mode] of [["hullmark-drill-aaaaaaaaaa-left", 0o700] as const, ["hullmark-drill-bbbbbbbbbb-open", 0o755] as const]) {
    mkdirSync(join(scratch, name), { mode });
    utimesSync(join(scratch, name), 0, 0);
  }
  const { code, out, err } = await drill("--timeout=120");
  expect(code, `${out}${err}`).toBe(0);
  const report = JSON.parse(out) as { container: string };
  expect(report).toMatchObject({
    ...{ drill: "silent-agent", container: expect.stringMatching(/^hullmark-drill-[0-9a-f]{10}$/), path: null, outcome: "passed", problem: "" },
    ...{ drift: expect.stringMatching(/^D-/), detect: { ms: expect.any(Number), withinMs: 60_000 }, alert: { ms: expect.any(Number), withinMs: 600_000 } },
    ...{ resolve: { ms: expect.any(Number) }, contain: { state: "not-asked", detail: "nothing was done to it, as it should be" } },
    ...{ alertRoutes: ["hook", "gone", "other"], takenBy: ["hook"], notTakenBy: ["gone"], recorded: true },
  });
  expect(told()).toEqual(["firing", "resolved"]);
  expect(await nodes()).toEqual([]);
  expect(readdirSync(scratch)).toEqual(["hullmark-drill-bbbbbbbbbb-open"]);
  expect((await verifier.query.listDrills({})).runs).toMatchObject([{ drill: "silent-agent", outcome: "passed", container: report.container }]);
});

test("one that is told too late has failed, which alarms; one that is interrupted says nothing; both leave nothing", { timeout: 240_000 }, async () => {
  await start(true);
  const late = await drill("--timeout=120", "--alert-within=1");
  expect([late.code, JSON.parse(late.out)]).toMatchObject([
    1,
    { outcome: "failed", problem: expect.stringMatching(/^alerted after \d+ ms, which is more than 1$/) },
  ]);
  await expect.poll(() => alertsOf(receiver, "drill-failed").map(({ status }) => status), POLL).toEqual(["firing"]);

  // As by Ctrl-C, and by systemd: the program itself.
  const config = join(verifier.directory, "cli-admin.yaml");
  const options = ["--config", config, "drill", "run", "silent-agent", "--agent-config", agentConfig];
  const child = spawn(process.execPath, [COMMAND, ...options], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
    if (said.includes("waiting until people are told") && !child.killed) child.kill("SIGINT");
  });
  await once(child, "close");
  expect(said).toMatch(/removing it\nhullmark: interrupted\n$/);
  expect(await nodes()).toEqual([]);
  expect(readdirSync(scratch)).toEqual([]);
  expect((await verifier.query.listDrills({})).runs[0]).toMatchObject({ drill: "silent-agent", outcome: "undecided", problem: "interrupted" });
});

test("where the verifier takes no join token it says so, and that is no failure", { timeout: 120_000 }, async () => {
  await start(false);
  const { code, out } = await drill("--timeout=15");
  expect([code, JSON.parse(out)]).toMatchObject([3, { outcome: "undecided", problem: expect.stringContaining("nodes without TPM may not join") }]);
  expect([await nodes(), readdirSync(scratch), told()]).toEqual([[], [], []]);
});

test("what cannot be meant is usage", async () => {
  await start(true);
  expect(await drill("--contain-within=1000")).toMatchObject({ code: 2, err: expect.stringContaining("nothing is ever done") });
  agentConfig = join(scratch, "none.yaml");
  expect(await drill()).toMatchObject({ code: 2, err: expect.stringContaining("--agent-config") });
});
