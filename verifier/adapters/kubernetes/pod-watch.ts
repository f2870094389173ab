/** {@link PodView} by list and watch of every pod: listed once in pages, then followed from there, and listed again only where that cannot go on. */

import { type ApiServer, PageSize, WatchRefused } from "@hullmark/daemon/api-server";
import * as z from "zod";
import type { Clock } from "../../ports/clock.ts";
import type { PodConfigMaps, PodContainer, PodRecord, PodTemplateNames, PodView } from "../../ports/pod-view.ts";
import { pause } from "./follow.ts";
import { ConfigMaps, type ConfigMapsOptions } from "./pod-config-maps.ts";
import { type ListedPod, readPod } from "./pod-object.ts";
import { PodTemplates } from "./pod-templates.ts";

const Page = z.object({ metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }), items: z.array(z.unknown()) });
const Event = z.object({ type: z.string(), object: z.unknown() });
const Named = z.object({ metadata: z.object({ uid: z.string() }) });
const Bookmark = z.object({ metadata: z.object({ resourceVersion: z.string() }) });

/** The API server ends a watch after this, and it is taken up where it ended: each time shows that the view is still followed. */
const WATCH_SECONDS = 60;
/** Pods asked for at once; fewer where an answer is too large. */
const PAGE_PODS = 100;
const MAX_PODS = 200_000;
const MIN_RETRY_MS = 1_000;
const MAX_RETRY_MS = 30_000;

export interface PodWatchOptions {
  readonly api: Pick<ApiServer, "get" | "watch">;
  readonly clock: Clock;
  readonly onProblem: (error: unknown) => void;
  /** Whether templates of pods are read too, by the right to get ReplicaSets, ControllerRevisions and Jobs. */
  readonly templates?: boolean;
  /** Whether ConfigMaps that variables come from are read too, by the right to get them. */
  readonly configMaps?: boolean;
  /** Told of every request for one. */
  readonly onConfigMapRead?: ConfigMapsOptions["onRead"];
}

const NO_CONFIG_MAPS: PodConfigMaps = new Map();

/** The API server does not know the version any more from which to follow. */
class Expired extends Error {}

export class PodWatch implements PodView {
  readonly #options: PodWatchOptions;
  readonly #templates: PodTemplates | undefined;
  readonly #configMaps: ConfigMaps | undefined;
  readonly #listeners: ((uids: ReadonlySet<string>) => void)[] = [];
  /** Object's uid → pod. */
  #objects = new Map<string, ListedPod>();
  /** uid as the kubelet has it → objects of it, newest last: a mirror pod that was made again overlaps the one before. */
  #byUid = new Map<string, ListedPod[]>();
  #version: string | undefined;
  #heardMs: number | undefined;
  #followedMs: number | undefined;
  readonly #pageSize = new PageSize(PAGE_PODS);

  constructor(options: PodWatchOptions) {
    this.#options = options;
    if (options.templates) this.#templates = new PodTemplates({ ...options, onKnown: (uids) => this.#tell(uids) });
    if (options.configMaps)
      this.#configMaps = new ConfigMaps({ ...options, onRead: options.onConfigMapRead ?? (() => {}), onKnown: (uids) => this.#tell(uids) });
  }

  get heardMs(): number | undefined {
    return this.#heardMs;
  }

  get followedMs(): number | undefined {
    return this.#followedMs;
  }

  get(uid: string): PodRecord | undefined {
    const found = this.#byUid.get(uid) ?? [];
    // What names another pod's uid as its own is no match for that pod.
    return (found.find(({ record, objectUid }) => !record.mirror && objectUid === uid) ?? found.at(-1))?.record;
  }

  *all(): Generator<PodRecord> {
    for (const { record } of this.#objects.values()) yield record;
  }

  templateOf(pod: PodRecord): PodTemplateNames {
    return this.#templates?.of(pod);
  }

  configMapsOf(pod: PodRecord, container: PodContainer, containerId: string): PodConfigMaps {
    return this.#configMaps?.of(pod, container, containerId) ?? NO_CONFIG_MAPS;
  }

  /** See {@link ConfigMaps.unread}. */
  get unreadConfigMaps(): ConfigMaps["unread"] {
    return this.#configMaps?.unread;
  }

  onChange(changed: (uids: ReadonlySet<string>) => void): void {
    this.#listeners.push(changed);
  }

  /** Follows until the signal aborts. Never rejects: what goes wrong is told, and tried again later and later. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#pods(signal), this.#templates?.run(signal), this.#configMaps?.run(signal)]);
  }

  async #pods(signal: AbortSignal): Promise<void> {
    let retryMs = MIN_RETRY_MS;
    while (!signal.aborted) {
      try {
        if (this.#version === undefined) await this.#list();
        await this.#follow(signal);
        retryMs = MIN_RETRY_MS;
      } catch (error) {
        this.#followedMs = undefined;
        if (signal.aborted) return;
        if (error instanceof Expired || (error instanceof WatchRefused && error.status === 410)) this.#version = undefined;
        this.#options.onProblem(error);
        await pause(this.#options.clock, retryMs, signal);
        retryMs = Math.min(2 * retryMs, MAX_RETRY_MS);
      }
    }
  }

  async #list(): Promise<void> {
    const { api, clock } = this.#options;
    const objects = new Map<string, ListedPod>();
    let next = "";
    let version: string;
    do {
      const askedMs = clock.nowMs();
      const rest = next && `&continue=${encodeURIComponent(next)}`;
      const { status, body } = await this.#pageSize.ask((limit) => api.get(`/api/v1/pods?limit=${limit}${rest}`));
      if (status !== 200) throw new Error(`the API server answers ${status} to list pods`);
      const { metadata, items } = Page.parse(body);
      for (const item of items) {
        const pod = this.#listed(item);
        objects.set(pod.objectUid, pod);
      }
      if (objects.size > MAX_PODS) throw new Error(`more than ${MAX_PODS} pods`);
      [next, version] = [metadata.continue ?? "", metadata.resourceVersion];
      if (next === "") this.#heardMs = askedMs;
    } while (next !== "");
    // What was too large may be gone by the next list, or may not: beginning with whole pages would cost as many attempts again, and their pauses.
    this.#pageSize.grow();
    const before = this.#objects;
    const changed = new Set<string>();
    for (const [uid, { record, resourceVersion }] of objects) if (before.get(uid)?.resourceVersion !== resourceVersion) changed.add(record.uid);
    for (const [uid, { record }] of before) if (!objects.has(uid)) changed.add(record.uid);
    this.#objects = objects;
    this.#byUid = new Map();
    for (const pod of objects.values()) this.#index(pod, before.get(pod.objectUid));
    for (const [uid, { record }] of before) if (!objects.has(uid)) this.#forget(record);
    this.#version = version;
    this.#tell(changed);
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { api, clock } = this.#options;
    const path = `/api/v1/pods?watch=1&allowWatchBookmarks=true&timeoutSeconds=${WATCH_SECONDS}&resourceVersion=${encodeURIComponent(this.#version ?? "")}`;
    // The end that was asked for is no break: the next begins at once.
    const begun = (): void => {
      this.#followedMs ??= clock.nowMs();
    };
    for await (const raw of api.watch(path, signal, begun)) {
      const { type, object } = Event.parse(raw);
      if (type === "ERROR") throw new Expired("the API server cannot go on from the version of pods that is known");
      if (type === "BOOKMARK") this.#version = Bookmark.parse(object).metadata.resourceVersion;
      else this.#take(type, object);
      this.#heardMs = clock.nowMs();
    }
    // Ended by the API server, as it was asked to: until then nothing was kept back.
    if (!signal.aborted) this.#heardMs = clock.nowMs();
  }

  /** What changed between a list and what was followed before it is not known, unless nothing did. */
  #listed(item: unknown): ListedPod {
    const pod = readPod(item);
    const before = this.#objects.get(pod.objectUid);
    return before?.resourceVersion === pod.resourceVersion ? before : pod;
  }

  #take(type: string, object: unknown): void {
    const before = this.#objects.get(Named.parse(object).metadata.uid);
    const pod = readPod(object, before?.record ?? (type === "ADDED" ? "made" : undefined));
    const { objectUid, record } = pod;
    if (before) this.#unindex(before);
    if (type === "DELETED") {
      this.#objects.delete(objectUid);
      if (before) this.#forget(before.record);
    } else {
      if (!before && this.#objects.size >= MAX_PODS) throw new Error(`more than ${MAX_PODS} pods`);
      this.#objects.set(objectUid, pod);
      this.#index(pod, before);
    }
    this.#version = pod.resourceVersion;
    this.#tell(new Set([record.uid, ...(before ? [before.record.uid] : [])]));
  }

  #index(pod: ListedPod, before: ListedPod | undefined): void {
    this.#templates?.add(pod.record, before?.record);
    this.#byUid.set(pod.record.uid, [...(this.#byUid.get(pod.record.uid) ?? []), pod]);
  }

  #unindex(pod: ListedPod): void {
    const left = (this.#byUid.get(pod.record.uid) ?? []).filter((each) => each !== pod);
    if (left.length === 0) this.#byUid.delete(pod.record.uid);
    else this.#byUid.set(pod.record.uid, left);
  }

  #forget(pod: PodRecord): void {
    this.#templates?.remove(pod);
    this.#configMaps?.remove(pod);
  }

  #tell(uids: ReadonlySet<string>): void {
    if (uids.size > 0) for (const changed of this.#listeners) changed(uids);
  }
}
