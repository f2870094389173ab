/** The PIN of a token: in a file, read at each login and kept nowhere; or in a variable, which stays in the token's options, here and in its thread's, as in the process's environment. It stands in no message. */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { SignerError } from "../../ports/signer.ts";

/** Environment variable with the PIN where the URI has no pin-source. */
export const PIN_VARIABLE = "HULLMARK_TOKEN_PIN";
const MAX_PIN_BYTES = 256;

/** @param source as in the URI; undefined: {@link PIN_VARIABLE} @throws SignerError TOKEN_PIN */
export function readPin(source: string | undefined, environment: Readonly<Record<string, string | undefined>>): string {
  if (source === undefined || source.startsWith("env:")) {
    const name = source?.slice("env:".length) ?? PIN_VARIABLE;
    const pin = environment[name];
    if (!pin) throw new SignerError("TOKEN_PIN", `no PIN: ${source === undefined ? "the URI has no pin-source, and " : ""}the variable ${name} is not set`);
    return pin;
  }
  const path = source.replace(/^file:(?:\/\/(?=\/))?/, "");
  let fd: number;
  try {
    // Not waiting for the writer of a pipe.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw new SignerError("TOKEN_PIN", `the PIN file ${path} cannot be opened`, { cause });
  }
  try {
    const facts = fstatSync(fd);
    if (!facts.isFile() || facts.size > MAX_PIN_BYTES) throw new SignerError("TOKEN_PIN", `${path} is no file of at most ${MAX_PIN_BYTES} bytes`);
    // Its group may read it: so Kubernetes gives Secrets to a pod.
    if ((facts.mode & 0o027) !== 0) throw new SignerError("TOKEN_PIN", `the PIN file ${path} may be read by others or written by its group: chmod 600`);
    const pin = readFileSync(fd, "utf8").replace(/\r?\n$/, "");
    if (pin === "") throw new SignerError("TOKEN_PIN", `the PIN file ${path} is empty`);
    return pin;
  } finally {
    closeSync(fd);
  }
}
