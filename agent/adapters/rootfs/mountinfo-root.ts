/** {@link RootFilesystem} from mountinfo and the directories that it names. */
import { hash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { assertMountInfoLength, parseMountInfo, parseOverlayOptions } from "../../core/mountinfo.ts";
import type { LayerDirectory, RootFilesystem, RootLayout } from "../../ports/root-filesystem.ts";

/** Processes whose layout is remembered; the one that was not asked for longest goes first. */
const MAX_KNOWN = 1024;
/** Longer ones (a container can mount as often as it likes) are read anew each time. */
const MAX_KNOWN_LENGTH = 256 * 1024;
/** What is read goes into strings before anything else is read. */
const scratch = Buffer.allocUnsafeSlow(64 * 1024);

export class MountInfoRootFilesystem implements RootFilesystem {
  readonly #proc: string;
  readonly #known = new Map<number, { readonly text: string; readonly layout: RootLayout }>();

  /** @param proc where the node's procfs is mounted */
  constructor(proc = "/proc") {
    this.#proc = proc;
  }

  /** The same object as before as long as the kernel says the same: the directories of a mount are those that it was made of, whatever their names lead to since. */
  async layout(pid: number): Promise<RootLayout> {
    const text = this.#mountInfo(pid);
    const known = this.#known.get(pid);
    this.#known.delete(pid);
    if (text === undefined) return { kind: "gone" };
    const layout = known?.text === text ? known.layout : await this.#parsed(pid, text);
    if (text.length <= MAX_KNOWN_LENGTH) this.#known.set(pid, { text, layout });
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= MAX_KNOWN) break;
      this.#known.delete(oldest);
    }
    return layout;
  }

  /** At once: procfs never waits for a disk, and a thread's hand-over costs several times as much as reading. */
  #mountInfo(pid: number): string | undefined {
    try {
      return readLatin1(`${this.#proc}/${pid}/mountinfo`);
    } catch (error) {
      return ignoreGone(error as NodeJS.ErrnoException);
    }
  }

  async #parsed(pid: number, text: string): Promise<RootLayout> {
    const mounts = parseMountInfo(text);
    // The first is what the runtime mounted. What is mounted over it later is told as a mount: its options name directories as its maker sees them.
    const root = mounts.find(({ destination }) => destination === "/");
    if (!root) return { kind: "gone" };
    const overlay = root.type === "overlay" ? parseOverlayOptions(root.superOptions) : undefined;
    const others = mounts.filter((each) => each !== root);
    const readOnly = root.options.includes("ro");
    if (!overlay) return { kind: "merged", path: `${this.#proc}/${pid}/root`, filesystem: root.type, readOnly, mounts: others };
    const upperPath = await absolute(overlay.upperdir, overlay.upperdir);
    const layers: LayerDirectory[] = [];
    for (const lower of overlay.lowerdirs.toReversed()) layers.push(layerOf(await absolute(lower, upperPath)));
    const { device } = root;
    return { kind: "overlay", layers, upperPath, device, oddOptions: overlay.oddOptions, readOnly, mounts: others };
  }
}

/** @throws RangeError over the size limit, the system's error */
function readLatin1(path: string): string {
  const file = openSync(path, "r");
  try {
    for (let text = ""; ; ) {
      const bytesRead = readSync(file, scratch);
      if (bytesRead === 0) return text;
      text += scratch.toString("latin1", 0, bytesRead);
      assertMountInfoLength(text.length);
    }
  } finally {
    closeSync(file);
  }
}

/** Docker names lower directories relative to its storage root where the option string would be too long; the upper directory lies two levels below that root. */
async function absolute(path: string, upperPath: string): Promise<string> {
  const from = path.startsWith("/") ? path : resolve(dirname(dirname(upperPath)), path);
  return realpath(from).catch(() => from);
}

/**
 * `…/overlay2/ID/diff` (docker), `…/snapshots/N/fs` (containerd). containerd counts its snapshots from 1 below each root: only with the path is the
 * number one directory's, for a node may have several roots, and whoever mounts an overlay of their own chooses its directories' names.
 */
function layerOf(path: string): LayerDirectory {
  const id = basename(dirname(path));
  const scope = basename(dirname(dirname(path)));
  return { id: `${scope}/${id}@${hash("sha256", path, "hex").slice(0, 16)}`, path, runtimeMade: id.endsWith("-init") };
}

function ignoreGone(error: NodeJS.ErrnoException): undefined {
  // EINVAL: a process that has ended and was not waited for yet.
  if (error.code === "ENOENT" || error.code === "ESRCH" || error.code === "EINVAL") return undefined;
  throw error;
}
