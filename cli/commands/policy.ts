/** `hullmark policy lint|init|schema|explain|test|simulate|trust-root|revoke`. */

import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { attestationPolicyDefinition, driftExceptionDefinition } from "@hullmark/verifier/core/policy/custom-resource";
import { policyDigest } from "@hullmark/verifier/core/policy/digest";
import { policyJsonSchema } from "@hullmark/verifier/core/policy/json-schema";
import { ownAgentProblem } from "@hullmark/verifier/core/policy/own-agent";
import { formatProblem } from "@hullmark/verifier/core/policy/parse";
import type { PolicyProblem } from "@hullmark/verifier/core/policy/types";
import { counted } from "@hullmark/verifier/core/text/counted";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command, Option } from "commander";
import { stringify } from "yaml";
import { ContextError } from "../connection/context-error.ts";
import { calledAs, isPlugin } from "../kubectl/invocation.ts";
import { parseRelease, type Release } from "../kubectl/release.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { provenanceJsonSchema } from "../record/record-schema.ts";
import { discoverImage } from "../signing/discover-image.ts";
import { SigningError } from "../signing/errors.ts";
import { type CommandIo, outcome, processIo } from "../signing/io.ts";
import { readText, writeNew } from "../signing/keys.ts";
import { openRegistry, type RegistryFlags, repeated, withRegistryOptions } from "../signing/registry.ts";
import type { CommandOutput } from "./log.ts";
import { policyExplainCommand, policyTestCommand } from "./policy-explain.ts";
import { loadPolicy, parsePolicyText } from "./policy-file.ts";
import { policyFromImage } from "./policy-from-image.ts";
import { policyFromNotation } from "./policy-from-notation.ts";
import { pilotPolicy } from "./policy-pilot.ts";
import { policyRevokeCommand } from "./policy-revoke.ts";
import { policySimulateCommand } from "./policy-simulate.ts";
import { starterPolicy } from "./policy-starter.ts";
import { policyTrustRootCommand } from "./policy-trust-root.ts";

/** 0 fine · 1 wrong (with --strict: warned about) · 2 wrong usage · 3 cannot be read. */
export const POLICY_EXIT = { ok: 0, wrong: 1, usage: 2, unreadable: 3 } as const;

export function policyCommand({ out, err, exit }: CommandOutput, io: CommandIo = { ...processIo(), out, err, exit }): Command {
  const policy = new Command("policy");
  policy
    .command("lint <files...>")
    .description("name every mistake with file, line and column, and what to write instead")
    .option("--strict", "fail on warnings too")
    .addOption(formatOption())
    .addHelpText(
      "after",
      "\nAs kubectl's plugin it also warns of a policy under which the agent of the chart itself is drift (--release).\nExit: 0 fine, 1 mistakes, 2 wrong usage, 3 a file cannot be read",
    )
    .action((files: string[], options: { strict?: boolean; output: Format }, command: Command) => {
      const release = releaseOf(command);
      if (release instanceof ContextError) {
        err(`hullmark policy lint: ${printable(release.message)}\n`);
        exit(POLICY_EXIT.usage);
        return;
      }
      const problems: PolicyProblem[] = [];
      let code: number = POLICY_EXIT.ok;
      for (const file of files) {
        try {
          const linted = lintFile(file, release);
          problems.push(...linted.problems);
          if (!isData(options.output)) {
            for (const problem of linted.problems) out(`${printable(formatProblem(problem), 2048)}\n`);
            if (linted.summary) out(`${printable(file)}: ${linted.summary}\n`);
          }
        } catch (error) {
          err(`hullmark policy lint: ${printable(error instanceof Error ? error.message : String(error))}\n`);
          code = POLICY_EXIT.unreadable;
        }
      }
      if (isData(options.output)) out(serialize(options.output, problems));
      const wrong = problems.some(({ severity }) => severity === "error" || options.strict === true);
      exit(wrong ? POLICY_EXIT.wrong : code);
    });
  const init = policy
    .command("init [file]")
    .description("write a policy to start from: observe, one authority, everything else open (to the terminal without FILE)")
    .option("--name <name>", "name of the policy", "main")
    .option("--authority-key <pem>", "public key file of whoever signs your images (path as it is to stand in the policy, from its folder)")
    .option("--from-image <image>", "ask for what can be verified of this image in its registry, by the key or the trust root")
    .option("--notation <folder>", "what notation's trust policy document and trust stores in that folder say (trustpolicy.json, truststore/)")
    .option("--trust-root <file>", "trusted_root.json under which certificates count (path as it is to stand in the policy)")
    .option("--platform <os/arch>", "of an index")
    .addOption(new Option("--profile <name>", "pilot: ask for source, commit, tools and base of what --authority-key signs").choices(["pilot"]))
    .option("--source <glob>", "of the pilot profile: repositories, for example https://host/owner/*; may be repeated", repeated)
    .option("--tool <name=glob>", "of the pilot profile: versions of a tool, as build-record --tool names it; may be repeated", repeated)
    .option("--base <digest>", "of the pilot profile: an image that may be built upon (sha256:…); may be repeated", repeated)
    .option("--image <glob>", "of the pilot profile: references that it is for, every one where left out; may be repeated", repeated);
  withRegistryOptions(init).action((file: string | undefined, options: InitFlags, command: Command) =>
    outcome(io, async () => {
      if (file !== undefined && existsSync(file)) throw new SigningError("USAGE", `${file} exists already`);
      const text = await initialPolicy(file, options, io);
      if (file === undefined) out(text);
      else {
        await writeNew(file, text, 0o644);
        out(`${printable(file)} written. Next: ${calledAs(command)} policy lint ${printable(file)}\n`);
      }
      return POLICY_EXIT.ok;
    }),
  );
  policy
    .command("schema")
    .description("print the policy file's JSON Schema, for editors")
    .option("--kubernetes", "as a CustomResourceDefinition: AttestationPolicy")
    .option("--exceptions", "with --kubernetes: that of DriftException instead")
    .option("--provenance", "of what build-record writes instead")
    .action(({ kubernetes, exceptions, provenance }: { readonly kubernetes?: true; readonly exceptions?: true; readonly provenance?: true }) => {
      const definition = exceptions ? driftExceptionDefinition : attestationPolicyDefinition;
      const schema = provenance ? provenanceJsonSchema() : policyJsonSchema();
      out(kubernetes ? stringify(definition(), { lineWidth: 0 }) : `${JSON.stringify(schema, null, 2)}\n`);
      exit(POLICY_EXIT.ok);
    });
  policy.addCommand(policyExplainCommand(io));
  policy.addCommand(policyTestCommand(io));
  policy.addCommand(policySimulateCommand());
  policy.addCommand(policyTrustRootCommand(io));
  policy.addCommand(policyRevokeCommand(io));
  return policy;
}

interface InitFlags extends RegistryFlags {
  readonly name: string;
  readonly authorityKey?: string;
  readonly fromImage?: string;
  readonly notation?: string;
  readonly trustRoot?: string;
  readonly platform?: string;
  readonly profile?: "pilot";
  readonly source?: readonly string[];
  readonly tool?: readonly string[];
  readonly base?: readonly string[];
  readonly image?: readonly string[];
}

/** @throws SigningError USAGE where options do not go together, and as {@link fromImage} */
async function initialPolicy(file: string | undefined, options: InitFlags, io: CommandIo): Promise<string> {
  const { name, authorityKey, profile, source = [], tool = [], base = [], image = [], fromImage: of, notation } = options;
  if (profile === undefined && source.length + tool.length + base.length + image.length > 0)
    throw new SigningError("USAGE", "--source, --tool, --base and --image are of --profile pilot");
  if ([profile, of, notation].filter((each) => each !== undefined).length > 1)
    throw new SigningError("USAGE", "--profile, --from-image and --notation are ways to begin: choose one");
  if (notation !== undefined && (authorityKey ?? options.trustRoot) !== undefined)
    throw new SigningError("USAGE", "--notation takes whom to trust from the trust policy document: no --authority-key and no --trust-root");
  if (notation !== undefined) {
    const { text, notes } = policyFromNotation(notation, name);
    for (const note of notes) io.err(`hullmark policy init: ${printable(note, 2048)}\n`);
    return checked(text, file);
  }
  if (profile !== undefined) {
    const text = pilotPolicy({ name, keyFile: authorityKey, sources: source, tools: tool, bases: base, images: image });
    return checked(text, file);
  }
  return of === undefined ? starterPolicy(name, authorityKey) : await fromImage(of, file, options, io);
}

/** @returns the text @throws SigningError USAGE where it is no policy */
function checked(text: string, file = "policy.yaml"): string {
  const parsed = parsePolicyText(text, file);
  if (!parsed.ok) throw new SigningError("USAGE", parsed.errors.map(({ path, message, fix }) => `${path}: ${message} (${fix})`).join("\n"));
  return text;
}

/** @throws SigningError IMAGE where nothing of the image could be verified */
async function fromImage(image: string, file: string | undefined, flags: InitFlags, io: CommandIo): Promise<string> {
  const near = (path: string | undefined) => (path === undefined ? undefined : readText(resolve(dirname(file ?? "."), path)));
  const registry = await openRegistry(flags, io);
  try {
    const found = await discoverImage(
      registry,
      image,
      { publicKeyPem: await near(flags.authorityKey), trustRootJson: await near(flags.trustRoot), platform: flags.platform, nowMs: io.now() },
      io.signal,
    );
    const text = policyFromImage(found, { name: flags.name, keyFile: flags.authorityKey, trustRootFile: flags.trustRoot });
    if (text === undefined) {
      const why = found.unverified.length > 0 ? found.unverified.join("; ") : "nothing is attached to it";
      throw new SigningError("IMAGE", `no signature of ${image} could be verified with what was given (--authority-key, --trust-root): ${why}`);
    }
    return text;
  } finally {
    registry.close();
  }
}

/** Whose agent the policy is to let be; undefined: the command knows of no cluster. */
function releaseOf(command: Command): Release | ContextError | undefined {
  if (!isPlugin(command)) return undefined;
  try {
    return parseRelease(command.optsWithGlobals<{ release: string }>().release);
  } catch (error) {
    if (error instanceof ContextError) return error;
    throw error;
  }
}

/** @throws SigningError FILE where the file cannot be read */
function lintFile(file: string, release: Release | undefined): { problems: readonly PolicyProblem[]; summary: string | undefined } {
  const parsed = loadPolicy(file);
  if (!parsed.ok) return { problems: parsed.errors, summary: undefined };
  const { mode, authorities, rules, mutable, alerts, response } = parsed.policy;
  const acting = mode === "observe" ? "" : ` with ${counted(response.rules.length + response.nodes.rules.length, "response rule")}`;
  const counts = `${authorities.length} authorities, ${rules.length} rules, ${mutable.length} mutable classes, ${alerts.length} alert routes, mode ${mode}${acting}`;
  const own = release && ownAgentProblem(parsed.policy, release);
  const warned: PolicyProblem[] = own ? [{ severity: "warning", file, line: 1, column: 1, path: "spec.rules", ...own }] : [];
  return { problems: [...warned, ...parsed.warnings], summary: `ok (${counts}) digest sha256:${policyDigest(parsed.policy).toString("hex")}` };
}
