/** Two canonical records of one path, field by field, in words. */
import { decodeRecord, type EntryRecord, type Xattr } from "@hullmark/proto/codec";
import { printable } from "../text/printable.ts";
import type { Difference, FindingKind } from "./types.ts";

const TYPE_NAMES: Record<EntryRecord["type"], string> = {
  f: "file",
  d: "directory",
  l: "symlink",
  c: "character device",
  b: "block device",
  p: "FIFO",
  s: "socket",
  w: "absent (whiteout)",
};
const SET_ID = 0o6000;

export interface Comparison {
  readonly kind: FindingKind;
  readonly differences: readonly Difference[];
}

/** Whether the entry could be executed or give rights: the line between data and code. */
export function isExecutable(record: EntryRecord): boolean {
  switch (record.type) {
    case "f":
      return (record.mode & 0o6111) !== 0 || record.xattrs.some(({ name }) => name.equals(CAPABILITY));
    case "c":
    case "b":
      return true;
    default:
      return false;
  }
}

const CAPABILITY = Buffer.from("security.capability");

/** What an added entry is, in one kind. */
export function addedKind(record: EntryRecord): FindingKind {
  if (record.type === "c" || record.type === "b") return "device";
  if (record.type === "f" && record.mode & SET_ID) return "setuid";
  if (record.xattrs.some(({ name }) => name.equals(CAPABILITY))) return "capability";
  return "added";
}

/** Fields of one record, as "expected" or "observed" of something that has no counterpart. */
export function describe(record: EntryRecord): Difference[] {
  const absent = "absent";
  const fields: Difference[] = [{ field: "type", expected: absent, observed: TYPE_NAMES[record.type] }];
  if (record.type === "w") return fields;
  fields.push({ field: "mode", expected: absent, observed: octal(record.mode) }, { field: "owner", expected: absent, observed: `${record.uid}:${record.gid}` });
  if (record.type === "f")
    fields.push(
      { field: "size", expected: absent, observed: String(record.size) },
      { field: "sha256", expected: absent, observed: record.sha256.toString("hex") },
    );
  if (record.type === "l") fields.push({ field: "target", expected: absent, observed: printable(record.target) });
  if (record.type === "c" || record.type === "b") fields.push({ field: "device", expected: absent, observed: `${record.major}:${record.minor}` });
  for (const xattr of record.xattrs) fields.push({ field: `xattr ${printable(xattr.name)}`, expected: absent, observed: xattrText(xattr) });
  return fields;
}

/** Compares two records that differ. The kind is that of the gravest difference. */
export function compareRecords(expectedBytes: Buffer, observedBytes: Buffer): Comparison {
  const expected = decodeRecord(expectedBytes);
  const observed = decodeRecord(observedBytes);
  if (expected.type !== observed.type) return { kind: "type", differences: replaced(expected, observed) };
  const differences: Difference[] = [];
  const kinds: FindingKind[] = [];
  const add = (kind: FindingKind, field: string, from: string, to: string): void => {
    if (from === to) return;
    differences.push({ field, expected: from, observed: to });
    kinds.push(kind);
  };
  if (expected.type === "f" && observed.type === "f") {
    add("content", "sha256", expected.sha256.toString("hex"), observed.sha256.toString("hex"));
    add("content", "size", String(expected.size), String(observed.size));
  }
  const gainedSetId = observed.mode & ~expected.mode & SET_ID;
  add(gainedSetId && observed.type === "f" ? "setuid" : "mode", "mode", octal(expected.mode), octal(observed.mode));
  add("owner", "uid", String(expected.uid), String(observed.uid));
  add("owner", "gid", String(expected.gid), String(observed.gid));
  if (expected.type === "l" && observed.type === "l") add("target", "target", printable(expected.target), printable(observed.target));
  if ("major" in expected && "major" in observed) add("device", "device", `${expected.major}:${expected.minor}`, `${observed.major}:${observed.minor}`);
  if (expected.type === "d" && observed.type === "d") add("opaque", "opaque", String(expected.opaque), String(observed.opaque));
  compareXattrs(expected.xattrs, observed.xattrs, add);
  return { kind: gravest(kinds), differences };
}

/** Something else in its place: its type first, then all that is otherwise. */
function replaced(expected: EntryRecord, observed: EntryRecord): Difference[] {
  const was = new Map(describe(expected).map(({ field, observed: value }) => [field, value]));
  return describe(observed)
    .map((each) => ({ ...each, expected: was.get(each.field) ?? each.expected }))
    .filter((each) => each.expected !== each.observed);
}

function compareXattrs(
  expected: readonly Xattr[],
  observed: readonly Xattr[],
  add: (kind: FindingKind, field: string, from: string, to: string) => void,
): void {
  const names = new Map<string, { from?: Xattr; to?: Xattr }>();
  for (const from of expected) names.set(from.name.toString("latin1"), { from });
  for (const to of observed) names.set(to.name.toString("latin1"), { ...names.get(to.name.toString("latin1")), to });
  for (const [name, { from, to }] of names) {
    const text = (xattr: Xattr | undefined): string => (xattr ? xattrText(xattr) : "absent");
    // A lost capability takes rights away (a write does that by itself): only a gained or changed one is grave.
    add(name === "security.capability" && to ? "capability" : "xattr", `xattr ${printable(Buffer.from(name, "latin1"))}`, text(from), text(to));
  }
}

const GRAVITY: readonly FindingKind[] = ["setuid", "capability", "content", "device", "target", "opaque", "xattr", "owner", "mode"];

function gravest(kinds: readonly FindingKind[]): FindingKind {
  return GRAVITY.find((kind) => kinds.includes(kind)) ?? "content";
}

function octal(mode: number): string {
  return `0${mode.toString(8).padStart(3, "0")}`;
}

function xattrText({ value }: Xattr): string {
  const hex = value.subarray(0, 64).toString("hex");
  return value.length > 64 ? `0x${hex}… (${value.length} bytes)` : `0x${hex}`;
}
