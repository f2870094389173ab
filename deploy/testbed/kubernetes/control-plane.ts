import { request } from "node:https";
import { join } from "node:path";
import { answers } from "../http-service.ts";
import type { MountNamespace } from "../namespace.ts";
import { PROGRAM_PATH, program } from "../paths.ts";
import type { ClusterPki } from "./pki.ts";
import { type Service, startService } from "./service.ts";
import { type Place, SERVICE_SUBNET, writeAuditSettings } from "./settings.ts";
import { tool } from "./tools.ts";

/** Runs a daemon in the node's namespaces with its log beside its settings. */
export type Launch = (name: string, argv: readonly string[], ready: () => Promise<boolean>, timeoutMs?: number) => Promise<Service>;

/** A way to start daemons of one cluster. */
export function launcher(place: Place, namespace: MountNamespace): Launch {
  return (name, argv, ready, timeoutMs = 120_000) =>
    startService({
      name,
      argv: namespace.wrap(argv),
      // Kubernetes' parts look for mount, iptables and others by name.
      env: { PATH: PROGRAM_PATH },
      logPath: join(place.directory, `${name}.log`),
      ready,
      timeoutMs,
    });
}

/** Starts etcd without syncing to disk: a test bed's data need not outlive the machine. */
export function startEtcd(place: Place, launch: Launch): Promise<Service> {
  const listen = (what: string, port: number): string[] => [`--listen-${what}-urls`, `http://127.0.0.1:${port}`];
  const health = `http://${place.network.nodeAddress}:2381`;
  return launch(
    "etcd",
    [
      program("etcd"),
      ...["--name", "testbed", "--data-dir", join(place.directory, "etcd"), "--unsafe-no-fsync", "--log-level", "warn"],
      ...[...listen("client", 2379), "--advertise-client-urls", "http://127.0.0.1:2379", "--listen-metrics-urls", health],
      ...[...listen("peer", 2380), "--initial-advertise-peer-urls", "http://127.0.0.1:2380", "--initial-cluster", "testbed=http://127.0.0.1:2380"],
    ],
    () => answers(`${health}/health`),
  );
}

/** Starts the API server on the node's address. @param kubectl asks it */
export function startApiServer(place: Place, pki: ClusterPki, launch: Launch, kubectl: (...args: string[]) => Promise<string>): Promise<Service> {
  const { nodeAddress } = place.network;
  const file = (flag: string, name: string): string => `--${flag}=${pki.path(name)}`;
  return launch(
    "kube-apiserver",
    [
      tool("kube-apiserver"),
      "--etcd-servers=http://127.0.0.1:2379",
      ...["--bind-address=0.0.0.0", "--secure-port=6443", `--advertise-address=${nodeAddress}`, `--service-cluster-ip-range=${SERVICE_SUBNET}`],
      ...["--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true", "--enable-aggregator-routing=true"],
      file("client-ca-file", "ca.crt"),
      ...[file("tls-cert-file", "apiserver.crt"), file("tls-private-key-file", "apiserver.key")],
      ...[file("kubelet-client-certificate", "apiserver-kubelet.crt"), file("kubelet-client-key", "apiserver-kubelet.key")],
      ...[file("kubelet-certificate-authority", "ca.crt"), "--kubelet-preferred-address-types=InternalIP,Hostname"],
      ...["--service-account-issuer=https://kubernetes.default.svc", file("service-account-key-file", "service-account.pub")],
      file("service-account-signing-key-file", "service-account.key"),
      ...[file("requestheader-client-ca-file", "ca.crt"), "--requestheader-allowed-names=front-proxy-client"],
      ...["--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"],
      "--requestheader-extra-headers-prefix=X-Remote-Extra-",
      ...[file("proxy-client-cert-file", "front-proxy.crt"), file("proxy-client-key-file", "front-proxy.key"), "--profiling=false"],
      ...writeAuditSettings(place),
    ],
    async () => (await kubectl("get", "--raw", "/readyz")) === "ok",
  );
}

/** Starts the controllers. */
export function startManager(place: Place, pki: ClusterPki, launch: Launch): Promise<Service> {
  const { nodeAddress } = place.network;
  const off = ["nodeipam", "node-route-controller", "service-lb-controller", "cloud-node-lifecycle-controller"].map((name) => `-${name}`);
  return launch(
    "kube-controller-manager",
    [
      tool("kube-controller-manager"),
      ...[`--kubeconfig=${pki.path("controller-manager.kubeconfig")}`, `--bind-address=${nodeAddress}`, "--use-service-account-credentials"],
      ...[`--service-account-private-key-file=${pki.path("service-account.key")}`, `--root-ca-file=${pki.path("ca.crt")}`],
      ...[`--cluster-signing-cert-file=${pki.path("ca.crt")}`, `--cluster-signing-key-file=${pki.path("ca.key")}`],
      ...["--leader-elect=false", "--allocate-node-cidrs=false", `--controllers=*,${off.join(",")}`, `--cert-dir=${join(place.directory, "own")}`],
    ],
    () => healthy(nodeAddress, 10257),
  );
}

/** Starts the scheduler. */
export function startScheduler(place: Place, pki: ClusterPki, launch: Launch): Promise<Service> {
  const { nodeAddress } = place.network;
  const argv = [tool("kube-scheduler"), `--kubeconfig=${pki.path("scheduler.kubeconfig")}`, `--bind-address=${nodeAddress}`, "--leader-elect=false"];
  return launch("kube-scheduler", [...argv, `--cert-dir=${join(place.directory, "own")}`], () => healthy(nodeAddress, 10259));
}

/** Whether /healthz answers with success. Controllers and scheduler certify themselves; what is asked is only whether they are up. */
function healthy(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const call = request({ host, port, path: "/healthz", rejectUnauthorized: false, timeout: 2_000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    call.on("error", () => resolve(false));
    call.on("timeout", () => call.destroy());
    call.end();
  });
}
