/**
 * The roots by which the agent knows its verifier: those that the operator pinned (a file, PEM), or what the verifier, known by them, said since that they are.
 * What it said counts only as long as the operator pins the same: whoever pins others is obeyed.
 */
import { hash, X509Certificate } from "node:crypto";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

const MAX_FILE_BYTES = 65_536;
const MAX_ROOTS = 8;
const PINNED = /^pinned ([0-9a-f]{64})\n/;

export class TrustedCa {
  readonly #pinnedFile: string;
  readonly #learntFile: string;

  /** @param learntFile in a directory that only the agent may write */
  constructor(pinnedFile: string, learntFile: string) {
    this.#pinnedFile = pinnedFile;
    this.#learntFile = learntFile;
  }

  /** PEM, one root or more. Read at each use: whoever brings another file is obeyed. @throws the system's error where the pinned file cannot be read */
  get pem(): Buffer {
    const pinned = readFileSync(this.#pinnedFile);
    const learnt = this.#readLearnt();
    return learnt !== undefined && PINNED.exec(learnt)?.[1] === hash("sha256", pinned) ? Buffer.from(learnt.replace(PINNED, "")) : pinned;
  }

  /**
   * Takes what a verifier said that was known by the present roots. Nothing, or what is no CA's certificate, changes nothing.
   * @param roots DER, by the verifier
   * @throws the system's error where it cannot be kept
   */
  learn(roots: readonly Uint8Array[]): void {
    if (roots.length === 0 || roots.length > MAX_ROOTS) return;
    const certificates = roots.flatMap(readRoot);
    if (certificates.length !== roots.length) return;
    const text = `pinned ${hash("sha256", readFileSync(this.#pinnedFile))}\n${certificates.join("")}`;
    if (text.length > MAX_FILE_BYTES || text === this.#readLearnt()) return;
    const fresh = `${this.#learntFile}.new`;
    rmSync(fresh, { force: true });
    writeFileSync(fresh, text, { mode: 0o600, flag: "wx", flush: true });
    renameSync(fresh, this.#learntFile);
  }

  #readLearnt(): string | undefined {
    try {
      const text = readFileSync(this.#learntFile, "latin1");
      return text.length <= MAX_FILE_BYTES ? text : undefined;
    } catch {
      return undefined;
    }
  }
}

/** PEM; none where it is no certificate of a CA. */
function readRoot(der: Uint8Array): string[] {
  try {
    const certificate = new X509Certificate(der);
    return certificate.ca ? [certificate.toString()] : [];
  } catch {
    return [];
  }
}
