import { Command } from "commander";
import { formatOption } from "../output/format.ts";
import { type CommandIo, processIo } from "../signing/io.ts";
import { loadPredicate, PREDICATE_TYPES } from "../signing/predicate.ts";
import { withRegistryOptions } from "../signing/registry.ts";
import { type SignFlags, signAndReport, withSigner } from "./sign.ts";

/** `hullmark attest IMAGE`: attaches a signed in-toto statement. It does not sign the image itself. Exit: 0 attested, 2 usage, 3 not attested. */
export function attestCommand(io: CommandIo = processIo()): Command {
  const command = new Command("attest")
    .argument("<image>", "host[:port]/name[:tag][@sha256:…]")
    .requiredOption("--predicate <file>", "the predicate, a JSON object")
    .requiredOption("--type <type>", `its type: ${Object.keys(PREDICATE_TYPES).join(", ")}, or a URI`);
  return withRegistryOptions(withSigner(command))
    .addOption(formatOption())
    .action((image: string, flags: SignFlags & { readonly predicate: string; readonly type: string }) =>
      signAndReport(io, image, flags, () => loadPredicate(flags.predicate, flags.type), "attested"),
    );
}
