import { Command } from "commander";
import { type CommandIo, generateKeyPair, outcome, PASSPHRASE_VARIABLE, processIo, writeNew } from "../signing/index.ts";

/** `hullmark keygen`: writes PREFIX.key (mode 0600) and PREFIX.pub. Exit: 0 written, 3 not. */
export function keygenCommand(io: CommandIo = processIo()): Command {
  return new Command("keygen")
    .description("make a key pair for signing images (ECDSA P-256)")
    .option("--prefix <path>", "files to write: PREFIX.key and PREFIX.pub", "hullmark")
    .addHelpText(
      "after",
      `\nThe private key is encrypted with the passphrase in ${PASSPHRASE_VARIABLE}, where it is set. Existing files are never overwritten.`,
    )
    .action((flags: { readonly prefix: string }) =>
      outcome(io, async () => {
        const passphrase = io.env[PASSPHRASE_VARIABLE] || undefined;
        const pair = generateKeyPair(passphrase);
        await writeNew(`${flags.prefix}.key`, pair.privateKey, 0o600);
        await writeNew(`${flags.prefix}.pub`, pair.publicKey, 0o644);
        io.out(`${flags.prefix}.key  private: keep it secret\n${flags.prefix}.pub  public: what verifiers need\n`);
        if (passphrase === undefined) io.err(`hullmark: the private key is not encrypted (${PASSPHRASE_VARIABLE} is not set)\n`);
        return 0;
      }),
    );
}
