/** Policy files as the commands read them. */
import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { formatProblem, MAX_POLICY_BYTES, type ParsedPolicy, parsePolicy } from "@hullmark/verifier/core/policy/parse";
import type { Policy } from "@hullmark/verifier/core/policy/types";
import { because } from "../output/because.ts";
import { SigningError } from "../signing/index.ts";

/** Files that the policy names are relative to its folder. @throws SigningError FILE where the policy cannot be read */
export function loadPolicy(file: string): ParsedPolicy {
  const readKeyFile = (path: string): string => readBounded(resolve(dirname(file), path));
  let text: string;
  try {
    text = readBounded(file);
  } catch (cause) {
    throw new SigningError("FILE", `${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
  return parsePolicy(text, file, { readKeyFile });
}

/** @throws SigningError FILE where it cannot be read, USAGE with every mistake */
export function readPolicy(file: string): Policy {
  const parsed = loadPolicy(file);
  if (!parsed.ok) throw new SigningError("USAGE", parsed.errors.map(formatProblem).join("\n"));
  return parsed.policy;
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
