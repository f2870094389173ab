/** Which alerts a route takes. Each route decides for itself: an alert is told to every one that takes it. */
import { compileNames } from "@hullmark/proto/codec";
import type { AlertKind, AlertMatch } from "../policy/types.ts";

/** Where a drift behind an alert is. `workload` is empty where the node itself is meant. */
export interface AlertPlace {
  readonly node: string;
  readonly workload: string;
}

type InPlace = (place: AlertPlace) => boolean;
const compiled = new WeakMap<AlertMatch, InPlace>();

/**
 * Whether its kind is listed and one of its places fits; an empty list fits everything. An alert that stands for many (kind `many`) passes any list of kinds: one
 * of them may be in it.
 */
export function takes(match: AlertMatch, kind: string, places: Iterable<AlertPlace>): boolean {
  if (match.kinds.length > 0 && kind !== "many" && !match.kinds.includes(kind as AlertKind)) return false;
  if (match.namespaces.length + match.nodes.length + match.pools.length === 0) return true;
  const fits = compiled.get(match) ?? compile(match);
  compiled.set(match, fits);
  for (const place of places) if (fits(place)) return true;
  return false;
}

function compile({ namespaces, nodes, pools, nodeRules }: AlertMatch): InPlace {
  const named = (globs: readonly string[]) => (globs.length === 0 ? () => true : compileNames(globs));
  const inNamespace = named(namespaces);
  const onNode = named(nodes);
  const rules = nodeRules.map(({ name, nodes: globs }) => ({ name, selects: named(globs) }));
  return ({ node, workload }) => {
    const slash = workload.indexOf("/");
    if (namespaces.length > 0 && (slash < 0 || !inNamespace(workload.slice(0, slash)))) return false;
    return onNode(node) && (pools.length === 0 || pools.includes(rules.find(({ selects }) => selects(node))?.name ?? ""));
  };
}
