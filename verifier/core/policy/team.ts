/**
 * A namespace's own policy (AttestationPolicy): the same words as the cluster's, of which it may say what asks for more. It is a policy by itself, with authorities and
 * trust of its own; what it leaves open is left to the cluster's. What runs in its namespace must please both (tighten.ts).
 */
import { compileNames } from "@hullmark/proto/codec";
import { stringify } from "yaml";
import { modeFor } from "./admission-mode.ts";
import { EVERYTHING, OBSERVED_ALLOWANCES } from "./default.ts";
import { SEVERITIES } from "./kinds.ts";
import { parsePolicy } from "./parse.ts";
import { API_VERSION } from "./schema.ts";
import { stricterMode } from "./tighten.ts";
import { type Allowances, CODE_PLACES, type Policy, type PolicyProblem } from "./types.ts";

/** As JSON: what a thousand namespaces write must fit into the verifier's memory. */
export const MAX_TEAM_POLICY_BYTES = 64 << 10;

/** Keys of `spec`: whatever else it has is the cluster's to say. */
const OWN_KEYS: ReadonlySet<string> = new Set(["trustRoots", "trustStores", "authorities", "revocations", "builders", "rules", "severities", "admission"]);

/** What a rule does not speak of is left to the cluster's policy. */
const UNRESTRICTED: Allowances = { ...OBSERVED_ALLOWANCES, code: CODE_PLACES };

export interface TeamObject {
  readonly namespace: string;
  /** As somebody wrote it. */
  readonly spec: unknown;
}

/** `idle`: what it says to no effect, and why. */
export type JudgedTeam =
  | { readonly inForce: true; readonly policy: Policy; readonly idle: readonly string[] }
  | { readonly inForce: false; readonly reason: "Refused"; readonly message: string };

/** @param cluster the policy beside which it is to count; what is in force never depends on it, only what is told */
export function judgeTeam({ namespace, spec }: TeamObject, cluster: Policy): JudgedTeam {
  const refused = (problems: readonly string[]): JudgedTeam => ({ inForce: false, reason: "Refused", message: problems.join("\n") });
  if (!isRecord(spec)) return refused(["spec: is not a map"]);
  const bytes = Buffer.byteLength(JSON.stringify(spec));
  if (bytes > MAX_TEAM_POLICY_BYTES) return refused([`spec: ${bytes} bytes; a namespace's policy may have ${MAX_TEAM_POLICY_BYTES}`]);
  const foreign = [...foreignKeys(spec)];
  if (foreign.length > 0) return refused(foreign.map((path) => `${path}: only the cluster's policy may say this`));
  const rules = Array.isArray(spec["rules"]) ? spec["rules"].map(completed) : spec["rules"];
  const whole = {
    ...{ apiVersion: API_VERSION, kind: "Policy", metadata: { name: "namespace" } },
    spec: { ...spec, ...(rules !== undefined && { rules }), mutableDefaults: false, mutable: [{ name: "all", class: "any", paths: ["/**"] }] },
  };
  const parsed = parsePolicy(stringify(whole), namespace, { ofNamespace: true });
  if (!parsed.ok) return refused(parsed.errors.map(inWords));
  const own = parsed.policy.rules.map((rule) => ({ ...rule, name: `${namespace}/${rule.name}` }));
  const others = {
    name: namespace,
    select: EVERYTHING,
    signatures: undefined,
    attestations: [],
    build: undefined,
    ...{ registries: [], baseLayers: [] },
    severities: {},
    admission: undefined,
  };
  const none = { noNewPrivileges: false, readOnlyRoot: false, engineInits: [] };
  const policy = { ...parsed.policy, name: namespace, rules: [...own, { ...others, protections: none, allow: UNRESTRICTED }] };
  return { inForce: true, policy, idle: [...idleParts(namespace, spec, own, cluster)] };
}

function completed(rule: unknown): unknown {
  if (!isRecord(rule) || (rule["allow"] !== undefined && !isRecord(rule["allow"]))) return rule;
  return { ...rule, allow: { ...UNRESTRICTED, ...rule["allow"] } };
}

function* foreignKeys(spec: Readonly<Record<string, unknown>>): Generator<string> {
  for (const key of Object.keys(spec)) if (!OWN_KEYS.has(key)) yield `spec.${key}`;
  const { admission, rules } = spec;
  if (isRecord(admission)) for (const key of Object.keys(admission)) if (key !== "mode") yield `spec.admission.${key}`;
  if (!Array.isArray(rules)) return;
  for (const [i, rule] of rules.entries()) {
    const wanted = isRecord(rule) ? rule["require"] : undefined;
    if (isRecord(wanted) && "engineInits" in wanted) yield `spec.rules[${i}].require.engineInits`;
  }
}

/** What would loosen, and so does nothing. Of globs it is told only where the cluster allows nothing of the kind. */
function* idleParts(namespace: string, spec: Readonly<Record<string, unknown>>, own: Policy["rules"], cluster: Policy): Generator<string> {
  const because = "has no effect: no rule of the cluster's policy allows it";
  const written = Array.isArray(spec["rules"]) ? (spec["rules"] as { readonly allow?: object }[]) : [];
  for (const [i, { allow }] of own.entries()) {
    for (const key of Object.keys(written[i]?.allow ?? {}) as (keyof Allowances)[]) {
      const [said, given] = [allow[key], allowed(cluster, key)];
      if (said === true && !given.includes(true)) yield `spec.rules[${i}].allow.${key}: ${because}`;
      for (const each of Array.isArray(said) ? said : []) {
        const globs = given.filter((glob) => typeof glob === "string");
        const none = globs.length === 0 || (!/[*?\\]/.test(String(each)) && !globs.includes("ALL") && !compileNames(globs)(String(each)));
        if (none) yield `spec.rules[${i}].allow.${key}: ${JSON.stringify(each)} ${because}`;
      }
    }
  }
  const { severities, admission } = spec;
  for (const [key, said] of isRecord(severities) ? Object.entries(severities) : []) {
    const given = (cluster.severities as Readonly<Record<string, Policy["severities"][keyof Policy["severities"]]>>)[key];
    const rank = (severity: unknown): number => (SEVERITIES as readonly unknown[]).indexOf(severity);
    if (given !== undefined && rank(said) < rank(given)) yield `spec.severities.${key}: ${String(said)} has no effect: the cluster's policy says ${given}`;
  }
  const mode = modeFor(cluster, namespace);
  const wanted = isRecord(admission) ? admission["mode"] : undefined;
  if ((wanted === "audit" || wanted === "warn") && stricterMode(mode, wanted) !== wanted)
    yield `spec.admission.mode: ${wanted} has no effect: the cluster's policy says ${mode}`;
}

/** Everything that some rule of the policy allows of a kind; a container that no rule selects may have anything. */
function allowed({ rules }: Policy, key: keyof Allowances): readonly unknown[] {
  const everything = rules.some(({ select }) => Object.values(select).every((conditions) => Object.keys(conditions).length === 0));
  return [...rules.map(({ allow }) => allow[key]), ...(everything ? [] : [OBSERVED_ALLOWANCES[key]])].flat();
}

function inWords({ path, message, fix }: PolicyProblem): string {
  return `${path ? `${path}: ` : ""}${message}${fix ? ` (${fix})` : ""}`;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
