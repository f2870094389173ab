/** Whether the API server has the container: in a pod's specification, on this node, and not only by the node's own word. */
import { create } from "@bufbuild/protobuf";
import { type Claim, ClaimSchema } from "@hullmark/proto/v1/common";
import type { PodContainer } from "../../ports/pod-view.ts";
import { printable } from "../text/printable.ts";
import { finding } from "./findings.ts";
import type { ContainerInput, Difference, Finding, FindingKind } from "./types.ts";

const shown = (text: string): string => printable(Buffer.from(text)).slice(0, 512);

/** Claims of {@link appraisePod}: while one holds, not finding something proves nothing. */
export const POD_CLAIMS: ReadonlySet<string> = new Set(["pod-pending", "pods-stale"]);

export function appraisePod({ pod: standing, rules }: ContainerInput): { readonly findings: readonly Finding[]; readonly unknown: readonly Claim[] } {
  if (!standing) return { findings: [], unknown: [] };
  const found = (kind: FindingKind, difference: Difference, summary: string): Finding =>
    finding({ place: "configuration", kind, path: Buffer.alloc(0), differences: [difference], summary, discriminator: kind }, rules);
  if (standing.kind === "unknown") return { findings: [], unknown: [create(ClaimSchema, { code: standing.code, detail: shown(standing.detail) })] };
  if (standing.kind === "contradicted") {
    const { drift, field, expected, observed, summary } = standing;
    return { findings: [found(drift, { field, expected: shown(expected), observed: shown(observed) }, summary)], unknown: [] };
  }
  const { pod, container } = standing;
  const findings: Finding[] = [];
  if (pod.mirror && container && !rules.allow.staticPods)
    findings.push(
      found(
        "static-pod",
        { field: "pod", expected: "asked for at the API server", observed: "read by the kubelet from the node's own files" },
        "runs in a static pod: whoever writes the node's manifests started it",
      ),
    );
  const template = standing.template === "pending" ? undefined : standing.template;
  const added = container && addedBy(container, template);
  if (added && !rules.allow.injected) {
    const observed = `spec.${added.list}[${shown(container.name)}]`;
    const expected = added.template ? `one of ${shown([...added.template].join(", "))}` : "in the pod's template";
    findings.push(found("added-container", { field: "container", expected, observed }, added.summary));
  } else if (container?.role === "ephemeral")
    findings.push(
      found(
        "debug-container",
        { field: "container", expected: "in the pod's template", observed: `spec.ephemeralContainers[${shown(container.name)}]` },
        "added to the running pod through the API server (kubectl debug)",
      ),
    );
  const pending = standing.template === "pending" && container && container.role !== "ephemeral" && !rules.allow.injected;
  const detail = "what the pod was made of has not been read yet";
  return { findings, unknown: pending ? [create(ClaimSchema, { code: "pod-pending", detail })] : [] };
}

/** What its pod has and what made the pod does not: undefined where it does, or that is not known. */
function addedBy({ name, role }: PodContainer, template: ReadonlySet<string> | undefined) {
  if (role === "ephemeral") return { list: "ephemeralContainers", template, summary: "added to the running pod through the API server (kubectl debug)" };
  if (!template || template.has(name)) return undefined;
  const summary = "put into its pod by something else than what made the pod: a webhook, or whoever created it";
  return { list: role === "init" ? "initContainers" : "containers", template, summary };
}
