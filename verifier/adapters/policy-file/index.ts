/** Policy from a file: read once, or again whenever it (or a key file that it names) is saved. The verifier and `hullmark policy lint` share it. */
import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { MAX_POLICY_BYTES, type ParsedPolicy, parsePolicy } from "../../core/policy/parse.ts";

export interface LoadedPolicy {
  readonly parsed: ParsedPolicy;
  /** Absolute paths of the policy and of the key files it names: what to watch. */
  readonly files: readonly string[];
}

/**
 * Reads and checks a policy. Key files are relative to the policy's folder. What is wrong with the content is in `parsed`.
 * @throws the system's error where the policy file itself cannot be read; an Error where it is larger than a policy may be
 */
export function loadPolicyFile(file: string): LoadedPolicy {
  const path = resolve(file);
  const files = [path];
  const readKeyFile = (keyFile: string): string => {
    const keyPath = resolve(dirname(path), keyFile);
    files.push(keyPath);
    return readBounded(keyPath);
  };
  return { parsed: parsePolicy(readBounded(path), file, { readKeyFile }), files };
}

function readBounded(path: string): string {
  const { size } = statSync(path);
  if (size > MAX_POLICY_BYTES) throw new Error(`${path}: ${size} bytes, limit ${MAX_POLICY_BYTES}`);
  return readFileSync(path, "utf8");
}
