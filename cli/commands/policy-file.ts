/** Policy files as the commands read them. */
import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { formatProblem, MAX_POLICY_BYTES, type ParsedPolicy, parsePolicy } from "@hullmark/verifier/core/policy/parse";
import type { Policy } from "@hullmark/verifier/core/policy/types";
import { SigningError } from "../signing/index.ts";

/** Files that the policy names are relative to its folder. @throws the system's error where the policy cannot be read */
export function loadPolicy(file: string): ParsedPolicy {
  return parsePolicy(readBounded(file), file, { readKeyFile: (path) => readBounded(resolve(dirname(file), path)) });
}

/** @throws SigningError FILE where it cannot be read, USAGE with every mistake */
export function readPolicy(file: string): Policy {
  let parsed: ParsedPolicy;
  try {
    parsed = loadPolicy(file);
  } catch (cause) {
    throw new SigningError("FILE", `${file} cannot be read`, { cause });
  }
  if (!parsed.ok) throw new SigningError("USAGE", parsed.errors.map(formatProblem).join("\n"));
  return parsed.policy;
}

function readBounded(file: string): string {
  const { size } = statSync(file);
  if (size > MAX_POLICY_BYTES) throw new Error(`${file}: ${size} bytes, limit ${MAX_POLICY_BYTES}`);
  return readFileSync(file, "utf8");
}
