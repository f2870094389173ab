/** `hullmark promote SRC DST`: a gate between two repositories. Only what the policy accepts is copied, and the copy says by whom and under which policy. */
import { hash } from "node:crypto";
import { basename } from "node:path";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { VERSION } from "@hullmark/daemon/version";
import { RpcError } from "@hullmark/proto/rpc";
import { Admin, type RecordPromotionRequestSchema } from "@hullmark/proto/v1/admin";
import { parseReference, SLSA_VSA } from "@hullmark/verifier/core/provenance/index";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import type { Connection } from "../connection/connection.ts";
import { connectByFile, defaultConfigPath, loadContext } from "../connection/context.ts";
import { ContextError } from "../connection/context-error.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { attachBundle } from "../signing/attach.ts";
import { signStatement, statement } from "../signing/bundle.ts";
import { copyImage } from "../signing/copy-image.ts";
import { SigningError } from "../signing/errors.ts";
import { type ExplainedImage, explainImage } from "../signing/explain-image.ts";
import { type CommandIo, type ExitCode, outcome, processIo } from "../signing/io.ts";
import { loadSigningKey, PASSPHRASE_VARIABLE } from "../signing/keys.ts";
import { isUri } from "../signing/predicate.ts";
import { openRegistry, type RegistryFlags, withRegistryOptions } from "../signing/registry.ts";
import { readPolicyText } from "./policy-file.ts";

const RECORD_MS = 30_000;

type Promotion = Omit<MessageInitShape<typeof RecordPromotionRequestSchema>, "$typeName">;

interface PromoteFlags extends RegistryFlags {
  readonly policy: string;
  readonly key: string;
  readonly verifier: string;
  readonly workload: string;
  readonly record?: true;
  readonly config?: string;
  readonly context?: string;
  readonly output: Format;
}

/** Exit: 0 promoted, 1 the policy does not accept it (nothing is copied), 2 usage, 3 not promoted. */
export function promoteCommand(io: CommandIo = processIo()): Command {
  const command = new Command("promote")
    .argument("<source>", "host[:port]/name[:tag][@sha256:…]")
    .argument("<destination>", "host[:port]/name[:tag]; the tag is set last")
    .requiredOption("--policy <file>", "policy file; its rules select by the destination")
    .requiredOption("--key <key>", `private key of the summary: a file in PKCS#8 (passphrase in ${PASSPHRASE_VARIABLE}), or pkcs11:… as "sign" takes it`)
    .requiredOption("--verifier <uri>", "who promotes: the verifier that the summary names")
    .option("--workload <name>", "what selectors look at", "")
    .option("--record", "write it into the log of the context's verifier (responder role); where that cannot be done, no tag is set");
  return withRegistryOptions(command)
    .addOption(formatOption())
    .action((source: string, destination: string) => outcome(io, () => promote(io, source, destination, command.optsWithGlobals<PromoteFlags>())));
}

async function promote(io: CommandIo, source: string, destination: string, flags: PromoteFlags): Promise<ExitCode> {
  const { repository, tag, digest } = parseReference(destination);
  if (tag === undefined || digest !== undefined) throw new SigningError("USAGE", `${destination}: want host[:port]/name[:tag]`);
  if (!isUri(flags.verifier)) throw new SigningError("USAGE", `--verifier ${JSON.stringify(flags.verifier)}: want a URI`);
  const { policy, text } = readPolicyText(flags.policy);
  const policyDigest = hash("sha256", text);
  const context = flags.record && contextOf(io, flags);
  await using stack = new AsyncDisposableStack();
  const key = await loadSigningKey(flags.key, io.env);
  stack.defer(() => key.close());
  const registry = await openRegistry(flags, io);
  try {
    const container = { containerName: "", workload: flags.workload, nodeName: "", labels: {} };
    const explained = await explainImage(registry, policy, source, { container, selectAs: destination, platform: undefined, nowMs: io.now() }, io.signal);
    const refusal = refusalOf(explained);
    if (refusal) {
      io.err(`hullmark: ${printable(`${source}: not promoted: ${refusal.text}`, 4096)}\n`);
      return refusal.code;
    }
    const { image, verdict } = explained;
    const copied = await copyImage(registry, image, repository, io.signal);
    const level = policy.builders.find(({ id }) => id === verdict.source?.builder)?.level ?? 0;
    const summary = {
      verifier: { id: flags.verifier, version: { hullmark: VERSION } },
      timeVerified: new Date(io.now()).toISOString(),
      resourceUri: `${repository}@${image.digest}`,
      policy: { uri: basename(flags.policy), digest: { sha256: policyDigest } },
      inputAttestations: verdict.artefacts
        .filter(({ code }) => code === "signature" || code === "attestation")
        .map(({ manifestDigest }) => ({ digest: { sha256: manifestDigest.replace("sha256:", "") } })),
      verificationResult: "PASSED",
      verifiedLevels: [`SLSA_BUILD_LEVEL_${level}`],
      slsaVersion: "1.0",
    };
    const bundle = await signStatement(statement(image.digest, { type: SLSA_VSA, value: summary }), key);
    const subject = { repository, mediaType: image.mediaType, digest: image.digest, size: image.size };
    const artifact = await attachBundle(registry, subject, bundle, SLSA_VSA, io.now(), io.signal);
    const place = `${repository}:${tag}`;
    const rule = explained.rule?.name ?? "";
    if (context)
      await record(io, context, { source, destination: place, imageDigest: image.digest, summaryDigest: artifact.digest, policySha256: policyDigest, rule });
    // Last: whoever pulls by the tag finds all that belongs to it.
    await registry.pushManifest(repository, tag, image.mediaType, image.bytes, io.signal);
    const promoted = { image: `${repository}@${image.digest}`, tag, rule, summary: artifact.digest, recorded: flags.record === true, ...copied };
    io.out(
      isData(flags.output)
        ? serialize(flags.output, promoted)
        : `promoted ${printable(`${place}@${image.digest}`, 1024)}\n  rule ${rule}: ${printable(verdict.text, 2048)}\n  ${copied.blobs} blobs, ${copied.attached} attached artefacts, verification summary ${artifact.digest}\n`,
    );
    return 0;
  } finally {
    registry.close();
  }
}

/** Before anything is copied. @throws SigningError USAGE where there is no verifier to tell */
function contextOf(io: CommandIo, { config, context }: PromoteFlags): ReturnType<typeof loadContext> {
  try {
    return loadContext(config ?? defaultConfigPath(io.env), context);
  } catch (cause) {
    throw cause instanceof ContextError ? new SigningError("USAGE", cause.message, { cause }) : cause;
  }
}

/** Durable when it resolves. @throws SigningError RECORD; USAGE where the context's files cannot be used */
async function record(io: CommandIo, context: ReturnType<typeof loadContext>, promotion: Promotion): Promise<void> {
  let connection: Connection | undefined;
  try {
    connection = await connectByFile(context);
    await connection.channel.client(Admin).recordPromotion(promotion, { signal: io.signal, timeoutMs: RECORD_MS });
  } catch (cause) {
    if (cause instanceof ContextError) throw new SigningError("USAGE", cause.message, { cause });
    if (cause instanceof RpcError) throw new SigningError("RECORD", `not promoted, since it could not be recorded: ${cause.message}`, { cause });
    throw cause;
  } finally {
    await connection?.close();
  }
}

/** A gate that asks for nothing lets nothing through. */
function refusalOf({ rule, required, verdict }: ExplainedImage): { readonly code: 1 | 3; readonly text: string } | undefined {
  if (verdict.status === "revoked") return { code: 1, text: verdict.text };
  if (!rule) return { code: 1, text: "no rule of the policy selects the destination" };
  if (!required) return { code: 1, text: `rule ${rule.name} asks for no signature, attestation or build` };
  if (verdict.satisfied) return undefined;
  return { code: verdict.status === "unknown" ? 3 : 1, text: `${verdict.text} (rule ${rule.name})` };
}
