/** Which entries of a log are about an incident: the same for whoever exports it, and for whoever holds an export against the log. */
import type { LogKeys } from "@hullmark/verifier/core/transparency/checkpoint";
import { decodeLogEntry, type LogEntry } from "@hullmark/verifier/core/transparency/entry";
import { extract, type LogExtract } from "@hullmark/verifier/core/transparency/extract";
import type { LogReader } from "@hullmark/verifier/ports/log-store";
import { isOf, type Meant, type ProvenMember, provenIncident, wordOf } from "./proven-incident.ts";

/**
 * Whether an entry is about one of these drifts, what was done to their containers, what excused them, or what people decided on the incident.
 * @param id undefined: nothing of the latter @returns to be asked once for each entry, in the order of the log
 */
export function isAbout(id: string | undefined, members: readonly ProvenMember[]): (entry: LogEntry) => boolean {
  const drifts = new Set(members.map(({ driftId }) => driftId));
  const places = new Set(members.flatMap(({ newest }) => placeOf(newest.fields) ?? []));
  const excuses = new Set(members.flatMap(({ steps }) => steps.map(({ fields }) => wordOf(fields["exception"]))).filter((each) => each !== ""));
  const actions = new Set<string>();
  return ({ type, fields }) => {
    const of = (name: string): string => wordOf(fields[name]);
    if (type === "drift") return drifts.has(of("id"));
    if (type === "acknowledgement") return drifts.has(of("drift"));
    if (type === "action") {
      if (!drifts.has(of("drift")) && !places.has(placeOf(fields) ?? "")) return false;
      actions.add(of("id"));
      return true;
    }
    if (type !== "admin") return false;
    if ((id !== undefined && of("incident") === id) || drifts.has(of("drift"))) return true;
    return of("action").startsWith("exception-") ? excuses.has(of("exception")) : of("action") === "capture-fetched" && actions.has(of("of"));
  };
}

/** @returns undefined for what is of a node as a whole */
function placeOf(fields: LogEntry["fields"]): string | undefined {
  return wordOf(fields["container"]) === "" ? undefined : `${wordOf(fields["node"])}/${wordOf(fields["container"])}`;
}

/**
 * Takes out of a log what is about the newest episode of an incident. Reads it twice.
 * @param reader with one checkpoint for both times @param below the first position that is not looked at @returns undefined: no drift of it is in the log @throws as {@link extract}
 */
export async function extractIncident(reader: LogReader, key: LogKeys, meant: Meant, below = Number.POSITIVE_INFINITY): Promise<LogExtract | undefined> {
  const seen = new Set<string>();
  const first = await extract(reader, key, ({ type, fields }, index) => {
    if (index >= below) return false;
    if (type === "admin") return fields["incident"] === meant.id || fields["action"] === "exception-approved";
    const id = wordOf(fields["id"]);
    if (type !== "drift" || !(seen.has(id) || isOf(meant, fields))) return false;
    seen.add(id);
    return true;
  });
  const entries = first.entries.map(({ index, entry }) => ({ index, ...decodeLogEntry(entry) }));
  const incident = provenIncident(entries, meant);
  if (!incident) return undefined;
  // What was decided on all of an incident that reaches further is not of a part of it.
  const whole = provenIncident(entries, { ...meant, namespaces: undefined });
  const decided = incident.members.length === whole?.members.length ? meant.id : undefined;
  const about = isAbout(decided, incident.members);
  return await extract(reader, key, (entry, index) => index < below && about(entry));
}
