/** What is mounted in a pod's container, against the volumes of its pod's specification: of which kind, from where, and whether for writing. */
import { posix } from "node:path";
import type { Mount } from "@hullmark/proto/v1/attestation";
import type { PodMount } from "../../ports/pod-view.ts";
import { type Report, type Specified, words } from "./specified.ts";

/** Types that the agent gives mounts (Mount.type), by the source of the volume in the API; any other source: `pod-volume`. */
const TYPES: Readonly<Record<string, readonly string[]>> = {
  emptyDir: ["pod-empty-dir"],
  configMap: ["pod-configmap"],
  secret: ["pod-secret"],
  projected: ["pod-projected"],
  downwardAPI: ["pod-downward-api"],
  hostPath: ["bind"],
  persistentVolumeClaim: ["pod-volume", "bind"],
};
const ANY_VOLUME = ["pod-volume", "bind"];

/** Sources whose volume has the name of a PersistentVolume, which no pod's specification has. */
export const CLAIMS: ReadonlySet<string> = new Set(["persistentVolumeClaim", "ephemeral"]);
/** Where the kubelet keeps a volume of each of these kinds, and where it binds a part of any volume aside: below its directory for the pod (kubernetes `pkg/volume/util/subpath`). */
const PLAIN = /\/volumes\/kubernetes\.io~(?:empty-dir|configmap|secret|projected|downward-api)\/([^/]+)\/?$/;
const PART = /\/volume-subpaths\/([^/]+)\/([^/]+)\/(\d+)$/;

/** Where the kubelet and the sandbox mount files of their own, besides the one for a last message. */
const KUBELET_PLACES: ReadonlySet<string> = new Set(["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/shm"]);

export function appraiseVolumes(specified: Specified, at: (path: string) => Report): void {
  const { container, image, observed } = specified;
  const declared = new Map<string, Mount>();
  for (const mount of observed.mounts) if (mount.declared) declared.set(posix.resolve("/", mount.destination), mount);
  const wanted = new Map(container.mounts.map((mount) => [posix.resolve("/", mount.path), mount]));
  for (const [path, wants] of wanted) {
    const { volume, source, readOnly } = wants;
    const mount = declared.get(path);
    const expected = `volume ${volume} (${source || "unknown"})${readOnly ? ", read-only" : ""}`;
    const named = (text: string): string => `${text} of the pod's specification at ${words(path)}`;
    if (!mount) at(path)("mount", volume, expected, "absent", named("nothing is mounted instead of a volume"));
    else if (!(TYPES[source] ?? ANY_VOLUME).includes(mount.type))
      at(path)("mount", volume, expected, `${mount.type} from ${mount.source}`, named("something else is mounted than the volume"));
    else if (otherSource(mount, specified, wants))
      at(path)("mount", volume, expectedSource(wants), sourceWords(mount), named("another path is mounted than that"));
    else if (readOnly && mount.options.includes("rw"))
      at(path)("mount", volume, expected, "mounted for writing", named("mounted for writing: a read-only volume"));
  }
  for (const [path, mount] of declared)
    if (mount.type === "kubelet" && !KUBELET_PLACES.has(path) && path !== posix.resolve("/", container.terminationMessagePath))
      at(path)("mount", "", "absent", `${mount.type} from ${mount.source}`, "a file of the kubelet's, mounted where its pod's specification has none");
  if (container.extended) return;
  for (const [path, mount] of declared) {
    const volumes = mount.type.startsWith("pod-") || (mount.type === "bind" && path !== "/dev/shm");
    if (!volumes || wanted.has(path) || image.volumes.includes(path)) continue;
    at(path)("mount", "", "absent", `${mount.type} from ${mount.source}`, "mounted, which its pod's specification does not ask for");
  }
}

const sourceWords = ({ type, source, askedSource }: Mount): string => `${type} from ${askedSource || source}`;

function expectedSource({ volume, source, hostPath, part, index }: PodMount): string {
  return hostPath !== undefined && !part ? `path ${hostPath} of the node` : `${part ? `part ${index} of volume` : "volume"} ${volume} (${source})`;
}

/**
 * Whether it comes from elsewhere than the volume does. Links of the node are followed by the runtime: of a path it is what the runtime was asked for that counts, and where the
 * runtime does not tell that, nothing is said. Which PersistentVolume a claim has is not known here.
 */
function otherSource({ type, source, askedSource }: Mount, { pod, container }: Specified, { volume, source: kind, hostPath, part, index }: PodMount): boolean {
  const path = askedSource || source;
  const own = path.includes(`/pods/${pod.uid}/`);
  const bound = own ? PART.exec(path) : null;
  if (part !== (bound !== null)) return own || askedSource !== "";
  if (bound) {
    const [, name, of, number] = bound;
    return (!CLAIMS.has(kind) && name !== volume) || of !== container.name || number !== String(index);
  }
  // After a link, `..` leads elsewhere than it reads; the API server takes none.
  if (hostPath !== undefined)
    return askedSource !== "" && (askedSource.split("/").includes("..") || posix.resolve("/", askedSource) !== posix.resolve("/", hostPath));
  return type !== "pod-volume" && type.startsWith("pod-") && PLAIN.exec(path)?.[1] !== volume;
}
