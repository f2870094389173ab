/** Nodes and workloads must stay attested: unknown only at the start, and for a moment around what was announced. */
import type { Stack } from "../../deploy/stack/stack.ts";
import { pause } from "./pause.ts";

/** Two of the policy's longest intervals between reports of a node's health, and one look. */
const UNKNOWN_LIMIT_MS = 20_000;

interface Named {
  readonly verdict: string;
  readonly reasons: readonly { readonly code: string; readonly detail: string }[];
}
interface Workload extends Named {
  readonly container: { readonly name: string };
  readonly content: string;
  readonly provenance: { readonly status: string } | null;
}
interface Node extends Named {
  readonly name: string;
}

export class Verdicts {
  readonly #stack: Stack;
  readonly #problem: (text: string) => void;
  readonly #announcedMs = new Map<string, number>();
  /** Since when a name is unknown. */
  readonly #unknown = new Map<string, number>();
  readonly #told = new Set<string>();
  longestUnknownMs = 0;

  constructor(stack: Stack, problem: (text: string) => void) {
    this.#stack = stack;
    this.#problem = problem;
  }

  /** This container is about to be away, or has just come back. */
  announce(container: string): void {
    this.#announcedMs.set(container, Date.now());
  }

  /** Waits until every workload is affirmed. @throws Error that shows those that are not */
  async firstAttested(count: number, limitMs: number): Promise<void> {
    for (const deadline = Date.now() + limitMs; ; await pause(2000)) {
      const workloads = await this.#stack.json<Workload[]>("workloads");
      if (workloads.length === count && workloads.every(({ verdict }) => verdict !== "unknown")) return;
      if (Date.now() > deadline) throw new Error(`not attested after ${limitMs / 1000} s: ${JSON.stringify(workloads, null, 1)}`);
    }
  }

  async look(): Promise<void> {
    const [workloads, nodes] = [await this.#stack.json<Workload[]>("workloads"), await this.#stack.json<Node[]>("nodes")];
    for (const workload of workloads) {
      this.#judge(workload.container.name, workload);
      if (workload.provenance?.status !== "signed" && workload.verdict !== "unknown") this.#tell(`${workload.container.name} is not signed`, workload);
    }
    for (const node of nodes) {
      this.#judge(node.name, node);
      if (node.verdict === "contraindicated") this.#tell(`${node.name} is contraindicated`, node);
    }
  }

  #judge(name: string, item: Named): void {
    if (item.verdict !== "unknown") {
      this.#unknown.delete(name);
      return;
    }
    const nowMs = Date.now();
    const since = this.#unknown.get(name) ?? nowMs;
    this.#unknown.set(name, since);
    this.longestUnknownMs = Math.max(this.longestUnknownMs, nowMs - since);
    const announced = this.#announcedMs.get(name) ?? 0;
    if (nowMs - announced > UNKNOWN_LIMIT_MS) this.#tell(`${name} is unknown, and nothing was done to it`, item);
  }

  #tell(what: string, item: unknown): void {
    if (this.#told.has(what)) return;
    this.#told.add(what);
    this.#problem(`${what}: ${JSON.stringify(item, null, 1)}`);
  }
}
