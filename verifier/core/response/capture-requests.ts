/** Agents that take captures, and what they are asked: by the stream that each has now. */
import { ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow } from "../../ports/rows.ts";

export interface CaptureAsked {
  readonly id: Buffer;
  readonly actionId: string;
  readonly containerId: string;
}

export class CaptureRequests {
  readonly #agents = new Map<string, (asked: CaptureAsked) => void>();

  /** @param waiting of all nodes: what this one has not answered is asked for (again) @returns ends it */
  connect(nodeId: string, ask: (asked: CaptureAsked) => void, waiting: Iterable<ActionRow>): () => void {
    this.#agents.set(nodeId, ask);
    for (const row of waiting) if (row.nodeId === nodeId) this.ask(row);
    return () => {
      if (this.#agents.get(nodeId) === ask) this.#agents.delete(nodeId);
    };
  }

  /** Nothing where the agent is away: it is asked when it comes. */
  ask({ id: actionId, nodeId, containerId, state, capturing, capture }: ActionRow): void {
    if (state === ActionState.CAPTURING && capturing && !capture) this.#agents.get(nodeId)?.({ id: capturing.id, actionId, containerId });
  }
}
