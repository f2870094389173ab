import { compileNames } from "@hullmark/proto/codec";
import { stricterMode } from "./tighten.ts";
import type { AdmissionMode, Policy } from "./types.ts";

/** What the policy does with a refusal in a namespace: the first entry that matches decides. */
export function modeFor({ admission }: Pick<Policy, "admission">, namespace: string): AdmissionMode {
  return admission.namespaces.find(({ names }) => compileNames(names)(namespace))?.mode ?? admission.mode;
}

/**
 * What is done with an objection. What a rule says of itself goes before what is said for the namespace; but what a namespace's own policy asks for at least holds for the cluster's rules too.
 * @param by whose rule objects: `cluster` or `team` @param ofRule what the rule says; undefined: nothing, or what objects is no rule
 */
export function objectionMode(cluster: Policy, team: Policy | undefined, namespace: string, by: Policy, ofRule: AdmissionMode | undefined): AdmissionMode {
  const least = team?.admission.mode ?? "audit";
  if (ofRule === undefined) return stricterMode(modeFor(cluster, namespace), least);
  return by === cluster ? stricterMode(ofRule, least) : ofRule;
}

/** What is done with a word to whoever asked that keeps nothing out. */
export function noteMode(mode: AdmissionMode): AdmissionMode {
  return mode === "audit" ? "audit" : "warn";
}
