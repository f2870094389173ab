/**
 * The fanotify change source (DESIGN, "Hints never decide"): tells which paths below watched directories changed, and which process did it.
 *
 * One group marks the whole filesystem below each watched directory; a native thread drops what lies elsewhere before JavaScript sees it. Names
 * come from the workload, raw. Needs CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH, the node's pid namespace, and for attribution CAP_NET_ADMIN.
 */
import { loadAddon } from "./loader.ts";

/** Bits of {@link FanotifyChange.kinds}. */
export const CHANGE_KINDS = {
  /** Written to, truncated, or closed after writing. */
  content: 1,
  /** Mode, owner, times, extended attributes or link count. */
  metadata: 2,
  created: 4,
  deleted: 8,
  movedFrom: 16,
  movedTo: 32,
  /** The entry is a directory: with a move, everything below it changed its path. */
  directory: 64,
} as const;

/** The program of a process. */
export interface ProcessExecutable {
  /** As the process's own mount namespace shows it: raw bytes, absolute. */
  readonly path: Buffer;
  /** As in `stat(2)` through that namespace; 0 where only the inode is known. */
  readonly dev: number;
  readonly ino: number;
  /** It had no name any more (a memfd never has). */
  readonly deleted: boolean;
}

/** The process by which another, or its ancestors, came into their container: the main process, or one brought in later (`docker exec`, `kubectl exec`). */
export interface ProcessEntrance {
  readonly pid: number;
  /** When it was forked: Unix milliseconds, with a fraction. */
  readonly atMs: number;
  /** Names of its ancestors outside of the container, nearest first, at most 5. */
  readonly from: readonly string[];
  /** False: the nearest of them was in a container itself. */
  readonly fromHost: boolean;
  /** It is number 1 of its pid namespace. */
  readonly init: boolean;
}

export interface ChangeProcess {
  readonly pid: number;
  /** Start since boot in clock ticks; 0 where it ended before it could be read. */
  readonly startTicks: number;
  readonly parentPid: number;
  /** null: not certain. Never a guess. */
  readonly exe: ProcessExecutable | null;
  /** At most 15 bytes, chosen by the process; empty where `exe` is null. */
  readonly comm: string;
  /** False: it ended before `uid`, `cgroup` and `containerId` could be read, which are empty then. */
  readonly located: boolean;
  /** Effective user; null: not known. */
  readonly uid: number | null;
  readonly cgroup: string;
  /** 64 hex digits from the cgroup; empty for a process of the host. */
  readonly containerId: string;
  /** Names of its ancestors, nearest first, at most 5. */
  readonly ancestry: readonly string[];
  /** null: not certain, or in no container. */
  readonly entrance: ProcessEntrance | null;
}

export interface FanotifyChange {
  readonly root: number;
  /** Raw bytes below the root, no leading slash; empty: the root directory itself. */
  readonly path: Buffer;
  readonly kinds: number;
  /** null: outside this pid namespace. Changes of one batch by one process share the object. */
  readonly actor: ChangeProcess | null;
  /** When the (last) event was read: Unix milliseconds, with a fraction. */
  readonly atMs: number;
}

/** One process of a container that began to run a program, just now. */
export interface ProcessExecution {
  readonly actor: ChangeProcess;
  readonly atMs: number;
}

export interface FanotifyBatch {
  /** At most 4,096; one for each (root, path, process and program). */
  readonly changes: readonly FanotifyChange[];
  readonly executions: readonly ProcessExecution[];
  /** Above 0: events were dropped, anything below any root may have changed. */
  readonly lost: number;
  /** Of the first one lost; else empty. */
  readonly lostReason: string;
  /** Not null: the source has ended because of it; no batch follows. */
  readonly failure: Error | null;
}

export interface FanotifyOptions {
  /** Tell of every write rather than of close only: files that stay open are then noticed at once. Costs an event for each write. */
  readonly modify: boolean;
}

export interface SelfTestResult {
  readonly ok: boolean;
  /** Empty when ok. */
  readonly reason: string;
  /** Kernel release. */
  readonly kernel: string;
}

export interface FanotifyStatus {
  /** Whether the kernel's process connector tells of execs: without it few short-lived processes can be named. */
  readonly processEvents: boolean;
  readonly processEventsReason: string;
  /** How often the native thread went round: at least once a second while it works, whatever happens or not. */
  readonly turns: number;
}

interface NativeSource {
  watch(root: number, path: Buffer): void;
  unwatch(root: number): void;
  stop(): void;
  status(): FanotifyStatus;
}
interface FanotifyAddon {
  FanotifySource: new (options: FanotifyOptions, callback: (batch: FanotifyBatch) => void) => NativeSource;
  fanotifySelfTest(directory: string): Promise<SelfTestResult>;
}

/** Why a call failed: `code` is the symbolic errno, or ECANCELED after the end. */
export class FanotifyError extends Error {
  readonly code: string;
  /** Name of the failed system call; "" where none failed. */
  readonly syscall: string;
  /** Positive errno; 0 where no system call failed. */
  readonly errno: number;

  constructor(code: string, message: string, options: { cause?: unknown; syscall?: string; errno?: number } = {}) {
    super(message, { cause: options.cause });
    this.name = "FanotifyError";
    this.code = code;
    this.syscall = options.syscall ?? "";
    this.errno = options.errno ?? 0;
  }

  /** Normalises what the addon throws. */
  static from(error: unknown): FanotifyError {
    if (error instanceof FanotifyError) return error;
    const { code, syscall, errno, message } = error as { code?: string; syscall?: string; errno?: number; message?: string };
    return new FanotifyError(code ?? "UNKNOWN", message ?? String(error), { cause: error, ...(syscall && { syscall }), ...(errno && { errno }) });
  }
}

/**
 * A running source. Keeps the event loop alive until `stop`. The callback runs on the thread that made the source, at once after quiet, then about every
 * 10 ms; while that thread is busy, changes are merged (at most 65,536, then they count as lost).
 */
export class FanotifySource {
  readonly #native: NativeSource;

  /** @throws FanotifyError: no fanotify here (EPERM, or EINVAL on a kernel before 5.9) */
  constructor(options: FanotifyOptions, callback: (batch: FanotifyBatch) => void) {
    this.#native = attempt(() => new (loadAddon() as FanotifyAddon).FanotifySource(options, callback));
  }

  /**
   * From its return on, what changes below the directory is told, on the same filesystem. Blocks for the native thread, a few milliseconds at most.
   * @param root an id, 0 to 2^32 - 1; an earlier directory of that id is no longer watched
   * @throws FanotifyError ENOENT, ENODEV (a filesystem without handles, such as an overlay), ECANCELED
   */
  watch(root: number, path: Buffer): void {
    attempt(() => this.#native.watch(root, path));
  }

  /** @throws FanotifyError ECANCELED */
  unwatch(root: number): void {
    attempt(() => this.#native.unwatch(root));
  }

  status(): FanotifyStatus {
    return attempt(() => this.#native.status());
  }

  /** Ends the native thread; no callback follows. Idempotent. */
  stop(): void {
    this.#native.stop();
  }
}

/**
 * Whether a change through an overlay is told by a mark on the filesystem below it: older kernels keep quiet. Mounts a scratch overlay below `directory` in
 * a private mount namespace and removes it. Never throws: what goes wrong is the reason.
 * @param directory on the filesystem that will be watched
 */
export function fanotifySelfTest(directory: string): Promise<SelfTestResult> {
  return (loadAddon() as FanotifyAddon).fanotifySelfTest(directory);
}

function attempt<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw FanotifyError.from(error);
  }
}
