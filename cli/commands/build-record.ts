/** `hullmark build-record -- COMMAND`: runs a build step and writes down what went into it, as SLSA provenance v1 for `hullmark attest`. */

import { execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFile, stat, writeFile } from "node:fs/promises";
import { constants } from "node:os";
import { join, relative, resolve } from "node:path";
import { promisify } from "node:util";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import { type Called, calledAs } from "../kubectl/invocation.ts";
import { LOCK_FILES, MAX_LOCK_BYTES, type Material, materialsOf } from "../record/lock-files.ts";
import { type BuildPrivileges, privilegesOf } from "../record/privileges.ts";
import { redactor } from "../record/redact.ts";
import { baseMaterial, buildRecord, repositoryUrl, type SourceFacts } from "../record/slsa-record.ts";
import { SigningError } from "../signing/errors.ts";
import { type CommandIo, outcome, processIo } from "../signing/io.ts";
import { isUri } from "../signing/predicate.ts";
import { repeated } from "../signing/registry.ts";

interface BuildRecordFlags {
  readonly out: string;
  readonly builder: string;
  readonly env?: readonly string[];
  readonly secret?: readonly string[];
  readonly tool?: readonly string[];
  readonly base?: readonly string[];
  readonly lock?: readonly string[];
  readonly approval?: readonly string[];
  readonly allowChanged?: boolean;
  readonly directory: string;
}

const run = promisify(execFile);
const ASK_TIMEOUT_MS = 30_000;
const MAX_VERSION_CHARS = 200;

/** Exit: 0 built and recorded, 1 the command failed (nothing is recorded), 2 usage, 3 not recorded. */
export function buildRecordCommand(io: CommandIo = processIo()): Command {
  return new Command("build-record")
    .argument("<command...>", "after --: the build step")
    .requiredOption("--out <file>", "where the record goes; replaced when the build succeeds")
    .requiredOption("--builder <uri>", "what builds: the identity that policy knows it by")
    .option("--env <name>", "variable to record with its value; may be repeated", repeated)
    .option("--secret <name>", "variable whose value must not be recorded anywhere, besides those that sound like one; may be repeated", repeated)
    .option("--tool <name[=command]>", "program whose version is recorded (`NAME --version`, or the command's first line); may be repeated", repeated)
    .option("--base <image@digest>", "image that is built upon; may be repeated", repeated)
    .option("--lock <file>", "lock file besides the known ones of this directory; may be repeated", repeated)
    .option("--approval <text>", "who approved, and where that is to be read; may be repeated", repeated)
    .option("-C, --directory <dir>", "where the sources and lock files are, and where the command runs", ".")
    .option("--allow-changed", "record a build of sources that differ from their commit (no commit is recorded then)")
    .action((words: string[], flags: BuildRecordFlags, command: Command) => outcome(io, () => record(io, words, flags, calledAs(command))));
}

async function record(io: CommandIo, words: readonly string[], flags: BuildRecordFlags, called: Called): Promise<0 | 1> {
  const { text, words: redactWords, variable } = redactor(io.env, flags.secret ?? []);
  const bases = (flags.base ?? []).map(readBase);
  if (!isUri(flags.builder)) throw new SigningError("USAGE", `--builder ${JSON.stringify(flags.builder)}: want a URI`);
  const { directory } = flags;
  const source = await sourceFacts(directory, flags.out);
  if (source && source.commit === undefined && !flags.allowChanged)
    throw new SigningError("USAGE", "the sources differ from their commit: commit them, or say --allow-changed");
  const tools = await versionsOf(flags.tool ?? [], directory);
  const materials = await lockedMaterials(directory, flags.lock ?? []);
  const environment = Object.fromEntries((flags.env ?? []).map((name) => [name, variable(name, io.env[name] ?? "")]));
  const privileges = await stepPrivileges(directory);
  const startedMs = io.now();
  const status = await runStep(words, directory, io.env);
  const finishedMs = io.now();
  if (status !== 0) {
    io.err(`hullmark: the command ended with ${status}: nothing is recorded\n`);
    return 1;
  }
  if (JSON.stringify(await lockedMaterials(directory, flags.lock ?? [])) !== JSON.stringify(materials))
    throw new SigningError("FILE", "a lock file was changed while the command ran: what went in is not known (for npm, build with `npm ci`)");
  const predicate = buildRecord({
    ...{ builder: flags.builder, source, command: redactWords(words), environment, tools, bases, materials },
    ...{ approvals: (flags.approval ?? []).map(text), privileges, invocation: `urn:uuid:${randomUUID()}`, startedMs, finishedMs },
  });
  try {
    await writeFile(flags.out, `${JSON.stringify(predicate, null, 2)}\n`, { mode: 0o644 });
  } catch (cause) {
    throw new SigningError("FILE", `${flags.out} cannot be written`, { cause });
  }
  io.out(
    `${printable(`${flags.out}: ${materials.length} materials; attest it: ${called} attest IMAGE --predicate ${flags.out} --type slsaprovenance1 --key KEY`, 4096)}\n`,
  );
  return 0;
}

function readBase(reference: string): Material {
  const material = baseMaterial(reference);
  if (!material) throw new SigningError("USAGE", `--base ${reference}: want host/name@sha256:…`);
  return material;
}

/** undefined outside of a git checkout. */
async function sourceFacts(cwd: string, out: string): Promise<SourceFacts | undefined> {
  const git = async (...args: string[]): Promise<string | undefined> => {
    try {
      return (await run("git", args, { cwd, timeout: ASK_TIMEOUT_MS, maxBuffer: 16 << 20 })).stdout.trim();
    } catch {
      return undefined;
    }
  };
  const commit = await git("rev-parse", "--verify", "HEAD");
  if (commit === undefined) return undefined;
  const status = ["status", "--porcelain", "--untracked-files=normal"];
  // The record of the build before is no source. Outside of the checkout git knows no such path.
  const changes =
    (await git(...status, "--", ":/", `:(exclude,top)${relative((await git("rev-parse", "--show-toplevel")) ?? "", resolve(out))}`)) ?? (await git(...status));
  const repository = repositoryUrl((await git("remote", "get-url", "origin")) ?? "");
  return { repository, ref: (await git("symbolic-ref", "--quiet", "HEAD")) ?? "", commit: changes === "" ? commit : undefined };
}

/** @throws SigningError USAGE for a program that does not say its version */
async function versionsOf(tools: readonly string[], cwd: string): Promise<Record<string, string>> {
  const versions: Record<string, string> = {};
  for (const tool of tools) {
    const equals = tool.indexOf("=");
    const name = equals > 0 ? tool.slice(0, equals) : tool;
    const [program = "", ...args] = equals > 0 ? tool.slice(equals + 1).split(/\s+/) : [tool, "--version"];
    try {
      const { stdout } = await run(program, args, { cwd, timeout: ASK_TIMEOUT_MS, maxBuffer: 1 << 20 });
      versions[name] = (stdout.trim().split("\n")[0] ?? "").slice(0, MAX_VERSION_CHARS);
    } catch (cause) {
      throw new SigningError("USAGE", `--tool ${tool}: ${[program, ...args].join(" ")} says no version`, { cause });
    }
  }
  return versions;
}

/** @throws SigningError for a named file that is not there, one that is too large, or one that cannot be read as what it is */
async function lockedMaterials(directory: string, named: readonly string[]): Promise<Material[]> {
  const materials: Material[] = [];
  for (const file of [...LOCK_FILES, ...named]) {
    const bytes = await readLock(join(directory, file), named.includes(file));
    if (bytes === undefined) continue;
    try {
      materials.push(...materialsOf(file, bytes));
    } catch (cause) {
      throw new SigningError("FILE", `${file} cannot be read as a lock file`, { cause });
    }
  }
  return materials;
}

async function readLock(file: string, wanted: boolean): Promise<Buffer | undefined> {
  try {
    const { size } = await stat(file);
    if (size > MAX_LOCK_BYTES) throw new SigningError("FILE", `${file} has ${size} bytes, limit ${MAX_LOCK_BYTES}`);
    return await readFile(file);
  } catch (cause) {
    if (!wanted && cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
    throw cause instanceof SigningError ? cause : new SigningError("FILE", `${file} cannot be read`, { cause });
  }
}

/** Those of a process started as the step is, which need not have all that this one has. */
async function stepPrivileges(cwd: string): Promise<BuildPrivileges | undefined> {
  try {
    return privilegesOf((await run("cat", ["/proc/self/status"], { cwd, timeout: ASK_TIMEOUT_MS, maxBuffer: 1 << 20 })).stdout);
  } catch {
    return undefined;
  }
}

/** With this process's standard streams. @returns its exit code; 128 and the signal's number as shells have it @throws SigningError USAGE where it cannot be started */
function runStep([program = "", ...args]: readonly string[], cwd: string, env: CommandIo["env"]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: "inherit", cwd, env: { ...env } });
    child.once("error", (cause) => reject(new SigningError("USAGE", `${program} cannot be started`, { cause })));
    child.once("close", (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
}
