/** A real SoftHSM with a token folder of its own, for this process and its children. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pkcs11Token } from "@hullmark/verifier/adapters/pkcs11/index";
import pkcs11js from "pkcs11js";

const CANDIDATES = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so"];

export class SoftHsm {
  readonly directory = mkdtempSync(join(tmpdir(), "hullmark-softhsm-"));
  readonly module: string;
  readonly pin = "correct-horse-4711";
  readonly pinFile = join(this.directory, "pin");
  readonly #opened: Pkcs11Token[] = [];
  #prefixes = 0;

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

  /** A user's login with the right PIN, by a tool of somebody else's. */
  login(token: string): void {
    const module = new pkcs11js.PKCS11();
    module.load(this.module);
    const slot = module.C_GetSlotList(true).find((each) => module.C_GetTokenInfo(each).label.trimEnd() === token);
    if (!slot) throw new Error(`no token ${token}`);
    const session = module.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION);
    module.C_Login(session, pkcs11js.CKU_USER, this.pin);
    module.C_CloseSession(session);
  }

  /** A P-256 pair whose private half wants the PIN for each use (CKA_ALWAYS_AUTHENTICATE). */
  makeKeyThatAsks(token: string, label: string): void {
    const module = new pkcs11js.PKCS11();
    module.load(this.module);
    const slot = module.C_GetSlotList(true).find((each) => module.C_GetTokenInfo(each).label.trimEnd() === token);
    if (!slot) throw new Error(`no token ${token}`);
    const session = module.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
    const named = [
      { type: pkcs11js.CKA_TOKEN, value: true },
      { type: pkcs11js.CKA_LABEL, value: label },
      { type: pkcs11js.CKA_ID, value: Buffer.from(label) },
    ];
    const curve = { type: pkcs11js.CKA_EC_PARAMS, value: Buffer.from("06082a8648ce3d030107", "hex") };
    const guarded = [pkcs11js.CKA_PRIVATE, pkcs11js.CKA_SENSITIVE, pkcs11js.CKA_SIGN, pkcs11js.CKA_ALWAYS_AUTHENTICATE].map((type) => ({ type, value: true }));
    module.C_GenerateKeyPair(session, { mechanism: pkcs11js.CKM_EC_KEY_PAIR_GEN }, [...named, curve], [...named, ...guarded]);
    module.C_CloseSession(session);
  }

  /** For keys of a verifier. @param labelPrefix default: one of its own */
  open(token: string, labelPrefix = `test/${++this.#prefixes}`): Pkcs11Token {
    const opened = new Pkcs11Token({ uri: this.uri(`token=${token}`), environment: {}, labelPrefix });
    this.#opened.push(opened);
    return opened;
  }

  /** Labels of the private and secret keys in a token. */
  async labels(token: string): Promise<string[]> {
    const module = new pkcs11js.PKCS11();
    module.load(this.module);
    const slot = module.C_GetSlotList(true).find((each) => module.C_GetTokenInfo(each).label.trimEnd() === token);
    if (!slot) throw new Error(`no token ${token}`);
    const session = module.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION);
    try {
      return [pkcs11js.CKO_PRIVATE_KEY, pkcs11js.CKO_SECRET_KEY].flatMap((kind) => {
        module.C_FindObjectsInit(session, [{ type: pkcs11js.CKA_CLASS, value: kind }]);
        const found = module.C_FindObjects(session, 1000);
        module.C_FindObjectsFinal(session);
        return found.map((handle) => String(module.C_GetAttributeValue(session, handle, [{ type: pkcs11js.CKA_LABEL }])[0]?.value));
      });
    } finally {
      module.C_CloseSession(session);
    }
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#opened.map((each) => each.close()));
    rmSync(this.directory, { recursive: true, force: true });
  }
}
