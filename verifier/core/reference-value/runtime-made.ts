/**
 * What the runtime itself puts into a container's layers: never drift, and anything that differs from it in type, mode, owner or
 * content is. Docker makes an `-init` layer; runc makes mount targets that the image lacks, with their parents.
 */
import { hash } from "node:crypto";
import type { NewInode } from "./inode.ts";
import { latin1 } from "./latin1.ts";
import type { LayerTree } from "./layer-tree.ts";
import { MergedTree } from "./merged-tree.ts";
import { OverlayUpper, withoutOpaque } from "./overlay-upper.ts";

const EMPTY_FILE: NewInode = { type: "f", mode: 0o755, size: 0, sha256: hash("sha256", "", "buffer") };
/** The empty files that each makes to mount over: runc of mode 0644 since it creates them below an open directory (1.2.8, 1.3.3), before of 0755. */
const MOUNT_FILES: Readonly<Record<"dockerd" | "runc", readonly NewInode[]>> = { dockerd: [EMPTY_FILE], runc: [EMPTY_FILE, { ...EMPTY_FILE, mode: 0o644 }] };

/** moby daemon/initlayer, setup_unix.go. */
const INIT_LAYER: readonly (readonly [path: string, kind: "dir" | "file" | string])[] = [
  ["/dev/pts", "dir"],
  ["/dev/shm", "dir"],
  ["/proc", "dir"],
  ["/sys", "dir"],
  ["/.dockerenv", "file"],
  ["/etc/resolv.conf", "file"],
  ["/etc/hosts", "file"],
  ["/etc/hostname", "file"],
  ["/dev/console", "file"],
  ["/etc/mtab", "/proc/mounts"],
];

/** Mounts that a runtime always makes; what lies on the tmpfs of `/dev` never reaches the upper directory. */
const ALWAYS_MOUNTED: readonly string[] = ["/proc", "/dev", "/sys", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts"];

/**
 * The exact tree of docker's `<id>-init` lower directory over an image: files, symlinks and devices in the way are removed,
 * directories stay.
 * @param marksNewOpaque as {@link Maker}: a host has the one tree or the other, and both say the same of what a container sees
 */
export function dockerInitLayer(image: MergedTree, marksNewOpaque = false): LayerTree {
  const upper = new OverlayUpper(image, { by: "dockerd", marksNewOpaque });
  for (const [path, kind] of INIT_LAYER) {
    const parts = path.slice(1).split("/");
    for (let end = 1; end <= parts.length; end++) {
      const prefix = parts.slice(0, end);
      if (upper.kind(prefix) === "x") upper.unlink(prefix);
    }
    if (upper.kind(parts) === "d") continue;
    if (kind === "dir") upper.makeDirectories(parts);
    else if (kind === "file") upper.make(parts, EMPTY_FILE);
    else upper.make(parts, { type: "l", mode: 0o777, target: kind });
  }
  return upper.tree();
}

/** Which container the runtime made. */
export interface RuntimeMadeInput {
  /** Docker, which has its `-init` layer and makes mount targets itself; else runc makes what there is to make. */
  readonly ofDocker: boolean;
  /** The image's layers merged, without docker's `-init` layer. */
  readonly image: MergedTree;
  /** Mount destinations inside the container as the runtime declares them: byte strings, absolute. */
  readonly mountDestinations: readonly string[];
  /** `VOLUME`s of the image config. */
  readonly volumes: readonly string[];
  /** `WORKDIR` of the image config, or empty: made where the image lacks it. */
  readonly workingDirectory: string;
}

/** The upper-directory entries that a runtime may have made for one container. */
export class RuntimeMade {
  /** Path (byte string) to the records that it may have there. */
  readonly #expected = new Map<string, Buffer[]>();

  constructor(input: RuntimeMadeInput) {
    const lower = input.ofDocker ? MergedTree.of([...input.image.layers, dockerInitLayer(input.image)]) : input.image;
    const targets = [...ALWAYS_MOUNTED, ...input.mountDestinations, ...input.volumes];
    // Whether a mount is a file or a directory is not declared: each target may be made as either.
    const directories = input.workingDirectory === "" ? targets : [...targets, input.workingDirectory];
    for (const by of input.ofDocker ? (["dockerd", "runc"] as const) : (["runc"] as const)) {
      for (const target of directories) this.#target(new OverlayUpper(lower, { by, marksNewOpaque: false }), lower, target, "dir");
      for (const made of MOUNT_FILES[by])
        for (const target of targets) this.#target(new OverlayUpper(lower, { by, marksNewOpaque: false }), lower, target, made);
    }
  }

  /** Whether the runtime itself makes exactly this entry. A directory may be marked opaque or not: nothing lies below it in the image. */
  has(path: Uint8Array, record: Buffer): boolean {
    const expected = this.#expected.get(Buffer.from(path).toString("latin1"));
    if (!expected) return false;
    const plain = withoutOpaque(record);
    return expected.some((each) => each.equals(plain));
  }

  #target(upper: OverlayUpper, lower: MergedTree, target: string, made: "dir" | NewInode): void {
    const parts = upper.resolve(target);
    if (parts.length === 0 || upper.kind(parts)) return;
    for (let end = 1; end < parts.length; end++) if (upper.kind(parts.slice(0, end)) === "x") return;
    if (made === "dir") upper.makeDirectories(parts);
    else upper.make(parts, made);
    for (const entry of upper.tree().entries()) {
      if (lower.get(entry.path)) continue;
      const path = latin1(entry.path);
      const record = withoutOpaque(entry.record);
      const known = this.#expected.get(path) ?? [];
      if (!known.some((each) => each.equals(record))) this.#expected.set(path, [...known, record]);
    }
  }
}
