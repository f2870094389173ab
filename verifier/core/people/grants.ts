/**
 * What somebody may do, and where: a role in the whole cluster, roles in single namespaces, or both. What is of no namespace (nodes, images, containers outside pods
 * that name none) is seen and changed by roles of the whole cluster alone. Pure.
 */
import type { OperatorRole } from "../../ports/certificate-authority.ts";

/** Each role may do all that those before it may. */
export const ROLES: readonly OperatorRole[] = ["viewer", "responder", "approver", "admin"];
/** RFC 1123 label, as a cluster's namespaces are called. Names are compared exactly: there are no patterns. */
export const NAMESPACE_PATTERN = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** That one certificate, or one rule of the configuration, names. */
export const MAX_NAMESPACES = 16;

export interface Binding {
  readonly role: OperatorRole;
  /** undefined: the whole cluster. An empty list binds to nothing. */
  readonly namespaces: readonly string[] | undefined;
}

/** At least one of both gives something. */
export interface Grants {
  /** undefined: none in the whole cluster. */
  readonly cluster: OperatorRole | undefined;
  readonly namespaces: ReadonlyMap<string, OperatorRole>;
}

/** Where a call may look and act: everywhere, or in these namespaces alone. */
export type Reach = "cluster" | ReadonlySet<string>;

export function atLeast(role: OperatorRole, wanted: OperatorRole): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(wanted);
}

/** The highest role of each place. @returns undefined where the bindings give nothing */
export function grantsOf(bindings: Iterable<Binding>): Grants | undefined {
  let cluster: OperatorRole | undefined;
  const namespaces = new Map<string, OperatorRole>();
  const higher = (role: OperatorRole, before: OperatorRole | undefined): OperatorRole => (before && atLeast(before, role) ? before : role);
  for (const { role, namespaces: bound } of bindings)
    if (bound === undefined) cluster = higher(role, cluster);
    else for (const name of bound) namespaces.set(name, higher(role, namespaces.get(name)));
  return cluster || namespaces.size > 0 ? { cluster, namespaces } : undefined;
}

/** Where somebody has at least the role; an empty set: nowhere. */
export function reachOf({ cluster, namespaces }: Grants, wanted: OperatorRole): Reach {
  if (cluster && atLeast(cluster, wanted)) return "cluster";
  return new Set([...namespaces].filter(([, role]) => atLeast(role, wanted)).map(([name]) => name));
}

/** The highest role, wherever it holds. */
export function highestOf({ cluster, namespaces }: Grants): OperatorRole | "" {
  return ROLES.findLast((role) => role === cluster || [...namespaces.values()].includes(role)) ?? "";
}

/** In words: `viewer, responder in shop`. */
export function grantsText({ cluster, namespaces }: Grants): string {
  return [...(cluster ? [cluster] : []), ...[...namespaces].map(([name, role]) => `${role} in ${name}`)].join(", ");
}

/**
 * The namespace of a container, as alert routes know it: what its workload's name has before the slash. A pod's container says it twice (`NAMESPACE/POD/CONTAINER`); where
 * both do not agree it is of none. Both are the node's word.
 */
export function namespaceOf({ workload, containerName }: { readonly workload: string; readonly containerName: string }): string | undefined {
  const slash = workload.indexOf("/");
  if (slash < 0) return undefined;
  const namespace = workload.slice(0, slash);
  if (containerName.includes("/") && !containerName.startsWith(`${namespace}/`)) return undefined;
  return NAMESPACE_PATTERN.test(namespace) ? namespace : undefined;
}

export function reaches(reach: Reach, place: { readonly workload: string; readonly containerName: string }): boolean {
  if (reach === "cluster") return true;
  const namespace = namespaceOf(place);
  return namespace !== undefined && reach.has(namespace);
}
