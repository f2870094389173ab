/** Whether a policy lets the chart's own agent be as it must be, by which rule decides on it. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { ownAgentProblem, ownAgentRule } from "../../verifier/core/policy/own-agent.ts";
import { parsePolicy } from "../../verifier/core/policy/parse.ts";

const RELEASE = { namespace: "hullmark", name: "hullmark" };
const ALL = `allow: { env: ["**"], mounts: ["/**"], args: true, workingDirectory: true, users: ["**"] }`;
const OWN = `  ${ownAgentRule(RELEASE)}\n`;

function problem(rules: string): string | undefined {
  const parsed = parsePolicy(`apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec:\n  rules:\n${rules}`, "p");
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
  return ownAgentProblem(parsed.policy, RELEASE)?.message;
}

test("a rule that decides on the agent and does not allow what it needs is named, with what is lacking", () => {
  expect(problem(`  - { name: all, ${ALL} }\n`)).toContain(
    'the rule "all" decides on Hullmark\'s own agent (hullmark/hullmark-agent), and does not allow what it needs: ' +
      "capabilities SYS_ADMIN DAC_READ_SEARCH DAC_OVERRIDE SYS_PTRACE, the host's pid namespace.",
  );
  expect(problem("  - { name: strict }\n")).toMatch(/pid namespace, its environment, its mounts, its arguments\./);
  expect(problem(`  - { name: ns, select: { workloads: ["hullmark/**"] } }\n${OWN}`)).toContain('the rule "ns"');
  expect(problem(`  - { name: all, ${ALL.replace('["/**"]', '["/etc/**"]')} }\n`)).toContain("its mounts");
});

test("its own rule before the others will do, as will one that allows as much, one that may know its image, and none at all", () => {
  const all = `  - { name: all, ${ALL} }\n`;
  const allowed = `allow: { capabilities: [ALL], hostNamespaces: [pid], env: ["**"], mounts: ["/**"], args: true }`;
  expect(problem(`${OWN}${all}`)).toBeUndefined();
  expect(problem(`  - { name: system, select: { containers: ["hullmark/**"] }, ${allowed} }\n${all}`)).toBeUndefined();
  expect(problem(`  - { name: by-image, select: { images: ["ghcr.io/hullmark/**"] }, ${allowed} }\n${all}`)).toBeUndefined();
  expect(problem(`  - { name: shop, select: { workloads: ["shop/*"] } }\n`)).toBeUndefined();
  // One of another image or label says nothing of it.
  expect(problem(`  - { name: labelled, select: { labels: { app: web } } }\n${all}`)).toContain('the rule "all"');
  expect(problem(`  ${ownAgentRule({ namespace: "other", name: "hullmark" })}\n${all}`)).toContain('the rule "all"');
});

test("the rule is the one that the documentation shows", () => {
  const shown = /```yaml\nrules:\n( {2}- name: hullmark-agent[\s\S]*?)```/.exec(
    readFileSync(new URL("../../docs/kubernetes.md", import.meta.url), "utf8"),
  )?.[1];
  expect(parse(shown ?? "")).toEqual(parse(OWN));
});
