/** {@link PodFence} by the API server: NetworkPolicies (networking.k8s.io/v1) and merge patches of a pod's metadata. */
import { isDeepStrictEqual } from "node:util";
import type { ApiServer } from "@hullmark/daemon/api-server";
import * as z from "zod";
import type { PodTarget } from "../../ports/cluster.ts";
import { EngineError } from "../../ports/engine.ts";
import { ISOLATED_LABEL, type PodFence } from "../../ports/pod-fence.ts";
import { ask, problem } from "./api-answers.ts";

/** Of the one policy in each namespace where something is isolated. */
export const POLICY_NAME = "hullmark-isolated";
const MERGE = "application/merge-patch+json";
const PAGE = 200;
const MAX_PAGES = 20;

const Requirement = z.object({ key: z.string(), operator: z.string(), values: z.array(z.string()).default([]) });
const Selector = z.object({ matchLabels: z.record(z.string(), z.string()).default({}), matchExpressions: z.array(Requirement).default([]) });
const Policy = z.object({
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    podSelector: Selector.prefault({}),
    policyTypes: z.array(z.string()).default([]),
    ingress: z.array(z.unknown()).default([]),
    egress: z.array(z.unknown()).default([]),
  }),
});
type Policy = z.output<typeof Policy>;
const List = z.object({ metadata: z.object({ continue: z.string().default("") }).prefault({}), items: z.array(Policy) });

/** Both directions, and no rule in either: nothing comes in or out, name resolution neither. */
const SPEC = { podSelector: { matchExpressions: [{ key: ISOLATED_LABEL, operator: "Exists" }] }, policyTypes: ["Ingress", "Egress"] };
const WANTED = Policy.parse({ metadata: { name: POLICY_NAME }, spec: SPEC });

export class KubernetesFence implements PodFence {
  readonly #api: Pick<ApiServer, "get" | "post" | "patch">;

  constructor(api: Pick<ApiServer, "get" | "post" | "patch">) {
    this.#api = api;
  }

  async openings({ namespace }: Pick<PodTarget, "namespace">, labels: Readonly<Record<string, string>>): Promise<readonly string[]> {
    const names: string[] = [];
    for (let page = 0, from = ""; page < MAX_PAGES; page++) {
      const answer = await ask(() => this.#api.get(`${path(namespace)}?limit=${PAGE}${from && `&continue=${encodeURIComponent(from)}`}`));
      if (answer.status !== 200) throw problem(answer, "list networkpolicies");
      const { items, metadata } = read(List, answer.body);
      names.push(...items.filter((each) => each.metadata.name !== POLICY_NAME && letsThrough(each, labels)).map((each) => each.metadata.name));
      from = metadata.continue;
      if (from === "") return names;
    }
    throw new EngineError("ENGINE_REFUSED", `more than ${PAGE * MAX_PAGES} NetworkPolicies in ${namespace}`);
  }

  async raise({ namespace }: Pick<PodTarget, "namespace">): Promise<void> {
    const found = await ask(() => this.#api.get(path(namespace, POLICY_NAME)));
    if (found.status === 404) {
      const metadata = { name: POLICY_NAME, namespace, labels: { "app.kubernetes.io/managed-by": "hullmark" } };
      const made = await ask(() => this.#api.post(path(namespace), { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata, spec: SPEC }));
      if (![200, 201].includes(made.status)) throw problem(made, "create networkpolicies");
      return;
    }
    if (found.status !== 200) throw problem(found, "get networkpolicies");
    if (isDeepStrictEqual(read(Policy, found.body).spec, WANTED.spec)) return;
    // Somebody has changed it: what is not named is taken out.
    const spec = { podSelector: { ...SPEC.podSelector, matchLabels: null }, policyTypes: SPEC.policyTypes, ingress: null, egress: null };
    const patched = await ask(() => this.#api.patch(path(namespace, POLICY_NAME), { spec }, MERGE));
    if (patched.status !== 200) throw problem(patched, "patch networkpolicies");
  }

  async label({ namespace, name, uid, driftId, driftLogIndex }: PodTarget, actionId: string | undefined): Promise<void> {
    const why = { action: actionId, drift: driftId, "drift-log-index": String(driftLogIndex) };
    const annotations = Object.fromEntries(Object.entries(why).map(([key, value]) => [`hullmark.dev/${key}`, actionId === undefined ? null : value]));
    // Another pod of this name has another uid, which nothing can change.
    const metadata = { uid, labels: { [ISOLATED_LABEL]: actionId ?? null }, annotations };
    const answer = await ask(() =>
      this.#api.patch(`/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`, { metadata }, MERGE),
    );
    if (answer.status !== 200) throw problem(answer, "patch pods");
  }
}

function path(namespace: string, name?: string): string {
  const policies = `/apis/networking.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/networkpolicies`;
  return name === undefined ? policies : `${policies}/${encodeURIComponent(name)}`;
}

function read<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (!parsed.success) throw new EngineError("ENGINE_REFUSED", "the API server's answer is no NetworkPolicy");
  return parsed.data;
}

function letsThrough({ spec }: Policy, labels: Readonly<Record<string, string>>): boolean {
  const opens = (type: string, rules: readonly unknown[]): boolean => rules.length > 0 && (spec.policyTypes.length === 0 || spec.policyTypes.includes(type));
  return (opens("Ingress", spec.ingress) || opens("Egress", spec.egress)) && selects(spec.podSelector, labels);
}

/** What is not known counts as selected: it may be so. */
function selects({ matchLabels, matchExpressions }: Policy["spec"]["podSelector"], labels: Readonly<Record<string, string>>): boolean {
  const own = (key: string): string | undefined => (Object.hasOwn(labels, key) ? labels[key] : undefined);
  if (!Object.entries(matchLabels).every(([key, value]) => own(key) === value)) return false;
  return matchExpressions.every(({ key, operator, values }) => {
    const value = own(key);
    if (operator === "In") return value !== undefined && values.includes(value);
    if (operator === "NotIn") return value === undefined || !values.includes(value);
    if (operator === "Exists") return value !== undefined;
    return operator !== "DoesNotExist" || value === undefined;
  });
}
