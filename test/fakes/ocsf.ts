/** Holds an event against a table of OCSF's published schema (test/vectors/ocsf). */
import { readFileSync } from "node:fs";

interface Attribute {
  readonly type: string;
  readonly array?: true;
  readonly required?: true;
  readonly deprecated?: true;
  readonly enum?: readonly string[];
}
interface Shape {
  readonly attributes: Readonly<Record<string, Attribute>>;
  readonly constraints?: Readonly<Record<string, readonly string[]>>;
}
interface Table {
  readonly version: string;
  readonly class: Shape;
  readonly objects: Readonly<Record<string, Shape>>;
  readonly types: Readonly<Record<string, { readonly type?: string; readonly regex?: string; readonly maxLength?: number }>>;
}

const TABLE = JSON.parse(readFileSync(new URL("../vectors/ocsf/detection-finding-1.6.0.json", import.meta.url), "utf8")) as Table;

/** What is wrong with a Detection Finding, with its place; empty: nothing. */
export function ocsfProblems(event: unknown): string[] {
  const version = (event as { metadata?: { version?: unknown } }).metadata?.version;
  return [...(version === TABLE.version ? [] : [`metadata.version: want ${TABLE.version}`]), ...objectProblems(event, TABLE.class, "")];
}

function objectProblems(value: unknown, { attributes, constraints }: Shape, at: string): string[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [`${at}: want an object`];
  const entries = Object.entries(value);
  const missing = Object.entries(attributes).filter(([name, { required }]) => required && !Object.hasOwn(value, name));
  const one = constraints?.["at_least_one"];
  return [
    ...missing.map(([name]) => `${at}${name}: missing`),
    ...(one && !one.some((name) => Object.hasOwn(value, name)) ? [`${at}: want one of ${one.join(", ")}`] : []),
    ...entries.flatMap(([name, each]) => {
      const attribute = attributes[name];
      if (!attribute || attribute.deprecated) return [`${at}${name}: ${attribute ? "deprecated" : "unknown"}`];
      if (!attribute.array) return valueProblems(each, attribute, `${at}${name}`);
      return Array.isArray(each) ? each.flatMap((item, i) => valueProblems(item, attribute, `${at}${name}[${i}]`)) : [`${at}${name}: want a list`];
    }),
  ];
}

function valueProblems(value: unknown, attribute: Attribute, at: string): string[] {
  if (attribute.enum && !attribute.enum.includes(String(value))) return [`${at}: ${String(value)} is none of ${attribute.enum.join(", ")}`];
  const type = TABLE.types[attribute.type];
  if (attribute.type === "object") return typeof value === "object" && value !== null ? [] : [`${at}: want an object`];
  if (!type) {
    const shape = TABLE.objects[attribute.type];
    return shape ? objectProblems(value, shape, `${at}.`) : [`${at}: the table has no ${attribute.type}`];
  }
  const base = type.type ?? attribute.type;
  const fits =
    base === "boolean_t"
      ? typeof value === "boolean"
      : base === "integer_t" || base === "long_t" || base === "timestamp_t"
        ? Number.isSafeInteger(value)
        : base === "string_t" && typeof value === "string";
  if (!fits) return [`${at}: want ${attribute.type}`];
  if (typeof value !== "string") return [];
  if (type.maxLength !== undefined && value.length > type.maxLength) return [`${at}: longer than ${type.maxLength}`];
  return type.regex !== undefined && !new RegExp(type.regex).test(value) ? [`${at}: no ${attribute.type}`] : [];
}
