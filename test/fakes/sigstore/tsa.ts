/** A timestamp authority: OpenSSL's (RFC 3161), with a certificate of its own. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { issueServiceCertificate } from "./ca.ts";
import { pem } from "./keys.ts";

const TIME_STAMPING = "1.3.6.1.5.5.7.3.8";
const CONFIG = `[tsa]
serial = serial
default_policy = 1.3.6.1.4.1.57264.2
signer_digest = sha256
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
`;

export class FakeTsa {
  readonly chain: readonly Buffer[];
  readonly #folder: string;

  private constructor(chain: readonly Buffer[], folder: string) {
    this.chain = chain;
    this.#folder = folder;
  }

  static async create(): Promise<FakeTsa> {
    const { root, leaf, key } = await issueServiceCertificate(TIME_STAMPING);
    const folder = mkdtempSync(join(tmpdir(), "hullmark-tsa-"));
    writeFileSync(join(folder, "tsa.crt"), pem("CERTIFICATE", leaf));
    writeFileSync(join(folder, "tsa.key"), key.privateKey.export({ type: "pkcs8", format: "pem" }));
    writeFileSync(join(folder, "tsa.cnf"), CONFIG);
    writeFileSync(join(folder, "serial"), "01\n");
    return new FakeTsa([leaf, root], folder);
  }

  /** A TimeStampResp over the bytes, now. */
  stamp(bytes: Uint8Array): Buffer {
    writeFileSync(join(this.#folder, "data"), bytes);
    this.#openssl("-query", "-data", "data", "-sha256", "-cert", "-out", "query");
    return this.answer(readFileSync(join(this.#folder, "query")));
  }

  /** A TimeStampResp over what has the digest, now. @param sha256 hex */
  stampDigest(sha256: string): Buffer {
    this.#openssl("-query", "-digest", sha256, "-sha256", "-cert", "-out", "query");
    return this.answer(readFileSync(join(this.#folder, "query")));
  }

  /** @param query a TimeStampReq */
  answer(query: Uint8Array): Buffer {
    writeFileSync(join(this.#folder, "query"), query);
    this.#openssl("-reply", "-config", "tsa.cnf", "-section", "tsa", "-queryfile", "query", "-signer", "tsa.crt", "-inkey", "tsa.key", "-out", "reply");
    return readFileSync(join(this.#folder, "reply"));
  }

  /** The TimeStampToken alone, now. */
  token(bytes: Uint8Array): Buffer {
    this.stamp(bytes);
    this.#openssl("-reply", "-in", "reply", "-token_out", "-out", "token");
    return readFileSync(join(this.#folder, "token"));
  }

  #openssl(...args: readonly string[]): void {
    execFileSync("openssl", ["ts", ...args], { cwd: this.#folder, stdio: "pipe" });
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
