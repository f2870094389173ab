/** Which rule of the policy decides on what a drift is of. Pure. */
import type { DriftRow } from "../../ports/rows.ts";
import { bootRules, matchRule, ruleByLabel } from "./match.ts";
import type { Policy } from "./types.ts";

/**
 * @param labels of the container; undefined: not known now
 * @returns its name; empty: none selects it, or there is no policy. undefined: it may rest on labels that are not known
 */
export function decidingRule(
  policy: Policy,
  {
    containerId,
    containerName,
    workload,
    imageReference,
    nodeName,
  }: Pick<DriftRow, "containerId" | "containerName" | "workload" | "imageReference" | "nodeName">,
  labels: Readonly<Record<string, string>> | undefined,
): string | undefined {
  if (!policy.loaded) return "";
  if (containerId === "") return bootRules(policy, nodeName)?.rule ?? "";
  const container = { containerName, workload, imageReference, nodeName, labels: labels ?? {} };
  if (labels === undefined && ruleByLabel(policy, container)) return undefined;
  return matchRule(policy, container)?.name ?? "";
}
