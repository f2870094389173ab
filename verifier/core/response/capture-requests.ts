/** Agents that take captures, and what they are asked: by the stream that each has now. */
import { INTENT_ID_BYTES } from "@hullmark/proto/codec";
import { ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow } from "../../ports/rows.ts";

export interface CaptureAsked {
  readonly id: Buffer;
  readonly actionId: string;
  readonly containerId: string;
}

interface Agent {
  readonly ask: (asked: CaptureAsked) => void;
  /** Ids, hexadecimal, of what it has not answered. */
  readonly unanswered: Set<string>;
}

export class CaptureRequests {
  readonly #agents = new Map<string, Agent>();

  /** @param waiting of all nodes: what this one has not answered is asked for (again) @returns ends it */
  connect(nodeId: string, ask: (asked: CaptureAsked) => void, waiting: Iterable<ActionRow>): () => void {
    const agent: Agent = { ask, unanswered: new Set() };
    this.#agents.set(nodeId, agent);
    for (const row of waiting) if (row.nodeId === nodeId) this.ask(row);
    return () => {
      if (this.#agents.get(nodeId) === agent) this.#agents.delete(nodeId);
    };
  }

  /** Nothing where the agent is away: it is asked when it comes. */
  ask({ id: actionId, nodeId, containerId, state, capturing, capture }: ActionRow): void {
    const agent = this.#agents.get(nodeId);
    if (!agent || state !== ActionState.CAPTURING || !capturing || capture) return;
    agent.unanswered.add(capturing.id.toString("hex"));
    agent.ask({ id: capturing.id, actionId, containerId });
  }

  /** Whether this is the answer to something; the first one. What a node says beyond that costs nothing. */
  answers(nodeId: string, id: Uint8Array): boolean {
    return id.length === INTENT_ID_BYTES && (this.#agents.get(nodeId)?.unanswered.delete(Buffer.from(id).toString("hex")) ?? false);
  }
}
