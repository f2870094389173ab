/** An incident as the entries of the log have it: computed from them alone, as the verifier computes it from its rows. Pure. */
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Action, ActionKind, ActionSchema, ActionState } from "@hullmark/proto/v1/response";
import { pathText, text, wireName } from "@hullmark/verifier/core/fleet/log-facts";
import { type Assignment, type Decision, excusedSince, type Incident, incidentId, incidentsOf, type Member } from "@hullmark/verifier/core/incident/incident";
import { namespaceOf } from "@hullmark/verifier/core/people/grants";
import { SEVERITY_OF } from "@hullmark/verifier/core/response/causes";
import { isContaining, withoutUndone } from "@hullmark/verifier/core/response/isolation";
import type { LogEntry, LogValue } from "@hullmark/verifier/core/transparency/entry";
import type { ProvenEntry } from "@hullmark/verifier/core/transparency/extract";
import { actionsBy } from "./fetch.ts";

/** In the order of the log. */
export type Entries = readonly ProvenEntry[];

/** What an incident is of, besides the kind of its drifts, which their entries have. */
export interface Meant {
  readonly id: string;
  readonly image: string;
  /** Raw bytes. */
  readonly path: Uint8Array;
  /** What of it stands elsewhere is left out; undefined: it is meant wherever it stands. */
  readonly namespaces?: readonly string[] | undefined;
}

/** A drift as its entries have it. */
export interface ProvenMember extends Member {
  /** Oldest first; at least one. */
  readonly steps: Entries;
  readonly newest: ProvenEntry;
  /** The newest that tells of it. */
  readonly acknowledgement: ProvenEntry | undefined;
}

/** Longest text of an entry; one of this length may be cut. */
const MAX_TEXT_CHARS = 256;

/** As text; empty where it is none. */
export function wordOf(value: LogValue | undefined): string {
  return typeof value === "string" ? value : "";
}

/** Whether an entry of a drift is of this incident. The id stands for all of image, path and kind, of which an entry has the first characters. */
export function isOf({ id, image, path }: Meant, fields: LogEntry["fields"]): boolean {
  if (fields["incident"] !== undefined) return fields["incident"] === id;
  // Of an older verifier: where it has not all of image or path, it cannot be told.
  const [imageWord, pathWord] = [text(image), pathText(path)];
  const same = (fields["config"] || fields["image"]) === imageWord && fields["path"] === pathWord && fields["pathBytes"] === path.length;
  return same && Math.max(imageWord.length, pathWord.length) < MAX_TEXT_CHARS && incidentId({ image, path, kind: wordOf(fields["kind"]) }) === id;
}

/** In its newest episode. @returns undefined where no drift of it is in these entries */
export function provenIncident(entries: Entries, meant: Meant): Incident<ProvenMember> | undefined {
  const actionsOf = actionsBy(actionsIn(entries));
  const steps = Map.groupBy(
    entries.filter(({ type }) => type === "drift"),
    ({ fields }) => wordOf(fields["id"]),
  );
  const newest = (of: (entry: LogEntry) => LogValue | undefined): Newest => new Map(entries.map((entry) => [of(entry), entry]));
  const about: About = {
    actionsOf,
    acknowledgements: newest(({ type, fields }) => (type === "acknowledgement" ? fields["drift"] : undefined)),
    approvals: newest(({ type, fields }) => (type === "admin" && fields["action"] === "exception-approved" ? fields["exception"] : undefined)),
  };
  const members = [...steps.values()].flatMap((each) => memberOf(each, meant, about) ?? []);
  const decided = { assigned: assignedIn(entries, meant.id), closed: decisionIn(entries, meant.id, "incident-resolved") };
  return incidentsOf(members, () => decided)[0];
}

type Newest = ReadonlyMap<LogValue | undefined, ProvenEntry>;

interface About {
  readonly actionsOf: ReturnType<typeof actionsBy>;
  /** By drift. */
  readonly acknowledgements: Newest;
  /** By exception. */
  readonly approvals: Newest;
}

/** @returns undefined: not of this incident any more, elsewhere, or never told as drift */
function memberOf(steps: Entries, meant: Meant, { actionsOf, acknowledgements, approvals }: About): ProvenMember | undefined {
  const [first, newest] = [steps[0], steps.at(-1)];
  if (!first || !newest || !isOf(meant, newest.fields)) return undefined;
  const { id, kind, state, severity, node, nodeName, container, name, workload, exception } = newest.fields;
  const namespace = namespaceOf({ workload: wordOf(workload), containerName: wordOf(name) });
  if (meant.namespaces && !(namespace !== undefined && meant.namespaces.includes(namespace))) return undefined;
  const approved = exception === undefined ? undefined : approvals.get(exception);
  const excusedAtMs = state === "notice" ? excusedSince({ foundAtMs: first.timeMs }, approved?.timeMs) : undefined;
  if (state === "notice" && excusedAtMs === undefined) return undefined;
  const resolvedAtMs = state === "resolved" ? newest.timeMs : excusedAtMs;
  const acknowledgement = id === undefined ? undefined : acknowledgements.get(id);
  const committedAt = timestampFromMs(first.timeMs);
  const times = state === "resolved" ? { committedAt, resolvedAt: timestampFromMs(newest.timeMs) } : { committedAt };
  const actions = actionsOf({ id: wordOf(id), nodeId: wordOf(node), containerId: wordOf(container), ...times });
  return {
    ...{ steps, newest, acknowledgement, driftId: wordOf(id), kind: wordOf(kind), path: meant.path, image: meant.image },
    ...{
      nodeName: wordOf(nodeName ?? node),
      workload: wordOf(workload),
      severity: Math.max(SEVERITY_OF.map(String).indexOf(wordOf(severity)), 0),
    },
    state: resolvedAtMs !== undefined ? "resolved" : state === "acknowledged" ? "acknowledged" : "open",
    ...{ contained: withoutUndone(actions).some(isContaining), foundAtMs: first.timeMs, resolvedAtMs },
    ...{ acknowledgedBy: wordOf(acknowledgement?.fields["by"]), acknowledgedAtMs: acknowledgement?.timeMs },
  };
}

const numberOf = <T extends number>(names: Readonly<Record<number, string>>, word: string): T =>
  Number(Object.keys(names).find((each) => !Number.isNaN(Number(each)) && wireName(names, Number(each)) === word) ?? 0) as T;

/** As far as what contains goes by them. Oldest first. */
function actionsIn(entries: Entries): Action[] {
  const steps = Map.groupBy(
    entries.filter(({ type }) => type === "action"),
    ({ fields }) => wordOf(fields["id"]),
  );
  return [...steps].flatMap(([id, each]) => {
    const [first, newest] = [each[0], each.at(-1)];
    if (!first || !newest) return [];
    const word = (name: string): string => wordOf(newest.fields[name]);
    const state = numberOf<ActionState>(ActionState, word("state"));
    const unsettled = state === ActionState.AWAITING || state === ActionState.ISSUED;
    return create(ActionSchema, {
      ...{ id, state, kind: numberOf<ActionKind>(ActionKind, word("kind")), reason: word("reason"), undoes: word("undoes") },
      ...{ driftId: word("drift"), nodeId: word("node"), containerId: word("container"), createdAt: timestampFromMs(first.timeMs) },
      ...(!unsettled && { settledAt: timestampFromMs(newest.timeMs) }),
    });
  });
}

function decisionIn(entries: Entries, incident: string, action: string): (Decision & { readonly entry: ProvenEntry }) | undefined {
  const entry = entries.findLast(({ type, fields }) => type === "admin" && fields["action"] === action && fields["incident"] === incident);
  return entry && { by: wordOf(entry.fields["by"]), reason: wordOf(entry.fields["reason"]), atMs: entry.timeMs, logIndex: entry.index, entry };
}

function assignedIn(entries: Entries, incident: string): Assignment | undefined {
  const decision = decisionIn(entries, incident, "incident-assigned");
  return decision && { ...decision, owner: wordOf(decision.entry.fields["owner"]) };
}
