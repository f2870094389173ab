/** Configuration files: YAML, strict keys, every mistake with its place. The operator writes them; they are trusted, but bounded all the same. */
import { readFileSync } from "node:fs";
import { type Document, isMap, LineCounter, parseDocument } from "yaml";
import * as z from "zod";

const MAX_CONFIG_BYTES = 1 << 20;

/** `host:port`, with IPv6 in brackets. */
export const hostPort = z.string().regex(/^([^\s:]+|\[[0-9a-fA-F:]+\]):\d{1,5}$/, "want host:port");

/** @param address as {@link hostPort} has it; brackets around IPv6 are taken off */
export function splitHostPort(address: string): readonly [host: string, port: number] {
  const colon = address.lastIndexOf(":");
  return [address.slice(0, colon).replace(/^\[(.*)\]$/, "$1"), Number(address.slice(colon + 1))];
}

/** One mistake in the file. Line and column count from 1. */
interface ConfigProblem {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** The configuration cannot be used. The message has a line a mistake, `file:line:column: what (fix)`, or `file: what (fix)` where nothing could be read. */
export class ConfigError extends Error {
  constructor(file: string, problems: readonly ConfigProblem[] | string) {
    super(
      typeof problems === "string" ? `${file}: ${problems}` : problems.map(({ line, column, message }) => `${file}:${line}:${column}: ${message}`).join("\n"),
    );
    this.name = "ConfigError";
  }
}

const UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: "no such file (name the configuration with --config)",
  ENOTDIR: "no such file (name the configuration with --config)",
  EISDIR: "is a folder (name the file in it with --config)",
  EACCES: "may not be read by this user (run as root, or let the user read it)",
};

/** @returns the text of a configuration file. @throws ConfigError that says what to do where it cannot be read */
export function readConfigFile(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    throw new ConfigError(file, UNREADABLE[code] ?? `cannot be read: ${code || String(error)}`);
  }
}

/**
 * @param schema of strict objects
 * @param file as it is to stand in messages
 * @throws ConfigError with every mistake
 */
export function parseConfigFile<Schema extends z.ZodType>(schema: Schema, text: string, file: string): z.infer<Schema> {
  if (text.length > MAX_CONFIG_BYTES) throw new ConfigError(file, [{ line: 1, column: 1, message: `larger than ${MAX_CONFIG_BYTES} bytes` }]);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  const problem = (offset: number, message: string): ConfigProblem => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col), message };
  };
  if (document.errors.length > 0)
    throw new ConfigError(
      file,
      document.errors.map(({ pos, message }) => problem(pos[0], message)),
    );
  const parsed = schema.safeParse(document.toJS({ maxAliasCount: 16 }) ?? {});
  if (parsed.success) return parsed.data;
  throw new ConfigError(
    file,
    parsed.error.issues.flatMap((issue) => {
      const path = issue.path as (string | number)[];
      if (issue.code === "unrecognized_keys")
        return issue.keys.map((key) => {
          const known = knownKeys(schema, path).join(", ");
          return problem(keyOffset(document, path, key), `unknown key ${[...path, key].join(".")} (known: ${known})`);
        });
      const node = document.getIn(path, true) as { range?: [number] } | undefined;
      return [problem(node?.range?.[0] ?? 0, `${path.join(".") || "file"}: ${node === undefined ? "is missing" : issue.message}`)];
    }),
  );
}

function keyOffset(document: Document, path: readonly (string | number)[], key: string): number {
  const map = document.getIn(path, true);
  if (!isMap(map)) return 0;
  const pair = map.items.find((item) => String((item.key as { value?: unknown } | null)?.value) === key);
  return (pair?.key as { range?: [number] } | undefined)?.range?.[0] ?? 0;
}

/** Keys of the schema at a path, for the message that names what could stand there. */
function knownKeys(schema: z.ZodType, path: readonly (string | number)[]): string[] {
  let at: unknown = schema;
  for (const part of path) {
    const definition = definitionOf(at);
    at = typeof part === "number" ? definition["element"] : (definition["shape"] as Record<string, unknown> | undefined)?.[part];
  }
  return Object.keys((definitionOf(at)["shape"] as object | undefined) ?? {});
}

function definitionOf(schema: unknown): Record<string, unknown> {
  let definition = (schema as { _zod?: { def?: Record<string, unknown> } } | undefined)?._zod?.def ?? {};
  while (definition["innerType"]) definition = (definition["innerType"] as { _zod: { def: Record<string, unknown> } })._zod.def;
  return definition;
}
