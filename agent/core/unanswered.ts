/** Containers that the engine lists and cannot be inspected: one claim of the node stands for all, until each has been looked at or is gone. */
import type { NodeCondition } from "./node-state.ts";

/** A warning of the node (docs/claims.md): an engine that fails at one container says nothing of the others. */
export const UNANSWERED = "container-unanswered";
const MAX_NAMED = 8;
const MAX_REASON_CHARS = 160;

export class Unanswered {
  readonly #condition: Pick<NodeCondition, "stand" | "clear">;
  /** Container → how often in a row, and how it is called. */
  readonly #failures = new Map<string, { readonly times: number; readonly name: string; readonly reason: string }>();

  constructor(condition: Pick<NodeCondition, "stand" | "clear">) {
    this.#condition = condition;
  }

  /** How often it has failed in a row; 0: it has not. */
  times(id: string): number {
    return this.#failures.get(id)?.times ?? 0;
  }

  /** @param name where it is known @returns how often it has failed in a row, from 1 */
  failed(id: string, name: string | undefined, error: unknown, nowMs: number): number {
    const times = (this.#failures.get(id)?.times ?? 0) + 1;
    const reason = (error instanceof Error ? error.message : "no reason").slice(0, MAX_REASON_CHARS);
    this.#failures.set(id, { times, name: (name ?? id.slice(0, 12)).slice(0, 64), reason });
    this.#tell(nowMs);
    return times;
  }

  /** It was looked at, or is gone. @returns whether that is news */
  answered(id: string, nowMs: number): boolean {
    if (!this.#failures.delete(id)) return false;
    this.#tell(nowMs);
    return true;
  }

  #tell(nowMs: number): void {
    const all = [...this.#failures.values()];
    const [first] = all;
    if (!first) {
      this.#condition.clear(UNANSWERED);
      return;
    }
    const named = all.slice(0, MAX_NAMED).map(({ name }) => name);
    const more = all.length > named.length ? ` and ${all.length - named.length} more` : "";
    this.#condition.stand(UNANSWERED, `${all.length} cannot be inspected: ${named.join(", ")}${more}; ${first.reason}`, nowMs);
  }
}
