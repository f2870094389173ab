import { TestbedError } from "../error.ts";
import { runKubectl } from "./kubectl.ts";
import { tool } from "./tools.ts";

/** A cluster that somebody else keeps (kind, a real one): nothing is known of its nodes. */
export interface ExternalCluster {
  readonly kubeconfig: string;
  /** HOST[:PORT] of a registry that its nodes and this host reach by this name. */
  readonly registry: string;
  /** Path of a file of the chart's values that this cluster needs (where its runtime is, a storage class); undefined: the chart's own do. */
  readonly values: string | undefined;
  kubectl(args: readonly string[], input?: string): Promise<string>;
}

/**
 * The cluster that HULLMARK_TEST_KUBECONFIG and HULLMARK_TEST_REGISTRY name; undefined: none, start an own one. A shell's KUBECONFIG is
 * not taken, since tests attack what they are given.
 * @throws TestbedError `start_failed` when only one of the two is set
 */
export function externalCluster(): ExternalCluster | undefined {
  const kubeconfig = process.env["HULLMARK_TEST_KUBECONFIG"];
  const registry = process.env["HULLMARK_TEST_REGISTRY"];
  if (!kubeconfig && !registry) return undefined;
  if (!kubeconfig || !registry) throw new TestbedError("start_failed", "HULLMARK_TEST_KUBECONFIG and HULLMARK_TEST_REGISTRY go together");
  return {
    kubeconfig,
    registry,
    values: process.env["HULLMARK_TEST_VALUES"] || undefined,
    kubectl: (args, input) => runKubectl(tool("kubectl"), kubeconfig, args, input),
  };
}
