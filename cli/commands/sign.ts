import { Command } from "commander";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { type Predicate, SIGN_PREDICATE, signStatement } from "../signing/bundle.ts";
import { SigningError } from "../signing/errors.ts";
import { type CommandIo, outcome, processIo } from "../signing/io.ts";
import { keylessSigner, TOKEN_VARIABLE } from "../signing/keyless.ts";
import { loadSigningKey, PASSPHRASE_VARIABLE } from "../signing/keys.ts";
import { openRegistry, type RegistryFlags, withRegistryOptions } from "../signing/registry.ts";
import { type StatementSigner, signImage } from "../signing/sign-image.ts";

export interface SignFlags extends RegistryFlags {
  readonly key?: string;
  readonly signingConfig?: string;
  readonly identityToken?: string;
  readonly output: Format;
}

/** `hullmark sign IMAGE`: attaches a signature that cosign v3 reads too. Exit: 0 signed, 2 usage, 3 not signed. */
export function signCommand(io: CommandIo = processIo()): Command {
  const command = new Command("sign").argument("<image>", "host[:port]/name[:tag][@sha256:…]; a tag is resolved once, and the digest is what is signed");
  return withRegistryOptions(withSigner(command))
    .addOption(formatOption())
    .action((image: string, flags: SignFlags) => signAndReport(io, image, flags, async () => SIGN_PREDICATE, "signed"));
}

/** By a key, or by an identity. */
export function withSigner(command: Command): Command {
  return command
    .option("--key <key>", `private key: a file in PKCS#8 (passphrase in ${PASSPHRASE_VARIABLE}), or the URI of a key in a PKCS#11 token (pkcs11:…)`)
    .option("--signing-config <file>", "instead of a key: sigstore's signing_config.json with the services that vouch for an identity")
    .option("--identity-token <file>", `with --signing-config: the OpenID token; else from ${TOKEN_VARIABLE}, or of the CI system`);
}

/** What `sign` and `attest` share. */
export function signAndReport(io: CommandIo, reference: string, flags: SignFlags, load: () => Promise<Predicate>, verb: string): Promise<void> {
  return outcome(io, async () => {
    const predicate = await load();
    await using stack = new AsyncDisposableStack();
    const { sign, keyHint } = await signerOf(flags, io, stack);
    const registry = await openRegistry(flags, io);
    try {
      const { image, artifact } = await signImage(registry, reference, predicate, sign, io.now(), io.signal);
      const { repository, digest } = image;
      if (isData(flags.output)) {
        io.out(serialize(flags.output, { image: `${repository}@${digest}`, predicateType: predicate.type, artifact: artifact.digest, keyHint }));
      } else {
        io.out(`${verb} ${repository}@${digest}\n  ${predicate.type}\n  as ${artifact.digest}\n`);
      }
      return 0;
    } finally {
      registry.close();
    }
  });
}

/** Who signs, by the options of {@link withSigner}. @param stack what it holds open is closed with it @throws SigningError */
export async function signerOf(
  { key: named, signingConfig, identityToken }: Omit<SignFlags, "output">,
  io: CommandIo,
  stack: AsyncDisposableStack,
): Promise<{ sign: StatementSigner; keyHint?: string }> {
  if ((named === undefined) === (signingConfig === undefined)) throw new SigningError("USAGE", "give either --key or --signing-config");
  if (signingConfig !== undefined) return { sign: await keylessSigner({ signingConfigFile: signingConfig, tokenFile: identityToken, env: io.env }) };
  if (named === undefined || identityToken !== undefined) throw new SigningError("USAGE", "--identity-token goes with --signing-config");
  const key = await loadSigningKey(named, io.env);
  stack.defer(() => key.close());
  return { sign: (statement) => signStatement(statement, key), keyHint: key.hint };
}
