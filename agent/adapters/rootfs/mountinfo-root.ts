/**
 * {@link RootFilesystem} from mountinfo and the directories that it names. A container that may mount decides what its own mountinfo says:
 * which root the runtime gave it is looked up on the node's side.
 */
import { hash } from "node:crypto";
import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { readFile, realpath, stat } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { livingThread } from "@hullmark/native";
import { deviceName } from "../../core/device-name.ts";
import { mountIdentity } from "../../core/first-mounts.ts";
import { assertMountInfoLength, type MountInfo, parseMountInfo, parseOverlayOptions } from "../../core/mountinfo.ts";
import { parentPid } from "../../core/process-stat.ts";
import { BUILT_IN_PATHS, openSystemPaths } from "../../core/system-paths.ts";
import type { GivenRoot, LayerDirectory, RootFilesystem, RootLayout } from "../../ports/root-filesystem.ts";

/** Processes whose layout is remembered; the one that was not asked for longest goes first. */
const MAX_KNOWN = 1024;
/** Longer ones (a container can mount as often as it likes) are taken apart anew each time. */
const MAX_KNOWN_LENGTH = 256 * 1024;
/** What is read is compared, or made a string, before anything else is read. */
const scratch = Buffer.allocUnsafeSlow(MAX_KNOWN_LENGTH);

export class MountInfoRootFilesystem implements RootFilesystem {
  readonly #proc: string;
  /** A container's procfs shows what every other does, hidden or not. */
  readonly #systemPaths = BUILT_IN_PATHS.filter((path) => existsSync(path));
  readonly #known = new Map<number, { readonly raw: Uint8Array; readonly layout: RootLayout }>();

  /** @param proc where the node's procfs is mounted */
  constructor(proc = "/proc") {
    this.#proc = proc;
  }

  /** The same object as before as long as the kernel says the same: the directories of a mount are those that it was made of, whatever their names lead to since. */
  async layout(main: number, given: GivenRoot | undefined): Promise<RootLayout> {
    const shown = this.#read(main);
    // Its first thread may have ended while others run on, and mount.
    const pid = shown ? main : livingThread(main);
    const found = shown ?? (pid === undefined ? undefined : this.#read(pid));
    if (pid === undefined || found === undefined) {
      this.#known.delete(main);
      return { kind: "gone" };
    }
    const known = this.#known.get(pid);
    this.#known.delete(pid);
    if (known && found.head.equals(known.raw) && found.rest === "") {
      this.#known.set(pid, known);
      return known.layout;
    }
    const raw = new Uint8Array(found.head);
    const layout = await this.#parsed(pid, textOf(found), given);
    // What could not be told this time may be told the next.
    const settled = layout.kind !== "gone" && layout.unproven === undefined;
    if (settled && found.rest === "") this.#known.set(pid, { raw, layout });
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= MAX_KNOWN) break;
      this.#known.delete(oldest);
    }
    return layout;
  }

  /** At once: procfs never waits for a disk, and a thread's hand-over costs several times as much as reading. undefined: gone. Good until the next read. */
  #read(pid: number | "self"): Read | undefined {
    try {
      return read(`${this.#proc}/${pid}/mountinfo`);
    } catch (error) {
      return ignoreGone(error as NodeJS.ErrnoException);
    }
  }

  async #parsed(pid: number, text: string, given: GivenRoot | undefined): Promise<RootLayout> {
    const parsed = parseMountInfo(text);
    const presentPath = `${this.#proc}/${pid}/root`;
    const present = await stat(presentPath, { bigint: true }).catch(ignoreGone);
    if (!present) return { kind: "gone" };
    const runtime = given && (await this.#given(pid, given));
    const mounts = this.#heldAgainstNode(parsed, pid, runtime?.seenBy ?? INIT);
    const device = deviceName(Number(runtime?.dev ?? present.dev));
    const same = runtime !== undefined && runtime.dev === present.dev && runtime.ino === present.ino;
    // Options of an overlay are those of the mount with this device, whatever is mounted before or over it.
    const named = mounts.filter(({ destination }) => destination === "/");
    const root = named.find((each) => each.device === device) ?? named[0];
    if (same && root) return { ...(await this.#layoutOf(root, mounts, presentPath)), openSystemPaths: openSystemPaths(mounts, this.#systemPaths) };
    if (!runtime)
      return root
        ? { ...(await this.#layoutOf(root, mounts, presentPath)), unproven: "the root that the runtime gave it is not to be seen" }
        : { kind: "gone" };
    const seen = this.#read(runtime.seenBy);
    const outside = parseMountInfo(seen ? textOf(seen) : "").findLast((each) => each.device === device && each.root === "/");
    const truly = await this.#layoutOf(outside ?? { ...NO_MOUNT, device }, [], runtime.path);
    // Below a directory that is no mount the kernel lists only what is mounted there: nothing can be said of the others.
    if (!root) return { ...truly, unproven: "its main process has another root, below which the container's mounts are not to be seen" };
    return { ...truly, readOnly: undefined, mounts: mounts.map((each) => (each === root ? { ...each, source: "another root" } : each)) };
  }

  /**
   * That a mount has a master is no proof: whoever mounts in a container makes a slave of what he has mounted himself. What came from the node is among what the runtime sees.
   * @param seenBy a process in the runtime's mount namespace
   */
  #heldAgainstNode(mounts: readonly MountInfo[], pid: number, seenBy: number): readonly MountInfo[] {
    if (!mounts.some(isShown)) return mounts;
    const nodes = this.#identities(seenBy);
    const foreign = new Set(mounts.filter((each) => isShown(each) && !nodes.has(mountIdentity(each))));
    if (foreign.size === 0) return mounts;
    // What was unmounted on the node in between has gone here as well.
    const present = this.#identities(pid);
    return mounts
      .filter((each) => !foreign.has(each) || present.has(mountIdentity(each)))
      .map((each) => (foreign.has(each) ? { ...each, propagated: false } : each));
  }

  async #layoutOf(root: MountInfo, mounts: readonly MountInfo[], path: string): Promise<Exclude<RootLayout, { kind: "gone" }>> {
    const layout = await layoutOf(root, mounts, path);
    if (layout.kind !== "merged") return layout;
    const own = this.#read("self");
    const onNode = own && (await nodesPath(parseMountInfo(textOf(own)), root, path));
    return onNode === undefined ? layout : { ...layout, path: onNode, onNode: true };
  }

  #identities(pid: number): ReadonlySet<string> {
    const seen = this.#read(pid);
    return new Set(parseMountInfo(seen ? textOf(seen) : "").map(mountIdentity));
  }

  /** The directory that the runtime made the root of, as the runtime's own process beside the container sees it. */
  async #given(pid: number, { containerId, path }: GivenRoot) {
    try {
      const seenBy = parentPid(await readFile(`${this.#proc}/${pid}/stat`, "latin1"));
      // A shim works in the bundle of its container, or of the first one of its pod, beside which the others lie.
      const seen = path.startsWith("/") ? `${this.#proc}/${seenBy}/root${path}` : `${this.#proc}/${seenBy}/cwd/../${containerId}/${path}`;
      const { dev, ino } = await stat(seen, { bigint: true });
      return { seenBy, path: seen, dev, ino };
    } catch {
      return undefined;
    }
  }
}

/** Its mounts are the node's. */
const INIT = 1;

/** Of what lies below its root: that one often comes from the node's mounts too. */
function isShown({ propagated, destination }: MountInfo): boolean {
  return propagated === true && destination !== "/";
}

const NO_MOUNT: MountInfo = { mountId: 0, destination: "/", type: "", device: "", root: "/", source: "", options: [], superOptions: "" };

async function layoutOf(root: MountInfo, mounts: readonly MountInfo[], path: string): Promise<Exclude<RootLayout, { kind: "gone" }>> {
  const overlay = root.type === "overlay" ? parseOverlayOptions(root.superOptions) : undefined;
  // What is mounted over the root is told as a mount: its options name directories as its maker sees them.
  const others = mounts.filter((each) => each !== root);
  const readOnly = root.options.includes("ro");
  if (!overlay) return { kind: "merged", path, onNode: false, filesystem: root.type, readOnly, mounts: others };
  const upperPath = await absolute(overlay.upperdir, overlay.upperdir);
  const layers: LayerDirectory[] = [];
  for (const lower of overlay.lowerdirs.toReversed()) layers.push(layerOf(await absolute(lower, upperPath)));
  const { device } = root;
  return { kind: "overlay", layers, upperPath, device, oddOptions: overlay.oddOptions, readOnly, mounts: others };
}

/**
 * Where the agent itself sees the directory that is mounted as a container's root: a snapshot of containerd's `native`, a bind mount.
 * @param own mounts of the agent @param path the same directory in the container's view
 */
async function nodesPath(own: readonly MountInfo[], root: MountInfo, path: string): Promise<string | undefined> {
  const wanted = await stat(path, { bigint: true }).catch(() => undefined);
  const within = (folder: string): string => (folder === "/" ? "" : folder);
  for (const each of own) {
    if (each.device !== root.device || !`${within(root.root)}/`.startsWith(`${within(each.root)}/`)) continue;
    const candidate = `${within(each.destination)}${within(root.root).slice(within(each.root).length)}`;
    const found = await stat(Buffer.from(candidate, "latin1"), { bigint: true }).catch(() => undefined);
    if (wanted && found?.dev === wanted.dev && found.ino === wanted.ino) return candidate;
  }
  return undefined;
}

interface Read {
  /** The first {@link MAX_KNOWN_LENGTH} bytes at most, in {@link scratch}. */
  readonly head: Buffer;
  /** What follows, latin1. */
  readonly rest: string;
}

function textOf({ head, rest }: Read): string {
  return head.toString("latin1") + rest;
}

/** @throws RangeError over the size limit, the system's error */
function read(path: string): Read {
  const file = openSync(path, "r");
  try {
    let length = 0;
    for (let bytesRead = -1; bytesRead !== 0 && length < scratch.length; length += bytesRead)
      bytesRead = readSync(file, scratch, length, scratch.length - length, null);
    const head = scratch.subarray(0, length);
    if (length < scratch.length) return { head, rest: "" };
    const more = Buffer.allocUnsafe(64 * 1024);
    for (let rest = ""; ; ) {
      const bytesRead = readSync(file, more);
      if (bytesRead === 0) return { head, rest };
      rest += more.toString("latin1", 0, bytesRead);
      assertMountInfoLength(length + rest.length);
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
  return { id: `${scope}/${id}@${hash("sha256", path, "hex").slice(0, 16)}`, path };
}

function ignoreGone(error: NodeJS.ErrnoException): undefined {
  // EINVAL: a process that has ended and was not waited for yet.
  if (error.code === "ENOENT" || error.code === "ESRCH" || error.code === "EINVAL") return undefined;
  throw error;
}
