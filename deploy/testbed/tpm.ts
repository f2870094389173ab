import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { program, socketPath } from "./paths.ts";
import { type Daemon, run, startDaemon } from "./run.ts";

/** A TPM 2.0 (swtpm) with an EK certificate, made by a local CA that exists only for it. */
export interface Tpm {
  /** For tpm2-tss: `swtpm:path=SOCKET`. One client at a time, no resource manager. */
  readonly tcti: string;
  readonly socketPath: string;
  /** The CA certificates (PEM files) that the EK certificate chains to, issuer first, root last. */
  readonly endorsementRoots: readonly string[];
  daemon(): Daemon;
  stop(): Promise<void>;
  /** SIGKILL: an unclean power loss; the next start raises the TPM's reset count. */
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** Manufactures a TPM below `directory` (which must not exist yet) and powers it on. About 3 s. @throws TestbedError */
export async function startTpm(directory: string, env: Readonly<Record<string, string>> = {}): Promise<Tpm> {
  const state = join(directory, "state");
  const authority = join(directory, "ca");
  mkdirSync(state, { recursive: true, mode: 0o700 });
  mkdirSync(authority, { recursive: true, mode: 0o700 });
  await manufacture(directory, state, authority);
  const control = socketPath(directory, "tpm.sock.ctrl");
  const socket = control.slice(0, -".ctrl".length);
  const launch = (): Promise<Daemon> =>
    startDaemon({
      name: "swtpm",
      argv: [
        program("swtpm"),
        ...["socket", "--tpm2", "--tpmstate", `dir=${state}`, "--flags", "not-need-init,startup-clear"],
        ...["--server", `type=unixio,path=${socket}`, "--ctrl", `type=unixio,path=${control}`],
      ],
      env,
      logPath: join(directory, "swtpm.log"),
      ready: async () => existsSync(socket) && existsSync(control),
    });
  let daemon = await launch();
  return {
    tcti: `swtpm:path=${socket}`,
    socketPath: socket,
    endorsementRoots: [join(authority, "issuercert.pem"), join(authority, "swtpm-localca-rootca-cert.pem")],
    daemon: () => daemon,
    stop: () => daemon.stop(),
    kill: () => daemon.kill(),
    start: async () => {
      await run(["/bin/rm", "-f", socket, control]);
      daemon = await launch();
    },
  };
}

/** Makes seeds, endorsement keys and their certificates (RSA-2048 and P-384), with a CA whose keys stay below `authority`. */
async function manufacture(directory: string, state: string, authority: string): Promise<void> {
  const write = (name: string, lines: readonly string[]): string => {
    const path = join(directory, name);
    writeFileSync(path, `${lines.join("\n")}\n`);
    return path;
  };
  const ca = write("localca.conf", [
    `statedir = ${authority}`,
    `signingkey = ${authority}/signkey.pem`,
    `issuercert = ${authority}/issuercert.pem`,
    `certserial = ${authority}/certserial`,
  ]);
  const platform = write("localca.options", [
    ...["--platform-manufacturer Hullmark", "--platform-version 1", "--platform-model testbed"],
    ...["--tpm-manufacturer IBM", "--tpm-model swtpm-libtpms", "--tpm-version 2"],
  ]);
  const setup = write("setup.conf", [
    `create_certs_tool = ${program("swtpm_localca")}`,
    `create_certs_tool_config = ${ca}`,
    `create_certs_tool_options = ${platform}`,
    "active_pcr_banks = sha256",
  ]);
  await run([
    program("swtpm_setup"),
    ...["--tpm2", "--tpmstate", state, "--create-ek-cert", "--create-platform-cert", "--pcr-banks", "sha256"],
    ...["--overwrite", "--config", setup, "--logfile", join(directory, "setup.log")],
    ...(process.getuid?.() === 0 ? ["--runas", "root"] : []),
  ]);
}
