/** How a container came into its pod's specification: by what made the pod, or by somebody else, and what policy makes of that. */
import { appraisePod } from "@hullmark/verifier/core/appraisal/appraise-pod";
import type { ContainerInput } from "@hullmark/verifier/core/appraisal/types";
import type { ContainerRole, PodTemplateNames } from "@hullmark/verifier/ports/pod-view";
import { describe, expect, test } from "vitest";
import { podContainer, podRecord } from "../fakes/pod-records.ts";

function told(role: ContainerRole, template: PodTemplateNames, injected = false): string[] {
  const pod = { kind: "specified", pod: podRecord(), container: podContainer("web", { role }), template };
  const rules = { allow: { injected, staticPods: false }, severity: (_place: string, _kind: string, builtIn: number) => builtIn };
  const { findings, unknown } = appraisePod({ pod, rules } as unknown as ContainerInput);
  return [...findings.map(({ kind, notice }) => `${kind}${notice ? " (notice)" : ""}`), ...unknown.map(({ code }) => code)];
}

describe("a container", () => {
  const others = new Set(["other"]);
  test.each<[string, ContainerRole, PodTemplateNames, string[], string[]]>([
    ["of the template", "container", new Set(["web"]), [], []],
    ["that the template does not have", "container", others, ["added-container"], []],
    ["for the start that the template does not have", "init", others, ["added-container"], []],
    ["whose template is not read yet", "container", "pending", ["pod-pending"], []],
    ["of a pod that was made of none", "container", undefined, [], []],
    ["added while the pod runs", "ephemeral", undefined, ["added-container"], ["debug-container (notice)"]],
    ["added while the pod runs, before the template is read", "ephemeral", "pending", ["added-container"], ["debug-container (notice)"]],
  ])("%s", (_, role, template, strict, allowed) => {
    expect(told(role, template)).toEqual(strict);
    expect(told(role, template, true)).toEqual(allowed);
  });
});
