/** Shapes that reports share, each bounded; what a schema does not name is not read. */
import * as z from "zod";

export const MAX_FINDINGS = 20_000;
export const MAX_STATEMENTS = 5_000;
export const MAX_PACKAGES = 100_000;
const MAX_FEW = 256;

/** null is absent: encoders of Go write it for empty lists. */
export const some = <T extends z.ZodType>(item: T, max: number) =>
  z
    .array(item)
    .max(max)
    .nullish()
    .transform((items): z.output<T>[] => items ?? []);
export const few = <T extends z.ZodType>(item: T) => some(item, MAX_FEW);
export const findings = <T extends z.ZodType>(item: T) => some(item, MAX_FINDINGS);
export const packages = <T extends z.ZodType>(item: T) => some(item, MAX_PACKAGES);

export const text = (max = 512) =>
  z
    .string()
    .max(max)
    .nullish()
    .transform((value) => value ?? "");
/** Of what a report may say at length and only the beginning is kept. */
export const words = z
  .string()
  .nullish()
  .transform((value) => (value ?? "").slice(0, 512).toWellFormed());
export const id = z.string().min(1).max(128);
export const purl = text(1024);
export const number = (low: number, high: number) => z.number().min(low).max(high).nullish();
export const dateMs = z
  .string()
  .max(64)
  .nullish()
  .transform((value) => {
    const ms = Date.parse(value ?? "");
    // Go's time before any.
    return Number.isNaN(ms) || ms <= 0 ? undefined : ms;
  });

const DIGEST = /^sha256:[0-9a-f]{64}$/;
export const isDigest = (value: string): boolean => DIGEST.test(value);
/** The digest of `name@sha256:…`, or of a bare one. */
export function digestIn(reference: string): string[] {
  const digest = reference.slice(reference.lastIndexOf("@") + 1);
  return isDigest(digest) ? [digest] : [];
}
/** The version of `pkg:oci/…@sha256:…`. */
export function imageDigest(purl: string): string[] {
  const found = /^pkg:(?:oci|docker)\/[^@?#]*@sha256(?::|%3A)([0-9a-f]{64})/i.exec(purl);
  return found?.[1] === undefined ? [] : [`sha256:${found[1].toLowerCase()}`];
}
/** A layer by diff id, or nothing: whatever else stands there names no layer. */
export const layerOf = (value: string): string => (isDigest(value) ? value : "");
