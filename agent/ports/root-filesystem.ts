/** Where a container's root filesystem lies on the node: read from the kernel (mountinfo, of the container's main process and of its runtime's), the engine only names the directory. */

export interface MountPoint {
  readonly destination: string;
  /** Kernel's filesystem type, for example `tmpfs`. */
  readonly type: string;
  /** `major:minor` of what is mounted. */
  readonly device: string;
  /** Path within the mounted filesystem, as mountinfo tells it. */
  readonly root: string;
  readonly source: string;
  readonly options: readonly string[];
  /** The kernel brought it here from the node: it has a master (`master:` of mountinfo), and the runtime sees the same mount. */
  readonly propagated?: boolean;
  /** Something else than what was mounted there when the container was first looked at. */
  readonly replaced?: boolean;
  /** What was mounted there when the container was first looked at, whose file has lost its name since. Then it is `replaced` too: under the name there may be another. */
  readonly nameless?: boolean;
}

export interface LayerDirectory {
  /** Stable name, one for each directory on the node. */
  readonly id: string;
  readonly path: string;
}

/** Root directory of a container as its runtime's configuration names it (OCI Runtime Specification 1.1, `root.path`). */
export interface GivenRoot {
  readonly containerId: string;
  /** Absolute on the node, or below the container's bundle. */
  readonly path: string;
}

interface Common {
  /** Whether the root is mounted read-only now; undefined: not known. */
  readonly readOnly?: boolean | undefined;
  /** Why it is not certain that this is the root which the runtime gave the container; undefined: it is certain. */
  readonly unproven?: string | undefined;
  readonly mounts: readonly MountPoint[];
  /** Paths of the kernel's that runtimes hide or make read-only, and that no mount hides here now; undefined: not known. */
  readonly openSystemPaths?: readonly string[] | undefined;
}

export type RootLayout =
  | (Common & {
      readonly kind: "overlay";
      /** Lowest first. */
      readonly layers: readonly LayerDirectory[];
      readonly upperPath: string;
      /** `major:minor` of the overlay. */
      readonly device: string;
      /** Mount options that change what layers mean: `redirect_dir=on`, `metacopy=on`, `userxattr`. */
      readonly oddOptions: readonly string[];
    })
  /**
   * A root whose layers have no directories: measured as one tree. `onNode`: `path` is where the node has it, under all that is mounted in the container,
   * and can be watched; else it is the main process's view, and goes with that process.
   */
  | (Common & { readonly kind: "merged"; readonly path: string; readonly onNode: boolean; readonly filesystem: string })
  /** The process is gone. */
  | { readonly kind: "gone" };

export interface RootFilesystem {
  /**
   * The root that the runtime gave the container, also where its main process has another by now: that one is then among the mounts, at `/`.
   * @param pid main process of the container
   * @param given undefined: not known; the layout is then `unproven`
   */
  layout(pid: number, given: GivenRoot | undefined): Promise<RootLayout>;
}
