/** The agent's configuration file: YAML, strict keys, errors with line and fix. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { LineCounter, parseDocument } from "yaml";
import { z } from "zod";

const hostPort = z.string().regex(/^[^\s:]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$/, "host:port");

const ConfigSchema = z.strictObject({
  /** Name of this node for people; its identity is the TPM's. */
  nodeName: z.string().min(1).max(253).default(hostname()),
  /** Private to the agent, mode 0700: spool, AK blobs. */
  stateDirectory: z.string().startsWith("/"),
  verifier: z.strictObject({
    /** Main listener (mutual TLS). */
    address: hostPort,
    /** Enrolment listener (server TLS). */
    enrolmentAddress: hostPort,
    /** PEM of the verifier's CA. */
    caFile: z.string(),
  }),
  tpm: z
    .strictObject({
      /** `device:/dev/tpmrm0`, `swtpm:path=…`; `none`: join by token, trust level none. */
      tcti: z.string().default("device:/dev/tpmrm0"),
      pcrs: z.array(z.int().min(0).max(23)).min(1).max(24).default([0, 1, 2, 3, 4, 5, 6, 7]),
    })
    .prefault({}),
  /** File that holds a one-time join token; only for `tcti: none`. */
  joinTokenFile: z.string().optional(),
  runtime: z.strictObject({ docker: z.strictObject({ socket: z.string().default("/var/run/docker.sock") }).prefault({}) }).prefault({}),
  changes: z
    .strictObject({
      /** `auto`: fanotify where its self-test passes, else chokidar. */
      source: z.enum(["auto", "fanotify", "chokidar"]).default("auto"),
    })
    .prefault({}),
  scrub: z.strictObject({ bytesPerSecond: z.int().min(0).max(1_000_000_000).default(4_000_000) }).prefault({}),
  spool: z.strictObject({ maxBytes: z.int().min(1_048_576).max(4_294_967_296).default(67_108_864) }).prefault({}),
  log: z.strictObject({ level: z.enum(["trace", "debug", "info", "warn", "error"]).default("info") }).prefault({}),
});

export type AgentConfig = z.infer<typeof ConfigSchema>;

/** One mistake in the file. Line and column count from 1. */
export interface ConfigProblem {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

export class ConfigError extends Error {
  readonly problems: readonly ConfigProblem[];

  constructor(file: string, problems: readonly ConfigProblem[]) {
    super(problems.map(({ line, column, message }) => `${file}:${line}:${column}: ${message}`).join("\n"));
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** @throws ConfigError with every mistake */
export function loadConfig(file: string): AgentConfig {
  return parseConfig(readFileSync(file, "utf8"), file);
}

/** @throws ConfigError */
export function parseConfig(text: string, file: string): AgentConfig {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const at = (offset: number): { line: number; column: number } => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  if (document.errors.length > 0)
    throw new ConfigError(
      file,
      document.errors.map(({ pos, message }) => ({ ...at(pos[0]), message: message.split("\n", 1)[0] ?? "" })),
    );
  const parsed = ConfigSchema.safeParse(document.toJS() ?? {});
  if (parsed.success) return parsed.data;
  throw new ConfigError(
    file,
    parsed.error.issues.map((issue) => {
      const name = issue.path.join(".");
      const node = document.getIn(issue.code === "unrecognized_keys" ? [...(issue.path as string[]), issue.keys[0]] : (issue.path as string[]), true) as
        | { range?: [number] }
        | undefined;
      const hint = issue.code === "unrecognized_keys" ? `unknown key ${issue.keys.join(", ")}; see the example configuration` : issue.message;
      return { ...at(node?.range?.[0] ?? 0), message: name ? `${name}: ${hint}` : hint };
    }),
  );
}
