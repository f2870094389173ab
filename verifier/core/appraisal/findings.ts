/** Makes findings of file differences: one place for kinds, severities, keys and texts. */
import { decodeRecord } from "@hullmark/proto/codec";
import { addedKind, compareRecords, describe, isExecutable } from "./compare-records.ts";
import { defaultSeverity } from "./severity.ts";
import type { ActorFacts, ContainerRules, Difference, Finding, FindingKind, FindingPlace } from "./types.ts";

export interface FileDifference {
  readonly place: FindingPlace;
  /** Raw bytes, no leading slash. */
  readonly path: Buffer;
  readonly expected: Buffer | undefined;
  readonly observed: Buffer | undefined;
  readonly layerIndex: number;
  readonly actor: ActorFacts | undefined;
  readonly changedAtMs: number | undefined;
  /** What of the image the entry takes out of sight besides its own counterpart. */
  readonly hides?: Hidden | undefined;
}

/** Entries of the image that an entry in the upper directory hides. */
export interface Hidden {
  readonly executable: boolean;
  readonly words: string;
  readonly differences: readonly Difference[];
}

const SLASH = Buffer.from("/");

/** @returns undefined where policy lets this entry change */
export function fileFinding(difference: FileDifference, rules: ContainerRules): Finding | undefined {
  const { place, expected, observed } = difference;
  const path = Buffer.concat([SLASH, difference.path]);
  const { hides } = difference;
  const { kind: judged, differences, executable: itself } = judge(expected, observed);
  // A directory made anew in which names are missing is their removal.
  const madeAnew = hides !== undefined && judged === "opaque";
  const kind = madeAnew ? "removed" : judged;
  const executable = itself || hides?.executable === true;
  if (place === "upper" && rules.mutable(path, executable)) return undefined;
  const own = madeAnew ? "removed and made anew" : summarise(kind, differences);
  const summary = hides ? `${own}; ${hides.words}` : own;
  return finding({ ...difference, kind, path, executable, differences: [...differences, ...(hides?.differences ?? [])], summary }, rules);
}

function judge(expected: Buffer | undefined, observed: Buffer | undefined): { kind: FindingKind; differences: readonly Difference[]; executable: boolean } {
  const before = expected && decodeRecord(expected);
  const after = observed && decodeRecord(observed);
  const executable = (before !== undefined && isExecutable(before)) || (after !== undefined && isExecutable(after));
  if (!after || after.type === "w") {
    const differences = before ? describe(before).map(({ field, observed: was }) => ({ field, expected: was, observed: "absent" })) : [];
    return { kind: "removed", differences, executable };
  }
  if (!expected) return { kind: addedKind(after), differences: describe(after), executable };
  return { ...compareRecords(expected, observed as Buffer), executable };
}

/** A second name of a file that the image holds: shown, not counted. */
export function aliasFinding(path: Buffer, original: string, actor: ActorFacts | undefined, changedAtMs: number | undefined, rules: ContainerRules): Finding {
  const summary = `another name of ${original}, the same inode and the signed content`;
  return finding(
    { place: "upper", kind: "alias", path: Buffer.concat([SLASH, path]), executable: false, differences: [], summary, layerIndex: -1, actor, changedAtMs },
    rules,
  );
}

export interface FindingParts {
  readonly place: FindingPlace;
  readonly kind: FindingKind;
  /** Raw bytes with the leading slash; empty where no file is meant. */
  readonly path: Buffer;
  readonly executable?: boolean;
  readonly differences: readonly Difference[];
  readonly summary: string;
  readonly layerIndex?: number;
  readonly actor?: ActorFacts | undefined;
  readonly changedAtMs?: number | undefined;
  /** What tells findings of one place and path apart; default: nothing, so that a file's drift stays one while its kind changes. */
  readonly discriminator?: string;
}

const NOTICES: ReadonlySet<FindingKind> = new Set<FindingKind>(["alias", "debug-container"]);

export function finding(parts: FindingParts, rules: ContainerRules): Finding {
  const found: Finding = {
    kind: parts.kind,
    place: parts.place,
    path: parts.path,
    key: `${parts.place}|${parts.discriminator ?? ""}|${parts.path.toString("latin1")}`,
    severity: rules.severity(parts.place, parts.kind, defaultSeverity(parts.place, parts.kind, parts.executable ?? false)),
    notice: NOTICES.has(parts.kind),
    summary: parts.summary,
    differences: parts.differences,
    layerIndex: parts.layerIndex ?? -1,
    actor: parts.actor,
    changedAtMs: parts.changedAtMs,
    mappedBy: [],
    executable: parts.executable,
  };
  const exception = rules.excepted?.(found);
  return exception === undefined ? found : { ...found, notice: true, exception };
}

function short(value: string): string {
  return /^[0-9a-f]{64}$/.test(value) ? `${value.slice(0, 8)}…` : value;
}

function summarise(kind: FindingKind, differences: readonly Difference[]): string {
  if (kind === "removed") return "removed, though the image holds it";
  if (differences[0]?.field === "type" && differences[0].expected === "absent") {
    const of = (field: string): string => differences.find((each) => each.field === field)?.observed ?? "";
    return `${of("type")} not in the image, mode ${of("mode")}, owner ${of("owner")}`;
  }
  // What stands there now is told beside it.
  const told = kind === "type" ? differences.slice(0, 1) : differences;
  return told.map(({ field, expected, observed }) => `${field} ${short(expected)} → ${short(observed)}`).join(", ");
}
