/** What the verifier told of an incident beyond the log, or otherwise than its entries: in an export by the word of whoever exported. Pure. */
import { isDeepStrictEqual } from "node:util";
import { incidentView } from "../output/incident-page.ts";
import type { ToldIncident } from "./fetch.ts";
import type { provenView } from "./proven-view.ts";

/** In no entry. */
const BEYOND = ["mappedBy", "notBefore", "measuredAt", "committedAt", "alertedAt", "seen", "provenance"] as const;
/** As it was in the newest entry, it need not be any more; an entry has the first 256 characters, and 16 differences. */
const SINCE = ["state", "severity", "summary", "differences", "changedAt"] as const;

type Proven = ReturnType<typeof provenView>;

/** Of each drift what no entry has, and, where they are others, what its entry has otherwise; of the timeline whom was told when. */
export function toldBeyond(incident: ToldIncident, { drifts }: Pick<Proven, "drifts">) {
  const view = incidentView(incident);
  const proven = new Map(drifts.map((each) => [each.id, each]));
  return {
    drifts: view.drifts.map((drift) => {
      const own = proven.get(drift.id);
      const since = SINCE.filter((name) => !isDeepStrictEqual(drift[name], own?.[name]));
      const plain = Object.fromEntries([...since, ...BEYOND].map((name) => [name, drift[name]]));
      return { id: drift.id, ...plain, origin: beyond(drift.origin, own?.origin), actor: beyond(drift.actor, own?.actor) };
    }),
    timeline: view.timeline.filter(({ what }) => ["told", "changed", "heard"].includes(what)),
  };
}

/** Without the members that are the same in both. */
function beyond(told: object | null, own: object | null | undefined): object | null {
  const proven = new Map<string, unknown>(Object.entries(own ?? {}));
  return told && Object.fromEntries(Object.entries(told).filter(([name, value]) => !proven.has(name) || !isDeepStrictEqual(value, proven.get(name))));
}

/** Deepest that anything there lies. */
const MAX_DEPTH = 8;

/** Names of all that is in it, each once: `told.drifts[].alertedAt`. @returns undefined: it is deeper than an export's is */
export function namesIn(value: unknown, name: string, depth = 0): readonly string[] | undefined {
  if (depth > MAX_DEPTH) return undefined;
  if (typeof value !== "object" || value === null) return [name];
  const [inner, parts] = Array.isArray(value)
    ? [(): string => `${name}[]`, value.entries()]
    : [(key: string | number) => `${name}.${key}`, Object.entries(value)];
  const names = new Set<string>([name]);
  for (const [key, each] of parts) {
    const own = namesIn(each, inner(key), depth + 1);
    if (!own) return undefined;
    for (const one of own) names.add(one);
  }
  return [...names];
}
