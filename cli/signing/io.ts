/** What a command touches besides files and the registry: given, so that it can run inside a test or another program. */
import { ProvenanceError } from "@hullmark/verifier/core/provenance/index";
import { printable } from "@hullmark/verifier/core/text/printable";
import { RegistryError } from "@hullmark/verifier/ports/registry";
import { SigningError } from "./errors.ts";

/** 0: done, or clean. 1: the verdict is bad. 2: usage. 3: could not be done or told. */
export type ExitCode = 0 | 1 | 2 | 3;

export interface CommandIo {
  out(text: string): void;
  err(text: string): void;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Unix milliseconds. */
  now(): number;
  readonly signal: AbortSignal;
  exit(code: ExitCode): void;
}

/** Standard output and error, this process's environment, clock and exit code. SIGINT ends the process as usual. */
export function processIo(): CommandIo {
  return {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    env: process.env,
    now: Date.now,
    signal: new AbortController().signal,
    exit: (code) => {
      process.exitCode = code;
    },
  };
}

/** Runs a command's work; a failure becomes one line and an exit code. What nobody foresaw goes up. */
export async function outcome(io: CommandIo, work: () => Promise<ExitCode>): Promise<void> {
  try {
    io.exit(await work());
  } catch (error) {
    const known = error instanceof SigningError || error instanceof RegistryError || error instanceof ProvenanceError;
    if (!known) throw error;
    io.err(`hullmark: ${printable(error.message, 1000)}\n`);
    io.exit(isUsage(error) ? 2 : 3);
  }
}

function isUsage({ code }: SigningError | RegistryError | ProvenanceError): boolean {
  return code === "USAGE" || code === "BAD_REFERENCE" || code === "KEY" || code === "BAD_KEY";
}
