/** {@link ChangeSource} over fanotify: sees every change on the filesystems below the watched directories, and who made it. */
import { type ChangeProcess, type FanotifyBatch, FanotifyError, FanotifySource, fanotifySelfTest } from "@hullmark/native";
import {
  type Change,
  type ChangeActor,
  type ChangeHandler,
  type ChangeSource,
  type ChangeSourceCapabilities,
  ChangeSourceError,
} from "../../ports/change-source.ts";

/** Least time between two reports of loss: each makes the agent look at everything again, and a workload can cause as many as it likes. */
const LOST_INTERVAL_MS = 5_000;

/** A native thread that did not turn between so many looks is dead: it turns at least once a second. */
const LOOK_INTERVAL_MS = 3_000;
const LOOKS = 5;

/** What is gone, or has gone meanwhile, needs no watching. */
const GONE = new Set(["ENOENT", "ENOTDIR", "ESTALE"]);

export interface FanotifyChangeSourceOptions {
  /** Existing directory for the self-test, on the filesystem that holds the containers. */
  readonly scratchDirectory: string;
  /** Tell of every write rather than of close only. Default true. */
  readonly modify?: boolean;
}

export class FanotifyChangeSource implements ChangeSource {
  readonly #options: FanotifyChangeSourceOptions;
  readonly #watches = new Map<string, { readonly root: number; readonly path: string }>();
  readonly #ids = new Map<number, string>();
  #nextRoot = 0;
  #source: FanotifySource | undefined;
  #handler: ChangeHandler | undefined;
  #processes = false;
  #lostTimer: NodeJS.Timeout | undefined;
  #lostDetail: string | undefined;
  #probed = false;
  #looking: NodeJS.Timeout | undefined;
  #turns = -1;
  #silentLooks = 0;

  constructor(options: FanotifyChangeSourceOptions) {
    this.#options = options;
  }

  /** Attribution and processes are known once `start` has resolved. */
  get capabilities(): ChangeSourceCapabilities {
    return { kind: "fanotify", attribution: this.#processes, complete: true, processes: this.#processes };
  }

  /** The self-test: undefined where this source works here, else why not. */
  async probe(): Promise<string | undefined> {
    const test = await fanotifySelfTest(this.#options.scratchDirectory);
    this.#probed = test.ok;
    return test.ok ? undefined : `${test.reason} (kernel ${test.kernel})`;
  }

  async start(handler: ChangeHandler): Promise<void> {
    // What hangs cannot be ended: that waits for the thread.
    if (this.#hangs) throw new ChangeSourceError("SOURCE_UNAVAILABLE", "its thread still does not answer");
    this.#end();
    const reason = this.#probed ? undefined : await this.probe();
    if (reason !== undefined) throw new ChangeSourceError("SOURCE_UNAVAILABLE", reason);
    this.#handler = handler;
    try {
      this.#source = new FanotifySource({ modify: this.#options.modify ?? true }, (batch) => this.#deliver(batch));
      this.#processes = this.#source.status().processEvents;
    } catch (cause) {
      throw new ChangeSourceError("SOURCE_UNAVAILABLE", FanotifyError.from(cause).message, { cause });
    }
    for (const [watchId, { root, path }] of this.#watches) this.#add(watchId, root, path);
    this.#turns = -1;
    this.#looking = setInterval(() => this.#look(), LOOK_INTERVAL_MS).unref();
  }

  get #hangs(): boolean {
    return this.#silentLooks >= LOOKS;
  }

  /** A thread that waits for a disk for ever tells nothing, this neither. */
  #look(): void {
    const turns = this.#source?.status().turns ?? 0;
    this.#silentLooks = turns === this.#turns ? this.#silentLooks + 1 : 0;
    this.#turns = turns;
    if (this.#silentLooks === LOOKS)
      this.#fail(new ChangeSourceError("SOURCE_FAILED", `its thread has not answered for ${(LOOKS * LOOK_INTERVAL_MS) / 1000} s`));
  }

  #fail(error: ChangeSourceError): void {
    const handler = this.#handler;
    this.#handler = undefined;
    this.#probed = false;
    handler?.failed(error);
  }

  #end(): void {
    clearInterval(this.#looking);
    this.#silentLooks = 0;
    this.#source?.stop();
    this.#source = undefined;
  }

  watch(watchId: string, path: string): void {
    this.unwatch(watchId);
    const root = this.#nextRoot++;
    this.#watches.set(watchId, { root, path });
    this.#ids.set(root, watchId);
    this.#add(watchId, root, path);
  }

  #add(watchId: string, root: number, path: string): void {
    if (this.#hangs) return; // it would be waited for, and is told everything when it is started anew
    try {
      this.#source?.watch(root, Buffer.from(path));
    } catch (error) {
      const { code, message } = FanotifyError.from(error);
      // A directory that cannot be watched is a loss like any other: it is told, and looked at by rescans.
      if (!GONE.has(code)) this.#lost(`${watchId}: ${message}`);
    }
  }

  unwatch(watchId: string): void {
    const watched = this.#watches.get(watchId);
    if (!watched) return;
    this.#watches.delete(watchId);
    this.#ids.delete(watched.root);
    if (this.#hangs) return;
    try {
      this.#source?.unwatch(watched.root);
    } catch {
      // The source has ended and said so.
    }
  }

  /** At once, then no oftener than each {@link LOST_INTERVAL_MS}; the last one is always told. */
  #lost(detail: string): void {
    this.#lostDetail = detail;
    if (this.#lostTimer) return;
    const tell = (): void => {
      const told = this.#lostDetail;
      this.#lostDetail = undefined;
      this.#lostTimer = told === undefined ? undefined : setTimeout(tell, LOST_INTERVAL_MS).unref();
      if (told !== undefined) this.#handler?.lost(told);
    };
    tell();
  }

  async stop(): Promise<void> {
    clearTimeout(this.#lostTimer);
    this.#handler = undefined;
    this.#end();
  }

  #deliver(batch: FanotifyBatch): void {
    if (batch.failure) this.#end();
    const handler = this.#handler;
    if (!handler) return;
    const changes: Change[] = [];
    for (const { root, path, actor, atMs } of batch.changes) {
      const watchId = this.#ids.get(root);
      if (watchId !== undefined) changes.push({ watchId, path, actor: actorOf(actor), atMs });
    }
    if (changes.length > 0) handler.changes(changes);
    for (const { actor } of batch.executions) handler.processStarted(actor.containerId, actor.pid, actor.entrance ?? undefined);
    if (batch.lost > 0) this.#lost(`${batch.lost} change events were dropped: ${batch.lostReason}`);
    if (batch.failure) this.#fail(new ChangeSourceError("SOURCE_FAILED", batch.failure.message, { cause: batch.failure }));
  }
}

/** Who it was, where the program is certain. */
function actorOf(actor: ChangeProcess | null): ChangeActor | undefined {
  if (!actor?.exe) return undefined;
  const executable = `${actor.exe.path.toString("utf8")}${actor.exe.deleted ? " (deleted)" : ""}`;
  return {
    pid: actor.pid,
    executable,
    located: actor.located && actor.uid !== null,
    uid: actor.uid ?? 0,
    containerId: actor.containerId,
    ancestry: actor.ancestry,
    entrance: actor.entrance ?? undefined,
  };
}
