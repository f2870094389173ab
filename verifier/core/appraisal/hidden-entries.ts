/**
 * What a directory of the image loses without a whiteout a name: where it was removed and made anew (overlayfs marks it opaque), or where
 * something else took its name, everything below it is out of sight at once.
 */
import { decodeRecord, encodeRecord } from "@hullmark/proto/codec";
import { printable } from "../text/printable.ts";
import { isExecutable } from "./compare-records.ts";
import { fileFinding, type Hidden } from "./findings.ts";
import type { ContainerRules, ContainerState, Finding, ReferenceImage, UpperEntry } from "./types.ts";

const SLASH = 0x2f;
/** Up to so many hidden entries are told one by one, more as a number with the gravest names. */
const MAX_SINGLE = 16;
/** Entries looked at below one directory. */
const MAX_COUNTED = 20_000;

interface HiddenEntries {
  /** One removal each, where they are few. */
  readonly each: readonly Finding[];
  /** All in one, where they are many. */
  readonly summary: Hidden | undefined;
}

interface Context {
  readonly state: ContainerState;
  readonly reference: ReferenceImage;
  readonly rules: ContainerRules;
}

/** @returns undefined where the entry hides nothing (that may not change) */
export function hiddenBelow(entry: UpperEntry, expected: Buffer, { state, reference, rules }: Context): HiddenEntries | undefined {
  if (decodeRecord(expected).type !== "d") return undefined;
  const observed = decodeRecord(entry.record);
  if ((observed.type === "d" && !observed.opaque) || belowHiding(entry.path, state)) return undefined;
  const below = reference.below(entry.path, MAX_COUNTED + 1);
  const hidden = below
    // What is in the upper directory again is judged by itself, against what the image holds there.
    .filter(({ path }) => !state.upper.has(path.toString("latin1")))
    .map(({ path, record }) => ({ path, record, executable: isExecutable(decodeRecord(record)) }))
    .filter(({ path, executable }) => !rules.mutable(Buffer.concat([Buffer.from("/"), path]), executable));
  if (hidden.length === 0) return undefined;
  // Of a whole directory that went away (a whiteout, something else) one line tells; of one that is there again, each name that is missing.
  if (observed.type === "d" && hidden.length <= MAX_SINGLE)
    return { each: hidden.flatMap((each) => removed(each, entry, reference, rules)), summary: undefined };
  const runnable = hidden.filter(({ executable }) => executable);
  const named = [...runnable, ...hidden.filter(({ executable }) => !executable)].slice(0, MAX_SINGLE);
  const many = below.length > MAX_COUNTED ? `more than ${MAX_COUNTED}` : String(hidden.length);
  const differences = named.map(({ path, record }) => {
    const type = decodeRecord(record).type;
    return { field: `/${printable(path)}`, expected: type === "d" ? "directory" : type === "l" ? "symlink" : "file", observed: "hidden" };
  });
  const words = `hides ${many} of the image's entries, ${runnable.length} of them executable`;
  return { each: [], summary: { executable: runnable.length > 0, words, differences } };
}

function removed({ path, record }: { path: Buffer; record: Buffer }, by: UpperEntry, reference: ReferenceImage, rules: ContainerRules): Finding[] {
  const layerIndex = reference.merged(path)?.layerIndex ?? -1;
  const { actor, changedAtMs } = by;
  const found = fileFinding({ place: "upper", path, expected: record, observed: undefined, layerIndex, actor, changedAtMs }, rules);
  return found ? [found] : [];
}

/** Whether a directory above hides the image's entries already: then it tells of them. */
function belowHiding(path: Buffer, state: ContainerState): boolean {
  for (let end = path.lastIndexOf(SLASH); end > 0; end = path.lastIndexOf(SLASH, end - 1)) {
    const above = state.upper.get(path.toString("latin1", 0, end));
    const record = above && decodeRecord(above.record);
    if (record && (record.type !== "d" || record.opaque)) return true;
  }
  return false;
}

/** A record with its opaque flag cleared; others unchanged. */
export function withoutOpaque(encoded: Buffer): Buffer {
  const record = decodeRecord(encoded);
  return record.type === "d" && record.opaque ? encodeRecord({ ...record, opaque: false }) : encoded;
}
