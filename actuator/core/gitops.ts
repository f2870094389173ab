/** Who deploys a workload from a repository, and would put back what is rolled back. Pure; whoever may write the workload wrote what is read here. */
import type { GitOpsOwner, Workload } from "../ports/rollouts.ts";

/** Field managers of Argo CD's controller. */
const ARGO_MANAGERS: readonly string[] = ["argocd-controller", "argocd-application-controller"];
/** What Flux's controllers put on all that they apply. */
const FLUX = [
  { kind: "Kustomization", prefix: "kustomize.toolkit.fluxcd.io" },
  { kind: "HelmRelease", prefix: "helm.toolkit.fluxcd.io" },
] as const;

/** undefined: nothing on it says so. */
export function gitOpsOwner({ labels, annotations, managers }: Pick<Workload, "labels" | "annotations" | "managers">): GitOpsOwner | undefined {
  const tracked = annotations["argocd.argoproj.io/tracking-id"]?.split(":")[0] ?? labels["argocd.argoproj.io/instance"];
  // The label is anybody's (Helm's charts carry it): it counts where Argo CD has written the object.
  const instance = tracked ?? (managers.some((each) => ARGO_MANAGERS.includes(each)) ? labels["app.kubernetes.io/instance"] : undefined);
  if (instance !== undefined) return argo(instance);
  for (const { kind, prefix } of FLUX) {
    const [name, namespace] = [labels[`${prefix}/name`], labels[`${prefix}/namespace`]];
    if (name !== undefined) return { tool: "flux", kind, namespace: namespace ?? "flux-system", name };
  }
  return undefined;
}

/** Of an application outside of Argo CD's own namespace its name is `NAMESPACE_NAME`. */
function argo(instance: string): GitOpsOwner {
  const [namespace, name] = instance.includes("_") ? instance.split("_") : ["argocd", instance];
  return { tool: "argocd", kind: "Application", namespace: namespace ?? "", name: name ?? "" };
}

/** For people. */
export function nameOfOwner({ tool, kind, namespace, name }: GitOpsOwner): string {
  return `${tool === "argocd" ? "Argo CD" : "Flux"} ${kind} ${namespace}/${name}`;
}
