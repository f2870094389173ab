/** Which rule decides on a container, and what it then allows. */

import { hash } from "node:crypto";
import { anyMatch, compileGlob, compileNames, type GlobMatcher } from "@hullmark/proto/codec";
import { Severity as WireSeverity } from "@hullmark/proto/v1/common";
import type { ContainerRules } from "../appraisal/types.ts";
import type { ImaRules } from "../ima/appraise.ts";
import type { BootRules } from "../measured-boot/rules.ts";
import { isCodePath, isConfigurationPath } from "./code-paths.ts";
import { NO_PROTECTIONS, OBSERVED_ALLOWANCES } from "./default.ts";
import { hasWildcard } from "./exception-scope.ts";
import { grantedFor } from "./granted.ts";
import type { DriftPlace, Kind, Severity } from "./kinds.ts";
import { teamPolicy, tightened } from "./tighten.ts";
import type { Allowances, MeasurementBudget, MutableClass, Policy, PolicyIntervals, PolicyRule, SelectableContainer, Selector } from "./types.ts";

export const WIRE_SEVERITY: Readonly<Record<Severity, WireSeverity>> = {
  info: WireSeverity.INFO,
  low: WireSeverity.LOW,
  medium: WireSeverity.MEDIUM,
  high: WireSeverity.HIGH,
  critical: WireSeverity.CRITICAL,
};

/** Whether every condition of the selector holds. */
export function selects(selector: Selector, container: SelectableContainer): boolean {
  const one = (globs: readonly string[], name: string) => globs.length === 0 || compileNames(globs)(name);
  if (!one(selector.images, container.imageReference) || !one(selector.containers, container.containerName)) return false;
  if (!one(selector.workloads, container.workload) || !one(selector.nodes, container.nodeName)) return false;
  return Object.entries(selector.labels).every(([label, glob]) => {
    const value = Object.hasOwn(container.labels, label) ? container.labels[label] : undefined;
    return value !== undefined && compileGlob(glob)(Buffer.from(value));
  });
}

/** The first rule, in the order of the file, that selects the container; undefined where none does: "no policy" for it. */
export function matchRule(policy: Policy, container: SelectableContainer): PolicyRule | undefined {
  return policy.rules.find((rule) => selects(rule.select, container));
}

/** Whether something selects the container by labels, and by everything else. */
export function selectsByLabel(items: readonly { readonly select: Selector }[], container: SelectableContainer): boolean {
  return items.some(({ select }) => Object.keys(select.labels).length > 0 && selects({ ...select, labels: {} }, container));
}

/** Whether which rule decides on a container may rest on labels that nobody knows. @param container with none */
export function ruleByLabel({ rules }: Policy, container: SelectableContainer): boolean {
  const decided = rules.findIndex(({ select }) => selects(select, container));
  return selectsByLabel(decided < 0 ? rules : rules.slice(0, decided), container);
}

/** Whether a raw, absolute path may change. `executable`: it has an execute bit, setuid or setgid, a capability, or is a device. */
export type MutableMatcher = (path: Uint8Array, executable: boolean) => boolean;

/** Compiles every mutable class that selects the container. */
export function mutableClassesFor(policy: Policy, container: SelectableContainer): MutableMatcher {
  const classes = [...policy.mutable, ...policy.exceptions].filter(({ select }) => selects(select, container));
  const compiled = (wanted: MutableClass["class"]): GlobMatcher[] =>
    classes.filter((item) => item.class === wanted && !item.withoutCode).flatMap(({ paths }) => paths.map(compileGlob));
  const any = compiled("any");
  const data = compiled("data");
  const learned = classes.filter(({ withoutCode }) => withoutCode).flatMap(({ paths }) => paths.map(learnedPath));
  return (path, executable) => anyMatch(any, path) || (!executable && (anyMatch(data, path) || anyMatch(learned, path)));
}

/** What was learned covers no code, and configuration only where it names it in full: its open places stand for what nobody has seen. */
function learnedPath(glob: string): GlobMatcher {
  const matches = compileGlob(glob);
  const open = hasWildcard(glob);
  return (path) => matches(path) && !isCodePath(path) && !(open && isConfigurationPath(path));
}

/** Severity of a kind in a place: the rule's table before the policy's, `place/kind` before `kind`; undefined: the built-in default holds. */
export function severityFor(policy: Policy, rule: PolicyRule | undefined, place: DriftPlace, kind: Kind): Severity | undefined {
  for (const table of [rule?.severities ?? {}, policy.severities]) {
    const severity = table[`${place}/${kind}`] ?? table[kind];
    if (severity) return severity;
  }
  return undefined;
}

/** What appraisal needs of policy for one container. Compile once a container and policy, not once a path. */
export function containerRules(policy: Policy, container: SelectableContainer): ContainerRules {
  const team = teamPolicy(policy, container.containerName);
  const rules = ownRules(policy, container);
  return team ? tightened(rules, ownRules(team, container)) : rules;
}

function ownRules(policy: Policy, container: SelectableContainer): ContainerRules {
  const rule = matchRule(policy, container);
  const allow = rule?.allow ?? OBSERVED_ALLOWANCES;
  return {
    hasPolicy: policy.loaded && rule !== undefined,
    require: rule?.protections ?? NO_PROTECTIONS,
    excepted: grantedFor(
      policy.granted.filter(({ select }) => selects(select, container)),
      container,
    ),
    mutable: mutableClassesFor(policy, container),
    severity(place, kind, builtIn) {
      const severity = severityFor(policy, rule, place, kind);
      return severity ? WIRE_SEVERITY[severity] : builtIn;
    },
    allow: compileAllowances(allow),
  };
}

/** What a rule allows, for the container that it decides on. */
export function compileAllowances(allow: Allowances): ContainerRules["allow"] {
  return {
    env: compileNames(allow.env),
    args: allow.args,
    workingDirectory: allow.workingDirectory,
    user: compileNames(allow.users),
    capability: (name) => allow.capabilities.includes("ALL") || allow.capabilities.includes(name.toUpperCase().replace(/^CAP_/, "")),
    privileged: allow.privileged,
    hostNamespace: (name) => (allow.hostNamespaces as readonly string[]).includes(name),
    device: compileNames(allow.devices),
    mount: compileNames(allow.mounts),
    seccomp: compileNames(allow.seccomp),
    apparmor: compileNames(allow.apparmor),
    code: (place) => (allow.code as readonly string[]).includes(place),
    staticPods: allow.staticPods,
    injected: allow.injected,
  };
}

/** What a node's agent needs of policy in order to measure. The fields are those of hullmark.v1.MeasurementPolicy. */
export interface NodeMeasurement {
  readonly mutableClasses: readonly {
    readonly imageGlob: string;
    readonly containerGlob: string;
    readonly workloadGlob: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly paths: readonly string[];
    readonly executables: boolean;
  }[];
  readonly intervals: PolicyIntervals;
  readonly budget: MeasurementBudget;
}

/** The part of the policy that goes to one node: classes for other nodes stay here. */
export function measurementFor(policy: Policy, nodeName: string): NodeMeasurement {
  const here = policy.mutable.filter(({ select }) => select.nodes.length === 0 || compileNames(select.nodes)(nodeName));
  const orAny = (globs: readonly string[]) => (globs.length === 0 ? [""] : globs);
  const mutableClasses = here.flatMap(({ select, paths, class: name }) =>
    orAny(select.images).flatMap((imageGlob) =>
      orAny(select.containers).flatMap((containerGlob) =>
        orAny(select.workloads).map((workloadGlob) => ({ imageGlob, containerGlob, workloadGlob, labels: select.labels, paths, executables: name === "any" })),
      ),
    ),
  );
  return { mutableClasses, intervals: policy.intervals, budget: policy.budget };
}

function nodeRule(nodes: Policy["nodes"], nodeName: string): Policy["nodes"][number] | undefined {
  return nodes.find(({ nodes: globs }) => globs.length === 0 || compileNames(globs)(nodeName));
}

/** Whether policy has rules for nodes, and none of them is for this one: nothing is asked of it. */
export function isUnruled({ nodes }: Policy, nodeName: string): boolean {
  return nodes.length > 0 && nodeRule(nodes, nodeName) === undefined;
}

/** What the first rule that selects the node asks of its boot; undefined where none does. Compile once a policy and node. */
export function bootRules({ nodes }: Policy, nodeName: string): BootRules | undefined {
  const rule = nodeRule(nodes, nodeName);
  if (!rule) return undefined;
  const { commandLines, ...boot } = rule.boot;
  const pcrs = new Map(Object.entries(rule.pcrs).map(([index, values]) => [Number(index), values]));
  return { rule: rule.name, ...boot, commandLine: commandLines.length > 0 ? compileNames(commandLines) : undefined, pcrs };
}

/** What that rule asks of the node's measurement list; undefined: nothing. Compile once a policy and node. */
export function imaRules({ nodes }: Policy, nodeName: string): ImaRules | undefined {
  const rule = nodeRule(nodes, nodeName);
  if (!rule?.ima) return undefined;
  const { ima, agent } = rule;
  const { list, violations, ignore, baseline } = ima;
  const ignored = ignore.map(compileGlob);
  return {
    ...{ list, violations, digest: hash("sha256", JSON.stringify([violations, ignore, baseline.sha256, agent?.sha256])) },
    // The agent itself runs on the node, and is measured as anything else.
    baseline: (sha256) => baseline.digests.has(sha256) || agent?.digests.has(sha256) === true,
    ignored: (path) => anyMatch(ignored, path),
  };
}

/** Whether a file of a node's agent is of a release that policy names; undefined: policy asks for none. */
export function agentFiles({ nodes }: Policy, nodeName: string): ((sha256: string) => boolean) | undefined {
  const agent = nodeRule(nodes, nodeName)?.agent;
  return agent && ((sha256) => agent.digests.has(sha256));
}
