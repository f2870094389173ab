/** Alert rules and dashboard against what the verifier really has: promtool reads every expression, and every series, label and playbook in them exists. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prometheusMeter } from "@hullmark/verifier/adapters/prometheus/index";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { tool } from "../../deploy/testbed/kubernetes/tools.ts";
import { run } from "../../deploy/testbed/run.ts";
import { Scrape } from "../fakes/scrape.ts";

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: Readonly<Record<string, string>>;
}
interface Panel {
  readonly title: string;
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}

const MONITORING = new URL("../../deploy/monitoring/", import.meta.url).pathname;
const read = (name: string): string => readFileSync(join(MONITORING, name), "utf8");
const rules = (parse(read("rules.yaml")) as { groups: { rules: Rule[] }[] }).groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(read("dashboard.json")) as { panels: Panel[]; templating: { list: { name: string }[] } };
const shown = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map((target) => ({ title, ...target })));
/** With Grafana's own variables filled in. */
const expressions = [
  ...rules.map(({ alert, expr }) => ({ of: alert, expr })),
  ...shown.map(({ title, expr }) => ({ of: title, expr: expr.replaceAll("$__rate_interval", "5m").replaceAll("$job", "hullmark") })),
];

let directory: string;
/** Series → labels that it can have, with Prometheus's own of a target. */
const known = new Map<string, ReadonlySet<string>>([["up", new Set(["job", "instance"])]]);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-monitoring-"));
  const { registry } = prometheusMeter("0.0.0", {});
  for (const [name, type] of Scrape.of(await registry.metrics()).types()) {
    const labels = (registry.getSingleMetric(name) as unknown as { labelNames: string[] }).labelNames;
    for (const suffix of type === "histogram" ? ["_bucket", "_sum", "_count"] : [""])
      known.set(name + suffix, new Set([...labels, "job", "instance", ...(suffix === "_bucket" ? ["le"] : [])]));
  }
});
afterAll(() => rmSync(directory, { recursive: true }));

/** Series that an expression names, each with the labels that its matchers use. */
function selectors(expr: string): { name: string; labels: string[] }[] {
  return [...expr.matchAll(/\b(up|(?:hullmark|process|nodejs)_\w+)(?:\{([^}]*)\})?/g)].map(([, name = "", matchers = ""]) => ({
    name,
    labels: [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = ""]) => label),
  }));
}

describe("alert rules", () => {
  test("promtool takes them, and their own tests pass", async () => {
    await run(["promtool", "check", "rules", join(MONITORING, "rules.yaml")]);
    expect(await run(["promtool", "test", "rules", join(MONITORING, "rules.test.yaml")])).toContain("SUCCESS");
  });

  test("a broken rule fails its test: the tests can fail", async () => {
    writeFileSync(
      join(directory, "rules.yaml"),
      read("rules.yaml").replace('hullmark_drifts_open{severity="critical"}', 'hullmark_drifts_open{severity="high"}'),
    );
    writeFileSync(join(directory, "rules.test.yaml"), read("rules.test.yaml"));
    await expect(run(["promtool", "test", "rules", join(directory, "rules.test.yaml")])).rejects.toThrow();
  });

  test("each is tested by name, has a severity, a summary and a playbook that is there", () => {
    const tests = read("rules.test.yaml");
    const page = readFileSync(new URL("../../docs/playbooks.md", import.meta.url), "utf8");
    const sections = [...page.matchAll(/^## (.+)$/gm)].map(([, title = ""]) => title.toLowerCase().replaceAll(" ", "-"));
    for (const { alert, labels, annotations } of rules) {
      expect(tests, alert).toContain(alert);
      expect(["critical", "warning", "none"], alert).toContain(labels.severity);
      expect(annotations["summary"], alert).toMatch(/\S/);
      const [file, section = ""] = annotations["runbook_url"]?.split("#") ?? [];
      expect(file, alert).toBe("docs/playbooks.md");
      expect(sections, alert).toContain(section);
    }
  });
});

describe("every expression of rules and dashboard", () => {
  test("names series and labels that the verifier has", () => {
    expect(expressions.length).toBeGreaterThan(50);
    for (const { of, expr } of expressions) {
      if (expr === "vector(1)") continue;
      const found = selectors(expr);
      expect(found, of).not.toEqual([]);
      for (const { name, labels } of found) {
        expect([...known.keys()], `${of}: ${name}`).toContain(name);
        for (const label of labels) expect([...(known.get(name) ?? [])], `${of}: ${name}`).toContain(label);
      }
      const grouped = [...expr.matchAll(/by \(([^)]*)\)/g)].flatMap(([, names = ""]) => names.split(/, ?/));
      for (const label of grouped) expect([...new Set(found.flatMap(({ name }) => [...(known.get(name) ?? [])]))], of).toContain(label);
    }
  });

  test("is PromQL that Prometheus reads", async () => {
    const recorded = expressions.map(({ expr }, i) => ({ record: `checked:expression:${i}`, expr }));
    writeFileSync(join(directory, "expressions.yaml"), JSON.stringify({ groups: [{ name: "expressions", rules: recorded }] }));
    expect(await run(["promtool", "check", "rules", join(directory, "expressions.yaml")])).toContain(`${recorded.length} rules found`);
  });

  test("shows every series of ours on some panel", () => {
    const used = new Set(shown.flatMap(({ expr }) => selectors(expr).map(({ name }) => name.replace(/_(bucket|sum|count)$/, ""))));
    const ours = [...known.keys()].filter((name) => name.startsWith("hullmark_")).map((name) => name.replace(/_(bucket|sum|count)$/, ""));
    const elsewhere = ["hullmark_policy_loaded", "hullmark_policy_problems", "hullmark_alert_notifications_delivered_total"];
    const more = ["hullmark_alert_outbox_oldest_timestamp_seconds", "hullmark_agent_spooled_evidence"];
    expect([...new Set(ours)].filter((name) => !used.has(name)).sort()).toEqual([...elsewhere, ...more].sort());
  });
});

test("the dashboard is one by the schema that Grafana publishes, to its last option", async () => {
  await run([tool("dashboards"), join(MONITORING, "dashboard.json")]);
  const refused = async (wrong: string, right: string) => {
    const broken = read("dashboard.json").replaceAll(right, wrong);
    expect(broken).not.toBe(read("dashboard.json"));
    writeFileSync(join(directory, "broken.json"), broken);
    await expect(run([tool("dashboards"), join(directory, "broken.json")]), wrong).rejects.toThrow(/panels\[\d+\]/);
  };
  await refused('"graphMod": "area"', '"graphMode": "area"');
  await refused('"expression":', '"expr":');
  await refused('"w": "6"', '"w": 6');
});

test("dashboard panels have their own ids and places", () => {
  const panels = dashboard.panels as unknown as { id: number; gridPos: { x: number; y: number; w: number; h: number } }[];
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  for (const { gridPos: a, id } of panels) {
    expect(a.x + a.w, String(id)).toBeLessThanOrEqual(24);
    const overlapping = panels.filter(({ id: other, gridPos: b }) => other !== id && a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h);
    expect(
      overlapping.map(({ id: other }) => other),
      String(id),
    ).toEqual([]);
  }
  expect(dashboard.templating.list.map(({ name }) => name)).toEqual(["datasource", "job"]);
});
