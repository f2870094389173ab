/**
 * Which variables from Secrets (and whatever else the verifier does not read) differ among the containers of one revision, for a person who asks. The key of the digests is made for this
 * one question and kept nowhere: neither database nor log has anything of the values.
 */
import type { PodView } from "../../ports/pod-view.ts";
import type { WorkloadRow } from "../../ports/rows.ts";
import { AdministrationError } from "../fleet/administration.ts";
import { type DifferingVariable, differingVariables, replicasOf, type Told, uncomparedVariables } from "../pods/differing-variables.ts";
import type { Session } from "../session/session.ts";

const KEY_BYTES = 32;
const MAX_CONTAINERS = 128;
/** People at a time. */
const MAX_RUNNING = 4;

export interface ReplicaVariablesServices {
  /** undefined: pods are not followed. */
  readonly pods: PodView | undefined;
  readonly sessions: { get(nodeId: string): Session | undefined; all(): readonly Session[] };
  readonly random: (bytes: number) => Buffer;
}

export interface ComparedVariables {
  /** Kind and revision, for example `ReplicaSet/web-5d8f`. */
  readonly revision: string;
  readonly compared: number;
  readonly unknown: number;
  readonly variables: number;
  readonly differing: readonly DifferingVariable[];
}

export class ReplicaVariables {
  readonly #services: ReplicaVariablesServices;
  #running = 0;

  constructor(services: ReplicaVariablesServices) {
    this.#services = services;
  }

  /** @throws AdministrationError NO_REPLICAS, NOT_LIVE, TOO_MANY; the signal's reason */
  async of({ nodeId, containerId }: Pick<WorkloadRow, "nodeId" | "containerId">, signal: AbortSignal): Promise<ComparedVariables> {
    const { pods, sessions } = this.#services;
    const state = sessions.get(nodeId)?.live.memory.containers.get(containerId);
    if (!state) throw new AdministrationError("NOT_LIVE", "the container's node is not connected, or does not tell of it now");
    const pod = state.identity.pod && pods?.get(state.identity.pod.uid);
    const container = pod?.containers.find(({ name }) => name === state.identity.pod?.container);
    const replicas = pod && container && replicasOf(pods?.all() ?? [], pod, container.name);
    if (!pod?.origin || !container || !replicas)
      throw new AdministrationError("NO_REPLICAS", "of no pod that the API server has, made by what keeps revisions (a Deployment, StatefulSet or DaemonSet)");
    const variables = uncomparedVariables(
      container,
      state.configuration.env.map(({ name }) => name),
    );
    if (this.#running >= MAX_RUNNING) throw new AdministrationError("TOO_MANY", "others are comparing now: try again");
    this.#running++;
    try {
      const names = variables.map(({ name }) => name);
      const told = variables.length > 0 ? await this.#ask(replicas, names, signal) : [];
      const running = [...replicas.values()].reduce((sum, ids) => sum + ids.length, 0);
      const facts = { revision: `${pod.origin.owner.kind}/${pod.origin.revision}`, compared: told.length, variables: variables.length };
      return { ...facts, unknown: variables.length > 0 ? running - told.length : 0, differing: differingVariables(variables, told) };
    } finally {
      this.#running--;
    }
  }

  async #ask(replicas: ReadonlyMap<string, readonly string[]>, names: string[], signal: AbortSignal): Promise<Told[]> {
    const { sessions, random } = this.#services;
    const key = random(KEY_BYTES);
    let left = MAX_CONTAINERS;
    const answers = sessions.all().flatMap((session) => {
      const { containers } = session.live.memory;
      const containerIds = (replicas.get(session.live.node.name) ?? []).filter((id) => containers.has(id)).slice(0, left);
      left -= containerIds.length;
      return containerIds.length > 0 ? [this.#askNode(session, { key, containerIds, names }, signal)] : [];
    });
    return (await Promise.all(answers)).flat();
  }

  /** What was not asked for is not taken. */
  async #askNode(session: Session, wanted: { key: Buffer; containerIds: string[]; names: string[] }, signal: AbortSignal): Promise<Told[]> {
    const answer = await session.askVariables(wanted, signal);
    const asked = new Set(wanted.containerIds);
    return (answer?.containers ?? []).flatMap(({ containerId, variables }) => {
      const container = session.live.memory.containers.get(containerId)?.identity.name;
      if (!asked.delete(containerId) || container === undefined) return [];
      return [{ container, digests: new Map(variables.map(({ name, digest }) => [name, digest])) }];
    });
  }
}
