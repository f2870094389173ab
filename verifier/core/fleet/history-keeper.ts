/** Tells people when an agent remembers what the log does not hold, and takes their word that they know why. */
import type { ClaimRow } from "../../ports/rows.ts";
import type { Contradiction, HistoryWatch } from "../transparency/history.ts";
import { AdministrationError } from "./administration.ts";
import { claimRow } from "./claims.ts";
import type { Committer } from "./committer.ts";
import { adminFact } from "./log-facts.ts";

export interface HistoryKeeperOptions {
  readonly watch: HistoryWatch;
  readonly committer: Committer;
  readonly nowMs: () => number;
  /** Keeps the length of an accepted loss where the database's fate does not reach. Durable on return. */
  readonly remember: (size: number) => void;
  /** The first time, and again for longer histories: for the verifier's log. */
  readonly onContradiction: (fact: Readonly<Record<string, string | number>>) => void;
  readonly onProblem: (nodeId: string, error: unknown) => void;
}

export class HistoryKeeper {
  readonly #options: HistoryKeeperOptions;
  /** What the log was last told of. */
  #told: Contradiction | undefined;

  constructor(options: HistoryKeeperOptions) {
    this.#options = options;
  }

  get contradicted(): boolean {
    return this.#options.watch.contradiction !== undefined;
  }

  get claims(): readonly ClaimRow[] {
    const found = this.#options.watch.contradiction;
    if (!found) return [];
    const { size, nodeId, logSize } = found;
    const how = size > logSize ? `the log had ${logSize}` : "the log holds others";
    return [claimRow("log-contradicted", `node ${nodeId} keeps a signed checkpoint of ${size} entries, and ${how}: an older or another database was restored`)];
  }

  /** An agent showed what it keeps. Looked at aside: nothing of the node's own rests on it. */
  shown(nodeId: string, note: string): void {
    this.#look(nodeId, note).catch((error: unknown) => this.#options.onProblem(nodeId, error));
  }

  async #look(nodeId: string, note: string): Promise<void> {
    const { watch, committer, nowMs, onContradiction } = this.#options;
    if ((await watch.show(nodeId, note)) !== "contradicted") return;
    const found = watch.contradiction;
    if (!found || found === this.#told) return;
    // The log itself, which only grows, is told once a start; a fleet that remembers more and more is in `claims`.
    const first = this.#told === undefined;
    this.#told = found;
    const fact = { node: found.nodeId, size: found.size, root: found.root.toString("base64"), logSize: found.logSize };
    onContradiction(fact);
    if (first) await committer.submit({ entries: [adminFact("log-contradicted", nowMs(), fact)], build: () => ({}) });
  }

  /** @returns entries of the lost history. @throws AdministrationError NOT_FOUND where nothing contradicts the log; StoreError */
  async accept(by: string, reason: string): Promise<number> {
    const { watch, committer, nowMs, remember } = this.#options;
    const found = watch.contradiction;
    if (!found) throw new AdministrationError("NOT_FOUND", "no agent remembers what the log does not hold");
    const fact = adminFact("history-accepted", nowMs(), { size: found.size, root: found.root.toString("base64"), node: found.nodeId, by, reason });
    await committer.submit({ entries: [fact], build: () => ({}) });
    remember(found.size);
    watch.accept(found);
    this.#told = watch.contradiction;
    return found.size;
  }
}
