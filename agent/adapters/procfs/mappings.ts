/**
 * The files that a process has mapped executable, each by (device, inode), as `stat` of a path tells them too. Before Linux 6.8 the mapping of an overlay's file
 * is told with device and inode of the layer's file below it, which no path of the container has: there it is asked of the mapping itself (`map_files`).
 */
import { open, stat, statfs } from "node:fs/promises";
import { release } from "node:os";
import { deviceName } from "../../core/device-name.ts";

/** A process with more is looked at as far as this, and claimed. */
export const MAX_MAPS_BYTES = 4 * 1024 * 1024;
/** Looks at a process that keeps replacing its mappings; the last one counts whatever it shows. */
export const MAX_ATTEMPTS = 4;
/** statfs(2), `f_type` of overlayfs. */
const OVERLAYFS = 0x794c7630;

export interface Mapping {
  /** Below the process's folder in procfs, the file itself: `map_files/address-address`, or `exe`. */
  readonly handle: string;
  /** `major:minor`, decimal. */
  readonly device: string;
  readonly inode: string;
  /** latin1. */
  readonly path: string;
}

export interface Mappings {
  /** One a file. */
  readonly mappings: readonly Mapping[];
  /** More than {@link MAX_MAPS_BYTES}. */
  readonly truncated: boolean;
  /** Not a single mapping: a kernel thread, or a process that is ending. */
  readonly none: boolean;
}

/** Whether this kernel tells mappings of an overlay's files by the files below it. @param version as uname(2) has it; a vendor's older number may be wrong in that, and costs time alone */
export function hidesOverlays(version = release()): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number.parseFloat);
  return major < 6 || (major === 6 && minor < 8);
}

const HIDES_OVERLAYS = hidesOverlays();

/**
 * @param folder of the process in procfs
 * @param hidden whether mappings of an overlay's files must be asked for
 * @throws the system's error
 */
export async function readMappings(folder: string, hidden = HIDES_OVERLAYS): Promise<Mappings> {
  for (let attempt = 1; ; attempt++) {
    const { text, truncated } = await readAtMost(`${folder}/maps`, MAX_MAPS_BYTES);
    const told = { mappings: executableMappings(text), truncated, none: text.length === 0 };
    if (!hidden || told.mappings.length === 0) return told;
    const mappings: Mapping[] = [];
    // One after the other: where a file system does not answer, that is one thread of this process, not all of them.
    for (const mapping of told.mappings) mappings.push(await ofOverlay(folder, mapping));
    // What was mapped there meanwhile must not be taken for what was there before: a process that never holds still is told as the kernel has it, and not known.
    const again = executableMappings((await readAtMost(`${folder}/maps`, MAX_MAPS_BYTES)).text);
    if (JSON.stringify(again) === JSON.stringify(told.mappings)) return { ...told, mappings };
    if (attempt === MAX_ATTEMPTS) return told;
  }
}

/** The mapping as the overlay that its file is of knows it; on every other file system as it is. */
async function ofOverlay(folder: string, mapping: Mapping): Promise<Mapping> {
  try {
    const path = `${folder}/${mapping.handle}`;
    if ((await statfs(path)).type !== OVERLAYFS) return mapping;
    const { dev, ino } = await stat(path, { bigint: true });
    return { ...mapping, device: deviceName(Number(dev)), inode: String(ino) };
  } catch (error) {
    // Unmapped meanwhile: the second reading tells.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return mapping;
    throw error;
  }
}

function executableMappings(maps: string): Mapping[] {
  const byFile = new Map<string, Mapping>();
  for (const line of maps.split("\n")) {
    // Addresses have at least eight digits here, and in `map_files` no leading zero: those of a program that is loaded at a fixed place are short.
    const match = /^0*([0-9a-f]+)-0*([0-9a-f]+) ..x. [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) (\d+) +(\S.*)$/.exec(line);
    if (!match) continue;
    const [, from = "", to = "", major = "", minor = "", inode = "", path = ""] = match;
    if (inode === "0" || !path.startsWith("/")) continue;
    const device = `${Number.parseInt(major, 16)}:${Number.parseInt(minor, 16)}`;
    byFile.set(`${device}:${inode}`, { handle: `map_files/${from}-${to}`, device, inode, path });
  }
  return [...byFile.values()];
}

/** Files of procfs have no size, and a workload decides how long they are. latin1. */
export async function readAtMost(path: string, maxBytes: number): Promise<{ text: string; truncated: boolean }> {
  const file = await open(path);
  try {
    const chunks: Buffer[] = [];
    let length = 0;
    while (length < maxBytes) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(65_536, maxBytes - length)));
      if (bytesRead === 0) return { text: Buffer.concat(chunks).toString("latin1"), truncated: false };
      chunks.push(buffer.subarray(0, bytesRead));
      length += bytesRead;
    }
    return { text: Buffer.concat(chunks).toString("latin1"), truncated: true };
  } finally {
    await file.close();
  }
}
