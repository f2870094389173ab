/** What takes a pod from the network: a label, and the one NetworkPolicy of its namespace that selects it. Methods reject with EngineError, as those of the cluster do. */
import type { PodTarget } from "./cluster.ts";

type Namespaced = Pick<PodTarget, "namespace">;

/** On an isolated pod; its value is the action. */
export const ISOLATED_LABEL = "hullmark.dev/isolated";

export interface PodFence {
  /**
   * Names of other policies that select a pod of these labels and let something through. Policies add up, and none takes away what another allows: with one of these the pod
   * is not isolated. @throws EngineError ENGINE_REFUSED also where it may not be looked
   */
  openings(where: Namespaced, labels: Readonly<Record<string, string>>): Promise<readonly string[]>;
  /** The namespace has the policy as it is to be, which lets nothing to and from pods with the label. Idempotent. */
  raise(where: Namespaced): Promise<void>;
  /** Sets the label, with annotations that say why, or takes them away; only of the pod of this uid. Idempotent. */
  label(pod: PodTarget, actionId: string | undefined): Promise<void>;
}
