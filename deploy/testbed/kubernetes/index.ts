import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { answers } from "../http-service.ts";
import { KUBERNETES_MOUNTS, RUNTIME_MOUNT } from "../mount-points.ts";
import { type MountNamespace, openNamespace } from "../namespace.ts";
import { program, socketPath } from "../paths.ts";
import { run } from "../run.ts";
import { makeCgroupRoot } from "./cgroup-root.ts";
import { type Launch, launcher, startApiServer, startEtcd, startManager, startScheduler } from "./control-plane.ts";
import { runKubectl } from "./kubectl.ts";
import { chooseNodeNetwork, joinNodeNetwork, type NodeNetwork } from "./network.ts";
import { startKubeRouter } from "./network-policy.ts";
import { writePauseImage } from "./pause-image.ts";
import { type ClusterPki, makePki } from "./pki.ts";
import type { Service } from "./service.ts";
import * as settings from "./settings.ts";
import { tool } from "./tools.ts";

export type { Service };

/** What cluster is wanted. */
export interface KubernetesOptions {
  /** Default overlayfs. */
  readonly snapshotter?: "overlayfs" | "native";
  /** Groups of users whose requests to the API server go into {@link Kubernetes.auditLog}. Default none. */
  readonly audited?: readonly string[];
}

/** A real Kubernetes of one node, with Services (kube-proxy) and their names (CoreDNS); no metrics, no second node. */
export interface Kubernetes {
  /** Path of the administrator's kubeconfig; holds everything that it needs, and its address works on the whole host. */
  readonly kubeconfig: string;
  /** The program, for those who need its standard input or output. */
  readonly kubectlPath: string;
  readonly nodeName: string;
  /** The node as pods and host see it, and the host as node and pods see it. */
  readonly network: NodeNetwork;
  /** Socket of the node's containerd (CRI runtime.v1) as seen from anywhere on the host. */
  readonly criSocket: string;
  /** Content store and snapshots, host path. */
  readonly containerdRoot: string;
  /** Static pods' folder. */
  readonly manifests: string;
  /** Host path; empty of lines where nobody is audited. */
  readonly auditLog: string;
  /** Mount and network namespace of the node: a process that is to see what a DaemonSet on it sees is started by its `wrap`. */
  readonly namespace: MountNamespace;
  readonly services: Readonly<Record<"etcd" | "containerd" | "apiserver" | "manager" | "scheduler" | "kubelet" | "proxy" | "dns", Service>>;
  /** Runs kubectl as administrator. @param input its standard input @returns its output @throws TestbedError `command_failed` */
  kubectl(args: readonly string[], input?: string): Promise<string>;
  /** Imports a docker-archive or OCI archive where the kubelet's images are. */
  importImage(archive: string): Promise<void>;
  /** Argument vector of `ctr` in the kubelet's namespace of containerd. */
  ctr(...args: string[]): string[];
  /** From now on NetworkPolicies are enforced, by kube-router (go-tools.sh network-policy): until then nothing does. What it put into the node's packet filter stays when it ends. @throws TestbedError */
  enforcePolicies(): Promise<Service>;
}

/** The node's namespaces and network, before anything runs in them. */
export interface Node {
  readonly place: settings.Place;
  readonly namespace: MountNamespace;
  readonly runtimeDirectory: string;
}

/** Opens the node. @param announce is told the name of the interface before it is made @throws TestbedError */
export async function openNode(directory: string, id: string, options: KubernetesOptions, announce: (link: string) => void): Promise<Node> {
  // Asked first: what is missing takes minutes to build.
  for (const name of ["kube-apiserver", "kubectl", "coredns", "pause"]) tool(name);
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
  const ctr = (...args: string[]) => namespace.wrap([program("ctr"), "--address", `${RUNTIME_MOUNT}/containerd.sock`, "--namespace", "k8s.io", ...args]);
  const importImage = async (archive: string): Promise<void> => void (await run(ctr("images", "import", archive)));
  if (registry !== undefined) settings.allowRegistry(place, registry);
  makeCgroupRoot(place.id);
  const launch = launcher(place, namespace);
  const sandboxImage = settings.pauseImage(registry);
  const containerdSettings = settings.writeRuntimeSettings(place, sandboxImage);
  const serves = async (): Promise<boolean> => (await run(ctr("version"))).includes("Server:");
  const [etcd, containerd, pause] = await Promise.all([
    startEtcd(place, launch),
    launch("containerd", [program("containerd"), "--config", containerdSettings, "--log-level", "warn"], serves),
    writePauseImage(join(place.directory, "pause-image"), sandboxImage),
  ]);
  await importImage(pause);
  if (registry !== undefined)
    await run([program("skopeo"), "copy", "--quiet", "--dest-tls-verify=false", `docker-archive:${pause}`, `docker://${sandboxImage}`]);
  const apiserver = await startApiServer(place, pki, launch, (...args) => kubectl(args));
  const [manager, scheduler, rest] = await Promise.all([
    startManager(place, pki, launch),
    startScheduler(place, pki, launch),
    startNode(place, pki, launch, kubectl),
  ]);
  await kubectl(["wait", "--for=create", "serviceaccount/default", "--namespace=default", "--timeout=60s"]);
  return {
    kubeconfig,
    kubectlPath: tool("kubectl"),
    nodeName: place.nodeName,
    network: place.network,
    criSocket: socketPath(node.runtimeDirectory, "containerd.sock"),
    containerdRoot: join(place.directory, "containerd"),
    manifests: settings.manifestsDirectory(place),
    auditLog: settings.auditLog(place),
    namespace,
    services: { etcd, containerd, apiserver, manager, scheduler, ...rest },
    kubectl,
    importImage,
    ctr,
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
