/**
 * ConfigMaps that variables of running containers come from: each is read by its name once a container is told of that uses it, never listed and never watched, and only what cannot have
 * changed since that container's pod was made is kept. Whoever may write a ConfigMap controls all of the answer; which containers there are says a node.
 */
import type { ApiServer } from "@hullmark/daemon/api-server";
import * as z from "zod";
import type { Clock } from "../../ports/clock.ts";
import type { PodConfigMaps, PodContainer, PodRecord } from "../../ports/pod-view.ts";
import { type Due, DueReads, MAX_RETRY_MS, MIN_RETRY_MS } from "./due-reads.ts";
import { hasField, Managed } from "./managed-fields.ts";

/** Between any two: at most ten a second. */
const SPACING_MS = 100;
/** Of one ConfigMap, however many containers begin with it. */
const AGAIN_MS = 10_000;
/** A container that starts over and over has a new id each time: of older ones nothing is known any more. */
const MAX_RUNS = 4;
/** Of one container; whoever has more in variables is not compared. */
const MAX_CHARACTERS = 64 * 1024;
/** Whoever may make pods in one namespace takes no more of the room of all. */
const MAX_NAMESPACE_CHARACTERS = 8 * 1024 * 1024;
const MAX_ALL_CHARACTERS = 64 * 1024 * 1024;
/** Whose turns are remembered; of more all begin anew. */
const MAX_TURNS = 16_384;
/** A kubelet that lost its connection may give a new pod what a ConfigMap had before, where another pod of its node uses it as well. */
const KUBELET_LAG_MS = 60_000;
const NONE: PodConfigMaps = new Map();

const ConfigMap = z.object({
  metadata: z.object({ creationTimestamp: z.string(), managedFields: z.unknown().optional() }),
  data: z.record(z.string(), z.string()).nullish(),
});

/** A container that runs, with what is known for it. */
interface User {
  readonly pod: PodRecord;
  /** The container's, in its pod. */
  readonly name: string;
  /** ConfigMap → keys that variables come from; `all`: a whole one (`envFrom`). */
  readonly wanted: ReadonlyMap<string, ReadonlySet<string> | "all">;
  readonly known: Map<string, ReadonlyMap<string, string>>;
  characters: number;
}

interface Source extends Due {
  readonly namespace: string;
  readonly name: string;
  /** All that use it. */
  readonly users: Set<User>;
  /** Those that it was not read for yet. */
  readonly waiting: Set<User>;
}

export interface ConfigMapsOptions {
  readonly api: Pick<ApiServer, "get">;
  readonly clock: Clock;
  readonly onProblem: (error: unknown) => void;
  /** Told of every request. */
  readonly onRead?: (result: "read" | "absent" | "failed") => void;
  /** Of these pods more is known now. */
  readonly onKnown: (uids: ReadonlySet<string>) => void;
}

export class ConfigMaps {
  readonly #options: ConfigMapsOptions;
  readonly #users = new Map<string, Map<string, User>>();
  readonly #sources = new Map<string, Source>();
  #characters = 0;
  readonly #ofNamespace = new Map<string, number>();
  /** Namespace → when one of its was read last, counted in readings. */
  readonly #turns = new Map<string, number>();
  #readings = 0;
  #problem: string | undefined;
  readonly #reads: DueReads<Source>;

  constructor(options: ConfigMapsOptions) {
    this.#options = options;
    this.#reads = new DueReads({
      clock: options.clock,
      next: () => this.#next(),
      longestMs: ({ retryMs }) => Math.max(retryMs, AGAIN_MS),
      read: (next) => this.#readFor(next),
      failed: (next, error) => this.#failed(next, error),
    });
  }

  /** How many could not be read yet, and what the API server said of the last; undefined: none. */
  get unread(): { readonly count: number; readonly problem: string } | undefined {
    const count = [...this.#sources.values()].filter(({ waiting, retryMs }) => waiting.size > 0 && retryMs > MIN_RETRY_MS).length;
    return count > 0 && this.#problem !== undefined ? { count, problem: this.#problem } : undefined;
  }

  /** @param containerId of one that runs: what is read from now on was not older when it started */
  of(pod: PodRecord, container: PodContainer, containerId: string): PodConfigMaps {
    const known = this.#users.get(pod.uid)?.get(containerId);
    if (known) return known.known;
    const wanted = wantedBy(container);
    if (wanted.size === 0) return NONE;
    const user: User = { pod, name: container.name, wanted, known: new Map(), characters: 0 };
    const ofPod = this.#users.get(pod.uid) ?? new Map<string, User>();
    this.#users.set(pod.uid, ofPod.set(containerId, user));
    const runs = [...ofPod].filter(([, { name }]) => name === container.name);
    const [oldest] = runs;
    if (oldest && runs.length > MAX_RUNS) {
      ofPod.delete(oldest[0]);
      this.#release(oldest[1]);
    }
    for (const name of wanted.keys()) {
      const key = keyOf(pod.namespace, name);
      const source = this.#sources.get(key) ?? newSource(pod.namespace, name);
      this.#sources.set(key, source);
      source.users.add(user);
      source.waiting.add(user);
    }
    this.#reads.wake();
    return user.known;
  }

  remove({ uid }: PodRecord): void {
    for (const user of this.#users.get(uid)?.values() ?? []) this.#release(user);
    this.#users.delete(uid);
  }

  /** Reads one after the other until the signal aborts. Never rejects: what goes wrong is told, and tried again later and later. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#reads.run(signal);
  }

  async #readFor(next: Source): Promise<number> {
    const { clock, onKnown, onRead } = this.#options;
    const users = [...next.waiting];
    if (this.#turns.size >= MAX_TURNS) this.#turns.clear();
    this.#turns.set(next.namespace, ++this.#readings);
    const read = await this.#read(next);
    onRead?.(read ? "read" : "absent");
    for (const user of users) if (next.waiting.delete(user)) this.#keep(user, next.name, read);
    [next.retryMs, next.dueMs] = [MIN_RETRY_MS, clock.nowMs() + AGAIN_MS];
    onKnown(new Set(users.map(({ pod }) => pod.uid)));
    return SPACING_MS;
  }

  #failed(next: Source, error: unknown): number {
    const { clock, onProblem, onRead } = this.#options;
    onRead?.("failed");
    this.#problem = error instanceof Error ? error.message : "it cannot be read";
    onProblem(error);
    next.retryMs = Math.min(2 * next.retryMs, MAX_RETRY_MS);
    next.dueMs = clock.nowMs() + next.retryMs;
    return SPACING_MS;
  }

  /** Of those that are waited for, the first that is due; of several one of the namespace that had its turn longest ago: one with pods of a thousand names keeps no other waiting. */
  #next(): Source | undefined {
    const nowMs = this.#options.clock.nowMs();
    const order = ({ dueMs, namespace }: Source): readonly [number, number] => [Math.max(dueMs, nowMs), this.#turns.get(namespace) ?? 0];
    let first: Source | undefined;
    let least: readonly [number, number] = [0, 0];
    for (const each of this.#sources.values()) {
      if (each.waiting.size === 0) continue;
      const its = order(each);
      if (first && (its[0] > least[0] || (its[0] === least[0] && its[1] >= least[1]))) continue;
      [first, least] = [each, its];
    }
    return first;
  }

  /** @returns undefined: there is none */
  async #read({ namespace, name }: Source): Promise<z.infer<typeof ConfigMap> | undefined> {
    const { status, body } = await this.#options.api.get(`/api/v1/namespaces/${encodeURIComponent(namespace)}/configmaps/${encodeURIComponent(name)}`);
    if (status === 404) return undefined;
    if (status !== 200) throw new Error(`the API server answers ${status} to get configmaps`);
    const read = ConfigMap.safeParse(body);
    // What is wrong with it would say what is in it.
    if (!read.success) throw new Error("the API server answers with something else than a ConfigMap");
    return read.data;
  }

  #keep(user: User, name: string, read: z.infer<typeof ConfigMap> | undefined): void {
    const wanted = user.wanted.get(name);
    if (!read || !wanted) return;
    const values = new Map<string, string>();
    let characters = 0;
    for (const [key, value] of Object.entries(read.data ?? {})) {
      if (wanted !== "all" && !wanted.has(key)) continue;
      if (!isOlder(read.metadata, key, user.pod.madeMs)) continue;
      values.set(key, value);
      characters += key.length + value.length;
    }
    const ofNamespace = this.#ofNamespace.get(user.pod.namespace) ?? 0;
    if (user.characters + characters > MAX_CHARACTERS || ofNamespace + characters > MAX_NAMESPACE_CHARACTERS) return;
    if (this.#characters + characters > MAX_ALL_CHARACTERS) return;
    user.known.set(name, values);
    this.#count(user, characters);
  }

  #count(user: User, characters: number): void {
    const { namespace } = user.pod;
    const ofNamespace = (this.#ofNamespace.get(namespace) ?? 0) + characters;
    if (ofNamespace > 0) this.#ofNamespace.set(namespace, ofNamespace);
    else this.#ofNamespace.delete(namespace);
    user.characters += characters;
    this.#characters += characters;
  }

  #release(user: User): void {
    this.#count(user, -user.characters);
    for (const name of user.wanted.keys()) {
      const key = keyOf(user.pod.namespace, name);
      const source = this.#sources.get(key);
      source?.users.delete(user);
      source?.waiting.delete(user);
      if (source?.users.size === 0) this.#sources.delete(key);
    }
  }
}

/**
 * Whether every start of the pod gave the key this value, by the API server's clock alone: the ConfigMap was made with it (in the same second as the pod it was there first: without it
 * no container starts), or it was set long enough before the pod was made. A key that was taken away is noted nowhere: it is not there, and so not compared.
 */
function isOlder({ creationTimestamp, managedFields }: z.infer<typeof ConfigMap>["metadata"], key: string, podMadeMs: number): boolean {
  const managed = Managed.safeParse(managedFields);
  const owners = (managed.success ? managed.data : []).filter(({ fieldsV1 }) => hasField(fieldsV1, ["f:data", `f:${key}`]));
  const madeMs = Date.parse(creationTimestamp);
  return (
    owners.length > 0 &&
    owners.every(({ time }) => {
      const setMs = Date.parse(time ?? "");
      return setMs === madeMs || setMs + KUBELET_LAG_MS < podMadeMs;
    }) &&
    madeMs <= podMadeMs
  );
}

function wantedBy({ env, envFrom }: PodContainer): ReadonlyMap<string, ReadonlySet<string> | "all"> {
  const wanted = new Map<string, Set<string> | "all">();
  for (const { configMap } of env) {
    const keys = configMap && (wanted.get(configMap.name) ?? new Set<string>());
    if (configMap && keys && keys !== "all") wanted.set(configMap.name, keys.add(configMap.key));
  }
  for (const { configMap } of envFrom) if (configMap !== undefined) wanted.set(configMap, "all");
  return wanted;
}

const newSource = (namespace: string, name: string): Source => ({
  ...{ namespace, name, users: new Set<User>(), waiting: new Set<User>() },
  ...{ retryMs: MIN_RETRY_MS, dueMs: 0 },
});
const keyOf = (namespace: string, name: string): string => `${namespace}/${name}`;
