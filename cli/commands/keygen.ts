import { Command } from "commander";
import { SigningError } from "../signing/errors.ts";
import { type CommandIo, outcome, processIo } from "../signing/io.ts";
import { generateKeyPair, loadSigningKey, makeTokenKey, PASSPHRASE_VARIABLE, writeNew } from "../signing/keys.ts";

interface KeygenFlags {
  readonly prefix: string;
  readonly key?: string;
  readonly existing?: boolean;
}

/** `hullmark keygen`: writes PREFIX.key (mode 0600) and PREFIX.pub; of a key in a token the public half alone. Exit: 0 written, 2 the token or its key cannot be used, 3 not written. */
export function keygenCommand(io: CommandIo = processIo()): Command {
  return new Command("keygen")
    .option("--prefix <path>", "files to write: PREFIX.key and PREFIX.pub", "hullmark")
    .option("--key <uri>", "make it in a PKCS#11 token (pkcs11:token=…;object=NAME?module-path=…&pin-source=…), and write PREFIX.pub only")
    .option("--existing", "with --key: make nothing, write the public half of the key that is there")
    .addHelpText(
      "after",
      `\nThe private key is encrypted with the passphrase in ${PASSPHRASE_VARIABLE}, where it is set. Existing files and keys are never overwritten.`,
    )
    .action((flags: KeygenFlags) => outcome(io, () => (flags.key === undefined ? inFiles(io, flags) : inToken(io, flags, flags.key))));
}

async function inFiles(io: CommandIo, { prefix, existing }: KeygenFlags): Promise<0> {
  if (existing) throw new SigningError("USAGE", "--existing goes with --key");
  const passphrase = io.env[PASSPHRASE_VARIABLE] || undefined;
  const pair = generateKeyPair(passphrase);
  await writeNew(`${prefix}.key`, pair.privateKey, 0o600);
  await writeNew(`${prefix}.pub`, pair.publicKey, 0o644);
  io.out(`${prefix}.key  private: keep it secret\n${prefix}.pub  public: what verifiers need\n`);
  if (passphrase === undefined) io.err(`hullmark: the private key is not encrypted (${PASSPHRASE_VARIABLE} is not set)\n`);
  return 0;
}

async function inToken(io: CommandIo, { prefix, existing }: KeygenFlags, uri: string): Promise<0> {
  if (!uri.startsWith("pkcs11:")) throw new SigningError("USAGE", "--key: want pkcs11:…; a key file is made with --prefix");
  const key = await (existing ? loadSigningKey(uri, io.env) : makeTokenKey(uri, io.env));
  try {
    await writeNew(`${prefix}.pub`, key.publicKeyPem, 0o644);
  } finally {
    await key.close();
  }
  io.out(`${prefix}.pub  public: what verifiers need; the private key is in the token\n`);
  return 0;
}
