/** Whether a policy lets the chart's own agent be as it must be: where it does not, its pods are drift, anew with each upgrade of the chart. Pure. */
import { compileAllowances, selects } from "./match.ts";
import type { Policy, PolicyRule } from "./types.ts";

/** A release of the chart. */
export interface OwnRelease {
  readonly namespace: string;
  /** What the chart calls its objects, before their suffixes. */
  readonly name: string;
}

/** As the chart has them where its values say nothing else (deploy/helm/hullmark). */
const CAPABILITIES = ["SYS_ADMIN", "DAC_READ_SEARCH", "DAC_OVERRIDE", "SYS_PTRACE"];
const MOUNTS = ["/etc/hullmark/agent", "/etc/hullmark/verifier", "/var/run/secrets/hullmark", "/var/lib/hullmark/agent"];

/** The rule that lets it, as an item of a policy's `spec.rules`: YAML on one line. */
export function ownAgentRule(release: OwnRelease): string {
  const allow = `capabilities: [${CAPABILITIES.join(", ")}], hostNamespaces: [pid], env: ["**"], mounts: ["/**"], args: true, workingDirectory: true, users: ["**"]`;
  return `- { name: hullmark-agent, select: { workloads: [${workloadOf(release)}] }, allow: { ${allow} } }`;
}

/** @returns what is wrong, and what mends it; undefined: nothing is, as far as a policy tells without the agent's image and labels */
export function ownAgentProblem(policy: Pick<Policy, "rules">, release: OwnRelease): { readonly message: string; readonly fix: string } | undefined {
  const workload = workloadOf(release);
  const agent = { imageReference: "", containerName: `${workload}-00000/agent`, workload, labels: {}, nodeName: "" };
  for (const rule of policy.rules) {
    // Of its image, labels and nodes a rule may know what this does not.
    const { images, labels, nodes, ...select } = rule.select;
    if (!selects({ ...select, images: [], labels: {}, nodes: [] }, agent)) continue;
    const lacking = lackingIn(rule);
    if (lacking.length === 0) return undefined;
    if (images.length + nodes.length + Object.keys(labels).length > 0) continue;
    return {
      message: `the rule ${JSON.stringify(rule.name)} decides on Hullmark's own agent (${workload}), and does not allow what it needs: ${lacking.join(", ")}. Its pods are drift, anew with each upgrade of the chart`,
      fix: `put this rule before the others: ${ownAgentRule(release)}`,
    };
  }
  return undefined;
}

function workloadOf({ namespace, name }: OwnRelease): string {
  return `${namespace}/${name}-agent`;
}

function lackingIn({ allow }: PolicyRule): string[] {
  const { env, mount, hostNamespace, capability } = compileAllowances(allow);
  const capabilities = allow.privileged ? [] : CAPABILITIES.filter((name) => !capability(name));
  return [
    ...(capabilities.length > 0 ? [`capabilities ${capabilities.join(" ")}`] : []),
    ...(hostNamespace("pid") ? [] : ["the host's pid namespace"]),
    ...(env("HULLMARK_NODE_NAME") ? [] : ["its environment"]),
    ...(MOUNTS.every(mount) ? [] : ["its mounts"]),
    ...(allow.args ? [] : ["its arguments"]),
  ];
}
