/** With which privileges a build step runs. Pure: the kernel's words in, what the record says out. */
import { capabilityNames } from "@hullmark/proto/codec";

export interface BuildPrivileges {
  /** Effective user id, as the step itself sees it: 0 is root, in a user namespace of its own too. */
  readonly user: number;
  /** Effective capabilities, without `CAP_`. */
  readonly capabilities: readonly string[];
  /** Whether programs that it starts can gain none, such as `sudo`. */
  readonly noNewPrivileges: boolean;
}

/** @param status `/proc/self/status` (proc_pid_status(5)) of a process started as the step is; undefined where it does not say all of it */
export function privilegesOf(status: string): BuildPrivileges | undefined {
  const [, user] = /^Uid:\t\d+\t(\d+)\t/m.exec(status) ?? [];
  const [, effective] = /^CapEff:\t([0-9a-f]{16})$/m.exec(status) ?? [];
  const [, bound] = /^NoNewPrivs:\t([01])$/m.exec(status) ?? [];
  if (user === undefined || effective === undefined || bound === undefined) return undefined;
  return { user: Number(user), capabilities: capabilityNames(BigInt(`0x${effective}`)), noNewPrivileges: bound === "1" };
}
