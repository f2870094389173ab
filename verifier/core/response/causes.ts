/** Which rung heals which cause: the table that keeps an action from re-running the poison, or from halting what only the node did wrong. */
import { PROVENANCE_KINDS, type Severity as SeverityName } from "../policy/kinds.ts";
import type { Rung } from "../policy/types.ts";

/**
 * `workload`: what the container itself wrote, mapped or mounted since it started; gone with it. `configuration`: how it was started; another of it is started
 * alike. `untrusted`: its image is not signed as required, or revoked. `node`: a layer, the content store, or the node; the next container there runs the same.
 * `unmeasurable`: nothing differs that is known, since the container has more of its own than is measured.
 */
export type Cause = "workload" | "configuration" | "untrusted" | "node" | "unmeasurable";

/** What changes something about the cause. A rung that is not listed is not taken, whatever policy says. */
export const HEALS: Readonly<Record<Cause, readonly Rung[]>> = {
  workload: ["alert", "stop", "recreate", "evict", "isolate"],
  configuration: ["alert", "stop", "isolate"],
  untrusted: ["alert", "rollback", "stop", "halt", "isolate"],
  // Once nothing new is put on that node.
  node: ["alert", "evict"],
  unmeasurable: ["alert", "stop", "recreate", "evict", "isolate"],
};

const WORKLOAD_PLACES: ReadonlySet<string> = new Set(["upper", "process", "mount", "bind"]);
const UNTRUSTED_KINDS: ReadonlySet<string> = new Set(PROVENANCE_KINDS);

/** What is not known here is the node's: nothing is destroyed for it. */
export function causeOf({ place, kind }: { readonly place: string; readonly kind: string }): Cause {
  if (WORKLOAD_PLACES.has(place)) return "workload";
  // A container that the runtime does not tell of cannot be named to an actuator.
  if (place === "configuration" && kind !== "unlisted") return "configuration";
  if (place === "image" && UNTRUSTED_KINDS.has(kind)) return "untrusted";
  return "node";
}

/** Gravest last, as the wire's Severity counts from 1. */
export const SEVERITY_OF: readonly (SeverityName | undefined)[] = [undefined, "info", "low", "medium", "high", "critical"];
