/** A policy for tests that have no file of it. */
import { type Policy, parsePolicy } from "@hullmark/verifier/core/policy/index";

/**
 * @param spec as an object, or as YAML below `spec:` (indented by two)
 * @throws Error where it is no policy
 */
export function policyOf(spec: object | string, name = "p"): Policy {
  const text = typeof spec === "string" ? `\n${spec}` : ` ${JSON.stringify(spec)}`;
  const parsed = parsePolicy(`apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: ${name} }\nspec:${text}`, name);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
  return parsed.policy;
}
