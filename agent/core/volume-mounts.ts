/** Whether what the engine calls its own volume is one: a volume can be made to stand for any directory of the host (`docker volume create -o o=bind -o device=/etc`). */
import type { DeclaredMount, EngineFile } from "../ports/container-runtime.ts";
import type { MountPoint } from "../ports/root-filesystem.ts";
import { NAMELESS } from "./first-mounts.ts";

/** A container's own file in the engine's data directory, which shows where that lies for the kernel (moby `daemon.Root`, `container.HostsPath`, `HostnamePath`, `ResolvConfPath`): the directory, and the path within. */
export const ENGINE_FILE = /^(.*)(\/containers\/[0-9a-f]{64}\/(?:hosts|hostname|resolv\.conf))$/;
const VOLUME = /^\/volumes\/[^/]+\/_data$/;

/** The engine's data directory: its path on the node, and as mountinfo names it. */
interface DataDirectory {
  readonly path: string;
  readonly device: string;
  readonly root: string;
}

/**
 * The declared mounts, where a volume whose files do not lie in the engine's own directory of it is a `bind`. Device and root are the kernel's word
 * (mountinfo); without any mount points (the process is gone) nothing is said. What cannot be told is a bind.
 */
export function withProvenVolumes(declared: readonly DeclaredMount[], files: readonly EngineFile[], points: readonly MountPoint[]): readonly DeclaredMount[] {
  if (points.length === 0 || !declared.some(({ type }) => type === "volume")) return declared;
  const data = dataDirectories(files, points);
  return declared.map((mount) => (mount.type !== "volume" || isVolume(mount, data, points) ? mount : { ...mount, type: "bind" }));
}

function dataDirectories(files: readonly EngineFile[], points: readonly MountPoint[]): DataDirectory[] {
  return files.flatMap(({ destination, hostPath }) => {
    const [, path, within] = ENGINE_FILE.exec(hostPath) ?? [];
    if (path === undefined || within === undefined) return [];
    return points.flatMap(({ destination: shown, device, root }) => {
      // The engine has removed the container whose file it was: the data directory lies where it lay.
      const named = utf8(root.endsWith(NAMELESS) ? root.slice(0, -NAMELESS.length) : root);
      return utf8(shown) === destination && named.endsWith(within) ? [{ path, device, root: named.slice(0, -within.length) }] : [];
    });
  });
}

function isVolume({ destination, source }: DeclaredMount, data: readonly DataDirectory[], points: readonly MountPoint[]): boolean {
  const there = points.filter((point) => utf8(point.destination) === destination);
  // Where links of the image lead elsewhere, the kernel lists it there.
  const candidates = there.length > 0 ? there : points;
  return data.some(({ path, device, root }) => {
    const within = source.slice(path.length);
    if (!source.startsWith(path) || !VOLUME.test(within)) return false;
    return candidates.some((point) => point.device === device && utf8(point.root) === `${root}${within}`);
  });
}

function utf8(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString("utf8");
}
