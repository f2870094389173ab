/** What stands behind a mount of a pod's container, told by where its source lies. */

// Ids and uids are random and made after the pod was asked for: whoever asks cannot name a path of the node that has them.

/** Where the sandbox keeps files that it binds into containers, below the runtime's root or state directory (containerd, CRI-O). */
const SANDBOX_FILE = /\/(io\.containerd\.grpc\.v1\.cri\/sandboxes|overlay-containers)\/([0-9a-f]{64})\/(userdata\/)?(hostname|resolv\.conf|resolv|hosts|shm)$/;
/** containerd's copy of an image's `VOLUME` for one container. */
const IMAGE_VOLUME = /\/io\.containerd\.grpc\.v1\.cri\/containers\/([0-9a-f]{64})\/volumes\/[^/]+$/;
const POD_FILE = /^(etc-hosts|containers\/[^/]+\/[^/]+)$/;
const PLAIN_VOLUME = /^volumes\/kubernetes\.io~(empty-dir|configmap|secret|projected|downward-api)\//;

/** Answer for a part of a volume, which the kubelet binds aside: of which volume must be found out. */
export const SUBPATH = "subpath";

/** Whose mounts are asked about. */
export interface MountOwner {
  readonly containerId: string;
  readonly sandboxId: string;
  readonly podUid: string;
  /** The kubelet's root directory, `/var/lib/kubelet`. */
  readonly kubeletDirectory: string;
}

/**
 * Type of a bind mount as ContainerConfiguration's Mount.type says. Only what lies in directories that runtime or kubelet keep for this very
 * container or pod gets another name than `bind`.
 */
export function bindKind(source: string, owner: MountOwner): string {
  if (source.split("/").includes("..")) return "bind";
  if (SANDBOX_FILE.exec(source)?.[2] === owner.sandboxId) return "kubelet";
  if (IMAGE_VOLUME.exec(source)?.[1] === owner.containerId) return "volume";
  const own = `${owner.kubeletDirectory}/pods/${owner.podUid}/`;
  if (owner.podUid === "" || !source.startsWith(own)) return "bind";
  const path = source.slice(own.length);
  if (POD_FILE.test(path)) return "kubelet";
  const plain = PLAIN_VOLUME.exec(path)?.[1];
  if (plain !== undefined) return `pod-${plain}`;
  if (path.startsWith("volume-subpaths/")) return SUBPATH;
  // A claim's, or of a driver of another kind.
  return path.startsWith("volumes/") ? "pod-volume" : "bind";
}
