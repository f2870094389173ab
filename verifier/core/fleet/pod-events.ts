/**
 * What a cluster is told of drift in its pods, as Events: one Event a pod and severity, counted up while more of the same comes (a series), and one when the last
 * drift is over. Names of pods come from nodes; how much is written does not depend on them.
 */
import type { Severity } from "@hullmark/proto/v1/common";
import type { ActionRow, DriftRow } from "../../ports/rows.ts";
import { entryWords } from "../appraisal/actor.ts";
import { isRiskRefusal } from "../response/rollback.ts";
import { printable } from "../text/printable.ts";
import { isOpen } from "./drift-rows.ts";

/** A pod as the node's runtime names it. */
export interface PodName {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** In the pod's specification. */
  readonly container: string;
}

/** One Event as it is to stand in the cluster. Times are Unix milliseconds. */
export interface PodEvent {
  /** The same from the first write to the last: lower-case hex, unique a pod, reason and beginning. */
  readonly id: string;
  readonly pod: PodName;
  /** What an actuator refuses it tells itself. */
  readonly reason: "Drifted" | "DriftResolved" | "RollbackRefused";
  /** At most 1,000 bytes, printable. Never changes. */
  readonly note: string;
  readonly firstMs: number;
  readonly lastMs: number;
  /** How often it was observed; 1: no series. */
  readonly count: number;
  /** Whether it was written before, with a lower count. */
  readonly written: boolean;
  /** The action that it tells of, and its drift, with their entries in the log; absent: it tells of drift. */
  readonly about?: Pick<ActionRow, "id" | "logIndex" | "driftId" | "driftLogIndex">;
}

interface Series {
  readonly id: string;
  readonly severity: Severity;
  readonly reason: "Drifted" | "DriftResolved";
  readonly note: string;
  readonly firstMs: number;
  lastMs: number;
  count: number;
  /** The count that the cluster was told; 0: nothing yet. */
  told: number;
  toldMs: number;
}

interface Pod {
  name: PodName;
  /** Ids of drifts that are open. */
  readonly open: Set<string>;
  series: Series | undefined;
}

/** Pods that are followed at once; drift in others is not told as an Event. */
export const MAX_PODS = 4096;
/** After so long without more of the same, the next is an Event of its own. */
export const SERIES_MS = 6 * 60_000;
/** A series is brought up to date at most this often. */
export const UPDATE_MS = 30_000;
/** Writes that may come at once, and how many a second go on. */
export const BURST = 50;
export const WRITES_PER_SECOND = 1;
const NOTE_BYTES = 1000;

export class PodEvents {
  readonly #hash: (text: string) => string;
  /** By namespace, name and uid of the pod. */
  readonly #pods = new Map<string, Pod>();
  /** Drift → its pod. */
  readonly #podOf = new Map<string, string>();
  /** By id; each is written once. */
  readonly #refusals = new Map<string, PodEvent>();
  /** Namespaces that did not take the last one written to them, the one that was asked longest ago first. */
  readonly #refusing = new Set<string>();
  #allowance = BURST;
  #refilledMs: number | undefined;
  /** Drifts that no Event tells of, since too many pods had some. */
  dropped = 0;

  /** @param hash of any text to lower-case hex of at least 16 digits */
  constructor(hash: (text: string) => string) {
    this.#hash = hash;
  }

  /** @param pod where the drift is; undefined: in none, or in one that is gone */
  note(row: DriftRow, pod: PodName | undefined, nowMs: number): void {
    if (isOpen(row)) {
      if (pod) this.#opened(row, pod, nowMs);
    } else this.#closed(row.id, row, pod !== undefined, nowMs);
  }

  #opened(row: DriftRow, name: PodName, nowMs: number): void {
    if (this.#podOf.has(row.id)) return;
    const key = `${name.namespace}/${name.name}/${name.uid}`;
    let pod = this.#pods.get(key);
    if (!pod) {
      if (this.#pods.size >= MAX_PODS) {
        this.dropped++;
        return;
      }
      pod = { name, open: new Set(), series: undefined };
      this.#pods.set(key, pod);
    }
    pod.open.add(row.id);
    this.#podOf.set(row.id, key);
    const { series } = pod;
    if (series?.reason === "Drifted" && series.severity >= row.severity && nowMs - series.lastMs < SERIES_MS) {
      series.count++;
      series.lastMs = nowMs;
      return;
    }
    pod.name = name;
    // What came of the milder since that was written last is counted with it.
    const untold = series?.reason === "Drifted" ? series.count - series.told : 0;
    pod.series = this.#begin(key, "Drifted", row.severity, driftNote(row), nowMs);
    pod.series.count += untold;
  }

  /** @param there whether its pod still is: of one that is gone nobody needs to hear */
  #closed(id: string, row: DriftRow, there: boolean, nowMs: number): void {
    const key = this.#podOf.get(id);
    const pod = key === undefined ? undefined : this.#pods.get(key);
    if (key === undefined || !pod) return;
    this.#podOf.delete(id);
    pod.open.delete(id);
    if (pod.open.size > 0) return;
    if (!there) this.#pods.delete(key);
    else if (pod.series?.reason === "Drifted")
      pod.series = this.#begin(key, "DriftResolved", row.severity, "nothing differs any more from what was signed", nowMs);
  }

  #begin(key: string, reason: Series["reason"], severity: Severity, note: string, nowMs: number): Series {
    const id = this.#hash(`${key} ${reason} ${severity} ${nowMs}`).slice(0, 16);
    return { id, severity, reason, note, firstMs: nowMs, lastMs: nowMs, count: 1, told: 0, toldMs: 0 };
  }

  /** A rollback that the verifier has refused, of which no actuator hears. Beyond {@link MAX_PODS} that wait to be written none is taken. */
  noteRefusal(row: ActionRow, nowMs: number): void {
    const { pod } = row;
    if (!pod || !isRiskRefusal(row) || this.#refusals.size >= MAX_PODS) return;
    const { namespace, name, uid, container } = pod;
    const id = this.#hash(`${row.id} ${uid}`).slice(0, 16);
    const words = `${name} is of an image that is not trusted, and is not rolled back: ${row.reason}: ${printable(row.detail, 500)}`;
    const note = cutNote(`${words} (${row.id}, ${row.driftId}, log ${row.logIndex})`);
    const times = { firstMs: nowMs, lastMs: nowMs, count: 1, written: false };
    const about = { id: row.id, logIndex: row.logIndex, driftId: row.driftId, driftLogIndex: row.driftLogIndex };
    this.#refusals.set(id, { id, pod: { namespace, name, uid, container }, reason: "RollbackRefused", note, ...times, about });
  }

  /**
   * What is to be written now, at most what the rate allows. What is not answered by {@link told} comes again. What is for namespaces that refused theirs is not among it:
   * nobody's namespace takes the turns of others.
   */
  due(nowMs: number): readonly PodEvent[] {
    return this.#unwritten(nowMs)
      .filter(({ pod }) => !this.#refusing.has(pod.namespace))
      .slice(0, this.#allowed(nowMs));
  }

  /** One for each namespace that refused the last one, likewise: where it is taken, what else there is for it is due. */
  retries(nowMs: number): readonly PodEvent[] {
    if (this.#refusing.size === 0) return [];
    const unwritten = new Map(this.#unwritten(nowMs).map((event) => [event.pod.namespace, event]));
    for (const namespace of this.#refusing) if (!unwritten.has(namespace)) this.#refusing.delete(namespace);
    return [...this.#refusing].flatMap((namespace) => unwritten.get(namespace) ?? []).slice(0, this.#allowed(nowMs));
  }

  #unwritten(nowMs: number): readonly PodEvent[] {
    const unwritten = [...this.#refusals.values()];
    for (const [key, pod] of this.#pods) {
      const { series, name, open } = pod;
      if (series && series.told < series.count) {
        if (series.told === 0 || nowMs - series.toldMs >= UPDATE_MS) unwritten.push(eventOf(series, name));
      } else if (open.size === 0 && nowMs - (series?.lastMs ?? 0) >= SERIES_MS) this.#pods.delete(key);
    }
    return unwritten;
  }

  /** It was written, or refused for good. */
  told({ id, count, pod }: PodEvent, nowMs: number): void {
    this.#spend();
    this.#refusing.delete(pod.namespace);
    if (this.#refusals.delete(id)) return;
    for (const { series } of this.#pods.values()) {
      if (series?.id !== id) continue;
      series.told = Math.max(series.told, count);
      series.toldMs = nowMs;
    }
  }

  /** It could not be written, and is to be tried again. */
  refused({ pod }: PodEvent): void {
    this.#spend();
    this.#refusing.delete(pod.namespace);
    this.#refusing.add(pod.namespace);
  }

  #spend(): void {
    this.#allowance = Math.max(0, this.#allowance - 1);
  }

  #allowed(nowMs: number): number {
    this.#refill(nowMs);
    return Math.floor(this.#allowance);
  }

  #refill(nowMs: number): void {
    const seconds = Math.max(0, nowMs - (this.#refilledMs ?? nowMs)) / 1000;
    this.#refilledMs = nowMs;
    this.#allowance = Math.min(BURST, this.#allowance + seconds * WRITES_PER_SECOND);
  }
}

function eventOf({ id, reason, note, firstMs, lastMs, count, told }: Series, pod: PodName): PodEvent {
  return { id, pod, reason, note, firstMs, lastMs, count, written: told > 0 };
}

/** The first of a series; the rest are counted. */
function driftNote({ id, kind, path, summary, containerName, actor }: DriftRow): string {
  const what = path.length > 0 ? printable(path, 300) : kind;
  const entry = actor ? entryWords(actor) : "";
  const who = actor && entry !== "" ? ` (${printable(actor.executable, 100)}, ${entry})` : "";
  const text = `${id} ${printable(containerName, 200)}: ${what}: ${printable(summary, 200)}${who}. kubectl hullmark drift show ${id}`;
  return cutNote(text);
}

function cutNote(text: string): string {
  return Buffer.from(text).subarray(0, NOTE_BYTES).toString("utf8").replace(/�+$/, "");
}
