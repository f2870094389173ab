/** The whole way of a number: a drift in a real container moves what the shipped verifier exports, Debian's Prometheus sees it by our rules and tells the real Alertmanager. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFailed, test, vi } from "vitest";
import { tail } from "../../deploy/stack/stack.ts";
import { type Prometheus, startPrometheus } from "../../deploy/testbed/prometheus.ts";
import { HttpReceiver } from "../fakes/http-receiver.ts";
import { Scrape } from "../fakes/scrape.ts";
import { engineOf, eventually, type FaultBed, SHORT_INTERVALS, startFaultBed } from "./fault-support.ts";

const RULES = new URL("../../deploy/monitoring/rules.yaml", import.meta.url).pathname;
const DASHBOARD = JSON.parse(readFileSync(new URL("../../deploy/monitoring/dashboard.json", import.meta.url), "utf8")) as {
  readonly panels: readonly { readonly title: string; readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[] }[];
};
/** Series of what did not happen here, or is not there: no drift is open, nothing failed or was refused, nobody is told, no admission webhook, ConfigMaps, tokens or browsers. */
const WITHOUT_DATA = [
  ...["hullmark_drifts_open", "hullmark_duty_failures_total", "hullmark_enrolments_refused_total", "hullmark_alert_deliveries_total"],
  ...["hullmark_admission_requests_total", "hullmark_admission_seconds_bucket", "hullmark_config_map_reads_total", "hullmark_people_tokens_total"],
  ...["hullmark_connections_dropped_total", "hullmark_dashboard_sign_ins_total", "hullmark_actions_total"],
];
/** The default has a changed configuration file lower. */
const POLICY = `${SHORT_INTERVALS}  severities: { content: critical, "upper/content": critical }\n`;

let receiver: HttpReceiver;
let faults: FaultBed;
let prometheus: Prometheus;

interface Told {
  readonly alerts: readonly {
    readonly status: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
  }[];
}

beforeAll(async () => {
  receiver = await new HttpReceiver().start();
  faults = await startFaultBed("monitoring", { alertmanager: { webhookUrl: receiver.url } }, { policy: POLICY });
  const { bed, stack } = faults;
  prometheus = await startPrometheus(bed.directory, bed.env, { target: stack.httpUrl, alertmanager: bed.alertmanager?.url ?? "", ruleFile: RULES });
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await faults?.bed.down();
  await receiver?.[Symbol.asyncDispose]();
});

const value = async (expression: string): Promise<number | undefined> => (await prometheus.query(expression))[0]?.value;
const becomes = (expression: string, holds: (seen: number | undefined) => boolean): Promise<number | undefined> =>
  eventually(expression, () => value(expression), holds);
const told = (alert: string, status: string) =>
  receiver.waitFor(({ body }) => (JSON.parse(body) as Told).alerts.find((each) => each.status === status && each.labels["alertname"] === alert), 60_000);

function logsOnFailure(): void {
  onTestFailed(() => {
    for (const name of ["agent-0", "verifier", "prometheus"]) console.error(`--- ${name}\n${tail(join(faults.bed.directory, `${name}.log`), 30)}`);
  });
}

test("a clean container is seen as such, and every component works", async () => {
  logsOnFailure();
  await faults.victim("web").docker("run", "-d", "--name", "web", faults.image.reference);
  await becomes("sum(hullmark_workloads)", (n) => n === 1);
  await becomes('sum(hullmark_workloads{verdict=~"affirming|warning"})', (n) => n === 1);
  expect(await value("min(hullmark_component_ready)")).toBe(1);
  await becomes("hullmark_nodes_connected", (n) => n === 1);
  expect(await value('hullmark_quotes_total{result="accepted"}')).toBeGreaterThan(0);
  expect(await value('hullmark_images{state="ready"}')).toBe(1);
  expect(await value('sum(hullmark_registry_requests_total{result="ok"})')).toBeGreaterThan(0);
  const { status } = await fetch(`${faults.stack.httpUrl}/readyz`);
  expect(status).toBe(200);
});

test("a drift moves the numbers, fires the rule, and resolves", async () => {
  logsOnFailure();
  const before = await Scrape.from(faults.stack.httpUrl);
  expect(before.value("hullmark_drifts_open")).toBeUndefined();
  const web = faults.victim("web");
  await web.docker("exec", "web", "/bin/sh", "-c", "echo tampered >> /etc/nginx/nginx.conf");
  await becomes('sum(hullmark_drifts_open{severity="critical",kind="content"})', (n) => n === 1);
  const after = await Scrape.from(faults.stack.httpUrl);
  expect(after.value("hullmark_drifts_opened_total", { kind: "content" })).toBe(1);
  expect(after.value("hullmark_drift_detection_seconds_count")).toBe(1);
  expect(after.value("hullmark_log_entries")).toBeGreaterThan(before.value("hullmark_log_entries") ?? Number.POSITIVE_INFINITY);
  expect(await told("HullmarkDriftCriticalOpen", "firing")).toMatchObject({
    labels: { severity: "critical", kind: "content", job: "hullmark" },
    annotations: { runbook_url: "docs/playbooks.md#critical-drift" },
  });
  await web.docker("rm", "-f", "web");
  await becomes('sum(hullmark_drifts_open{severity="critical"}) or vector(0)', (n) => n === 0);
  await told("HullmarkDriftCriticalOpen", "resolved");
});

test("a drill is seen in a container of its own, which is gone then", async () => {
  logsOnFailure();
  vi.stubEnv("DOCKER_HOST", engineOf(faults.bed).dockerHost);
  const drill = (kind: string, ...args: string[]) => faults.stack.hullmark("drill", "run", kind, "--output=json", "--detect-within=60000", ...args);
  for (const kind of ["canary-file", "canary-exec"]) {
    const { code, stdout, stderr } = await drill(kind, "--image", faults.image.reference);
    expect(code, `${stdout}${stderr}`).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ drill: kind, outcome: "passed", drift: expect.stringMatching(/^D-/), alertRoutes: [], alert: { ms: null }, recorded: true },
      contain: { state: "not-asked", ms: null, detail: "policy is in mode observe" },
    });
  }
  const report = await faults.stack.hullmark("drill", "report", "--output=json");
  expect(report.code, report.stderr).toBe(0);
  expect(JSON.parse(report.stdout)).toMatchObject({
    drills: [
      { drill: "canary-file", state: "passed" },
      { drill: "canary-exec", state: "passed" },
    ],
  });
  const unasked = await drill("unsigned-canary-image", "--image", faults.image.reference);
  expect(unasked).toMatchObject({ code: 3, stdout: expect.stringContaining("no rule of the policy requires a signature") });
  expect(await faults.victim("web").docker("ps", "--all", "--quiet", "--filter", "label=hullmark.dev/drill")).toBe("");
  expect(await drill("canary-file")).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining("--image") });
  expect(await drill("canary-file", "--image", "localhost/no-such-image:1")).toMatchObject({ code: 3, stdout: "" });
});

test("a drill that fails fires the rule, and the next that passes ends it; one that is scheduled brings its units", async () => {
  logsOnFailure();
  vi.stubEnv("DOCKER_HOST", engineOf(faults.bed).dockerHost);
  const options = ["--image", faults.image.reference, "--timeout=120"];
  const drill = (...args: string[]) => faults.stack.hullmark("drill", ...args);
  expect((await drill("run", "canary-file", "--detect-within=1", ...options)).code).toBe(1);
  expect(await told("HullmarkDrillFailed", "firing")).toMatchObject({ labels: { severity: "critical", drill: "canary-file" } });
  expect(await drill("report")).toMatchObject({ code: 1, stdout: expect.stringMatching(/^canary-file +failed .*which is more than 1/m) });
  expect(await drill("schedule", "canary-file", "--every=7d", "--", "--imago=x")).toMatchObject({ code: 2, stderr: expect.stringContaining("--imago=x") });
  const { code, stdout } = await drill("schedule", "canary-file", "--every=7d", "--", ...options);
  expect(code).toBe(0);
  // What the unit runs is this very command.
  const [, line = ""] = /^ExecStart=\/usr\/bin\/env hullmark (.*)$/m.exec(stdout) ?? [];
  const ran = await faults.stack.hullmark(...line.split(" ").slice(1), "--detect-within=60000");
  expect(ran.code, `${line}\n${ran.stdout}${ran.stderr}`).toBe(0);
  await told("HullmarkDrillFailed", "resolved");
  expect(await drill("report")).toMatchObject({ code: 0, stdout: expect.stringMatching(/^canary-file +passed .* 168h +in 7d/m) });
});

test("every query of the dashboard is answered from what was scraped, with the labels of its legend", async () => {
  logsOnFailure();
  const jobs = `${prometheus.url}/api/v1/label/job/values?${new URLSearchParams({ "match[]": "hullmark_build_info" })}`;
  await eventually(
    "the dashboard finds the job",
    async () => ((await (await fetch(jobs)).json()) as { data: string[] }).data,
    ([job, ...others]) => job === "hullmark" && others.length === 0,
  );
  const empty: (string | undefined)[] = [];
  for (const { title, targets = [] } of DASHBOARD.panels)
    for (const { expr, legendFormat } of targets) {
      // As where the whole test is on the screen.
      const samples = await prometheus.query(expr.replaceAll("$job", "hullmark").replaceAll("$__rate_interval", "30m"));
      if (!samples.some(({ value: seen }) => Number.isFinite(seen))) {
        empty.push(/hullmark_\w+/.exec(expr)?.[0]);
        continue;
      }
      // One that is empty in every sample is not told.
      const [, grouped = ""] = /by \(([^)]*)\)/.exec(expr) ?? [];
      const labels = [...grouped.split(/, ?/), ...samples.flatMap(({ metric }) => Object.keys(metric))];
      for (const [, label = ""] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) expect(labels, `${title}: ${legendFormat}`).toContain(label);
    }
  expect(empty.filter((series) => series === undefined || !WITHOUT_DATA.includes(series))).toEqual([]);
});

test("nodes that fall silent cost coverage", async () => {
  logsOnFailure();
  const spent = (await value("hullmark_node_unattested_seconds_total")) ?? 0;
  await faults.stack.agents[0]?.kill();
  await becomes('hullmark_nodes{verdict="unknown"}', (n) => n === 1);
  await becomes("hullmark_node_unattested_seconds_total", (n) => (n ?? 0) > spent);
});
