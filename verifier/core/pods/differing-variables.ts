/** Variables that cannot be held against what they come from, compared among containers that should be alike. Pure; whoever has a node chooses its digests. */
import type { PodContainer, PodRecord } from "../../ports/pod-view.ts";
import { runtimeDefaults } from "../appraisal/runtime-defaults.ts";

export const MAX_NAMES = 256;
const DIGEST_BYTES = 32;
const defaults = runtimeDefaults(true);

export interface UncomparedVariable {
  readonly name: string;
  /** For people: `Secret token`, `ConfigMap settings`, `file`, `prefix APP_`. */
  readonly source: string;
}

/** A container, and what it has: name → digest under one key for all. */
export interface Told {
  readonly container: string;
  readonly digests: ReadonlyMap<string, Uint8Array>;
}

export interface DifferingVariable extends UncomparedVariable {
  /** Of equal value, the largest first. */
  readonly groups: readonly { readonly containers: readonly string[]; readonly absent: boolean }[];
}

/** @param present names that the container has: those of `envFrom` are in no specification @returns at most {@link MAX_NAMES} */
export function uncomparedVariables({ env, envFrom }: PodContainer, present: readonly string[]): readonly UncomparedVariable[] {
  const named = new Set(env.map(({ name }) => name));
  const uncompared = env.flatMap(({ name, value, field, secret, configMap }) => {
    if (value !== undefined || field !== undefined) return [];
    return [{ name, source: secret !== undefined ? `Secret ${secret}` : configMap ? `ConfigMap ${configMap.name}` : "file" }];
  });
  for (const name of present) {
    const from = envFrom.findLast(({ prefix }) => name.startsWith(prefix));
    if (!from || named.has(name) || defaults.env.has(name) || defaults.envNames?.test(name)) continue;
    // Which of several, or the image, is not known.
    const only = envFrom.length === 1 && from.prefix !== "";
    const source = from.secret !== undefined ? `Secret ${from.secret}` : `ConfigMap ${from.configMap ?? ""}`;
    uncompared.push({ name, source: only ? source : `prefix ${JSON.stringify(from.prefix)}` });
  }
  return [...new Map(uncompared.map((each) => [each.name, each])).values()].slice(0, MAX_NAMES);
}

export function differingVariables(variables: readonly UncomparedVariable[], told: readonly Told[]): readonly DifferingVariable[] {
  return variables.flatMap((variable) => {
    const groups = Map.groupBy(told, ({ digests }) => {
      const digest = digests.get(variable.name);
      return digest?.length === DIGEST_BYTES ? Buffer.from(digest).toString("hex") : "";
    });
    if (groups.size < 2) return [];
    const shown = [...groups].map(([digest, all]) => ({ containers: all.map(({ container }) => container).sort(), absent: digest === "" }));
    return [{ ...variable, groups: shown.sort((a, b) => b.containers.length - a.containers.length || Number(a.absent) - Number(b.absent)) }];
  });
}

/** Running containers of that name in pods of the same revision: node → ids. @returns undefined: what made the pod keeps no revisions */
export function replicasOf(pods: Iterable<PodRecord>, { origin }: PodRecord, container: string): ReadonlyMap<string, readonly string[]> | undefined {
  if (!origin) return undefined;
  const found = new Map<string, string[]>();
  for (const { origin: other, nodeName, running } of pods) {
    if (other?.revision !== origin.revision || other.owner.uid !== origin.owner.uid) continue;
    const ids = running.filter(({ name }) => name === container).map(({ id }) => id);
    if (ids.length > 0) found.set(nodeName, [...(found.get(nodeName) ?? []), ...ids]);
  }
  return found;
}
