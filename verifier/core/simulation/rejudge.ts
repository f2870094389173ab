/**
 * What another policy says of drift that is on record, by what the record holds. Containers that are gone cannot be appraised again; what differed was found in full, and
 * only whether policy lets it be, and how grave it is, changes with policy. Where the record does not hold what that rests on, it says so. Pure.
 */
import type { Severity } from "@hullmark/proto/v1/common";
import type { DriftRow } from "../../ports/rows.ts";
import { defaultSeverity } from "../appraisal/severity.ts";
import type { ContainerRules, FindingKind, FindingPlace } from "../appraisal/types.ts";
import { lackSeverity } from "../fleet/node-findings.ts";
import { isLack, isSilence, PROVENANCE_KINDS } from "../policy/kinds.ts";
import { containerRules, matchRule, ruleByLabel, selectsByLabel } from "../policy/match.ts";
import { teamPolicy } from "../policy/tighten.ts";
import type { Policy, SelectableContainer } from "../policy/types.ts";

/** `none`: it would be no drift. `unknown`: the record does not tell. */
export type Rejudged = Severity | "none" | "unknown";

/** Node's drifts that rest on nothing that a policy says. */
const UNCONDITIONAL: ReadonlySet<string> = new Set(["quote-refused", "chain-broken", "cloned"]);
const PROVENANCE: ReadonlySet<string> = new Set(PROVENANCE_KINDS);
/** Workloads whose compiled rules are kept. */
const MAX_COMPILED = 4096;

interface Compiled {
  readonly rules: ContainerRules;
  /** Whether labels, which the record does not hold, would choose among rules; among paths that may change. */
  readonly rulesByLabel: boolean;
  readonly pathsByLabel: boolean;
  /** The policies ask for the same signatures of it. */
  readonly sameProvenance: boolean;
}

export class Rejudge {
  readonly #policy: Policy;
  readonly #inForce: Policy;
  readonly #sameTrust: boolean;
  readonly #sameNodes: boolean;
  readonly #compiled = new Map<string, Compiled>();

  /** @param policy as it would have been in force @param inForce the one of now: what it makes of signatures is on record */
  constructor(policy: Policy, inForce: Policy) {
    this.#policy = policy;
    this.#inForce = inForce;
    this.#sameTrust = same(trustOf(policy), trustOf(inForce));
    this.#sameNodes = same(policy.nodes, inForce.nodes);
  }

  of(row: DriftRow): Rejudged {
    const { place, kind } = row;
    // What is asked of a boot is in the rules for nodes; that a node is to be heard no rule says.
    if (isLack(kind) && (isSilence(kind) || this.#sameNodes)) return lackSeverity(this.#policy, kind);
    if (place === "node") return UNCONDITIONAL.has(kind) || this.#sameNodes ? row.severity : "unknown";
    const compiled = this.#for(row);
    if (compiled.rulesByLabel) return "unknown";
    const excused = place === "image" && PROVENANCE.has(kind) ? (compiled.sameProvenance ? false : undefined) : isExcused(row, compiled);
    if (excused === undefined) return "unknown";
    return excused ? "none" : severityOf(row, compiled.rules);
  }

  #for({ imageReference, containerName, workload, nodeName }: DriftRow): Compiled {
    const key = JSON.stringify([imageReference, containerName, workload, nodeName]);
    const known = this.#compiled.get(key);
    if (known) return known;
    if (this.#compiled.size >= MAX_COMPILED) this.#compiled.clear();
    const container = { imageReference, containerName, workload, nodeName, labels: {} };
    const policies = [this.#policy, teamPolicy(this.#policy, containerName)].filter((each) => each !== undefined);
    const compiled: Compiled = {
      rules: containerRules(this.#policy, container),
      rulesByLabel: policies.some((policy) => ruleByLabel(policy, container)),
      pathsByLabel: policies.some((policy) => selectsByLabel([...policy.mutable, ...policy.exceptions], container)),
      sameProvenance: this.#sameTrust && same(requiredOf(this.#policy, container), requiredOf(this.#inForce, container)),
    };
    this.#compiled.set(key, compiled);
    return compiled;
  }
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function trustOf({ trustRoots, trustStores, authorities, revocations, builders, teams }: Policy): unknown {
  return [trustRoots, trustStores, authorities, revocations, builders, teams];
}

function requiredOf(policy: Policy, container: SelectableContainer): unknown {
  const rule = matchRule(policy, container);
  return rule && [rule.signatures, rule.attestations, rule.build, rule.registries, rule.baseLayers, rule.vulnerabilities, rule.risk];
}

/** undefined: not known. As appraisal asks the same rules (core/appraisal). */
function isExcused(row: DriftRow, { rules, pathsByLabel }: Compiled): boolean | undefined {
  const { place, kind, path, executable } = row;
  switch (place) {
    case "upper":
      if (kind === "alias") return false;
      return pathsByLabel ? undefined : either(executable, (each) => rules.mutable(path, each));
    case "bind":
      return pathsByLabel ? undefined : rules.mutable(path, false);
    case "process":
      return isCodeExcused(row, rules);
    case "mount":
      return isMountExcused(row, rules);
    case "configuration":
      return isConfigurationExcused(row, rules);
    default:
      return false;
  }
}

/** What holds whether or not it can be executed, where that is not known. */
function either<T>(executable: boolean | undefined, of: (executable: boolean) => T): T | undefined {
  if (executable !== undefined) return of(executable);
  const [yes, no] = [of(true), of(false)];
  return yes === no ? yes : undefined;
}

function isCodeExcused({ kind, differences }: DriftRow, { require, allow }: ContainerRules): boolean {
  const [code, digest] = differences;
  if (code?.expected === "listed in require.engineInits") return require.engineInits.length === 0 || require.engineInits.includes(digest?.observed ?? "");
  return allow.code(kind.replace(/^code-/, ""));
}

function isMountExcused({ kind, path, differences }: DriftRow, { allow, hasPolicy }: ContainerRules): boolean {
  const destination = path.toString();
  if (isBySpecification(differences) || kind === "unmounted" || !allow.mount(destination)) return false;
  return kind === "mount" || (hasPolicy && destination !== "/");
}

/** What a pod's specification does not ask for no policy excuses. */
function isBySpecification(differences: DriftRow["differences"]): boolean {
  return /^spec[.]/.test(differences[0]?.field ?? "");
}

function isConfigurationExcused(row: DriftRow, { allow, require }: ContainerRules): boolean {
  const { kind, differences } = row;
  const observed = differences[0]?.observed ?? "";
  const [group = "", name = ""] = discriminatorOf(row);
  if (isBySpecification(differences)) return false;
  const lacking = differences[0]?.expected === "required";
  switch (kind) {
    case "env":
      return allow.env(name);
    case "args":
      return allow.args;
    case "user":
      return allow.user(observed);
    case "working-directory":
      return allow.workingDirectory;
    case "capabilities":
      return group === "process" ? allow.privileged || observed.split(" ").every((each) => allow.capability(each)) : allow.capability(name);
    case "privileged":
      return allow.privileged;
    case "device-node":
      return allow.device(name);
    case "host-namespace":
      return allow.hostNamespace(name);
    case "seccomp":
      return allow.seccomp(observed);
    case "apparmor":
      return allow.apparmor("unconfined");
    case "no-new-privileges":
      return lacking && !require.noNewPrivileges;
    case "read-only-root":
      return lacking && !require.readOnlyRoot;
    case "static-pod":
      return allow.staticPods;
    case "added-container":
      return allow.injected;
    default:
      return false;
  }
}

/** What tells findings of one place and path apart, from the key that {@link finding} made: a group, and a name that may hold anything. */
function discriminatorOf({ key, place, path }: DriftRow): [string, string] {
  const discriminator = key.slice(place.length + 1, key.length - path.length - 1);
  const bar = discriminator.indexOf("|");
  return bar < 0 ? [discriminator, ""] : [discriminator.slice(0, bar), discriminator.slice(bar + 1)];
}

function severityOf({ place, kind, executable }: DriftRow, rules: ContainerRules): Severity | "unknown" {
  // Rows are written from findings only, whose kinds and places are these.
  const [where, what] = [place as FindingPlace, kind as FindingKind];
  const files = where === "upper" ? executable : (executable ?? false);
  return either(files, (each) => rules.severity(where, what, defaultSeverity(where, what, each))) ?? "unknown";
}
