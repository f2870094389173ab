import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cgroupName } from "../cgroup.ts";
import { RUNTIME_MOUNT } from "../mount-points.ts";
import type { NodeNetwork } from "./network.ts";
import type { ClusterPki } from "./pki.ts";

/** Where a cluster and its one node keep things. */
export interface Place {
  /** Folder of the cluster's own files, absolute. */
  readonly directory: string;
  /** The test bed's random id. */
  readonly id: string;
  readonly nodeName: string;
  readonly network: NodeNetwork;
  readonly snapshotter: "overlayfs" | "native";
  /** Groups of users whose requests to the API server are written down. */
  readonly audited: readonly string[];
}

/** One line of JSON for each request of those who are audited (audit.k8s.io/v1 Event); a watch has one when it begins and one when it ends. */
export function auditLog(place: Place): string {
  return join(place.directory, "audit.log");
}

/** @returns flags of the API server; none where nobody is audited */
export function writeAuditSettings(place: Place): readonly string[] {
  if (place.audited.length === 0) return [];
  const path = join(place.directory, "audit.yaml");
  const rules = [{ level: "Metadata", userGroups: place.audited }, { level: "None" }];
  writeFileSync(path, JSON.stringify({ apiVersion: "audit.k8s.io/v1", kind: "Policy", omitStages: ["RequestReceived"], rules }));
  return [`--audit-policy-file=${path}`, `--audit-log-path=${auditLog(place)}`];
}

/** Name of the sandbox image, which is made on the spot: no public registry is needed. @param registry holds it too, where there is one */
export function pauseImage(registry: string | undefined): string {
  return `${registry ?? "localhost"}/pause:testbed`;
}

/**
 * What the kubelet sets for the whole machine (it refuses to start when it cannot), by what it wants. The node has files of its own
 * over these, so that the machine keeps its settings.
 */
export const KERNEL_SETTINGS: Readonly<Record<string, string>> = {
  "/proc/sys/vm/overcommit_memory": "1",
  "/proc/sys/vm/panic_on_oom": "0",
  "/proc/sys/kernel/panic": "10",
  "/proc/sys/kernel/panic_on_oops": "1",
  "/proc/sys/kernel/keys/root_maxkeys": "1000000",
  "/proc/sys/kernel/keys/root_maxbytes": "25000000",
};

/** Addresses of Services. */
export const SERVICE_SUBNET = "10.96.0.0/16";

/** Writes containerd's and the CNI's configuration. @returns the path of containerd's */
export function writeRuntimeSettings(place: Place, sandboxImage: string): string {
  const cni = join(place.directory, "cni");
  mkdirSync(cni, { recursive: true });
  const plugins = [
    {
      type: "ptp",
      ipMasq: false,
      ipam: {
        type: "host-local",
        dataDir: join(place.directory, "cni-addresses"),
        ranges: [[{ subnet: place.network.podSubnet }]],
        routes: [{ dst: "0.0.0.0/0" }],
      },
    },
    { type: "portmap", capabilities: { portMappings: true } },
  ];
  writeFileSync(join(cni, "10-testbed.conflist"), JSON.stringify({ cniVersion: "0.4.0", name: "testbed", plugins }));
  const path = join(place.directory, "containerd.toml");
  const string = (value: string): string => JSON.stringify(value);
  // restrict_oom_score_adj: without CAP_SYS_RESOURCE, as in many sandboxes, every pod fails without it.
  writeFileSync(
    path,
    `version = 2
root = ${string(join(place.directory, "containerd"))}
state = "${RUNTIME_MOUNT}/state"
oom_score = 0
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "${RUNTIME_MOUNT}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${sandboxImage}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = ${string(registriesDirectory(place))}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = ${string(cni)}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "${place.snapshotter}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`,
  );
  return path;
}

/** Lets containerd pull from a registry without TLS. It reads this at each pull. */
export function allowRegistry(place: Place, host: string): void {
  const directory = join(registriesDirectory(place), host);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "hosts.toml"), `server = "http://${host}"\n[host."http://${host}"]\n  capabilities = ["pull", "resolve"]\n`);
}

function registriesDirectory(place: Place): string {
  return join(place.directory, "registries");
}

/** Static pods are read from here. */
export function manifestsDirectory(place: Place): string {
  return join(place.directory, "manifests");
}

/** Writes the kubelet's configuration. @returns its path */
export function writeKubeletSettings(place: Place, pki: ClusterPki): string {
  return writeKubelet(place, {
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: pki.path("ca.crt") } },
    authorization: { mode: "Webhook" },
    tlsCertFile: pki.path("kubelet-server.crt"),
    tlsPrivateKeyFile: pki.path("kubelet-server.key"),
    clusterDomain: "cluster.local",
    clusterDNS: [place.network.nodeAddress],
  });
}

/** Likewise of one without an API server. @param more replaces what is said otherwise (KubeletConfiguration) @returns its path */
export function writeLoneKubeletSettings(place: Place, more: object): string {
  return writeKubelet(place, {
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: "AlwaysAllow" },
    healthzBindAddress: place.network.nodeAddress,
    ...more,
  });
}

function writeKubelet(place: Place, more: object): string {
  mkdirSync(manifestsDirectory(place), { recursive: true });
  const path = join(place.directory, "kubelet.json");
  const settings = {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    address: place.network.nodeAddress,
    oomScoreAdj: 0,
    containerRuntimeEndpoint: `unix://${RUNTIME_MOUNT}/containerd.sock`,
    staticPodPath: manifestsDirectory(place),
    volumePluginDir: join(place.directory, "volume-plugins"),
    cgroupDriver: "cgroupfs",
    cgroupRoot: `/${cgroupName(place.id)}`,
    failCgroupV1: false,
    failSwapOn: false,
    enforceNodeAllocatable: ["pods"],
    makeIPTablesUtilChains: false,
    resolvConf: "",
    maxOpenFiles: 65536,
    nodeStatusUpdateFrequency: "5s",
    syncFrequency: "10s",
    fileCheckFrequency: "2s",
    // Nothing is evicted or collected because of what else is on the machine's disk; tests do that themselves.
    imageMinimumGCAge: "24h",
    imageGCHighThresholdPercent: 100,
    evictionHard: { "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%" },
    ...more,
  };
  writeFileSync(path, JSON.stringify(settings, null, 2));
  return path;
}

/** Writes the service proxy's configuration. @returns its path */
export function writeProxySettings(place: Place, pki: ClusterPki): string {
  const path = join(place.directory, "proxy.json");
  const settings = {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "iptables",
    hostnameOverride: place.nodeName,
    clientConnection: { kubeconfig: pki.path("proxy.kubeconfig") },
    clusterCIDR: place.network.podSubnet,
    healthzBindAddress: `${place.network.nodeAddress}:10256`,
    metricsBindAddress: "127.0.0.1:10249",
    // These are the machine's, not the namespace's: left as they are.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
  };
  writeFileSync(path, JSON.stringify(settings, null, 2));
  return path;
}

/** Writes the name server's configuration. @returns its path */
export function writeDnsSettings(place: Place, pki: ClusterPki): string {
  const path = join(place.directory, "Corefile");
  const { nodeAddress } = place.network;
  writeFileSync(
    path,
    `.:53 {
  bind ${nodeAddress}
  errors
  ready ${nodeAddress}:8181
  kubernetes cluster.local {
    kubeconfig ${pki.path("dns.kubeconfig")}
  }
}
`,
  );
  return path;
}
