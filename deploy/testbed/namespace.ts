import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { TestbedError } from "./error.ts";
import { makeMountPoints, PLUGIN_MOUNT, RUNTIME_MOUNT } from "./mount-points.ts";
import { program, REPOSITORY } from "./paths.ts";
import { identify, type ProcessIdentity } from "./process-identity.ts";
import { markEnvironment } from "./watchdog.ts";

/** A mount namespace kept open by one sleeping process. Mounts made inside are shared among those inside and never reach the host. */
export interface MountNamespace {
  readonly holder: ProcessIdentity;
  /** The same command, run inside and marked as the test bed's own, so that it is found and ended with it. */
  wrap(argv: readonly string[]): string[];
  /** Likewise, but in the host's network. */
  wrapMounts(argv: readonly string[]): string[];
}

// slave: what the host mounts later is seen inside, nothing goes out. rshared: `:rslave` binds of containers then work.
// -n: no utab of mount(8)'s own in the host's /run. The locks, inherited by sleep, keep others from removing the folders; -ef: nobody
// has just done so. Of two arguments each the first is mounted over the second; a file has no lock of its own. Runtimes take cgroups to be
// of the version that is mounted there.
const HOLD = `mount -n --make-rshared / || exit
fd=3
while [ $# -gt 0 ]; do
  if [ -d "$2" ]; then
    eval "exec $fd<\\"\\$2\\"" && flock -s $fd && [ "$2" -ef /proc/self/fd/$fd ] || exit
    fd=$((fd + 1))
  fi
  mount -n --bind "$1" "$2" || exit
  shift 2
done
[ "$HULLMARK_CGROUP" != 2 ] || mount -n -t cgroup2 cgroup2 /sys/fs/cgroup || exit
echo ready && exec sleep infinity`;

const NOT_PERMITTED =
  "A container engine needs a mount namespace of its own, and root may not make one here (no CAP_SYS_ADMIN), as in most containers: use a machine, a VM, or a privileged container.";

/** What is wanted beside a mount namespace whose RUNTIME_MOUNT is a folder of the test bed's own. */
export interface NamespaceOptions {
  /** Also an own network, with nothing in it but a loopback interface that is down. */
  readonly network?: boolean;
  /** More folders and files of the test bed's own by what they are mounted over; a missing mount point is made, its parent is not. */
  readonly mounts?: Readonly<Record<string, string>>;
}

/** Opens the namespace with `runtimeDirectory` mounted over RUNTIME_MOUNT. @throws TestbedError `start_failed` */
export async function openNamespace(runtimeDirectory: string, marker: string, options: NamespaceOptions = {}): Promise<MountNamespace> {
  const plugins = `${runtimeDirectory}-plugins`;
  mkdirSync(runtimeDirectory, { recursive: true, mode: 0o711 });
  mkdirSync(plugins, { recursive: true });
  const mounts = { [RUNTIME_MOUNT]: runtimeDirectory, [PLUGIN_MOUNT]: plugins, ...options.mounts };
  const kinds = options.network ? ["--mount", "--net"] : ["--mount"];
  // Between making the folders and locking them another test bed may remove them.
  for (let attempt = 1; ; attempt++) {
    makeMountPoints(Object.keys(mounts));
    const argv = [...kinds, "--propagation", "slave", "--", "/bin/sh", "-c", HOLD, "hullmark-testbed"];
    const { holder, output } = await hold([...argv, ...Object.entries(mounts).flatMap(([over, what]) => [what, over])], marker);
    if (holder) return { holder, wrap: wrapper(holder, marker, options.network === true), wrapMounts: wrapper(holder, marker) };
    if (output.includes("not permitted")) throw new TestbedError("needs_root", `${output}\n${NOT_PERMITTED}`);
    if (attempt === 5) throw new TestbedError("start_failed", `no mount namespace: ${output || "unshare ended"}`);
  }
}

async function hold(argv: readonly string[], marker: string): Promise<{ holder: ProcessIdentity | undefined; output: string }> {
  const child = spawn(program("unshare"), argv, { detached: true, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...markEnvironment(marker) } });
  let output = "";
  child.stderr.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const ready = await new Promise<boolean>((resolve) => {
    child.stdout.once("data", () => resolve(true));
    child.once("exit", () => resolve(false));
    child.once("error", (error) => {
      output += error.message;
      resolve(false);
    });
  });
  child.stdout.destroy();
  child.stderr.destroy();
  child.unref();
  return { holder: ready && child.pid !== undefined ? identify(child.pid) : undefined, output: output.trim() };
}

/** The prefix that runs a command inside an open namespace, for a later process that only has the state file. */
export function wrapper(holder: ProcessIdentity, marker: string, network = false): (argv: readonly string[]) => string[] {
  // The root is the holder's, which differs from the namespace's in a chroot. The working folder is set inside, or it would stay outside.
  const enter = [program("nsenter"), `--mount=/proc/${holder.pid}/ns/mnt`, `--root=/proc/${holder.pid}/root`];
  if (network) enter.push(`--net=/proc/${holder.pid}/ns/net`);
  const prefix = [...enter, "--", "/usr/bin/env", "-C", REPOSITORY, marker];
  return (argv) => [...prefix, ...argv];
}
