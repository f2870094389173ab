/** The policy file's JSON Schema (2020-12), for editors. Out of the one schema that decides; what spans several keys, and the shape of globs and durations, only `policy lint` tells. */
import * as z from "zod";
import { driftException } from "./exception.ts";
import { policyFile } from "./schema.ts";

export function policyJsonSchema(): Record<string, unknown> {
  const { $schema, ...schema } = z.toJSONSchema(policyFile, { io: "input", unrepresentable: "any", reused: "inline" });
  return { $schema, $id: "https://hullmark.dev/schemas/policy.v1.json", title: "Hullmark policy", ...schema };
}

/** Of what a DriftException says. */
export function exceptionJsonSchema(): Record<string, unknown> {
  const { $schema: _, ...schema } = z.toJSONSchema(driftException, { io: "input", unrepresentable: "any", reused: "inline" });
  return schema;
}
