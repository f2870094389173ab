/**
 * {@link ProcessInspector} over procfs. A mapping names its file by (device, inode): what the path shows now counts only where it is that very inode.
 */
import { hash } from "node:crypto";
import { type FileHandle, open, readFile, readlink, stat } from "node:fs/promises";
import { hasInUpper, livingThread, openSignatures } from "@hullmark/native";
import { capabilityNames, capabilitySet } from "@hullmark/proto/codec";
import { deviceName } from "../../core/device-name.ts";
import { type MountInfo, parseMountInfo } from "../../core/mountinfo.ts";
import type {
  CodePlaceName,
  InspectedCode,
  InspectedLook,
  InspectedPrivilege,
  InspectRequest,
  OwnedFile,
  ProcessInspector,
} from "../../ports/process-inspector.ts";
import { FileDigests, HashBudget } from "./file-digests.ts";
import { MAX_ATTEMPTS, MAX_MAPS_BYTES, type Mapping, readAtMost, readMappings } from "./mappings.ts";
import { ancestry, ProcessTable } from "./processes.ts";
import { isRuntimeStarting } from "./runtime-process.ts";

const MAX_MOUNTINFO_BYTES = 4 * 1024 * 1024;
const MAX_PROCESSES = 4096;
/** Looked at before others get their turn: where nothing moved, no wait for anything gives it to them. */
const PROCESSES_A_TURN = 16;
/** Read in one look at one container, from files outside the layers; the rest is claimed, and read in the next looks. */
const MAX_LOOK_BYTES = 256 * 1024 * 1024;
/** Read to tell the runtime's own process from the container's, for each that begins to run a program. */
const MAX_RUNTIME_BYTES = 128 * 1024 * 1024;
const MAX_TOLD_CLAIMS = 16;
/** Processes of one container caught at their start and not told of yet; more are left to the next look, if they live until then. */
const MAX_STARTED = 64;
/** Of all containers: each holds a file open. */
const MAX_ALL_STARTED = 1024;
/** How long they wait for their container to be looked at: one that has gone before it was listed is looked at never, and keeps files open. */
const MAX_WAIT_MS = 120_000;
const DELETED = " (deleted)";

interface Process {
  readonly pid: number;
  /** One that lives, by whose number procfs shows what the process has: itself, or another where the first one has ended and others run on. */
  readonly thread: number;
  readonly uid: number;
  /** `major:minor:inode` of the program. */
  readonly program: string;
  readonly maps: string;
  readonly mappings: readonly Mapping[];
  /** Permitted, effective and bounding capabilities together; none where they are those of another user namespace. */
  readonly capabilities: bigint;
  /** As procfs names the program: latin1. */
  readonly programPath: string;
  /** More mappings than are read. */
  readonly truncated: boolean;
}

/** What a path shows now in a process's view. */
interface Live {
  /** `major:minor:inode`; empty: nothing. */
  readonly inode: string;
  /** Another one: what the file holds may be another. */
  readonly written: string;
}

const NOT_THERE: Live = { inode: "", written: "" };

/** A process as it was just after it began to run a program, for the time when it is no more. */
interface Started {
  readonly process: Process;
  /** The program's file. */
  readonly program: FileHandle | undefined;
}

interface Remembered {
  /** Taken before it was looked at; undefined where it must be looked at in full each time. */
  readonly quick: Buffer | undefined;
  readonly signature: string;
  readonly code: readonly InspectedCode[];
  readonly privilege: InspectedPrivilege | undefined;
  readonly truncated: boolean;
  /** Files were left unread: to be looked at again though nothing moves. */
  readonly unread: boolean;
}

export class ProcfsInspector implements ProcessInspector {
  readonly #proc = "/proc";
  readonly #maxLookBytes: number;
  readonly #table = new ProcessTable();
  readonly #signatures = openSignatures();
  readonly #digests = new FileDigests();
  /** Container → pid → what was found, while its mappings stay as they were. */
  readonly #remembered = new Map<string, Map<number, Remembered>>();

  /** Container → what was told last, where it is nothing but what is remembered. */
  readonly #inspected = new Map<string, InspectedLook>();

  /** Container → what began to run since the last look, the first of it at `sinceMs` (of the monotonic clock). */
  readonly #started = new Map<string, { readonly sinceMs: number; readonly caught: Promise<Started | undefined>[] }>();
  #startedCount = 0;
  readonly #maxWaitMs: number;
  #sweeping: NodeJS.Timeout | undefined;

  /** @param maxLookBytes of code from outside the layers, read in one look at one container @param maxWaitMs for which what was caught waits for a look */
  constructor(maxLookBytes = MAX_LOOK_BYTES, maxWaitMs = MAX_WAIT_MS) {
    this.#maxLookBytes = maxLookBytes;
    this.#maxWaitMs = maxWaitMs;
  }

  signature(request: InspectRequest, files: readonly OwnedFile[]): string | undefined {
    if (this.#started.has(request.containerId)) return undefined;
    const pids = this.#pids(request);
    if (pids.length > MAX_PROCESSES) return undefined;
    const read = files.flatMap(({ path, maxBytes }) => [path, maxBytes]);
    return this.#signatures.ofContainer(request.pid, pids, request.overlay?.upperPath ?? "", read)?.toString("latin1");
  }

  #pids({ containerId, pid }: InspectRequest): number[] {
    return [...new Set([pid, ...this.#table.of(containerId, pid)])];
  }

  async inspect(request: InspectRequest, signal: AbortSignal): Promise<InspectedLook> {
    const caught = await this.#takeStarted(request.containerId);
    const pids = this.#pids(request);
    const before = this.#remembered.get(request.containerId);
    const remembered = new Map<number, Remembered>();
    const code: InspectedCode[] = [];
    const privileges: InspectedPrivilege[] = [];
    const claims: { code: string; detail: string }[] = [];
    const budget = new HashBudget(this.#maxLookBytes);
    let starting = false;
    if (pids.length > MAX_PROCESSES) claims.push({ code: "processes-truncated", detail: `${pids.length} processes, ${MAX_PROCESSES} looked at` });
    for (const [i, pid] of pids.slice(0, MAX_PROCESSES).entries()) {
      if (i % PROCESSES_A_TURN === PROCESSES_A_TURN - 1) await new Promise(setImmediate);
      if (signal.aborted) break;
      const found = await this.#process(request, pid, before?.get(pid), budget).catch(goneOrUnreadable);
      starting ||= found === "runtime";
      if (!found || found === "runtime") continue;
      if ("problem" in found) {
        claims.push({ code: "unmeasurable", detail: `process ${pid}: ${found.problem}` });
        continue;
      }
      if (found.truncated) claims.push({ code: "unmeasurable", detail: `process ${pid} has more than ${MAX_MAPS_BYTES} bytes of mappings` });
      remembered.set(pid, found);
      code.push(...found.code);
      if (found.privilege) privileges.push(found.privilege);
    }
    for (const { process, program } of caught) {
      const gone = remembered.has(process.pid) || signal.aborted ? undefined : await this.#gone(request, process, program, budget);
      // That it ran something of a layer is worth nothing any more.
      code.push(...(gone?.code.filter(({ place }) => place !== "layer") ?? []));
      if (gone?.privilege) privileges.push(gone.privilege);
      await program?.close();
    }
    if (budget.exceeded) {
      const detail = `more code from outside the layers than the ${this.#maxLookBytes} bytes that one look reads`;
      claims.push({ code: "unmeasurable", detail }, { code: "over-budget", detail });
    }
    this.#remembered.set(request.containerId, remembered);
    const plain = caught.length === 0 && claims.length === 0;
    // Whether a process is the runtime others than itself decide.
    const steady = plain && !starting && !signal.aborted && [...remembered.values()].every(({ quick, unread }) => quick && !unread);
    const told = this.#inspected.get(request.containerId);
    const same = plain && before?.size === remembered.size && [...remembered].every(([pid, found]) => before.get(pid) === found);
    const inspected = (same && told?.steady === steady ? told : undefined) ?? {
      code,
      privileges,
      processes: remembered.size,
      claims: claims.slice(0, MAX_TOLD_CLAIMS),
      steady,
    };
    if (plain) this.#inspected.set(request.containerId, inspected);
    else this.#inspected.delete(request.containerId);
    return inspected;
  }

  started(containerId: string, pid: number): void {
    this.#table.outdated();
    const before = this.#started.get(containerId)?.caught.length ?? 0;
    if (before >= MAX_STARTED || this.#startedCount >= MAX_ALL_STARTED) return;
    this.#startedCount++;
    const caught = this.#catch(pid).catch(() => undefined);
    const others = this.#started.get(containerId);
    if (others) others.caught.push(caught);
    else this.#started.set(containerId, { sinceMs: performance.now(), caught: [caught] });
    this.#sweeping ??= setTimeout(() => this.#sweep(), this.#maxWaitMs).unref();
  }

  #sweep(): void {
    this.#sweeping = undefined;
    const untilMs = performance.now() - this.#maxWaitMs;
    for (const [containerId, { sinceMs }] of this.#started) if (sinceMs <= untilMs) this.#drop(containerId);
    if (this.#started.size > 0) this.#sweeping = setTimeout(() => this.#sweep(), this.#maxWaitMs).unref();
  }

  #drop(containerId: string): void {
    void this.#takeStarted(containerId).then((caught) => Promise.all(caught.map(({ program }) => program?.close())));
  }

  forget(containerId: string): void {
    this.#remembered.delete(containerId);
    this.#inspected.delete(containerId);
    this.#drop(containerId);
  }

  async #takeStarted(containerId: string): Promise<Started[]> {
    const taken = this.#started.get(containerId)?.caught ?? [];
    this.#started.delete(containerId);
    this.#startedCount -= taken.length;
    return (await Promise.all(taken)).filter((each) => each !== undefined);
  }

  /** Reads at once what will be told later. undefined: gone, or the runtime itself. */
  async #catch(pid: number): Promise<Started | undefined> {
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
      const program = await open(`${this.#proc}/${pid}/exe`).catch(() => undefined);
      let kept = false;
      try {
        const process = await this.#read(pid).catch(ignoreGone);
        const file = await program?.stat();
        const runtime = process && (await this.#isRuntime(process));
        // Looked at again: whether it is the runtime cannot be told once it has ended.
        const again = runtime ? undefined : await this.#read(pid).catch(ignoreGone);
        kept = process !== undefined && file !== undefined && again?.program === process.program && `${deviceName(file.dev)}:${file.ino}` === process.program;
        if (kept && process) return { process, program };
        if (!process || !(runtime || again)) return undefined;
      } finally {
        if (!kept) await program?.close();
      }
    }
    return undefined;
  }

  /** What a process ran that has ended since it was caught. */
  async #gone(request: InspectRequest, process: Process, program: FileHandle | undefined, budget: HashBudget): Promise<Remembered | undefined> {
    const found = await this.#classify(request, process, undefined, budget, program).catch(goneOrUnreadable);
    return found && "code" in found ? found : undefined;
  }

  #isRuntime(process: Process): Promise<boolean> {
    const budget = new HashBudget(MAX_RUNTIME_BYTES);
    return isRuntimeStarting(this.#proc, process, (path) => this.#digests.of(path, budget));
  }

  /** What is odd is looked at again unless nothing moved meanwhile: a process that was just replacing itself is none of both. */
  async #process(request: InspectRequest, pid: number, before: Remembered | undefined, budget: HashBudget): Promise<Remembered | "runtime" | undefined> {
    for (let attempt = 1; ; attempt++) {
      const quick = this.#signatures.ofProcess(pid, request.pid, request.overlay?.upperPath ?? "");
      if (quick && before?.quick?.equals(quick) && !before.unread) return before;
      const process = await this.#read(pid);
      if (!process) return undefined;
      const classified = await this.#classify(request, process, before, budget);
      const found = { ...classified, quick };
      const plain = !found.privilege && found.code.every(({ place }) => place === "layer");
      if (classified === before || attempt === MAX_ATTEMPTS || plain) return found;
      const runtime = await this.#isRuntime(process);
      const again = await this.#read(pid);
      if (!again) return undefined;
      if (again.maps === process.maps && again.program === process.program && again.capabilities === process.capabilities) return runtime ? "runtime" : found;
    }
  }

  /** @param held the program's file, where the process may be gone */
  async #classify(request: InspectRequest, process: Process, before: Remembered | undefined, budget: HashBudget, held?: FileHandle): Promise<Remembered> {
    const { pid } = process;
    // Mappings alone cannot tell that the file at a path was replaced: the live inode, and when it was written to, belong to the signature. It is looked up in the view of the
    // main process: a process with a mount namespace or root of its own can have any file under the name of one of the image.
    const view = (await stat(`${this.#proc}/${request.pid}/root`).catch(() => undefined)) ? request.pid : (livingThread(request.pid) ?? process.thread);
    // One after the other: where a file system does not answer, that is one thread of this process, not all of them.
    const live: Live[] = [];
    for (const { path } of process.mappings) live.push(await this.#live(view, path));
    const inUpper = process.mappings.map(({ path }) => existsIn(request.overlay?.upperPath, path));
    const signature = hash(
      "sha256",
      `${process.maps}|${live.map(({ inode, written }) => `${inode}@${written}`).join()}|${inUpper.join()}|${process.capabilities}`,
      "base64",
    );
    if (before?.signature === signature && !before.unread) return before;
    const mounts = await readAtMost(`${this.#proc}/${held ? view : process.thread}/mountinfo`, MAX_MOUNTINFO_BYTES);
    const mounted = parseMountInfo(mounts.text);
    const types = new Map(mounted.map(({ device, type }) => [device, type]));
    // A process with mounts of its own decides what its table says.
    const given = view === process.thread || held ? mounted : parseMountInfo((await readAtMost(`${this.#proc}/${view}/mountinfo`, MAX_MOUNTINFO_BYTES)).text);
    // Never the root of the process itself: it may have been changed to a tmpfs or volume.
    const rootDevice = request.rootDevice ?? deviceName((await stat(`${this.#proc}/${view}/root`)).dev);
    const code: InspectedCode[] = [];
    const parents = await ancestry(this.#proc, pid);
    for (const [i, mapping] of process.mappings.entries()) {
      // A root that is no overlay may be of one device with volumes: there the path decides.
      const onRoot = mapping.device === rootDevice && (request.overlay !== undefined || !isBelowMount(mapping.path, given));
      const place = placeOf(mapping, onRoot, live[i]?.inode === `${mapping.device}:${mapping.inode}`, inUpper[i] === true, types);
      const main = process.program === `${mapping.device}:${mapping.inode}`;
      const sha256 =
        place === "layer"
          ? undefined
          : await this.#digests.of(main && held ? `/proc/self/fd/${held.fd}` : `${this.#proc}/${process.thread}/${main ? "exe" : mapping.handle}`, budget);
      code.push({ place, path: Buffer.from(withoutDeleted(mapping.path), "latin1"), sha256, main, pid, uid: process.uid, ancestry: parents });
    }
    const unread = budget.exceeded && code.some(({ place, sha256 }) => place !== "layer" && !sha256);
    return { quick: undefined, signature, code, privilege: privilegeOf(request, process, parents), truncated: process.truncated, unread };
  }

  async #read(pid: number): Promise<Process | undefined> {
    const found = await this.#readBy(pid, pid);
    if (found) return found;
    const thread = livingThread(pid);
    return thread === undefined ? undefined : this.#readBy(pid, thread);
  }

  async #readBy(pid: number, thread: number): Promise<Process | undefined> {
    const folder = `${this.#proc}/${thread}`;
    const [{ mappings: mapped, truncated, none }, status, exe, link, capabilities] = await Promise.all([
      readMappings(folder),
      readFile(`${folder}/status`, "latin1"),
      stat(`${folder}/exe`).catch(ignoreGone),
      readlink(`${folder}/exe`, "latin1").catch(ignoreGone),
      this.#capabilities(thread),
    ]);
    // A kernel thread or a zombie has neither mappings nor a program.
    if (none && !exe) return undefined;
    const mappings = [...mapped];
    const uid = Number(/^Uid:\s+\d+\s+(\d+)/m.exec(status)?.[1] ?? 0);
    const device = exe && deviceName(exe.dev);
    const program = exe ? `${device}:${exe.ino}` : "";
    // A program that unmapped its own file is known by its name in procfs all the same.
    if (exe && device && link && !mappings.some((each) => `${each.device}:${each.inode}` === program))
      mappings.push({ handle: "exe", device, inode: String(exe.ino), path: link });
    const maps = mappings.map((each) => `${each.handle} ${each.device} ${each.inode} ${each.path}`).join("\n");
    return { pid, thread, uid, program, maps, mappings, capabilities, programPath: withoutDeleted(link ?? ""), truncated };
  }

  /** A user namespace that was made below the container's has every capability, over nothing but itself. */
  async #capabilities(pid: number): Promise<bigint> {
    const [own, its] = await Promise.all([readlink(`${this.#proc}/self/ns/user`), readlink(`${this.#proc}/${pid}/ns/user`).catch(ignoreGone)]);
    if (its !== own) return 0n;
    const status = await readFile(`${this.#proc}/${pid}/status`, "latin1");
    return [...status.matchAll(/^Cap(?:Prm|Eff|Bnd):\s*([0-9a-f]{1,16})$/gm)].reduce((all, [, set]) => all | BigInt(`0x${set}`), 0n);
  }

  async #live(pid: number, path: string): Promise<Live> {
    if (path.endsWith(DELETED)) return NOT_THERE;
    const found = await stat(Buffer.from(`${this.#proc}/${pid}/root${path}`, "latin1"), { bigint: true }).catch(() => undefined);
    if (!found) return NOT_THERE;
    return { inode: `${deviceName(Number(found.dev))}:${found.ino}`, written: `${found.size}:${found.mtimeNs}:${found.ctimeNs}` };
  }
}

/** What a process may beyond what its container was given. */
function privilegeOf({ capabilities }: InspectRequest, process: Process, parents: readonly string[]): InspectedPrivilege | undefined {
  const beyond = process.capabilities & ~capabilitySet(capabilities);
  if (beyond === 0n) return undefined;
  const { pid, uid, programPath } = process;
  return { path: Buffer.from(programPath, "latin1"), capabilities: capabilityNames(beyond), pid, uid, ancestry: parents };
}

function placeOf({ path, device }: Mapping, onRoot: boolean, isLive: boolean, inUpper: boolean, types: ReadonlyMap<string, string>): CodePlaceName {
  if (path.startsWith("/memfd:")) return "memfd";
  if (path.endsWith(DELETED) || !isLive) return types.has(device) || onRoot ? "deleted" : "unknown";
  if (onRoot) return inUpper ? "upper" : "layer";
  const type = types.get(device);
  if (type === undefined) return "unknown";
  return type === "tmpfs" || type === "ramfs" ? "tmpfs" : "volume";
}

/** Whether something is mounted at the path or above it, below the root. */
function isBelowMount(path: string, mounted: readonly MountInfo[]): boolean {
  return mounted.some(({ destination }) => destination !== "/" && `${path}/`.startsWith(`${destination}/`));
}

function existsIn(upperPath: string | undefined, path: string): boolean {
  return upperPath !== undefined && hasInUpper(upperPath, Buffer.from(path.replace(/^\/+/, ""), "latin1"));
}

function withoutDeleted(path: string): string {
  return path.endsWith(DELETED) ? path.slice(0, -DELETED.length) : path;
}

/** A process that ends while it is looked at: procfs says EINVAL for the mounts of a zombie. */
const GONE: ReadonlySet<string | undefined> = new Set(["ENOENT", "ESRCH", "EINVAL"]);

function ignoreGone(error: NodeJS.ErrnoException): undefined {
  if (GONE.has(error.code)) return undefined;
  throw error;
}

/** What cannot be read is told: it must not pass for a process that runs nothing. */
function goneOrUnreadable(error: NodeJS.ErrnoException): { problem: string } | undefined {
  return GONE.has(error.code) ? undefined : { problem: error.code ?? error.message };
}
