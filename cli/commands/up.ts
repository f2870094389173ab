/** `hullmark up`: watch a Docker host, in one step. */
import { RpcError } from "@hullmark/proto/rpc";
import { Command, Option } from "commander";
import { HOST_CONFIG } from "../connection/context.ts";
import { ContextError } from "../connection/context-error.ts";
import { HostError } from "../host/error.ts";
import { DEFAULT_STATE } from "../host/layout.ts";
import { up } from "../host/up.ts";
import { EXIT } from "../output/exit-codes.ts";
import { SigningError } from "../signing/errors.ts";
import { within } from "./numbers.ts";
import { readPolicy } from "./policy-file.ts";

interface UpFlags {
  readonly state: string;
  readonly dockerSocket?: string;
  readonly policy?: string;
  readonly registryPlainHttp?: string[];
  readonly nodeName?: string;
  readonly tcti?: string;
  readonly tpmMakerRoot?: string[];
  readonly systemd?: boolean;
  readonly dashboard?: boolean;
  readonly act?: boolean;
  readonly actConfig?: string | false;
  readonly wait: number;
}

export function upCommand(): Command {
  return new Command("up")
    .option("--docker-socket <path>", "the engine's socket (default /var/run/docker.sock)")
    .option("--state <dir>", "where everything is kept", DEFAULT_STATE)
    .option("--policy <file>", "policy (default: observe all, require no signature)")
    .option("--registry-plain-http <host...>", "registries (host:port) that speak HTTP without TLS")
    .option("--node-name <name>", "name of this node (default: host name)")
    .option("--tcti <tcti>", "TPM: device:/dev/tpmrm0, swtpm:path=SOCKET, none (default: /dev/tpmrm0 where there is one)")
    .option("--tpm-maker-root <file...>", "certificates (PEM or DER) of the TPM's maker, to which the EK certificate must lead")
    .addOption(new Option("--systemd", "run as systemd units (default where systemd runs the host)"))
    .addOption(new Option("--no-systemd", "run as detached processes, which nothing restarts"))
    .addOption(new Option("--dashboard", "serve the page for browsers, on this host alone (hullmark dashboard)"))
    .addOption(new Option("--no-dashboard", "serve it no more"))
    .addOption(new Option("--act", "run an actuator too, which does what policy's response rules say (nothing in mode observe)"))
    .addOption(new Option("--no-act", "run it no more"))
    .option("--act-config <file>", "its own settings: limits, capture, purge, nodes (deploy/config/actuator.example.yaml); read anew at each up")
    .addOption(new Option("--no-act-config", "without them"))
    .option("--wait <seconds>", "how long to wait for the first whole picture", within(0, 3600), 120)
    .addHelpText(
      "after",
      "\nAgain: takes the options of the first time where none are given, and restarts only what has changed.\nExit: 0 up, 2 usage, 3 not up",
    )
    .action(async (flags: UpFlags, command: Command) => {
      const { config } = command.optsWithGlobals<{ config?: string }>();
      await hostCommand(() =>
        up({
          state: flags.state,
          commandConfig: config ?? (process.env["HULLMARK_CONFIG"] || HOST_CONFIG),
          dockerSocket: flags.dockerSocket,
          policyFile: flags.policy,
          checkPolicy,
          plainHttpRegistries: flags.registryPlainHttp,
          nodeName: flags.nodeName,
          tcti: flags.tcti,
          makerRootFiles: flags.tpmMakerRoot,
          systemd: flags.systemd,
          dashboard: flags.dashboard,
          act: flags.act,
          actConfigFile: flags.actConfig === false ? null : flags.actConfig,
          waitSeconds: flags.wait,
          print,
        }),
      );
    });
}

function checkPolicy(file: string): void {
  try {
    readPolicy(file);
  } catch (error) {
    if (!(error instanceof SigningError)) throw error;
    throw new HostError("BAD_SETTINGS", `nothing was changed, for this policy could not be in force:\n${error.message}`);
  }
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Runs it and turns what went wrong into one line and an exit code. */
export async function hostCommand(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof HostError || error instanceof ContextError || error instanceof RpcError)) throw error;
    process.stderr.write(`hullmark: ${error.message}\n`);
    const usage =
      error instanceof HostError &&
      (error.code === "NOT_ROOT" || error.code === "STATE_TAKEN" || error.code === "NOT_INSTALLED" || error.code === "BAD_SETTINGS");
    process.exitCode = usage ? EXIT.usage : EXIT.unknown;
  }
}
