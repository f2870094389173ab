/** The processes of a container as /proc has them now: what would be gone with it. Every text is the container's. */
import { closeSync, constants, openSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { join } from "node:path";

const MAX_PROCESSES = 1000;
const MAX_TEXT_BYTES = 262_144;
const MAX_DESCRIPTORS = 1024;
/** All of processes but their programs takes no more than this part, and each program no more than this of what is left. */
const TEXTS_SHARE = 4;
const PROGRAM_SHARE = 4;
const MAX_NAMED = 16;
const SOCKET_TABLES = ["tcp", "tcp6", "udp", "udp6", "unix"] as const;
/** One text takes no more than this part of the room for all: where there is little, something of everything is kept. */
const TEXT_SHARE = 16;

export interface ProcessSnapshot {
  readonly pid: number;
  /** Where the program file is; ends in " (deleted)" where it is no more. */
  readonly exe: string;
  readonly cwd: string;
  readonly arguments: readonly string[];
  readonly environment: readonly string[];
  /** /proc/PID/status: names, parents, users, capabilities. */
  readonly status: string;
  readonly maps: string;
  readonly descriptors: Readonly<Record<string, string>>;
  /** Of which of these only the beginning is kept, by their names in /proc/PID. */
  readonly cut: readonly string[];
}

export interface Processes {
  readonly processes: readonly ProcessSnapshot[];
  /** /proc/PID/net of the first of them, by table. */
  readonly sockets: Readonly<Record<string, string>>;
  /** There are more, or other tables, than are listed. */
  readonly more: boolean;
  /** Of what only the beginning is kept: `PID/environ`, `net/tcp`. */
  readonly cut: readonly string[];
}

/** As they are filed. */
export interface GatheredProcesses {
  readonly files: readonly { readonly name: string; readonly content: Buffer }[];
  readonly listed: number;
  /** What is not in it. */
  readonly problems: readonly string[];
}

/** Those of a container, and the programs whose file is gone. It may never return: what is read is the container's. @param maxBytes of all that it returns */
export function gatherProcesses(proc: string, containerId: string, maxBytes: number): GatheredProcesses {
  const { processes, sockets, more, cut } = snapshotProcesses(proc, containerId, Math.floor(maxBytes / TEXTS_SHARE));
  const problems = more ? ["there are more processes, or tables of sockets, than are listed"] : [];
  if (cut.length > 0) problems.push(`only the beginning is kept of ${cut.slice(0, MAX_NAMED).join(", ")}${cut.length > MAX_NAMED ? ", …" : ""}`);
  const files = [{ name: "processes.json", content: processesJson({ processes, sockets }) }];
  let room = maxBytes - (files[0]?.content.length ?? 0);
  for (const { pid, exe } of processes) {
    if (!exe.endsWith(" (deleted)") && !exe.startsWith("/memfd:")) continue;
    const program = room > 0 ? programOf(proc, pid, Math.floor(room / PROGRAM_SHARE)) : undefined;
    if (program) files.push({ name: `programs/${pid}`, content: program });
    else problems.push(`program of process ${pid}: too large, or gone`);
    room -= program?.length ?? 0;
  }
  return { files, listed: processes.length, problems };
}

/**
 * Those whose control group is the container's or below it, while there is room.
 * @param proc where procfs is mounted @param containerId 64 hex digits @param maxBytes of {@link processesJson}
 */
export function snapshotProcesses(proc: string, containerId: string, maxBytes: number): Processes {
  const pids = readdirSync(proc)
    .filter((name) => /^\d+$/.test(name) && read(join(proc, name, "cgroup"), MAX_TEXT_BYTES).text.includes(containerId))
    .map(Number);
  const textBytes = Math.min(MAX_TEXT_BYTES, Math.floor(maxBytes / TEXT_SHARE));
  let room = maxBytes - processesJson({ processes: [], sockets: {} }).length;
  const fits = (part: unknown): boolean => {
    // As deep as it is filed, and with more around it.
    const bytes = Buffer.byteLength(JSON.stringify([[part]], undefined, 1));
    if (bytes > room) return false;
    room -= bytes;
    return true;
  };
  const [first] = pids;
  const tables = first === undefined ? [] : SOCKET_TABLES.map((table) => ({ table, ...read(join(proc, String(first), "net", table), textBytes) }));
  const sockets = tables.filter(({ table, text }) => fits([table, text]));
  const processes: ProcessSnapshot[] = [];
  for (const pid of pids.slice(0, MAX_PROCESSES)) {
    const found = snapshot(join(proc, String(pid)), pid, textBytes);
    if (!fits(found)) break;
    processes.push(found);
  }
  return {
    processes,
    sockets: Object.fromEntries(sockets.map(({ table, text }) => [table, text])),
    more: processes.length < pids.length || sockets.length < tables.length,
    cut: [...processes.flatMap(({ pid, cut }) => cut.map((name) => `${pid}/${name}`)), ...sockets.flatMap(({ table, cut }) => (cut ? [`net/${table}`] : []))],
  };
}

/** How they are filed. */
export function processesJson({ processes, sockets }: Pick<Processes, "processes" | "sockets">): Buffer {
  return Buffer.from(JSON.stringify({ processes, sockets }, undefined, 1));
}

/** The program of a process as its memory has it, whatever became of the file. undefined: larger, or gone */
function programOf(proc: string, pid: number, maxBytes: number): Buffer | undefined {
  return bytesOf(join(proc, String(pid), "exe"), maxBytes);
}

function snapshot(directory: string, pid: number, textBytes: number): ProcessSnapshot {
  const cut: string[] = [];
  const text = (name: string): string => {
    const found = read(join(directory, name), textBytes);
    if (found.cut) cut.push(name);
    return found.text;
  };
  const descriptors = list(join(directory, "fd"));
  if (descriptors.length > MAX_DESCRIPTORS) cut.push("fd");
  return {
    ...{ pid, exe: link(join(directory, "exe")), cwd: link(join(directory, "cwd")) },
    ...{ arguments: words(text("cmdline")), environment: words(text("environ")), status: text("status"), maps: text("maps") },
    descriptors: Object.fromEntries(descriptors.slice(0, MAX_DESCRIPTORS).map((fd) => [fd, link(join(directory, "fd", fd))])),
    cut,
  };
}

/** A process may end at any time: what is gone is empty. */
function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function read(path: string, maxBytes: number): { readonly text: string; readonly cut: boolean } {
  const bytes = bytesOf(path, maxBytes, true) ?? Buffer.alloc(0);
  return { text: bytes.toString("latin1", 0, maxBytes), cut: bytes.length > maxBytes };
}

/** @param beyond what is larger ends somewhere beyond `maxBytes`; else it is undefined */
function bytesOf(path: string, maxBytes: number, beyond = false): Buffer | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const chunks: Buffer[] = [];
    let bytes = 0;
    for (;;) {
      const chunk = Buffer.alloc(65_536);
      const length = readSync(fd, chunk);
      if (length === 0) return Buffer.concat(chunks, bytes);
      bytes += length;
      chunks.push(chunk.subarray(0, length));
      if (bytes > maxBytes) return beyond ? Buffer.concat(chunks, bytes) : undefined;
    }
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function words(text: string): string[] {
  return text.split("\0").filter((word) => word !== "");
}
