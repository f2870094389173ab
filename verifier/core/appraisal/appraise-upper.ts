/**
 * The container's delta against what its image shows at each path. Presence is no drift (a `touch` copies up identical bytes); content is.
 * What was found is kept path by path: a change costs what it touches, however much has changed before. Which paths it touches besides its own:
 * names of the same inode, directories in a directory that came or went, and what hides, or is hidden below, a name of the image.
 */
import { printable } from "../text/printable.ts";
import { aliasFinding, fileFinding } from "./findings.ts";
import { HiddenEntries, withoutOpaque } from "./hidden-entries.ts";
import { Tally } from "./tally.ts";
import type { ContainerRules, ContainerState, Finding, ReferenceImage, UpperEntry } from "./types.ts";
import type { UpperEntries } from "./upper-entries.ts";
import { above, hides, isDirectory, isFile, isWhiteout, UpperIndex } from "./upper-index.ts";

/** A node that was taken over chooses its mounts: what is computed from them stays small. */
const MAX_MASKED_DEPTH = 64;
const MAX_MASKED_MOUNTS = 512;
/** Names of one inode up to which they are known for links of an image file; each of more is told as what it is. */
const MAX_LINKS = 64;

/** The whole delta at once. */
export function appraiseUpper(state: ContainerState, reference: ReferenceImage, rules: ContainerRules): Finding[] {
  return UpperAppraisal.of(state, reference, rules).findings();
}

/** What was found in one container's delta. For one caller at a time: {@link next} moves it on. */
export class UpperAppraisal {
  readonly #reference: ReferenceImage;
  readonly #rules: ContainerRules;
  readonly #dialect: string;
  readonly #mounts: readonly string[];
  readonly #index = new UpperIndex();
  readonly #hidden: HiddenEntries;
  readonly #findings = new Map<string, readonly Finding[]>();
  readonly tally = new Tally();
  #upper: UpperEntries;

  private constructor(state: ContainerState, reference: ReferenceImage, rules: ContainerRules) {
    this.#reference = reference;
    this.#rules = rules;
    this.#dialect = state.filesystem.dialect;
    this.#mounts = maskedDestinations(state);
    this.#hidden = new HiddenEntries(this.#index, reference, rules);
    this.#upper = state.upper;
  }

  static of(state: ContainerState, reference: ReferenceImage, rules: ContainerRules): UpperAppraisal {
    const appraisal = new UpperAppraisal(state, reference, rules);
    for (const entry of state.upper.values()) appraisal.#index.put(entry.path.toString("latin1"), entry);
    appraisal.#derive(new Set(appraisal.#index.keys()));
    return appraisal;
  }

  /** `before`, moved on to this state where it can be; else made anew. What comes out says the same either way. `before` is of no use afterwards. */
  static next(before: UpperAppraisal | undefined, state: ContainerState, reference: ReferenceImage, rules: ContainerRules): UpperAppraisal {
    if (before === undefined || !before.#leadsTo(state, reference, rules)) return UpperAppraisal.of(state, reference, rules);
    before.#advance(state);
    return before;
  }

  findings(): Finding[] {
    return [...this.#findings.values()].flat();
  }

  #leadsTo(state: ContainerState, reference: ReferenceImage, rules: ContainerRules): boolean {
    if (reference !== this.#reference || rules !== this.#rules || state.filesystem.dialect !== this.#dialect) return false;
    if (state.upper !== this.#upper && state.upperDelta?.from !== this.#upper) return false;
    const mounts = maskedDestinations(state);
    return mounts.length === this.#mounts.length && mounts.every((mount, i) => mount === this.#mounts[i]);
  }

  #advance({ upper, upperDelta }: ContainerState): void {
    if (upper === this.#upper) return;
    this.#upper = upper;
    const changes = (upperDelta?.paths ?? []).map((path) => {
      const key = path.toString("latin1");
      return { key, path, before: this.#index.get(key), after: upper.get(path) };
    });
    const stale = new Set(changes.map(({ key }) => key));
    const links = (): void => {
      for (const { before, after } of changes) {
        for (const name of this.#links(before)) stale.add(name);
        for (const name of this.#links(after)) stale.add(name);
      }
    };
    links();
    for (const { key, after } of changes) this.#index.put(key, after);
    links();
    for (const { key, path, before, after } of changes) {
      const came = (before === undefined) !== (after === undefined);
      if (came && !this.#reference.merged(path)) for (const name of this.#index.directoriesIn(key)) stale.add(name);
      for (const name of this.#hidden.touched(key, path, came, hides(before) !== hides(after))) stale.add(name);
    }
    this.#derive(stale);
  }

  #derive(stale: ReadonlySet<string>): void {
    const before: Finding[] = [];
    const after: Finding[] = [];
    const originals = new Map<bigint, Buffer | undefined>();
    for (const key of stale) {
      for (const finding of this.#findings.get(key) ?? []) before.push(finding);
      const entry = this.#index.get(key);
      if (!entry) this.#hidden.forget(key);
      const found = entry ? this.#findingsOf(key, entry, originals) : [];
      if (found.length > 0) this.#findings.set(key, found);
      else this.#findings.delete(key);
      for (const finding of found) after.push(finding);
    }
    this.tally.replace(before, after);
  }

  #findingsOf(key: string, entry: UpperEntry, originals: Map<bigint, Buffer | undefined>): Finding[] {
    const { path, record, actor, changedAtMs } = entry;
    const expected = this.#reference.merged(path);
    const hidden = this.#hidden.of(key, entry, expected?.record);
    if (expected?.record.equals(record)) return [];
    if (isWhiteout(record) && !expected) return [];
    if (this.#reference.runtimeMade(path, record, this.#dialect, this.#mounts)) return [];
    const original = expected ? undefined : this.#original(entry, originals);
    if (original) return [aliasFinding(path, `/${printable(original)}`, actor, changedAtMs, this.#rules)];
    if (!expected && isDirectory(record) && this.#parentIsAdded(key)) return [];
    // A directory made anew in which everything of the image stands again shows what the image shows.
    const observed = expected && isDirectory(expected.record) && !hidden ? withoutOpaque(record) : record;
    const each = hidden?.each ?? [];
    if (expected?.record.equals(observed) || (each.length > 0 && expected?.record.equals(withoutOpaque(observed)))) return [...each];
    const found = fileFinding(
      { place: "upper", path, expected: expected?.record, observed, hides: hidden?.summary, layerIndex: expected?.layerIndex ?? -1, actor, changedAtMs },
      this.#rules,
    );
    return found ? [...each, found] : [...each];
  }

  /** Names whose findings may change with this one. */
  #links(entry: UpperEntry | undefined): Iterable<string> {
    if (!entry || !isFile(entry.record)) return [];
    const names = this.#index.sharing(entry.inode);
    return names.size > MAX_LINKS ? [] : names;
  }

  /**
   * The image file whose inode also has this name, with the very same record: `ln` within the container; of several the first by name.
   * The agent's word on the inode is a hint; what makes it harmless is that the record is one that the image holds.
   */
  #original(entry: UpperEntry, originals: Map<bigint, Buffer | undefined>): Buffer | undefined {
    if (!isFile(entry.record) || entry.inode === 0n) return undefined;
    if (!originals.has(entry.inode)) originals.set(entry.inode, this.#originalOf(this.#index.sharing(entry.inode)));
    const original = originals.get(entry.inode);
    return original && this.#index.get(original.toString("latin1"))?.record.equals(entry.record) ? original : undefined;
  }

  #originalOf(names: ReadonlySet<string>): Buffer | undefined {
    if (names.size < 2 || names.size > MAX_LINKS) return undefined;
    let first: Buffer | undefined;
    for (const name of names) {
      const entry = this.#index.get(name);
      if (!entry || (first && Buffer.compare(first, entry.path) < 0)) continue;
      if (this.#reference.merged(entry.path)?.record.equals(entry.record)) first = entry.path;
    }
    return first;
  }

  /** Whether the parent directory is itself not of the image: then only its topmost ancestor and the files below are told. */
  #parentIsAdded(key: string): boolean {
    const [parent] = above(key);
    const entry = parent === undefined ? undefined : this.#index.get(parent);
    return entry !== undefined && !this.#reference.merged(entry.path);
  }
}

/** Mounts whose targets the runtime may have made. What is left out for its size is told as drift: the safe side. */
export function maskedDestinations({ configuration }: ContainerState): string[] {
  const declared = configuration.mounts.filter(({ declared, destination }) => declared && destination.split("/").length <= MAX_MASKED_DEPTH);
  return declared.slice(0, MAX_MASKED_MOUNTS).map(({ destination }) => destination);
}
