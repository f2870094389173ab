import { Command, Option } from "commander";
import {
  type CommandIo,
  loadSigningKey,
  openRegistry,
  outcome,
  PASSPHRASE_VARIABLE,
  type Predicate,
  processIo,
  type RegistryFlags,
  SIGN_PREDICATE,
  signImage,
  withRegistryOptions,
} from "../signing/index.ts";

export interface SignFlags extends RegistryFlags {
  readonly key: string;
  readonly output?: "text" | "json";
}

/** `hullmark sign IMAGE`: attaches a signature that cosign v3 reads too. Exit: 0 signed, 2 usage, 3 not signed. */
export function signCommand(io: CommandIo = processIo()): Command {
  const command = new Command("sign")
    .description("sign an image in its registry")
    .argument("<image>", "host[:port]/name[:tag][@sha256:…]; a tag is resolved once, and the digest is what is signed")
    .requiredOption("--key <file>", `private key in PKCS#8 (passphrase in ${PASSPHRASE_VARIABLE})`);
  return withOutput(withRegistryOptions(command)).action((image: string, flags: SignFlags) =>
    signAndReport(io, image, flags, async () => SIGN_PREDICATE, "signed"),
  );
}

/** `-o json` for the commands of this family. */
export function withOutput(command: Command): Command {
  return command.addOption(new Option("-o, --output <format>", "how to print the result").choices(["text", "json"]).default("text"));
}

/** What `sign` and `attest` share. */
export function signAndReport(io: CommandIo, reference: string, flags: SignFlags, load: () => Promise<Predicate>, verb: string): Promise<void> {
  return outcome(io, async () => {
    const predicate = await load();
    const key = await loadSigningKey(flags.key, io.env[PASSPHRASE_VARIABLE] || undefined);
    const registry = await openRegistry(flags, io);
    try {
      const { image, artifact } = await signImage(registry, reference, predicate, key, io.now(), io.signal);
      const { repository, digest } = image;
      if (flags.output === "json") {
        io.out(`${JSON.stringify({ image: `${repository}@${digest}`, predicateType: predicate.type, artifact: artifact.digest, keyHint: key.hint })}\n`);
      } else {
        io.out(`${verb} ${repository}@${digest}\n  ${predicate.type}\n  as ${artifact.digest}\n`);
      }
      return 0;
    } finally {
      registry.close();
    }
  });
}
