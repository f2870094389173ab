/** The command line of agent and verifier: `--config FILE`, `--check-config`, `--help`, `--version`, and flags of their own. */
import { parseArgs } from "node:util";
import { ConfigError } from "./config-file.ts";
import { VERSION } from "./version.ts";

export interface CommandLine<Config, Flag extends string> {
  readonly usage: string;
  /** Flags besides the common ones, without dashes. */
  readonly flags: readonly Flag[];
  /** @throws ConfigError */
  load(file: string): Config;
  /** With `--check-config`: what is wrong with the files that the configuration names, a line each. */
  check?(config: Config): readonly string[];
}

/**
 * Answers `--help`, `--version` and `--check-config` itself, and says on standard error what is wrong.
 * @returns the configuration to start with, or the exit code: 0 answered, 2 wrong usage or configuration
 */
export function readCommandLine<Config, Flag extends string = never>(
  args: readonly string[],
  { usage, flags, load, check }: CommandLine<Config, Flag>,
): { readonly config: Config; readonly flag: Flag | undefined } | 0 | 2 {
  const wrong = (message: string): 2 => {
    process.stderr.write(`${message}\n`);
    return 2;
  };
  let values: Readonly<Record<string, unknown>>;
  try {
    const switches = ["check-config", "version", ...flags].map((name) => [name, { type: "boolean" as const }] as const);
    ({ values } = parseArgs({
      args: [...args],
      options: { config: { type: "string" }, help: { type: "boolean", short: "h" }, ...Object.fromEntries(switches) },
    }));
  } catch (error) {
    return wrong(`${messageOf(error)}\n\n${usage}`);
  }
  if (values["help"] || values["version"]) {
    process.stdout.write(values["help"] ? usage : `${VERSION}\n`);
    return 0;
  }
  const file = values["config"];
  if (typeof file !== "string") return wrong(`which configuration?\n\n${usage}`);
  try {
    const config = load(file);
    if (!values["check-config"]) return { config, flag: flags.find((name) => values[name]) };
    const problems = check?.(config) ?? [];
    if (problems.length > 0) return wrong(problems.join("\n"));
    process.stdout.write(`${file}: ok\n`);
    return 0;
  } catch (error) {
    return wrong(error instanceof ConfigError ? error.message : `${file}: ${messageOf(error)}`);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
