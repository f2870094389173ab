/** Turns schema issues into problems that name a place in the file, what is wrong there, and what to write. */
import type * as z from "zod";
import { policyFile } from "./schema.ts";
import { nearest } from "./suggest.ts";

type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

export interface Explained {
  readonly path: Path;
  /** Points at the key rather than at its value. */
  readonly atKey: boolean;
  readonly message: string;
  readonly fix: string;
}

export function explain(issue: Issue): Explained[] {
  const at = { path: issue.path, atKey: false };
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => unknownKey(issue.path, key));
    case "invalid_value":
      return [{ ...at, ...wrongWord(issue.input, issue.values.map(String)) }];
    case "invalid_key":
      return [{ path: issue.path, atKey: true, ...wrongKey(issue) }];
    case "invalid_type":
      return [
        issue.input === undefined
          ? missing(issue.path, issue.expected)
          : {
              ...at,
              message: `is ${describe(issue.input)}, not ${article(issue.expected)}`,
              fix: issue.expected === "string" ? "write it in quotes, or with its unit" : `write ${article(issue.expected)}`,
            },
      ];
    case "too_small":
      return [
        {
          ...at,
          message: issue.origin === "array" ? "is empty" : "is too small",
          fix: issue.origin === "array" ? "list at least one, or leave the key out where it is optional" : `use ${issue.minimum} or more`,
        },
      ];
    case "too_big":
      return [{ ...at, message: "is too big", fix: `use ${issue.maximum} or less` }];
    case "invalid_union":
      return explainUnion(issue);
    case "custom":
      return [{ ...at, message: issue.message, fix: typeof issue.params?.["fix"] === "string" ? issue.params["fix"] : "" }];
    default:
      return [{ ...at, message: issue.message, fix: "see docs/policy.md" }];
  }
}

function explainUnion(issue: Extract<Issue, { code: "invalid_union" }>): Explained[] {
  if (issue.discriminator !== undefined) {
    const options = ["webhook", "alertmanager", "pagerduty", "slack", "commit-status", "syslog"];
    const input = (issue.input as Record<string, unknown> | undefined)?.[issue.discriminator];
    const path = [...issue.path.filter((part) => part !== issue.discriminator), issue.discriminator];
    return [input === undefined ? missing(path, options.join(" or ")) : { path, atKey: false, ...wrongWord(input, options) }];
  }
  const last = issue.path.at(-1);
  if (last === "threshold")
    return [{ path: issue.path, atKey: false, message: `is ${describe(issue.input)}`, fix: "write any, all, or how many of the authorities (1 or more)" }];
  const secrets = "`{fromFile: NAME}` or `{fromEnv: NAME}`";
  return issue.path.includes("headers")
    ? [{ path: issue.path, atKey: false, message: "is not a header's value", fix: `write ${secrets} (secrets), or \`{value: text}\`` }]
    : [{ path: issue.path, atKey: false, message: "is not where a secret is", fix: `write ${secrets}` }];
}

function unknownKey(path: Path, key: string): Explained {
  const known = knownKeys(path);
  const guess = nearest(key, known);
  const hint = guess
    ? `did you mean "${guess}"?`
    : known.length > 12
      ? "docs/policy.md lists what can stand here"
      : known.length > 0
        ? `known here: ${known.join(", ")}`
        : "remove it";
  return { path: [...path, key], atKey: true, message: `unknown key "${key}"`, fix: hint };
}

function wrongKey(issue: Extract<Issue, { code: "invalid_key" }>): { message: string; fix: string } {
  const inner = issue.issues[0];
  return wrongWord(issue.path.at(-1), inner?.code === "invalid_value" ? inner.values.map(String) : []);
}

function wrongWord(input: unknown, allowed: readonly string[]): { message: string; fix: string } {
  const guess = typeof input === "string" ? nearest(input, allowed) : undefined;
  const message = input === undefined ? "is missing" : `${describe(input)} is not known here`;
  const list = allowed.length <= 12 ? `use ${allowed.join(", ")}` : "docs/policy.md lists what can stand here";
  return { message, fix: guess ? `did you mean "${guess}"?` : list };
}

function missing(path: Path, expected: string): Explained {
  return { path, atKey: false, message: `"${String(path.at(-1))}" is missing`, fix: `add \`${String(path.at(-1))}:\` with ${article(expected)}` };
}

function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (value === null) return "empty";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "a map" : String(value);
}

function article(expected: string): string {
  const names: Record<string, string> = {
    array: "a list",
    object: "a map",
    record: "a map",
    string: "text",
    boolean: "true or false",
    int: "a whole number",
    number: "a number",
  };
  return names[expected] ?? expected;
}

/** Keys that the schema has at a path: what an unknown one may have been meant to be. */
function knownKeys(path: Path): string[] {
  let at: readonly Definition[] = definitionsOf(policyFile);
  for (const part of path) at = at.flatMap((each) => definitionsOf(typeof part === "number" ? each.element : (each.shape?.[String(part)] ?? each.valueType)));
  const keys = at.flatMap(({ keyType, shape }) => (keyType === undefined ? Object.keys(shape ?? {}) : definitionsOf(keyType).flatMap(entriesOf)));
  return [...new Set(keys)];
}

interface Definition {
  readonly innerType?: unknown;
  readonly options?: readonly unknown[];
  readonly element?: unknown;
  readonly shape?: Readonly<Record<string, unknown>>;
  readonly keyType?: unknown;
  readonly valueType?: unknown;
  readonly entries?: object;
}

/** Through defaults and optionals to what is inside; of a union each. None where the schema has nothing there. */
function definitionsOf(schema: unknown): readonly Definition[] {
  const definition = (schema as { readonly _zod?: { readonly def?: Definition } } | undefined)?._zod?.def;
  if (!definition) return [];
  if (definition.innerType !== undefined) return definitionsOf(definition.innerType);
  return definition.options?.flatMap(definitionsOf) ?? [definition];
}

function entriesOf({ entries }: Definition): string[] {
  return Object.keys(entries ?? {});
}
