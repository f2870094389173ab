/**
 * What a directory of the image loses without a whiteout a name: where it was removed and made anew (overlayfs marks it opaque), or where
 * something else took its name, everything below it is out of sight at once.
 */
import { decodeRecord, encodeRecord } from "@hullmark/proto/codec";
import { printable } from "../text/printable.ts";
import { isExecutable } from "./compare-records.ts";
import { fileFinding, type Hidden } from "./findings.ts";
import type { ContainerRules, Finding, ReferenceImage, UpperEntry } from "./types.ts";
import { above, hides, isDirectory, type UpperIndex } from "./upper-index.ts";

/** Up to so many hidden entries are told one by one, more as a number with the gravest names. */
const MAX_SINGLE = 16;
/** Entries looked at below one directory. */
const MAX_COUNTED = 20_000;

interface HiddenBelow {
  /** One removal each, where they are few. */
  readonly each: readonly Finding[];
  /** All in one, where they are many. */
  readonly summary: Hidden | undefined;
}

/** An entry of the image that must not vanish. */
interface Kept {
  readonly key: string;
  readonly path: Buffer;
  readonly record: Buffer;
  readonly executable: boolean;
}

/** The entries of one delta that stand where the image has a directory, and what they hide. */
export class HiddenEntries {
  readonly #index: UpperIndex;
  readonly #reference: ReferenceImage;
  readonly #rules: ContainerRules;
  /** Hiding entry → what the image has below it; undefined: not looked at yet. */
  readonly #hiding = new Map<string, { readonly kept: readonly Kept[]; readonly more: boolean } | undefined>();

  constructor(index: UpperIndex, reference: ReferenceImage, rules: ContainerRules) {
    this.#index = index;
    this.#reference = reference;
    this.#rules = rules;
  }

  /** @param expected the image's record at the path @returns undefined where the entry hides nothing (that may not change) */
  of(key: string, entry: UpperEntry, expected: Buffer | undefined): HiddenBelow | undefined {
    if (!expected || !isDirectory(expected) || !hides(entry)) {
      this.forget(key);
      return undefined;
    }
    if (!this.#hiding.has(key)) this.#hiding.set(key, undefined);
    // A directory above that hides the image's entries already tells of them.
    for (const name of above(key)) if (hides(this.#index.get(name))) return undefined;
    return this.#below(key, entry);
  }

  forget(key: string): void {
    this.#hiding.delete(key);
  }

  /** Hiding entries whose findings a change at `path` may touch. @param came it came or went @param hiding it began or ceased to hide */
  *touched(key: string, path: Buffer, came: boolean, hiding: boolean): Generator<string> {
    if (this.#hiding.size === 0 || !(came || hiding)) return;
    const expected = this.#reference.merged(path);
    if (!expected) return;
    if (came) for (const name of above(key)) if (this.#hiding.has(name)) yield name;
    if (hiding && isDirectory(expected.record)) for (const name of this.#hiding.keys()) if (name.startsWith(`${key}/`)) yield name;
  }

  #below(key: string, entry: UpperEntry): HiddenBelow | undefined {
    const { kept, more } = this.#hiding.get(key) ?? this.#look(key, entry.path);
    // What is in the upper directory again is judged by itself, against what the image holds there.
    const hidden = kept.filter((each) => !this.#index.has(each.key));
    if (hidden.length === 0) return undefined;
    // Of a whole directory that went away (a whiteout, something else) one line tells; of one that is there again, each name that is missing.
    if (isDirectory(entry.record) && hidden.length <= MAX_SINGLE) return { each: hidden.flatMap((each) => this.#removed(each, entry)), summary: undefined };
    const runnable = hidden.filter(({ executable }) => executable);
    const named = [...runnable.slice(0, MAX_SINGLE), ...hidden.filter(({ executable }) => !executable)].slice(0, MAX_SINGLE);
    const many = more ? `more than ${MAX_COUNTED}` : String(hidden.length);
    const differences = named.map(({ path, record }) => {
      const type = decodeRecord(record).type;
      return { field: `/${printable(path)}`, expected: type === "d" ? "directory" : type === "l" ? "symlink" : "file", observed: "hidden" };
    });
    const words = `hides ${many} of the image's entries, ${runnable.length} of them executable`;
    return { each: [], summary: { executable: runnable.length > 0, words, differences } };
  }

  #look(key: string, path: Buffer): { readonly kept: readonly Kept[]; readonly more: boolean } {
    const below = this.#reference.below(path, MAX_COUNTED + 1);
    const kept = below
      .map((each) => ({ ...each, key: each.path.toString("latin1"), executable: isExecutable(decodeRecord(each.record)) }))
      .filter((each) => !this.#rules.mutable(Buffer.concat([Buffer.from("/"), each.path]), each.executable));
    const looked = { kept, more: below.length > MAX_COUNTED };
    this.#hiding.set(key, looked);
    return looked;
  }

  #removed({ path, record }: Kept, { actor, changedAtMs }: UpperEntry): Finding[] {
    const layerIndex = this.#reference.merged(path)?.layerIndex ?? -1;
    const found = fileFinding({ place: "upper", path, expected: record, observed: undefined, layerIndex, actor, changedAtMs }, this.#rules);
    return found ? [found] : [];
  }
}

/** A record with its opaque flag cleared; others unchanged. */
export function withoutOpaque(encoded: Buffer): Buffer {
  const record = decodeRecord(encoded);
  return record.type === "d" && record.opaque ? encodeRecord({ ...record, opaque: false }) : encoded;
}
