/** {@link RootFilesystem} from mountinfo and the directories that it names. */
import { readFile, realpath } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { parseMountInfo, parseOverlayOptions } from "../../core/mountinfo.ts";
import type { LayerDirectory, RootFilesystem, RootLayout } from "../../ports/root-filesystem.ts";

export class MountInfoRootFilesystem implements RootFilesystem {
  readonly #proc: string;

  /** @param proc where the node's procfs is mounted */
  constructor(proc = "/proc") {
    this.#proc = proc;
  }

  async layout(pid: number): Promise<RootLayout> {
    const text = await readFile(`${this.#proc}/${pid}/mountinfo`, "latin1").catch(ignoreGone);
    if (text === undefined) return { kind: "gone" };
    const mounts = parseMountInfo(text);
    // The first is what the runtime mounted. What is mounted over it later is told as a mount: its options name directories as its maker sees them.
    const root = mounts.find(({ destination }) => destination === "/");
    if (!root) return { kind: "gone" };
    const overlay = root.type === "overlay" ? parseOverlayOptions(root.superOptions) : undefined;
    const others = mounts.filter((each) => each !== root);
    if (!overlay) return { kind: "merged", path: `${this.#proc}/${pid}/root`, filesystem: root.type, mounts: others };
    const upperPath = await absolute(overlay.upperdir, overlay.upperdir);
    const layers: LayerDirectory[] = [];
    for (const lower of overlay.lowerdirs.toReversed()) layers.push(layerOf(await absolute(lower, upperPath)));
    const { device } = root;
    return { kind: "overlay", layers, upperPath, device, oddOptions: overlay.oddOptions, mounts: others };
  }
}

/** Docker names lower directories relative to its storage root where the option string would be too long; the upper directory lies two levels below that root. */
async function absolute(path: string, upperPath: string): Promise<string> {
  const from = path.startsWith("/") ? path : resolve(dirname(dirname(upperPath)), path);
  return realpath(from).catch(() => from);
}

/** `…/overlay2/ID/diff` (docker), `…/snapshots/N/fs` (containerd). */
function layerOf(path: string): LayerDirectory {
  const id = basename(dirname(path));
  const scope = basename(dirname(dirname(path)));
  return { id: `${scope}/${id}`, path, runtimeMade: id.endsWith("-init") };
}

function ignoreGone(error: NodeJS.ErrnoException): undefined {
  // EINVAL: a process that has ended and was not waited for yet.
  if (error.code === "ENOENT" || error.code === "ESRCH" || error.code === "EINVAL") return undefined;
  throw error;
}
