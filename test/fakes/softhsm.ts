/** A real SoftHSM with a token folder of its own, for this process and its children. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const CANDIDATES = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so"];

export class SoftHsm {
  readonly directory = mkdtempSync(join(tmpdir(), "hullmark-softhsm-"));
  readonly module: string;
  readonly pin = "correct-horse-4711";
  readonly pinFile = join(this.directory, "pin");

  /** The module reads the variable when it is first initialized: once a process. */
  constructor() {
    const module = CANDIDATES.find((path) => existsSync(path));
    if (module === undefined) throw new Error("no SoftHSM: bash deploy/setup.sh test");
    this.module = module;
    mkdirSync(join(this.directory, "tokens"));
    writeFileSync(this.pinFile, `${this.pin}\n`, { mode: 0o600 });
    writeFileSync(
      join(this.directory, "softhsm2.conf"),
      `directories.tokendir = ${join(this.directory, "tokens")}\nobjectstore.backend = file\nlog.level = ERROR\n`,
    );
    process.env["SOFTHSM2_CONF"] = join(this.directory, "softhsm2.conf");
  }

  makeToken(label: string): void {
    this.run("--init-token", "--free", "--label", label, "--pin", this.pin, "--so-pin", "so-4711");
  }

  /** A PKCS#8 file as a key of a token. @param id hex */
  importKey(token: string, file: string, label: string, id: string): void {
    this.run("--import", file, "--token", token, "--label", label, "--id", id, "--pin", this.pin, "--force");
  }

  /** softhsm2-util. */
  run(...args: string[]): string {
    return execFileSync("softhsm2-util", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  }

  /** @param path `token=…;object=…` */
  uri(path: string, pinSource = `file:${this.pinFile}`): string {
    return `pkcs11:${path}?module-path=${this.module}&pin-source=${pinSource}`;
  }

  dispose(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
