/**
 * {@link ProcessInspector} over procfs. A mapping names its file by (device, inode): what the path shows now counts only where it is that very inode.
 * Since Linux 6.8 mappings of overlay files carry the overlay's own device and inode number.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, readFile, stat } from "node:fs/promises";
import { parseMountInfo } from "../../core/mountinfo.ts";
import type { CodePlaceName, InspectedCode, InspectedContainer, InspectRequest, ProcessInspector } from "../../ports/process-inspector.ts";
import { ancestry, ProcessTable } from "./processes.ts";

const MAX_MAPS_BYTES = 8 * 1024 * 1024;
const MAX_PROCESSES = 4096;
/** Larger files outside the layers are told without digest. */
const MAX_HASHED_BYTES = 128 * 1024 * 1024;
const MAX_CACHED_DIGESTS = 4096;
const DELETED = " (deleted)";

interface Mapping {
  /** `address-address`, as map_files names it. */
  readonly range: string;
  /** `major:minor`, decimal. */
  readonly device: string;
  readonly inode: string;
  /** latin1. */
  readonly path: string;
}

interface Process {
  readonly pid: number;
  readonly uid: number;
  /** `major:minor:inode` of the program. */
  readonly program: string;
  readonly maps: string;
  readonly mappings: readonly Mapping[];
}

interface Remembered {
  readonly signature: string;
  readonly code: readonly InspectedCode[];
}

export class ProcfsInspector implements ProcessInspector {
  readonly #proc: string;
  readonly #table: ProcessTable;
  readonly #digests = new Map<string, Buffer>();
  /** Container → pid → what was found, while its mappings stay as they were. */
  readonly #remembered = new Map<string, Map<number, Remembered>>();

  constructor(proc = "/proc") {
    this.#proc = proc;
    this.#table = new ProcessTable(proc);
  }

  async inspect(request: InspectRequest, signal: AbortSignal): Promise<InspectedContainer> {
    const pids = [...new Set([request.pid, ...(await this.#table.of(request.containerId))])];
    const before = this.#remembered.get(request.containerId);
    const remembered = new Map<number, Remembered>();
    const code: InspectedCode[] = [];
    const claims: { code: string; detail: string }[] = [];
    if (pids.length > MAX_PROCESSES) claims.push({ code: "processes-truncated", detail: `${pids.length} processes, ${MAX_PROCESSES} looked at` });
    for (const pid of pids.slice(0, MAX_PROCESSES)) {
      if (signal.aborted) break;
      const found = await this.#process(request, pid, before?.get(pid)).catch(ignoreGone);
      if (!found) continue;
      remembered.set(pid, found);
      code.push(...found.code);
    }
    this.#remembered.set(request.containerId, remembered);
    return { code, processes: remembered.size, claims };
  }

  forget(containerId: string): void {
    this.#remembered.delete(containerId);
  }

  async #process(request: InspectRequest, pid: number, before: Remembered | undefined): Promise<Remembered | undefined> {
    const process = await this.#read(pid);
    if (!process) return undefined;
    // Mappings alone cannot tell that the file at a path was replaced: the live inode belongs to the signature.
    const live = await Promise.all(process.mappings.map(({ path }) => this.#liveInode(pid, path)));
    const inUpper = await Promise.all(process.mappings.map(({ path }) => existsIn(request.overlay?.upperPath, path)));
    const signature = `${process.maps}|${live.join()}|${inUpper.join()}`;
    if (before?.signature === signature) return before;
    const [root, mounts] = await Promise.all([stat(`${this.#proc}/${pid}/root`), readFile(`${this.#proc}/${pid}/mountinfo`, "latin1")]);
    const types = new Map(parseMountInfo(mounts).map(({ device, type }) => [device, type]));
    const code: InspectedCode[] = [];
    const parents = await ancestry(this.#proc, pid);
    for (const [i, mapping] of process.mappings.entries()) {
      const onRoot = mapping.device === deviceName(root.dev);
      const place = placeOf(mapping, onRoot, live[i] === `${mapping.device}:${mapping.inode}`, inUpper[i] === true, types);
      const main = process.program === `${mapping.device}:${mapping.inode}`;
      const sha256 = place === "layer" ? undefined : await this.#digest(`${this.#proc}/${pid}/map_files/${mapping.range}`);
      code.push({ place, path: Buffer.from(withoutDeleted(mapping.path), "latin1"), sha256, main, pid, uid: process.uid, ancestry: parents });
    }
    return { signature, code };
  }

  async #read(pid: number): Promise<Process | undefined> {
    const [maps, status, exe] = await Promise.all([
      readFile(`${this.#proc}/${pid}/maps`, "latin1"),
      readFile(`${this.#proc}/${pid}/status`, "latin1"),
      stat(`${this.#proc}/${pid}/exe`).catch(ignoreGone),
    ]);
    // A kernel thread or a zombie has no mappings.
    if (maps.length === 0 || maps.length > MAX_MAPS_BYTES) return undefined;
    const mappings = executableMappings(maps);
    const uid = Number(/^Uid:\s+\d+\s+(\d+)/m.exec(status)?.[1] ?? 0);
    const program = exe ? `${deviceName(exe.dev)}:${exe.ino}` : "";
    return { pid, uid, program, maps: mappings.map(({ range, device, inode, path }) => `${range} ${device} ${inode} ${path}`).join("\n"), mappings };
  }

  /** `major:minor:inode` of what the path shows in the process's own view, or empty. */
  async #liveInode(pid: number, path: string): Promise<string> {
    if (path.endsWith(DELETED)) return "";
    const found = await stat(Buffer.from(`${this.#proc}/${pid}/root${path}`, "latin1")).catch(() => undefined);
    return found ? `${deviceName(found.dev)}:${found.ino}` : "";
  }

  async #digest(path: string): Promise<Buffer | undefined> {
    try {
      const file = await stat(path, { bigint: true });
      if (!file.isFile() || file.size > BigInt(MAX_HASHED_BYTES)) return undefined;
      const key = [file.dev, file.ino, file.size, file.mtimeNs, file.ctimeNs].join(":");
      const known = this.#digests.get(key);
      if (known) return known;
      const hash = createHash("sha256");
      for await (const chunk of createReadStream(path, { end: MAX_HASHED_BYTES })) hash.update(chunk as Buffer);
      const digest = hash.digest();
      if (this.#digests.size >= MAX_CACHED_DIGESTS) this.#digests.clear();
      this.#digests.set(key, digest);
      return digest;
    } catch {
      return undefined;
    }
  }
}

/** One mapping a file. */
function executableMappings(maps: string): Mapping[] {
  const byFile = new Map<string, Mapping>();
  for (const line of maps.split("\n")) {
    const match = /^([0-9a-f]+-[0-9a-f]+) ..x. [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) (\d+) +(\S.*)$/.exec(line);
    if (!match) continue;
    const [, range = "", major = "", minor = "", inode = "", path = ""] = match;
    if (inode === "0" || !path.startsWith("/")) continue;
    const device = `${Number.parseInt(major, 16)}:${Number.parseInt(minor, 16)}`;
    byFile.set(`${device}:${inode}`, { range, device, inode, path });
  }
  return [...byFile.values()];
}

function placeOf({ path, device }: Mapping, onRoot: boolean, isLive: boolean, inUpper: boolean, types: ReadonlyMap<string, string>): CodePlaceName {
  if (path.startsWith("/memfd:")) return "memfd";
  if (path.endsWith(DELETED) || !isLive) return types.has(device) || onRoot ? "deleted" : "unknown";
  if (onRoot) return inUpper ? "upper" : "layer";
  const type = types.get(device);
  if (type === undefined) return "unknown";
  return type === "tmpfs" || type === "ramfs" ? "tmpfs" : "volume";
}

async function existsIn(upperPath: string | undefined, path: string): Promise<boolean> {
  if (upperPath === undefined) return false;
  return lstat(Buffer.from(`${upperPath}${path}`, "latin1")).then(
    (found) => found.isFile(),
    () => false,
  );
}

/** The kernel's dev_t as glibc encodes it. */
function deviceName(dev: number): string {
  const value = BigInt(dev);
  const major = ((value >> 8n) & 0xfffn) | ((value >> 32n) & 0xfffff000n);
  const minor = (value & 0xffn) | ((value >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

function withoutDeleted(path: string): string {
  return path.endsWith(DELETED) ? path.slice(0, -DELETED.length) : path;
}

function ignoreGone(error: NodeJS.ErrnoException): undefined {
  if (["ENOENT", "ESRCH", "EACCES", "EPERM"].includes(error.code ?? "")) return undefined;
  throw error;
}
