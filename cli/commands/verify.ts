import { basename } from "node:path";
import type { ProvenanceVerdict } from "@hullmark/verifier/core/provenance/index";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import { isData, type ReportFormat, reportOption, serialize } from "../output/format.ts";
import { sarifLog } from "../output/sarif.ts";
import { verdictFinding } from "../output/verdict-sarif.ts";
import { SigningError } from "../signing/errors.ts";
import { type CommandIo, type ExitCode, outcome, processIo } from "../signing/io.ts";
import { loadPublicKey } from "../signing/keys.ts";
import { predicateType } from "../signing/predicate.ts";
import { openRegistry, type RegistryFlags, repeated, withRegistryOptions } from "../signing/registry.ts";
import { type ImageVerification, type NamedKey, verifyImage } from "../signing/verify-image.ts";

interface VerifyFlags extends RegistryFlags {
  readonly key: readonly string[];
  readonly threshold: string;
  readonly attestation?: readonly string[];
  readonly platform?: string;
  readonly output: ReportFormat;
}

/** `hullmark verify IMAGE`. Exit: 0 signed as asked, 1 not, 2 usage, 3 cannot tell. */
export function verifyCommand(io: CommandIo = processIo()): Command {
  const command = new Command("verify")
    .argument("<image>", "host[:port]/name[:tag][@sha256:…]")
    .requiredOption("--key <file>", "public key in PEM, or the pkcs11: URI of one in a token; may be repeated; NAME=FILE gives it a name", repeated)
    .option("--threshold <n>", "how many of the keys must have signed", "1")
    .option("--attestation <type>", "predicate type (short name or URI) that one of the keys must have attested; may be repeated", repeated)
    .option("--platform <os/arch>", "judge one platform of an index: a signature of the index counts for it");
  return withRegistryOptions(command)
    .addOption(reportOption())
    .action((image: string, flags: VerifyFlags) => outcome(io, () => run(io, image, flags)));
}

async function run(io: CommandIo, reference: string, flags: VerifyFlags): Promise<ExitCode> {
  const threshold = Number(flags.threshold);
  if (!Number.isInteger(threshold) || threshold < 1 || threshold > flags.key.length)
    throw new SigningError("USAGE", `--threshold: want 1 to ${flags.key.length}, the number of keys`);
  const keys = await Promise.all(flags.key.map((key) => readKey(key, io.env)));
  const attestations = (flags.attestation ?? []).map(predicateType);
  const registry = await openRegistry(flags, io);
  try {
    const result = await verifyImage(registry, reference, { keys, threshold, attestations, platform: flags.platform, nowMs: io.now() }, io.signal);
    if (flags.output === "sarif") io.out(sarifLog(`verify/${result.image.repository}`, [verdictFinding(result, result.verdict.satisfied)]));
    else io.out(isData(flags.output) ? serialize(flags.output, asJson(result)) : asText(result));
    return exitCode(result.verdict);
  } finally {
    registry.close();
  }
}

function exitCode({ satisfied, status }: ProvenanceVerdict): ExitCode {
  if (satisfied) return 0;
  return status === "unknown" ? 3 : 1;
}

async function readKey(argument: string, env: CommandIo["env"]): Promise<NamedKey> {
  // The URI of a key in a token has signs like it.
  const [, name, key = argument] = /^([^=:]+)=(.*)$/.exec(argument) ?? [];
  const publicKeyPem = await loadPublicKey(key, env);
  return { name: name ?? (key.startsWith("pkcs11:") ? "token" : basename(key)), publicKeyPem };
}

/** The documented, stable form: fields are added, never changed. */
function asJson({ image, verdict }: ImageVerification): object {
  const { status, text, satisfied, signedBy, missingAttestations, authorities, artefacts, source } = verdict;
  return {
    image: `${image.repository}@${image.digest}`,
    tag: image.tag,
    status,
    satisfied,
    text,
    signedBy,
    missingAttestations,
    authorities,
    artefacts,
    source: source ?? null,
    transparencyLogChecked: false,
  };
}

function asText({ image, verdict }: ImageVerification): string {
  const lines = [
    `${image.repository}@${image.digest}`,
    `  ${verdict.satisfied ? "✓" : verdict.status === "unknown" ? "?" : "✗"} ${verdict.status}: ${verdict.text}`,
  ];
  for (const artefact of verdict.artefacts) lines.push(`  ${artefact.code.padEnd(16)} ${artefact.manifestDigest.slice(0, 19)}… ${artefact.text}`);
  const { source } = verdict;
  if (source) lines.push(`  built from ${source.repository || "?"} at ${source.commit || "?"} by ${source.builder || "?"}`);
  lines.push("  (public keys only: no transparency log was asked)");
  return `${lines.map((line) => printable(line, 4096)).join("\n")}\n`;
}
