/** `-o table|wide|json|yaml`: the same facts in four forms. */
import { InvalidArgumentError } from "commander";
import { stringify } from "yaml";

export type Format = "table" | "wide" | "json" | "yaml";

export function parseFormat(text: string): Format {
  if (text === "table" || text === "wide" || text === "json" || text === "yaml") return text;
  throw new InvalidArgumentError("Use table, wide, json or yaml.");
}

export function isData(format: Format): format is "json" | "yaml" {
  return format === "json" || format === "yaml";
}

export function serialize(format: "json" | "yaml", value: unknown): string {
  return format === "json" ? `${JSON.stringify(value, null, 2)}\n` : stringify(value);
}
