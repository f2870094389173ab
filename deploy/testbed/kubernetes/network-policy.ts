/** Has the node enforce NetworkPolicies: by kube-router's firewall alone, beside the cluster's own routes and Services. */
import { answers } from "../http-service.ts";
import type { Launch } from "./control-plane.ts";
import type { Service } from "./service.ts";
import { type Place, SERVICE_SUBNET } from "./settings.ts";
import { tool } from "./tools.ts";

const HEALTH_PORT = 20244;
/** Also when nothing has changed. */
const SYNC_PERIOD = "5s";

/** @param kubeconfig with the administrator's rights @throws TestbedError */
export function startKubeRouter({ network, nodeName }: Place, kubeconfig: string, launch: Launch): Promise<Service> {
  const only = ["--run-firewall=true", ...["router", "service-proxy", "loadbalancer"].map((part) => `--run-${part}=false`)];
  return launch(
    "kube-router",
    [
      ...[tool("kube-router"), ...only, `--kubeconfig=${kubeconfig}`, `--hostname-override=${nodeName}`],
      ...[`--service-cluster-ip-range=${SERVICE_SUBNET}`, `--iptables-sync-period=${SYNC_PERIOD}`, `--health-port=${HEALTH_PORT}`],
    ],
    () => answers(`http://${network.nodeAddress}:${HEALTH_PORT}/healthz`),
  );
}
