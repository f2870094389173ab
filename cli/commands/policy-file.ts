/** Policy files as the commands read them. */
import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { formatProblem, MAX_POLICY_BYTES, type ParsedPolicy, parsePolicy } from "@hullmark/verifier/core/policy/parse";
import type { Policy } from "@hullmark/verifier/core/policy/types";
import { because } from "../output/because.ts";
import { SigningError } from "../signing/errors.ts";

/** Files that the policy names are relative to its folder. @throws SigningError FILE where the policy cannot be read */
export function loadPolicy(file: string): ParsedPolicy {
  return parsePolicyText(text(file), file);
}

/** @throws SigningError FILE where it cannot be read, USAGE with every mistake */
export function readPolicy(file: string): Policy {
  return readPolicyText(file).policy;
}

/** The policy, the very text that it was read from, byte order mark and all, and the files that it names, by its names for them. @throws SigningError as {@link readPolicy} */
export function readPolicyText(file: string): { readonly policy: Policy; readonly text: string; readonly files: Readonly<Record<string, string>> } {
  const read = text(file);
  const files: Record<string, string> = {};
  const outcome = parsePolicyText(read, file, files);
  if (!outcome.ok) throw new SigningError("USAGE", outcome.errors.map(formatProblem).join("\n"));
  return { policy: outcome.policy, text: read, files };
}

/** @param file as if the text stood in it @param files where what it names is kept, as read */
export function parsePolicyText(read: string, file: string, files: Record<string, string> = {}): ParsedPolicy {
  const readKeyFile = (path: string): string => {
    const content = readBounded(resolve(dirname(file), path));
    files[path] = content;
    return content;
  };
  return parsePolicy(read, file, { readKeyFile });
}

function text(file: string): string {
  try {
    return readBounded(file);
  } catch (cause) {
    throw new SigningError("FILE", `${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

/** @throws Error that says why in words */
function readBounded(file: string): string {
  try {
    const { size } = statSync(file);
    if (size > MAX_POLICY_BYTES) throw new Error(`${size} bytes, limit ${MAX_POLICY_BYTES}`);
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new Error(because(cause), { cause });
  }
}
