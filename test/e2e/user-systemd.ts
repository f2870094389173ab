/** A systemd of a test bed's own, as a user's is: it starts what its units say, and starts it again. The machine's own is neither asked nor touched. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cgroupName } from "../../deploy/testbed/cgroup.ts";
import type { Testbed } from "../../deploy/testbed/index.ts";
import { type Daemon, startDaemon } from "../../deploy/testbed/run.ts";

// A user's manager wants the machine's to be there, which it sees by that folder. Its cgroup goes with the test bed.
const MANAGER = `mkdir -p /run/systemd && mount -n -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/system || exit
mount -n -t cgroup2 cgroup2 /sys/fs/cgroup && mkdir -p "/sys/fs/cgroup/$1" && echo $$ > "/sys/fs/cgroup/$1/cgroup.procs" || exit
exec /lib/systemd/systemd --user --unit="$2"`;

/** @param directory its own, for its units and what it keeps while it runs @param unit started at once */
export async function startSystemd(bed: Testbed, directory: string, unit: string, text: string): Promise<Daemon> {
  const [units, runtime] = [join(directory, "units"), join(directory, "runtime")];
  for (const each of [units, runtime]) mkdirSync(each, { recursive: true, mode: 0o700 });
  writeFileSync(join(units, unit), text);
  const group = `${cgroupName(bed.env["HULLMARK_TESTBED"] ?? "")}/systemd`;
  const argv = bed.wrap(["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", MANAGER, "sh", group, unit]);
  // Of units none but ours: the machine's are not to be started.
  const env = { ...bed.env, XDG_RUNTIME_DIR: runtime, SYSTEMD_UNIT_PATH: units, SYSTEMD_LOG_TARGET: "console" };
  return await startDaemon({ name: "systemd", argv, env, logPath: join(bed.directory, "systemd.log"), ready: async () => true });
}
