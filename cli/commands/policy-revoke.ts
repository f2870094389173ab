/** `hullmark policy revoke`: takes trust from what was built from a range of commits. A verifier has no repository: the range is spelled out here, where there is one. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { parsePolicy } from "@hullmark/verifier/core/policy/parse";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import { isSeq, parseDocument, stringify } from "yaml";
import { because } from "../output/because.ts";
import { replaceFile } from "../output/replace-file.ts";
import { repositoryUrl } from "../record/slsa-record.ts";
import { SigningError } from "../signing/errors.ts";
import { type CommandIo, outcome } from "../signing/io.ts";
import { parsePolicyText } from "./policy-file.ts";

interface RevokeFlags {
  readonly commits: string;
  readonly repo: string;
  readonly repository?: string;
  readonly reason: string;
  readonly since?: string;
}

interface Entry {
  readonly reason: string;
  readonly since?: string;
  readonly commits: { readonly repository: string; readonly ids: readonly string[] };
}

const GIT_MS = 60_000;

/** Exit: 0 written or printed, 2 usage, 3 the range could not be told or the policy would not be one. */
export function policyRevokeCommand(io: CommandIo): Command {
  return new Command("revoke")
    .description("trust nothing more that was built from a range of commits: adds them to a policy's revocations (to the terminal without FILE)")
    .argument("[file]", "the policy; comments in it stay")
    .requiredOption("--commits <range>", "as git rev-list has it: GOOD..BAD is what came after GOOD, up to and with BAD, merged branches too")
    .requiredOption("--reason <text>", "for whoever is told")
    .option("--repo <dir>", "where the repository is checked out, whole", ".")
    .option("--repository <url>", "as provenance names it (default: the remote origin, as build-record writes it)")
    .option("--since <time>", "what was provably attested before still counts (RFC 3339)")
    .addHelpText("after", "\nExit: 0 written or printed, 2 usage, 3 the range could not be told, or the policy would not be one: it is left as it is")
    .action((file: string | undefined, flags: RevokeFlags) => outcome(io, () => revoke(io, file, flags)));
}

async function revoke(io: CommandIo, file: string | undefined, flags: RevokeFlags): Promise<0> {
  const { reason, since } = flags;
  const ids = await commitsOf(flags, io.signal);
  const repository = flags.repository ?? repositoryUrl(await git(flags.repo, io.signal, "remote", "get-url", "origin"));
  if (repository === "") throw new SigningError("USAGE", "--repository: the remote origin is no repository that others could name");
  const entry: Entry = { reason, ...(since !== undefined && { since }), commits: { repository, ids } };
  // Before anything is written: a mistake in what was given is told as one.
  const alone = parsePolicy(
    JSON.stringify({ apiVersion: "hullmark.dev/v1", kind: "Policy", metadata: { name: "revoke" }, spec: { revocations: [entry] } }),
    "revoke",
  );
  if (!alone.ok) throw new SigningError("USAGE", alone.errors.map(({ path, message, fix }) => `${path}: ${message} (${fix})`).join("\n"));
  if (file === undefined) {
    io.out(stringify([entry], { lineWidth: 0 }));
    return 0;
  }
  const text = added(file, entry);
  try {
    replaceFile(file, text, 0o644);
  } catch (cause) {
    throw new SigningError("FILE", `${file} cannot be written: ${because(cause)}`, { cause });
  }
  io.out(`${printable(`${file}: ${ids.length} commits of ${repository} revoked`, 4096)}\n`);
  return 0;
}

/** @throws SigningError FILE where it cannot be read; USAGE where it is no policy, before or after */
function added(file: string, entry: Entry): string {
  let before: string;
  try {
    before = readFileSync(file, "utf8");
  } catch (cause) {
    throw new SigningError("FILE", `${file} cannot be read: ${because(cause)}`, { cause });
  }
  const document = parseDocument(before);
  const node = document.createNode(entry);
  if (isSeq(document.getIn(["spec", "revocations"]))) document.addIn(["spec", "revocations"], node);
  else document.setIn(["spec", "revocations"], document.createNode([entry]));
  const text = document.toString({ lineWidth: 0 });
  const parsed = parsePolicyText(text, file);
  if (!parsed.ok) throw new SigningError("FILE", parsed.errors.map(({ path, message, fix }) => `${file}: ${path}: ${message} (${fix})`).join("\n"));
  return text;
}

/** @throws SigningError USAGE where it is no range, FILE where git does not tell it whole */
async function commitsOf({ commits, repo }: RevokeFlags, signal: AbortSignal): Promise<readonly string[]> {
  if (!/^[^-\s][^\s]*\.\.[^-\s.][^\s]*$/.test(commits) || commits.includes("...")) throw new SigningError("USAGE", "--commits: want GOOD..BAD");
  // Of a cut history a range would be told short, and what it leaves out would go on being trusted.
  if ((await git(repo, signal, "rev-parse", "--is-shallow-repository")) !== "false")
    throw new SigningError("FILE", `${repo} holds only a part of the history: git fetch --unshallow`);
  const ids = (await git(repo, signal, "rev-list", "--end-of-options", commits, "--")).split("\n").filter((line) => line !== "");
  if (ids.length === 0) throw new SigningError("USAGE", `--commits: ${commits} holds no commit: is it the wrong way round?`);
  return ids;
}

async function git(directory: string, signal: AbortSignal, ...args: readonly string[]): Promise<string> {
  try {
    // Of a history that replacements or grafts cut a range would be told short too.
    const env = { ...process.env, GIT_NO_REPLACE_OBJECTS: "1", GIT_GRAFT_FILE: "/dev/null" };
    const options = { timeout: GIT_MS, maxBuffer: 16 << 20, signal, env, encoding: "utf8" as const };
    return (await promisify(execFile)("git", ["-C", directory, ...args], options)).stdout.trim();
  } catch (cause) {
    signal.throwIfAborted();
    const said = cause instanceof Error && "stderr" in cause ? String(cause.stderr).trim().slice(0, 500) : because(cause);
    throw new SigningError("FILE", `git ${args[0]}: ${printable(said, 500)}`, { cause });
  }
}
