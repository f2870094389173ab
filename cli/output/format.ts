/** `-o table|wide|json|yaml`: the same facts in four forms. */
import { InvalidArgumentError, Option } from "commander";
import { stringify } from "yaml";

export type Format = "table" | "wide" | "json" | "yaml";

/** `-o`, of every command that has a result. */
export function formatOption(): Option {
  return new Option("-o, --output <format>", "table, wide, json or yaml").default("table").argParser(parseFormat);
}

/** Findings, for tools that read those of scanners too. */
export type ReportFormat = Format | "sarif";

export function reportOption(): Option {
  return new Option("-o, --output <format>", "table, wide, json, yaml or sarif").default("table").argParser(parseReportFormat);
}

function parseReportFormat(text: string): ReportFormat {
  if (text === "sarif") return text;
  try {
    return parseFormat(text);
  } catch {
    throw new InvalidArgumentError("Use table, wide, json, yaml or sarif.");
  }
}

/** `text` is the older name of `table` for what has no columns. */
export function parseFormat(text: string): Format {
  if (text === "text") return "table";
  if (text === "table" || text === "wide" || text === "json" || text === "yaml") return text;
  throw new InvalidArgumentError("Use table, wide, json or yaml.");
}

export function isData(format: ReportFormat): format is "json" | "yaml" {
  return format === "json" || format === "yaml";
}

export function serialize(format: "json" | "yaml", value: unknown): string {
  return format === "json" ? `${JSON.stringify(value, null, 2)}\n` : stringify(value);
}
