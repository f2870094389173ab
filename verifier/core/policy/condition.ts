/** Conditions in CEL (cel.dev) over what an attestation says, or an image's risk: compiled once, without effects, and never true by accident. */

import { celEnv, parse, plan } from "@bufbuild/cel";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";

export const MAX_CONDITION_CHARS = 2048;

/** Steps of macros (`all`, `exists`, `map`, …) that one evaluation may take: some 1 µs each, on the verifier's one thread. */
const MAX_STEPS = 1_000_000;

/**
 * @param variables of the expression, beside `now`: `predicate`, the attestation's, verified, of which the signer chose every byte; or `risk`
 * @param nowMs Unix milliseconds: `now` in the expression
 * @returns true only where the expression is exactly true: an error, an absent field and any other value are not. `too-long`: its lists are too long to be gone through
 *   as deeply as the expression does
 */
export type Condition = (variables: object, nowMs: number) => boolean | "too-long";

/** @throws Error whose message says what is wrong, and where */
export function compileCondition(expression: string): Condition {
  if (expression.length > MAX_CONDITION_CHARS) throw new Error(`longer than ${MAX_CONDITION_CHARS} characters`);
  const parsed = parse(expression);
  const evaluate = plan(celEnv(), parsed);
  const maxLength = MAX_STEPS ** (1 / Math.max(1, depthOf(parsed.expr)));
  return (variables, nowMs) => {
    if (longestIn(variables) > maxLength) return "too-long";
    return evaluate({ ...variables, now: timestampFromMs(nowMs) } as Parameters<typeof evaluate>[0]) === true;
  };
}

type Expression = ReturnType<typeof parse>["expr"];

/** How many macros stand within one another. */
function depthOf(expression: Expression | undefined): number {
  const deepest = (...parts: readonly (Expression | undefined)[]) => Math.max(0, ...parts.map(depthOf));
  const kind = expression?.exprKind;
  switch (kind?.case) {
    case "comprehensionExpr": {
      const { iterRange, accuInit, loopCondition, loopStep, result } = kind.value;
      return Math.max(deepest(iterRange, accuInit, result), 1 + deepest(loopCondition, loopStep));
    }
    case "callExpr":
      return deepest(kind.value.target, ...kind.value.args);
    case "selectExpr":
      return deepest(kind.value.operand);
    case "listExpr":
      return deepest(...kind.value.elements);
    case "structExpr":
      return deepest(...kind.value.entries.flatMap(({ keyKind, value }) => [keyKind.case === "mapKey" ? keyKind.value : undefined, value]));
    default:
      return 0;
  }
}

/** Length of the longest list or map, however deep it lies. */
function longestIn(value: unknown): number {
  let longest = 0;
  const waiting = [value];
  while (waiting.length > 0) {
    const next = waiting.pop();
    if (typeof next !== "object" || next === null) continue;
    const inner: readonly unknown[] = Object.values(next);
    longest = Math.max(longest, inner.length);
    for (const each of inner) if (typeof each === "object") waiting.push(each);
  }
  return longest;
}
