/** Who has set which field of an object, and when last (metav1.ManagedFieldsEntry), as the API server notes it. Whoever may write the object may write these too. */
import * as z from "zod";

export const Managed = z.array(z.object({ time: z.string().optional(), fieldsV1: z.unknown().optional() }));

/** @param path names of fields as FieldsV1 has them, for example `f:metadata`, `f:labels`, `f:tier` */
export function hasField(fields: unknown, [first, ...rest]: readonly string[]): boolean {
  if (first === undefined) return true;
  if (typeof fields !== "object" || fields === null || !Object.hasOwn(fields, first)) return false;
  return hasField((fields as Readonly<Record<string, unknown>>)[first], rest);
}
