/** Notices changes below directories. An event is a hint: it says where to look, never what is there. */

/** SOURCE_UNAVAILABLE: this source does not work here (no right, old kernel, self-test failed). SOURCE_FAILED: it worked and stopped. */
export type ChangeSourceErrorCode = "SOURCE_UNAVAILABLE" | "SOURCE_FAILED";

export class ChangeSourceError extends Error {
  readonly code: ChangeSourceErrorCode;

  constructor(code: ChangeSourceErrorCode, message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options);
    this.name = "ChangeSourceError";
    this.code = code;
  }
}

/** The process by which an actor, or its ancestors, came into the container. */
export interface ChangeEntrance {
  readonly pid: number;
  /** When it was forked: Unix milliseconds, with a fraction. */
  readonly atMs: number;
  /** Names of its ancestors outside of the container, nearest first, at most 5. */
  readonly from: readonly string[];
  /** False: the nearest of them was in a container itself. */
  readonly fromHost: boolean;
  /** It is number 1 of its pid namespace, as a container's main process mostly is. */
  readonly init: boolean;
}

export interface ChangeActor {
  readonly pid: number;
  /** Path of the program as its own mount namespace shows it. */
  readonly executable: string;
  /** False: it ended before its user, container and ancestors could be read; the fields below then say nothing. */
  readonly located: boolean;
  readonly uid: number;
  /** 64 hex digits, or empty for a process of the host. */
  readonly containerId: string;
  /** Names of its ancestors, nearest first, at most 5. */
  readonly ancestry: readonly string[];
  /** undefined where it is not certain, or the process is in no container. */
  readonly entrance: ChangeEntrance | undefined;
}

export interface Change {
  readonly watchId: string;
  /** Raw bytes below the watched directory, no leading slash; empty: the directory itself. */
  readonly path: Buffer;
  /** undefined where it is not certain: never a guess. */
  readonly actor: ChangeActor | undefined;
  /** When the event was read: Unix milliseconds, with a fraction. */
  readonly atMs: number;
}

export interface ChangeSourceCapabilities {
  readonly kind: "fanotify" | "chokidar";
  /** Tells who did it. */
  readonly attribution: boolean;
  /** Sees names of any bytes, and entries that came and went between two looks. */
  readonly complete: boolean;
  /** Sees the starts of processes. */
  readonly processes: boolean;
}

export interface ChangeHandler {
  changes(batch: readonly Change[]): void;
  /** Events were lost: everything below every watched directory may have changed. */
  lost(detail: string): void;
  /** A process of a container began to run a program. @param entrance undefined where it is not certain */
  processStarted(containerId: string, pid: number, entrance: ChangeEntrance | undefined): void;
  /** The source stopped working. Told once: `start` may be tried again. */
  failed(error: ChangeSourceError): void;
}

export interface ChangeSource {
  readonly capabilities: ChangeSourceCapabilities;
  /** Also after `failed`, with all that is watched by then. @throws ChangeSourceError SOURCE_UNAVAILABLE */
  start(handler: ChangeHandler): Promise<void>;
  /** From its return on, changes below the directory are told. May be called before `start` resolves. */
  watch(watchId: string, path: string): void;
  unwatch(watchId: string): void;
  stop(): Promise<void>;
}
