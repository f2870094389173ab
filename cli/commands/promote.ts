/** `hullmark promote SRC DST`: a gate between two repositories. Only what the policy accepts is copied, and the copy says by whom and under which policy. */
import { hash } from "node:crypto";
import { basename } from "node:path";
import { VERSION } from "@hullmark/daemon/version";
import { parseReference, SLSA_VSA } from "@hullmark/verifier/core/provenance/index";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import {
  attachBundle,
  type CommandIo,
  copyImage,
  type ExitCode,
  type ExplainedImage,
  explainImage,
  isUri,
  loadSigningKey,
  openRegistry,
  outcome,
  PASSPHRASE_VARIABLE,
  processIo,
  type RegistryFlags,
  readText,
  SigningError,
  signStatement,
  statement,
  withRegistryOptions,
} from "../signing/index.ts";
import { readPolicy } from "./policy-file.ts";
import { withOutput } from "./sign.ts";

interface PromoteFlags extends RegistryFlags {
  readonly policy: string;
  readonly key: string;
  readonly verifier: string;
  readonly workload: string;
  readonly output: string;
}

/** Exit: 0 promoted, 1 the policy does not accept it (nothing is copied), 2 usage, 3 not promoted. */
export function promoteCommand(io: CommandIo = processIo()): Command {
  const command = new Command("promote")
    .description("copy an image, with all that is attached to it, to another repository if a policy accepts it there; attaches a verification summary")
    .argument("<source>", "host[:port]/name[:tag][@sha256:…]")
    .argument("<destination>", "host[:port]/name[:tag]; the tag is set last")
    .requiredOption("--policy <file>", "policy file; its rules select by the destination")
    .requiredOption("--key <key>", `private key of the summary: a file in PKCS#8 (passphrase in ${PASSPHRASE_VARIABLE}), or pkcs11:… as "sign" takes it`)
    .requiredOption("--verifier <uri>", "who promotes: the verifier that the summary names")
    .option("--workload <name>", "what selectors look at", "");
  return withOutput(withRegistryOptions(command)).action((source: string, destination: string, flags: PromoteFlags) =>
    outcome(io, () => promote(io, source, destination, flags)),
  );
}

async function promote(io: CommandIo, source: string, destination: string, flags: PromoteFlags): Promise<ExitCode> {
  const { repository, tag, digest } = parseReference(destination);
  if (tag === undefined || digest !== undefined) throw new SigningError("USAGE", `${destination}: want host[:port]/name[:tag]`);
  if (!isUri(flags.verifier)) throw new SigningError("USAGE", `--verifier ${JSON.stringify(flags.verifier)}: want a URI`);
  const policy = readPolicy(flags.policy);
  const policyDigest = hash("sha256", await readText(flags.policy));
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
    // Last: whoever pulls by the tag finds all that belongs to it.
    await registry.pushManifest(repository, tag, image.mediaType, image.bytes, io.signal);
    const promoted = { image: `${repository}@${image.digest}`, tag, rule: explained.rule?.name ?? "", summary: artifact.digest, ...copied };
    io.out(
      flags.output === "json"
        ? `${JSON.stringify(promoted, null, 2)}\n`
        : `promoted ${printable(`${repository}:${tag}@${image.digest}`, 1024)}\n  rule ${promoted.rule}: ${printable(verdict.text, 2048)}\n  ${copied.blobs} blobs, ${copied.attached} attached artefacts, verification summary ${artifact.digest}\n`,
    );
    return 0;
  } finally {
    registry.close();
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
