/** `hullmark policy trust-root`: the trusted_root.json that a policy names, out of a TUF repository. Run it by a timer: the verifier takes the file over when it changes. */
import { existsSync, readFileSync } from "node:fs";
import { parsePolicy } from "@hullmark/verifier/core/policy/parse";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import { replaceFile } from "../output/replace-file.ts";
import { SigningError } from "../signing/errors.ts";
import { type CommandIo, outcome } from "../signing/io.ts";
import { fetchTrustRoot } from "../signing/tuf.ts";

interface TrustRootFlags {
  readonly url: string;
  readonly root?: string;
  readonly target: string;
  readonly state?: string;
}

/** Exit: 0 the file is as the repository has it, 2 usage, 3 it was left as it is. */
export function policyTrustRootCommand(io: CommandIo): Command {
  return new Command("trust-root")
    .description("bring the trusted_root.json that a policy names up to date from a TUF repository (sigstore's public one, or your own)")
    .argument("<file>", "where the trust root goes; replaced where the repository has another, and only by one that verifies")
    .requiredOption("--url <url>", "of the repository: https://tuf-repo-cdn.sigstore.dev, for example")
    .option("--root <file>", "root.json to begin with, from where you trust it; afterwards, without it, the repository's own rotations are followed")
    .option("--target <name>", "name of the target", "trusted_root.json")
    .option("--state <dir>", "what was verified before (default: FILE.tuf)")
    .addHelpText("after", "\nExit: 0 the file is as the repository has it, 2 usage, 3 it could not be had or does not verify: the file is left as it is")
    .action((file: string, flags: TrustRootFlags) => outcome(io, () => update(io, file, flags)));
}

async function update(io: CommandIo, file: string, { url, root, target, state = `${file}.tuf` }: TrustRootFlags): Promise<0> {
  const parsed = URL.parse(url);
  // Not repeated: a password may be in it, which would stand in every message of a timer's log.
  if (!parsed || !/^https?:$/.test(parsed.protocol) || parsed.username !== "" || parsed.password !== "")
    throw new SigningError("USAGE", "--url: want an http or https URL without user and password");
  const json = await fetchTrustRoot({ url, target, rootFile: root, directory: state });
  if (!isUsable(json)) throw new SigningError("FETCH", `${target} of ${url} verifies, but is no trusted_root.json that a policy can name`);
  const news = !existsSync(file) || readFileSync(file, "utf8") !== json;
  try {
    if (news) replaceFile(file, json, 0o644);
  } catch (cause) {
    throw new SigningError("FILE", `${file} cannot be written`, { cause });
  }
  io.out(`${printable(`${file} ${news ? "written" : "is up to date"}`, 4096)}\n`);
  return 0;
}

/** By the same check as a policy's. */
function isUsable(json: string): boolean {
  const spec = { trustRoots: [{ name: "root", json }] };
  return parsePolicy(JSON.stringify({ apiVersion: "hullmark.dev/v1", kind: "Policy", metadata: { name: "root" }, spec }), "trust-root").ok;
}
