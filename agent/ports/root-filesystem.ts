/** Where a container's root filesystem lies on the node: read from the kernel (mountinfo of its main process), never from the engine. */

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
  /** Something else than what was mounted there when the container was first looked at. */
  readonly replaced?: boolean;
}

export interface LayerDirectory {
  /** Stable name, one for each directory on the node. */
  readonly id: string;
  readonly path: string;
  /** Made by the runtime itself (docker's `-init`). */
  readonly runtimeMade: boolean;
}

export type RootLayout =
  | {
      readonly kind: "overlay";
      /** Lowest first. */
      readonly layers: readonly LayerDirectory[];
      readonly upperPath: string;
      /** `major:minor` of the overlay. */
      readonly device: string;
      /** Mount options that change what layers mean: `redirect_dir=on`, `metacopy=on`, `userxattr`. */
      readonly oddOptions: readonly string[];
      /** Whether the root is mounted read-only now. */
      readonly readOnly?: boolean;
      readonly mounts: readonly MountPoint[];
    }
  /** A root whose layers have no directories: measured as one tree through the process's root. */
  | { readonly kind: "merged"; readonly path: string; readonly filesystem: string; readonly readOnly?: boolean; readonly mounts: readonly MountPoint[] }
  /** The process is gone. */
  | { readonly kind: "gone" };

export interface RootFilesystem {
  /** @param pid main process of the container */
  layout(pid: number): Promise<RootLayout>;
}
