/** What was mounted where when a container's process was first looked at: what is there later may be something else under the same name. */
import type { MountPoint, RootLayout } from "../ports/root-filesystem.ts";

type Present = Exclude<RootLayout, { kind: "gone" }>;

/** What is mounted, wherever: two mounts of one identity show the same files. */
export function mountIdentity({ type, device, root }: MountPoint): string {
  return `${type} ${device} ${root}`;
}

/** What the kernel adds to the path of a file that has no name any more (`dentry_path`). */
export const NAMELESS = "//deleted";

export class FirstMounts {
  /** Destination → identities. */
  readonly #first: ReadonlyMap<string, ReadonlySet<string>>;

  constructor(mounts: readonly MountPoint[]) {
    const byDestination = Map.groupBy(mounts, ({ destination }) => destination);
    this.#first = new Map([...byDestination].map(([destination, each]) => [destination, new Set(each.map(mountIdentity))]));
  }

  /**
   * The root that was measured, with the mounts of now. A process that has another root since (pivot_root) is told as one with a mount over its root:
   * what lies there was not measured, and runs as code of a volume. What was mounted in the place of something else is marked.
   */
  withMountsOf<T extends Present>(now: Present, measured: T): T {
    const mounts = now.mounts.map((each) => this.#marked(each));
    const sameRoot = now.kind === measured.kind && (now.kind !== "overlay" || measured.kind !== "overlay" || now.device === measured.device);
    if (sameRoot) return { ...measured, readOnly: now.readOnly, unproven: now.unproven, openSystemPaths: now.openSystemPaths, mounts };
    const [type, device] = now.kind === "overlay" ? ["overlay", now.device] : [now.filesystem, ""];
    return {
      ...measured,
      unproven: now.unproven,
      openSystemPaths: undefined,
      mounts: [...mounts, { destination: "/", type, device, root: "/", source: "another root", options: [] }],
    };
  }

  #marked(point: MountPoint): MountPoint {
    const first = this.#first.get(point.destination);
    if (!first || first.has(mountIdentity(point))) return point;
    const nameless = point.root.endsWith(NAMELESS) && first.has(mountIdentity({ ...point, root: point.root.slice(0, -NAMELESS.length) }));
    return { ...point, replaced: true, ...(nameless && { nameless }) };
  }
}
