/** Whoever listens for intents: the actuators of nodes, and the cluster's. */
import type { ActionRow } from "../../ports/rows.ts";
import { type ActuatorName, actuatorName } from "./actuator-name.ts";

/** Of one actuator. */
export interface ActuatorStream {
  push(row: ActionRow): void;
  /** The verifier stops, or the node is revoked: nothing more comes. */
  end(): void;
}

export class ActuatorStreams {
  readonly #streams = new Map<ActuatorName, Set<ActuatorStream>>();

  /** Nodes and clusters of which one listens at least. */
  names(): ActuatorName[] {
    return [...this.#streams.keys()];
  }

  has(name: ActuatorName): boolean {
    return this.#streams.has(name);
  }

  /** @returns a function that takes it away */
  add(name: ActuatorName, stream: ActuatorStream): () => void {
    const streams = this.#streams.get(name) ?? new Set();
    this.#streams.set(name, streams.add(stream));
    return () => {
      streams.delete(stream);
      if (streams.size === 0) this.#streams.delete(name);
    };
  }

  /** To each that it is for. */
  push(row: ActionRow): void {
    for (const stream of this.#streams.get(actuatorName.ofAction(row)) ?? []) stream.push(row);
  }

  /** They come back by themselves, where they may. */
  end(name: ActuatorName): void {
    for (const stream of [...(this.#streams.get(name) ?? [])]) stream.end();
  }
}
