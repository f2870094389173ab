import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { answers } from "../http-service.ts";
import { KUBERNETES_MOUNTS } from "../mount-points.ts";
import { openNamespace } from "../namespace.ts";
import { type Launch, launcher, startApiServer, startEtcd, startManager, startScheduler } from "./control-plane.ts";
import { runKubectl } from "./kubectl.ts";
import { chooseNodeNetwork, joinNodeNetwork } from "./network.ts";
import { startKubeRouter } from "./network-policy.ts";
import { type Node, type NodeRuntime, startNodeRuntime } from "./node-runtime.ts";
import { type ClusterPki, makePki } from "./pki.ts";
import type { Service } from "./service.ts";
import * as settings from "./settings.ts";
import { tool } from "./tools.ts";

export type { Node, NodeRuntime, Service };
export { startNodeRuntime };

/** What cluster is wanted. */
export interface KubernetesOptions {
  /** Default overlayfs. */
  readonly snapshotter?: "overlayfs" | "native";
  /** Groups of users whose requests to the API server go into {@link Kubernetes.auditLog}. Default none. */
  readonly audited?: readonly string[];
}

/** A real Kubernetes of one node, with Services (kube-proxy) and their names (CoreDNS); no metrics, no second node. */
export interface Kubernetes extends Omit<NodeRuntime, "containerd" | "startKubelet"> {
  /** Path of the administrator's kubeconfig; holds everything that it needs, and its address works on the whole host. */
  readonly kubeconfig: string;
  /** The program, for those who need its standard input or output. */
  readonly kubectlPath: string;
  readonly nodeName: string;
  /** Host path; empty of lines where nobody is audited. */
  readonly auditLog: string;
  readonly services: Readonly<Record<"etcd" | "containerd" | "apiserver" | "manager" | "scheduler" | "kubelet" | "proxy" | "dns", Service>>;
  /** Runs kubectl as administrator. @param input its standard input @returns its output @throws TestbedError `command_failed` */
  kubectl(args: readonly string[], input?: string): Promise<string>;
  /** From now on NetworkPolicies are enforced, by kube-router (go-tools.sh network-policy): until then nothing does. What it put into the node's packet filter stays when it ends. @throws TestbedError */
  enforcePolicies(): Promise<Service>;
}

/** What go-tools.sh builds, by what runs on the node. */
export const NODE_PROGRAMS = { runtime: ["pause"], kubernetes: ["kube-apiserver", "kubectl", "coredns", "pause"] } as const;

/** Opens the node. @param announce is told the name of the interface before it is made @throws TestbedError */
export async function openNode(
  directory: string,
  id: string,
  options: KubernetesOptions,
  programs: readonly string[],
  announce: (link: string) => void,
): Promise<Node> {
  // Asked first: what is missing takes minutes to build.
  for (const name of programs) tool(name);
  const own = join(directory, "kubernetes");
  const network = await chooseNodeNetwork(id);
  const place = { directory: own, id, nodeName: "node-1", network, snapshotter: options.snapshotter ?? "overlayfs", audited: options.audited ?? [] } as const;
  const runtimeDirectory = join(directory, "node");
  const namespace = await openNamespace(runtimeDirectory, `HULLMARK_TESTBED=${id}`, { network: true, mounts: mountsOf(own) });
  announce(network.link);
  await joinNodeNetwork(network, namespace);
  return { place, namespace, runtimeDirectory };
}

function mountsOf(directory: string): Record<string, string> {
  const mounts: Record<string, string> = {};
  for (const over of KUBERNETES_MOUNTS) {
    const folder = join(directory, over.slice("/var/".length).replaceAll("/", "-"));
    mkdirSync(folder, { recursive: true });
    mounts[over] = folder;
  }
  for (const [over, value] of Object.entries(settings.KERNEL_SETTINGS)) {
    if (!existsSync(over)) continue;
    const file = join(directory, over.slice("/proc/sys/".length).replaceAll("/", "-"));
    writeFileSync(file, `${value}\n`);
    mounts[over] = file;
  }
  return mounts;
}

/** Starts Kubernetes on the node; ends when the node takes pods, after some 15 s. @param registry may be pulled from @throws TestbedError */
export async function startKubernetes(node: Node, registry: string | undefined): Promise<Kubernetes> {
  const { place, namespace } = node;
  const server = `https://${place.network.nodeAddress}:6443`;
  const pki = await makePki(join(place.directory, "pki"), server, { name: place.nodeName, address: place.network.nodeAddress });
  const kubeconfig = pki.path("admin.kubeconfig");
  const kubectl = (args: readonly string[], input?: string) => runKubectl(tool("kubectl"), kubeconfig, args, input);
  const launch = launcher(place, namespace);
  const [etcd, { containerd, startKubelet: _, ...runtime }] = await Promise.all([startEtcd(place, launch), startNodeRuntime(node, registry)]);
  const apiserver = await startApiServer(place, pki, launch, (...args) => kubectl(args));
  const [manager, scheduler, rest] = await Promise.all([
    startManager(place, pki, launch),
    startScheduler(place, pki, launch),
    startNode(place, pki, launch, kubectl),
  ]);
  await kubectl(["wait", "--for=create", "serviceaccount/default", "--namespace=default", "--timeout=60s"]);
  return {
    ...runtime,
    kubeconfig,
    kubectlPath: tool("kubectl"),
    nodeName: place.nodeName,
    auditLog: settings.auditLog(place),
    services: { etcd, containerd, apiserver, manager, scheduler, ...rest },
    kubectl,
    enforcePolicies: () => startKubeRouter(place, kubeconfig, launch),
  };
}

type Kubectl = (args: readonly string[]) => Promise<string>;

async function startNode(place: settings.Place, pki: ClusterPki, launch: Launch, kubectl: Kubectl): Promise<Record<"kubelet" | "proxy" | "dns", Service>> {
  const { nodeAddress } = place.network;
  const kubelet = [
    tool("kubelet"),
    ...[`--config=${settings.writeKubeletSettings(place, pki)}`, `--kubeconfig=${pki.path("kubelet.kubeconfig")}`],
    ...[`--hostname-override=${place.nodeName}`, `--node-ip=${nodeAddress}`],
  ];
  const [kubeletService, proxy, dns] = await Promise.all([
    launch("kubelet", kubelet, () => takesPods(place.nodeName, kubectl)),
    launch("kube-proxy", [tool("kube-proxy"), `--config=${settings.writeProxySettings(place, pki)}`], () => answers(`http://${nodeAddress}:10256/healthz`)),
    launch("coredns", [tool("coredns"), "-conf", settings.writeDnsSettings(place, pki)], () => answers(`http://${nodeAddress}:8181/ready`)),
  ]);
  return { kubelet: kubeletService, proxy, dns };
}

/** Whether the node is ready and nothing keeps pods off it. */
async function takesPods(node: string, kubectl: Kubectl): Promise<boolean> {
  const found = JSON.parse(await kubectl(["get", "node", node, "--output=json"])) as {
    readonly spec: { readonly taints?: readonly unknown[] };
    readonly status: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
  };
  const ready = found.status.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True") === true;
  return ready && (found.spec.taints ?? []).length === 0;
}
