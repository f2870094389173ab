/** What a program and a verifier that the test plays have in common: the program's own process, which can be killed, and the listener that it comes to. */
import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { type Server, ServerCredentials } from "@grpc/grpc-js";
import type { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";

const CERTIFICATE_MS = 14_400_000;

export class LoneProcess {
  #process: ChildProcess | undefined;

  /** @param environment besides this process's own @param failpoint where it kills itself; undefined: nowhere */
  start([file = "", ...args]: readonly string[], environment: Readonly<Record<string, string>>, failpoint?: string): void {
    const env = { ...process.env, ...environment, ...(failpoint !== undefined && { HULLMARK_FAILPOINT: failpoint }) };
    this.#process = spawn(file, args, { stdio: ["ignore", "ignore", "inherit"], env });
  }

  /** How it ended, by itself or by this signal: the signal, or the exit code. null: nothing runs. */
  async ended(signal?: NodeJS.Signals): Promise<string | null> {
    const child = this.#process;
    if (!child) return null;
    this.#process = undefined;
    if (child.exitCode === null && child.signalCode === null) {
      const gone = new Promise((resolve) => child.once("exit", resolve));
      if (signal) child.kill(signal);
      await gone;
    }
    return child.signalCode ?? String(child.exitCode);
  }
}

/** As a verifier listens: for those alone who have a certificate of its CA. @returns the port */
export async function listen(server: Server, ca: X509Ca): Promise<number> {
  const { key, pem } = await certified((spki) => ca.issueServer(["localhost"], spki, CERTIFICATE_MS));
  const secure = ServerCredentials.createSsl(Buffer.from(ca.rootPem), [{ cert_chain: Buffer.from(pem), private_key: Buffer.from(key) }], true);
  return await new Promise((resolve, reject) => server.bindAsync("127.0.0.1:0", secure, (error, bound) => (error ? reject(error) : resolve(bound))));
}

/** A key, and its certificate: both PEM, with the key's SubjectPublicKeyInfo (DER). */
export async function certified(issue: (spki: Buffer) => Promise<{ chain: readonly Buffer[] }>): Promise<{ key: string; pem: string; spki: Buffer }> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = publicKey.export({ type: "spki", format: "der" });
  const { chain } = await issue(spki);
  return { key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(), pem: chain.map((der) => new X509Certificate(der).toString()).join(""), spki };
}
