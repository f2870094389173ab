/** What an exported incident says, each member and each line of it out of the entries of the log that stand beside it. Members have the names of `-o json` (docs/cli.md). Pure. */
import { ActorEntry } from "@hullmark/proto/v1/common";
import type { Incident } from "@hullmark/verifier/core/incident/incident";
import { printable } from "@hullmark/verifier/core/text/printable";
import type { LogValue } from "@hullmark/verifier/core/transparency/entry";
import type { ProvenEntry } from "@hullmark/verifier/core/transparency/extract";
import * as z from "zod";
import { incidentHead } from "../output/incident-page.ts";
import { entryWord, MAX_PATH_CHARACTERS, severityWord } from "../output/words.ts";
import { isAbout } from "./about.ts";
import { type Entries, type Meant, type ProvenMember, provenIncident, wordOf } from "./proven-incident.ts";

/** What stands in the way of telling. */
export class Untellable extends Error {}

const DIFFERENCES = z.array(z.object({ field: z.string(), expected: z.string(), observed: z.string() }));
const WHO = z.object({
  pid: z.int(),
  executable: z.string(),
  uid: z.int().optional(),
  container: z.string().optional(),
  entry: z.string().optional(),
  enteredAt: z.int().optional(),
});

/** @throws Untellable: an entry that it takes is not there, or one is there that is not about it */
export function provenView(entries: Entries, meant: Meant) {
  const incident = provenIncident(entries, meant);
  if (!incident) throw new Untellable("no entry of one of its drifts is there");
  if (incident.id !== meant.id) throw new Untellable("the id is not that of this image, path and kind");
  for (const { driftId, steps } of incident.members) checkSteps(driftId, steps);
  const about = isAbout(meant.id, incident.members);
  const other = entries.find((entry) => !about(entry));
  if (other) throw new Untellable(`entry ${other.index} is not about it`);
  return { ...incidentHead(incident), namespaces: meant.namespaces ?? null, drifts: incident.members.map(driftOf), timeline: timelineOf(entries) };
}

/** From the first on, each is there. */
function checkSteps(driftId: string, steps: Entries): void {
  for (const [at, { index, fields }] of steps.entries()) {
    const step = fields["step"] ?? undefined;
    if (step !== undefined && step !== at + 1) throw new Untellable(`${driftId}: before entry ${index} one is left out`);
  }
}

function driftOf({ newest, acknowledgement, path, foundAtMs, driftId, kind, severity }: Incident<ProvenMember>["members"][number]) {
  const { fields, index, timeMs } = newest;
  const word = (name: string): string => wordOf(fields[name]);
  return {
    ...{ id: driftId, severity: severityWord(severity), kind, state: word("state") },
    ...{ node: { id: word("node"), name: word("nodeName") }, container: { id: word("container"), name: word("name") }, workload: word("workload") },
    ...{ image: { reference: word("image"), configDigest: word("config") } },
    ...{ path: printable(path, MAX_PATH_CHARACTERS), pathHex: Buffer.from(path).toString("hex"), summary: word("summary") },
    differences: DIFFERENCES.safeParse(fields["differences"]).data ?? [],
    origin: { place: word("place") },
    actor: actorOf(fields["who"]),
    ...{ changedAt: isoOrNull(fields["changedAt"]), foundAt: iso(foundAtMs), resolvedAt: fields["state"] === "resolved" ? iso(timeMs) : null },
    exception: word("exception") || null,
    acknowledged: acknowledgement
      ? { by: wordOf(acknowledgement.fields["by"]), reason: wordOf(acknowledgement.fields["reason"]), at: iso(acknowledgement.timeMs) }
      : null,
    logIndex: index,
  };
}

function actorOf(who: LogValue | undefined) {
  const { data } = WHO.safeParse(who);
  if (!data) return null;
  const { pid, executable, uid = null, container = null, entry = uid === null ? null : entryWord(ActorEntry.UNSPECIFIED), enteredAt } = data;
  return { pid, executable, uid, containerId: container, entry, enteredAt: isoOrNull(enteredAt) };
}

/** One line for each entry, in the order of the log. */
function timelineOf(entries: Entries) {
  return entries.map((entry) => {
    const { type, fields, index, timeMs } = entry;
    const word = (name: string): string => wordOf(fields[name]);
    const driftId = word(type === "drift" ? "id" : "drift");
    const actionId = type === "action" ? word("id") : word("of") || null;
    return { at: iso(timeMs), logIndex: index, ...happened(entry), driftId, actionId, by: word("by") || null };
  });
}

const DECIDED: Readonly<Record<string, string>> = {
  ...{ "incident-assigned": "assigned", "incident-resolved": "closed" },
  ...{ "exception-requested": "exception", "exception-approved": "excused", "exception-denied": "not-excused" },
  ...{ "exception-revoked": "excuse-over", "exception-expired": "excuse-over" },
};

/** `what` in the words of {@link timelineOf the verifier's own timeline}, where it has one. */
function happened({ type, fields }: ProvenEntry): { readonly what: string; readonly detail: string } {
  const word = (name: string): string => wordOf(fields[name]);
  const joined = (...parts: readonly string[]): string => parts.filter((each) => each !== "").join(": ");
  if (type === "drift") return { what: fields["step"] === 1 ? "found" : word("state"), detail: word("summary") };
  if (type === "acknowledgement") return { what: "acknowledged", detail: word("reason") };
  if (type === "action") {
    const missed = word("captureMissed") && `capture missed: ${joined(word("captureMissed"), word("captureProblem"))}`;
    return { what: word("state"), detail: joined(word("rule") ? `${word("kind")} (rule ${word("rule")})` : word("kind"), word("reason"), missed) };
  }
  if (word("action") === "incident-assigned") return { what: "assigned", detail: joined(`to ${word("owner") || "nobody"}`, word("reason")) };
  return { what: DECIDED[word("action")] ?? word("action"), detail: joined(word("exception"), word("reason")) };
}

const iso = (ms: number): string => new Date(ms).toISOString();
const isoOrNull = (ms: LogValue | undefined): string | null => (typeof ms === "number" && Math.abs(ms) <= 8.64e15 ? iso(ms) : null);
