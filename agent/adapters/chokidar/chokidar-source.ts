/**
 * {@link ChangeSource} over chokidar (inotify): the portable fallback. It cannot tell who did it, does not see names that are not UTF-8, nor entries that
 * came and went at once, and costs memory for each directory: it is meant for upper directories, and rescans cover the rest.
 */
import { relative } from "node:path";
import { type FSWatcher, watch } from "chokidar";
import { type ChangeHandler, type ChangeSource, type ChangeSourceCapabilities, ChangeSourceError } from "../../ports/change-source.ts";

/** Layers have far too many directories for one inotify watch each; the rescan finds edits there. */
const WATCHED = /^upper\//;

export class ChokidarSource implements ChangeSource {
  readonly capabilities: ChangeSourceCapabilities = { kind: "chokidar", attribution: false, complete: false, processes: false };
  readonly #watchers = new Map<string, FSWatcher>();
  #handler: ChangeHandler | undefined;
  #failed = false;

  /** What inotify once refused (mostly for its limits) it would refuse again, but only after a while of looking well. */
  async start(handler: ChangeHandler): Promise<void> {
    if (this.#failed) throw new ChangeSourceError("SOURCE_UNAVAILABLE", "inotify failed: raise its limits and start the agent anew");
    this.#handler = handler;
  }

  watch(watchId: string, path: string): void {
    if (!WATCHED.test(watchId) || this.#watchers.has(watchId)) return;
    // What is there already is told too: between this call and inotify's first look anything may have changed.
    const watcher = watch(path, { ignoreInitial: false, followSymlinks: false, alwaysStat: false, atomic: false, awaitWriteFinish: false });
    watcher.on("all", (_event, changed) => {
      this.#handler?.changes([{ watchId, path: Buffer.from(relative(path, changed)), actor: undefined, atMs: Date.now() }]);
    });
    watcher.on("error", (cause) => {
      const first = !this.#failed;
      this.#failed = true;
      if (first) this.#handler?.failed(new ChangeSourceError("SOURCE_FAILED", cause instanceof Error ? cause.message : "inotify failed", { cause }));
    });
    this.#watchers.set(watchId, watcher);
  }

  unwatch(watchId: string): void {
    const watcher = this.#watchers.get(watchId);
    this.#watchers.delete(watchId);
    void watcher?.close();
  }

  async stop(): Promise<void> {
    const watchers = [...this.#watchers.values()];
    this.#watchers.clear();
    await Promise.all(watchers.map((watcher) => watcher.close()));
  }
}
