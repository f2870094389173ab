/** Conditions in CEL (cel.dev) over what an attestation says: compiled once, without effects, and never true by accident. */

import { celEnv, parse, plan } from "@bufbuild/cel";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";

export const MAX_CONDITION_CHARS = 2048;

/**
 * @param predicate the attestation's, verified; the signer chose every byte of it
 * @param nowMs Unix milliseconds: `now` in the expression
 * @returns true only where the expression is exactly true: an error, an absent field and any other value are not
 */
export type Condition = (predicate: unknown, nowMs: number) => boolean;

/** @throws Error whose message says what is wrong, and where */
export function compileCondition(expression: string): Condition {
  if (expression.length > MAX_CONDITION_CHARS) throw new Error(`longer than ${MAX_CONDITION_CHARS} characters`);
  const evaluate = plan(celEnv(), parse(expression));
  return (predicate, nowMs) =>
    evaluate({ predicate: predicate as Record<string, unknown>, now: timestampFromMs(nowMs) } as Parameters<typeof evaluate>[0]) === true;
}
