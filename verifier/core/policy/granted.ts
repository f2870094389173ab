/** What people have excused: one difference of one workload, as it was seen, until a day. It stays on record and is shown; it is no drift meanwhile. Pure. */
import { hash } from "node:crypto";
import { compileGlob } from "@hullmark/proto/codec";
import type { Severity } from "@hullmark/proto/v1/common";
import type { Difference, Finding } from "../appraisal/types.ts";
import type { GrantedException, SelectableContainer } from "./types.ts";

/** Kinds that the content of a data file makes, whatever it is. */
export const CONTENT_KINDS: ReadonlySet<string> = new Set(["content", "added", "removed"]);

/** Stands for what differs, digest of the content included: hexadecimal SHA-256. The workload controls what it is over. */
export function observedOf(differences: readonly Difference[]): string {
  return hash("sha256", JSON.stringify(differences.map(({ field, observed }) => [field, observed])));
}

/**
 * @param grants those that select the container
 * @returns the id of an exception by which a finding is excused; undefined: none. Compile once a policy and container.
 */
export function grantedFor(grants: readonly GrantedException[], container: SelectableContainer): (finding: Finding) => string | undefined {
  const own = grants
    .filter(({ configDigest }) => configDigest === "" || configDigest === container.configDigest)
    .filter(({ service }) => service === undefined || service === container.service)
    .map((grant) => ({ grant, path: grant.glob === "" ? undefined : compileGlob(grant.glob) }));
  if (own.length === 0) return () => undefined;
  return (finding) => own.find(({ grant, path }) => covers(grant, path, finding))?.grant.id;
}

function covers(grant: GrantedException, glob: ((path: Uint8Array) => boolean) | undefined, finding: Finding): boolean {
  const { kind, place, path, severity, executable, differences } = finding;
  if (place !== grant.place || severity > (grant.severity as Severity)) return false;
  if (!(glob ? glob(path) : path.toString("hex") === grant.pathHex)) return false;
  if (grant.observed !== "") return kind === grant.kind && observedOf(differences) === grant.observed;
  return executable === false && CONTENT_KINDS.has(kind);
}
