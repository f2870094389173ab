/** What must be told of an attack, to the last difference. */
import { createHash } from "node:crypto";
import type { Programs } from "./images/programs.ts";

/** What must be found: one drift that has all of this. */
export interface ExpectedDrift {
  /** Printable, as the CLI tells it; a pattern where only a part is fixed. */
  readonly path: string | RegExp;
  /** Any of these. */
  readonly kinds: readonly string[];
  readonly place: string;
  readonly layerIndex?: number;
  /** Base name of the program that did it, where the kernel's event tells. */
  readonly who?: string;
  /** Every difference that is told, in this order. */
  readonly differences?: (programs: Programs) => readonly ExpectedDifference[];
}

interface ExpectedDifference {
  readonly field: string;
  /** A pattern where engines differ in it. */
  readonly expected: string | RegExp;
  readonly observed: string;
}

/** What the command tells of a drift, as far as it is matched. */
interface Told {
  readonly kind: string;
  readonly path: string;
  readonly origin: { readonly place: string };
}

export function isExpected(drift: Told, expected: ExpectedDrift): boolean {
  const path = typeof expected.path === "string" ? drift.path === expected.path : expected.path.test(drift.path);
  return path && expected.kinds.includes(drift.kind) && drift.origin.place === expected.place;
}

/** Whether a drift says of what is expected → observed what it should, and nothing else. */
export function saysExpected(
  drift: { readonly differences: readonly Record<"field" | "expected" | "observed", string>[] },
  expected: ExpectedDrift,
  programs: Programs,
): boolean {
  const all = expected.differences?.(programs);
  if (!all) return true;
  const same = (text: string, wanted: string | RegExp): boolean => (typeof wanted === "string" ? text === wanted : wanted.test(text));
  return (
    drift.differences.length === all.length &&
    drift.differences.every(({ field, observed, expected: was }, i) => field === all[i]?.field && observed === all[i].observed && same(was, all[i].expected))
  );
}

const sha256 = (content: Buffer): string => createHash("sha256").update(content).digest("hex");

/** A file of the image that holds something else. */
export function became(before: Buffer, after: Buffer): ExpectedDifference[] {
  const differences = [{ field: "sha256", expected: sha256(before), observed: sha256(after) }];
  return before.length === after.length ? differences : [...differences, { field: "size", expected: String(before.length), observed: String(after.length) }];
}

/** Written at its end. */
export function appended(before: Buffer, text: string): ExpectedDifference[] {
  return became(before, Buffer.concat([before, Buffer.from(text)]));
}

/** A file of root's that came. */
export function added(content: Buffer, mode: string): ExpectedDifference[] {
  const facts = { type: "file", mode, owner: "0:0", size: String(content.length), sha256: sha256(content) };
  return Object.entries(facts).map(([field, observed]) => ({ field, expected: "absent", observed }));
}

/** A file of root's that went. */
export function removed(content: Buffer, mode: string): ExpectedDifference[] {
  return added(content, mode).map(({ field, observed }) => ({ field, expected: observed, observed: "absent" }));
}

/** What runs and is none of the image's. */
export function ran(content: Buffer, words: string): ExpectedDifference[] {
  return [
    { field: "code", expected: "a file of the image", observed: words },
    { field: "sha256", expected: "absent", observed: sha256(content) },
  ];
}
