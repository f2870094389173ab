/** What the processes of a container run: their programs and every executable mapping, each with the place that its file lies in. */

export type CodePlaceName = "layer" | "upper" | "volume" | "tmpfs" | "memfd" | "deleted" | "unknown";

export interface InspectedCode {
  readonly place: CodePlaceName;
  /** As the container sees it: raw bytes with the leading slash (memfd: `/memfd:name`). */
  readonly path: Buffer;
  /** Of the content, for places other than `layer`; undefined where it could not be read within the limit. */
  readonly sha256: Buffer | undefined;
  /** The program of the process, or only mapped. */
  readonly main: boolean;
  readonly pid: number;
  readonly uid: number;
  readonly ancestry: readonly string[];
}

/** A process that may more than its container: `docker exec --privileged`, or one that entered from the node. */
export interface InspectedPrivilege {
  /** Its program, as procfs names it: raw bytes with the leading slash. */
  readonly path: Buffer;
  /** Permitted, effective or in its bounding set, and not in the container's: without `CAP_`, ascending by number. */
  readonly capabilities: readonly string[];
  readonly pid: number;
  readonly uid: number;
  readonly ancestry: readonly string[];
}

export interface InspectedContainer {
  readonly code: readonly InspectedCode[];
  readonly privileges: readonly InspectedPrivilege[];
  /** Processes seen. */
  readonly processes: number;
  /** What could not be looked at: processes that went meanwhile are no claim. */
  readonly claims: readonly { readonly code: string; readonly detail: string }[];
}

/** What one look found. */
export interface InspectedLook extends InspectedContainer {
  /** Another look would find the same as long as {@link ProcessInspector.signature} says the same. */
  readonly steady: boolean;
}

export interface InspectRequest {
  readonly containerId: string;
  /** Main process. */
  readonly pid: number;
  /** The container's bounding set, without `CAP_`. */
  readonly capabilities: readonly string[];
  /** `major:minor` of the root filesystem as it was mounted; undefined where it is not known. */
  readonly rootDevice: string | undefined;
  /** Directories of the root overlay; undefined for a root without layer directories (then all of it counts as `layer` but what lies below another mount). */
  readonly overlay: { readonly layerPaths: readonly string[]; readonly upperPath: string } | undefined;
}

/** A file of the node that belongs to a container: links are not followed. */
export interface OwnedFile {
  readonly path: string;
  readonly maxBytes: number;
}

export interface ProcessInspector {
  /**
   * What stands for all that a look at a container reads: its mounts, its processes and what they run, and these files. Equal to an earlier one: nothing of
   * it has moved. undefined: it has to be looked at.
   */
  signature(request: InspectRequest, files: readonly OwnedFile[]): string | undefined;
  inspect(request: InspectRequest, signal: AbortSignal): Promise<InspectedLook>;
  /** A process of the container began to run a program just now: the next `inspect` looks at it, however short-lived it is. */
  started(containerId: string, pid: number): void;
  /** Drops what is remembered of a container. */
  forget(containerId: string): void;
}
