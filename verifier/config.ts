/** The verifier's configuration file: YAML, strict keys, errors with line and fix. deploy/config/verifier.example.yaml explains every key. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, resolve } from "node:path";
import { isMap, LineCounter, parseDocument } from "yaml";
import { z } from "zod";
import { REGION_PATTERN } from "./core/enrolment/peer-identity.ts";

const MAX_CONFIG_BYTES = 1 << 20;

const hostPort = z.string().regex(/^([^\s:]+|\[[0-9a-fA-F:]+\]):\d{1,5}$/, "want host:port");
const hex64 = z.string().regex(/^[0-9a-f]{64}$/, "want 64 lower-case hex digits");

const ConfigSchema = z.strictObject({
  stateDirectory: z.string().startsWith("/", "want an absolute path"),
  verifierId: z.string().min(1).max(128).default(hostname()),
  region: z.string().regex(REGION_PATTERN, "want a-z 0-9 -, at most 32").default("default"),
  listen: z
    .strictObject({
      main: hostPort.default("0.0.0.0:7443"),
      enrolment: hostPort.default("0.0.0.0:7444"),
      http: hostPort.default("127.0.0.1:7480"),
    })
    .prefault({}),
  advertisedNames: z.array(z.string().min(1).max(253)).min(1).max(32).default(["localhost", "127.0.0.1"]),
  enrolment: z
    .strictObject({
      mode: z.enum(["allowlist", "tofu"]).default("allowlist"),
      acceptWithoutCertificate: z.boolean().default(false),
      acceptJoinTokens: z.boolean().default(true),
      makerRootFiles: z.array(z.string()).max(256).default([]),
      allow: z
        .array(z.strictObject({ ekSha256: hex64, name: z.string().max(63).default("") }))
        .max(10_000)
        .default([]),
      pcrs: z.array(z.int().min(0).max(23)).min(1).max(24).default([0, 1, 2, 3, 4, 5, 6, 7]),
      certificateMinutes: z.int().min(5).max(60).default(60),
    })
    .prefault({}),
  policyFile: z.string().optional(),
  registries: z
    .strictObject({
      plainHttp: z.array(z.string()).max(64).default([]),
      loopbackTls: z.array(z.string()).max(64).default([]),
      caFile: z.string().optional(),
      dockerConfigFile: z.string().optional(),
    })
    .prefault({}),
  log: z
    .strictObject({
      name: z
        .string()
        .regex(/^[^\s+]{1,128}$/, "want no spaces and no +")
        .optional(),
      keyFile: z.string().optional(),
    })
    .prefault({}),
  externalUrl: z.url().optional(),
  logging: z.strictObject({ level: z.enum(["trace", "debug", "info", "warn", "error"]).default("info") }).prefault({}),
  drainSeconds: z.int().min(1).max(120).default(10),
});

export type VerifierConfig = z.infer<typeof ConfigSchema>;

/** One mistake in the file. Line and column count from 1. */
export interface ConfigProblem {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** The configuration cannot be used. The message has a line a mistake, `file:line:column: what (fix)`. */
export class ConfigError extends Error {
  readonly problems: readonly ConfigProblem[];

  constructor(file: string, problems: readonly ConfigProblem[]) {
    super(problems.map(({ line, column, message }) => `${file}:${line}:${column}: ${message}`).join("\n"));
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** Relative file names start at the configuration file. @throws ConfigError; the system's error where the file cannot be read */
export function loadConfig(file: string): VerifierConfig {
  const config = parseConfig(readFileSync(file, "utf8"), file);
  const at = (path: string): string => resolve(dirname(file), path);
  const { policyFile, registries, log, enrolment } = config;
  return {
    ...config,
    ...(policyFile !== undefined && { policyFile: at(policyFile) }),
    enrolment: { ...enrolment, makerRootFiles: enrolment.makerRootFiles.map(at) },
    registries: {
      ...registries,
      ...(registries.caFile !== undefined && { caFile: at(registries.caFile) }),
      ...(registries.dockerConfigFile !== undefined && { dockerConfigFile: at(registries.dockerConfigFile) }),
    },
    log: { ...log, ...(log.keyFile !== undefined && { keyFile: at(log.keyFile) }) },
  };
}

/** @throws ConfigError with every mistake */
export function parseConfig(text: string, file: string): VerifierConfig {
  if (text.length > MAX_CONFIG_BYTES) throw new ConfigError(file, [{ line: 1, column: 1, message: `larger than ${MAX_CONFIG_BYTES} bytes` }]);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  const place = (offset: number): { line: number; column: number } => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  if (document.errors.length > 0)
    throw new ConfigError(
      file,
      document.errors.map(({ pos, message }) => ({ ...place(pos[0]), message })),
    );
  const parsed = ConfigSchema.safeParse(document.toJS({ maxAliasCount: 16 }) ?? {});
  if (parsed.success) return parsed.data;
  throw new ConfigError(
    file,
    parsed.error.issues.flatMap((issue): ConfigProblem[] => {
      const path = issue.path as (string | number)[];
      if (issue.code === "unrecognized_keys")
        return issue.keys.map((key) => ({
          ...place(keyOffset(document.contents, path, key)),
          message: `unknown key ${[...path, key].join(".")} (known: ${knownKeys(path).join(", ")})`,
        }));
      const node = document.getIn(path, true) as { range?: [number] } | undefined;
      const missing = node === undefined;
      return [{ ...place(node?.range?.[0] ?? 0), message: `${path.join(".") || "file"}: ${missing ? "is missing" : issue.message}` }];
    }),
  );
}

function keyOffset(contents: unknown, path: readonly (string | number)[], key: string): number {
  const map = path.length === 0 ? contents : (contents as { getIn(path: unknown, keep: boolean): unknown }).getIn(path, true);
  if (!isMap(map)) return 0;
  const pair = map.items.find((item) => String((item.key as { value?: unknown } | null)?.value) === key);
  return (pair?.key as { range?: [number] } | undefined)?.range?.[0] ?? 0;
}

/** Keys of the schema at a path, for the message that names what could stand there. */
function knownKeys(path: readonly (string | number)[]): string[] {
  let at: unknown = ConfigSchema;
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
