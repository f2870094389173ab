/**
 * Which containers the template has that a pod was made of: each template is read once, by its name, when the first pod of it comes, and forgotten with the last.
 * The API server controls the answers; templates that are read here never change.
 */
import type { ApiServer } from "@hullmark/daemon/api-server";
import * as z from "zod";
import type { Clock } from "../../ports/clock.ts";
import type { PodRecord, PodTemplateNames, PodTemplateSource } from "../../ports/pod-view.ts";
import { type Due, DueReads, MAX_RETRY_MS, MIN_RETRY_MS } from "./due-reads.ts";

const Containers = z.array(z.object({ name: z.string() })).nullish();
const Template = z.object({ spec: z.object({ containers: Containers, initContainers: Containers }) });
const Metadata = z.object({ uid: z.string(), ownerReferences: z.array(z.object({ uid: z.string(), controller: z.boolean().nullish() })).nullish() });
const WithTemplate = z.object({ metadata: Metadata, spec: z.object({ template: Template }) });
/** What a StatefulSet or DaemonSet keeps of each of its revisions: a patch with the whole template. */
const Revision = z.object({ metadata: Metadata, data: z.object({ spec: z.object({ template: Template }) }) });

const PATHS: Readonly<Record<PodTemplateSource["kind"], readonly [group: string, resource: string]>> = {
  ReplicaSet: ["apps", "replicasets"],
  ControllerRevision: ["apps", "controllerrevisions"],
  Job: ["batch", "jobs"],
};
interface Known extends Due {
  readonly namespace: string;
  readonly source: PodTemplateSource;
  readonly pods: Set<string>;
  names: PodTemplateNames;
}

export interface PodTemplatesOptions {
  readonly api: Pick<ApiServer, "get">;
  readonly clock: Clock;
  readonly onProblem: (error: unknown) => void;
  /** Of these pods the template is known now. */
  readonly onKnown: (uids: ReadonlySet<string>) => void;
}

export class PodTemplates {
  readonly #options: PodTemplatesOptions;
  readonly #known = new Map<string, Known>();
  readonly #waiting = new Set<Known>();
  readonly #reads: DueReads<Known>;

  constructor(options: PodTemplatesOptions) {
    this.#options = options;
    this.#reads = new DueReads({
      clock: options.clock,
      next: () => this.#next(),
      longestMs: ({ retryMs }) => retryMs,
      read: (next) => this.#readFor(next),
      failed: (next, error) => this.#failed(next, error),
    });
  }

  of({ namespace, template }: PodRecord): PodTemplateNames {
    return template && this.#known.get(keyOf(namespace, template))?.names;
  }

  /**
   * @param before the pod as it was: that template has one pod less. Whoever may change pods may name another at each change: what they name is asked for after a while, if it is
   *   named then still
   */
  add({ uid, namespace, template: source }: PodRecord, before?: PodRecord): void {
    const key = source && keyOf(namespace, source);
    const changed = before !== undefined && (before.template && keyOf(before.namespace, before.template)) !== key;
    if (changed) this.remove(before);
    if (!source || key === undefined) return;
    const dueMs = changed ? this.#options.clock.nowMs() + MIN_RETRY_MS : 0;
    const known = this.#known.get(key) ?? { namespace, source, pods: new Set<string>(), names: "pending", retryMs: MIN_RETRY_MS, dueMs };
    known.pods.add(uid);
    this.#known.set(key, known);
    if (known.names !== "pending") return;
    this.#waiting.add(known);
    this.#reads.wake();
  }

  remove({ uid, namespace, template: source }: PodRecord): void {
    const key = source && keyOf(namespace, source);
    const known = key === undefined ? undefined : this.#known.get(key);
    if (key === undefined || !known) return;
    known.pods.delete(uid);
    if (known.pods.size > 0) return;
    this.#known.delete(key);
    this.#waiting.delete(known);
  }

  /**
   * Reads one after the other until the signal aborts, what is new first: whoever may make pods may make them of what cannot be read. Never rejects: what goes wrong is told,
   * and tried again later and later.
   */
  async run(signal: AbortSignal): Promise<void> {
    await this.#reads.run(signal);
  }

  async #readFor(next: Known): Promise<number> {
    next.names = await this.#read(next);
    this.#waiting.delete(next);
    this.#options.onKnown(new Set(next.pods));
    return 0;
  }

  #failed(next: Known, error: unknown): number {
    this.#options.onProblem(error);
    next.dueMs = this.#options.clock.nowMs() + next.retryMs;
    next.retryMs = Math.min(2 * next.retryMs, MAX_RETRY_MS);
    return MIN_RETRY_MS;
  }

  /** Of those that wait, the first that is due. */
  #next(): Known | undefined {
    let first: Known | undefined;
    for (const each of this.#waiting) {
      if (each.dueMs === 0) return each;
      if (!first || each.dueMs < first.dueMs) first = each;
    }
    return first;
  }

  /** @returns undefined: there is none, or it is of another owner by the same name */
  async #read({ namespace, source }: Known): Promise<ReadonlySet<string> | undefined> {
    const [group, resource] = PATHS[source.kind];
    const path = `/apis/${group}/v1/namespaces/${encodeURIComponent(namespace)}/${resource}/${encodeURIComponent(source.name)}`;
    const { status, body } = await this.#options.api.get(path);
    if (status === 404) return undefined;
    if (status !== 200) throw new Error(`the API server answers ${status} to get ${resource}`);
    const { metadata, template } = source.kind === "ControllerRevision" ? ofRevision(body) : ofObject(body);
    const uid = source.kind === "ControllerRevision" ? metadata.ownerReferences?.find(({ controller }) => controller)?.uid : metadata.uid;
    if (uid !== source.ownerUid) return undefined;
    const { containers, initContainers } = template.spec;
    return new Set([...(containers ?? []), ...(initContainers ?? [])].map(({ name }) => name));
  }
}

function ofObject(body: unknown) {
  const { metadata, spec } = WithTemplate.parse(body);
  return { metadata, template: spec.template };
}

function ofRevision(body: unknown) {
  const { metadata, data } = Revision.parse(body);
  return { metadata, template: data.spec.template };
}

const keyOf = (namespace: string, { kind, name, ownerUid }: PodTemplateSource): string => JSON.stringify([namespace, kind, name, ownerUid]);
