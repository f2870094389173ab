import { compileNames } from "@hullmark/proto/codec";
import type { AdmissionMode, Policy } from "./types.ts";

/** What the policy does with a refusal in a namespace: the first entry that matches decides. */
export function modeFor({ admission }: Pick<Policy, "admission">, namespace: string): AdmissionMode {
  return admission.namespaces.find(({ names }) => compileNames(names)(namespace))?.mode ?? admission.mode;
}
