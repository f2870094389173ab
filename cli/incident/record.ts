/** An incident in one file, with the log's entries about it and the proofs that they are in the log: for whoever comes later, without the verifier. */
import { pathText, text } from "@hullmark/verifier/core/fleet/log-facts";
import { incidentId } from "@hullmark/verifier/core/incident/incident";
import { SEVERITY_OF } from "@hullmark/verifier/core/response/causes";
import type { LogKeys } from "@hullmark/verifier/core/transparency/checkpoint";
import { decodeLogEntry, type LogEntry } from "@hullmark/verifier/core/transparency/entry";
import { TransparencyError } from "@hullmark/verifier/core/transparency/errors";
import { extract, type LogExtract, MAX_EXTRACT_ENTRIES, openExtract, type ProvenEntry } from "@hullmark/verifier/core/transparency/extract";
import { MAX_NOTE_BYTES } from "@hullmark/verifier/core/transparency/note";
import type { LogReader } from "@hullmark/verifier/ports/log-store";
import * as z from "zod";
import { incidentView } from "../output/incident-page.ts";
import { severityWord } from "../output/words.ts";
import type { ToldIncident } from "./fetch.ts";

const FORMAT = "hullmark-incident/1";
/** Longest record that is read or written. */
export const MAX_RECORD_BYTES = 67_108_864;

const base64 = z.base64().transform((text) => Buffer.from(text, "base64"));
const hex = z
  .string()
  .regex(/^([0-9a-f]{2})*$/)
  .transform((text) => Buffer.from(text, "hex"));
/** What is held against the log of a drift; the rest of its view is the exporter's word. */
const DRIFT = z.looseObject({
  ...{ id: z.string(), kind: z.string(), state: z.string(), severity: z.string(), pathHex: hex, logIndex: z.int(), exception: z.string().nullish() },
  ...{ node: z.looseObject({ id: z.string() }), container: z.looseObject({ id: z.string() }) },
  image: z.looseObject({ reference: z.string(), configDigest: z.string() }),
  ...{ summary: z.string(), differences: z.array(z.looseObject({ field: z.string(), expected: z.string(), observed: z.string() })) },
  ...{ actor: z.looseObject({ pid: z.int(), executable: z.string(), uid: z.int().nullish() }).nullable(), changedAt: z.iso.datetime().nullable() },
  ...{ origin: z.looseObject({ place: z.string() }).nullable(), acknowledged: z.looseObject({ by: z.string(), reason: z.string() }).nullable() },
});
const DECISION = z.looseObject({ by: z.string(), reason: z.string(), logIndex: z.int() });
/** Action of the log → member of an incident's view. A record of an older command has neither. */
const DECISIONS = { "incident-assigned": "assigned", "incident-resolved": "closed" } as const;
const DECIDED = { assigned: DECISION.extend({ owner: z.string().nullable() }).nullish(), closed: DECISION.nullish() };
const INCIDENT = z.looseObject({
  ...{ id: z.string(), kind: z.string(), state: z.string(), owner: z.string().nullable(), image: z.string(), pathHex: hex },
  ...{ drifts: z.array(DRIFT).min(1), ...DECIDED },
});
type RecordedIncident = z.infer<typeof INCIDENT>;
const RECORD = z.strictObject({
  format: z.literal(FORMAT),
  incident: INCIDENT,
  /** Drifts of which what differs, who did it or when is another than in their entry, which says how it was then. A record of an older command does not say. */
  since: z.array(z.string()).max(MAX_EXTRACT_ENTRIES).optional(),
  log: z.strictObject({
    checkpoint: z.string().max(MAX_NOTE_BYTES),
    entries: z.array(z.strictObject({ index: z.int(), entry: base64, proof: z.array(base64).max(106) })).max(MAX_EXTRACT_ENTRIES),
  }),
});
const DRIFTS = z.array(DRIFT);
type Drift = z.infer<typeof DRIFT>;

export interface RecordFinding {
  /** `tampered`: something contradicts what the log's key has signed. `incomplete`: it cannot be told. */
  readonly verdict: "tampered" | "incomplete";
  readonly message: string;
}

export interface RecordVerification {
  readonly verdict: "ok" | "tampered" | "incomplete";
  /** Empty where the file is no record. */
  readonly id: string;
  readonly drifts: number;
  readonly findings: readonly RecordFinding[];
  /** Drifts, and of each what is so since its entry by the word of whoever exported. */
  readonly unproven: readonly string[];
  /** What is proven, in the order of the log. */
  readonly entries: readonly ProvenEntry[];
}

/** @returns the file's text. @throws TransparencyError where the log cannot be read; MISSING also where its newest checkpoint does not have all of it yet */
export async function makeRecord(incident: ToldIncident, reader: LogReader, key: LogKeys): Promise<string> {
  const ids = new Set(incident.members.map(({ driftId }) => driftId));
  const actions = new Set(incident.members.flatMap((member) => member.actions.map(({ id }) => id)));
  const log = await extract(
    reader,
    key,
    ({ type, fields }) =>
      ids.has(String(fields[type === "drift" ? "id" : "drift"])) ||
      (type === "action" && actions.has(String(fields["id"]))) ||
      (type === "admin" && (fields["incident"] === incident.id || (fields["action"] === "capture-fetched" && actions.has(String(fields["of"]))))),
  );
  const view = incidentView(incident);
  const byIndex = new Map(log.entries.map(({ index, entry }) => [index, decodeLogEntry(entry)]));
  const since = DRIFTS.parse(view.drifts).flatMap((drift) => {
    const entry = byIndex.get(drift.logIndex);
    return entry && otherSince(drift, entry).length > 0 ? [drift.id] : [];
  });
  const record = serialized({ format: FORMAT, incident: view, since, log: logView(log) });
  if (Buffer.byteLength(record) > MAX_RECORD_BYTES) throw new TransparencyError("OUT_OF_RANGE", `a record of more than ${MAX_RECORD_BYTES} bytes`);
  const [finding] = verifyRecord(record, key).findings;
  if (finding) throw new TransparencyError(finding.verdict === "tampered" ? "INCONSISTENT" : "MISSING", finding.message);
  return record;
}

const serialized = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;
const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

function logView({ note, entries }: LogExtract) {
  return { checkpoint: note, entries: entries.map(({ index, entry, proof }) => ({ index, entry: encode(entry), proof: proof.map(encode) })) };
}

/** @param file at most {@link MAX_RECORD_BYTES}; anybody may have written it */
export function verifyRecord(file: string, key: LogKeys): RecordVerification {
  const findings: RecordFinding[] = [];
  const unproven: string[] = [];
  const find = (verdict: RecordFinding["verdict"], message: string): void => void findings.push({ verdict, message });
  const done = (id = "", drifts = 0, entries: readonly ProvenEntry[] = []): RecordVerification => {
    const tampered = findings.some(({ verdict }) => verdict === "tampered");
    return { verdict: tampered ? "tampered" : findings.length > 0 ? "incomplete" : "ok", id, drifts, findings, unproven, entries };
  };
  const value = jsonOrNot(file);
  const parsed = RECORD.safeParse(value);
  if (!parsed.success) {
    find("incomplete", `not a record of an incident: ${parsed.error.issues[0]?.path.join(".") ?? ""} ${parsed.error.issues[0]?.message ?? ""}`);
    return done();
  }
  // A member that is there twice reads in one way here and in another elsewhere.
  if (serialized(value) !== file) find("tampered", "not written as a record is: something is there twice, or beside it");
  const { incident, since, log } = parsed.data;
  let entries: readonly ProvenEntry[] = [];
  try {
    entries = openExtract({ note: log.checkpoint, entries: log.entries }, key);
  } catch (error) {
    if (!(error instanceof TransparencyError)) throw error;
    find(error.code === "UNKNOWN_KEY" ? "incomplete" : "tampered", error.message);
    return done(incident.id, incident.drifts.length);
  }
  if (incidentId({ image: incident.image, path: incident.pathHex, kind: incident.kind }) !== incident.id)
    find("tampered", "the id is not that of this image, path and kind");
  if (new Set(incident.drifts.map(({ id }) => id)).size !== incident.drifts.length) find("tampered", "a drift is there twice");
  const byIndex = new Map(entries.map((entry) => [entry.index, entry]));
  for (const drift of incident.drifts) {
    const { id, kind, pathHex: path, image, logIndex } = drift;
    if (incidentId({ image: image.configDigest || image.reference, path, kind }) !== incident.id) find("tampered", `${id} belongs to another incident`);
    const entry = byIndex.get(logIndex);
    if (!entry) find("incomplete", `${id}: its entry ${logIndex} is not there`);
    else {
      const other = otherSince(drift, entry);
      const marked = since === undefined || since.includes(id);
      for (const name of [...contradictions(drift, entry), ...(marked ? [] : other)]) find("tampered", `${id}: entry ${logIndex} has another ${name}`);
      if (marked && other.length > 0) unproven.push(`${id}: ${other.join(", ")}`);
    }
    checkAcknowledgement(drift, entries, find);
  }
  checkDecisions(incident, entries, find);
  // What is excused is on record as a notice, whose entry says by what.
  const over = incident.drifts.every(({ state, exception }) => state === "resolved" || (state === "notice" && exception));
  if (over !== (incident.state === "resolved")) find("tampered", "the state is not that of its drifts");
  return done(incident.id, incident.drifts.length, entries);
}

/** Who acknowledged it last, and why. */
function checkAcknowledgement(
  { id, acknowledged }: Drift,
  entries: readonly ProvenEntry[],
  find: (verdict: RecordFinding["verdict"], message: string) => void,
): void {
  const entry = entries.findLast(({ type, fields }) => type === "acknowledgement" && fields["drift"] === id);
  if (!entry && acknowledged) find("incomplete", `${id}: that it was acknowledged is in no entry`);
  if (entry && (text(acknowledged?.by ?? "") !== entry.fields["by"] || text(acknowledged?.reason ?? "") !== entry.fields["reason"]))
    find("tampered", `${id}: entry ${entry.index} has another acknowledgement`);
}

/** Each is what its entry says, and no entry about it is newer. */
function checkDecisions(incident: RecordedIncident, entries: readonly ProvenEntry[], find: (verdict: RecordFinding["verdict"], message: string) => void): void {
  for (const [action, member] of Object.entries(DECISIONS)) {
    const decision = incident[member];
    if (!decision) continue;
    const { by, reason, logIndex } = decision;
    const owner = "owner" in decision ? { owner: text(String(decision.owner ?? "")) } : {};
    const said = { action, incident: incident.id, by: text(by), reason: text(reason), ...owner };
    const entry = entries.find(({ index }) => index === logIndex);
    if (!entry) find("incomplete", `${member}: its entry ${logIndex} is not there`);
    else if (entry.type !== "admin") find("tampered", `${member}: entry ${logIndex} is no decision`);
    else
      for (const [name, value] of Object.entries(said)) if (entry.fields[name] !== value) find("tampered", `${member}: entry ${logIndex} has another ${name}`);
    const newer = entries.findLast(({ type, fields }) => type === "admin" && fields["action"] === action && fields["incident"] === incident.id);
    if (newer && newer.index > logIndex) find("incomplete", `${member}: entry ${newer.index} is newer than ${logIndex}: export it again`);
  }
  const { assigned, closed, owner, state } = incident;
  if (assigned?.owner && owner !== assigned.owner) find("tampered", "the owner is not whom it was given to");
  if (closed && state !== "resolved") find("tampered", "it was resolved by somebody, and stands");
}

/** As tables and views have a severity → as the log has it. */
const SEVERITIES: ReadonlyMap<string, string> = new Map(SEVERITY_OF.flatMap((name, severity) => (name ? [[severityWord(severity), name]] : [])));

/** Names of the members in which the log's entry says something else. */
function contradictions(drift: Drift, { type, fields }: LogEntry): string[] {
  if (type !== "drift") return ["type"];
  const { id, kind, state, severity, node, container, image, pathHex: path } = drift;
  const said = { id, kind, state, severity: SEVERITIES.get(severity), node: node.id, container: text(container.id) };
  const excused = state === "notice" ? { exception: drift.exception ?? undefined } : {};
  const wanted = { ...said, ...excused, image: text(image.reference), config: text(image.configDigest), path: pathText(path), pathBytes: path.length };
  return Object.entries(wanted).flatMap(([name, value]) => (fields[name] === value ? [] : [name]));
}

/** Names of what may have become another since the entry was written, and is: an entry comes with another state, kind or severity alone. */
function otherSince({ summary, differences, actor, changedAt, origin }: Drift, { fields }: LogEntry): string[] {
  const plain = (all: unknown): unknown => JSON.stringify(DIFFERENCES.safeParse(all).data);
  const who = WHO.safeParse(fields["who"]).data ?? null;
  const sameActor =
    actor === null || who === null ? actor === who : actor.pid === who.pid && text(actor.executable) === who.executable && (who.uid ?? actor.uid) === actor.uid;
  const same = {
    summary: text(summary) === fields["summary"],
    differences: plain(differences.slice(0, 16)) === plain(fields["differences"]),
    who: sameActor,
    changedAt: (changedAt === null ? null : Date.parse(changedAt)) === fields["changedAt"],
    place: origin === null || origin.place === fields["place"],
  };
  return Object.entries(same).flatMap(([name, is]) => (is ? [] : [name]));
}

const shortened = z.string().transform(text);
const DIFFERENCES = z.array(z.object({ field: shortened, expected: shortened, observed: shortened }));
const WHO = z.object({ pid: z.int(), executable: z.string(), uid: z.int().optional() }).nullable();

function jsonOrNot(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
