/** The container's delta against what its image shows at each path. Presence is no drift (a `touch` copies up identical bytes); content is. */
import { decodeRecord } from "@hullmark/proto/codec";
import { printable } from "../text/printable.ts";
import { aliasFinding, fileFinding } from "./findings.ts";
import { hiddenBelow, withoutOpaque } from "./hidden-entries.ts";
import type { ContainerRules, ContainerState, Finding, ReferenceImage, UpperEntry } from "./types.ts";

const SLASH = 0x2f;
/** A node that was taken over chooses its mounts: what is computed from them stays small. */
const MAX_MASKED_DEPTH = 64;
const MAX_MASKED_MOUNTS = 512;

export function appraiseUpper(state: ContainerState, reference: ReferenceImage, rules: ContainerRules): Finding[] {
  const findings: Finding[] = [];
  const mounts = maskedDestinations(state);
  const aliases = linkedOriginals(state, reference);
  for (const [key, entry] of state.upper) {
    const expected = reference.merged(entry.path);
    if (expected?.record.equals(entry.record)) continue;
    if (isWhiteout(entry.record) && !expected) continue;
    if (reference.runtimeMade(entry.path, entry.record, state.filesystem.dialect, mounts)) continue;
    const original = expected ? undefined : aliases.get(key);
    if (original) {
      findings.push(aliasFinding(entry.path, `/${printable(original)}`, entry.actor, entry.changedAtMs, rules));
      continue;
    }
    if (!expected && isDirectory(entry.record) && parentIsAdded(entry.path, state, reference)) continue;
    const hidden = expected && hiddenBelow(entry, expected.record, { state, reference, rules });
    // A directory made anew in which everything of the image stands again shows what the image shows.
    const observed = expected && isDirectory(expected.record) && !hidden ? withoutOpaque(entry.record) : entry.record;
    if (hidden?.each.length) findings.push(...hidden.each);
    if (expected?.record.equals(observed) || (hidden?.each.length && expected?.record.equals(withoutOpaque(observed)))) continue;
    const found = fileFinding(
      {
        place: "upper",
        path: entry.path,
        expected: expected?.record,
        observed,
        hides: hidden?.summary,
        layerIndex: expected?.layerIndex ?? -1,
        actor: entry.actor,
        changedAtMs: entry.changedAtMs,
      },
      rules,
    );
    if (found) findings.push(found);
  }
  return findings;
}

/** Mounts whose targets the runtime may have made. What is left out for its size is told as drift: the safe side. */
function maskedDestinations({ configuration }: ContainerState): string[] {
  const declared = configuration.mounts.filter(({ declared, destination }) => declared && destination.split("/").length <= MAX_MASKED_DEPTH);
  return declared.slice(0, MAX_MASKED_MOUNTS).map(({ destination }) => destination);
}

/**
 * Names whose inode also has the name of an image file with the very same record: `ln` within the container. The agent's word on the inode is a hint;
 * what makes it harmless is that the record is one that the image holds.
 */
function linkedOriginals(state: ContainerState, reference: ReferenceImage): ReadonlyMap<string, Buffer> {
  const byInode = new Map<bigint, UpperEntry[]>();
  for (const entry of state.upper.values()) {
    if (entry.inode === 0n || entry.record[1] !== 0x66) continue;
    const group = byInode.get(entry.inode);
    if (group) group.push(entry);
    else byInode.set(entry.inode, [entry]);
  }
  const originals = new Map<string, Buffer>();
  for (const group of byInode.values()) {
    const original = group.length > 1 ? group.find(({ path, record }) => reference.merged(path)?.record.equals(record)) : undefined;
    if (!original) continue;
    for (const { path, record } of group) if (path !== original.path && record.equals(original.record)) originals.set(path.toString("latin1"), original.path);
  }
  return originals;
}

function isWhiteout(record: Buffer): boolean {
  return record[1] === 0x77;
}

function isDirectory(record: Buffer): boolean {
  return decodeRecord(record).type === "d";
}

/** Whether the parent directory is itself not of the image: then only its topmost ancestor and the files below are told. */
function parentIsAdded(path: Buffer, state: ContainerState, reference: ReferenceImage): boolean {
  const slash = path.lastIndexOf(SLASH);
  if (slash < 0) return false;
  const parent = path.subarray(0, slash);
  return state.upper.has(parent.toString("latin1")) && !reference.merged(parent);
}
