/** Looking at many processes often: the parts of procfs that JavaScript is too slow for. Synchronous; the list takes about 2 µs for each process that there is, and 15 for one that ran. */
import { loadAddon } from "./loader.ts";

export interface ListedProcess {
  readonly pid: number;
  /** 64 hex digits from the cgroup; empty outside of every container's. */
  readonly containerId: string;
  /** Inode number of the mount namespace; 0 where it cannot be read. */
  readonly mountNamespace: number;
}

interface ProcessAddon {
  Processes: new () => { list(): ListedProcess[] | undefined };
  containerOf(pid: number): string;
  processRoot(pid: number): string | undefined;
  livingThread(pid: number): number | undefined;
  hasInUpper(upper: string, path: Buffer): boolean;
  Signatures: new () => Signatures;
}

export interface ProcessList {
  /**
   * Of the processes of this pid namespace those in a container's cgroup, and those outside of all whose mount namespace is neither this process's nor that
   * of process 1; ascending. The very same array where it holds what it held before. Each is told as it was when it last ran: one that was moved into another cgroup
   * since is told where it was until it runs there. @throws Error with code and errno when procfs cannot be read
   */
  now(): readonly ListedProcess[];
}

/** Remembers what it read: of a process that did not run since, nothing is read again. */
export function openProcessList(): ProcessList {
  const processes = new (loadAddon() as ProcessAddon).Processes();
  let list: readonly ListedProcess[] = [];
  return {
    now() {
      list = processes.list() ?? list;
      return list;
    },
  };
}

/**
 * Whose container a process is in: the 64 hex digits that docker, containerd, CRI-O and podman put into the cgroup's name, by cgroupfs or systemd, on v1 and v2. Of a
 * container inside another it is the outer one's. The monitors of CRI-O and podman (`crio-conmon-…`) are in none.
 * @returns empty: in none, or gone
 */
export function containerOf(pid: number): string {
  return (loadAddon() as ProcessAddon).containerOf(pid);
}

/**
 * Which directory is the root of a process: equal strings are the same one. Waits for no file system: a root may lie on one that does not answer.
 * @returns `?` where it is shown to nobody but its owner; undefined: the process is gone
 */
export function processRoot(pid: number): string | undefined {
  return (loadAddon() as ProcessAddon).processRoot(pid);
}

/**
 * A thread by whose number procfs shows what a process has, of one whose first thread has ended while others run on: by its own number it shows neither program, mappings, mounts nor root.
 * @returns undefined: its first thread lives, or none does
 */
export function livingThread(pid: number): number | undefined {
  return (loadAddon() as ProcessAddon).livingThread(pid);
}

/**
 * Whether an overlay's upper directory has a regular file at the path, or a link on the way there, which the workload made. Follows none, and crosses no mount.
 * @param path raw bytes without leading slash
 */
export function hasInUpper(upper: string, path: Buffer): boolean {
  return (loadAddon() as ProcessAddon).hasInUpper(upper, path);
}

/** What looks at processes and containers again and again compare, as SHA-256: equal to an earlier answer, nothing of it has moved. Synchronous. */
export interface Signatures {
  /**
   * What one process runs: its program, each file that it maps executable, and what the paths of those files show now (which file, and by size and times whether it was written to); and its capabilities. The workload controls mappings and
   * paths. Some 10 µs; 100 where the process ran since it was asked of last.
   * @param view process in whose root the paths are looked up
   * @param upper directory in which they are looked up as well; empty: none
   * @returns undefined: gone, too much (1 MiB of mappings, 512 files), or not known without asking a file system, so that it must be read in full
   */
  ofProcess(pid: number, view: number, upper: string): Buffer | undefined;
  /**
   * All that is looked at of one container. Some 50 µs more than its processes take, most of them for its mounts.
   * @param pid main process, whose mounts are meant, and in whose root paths are looked up
   * @param pids all its processes
   * @param files of the node, regular ones, by path and largest size in bytes in turns: their content and mode. Links are not followed
   * @returns undefined: as of a process, and where there are more than 256 KiB of mounts, its processes map more than 16,384 files or a file is there that cannot be read
   */
  ofContainer(pid: number, pids: readonly number[], upper: string, files: readonly (string | number)[]): Buffer | undefined;
}

/** Remembers what was asked of it, within bounds: what only running can change of a process is read again when the kernel says that it ran. */
export function openSignatures(): Signatures {
  return new (loadAddon() as ProcessAddon).Signatures();
}
