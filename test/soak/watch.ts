/** Everything the verifier says, as it says it: drift by `drift watch`, verdicts by polling, as a person at a terminal would see them. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Stack } from "../../deploy/stack/stack.ts";
import { REPOSITORY } from "../../deploy/testbed/paths.ts";

export interface SeenDrift {
  readonly id: string;
  readonly kind: string;
  readonly state: "open" | "acknowledged" | "resolved" | "notice";
  readonly path: string;
  readonly summary: string;
  readonly container: { readonly id: string; readonly name: string };
}

/** Follows `hullmark drift watch --current -o json`, restarting it should it end. */
export class DriftWatch {
  readonly drifts = new Map<string, SeenDrift>();
  readonly #stack: Stack;
  readonly #changed = new Set<(drift: SeenDrift) => void>();
  #child: ChildProcess | undefined;
  #closed = false;
  restarts = -1;

  constructor(stack: Stack) {
    this.#stack = stack;
    this.#start();
  }

  onChange(listener: (drift: SeenDrift) => void): () => void {
    this.#changed.add(listener);
    return () => this.#changed.delete(listener);
  }

  /** What `drift ls --all` lists, so that nothing the stream might have missed stays unseen. */
  async list(): Promise<void> {
    const { drifts } = await this.#stack.json<{ drifts: SeenDrift[] }>("drift", "ls", "--all");
    for (const drift of drifts) this.#see(drift);
  }

  /** Resolves with the drift as soon as one known now or later satisfies; undefined after `limitMs`. */
  async until(wanted: (drift: SeenDrift) => boolean, limitMs: number): Promise<SeenDrift | undefined> {
    const known = [...this.drifts.values()].find(wanted);
    if (known) return known;
    return new Promise((resolve) => {
      const done = (drift?: SeenDrift): void => {
        clearTimeout(timer);
        off();
        resolve(drift);
      };
      const off = this.onChange((drift) => wanted(drift) && done(drift));
      const timer = setTimeout(() => done(), limitMs);
    });
  }

  close(): void {
    this.#closed = true;
    this.#child?.kill();
  }

  #start(): void {
    this.restarts++;
    const argv = [join(REPOSITORY, "dist/hullmark.js"), "drift", "watch", "--current", "-o", "json"];
    const child = spawn(process.execPath, argv, { env: { ...process.env, HULLMARK_CONFIG: this.#stack.cliConfig }, stdio: ["ignore", "pipe", "ignore"] });
    this.#child = child;
    createInterface({ input: child.stdout }).on("line", (line) => this.#see(JSON.parse(line) as SeenDrift));
    child.once("close", () => {
      if (!this.#closed) setTimeout(() => this.#closed || this.#start(), 500);
    });
  }

  #see(drift: SeenDrift): void {
    // A drift that has been resolved never opens again under its number: an older word must not undo that.
    if (this.drifts.get(drift.id)?.state === "resolved") return;
    this.drifts.set(drift.id, drift);
    for (const listener of this.#changed) listener(drift);
  }
}
