/** Looking at many processes often: the parts of procfs that JavaScript is too slow for. Synchronous, about 5 µs (list, for each process that there is) and 100 µs (signature). */
import { loadAddon } from "./loader.ts";

export interface ListedProcess {
  readonly pid: number;
  /** 64 hex digits from the cgroup; empty outside of every container's. */
  readonly containerId: string;
  /** Inode number of the mount namespace; 0 where it cannot be read. */
  readonly mountNamespace: number;
}

interface ProcessAddon {
  listProcesses(): ListedProcess[];
  processRoot(pid: number): string | undefined;
  codeSignature(pid: number, view: number, upper: string): Buffer | undefined;
}

/**
 * Of the processes of this pid namespace those in a container's cgroup, and those outside of all whose mount namespace is neither this process's nor that
 * of process 1; ascending. @throws Error with code and errno when procfs cannot be read
 */
export function listProcesses(): readonly ListedProcess[] {
  return (loadAddon() as ProcessAddon).listProcesses();
}

/**
 * Which directory is the root of a process: equal strings are the same one. Waits for no file system: a root may lie on one that does not answer.
 * @returns `?` where it is shown to nobody but its owner; undefined: the process is gone
 */
export function processRoot(pid: number): string | undefined {
  return (loadAddon() as ProcessAddon).processRoot(pid);
}

/**
 * SHA-256 of all that decides what a process runs, to be compared with an earlier answer: its program, each file that it maps executable, and what the
 * paths of those files show now. The workload controls mappings and paths.
 * @param view process in whose root the paths are looked up
 * @param upper directory in which they are looked up as well; empty: none
 * @returns undefined: gone, too much (1 MiB of mappings, 512 files), or not known without asking a file system, so that it must be read in full
 */
export function codeSignature(pid: number, view: number, upper: string): Buffer | undefined {
  return (loadAddon() as ProcessAddon).codeSignature(pid, view, upper);
}
