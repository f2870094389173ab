import { join } from "node:path";
import { answers } from "../http-service.ts";
import { RUNTIME_MOUNT } from "../mount-points.ts";
import type { MountNamespace } from "../namespace.ts";
import { program, socketPath } from "../paths.ts";
import { run } from "../run.ts";
import { makeCgroupRoot } from "./cgroup-root.ts";
import { launcher } from "./control-plane.ts";
import type { NodeNetwork } from "./network.ts";
import { writePauseImage } from "./pause-image.ts";
import type { Service } from "./service.ts";
import * as settings from "./settings.ts";
import { tool } from "./tools.ts";

/** The node's namespaces and network, before anything runs in them. */
export interface Node {
  readonly place: settings.Place;
  readonly namespace: MountNamespace;
  readonly runtimeDirectory: string;
}

/** The containerd of a node, as a kubelet uses it. */
export interface NodeRuntime {
  /** The node as pods and host see it, and the host as node and pods see it. */
  readonly network: NodeNetwork;
  /** Socket of containerd (CRI runtime.v1) as seen from anywhere on the host. */
  readonly criSocket: string;
  /** Content store and snapshots, host path. */
  readonly containerdRoot: string;
  /** Mount and network namespace of the node: a process that is to see what a DaemonSet on it sees is started by its `wrap`. */
  readonly namespace: MountNamespace;
  readonly containerd: Service;
  /** Static pods' folder. */
  readonly manifests: string;
  /** Imports a docker-archive or OCI archive where the kubelet's images are. */
  importImage(archive: string): Promise<void>;
  /** Argument vector of `ctr` in the kubelet's namespace of containerd. */
  ctr(...args: string[]): string[];
  /** The same in another one of containerd's namespaces. */
  ctrOf(namespace: string, ...args: string[]): string[];
  /** A kubelet without an API server: it runs what is in the manifests folder, and nothing else of its pods stays. @param more see KubeletConfiguration @throws TestbedError */
  startKubelet(more: object): Promise<Service>;
}

/** Starts containerd with the sandbox image in it. @param registry may be pulled from, and holds that image too @throws TestbedError */
export async function startNodeRuntime({ place, namespace, runtimeDirectory }: Node, registry: string | undefined): Promise<NodeRuntime> {
  const ctrOf = (name: string, ...args: string[]) =>
    namespace.wrap([program("ctr"), "--address", `${RUNTIME_MOUNT}/containerd.sock`, "--namespace", name, ...args]);
  const ctr = (...args: string[]) => ctrOf("k8s.io", ...args);
  const importImage = async (archive: string): Promise<void> => void (await run(ctr("images", "import", archive)));
  if (registry !== undefined) settings.allowRegistry(place, registry);
  makeCgroupRoot(place.id);
  const sandboxImage = settings.pauseImage(registry);
  const configuration = settings.writeRuntimeSettings(place, sandboxImage);
  const serves = async (): Promise<boolean> => (await run(ctr("version"))).includes("Server:");
  const launch = launcher(place, namespace);
  const [containerd, pause] = await Promise.all([
    launch("containerd", [program("containerd"), "--config", configuration, "--log-level", "warn"], serves),
    writePauseImage(join(place.directory, "pause-image"), sandboxImage),
  ]);
  await importImage(pause);
  if (registry !== undefined)
    await run([program("skopeo"), "copy", "--quiet", "--dest-tls-verify=false", `docker-archive:${pause}`, `docker://${sandboxImage}`]);
  return {
    network: place.network,
    criSocket: socketPath(runtimeDirectory, "containerd.sock"),
    containerdRoot: join(place.directory, "containerd"),
    namespace,
    containerd,
    importImage,
    ctr,
    ctrOf,
    manifests: settings.manifestsDirectory(place),
    startKubelet: (more) => {
      const argv = [tool("kubelet"), `--config=${settings.writeLoneKubeletSettings(place, more)}`];
      const flags = [`--hostname-override=${place.nodeName}`, `--node-ip=${place.network.nodeAddress}`];
      return launch("kubelet", [...argv, ...flags], () => answers(`http://${place.network.nodeAddress}:10248/healthz`));
    },
  };
}
