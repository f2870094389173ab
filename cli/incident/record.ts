/**
 * An incident in one file, with the log's entries about it and the proofs that they are in the log: for whoever comes later, without the verifier. What it says of the incident is
 * computed from these entries alone, by whoever writes it and whoever verifies it; what no entry has stands beside, named as that.
 */
import { type LogKeys, openCheckpoint } from "@hullmark/verifier/core/transparency/checkpoint";
import { TransparencyError } from "@hullmark/verifier/core/transparency/errors";
import { type LogExtract, MAX_EXTRACT_ENTRIES, openExtract, type ProvenEntry } from "@hullmark/verifier/core/transparency/extract";
import { MAX_NOTE_BYTES } from "@hullmark/verifier/core/transparency/note";
import { verifyLog } from "@hullmark/verifier/core/transparency/verify";
import type { LogReader } from "@hullmark/verifier/ports/log-store";
import * as z from "zod";
import { steady } from "../log/steady.ts";
import { extractIncident } from "./about.ts";
import { differing } from "./differing.ts";
import type { ToldIncident } from "./fetch.ts";
import type { Meant } from "./proven-incident.ts";
import { provenView, Untellable } from "./proven-view.ts";
import { namesIn, toldBeyond } from "./told.ts";

const FORMAT = "hullmark-incident/2";
/** Longest record that is read or written. */
export const MAX_RECORD_BYTES = 67_108_864;
/** Names of what is not proven, and findings, that are told. */
const MAX_TOLD = 100;

const base64 = z.base64().transform((text, { addIssue }) => {
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64") !== text) addIssue("not in canonical form");
  return bytes;
});
const hex = z
  .string()
  .regex(/^([0-9a-f]{2})*$/)
  .transform((text) => Buffer.from(text, "hex"));
const RECORD = z.strictObject({
  format: z.literal(FORMAT),
  /** `provenView` of the entries. */
  incident: z.looseObject({
    ...{ id: z.string(), image: z.string(), pathHex: hex, drifts: z.array(z.unknown()).max(MAX_EXTRACT_ENTRIES) },
    /** Of those alone; null: wherever it stands. */
    namespaces: z.array(z.string()).nullable(),
  }),
  told: z.looseObject({}),
  log: z.strictObject({
    checkpoint: z.string().max(MAX_NOTE_BYTES),
    entries: z.array(z.strictObject({ index: z.int(), entry: base64, proof: z.array(base64).max(106) })).max(MAX_EXTRACT_ENTRIES),
  }),
});
type IncidentRecord = z.infer<typeof RECORD>;

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
  /** What of it stands elsewhere is not in it; undefined: wherever it stands. */
  readonly namespaces: readonly string[] | undefined;
  readonly findings: readonly RecordFinding[];
  /** Members of the file that are the word of whoever exported it: `told`, and what is there. */
  readonly unproven: readonly string[];
  /** What is proven, in the order of the log. */
  readonly entries: readonly ProvenEntry[];
  /** Whether every entry about it, up to the file's checkpoint, is in the file; undefined: it was held against no log. */
  readonly complete: boolean | undefined;
  /** How many entries about it the log has beyond the file's checkpoint: the file is of an earlier time. undefined: it was held against no log. */
  readonly since: number | undefined;
}

/** @param namespaces what of it stands elsewhere is left out; undefined: nothing is @returns the file's text. @throws TransparencyError where the log cannot be read; MISSING also where its newest checkpoint does not have all of it yet, or no entry is about it */
export async function makeRecord(incident: ToldIncident, reader: LogReader, key: LogKeys, namespaces?: readonly string[]): Promise<string> {
  const meant = { id: incident.id, image: incident.image, path: incident.path, namespaces };
  const present = await steady(reader);
  if (openCheckpoint(present.note, key).size <= newestIndex(incident))
    throw new TransparencyError("MISSING", "the log's newest checkpoint does not have all of it yet");
  const log = await extractIncident(present, key, meant);
  if (!log) throw new TransparencyError("MISSING", `the log has all entries that the verifier named, and none of them is about it${of(namespaces)}`);
  const proven = provenView(openExtract(log, key), meant);
  const record = serialized({ format: FORMAT, incident: proven, told: toldBeyond(incident, proven), log: logView(log) });
  if (Buffer.byteLength(record) > MAX_RECORD_BYTES) throw new TransparencyError("OUT_OF_RANGE", `a record of more than ${MAX_RECORD_BYTES} bytes`);
  const [finding] = verifyRecord(record, key).findings;
  if (finding) throw new TransparencyError(finding.verdict === "tampered" ? "INCONSISTENT" : "MISSING", finding.message);
  return record;
}

// Entries of older verifiers do not say where a drift is.
const of = (namespaces: readonly string[] | undefined): string => (namespaces ? `, as far as they say that it is in ${namespaces.join(", ")}` : "");

/** Of all that was told of. */
function newestIndex({ members, assigned, closed }: ToldIncident): number {
  const told = members.flatMap(({ drift, actions }) => [drift.logIndex, ...actions.map(({ logIndex }) => logIndex)]).map(Number);
  return told.reduce((newest, each) => Math.max(newest, each), Math.max(assigned?.logIndex ?? -1, closed?.logIndex ?? -1));
}

const serialized = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;
const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

function logView({ note, entries }: LogExtract) {
  return { checkpoint: note, entries: entries.map(({ index, entry, proof }) => ({ index, entry: encode(entry), proof: proof.map(encode) })) };
}

/** @param file at most {@link MAX_RECORD_BYTES}; anybody may have written it */
export function verifyRecord(file: string, key: LogKeys): RecordVerification {
  const parsed = parsedRecord(file);
  if ("message" in parsed) return verification({ findings: [parsed] });
  const { record, value, written } = parsed;
  const of = { id: record.incident.id, drifts: record.incident.drifts.length, namespaces: record.incident.namespaces ?? undefined };
  const tampered = (message: string): RecordFinding => ({ verdict: "tampered", message });
  let entries: readonly ProvenEntry[];
  try {
    entries = openExtract({ note: record.log.checkpoint, entries: record.log.entries }, key);
  } catch (error) {
    if (!(error instanceof TransparencyError)) throw error;
    return verification({ ...of, findings: [error.code === "UNKNOWN_KEY" ? { verdict: "incomplete", message: error.message } : tampered(error.message)] });
  }
  const unproven = namesIn(record.told, "told");
  const findings = unproven ? [] : [tampered("told: deeper than in any export")];
  // A member that is there twice reads in one way here and in another elsewhere.
  if (written !== file) findings.push(tampered("not written as an export is: something is there twice, or beside it"));
  try {
    const proven: unknown = provenView(entries, meantBy(record));
    findings.push(...differing(value.incident, proven, "incident", MAX_TOLD).map((name) => tampered(`${name}: not as the entries of the log have it`)));
  } catch (error) {
    if (!(error instanceof Untellable)) throw error;
    findings.push({ verdict: "incomplete", message: error.message });
  }
  return verification({ ...of, findings, unproven: unproven?.slice(0, MAX_TOLD) ?? [], entries });
}

/**
 * The same, and that no entry about it, up to the file's checkpoint, was left out, and how many there are since: all of the log is read.
 * @param reader of a log that anybody may serve @throws as `extract`
 */
export async function verifyRecordWithLog(file: string, reader: LogReader, key: LogKeys): Promise<RecordVerification> {
  const own = verifyRecord(file, key);
  const parsed = parsedRecord(file);
  if (own.verdict !== "ok" || "message" in parsed) return own;
  const { checkpoint } = parsed.record.log;
  const { size } = openCheckpoint(checkpoint, key);
  const log = await steady(reader);
  const whole = await verifyLog(log, key, checkpoint);
  if (whole.checkpoint && whole.checkpoint.size < size)
    return verification({
      ...own,
      findings: [{ verdict: "incomplete", message: `the log: it has ${whole.checkpoint.size} entries, the file's checkpoint ${size}` }],
    });
  const ofLog = whole.findings.map(({ verdict, where, message }) => ({ verdict, message: `the log: ${where}: ${message}` }));
  if (ofLog.length > 0) return verification({ ...own, findings: ofLog.slice(0, MAX_TOLD) });
  const meant = meantBy(parsed.record);
  const all = await extractIncident(log, key, meant, size);
  const now = whole.checkpoint?.size === size ? undefined : await extractIncident(log, key, meant);
  const since = now?.entries.filter(({ index }) => index >= size).length ?? 0;
  const there = new Set(own.entries.map(({ index }) => index));
  const findings = (all?.entries ?? [])
    .filter(({ index }) => !there.has(index))
    .map(({ index }): RecordFinding => ({ verdict: "tampered", message: `entry ${index} of the log is about it, and left out` }));
  return verification({ ...own, findings: findings.slice(0, MAX_TOLD), complete: findings.length === 0, since });
}

function verification({ findings, ...found }: Partial<RecordVerification> & Pick<RecordVerification, "findings">): RecordVerification {
  const tampered = findings.some(({ verdict }) => verdict === "tampered");
  const verdict = tampered ? "tampered" : findings.length > 0 ? "incomplete" : "ok";
  return { id: "", drifts: 0, namespaces: undefined, unproven: [], entries: [], complete: undefined, since: undefined, ...found, findings, verdict };
}

function meantBy({ incident: { id, image, pathHex: path, namespaces } }: IncidentRecord): Meant {
  return { id, image, path, namespaces: namespaces ?? undefined };
}

interface ParsedRecord {
  readonly record: IncidentRecord;
  readonly value: z.input<typeof RECORD>;
  /** As an export has it. */
  readonly written: string;
}

function parsedRecord(file: string): ParsedRecord | RecordFinding {
  const not = (why: string): RecordFinding => ({ verdict: "incomplete", message: `not an exported incident: ${why}` });
  let [value, written]: [unknown, string] = [undefined, ""];
  try {
    value = JSON.parse(file);
    written = serialized(value);
  } catch {
    return not("no JSON, or nested too deep");
  }
  const { data, error } = RECORD.safeParse(value);
  if (data) return { record: data, value: value as z.input<typeof RECORD>, written };
  const [issue] = error?.issues ?? [];
  return not(`${issue?.path.join(".") ?? ""} ${issue?.message ?? ""}`);
}
