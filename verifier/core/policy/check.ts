/** What the schema cannot say: names that must exist and be unique, keys that must be keys, and rules that can never apply. Builds the policy. */

import { differentSigners } from "../provenance/votes.ts";
import { buildAuthority, buildRevocation, buildTrustRoot, buildTrustStore, known } from "./check-authorities.ts";
import { addSums, buildReleases, knownFiles } from "./check-releases.ts";
import { buildRoutes } from "./check-routes.ts";
import { DEFAULT_MUTABLE } from "./default.ts";
import type { PolicyFile } from "./schema.ts";
import {
  type AdmissionPolicy,
  type Authority,
  NODE_MARKS,
  type NodeImaRule,
  type NodeResponseRule,
  type Policy,
  type PolicyRule,
  type Report,
  type ResponsePolicy,
  type ResponseRule,
  type Selector,
  type SignatureRequirement,
  type VulnerabilityRequirement,
} from "./types.ts";

/** What somebody attests who has looked at an image and says yes. */
const APPROVAL = { predicateType: "https://hullmark.dev/approval/v1", where: 'predicate.decision == "approved"' };

type FileRule = PolicyFile["spec"]["rules"][number];
type FileRequirement = NonNullable<FileRule["require"]["signatures"]>;

/**
 * The result is a policy only where nothing was reported as an error.
 * @param ofNamespace it only takes away: what it allows the cluster's must allow too, and say who vouches
 */
export function checkPolicy({ metadata, spec }: PolicyFile, readFile: (path: string) => string, report: Report, ofNamespace = false): Policy {
  for (const [list, items] of [
    [["spec", "trustRoots"], spec.trustRoots],
    [["spec", "trustStores"], spec.trustStores],
    [["spec", "authorities"], spec.authorities],
    [["spec", "rules"], spec.rules],
    [["spec", "nodes"], spec.nodes],
    [["spec", "mutable"], spec.mutable],
    [["spec", "alerts", "routes"], spec.alerts.routes],
    [["spec", "response", "rules"], spec.response.rules],
    [["spec", "response", "nodes", "rules"], spec.response.nodes.rules],
  ] as const) {
    unique(items, list, report);
  }
  const context = { trustRoots: spec.trustRoots.map(({ name }) => name), trustStores: spec.trustStores.map(({ name }) => name), readFile, report };
  const mutable = spec.mutable.map(({ name, class: kind, select, paths }) => ({ name, class: kind, select: { ...select, workloads: [] }, paths }));
  for (const [i, { class: kind, paths }] of spec.mutable.entries()) warnAboutPaths(kind, paths, ["spec", "mutable", i, "paths"], report);
  for (const [i, rule] of spec.rules.entries()) warnIfShadowed(rule, spec.rules.slice(0, i), ["spec", "rules", i], report);
  const authorities = spec.authorities.map((authority, i) => buildAuthority(authority, ["spec", "authorities", i], context));
  const revocations = spec.revocations.map((revocation, i) => buildRevocation(revocation, ["spec", "revocations", i], context));
  spec.nodes.forEach((rule, i) => {
    const by = spec.nodes.slice(0, i).find(({ select: { nodes } }) => nodes.length === 0 || nodes.includes("**"));
    if (by)
      report("warning", ["spec", "nodes", i, "name"], `"${rule.name}" never applies: "${by.name}" before it takes every node`, "put the special ones first");
  });
  return {
    name: metadata.name,
    mode: spec.mode,
    loaded: true,
    trustRoots: spec.trustRoots.map((root, i) => buildTrustRoot(root, ["spec", "trustRoots", i], context)),
    trustStores: spec.trustStores.map((store, i) => buildTrustStore(store, ["spec", "trustStores", i], context)),
    builders: spec.builders,
    fileManifests: spec.fileManifests && buildRequirement(spec.fileManifests, authorities, ["spec", "fileManifests"], report),
    authorities,
    revocations,
    nodes: spec.nodes.map(({ name, select, boot, pcrs, ima, agent }, i) => ({
      ...{ name, nodes: select.nodes, boot, pcrs },
      ima: ima && buildIma(ima, ["spec", "nodes", i, "ima"], readFile, report),
      agent: agent && buildReleases(agent.releases, authorities, revocations, ["spec", "nodes", i, "agent", "releases"], readFile, report),
    })),
    rules: spec.rules.map((rule, i) => buildRule(rule, authorities, ["spec", "rules", i], report, ofNamespace)),
    mutable: spec.mutableDefaults ? [...DEFAULT_MUTABLE, ...mutable] : mutable,
    exceptionTerms: spec.exceptions,
    exceptions: [],
    granted: [],
    teams: {},
    admission: buildAdmission(spec.admission, ["spec", "admission"], report),
    severities: spec.severities,
    intervals: { quoteSeconds: spec.intervals.quote, rescanSeconds: spec.intervals.rescan, heartbeatSeconds: spec.intervals.heartbeat },
    budget: { maxEntries: spec.budget.entries, maxBytes: spec.budget.bytes, maxSeconds: spec.budget.time },
    alerts: buildRoutes(spec.alerts.routes, spec.nodes, ["spec", "alerts", "routes"], report),
    silentAfterSeconds: spec.alerts.silentAfter,
    bootUnprovenAfterSeconds: spec.alerts.bootUnprovenAfter,
    vulnerabilityAlerts: spec.alerts.vulnerabilities,
    response: buildResponse(spec, report),
  };
}

function buildResponse({ mode, response }: PolicyFile["spec"], report: Report): ResponsePolicy {
  const { rules, nodes, pause, hourlyPercent, freezes } = response;
  if (mode !== "observe" && rules.length === 0 && nodes.rules.length === 0)
    report("warning", ["spec", "mode"], `mode ${mode} without a response rule does nothing`, "select what may be acted on: spec.response.rules");
  rules.forEach(({ name }, i) => {
    const by = rules.slice(0, i).find(({ select }) => isEverything({ ...select, labels: {} }));
    if (by)
      report(
        "warning",
        ["spec", "response", "rules", i, "name"],
        `"${name}" never applies: "${by.name}" before it takes everything`,
        "put the special ones first",
      );
  });
  freezes.forEach(({ from, until }, i) => {
    if (until <= from) report("error", ["spec", "response", "freezes", i, "until"], "ends before it begins", "write the later time");
  });
  return {
    nodes: { ...nodes, rules: buildNodeResponse(nodes.rules, ["spec", "response", "nodes", "rules"], report) },
    rules: rules.map(({ ladder, approvalsFor, escalateAfter, unmeasurableAfter, capture, budget, ...rule }) => ({
      ...rule,
      owners: [...new Set(rule.owners)],
      approvalsFor: Object.fromEntries(Object.entries(approvalsFor).filter(([, people]) => people !== undefined)),
      escalateAfterSeconds: escalateAfter,
      unmeasurableAfterSeconds: unmeasurableAfter,
      capture: { patienceSeconds: capture.patience, missed: capture.missed },
      budget: { patienceSeconds: budget.patience, denied: budget.denied },
      ladder: Object.fromEntries(Object.entries(ladder).filter(([, rungs]) => rungs !== undefined)) as ResponseRule["ladder"],
    })),
    pauseSeconds: pause,
    hourlyPercent,
    freezes: freezes.map(({ reason, from, until }) => ({ reason, fromMs: from, untilMs: until })),
  };
}

function buildNodeResponse(rules: PolicyFile["spec"]["response"]["nodes"]["rules"], path: readonly PropertyKey[], report: Report): NodeResponseRule[] {
  rules.forEach(({ name, marks, actuators, cluster }, i) => {
    const by = rules.slice(0, i).find(({ select: { nodes } }) => nodes.length === 0 || nodes.includes("**"));
    if (by) report("warning", [...path, i, "name"], `"${name}" never applies: "${by.name}" before it takes every node`, "put the special ones first");
    if (marks.length > 0 && actuators.length === 0 && !cluster)
      report(
        "error",
        [...path, i, "actuators"],
        "nobody would carry it out",
        "name the nodes whose actuators do, never the marked node's own; or of a Kubernetes cluster `cluster: true`",
      );
    if (cluster && actuators.length > 0) report("error", [...path, i, "cluster"], "two would carry it out", "leave out `actuators`, or `cluster`");
  });
  return rules.map(({ select, marks, ...rule }) => ({ ...rule, nodes: select.nodes, marks: NODE_MARKS.filter((mark) => marks.includes(mark)) }));
}

function buildAdmission({ mode, namespaces, breakGlass }: PolicyFile["spec"]["admission"], path: readonly PropertyKey[], report: Report): AdmissionPolicy {
  namespaces.forEach((_, i) => {
    const by = namespaces.slice(0, i).findIndex(({ names }) => names.includes("**") || names.includes("*"));
    if (by >= 0) report("warning", [...path, "namespaces", i], `never applies: item ${by + 1} before it takes every namespace`, "put the special ones first");
  });
  if (breakGlass && breakGlass.users.length + breakGlass.groups.length === 0)
    report("error", [...path, "breakGlass"], "names nobody", "list `users` or `groups` who may let in what is refused");
  return {
    ...{ mode, namespaces },
    breakGlass: breakGlass && { users: breakGlass.users, groups: breakGlass.groups, maxSeconds: breakGlass.maxDuration },
  };
}

function buildIma(
  { list, violations, ignore, baselines }: NonNullable<PolicyFile["spec"]["nodes"][number]["ima"]>,
  path: readonly PropertyKey[],
  readFile: (path: string) => string,
  report: Report,
): NodeImaRule {
  const digests = new Set<string>();
  for (const [i, file] of baselines.entries()) {
    const at = [...path, "baselines", i];
    try {
      const bad = addSums(readFile(file), digests);
      if (bad !== undefined) report("error", at, `line ${bad} of the baseline does not begin with a SHA-256`, "write it with `sha256sum`");
    } catch (error) {
      report(
        "error",
        at,
        `the baseline cannot be read: ${error instanceof Error ? error.message : String(error)}`,
        "paths are relative to the policy file; split what is larger than 1 MiB",
      );
    }
  }
  return { list, violations, ignore, baseline: knownFiles(digests) };
}

function unique(items: readonly { readonly name: string }[], path: readonly PropertyKey[], report: Report): void {
  const seen = new Map<string, number>();
  items.forEach(({ name }, i) => {
    const first = seen.get(name);
    if (first !== undefined) report("error", [...path, i, "name"], `"${name}" is the name of item ${first + 1} too`, "give each its own name");
    else seen.set(name, i);
  });
}

function buildRule(rule: FileRule, authorities: readonly Authority[], path: readonly PropertyKey[], report: Report, ofNamespace: boolean): PolicyRule {
  const { signatures, attestations, build, approvals, registries, baseLayers, vulnerabilities, risk, noNewPrivileges, readOnlyRoot, engineInits } =
    rule.require;
  if (!signatures && !build && !approvals && attestations.length === 0) {
    if (registries.length > 0)
      report("error", [...path, "require", "registries"], "says where images are from, and nothing vouches for them", "ask for `signatures` beside it");
    if (baseLayers.length > 0)
      report("error", [...path, "require", "baseLayers"], "says what images are built on, and nothing vouches for them", "ask for `signatures` beside it");
    if (rule.allow.injected && !ofNamespace)
      report("error", [...path, "allow", "injected"], "lets others put images into pods, and nothing vouches for them", "ask for `signatures` beside it");
    for (const key of ["vulnerabilities", "risk"] as const)
      if (rule.require[key])
        report("error", [...path, "require", key], "says what may be wrong with images, and nothing vouches for them", "ask for `signatures` beside it");
  }
  if (risk && risk.max === undefined && risk.where === undefined) report("error", [...path, "require", "risk"], "asks for nothing", "for example max: 40");
  return {
    name: rule.name,
    select: rule.select,
    signatures: signatures && buildRequirement(signatures, authorities, [...path, "require", "signatures"], report),
    attestations: [
      ...attestations.map((item, i) => ({
        predicateType: item.predicateType,
        maxAgeSeconds: item.maxAge,
        where: item.where,
        ...buildRequirement(item, authorities, [...path, "require", "attestations", i], report),
      })),
      ...(approvals
        ? [{ ...APPROVAL, maxAgeSeconds: approvals.maxAge, ...buildRequirement(approvals, authorities, [...path, "require", "approvals"], report) }]
        : []),
    ],
    build: build && {
      ...{ builders: build.builders, sources: build.sources, refs: build.refs, buildTypes: build.buildTypes, level: build.level, maxAgeSeconds: build.maxAge },
      ...{ tools: build.tools, bases: build.bases, dependencies: build.dependencies, summaries: build.summaries },
      ...{ commit: build.commit, privileges: build.privileges },
      ...buildRequirement(build, authorities, [...path, "require", "build"], report),
    },
    ...{ registries, baseLayers },
    ...(vulnerabilities && { vulnerabilities: vulnerabilityRequirement(vulnerabilities) }),
    ...(risk && { risk: { max: risk.max, where: risk.where, imported: risk.imported } }),
    protections: { noNewPrivileges, readOnlyRoot, engineInits },
    allow: rule.allow,
    severities: rule.severities,
    admission: rule.admission,
  };
}

function vulnerabilityRequirement({ maxAge, ...same }: NonNullable<FileRule["require"]["vulnerabilities"]>): VulnerabilityRequirement {
  return { ...same, maxAgeSeconds: maxAge };
}

function buildRequirement(file: FileRequirement, authorities: readonly Authority[], path: readonly PropertyKey[], report: Report): SignatureRequirement {
  const names = authorities.map(({ name }) => name);
  const wanted = [...new Set(file.authorities)];
  for (const [i, name] of file.authorities.entries()) known(name, names, "authority", "spec.authorities", [...path, "authorities", i], report);
  const threshold = file.threshold === "any" ? 1 : file.threshold === "all" ? wanted.length : file.threshold;
  if (threshold > wanted.length)
    report("error", [...path, "threshold"], `${threshold} of ${wanted.length} can never be met`, `use ${wanted.length} or less, or all`);
  else if (wanted.every((name) => names.includes(name)) && threshold > differentSigners(authorities.filter(({ name }) => wanted.includes(name))))
    report(
      "error",
      [...path, "threshold"],
      `${threshold} can never be met: one key or identity under two names is one vote`,
      "name different signers, or lower the threshold",
    );
  return { authorities: wanted, threshold };
}

function warnAboutPaths(kind: "data" | "any", paths: readonly string[], path: readonly PropertyKey[], report: Report): void {
  paths.forEach((glob, i) => {
    if (/^\/\*\*\/?\*?$/.test(glob))
      report(
        "warning",
        [...path, i],
        `"${glob}" makes every path mutable${kind === "any" ? ", executables too" : ""}`,
        "name the directories that the workload writes",
      );
    else if (kind === "any" && /^\/(usr\/)?(s?bin|lib(64)?|local)\//.test(glob))
      report("warning", [...path, i], `"${glob}" lets programs of the system change`, "use class: data, or a narrower path");
    if (/[[\]{}]/.test(glob))
      report("warning", [...path, i], `in "${glob}", brackets and braces stand for themselves`, "list the alternatives as paths of their own");
  });
}

/** An earlier rule without conditions, or with the very same ones, leaves nothing for this one. */
function warnIfShadowed(rule: FileRule, earlier: readonly FileRule[], path: readonly PropertyKey[], report: Report): void {
  const by = earlier.find(({ select }) => isEverything(select) || JSON.stringify(select) === JSON.stringify(rule.select));
  if (by)
    report(
      "warning",
      [...path, "name"],
      `rule "${rule.name}" never applies: "${by.name}" before it takes all that it selects`,
      "the first rule that selects a container decides: put the special ones first",
    );
}

function isEverything({ images, containers, workloads, labels, nodes }: Selector): boolean {
  const open = (globs: readonly string[]) => globs.length === 0 || globs.includes("**");
  return open(images) && open(containers) && open(workloads) && open(nodes) && Object.keys(labels).length === 0;
}
