import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RUNTIME_MOUNT } from "./mount-points.ts";
import type { MountNamespace } from "./namespace.ts";
import { PROGRAM_PATH, program, socketPath } from "./paths.ts";
import { type Daemon, run, startDaemon } from "./run.ts";

/** A containerd of the test bed's own. The engine runs on it too, in its namespace `moby`. */
export interface Containerd {
  /** Socket path as seen from anywhere on the host. */
  readonly address: string;
  /** Content store and snapshots, host path. */
  readonly root: string;
  readonly daemon: Daemon;
  /** Argument vector of `ctr` on this containerd, inside the test bed's mount namespace. */
  ctr(...args: string[]): string[];
}

// The opt plugin makes /opt/containerd on the host, that of NRI a socket in its /run; CRI (of containerd 1 and 2) wants a CNI configuration. None is
// wanted here. No TCP or metrics listener. Names that a containerd does not know are ignored.
function configuration(root: string): string {
  return `version = 2
root = ${JSON.stringify(root)}
state = "${RUNTIME_MOUNT}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "${RUNTIME_MOUNT}/containerd.sock"
[debug]
  level = "warn"
`;
}

/** Starts containerd below `directory` in the namespace, whose RUNTIME_MOUNT is `runtimeDirectory` outside. @throws TestbedError */
export async function startContainerd(directory: string, runtimeDirectory: string, namespace: MountNamespace): Promise<Containerd> {
  const root = join(directory, "containerd");
  mkdirSync(root, { recursive: true, mode: 0o711 });
  const address = socketPath(runtimeDirectory, "containerd.sock");
  const config = join(directory, "containerd.toml");
  writeFileSync(config, configuration(root));
  const ctr = (...args: string[]) => namespace.wrap([program("ctr"), "--address", `${RUNTIME_MOUNT}/containerd.sock`, ...args]);
  const daemon = await startDaemon({
    name: "containerd",
    argv: namespace.wrap([program("containerd"), "--config", config]),
    env: { PATH: PROGRAM_PATH },
    logPath: join(directory, "containerd.log"),
    ready: async () => (await run(ctr("version"))).includes("Server:"),
  });
  return { address, root, daemon, ctr };
}
