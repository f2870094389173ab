/** What approved baselines add to the policy: reference values to its rules for nodes, paths that workloads write. Pure. */
import { hash } from "node:crypto";
import type { BaselineRow } from "../../ports/rows.ts";
import { EVERYTHING } from "./default.ts";
import type { KnownFiles, MutableClass, NodeRule, Policy } from "./types.ts";

/** What workloads may write by the baselines that are approved. */
export function learnedClasses(rows: readonly BaselineRow[]): MutableClass[] {
  return rows
    .filter(({ state }) => state === "approved")
    .flatMap(({ id, learned = [] }) =>
      learned.map(({ select, paths }): MutableClass => {
        const globs = paths.map(({ pattern }) => pattern);
        return { name: `baseline ${id}`, class: "data", select: { ...EVERYTHING, ...select }, paths: globs, withoutCode: true };
      }),
    );
}

/**
 * The policy with the reference values of every approved baseline: any version of a pool will do, so that an update can be approved before it is rolled out, and
 * the version before it ended after. The same object where no rule has one. Policy's own values stay; a PCR that only baselines name is then asked for.
 */
export function withBaselines(policy: Policy, rows: readonly BaselineRow[]): Policy {
  const approved = rows.filter(({ state }) => state === "approved");
  const nodes = policy.nodes.map((rule) => {
    const own = approved.filter(({ pool }) => pool === rule.name);
    return own.length > 0 ? extended(rule, own) : rule;
  });
  return nodes.every((rule, i) => rule === policy.nodes[i]) ? policy : { ...policy, nodes };
}

function extended(rule: NodeRule, baselines: readonly BaselineRow[]): NodeRule {
  const pcrs: Record<string, readonly string[]> = { ...rule.pcrs };
  for (const [index, values] of baselines.flatMap((row) => Object.entries(row.pcrs))) pcrs[index] = [...new Set([...(pcrs[index] ?? []), ...values])].sort();
  const files = baselines.flatMap((row) => row.files);
  const ima = rule.ima && files.length > 0 ? { ...rule.ima, baseline: withFiles(rule.ima.baseline, files) } : rule.ima;
  return { ...rule, pcrs, ima };
}

function withFiles({ sha256, digests }: KnownFiles, files: readonly string[]): KnownFiles {
  const more = [...new Set(files)].sort();
  return { sha256: hash("sha256", JSON.stringify([sha256, more])), digests: new Set([...digests, ...more]) };
}
