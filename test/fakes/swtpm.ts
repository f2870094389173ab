/**
 * A real TPM 2.0 in software: swtpm, manufactured with EK certificates by a local CA of its own,
 * all below one temporary directory that {@link Swtpm.stop} removes.
 */

import type { ChildProcess } from "node:child_process";
import { execFile, spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const START_TIMEOUT_MS = 20_000;

export interface SwtpmOptions {
  /** Directory of a maker CA (see {@link createMaker}) to share between several TPMs; by default each TPM has its own maker. */
  readonly makerDir?: string;
  /** Leave out the EK certificate, as many virtual TPMs do. Default: with certificates. */
  readonly withoutEkCertificate?: boolean;
  /** PCR banks to allocate, comma-separated. Default `sha256`. */
  readonly pcrBanks?: string;
}

/** A TPM maker: swtpm's local CA with a root and an intermediate. The files appear when its first TPM is made. */
export async function createMaker(): Promise<string> {
  return await mkdtemp(join(tmpdir(), "hullmark-maker-"));
}

/** The maker's certificates, PEM: the self-signed root first, then the issuing CA. */
export async function makerCertificates(makerDir: string): Promise<{ root: string; issuer: string }> {
  const root = await readFile(join(makerDir, "swtpm-localca-rootca-cert.pem"), "utf8");
  const issuer = await readFile(join(makerDir, "issuercert.pem"), "utf8");
  return { root, issuer };
}

export class Swtpm {
  readonly stateDir: string;
  readonly makerDir: string;
  readonly #ownsMaker: boolean;
  #process: ChildProcess | undefined;

  private constructor(stateDir: string, makerDir: string, ownsMaker: boolean) {
    this.stateDir = stateDir;
    this.makerDir = makerDir;
    this.#ownsMaker = ownsMaker;
  }

  /** Manufactures a TPM and powers it on. About 3 s, most of it RSA key generation. */
  static async start(options: SwtpmOptions = {}): Promise<Swtpm> {
    const stateDir = await mkdtemp(join(tmpdir(), "hullmark-swtpm-"));
    const makerDir = options.makerDir ?? (await createMaker());
    const tpm = new Swtpm(stateDir, makerDir, options.makerDir === undefined);
    try {
      await tpm.#manufacture(options);
      await tpm.powerOn();
      return tpm;
    } catch (error) {
      await tpm.stop();
      throw error;
    }
  }

  /** TCTI string for this TPM. */
  get tcti(): string {
    return `swtpm:path=${this.socket}`;
  }

  /** Takes TPM commands, of one client at a time. */
  get socket(): string {
    return join(this.stateDir, "sock");
  }

  /** Process id of the emulator while it is powered on. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  async #manufacture(options: SwtpmOptions): Promise<void> {
    const tpmDir = join(this.stateDir, "tpm");
    await mkdir(tpmDir);
    const caConfig = join(this.stateDir, "localca.conf");
    const caOptions = join(this.stateDir, "localca.options");
    const config = join(this.stateDir, "setup.conf");
    await writeFile(
      caConfig,
      `statedir = ${this.makerDir}\nsigningkey = ${join(this.makerDir, "signkey.pem")}\nissuercert = ${join(this.makerDir, "issuercert.pem")}\ncertserial = ${join(this.makerDir, "certserial")}\n`,
    );
    await writeFile(caOptions, "--platform-manufacturer Hullmark\n--platform-version 1\n--platform-model Test\n");
    await writeFile(config, `create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = ${caConfig}\ncreate_certs_tool_options = ${caOptions}\n`);
    const certificates = options.withoutEkCertificate ? [] : ["--create-ek-cert", "--create-platform-cert"];
    const banks = options.pcrBanks ?? "sha256";
    await run("swtpm_setup", ["--tpm2", "--tpmstate", tpmDir, ...certificates, "--pcr-banks", banks, "--overwrite", "--config", config]);
  }

  /** Starts the emulator on the manufactured state: the same as a reboot of the node when it ran before (resetCount goes up). */
  async powerOn(): Promise<void> {
    const socket = join(this.stateDir, "sock");
    const child = spawn(
      "swtpm",
      [
        ...["socket", "--tpm2", "--tpmstate", `dir=${join(this.stateDir, "tpm")}`, "--flags", "not-need-init,startup-clear"],
        ...["--server", `type=unixio,path=${socket}`, "--ctrl", `type=unixio,path=${socket}.ctrl`],
      ],
      { stdio: ["ignore", "ignore", "ignore"] },
    );
    this.#process = child;
    await answering(`${socket}.ctrl`, child);
  }

  /** Cuts the power without a TPM2_Shutdown, as a crash does. */
  async powerOff(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await exited;
    await rm(join(this.stateDir, "sock"), { force: true });
    await rm(join(this.stateDir, "sock.ctrl"), { force: true });
  }

  /** Another one with the same keys and counters, powered off as this one must be: what whoever copies a virtual TPM's state gets. */
  async copy(): Promise<Swtpm> {
    const stateDir = await mkdtemp(join(tmpdir(), "hullmark-swtpm-"));
    await cp(join(this.stateDir, "tpm"), join(stateDir, "tpm"), { recursive: true });
    return new Swtpm(stateDir, this.makerDir, false);
  }

  /** Powers off and removes every file of this TPM (and of its maker when it had one of its own). */
  async stop(): Promise<void> {
    await this.powerOff();
    await rm(this.stateDir, { recursive: true, force: true });
    if (this.#ownsMaker) await rm(this.makerDir, { recursive: true, force: true });
  }
}

/**
 * Until it answers on its control channel, which it does from its main loop: the TPM has started then, its counters are on disk, and the socket for commands
 * takes connections.
 */
async function answering(path: string, child: ChildProcess): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`swtpm exited with code ${child.exitCode}`);
    if (await answers(path, deadline - Date.now())) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`swtpm did not answer on ${path} within ${START_TIMEOUT_MS} ms`);
}

/** Whether it tells its capabilities (CMD_GET_CAPABILITY of swtpm_ioctls(3)); false: nothing listens there yet. */
function answers(path: string, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path, () => socket.write(Buffer.of(0, 0, 0, 1)));
    const end = (answered: boolean) => (): void => {
      socket.destroy();
      resolve(answered);
    };
    socket.setTimeout(timeoutMs, end(false));
    socket.once("data", end(true));
    socket.once("error", end(false));
    socket.once("close", end(false));
  });
}
