/** What became durable, told to whoever watches within this process. */
import type { ActionRow, DriftRow, ExceptionRow, ImageRow, IncidentRow, NodeRow, WorkloadRow } from "../../ports/rows.ts";
import type { StoreCommit } from "../../ports/store.ts";

export interface Events {
  readonly node: NodeRow;
  readonly workload: WorkloadRow;
  readonly workloadRemoved: { readonly nodeId: string; readonly containerId: string };
  readonly drift: DriftRow;
  readonly image: ImageRow;
  readonly action: ActionRow;
  readonly exception: ExceptionRow;
  readonly incident: IncidentRow;
  readonly incidentRemoved: string;
}

type Listener<K extends keyof Events> = (event: Events[K]) => void;

export class EventBus {
  readonly #listeners: { [K in keyof Events]: Set<Listener<K>> } = {
    node: new Set(),
    workload: new Set(),
    workloadRemoved: new Set(),
    drift: new Set(),
    image: new Set(),
    action: new Set(),
    exception: new Set(),
    incident: new Set(),
    incidentRemoved: new Set(),
  };

  /** @returns a function that ends the subscription */
  on<K extends keyof Events>(kind: K, listener: Listener<K>): () => void {
    this.#listeners[kind].add(listener);
    return () => this.#listeners[kind].delete(listener);
  }

  /** Listeners queue; they neither block nor throw. */
  publish(commit: StoreCommit): void {
    for (const row of commit.nodes ?? []) this.#tell("node", row);
    for (const row of commit.removedWorkloads ?? []) this.#tell("workloadRemoved", row);
    for (const row of commit.workloads ?? []) this.#tell("workload", row);
    for (const row of commit.drifts ?? []) this.#tell("drift", row);
    for (const row of commit.images ?? []) this.#tell("image", row);
    for (const { row } of commit.actions ?? []) this.#tell("action", row);
    for (const row of commit.exceptions ?? []) this.#tell("exception", row);
    for (const id of commit.removedIncidents ?? []) this.#tell("incidentRemoved", id);
    for (const row of commit.incidents ?? []) this.#tell("incident", row);
  }

  #tell<K extends keyof Events>(kind: K, event: Events[K]): void {
    for (const listener of this.#listeners[kind]) listener(event);
  }
}
