/** The incidents of everything that the store holds, kept up as drifts and actions become durable: reading them again costs only what changed. */
import { DriftState } from "@hullmark/proto/v1/query";
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow, DriftRow } from "../../ports/rows.ts";
import { MAX_PAGE_ROWS, type Store } from "../../ports/store.ts";
import type { EventBus } from "../fleet/events.ts";
import { keyOfNumber, rowPages } from "../fleet/row-pages.ts";
import { isContaining } from "../response/isolation.ts";
import { type Decided, excusedSince, type Incident, incidentsOf, type Member } from "./incident.ts";

/** Drifts that are held, those that stand before those that are over, the newest before the older. */
const MAX_MEMBERS = 50_000;
/** Of those, how many that are over: more than they are read for is to tell how often something returned. */
const MAX_RESOLVED = 10_000;
/** Actions that were carried out, the newest first. */
const MAX_DONE = 10_000;
/** What was computed stands for so long, whatever changes meanwhile, and longer where it costs more: a storm of drifts is not computed drift by drift. */
const FRESH_MS = 1000;
const FRESH_MS_A_MEMBER = 0.2;

const STANDING = [DriftState.OPEN, DriftState.ACKNOWLEDGED];

/** What is kept of a drift. Its row is read again where it is shown. */
export interface NumberedMember extends Member {
  readonly number: number;
  readonly nodeId: string;
  readonly containerId: string;
  readonly imageReference: string;
  readonly summary: string;
  readonly containerName: string;
}

export interface IncidentBookServices {
  readonly store: Pick<Store, "listDrifts" | "listActions">;
  readonly events: EventBus;
  readonly nowMs: () => number;
  /** What people decided, by incident id. */
  readonly decided: (id: string) => Decided | undefined;
  /** When this exception was approved, Unix milliseconds; undefined: it is not in force. */
  readonly excusedAtMs: (exception: string) => number | undefined;
  readonly maxMembers?: number;
}

export interface Incidents {
  /** As {@link incidentsOf} orders them. */
  readonly incidents: readonly Incident<NumberedMember>[];
  /** More drifts were found than are held. */
  readonly incomplete: boolean;
}

export class IncidentBook {
  readonly #services: IncidentBookServices;
  readonly #members = new Map<string, NumberedMember>();
  /** Drifts because of which actions were carried out, and containers on which, with those and when that was, Unix milliseconds. */
  readonly #acted = new Map<string, Map<string, number>>();
  /** Actions that were undone. */
  readonly #undone = new Set<string>();
  #loading: Promise<void> | undefined;
  #incomplete = false;
  #computed: { readonly atMs: number; readonly told: Incidents } | undefined;
  #changed = true;

  /** Reads nothing before it is asked: who has no use for incidents pays nothing. */
  constructor(services: IncidentBookServices) {
    this.#services = services;
  }

  /** @throws StoreError; the next call reads anew */
  async read(): Promise<Incidents> {
    return await this.#read(false);
  }

  /** The same with everything that is durable by now, whatever it costs: for what is decided by it. */
  async readNow(): Promise<Incidents> {
    return await this.#read(true);
  }

  async #read(now: boolean): Promise<Incidents> {
    this.#loading ??= this.#load();
    try {
      await this.#loading;
    } catch (error) {
      this.#loading = undefined;
      throw error;
    }
    const nowMs = this.#services.nowMs();
    const { atMs = 0, told } = this.#computed ?? {};
    if (told && (!this.#changed || (!now && nowMs >= atMs && nowMs - atMs < Math.max(FRESH_MS, FRESH_MS_A_MEMBER * this.#members.size)))) return told;
    this.#changed = false;
    const incidents = incidentsOf(
      [...this.#members.values()].map((member) => ({ ...member, contained: this.#isContained(member) })),
      this.#services.decided,
    );
    const fresh = { incidents, incomplete: this.#incomplete };
    this.#computed = { atMs: nowMs, told: fresh };
    return fresh;
  }

  async #load(): Promise<void> {
    const { events, store } = this.#services;
    // What comes meanwhile is newer than what is read.
    const newer = new Map<string, DriftRow>();
    const meanwhile = events.on("drift", (row) => newer.set(row.id, row));
    const acting = events.on("action", (row) => this.#act(row));
    try {
      this.#members.clear();
      const max = this.#services.maxMembers ?? MAX_MEMBERS;
      await this.#readAll(STANDING, max);
      await this.#readAll([DriftState.RESOLVED], Math.min(MAX_RESOLVED, max - this.#members.size));
      await this.#readAll([DriftState.NOTICE], Math.min(MAX_RESOLVED, max - this.#members.size));
      const done = { states: [ActionState.DONE], sinceMs: 0 };
      let read = 0;
      for await (const rows of rowPages((page) => store.listActions(done, page), keyOfNumber)) {
        for (const row of rows) this.#act(row);
        read += rows.length;
        if (read >= MAX_DONE) break;
      }
    } catch (error) {
      acting();
      throw error;
    } finally {
      meanwhile();
    }
    for (const row of newer.values()) this.#take(row);
    events.on("drift", (row) => this.#take(row));
    // People decide seldom, and look at once at what they decided.
    const decided = (): void => {
      this.#computed = undefined;
    };
    for (const kind of ["incident", "incidentRemoved"] as const) events.on(kind, decided);
  }

  async #readAll(states: readonly DriftState[], max: number): Promise<void> {
    const filter = { states, nodeId: "", container: "" };
    let left = max;
    for await (const rows of rowPages((page) => this.#services.store.listDrifts(filter, page), keyOfNumber)) {
      for (const row of rows.slice(0, left)) this.#put(row);
      left -= rows.length;
      if (rows.length < MAX_PAGE_ROWS && left >= 0) return;
      if (left <= 0) {
        // Of what is over, what is left out is old; of what stands, something may not be shown.
        if (states === STANDING) this.#incomplete = true;
        return;
      }
    }
  }

  #take(row: DriftRow): void {
    this.#changed = true;
    this.#put(row);
    if (this.#members.size > (this.#services.maxMembers ?? MAX_MEMBERS)) this.#dropOne();
  }

  /** What was never drift, or is not any more by policy, is of no incident. */
  #put(row: DriftRow): void {
    const member = memberOf(row);
    if (row.state !== DriftState.NOTICE) return void this.#members.set(row.id, member);
    const resolvedAtMs = excusedSince(member, row.exception === undefined ? undefined : this.#services.excusedAtMs(row.exception));
    if (resolvedAtMs === undefined) this.#members.delete(row.id);
    else this.#members.set(row.id, { ...member, state: "resolved", resolvedAtMs });
  }

  /** The oldest that is over; where none is, the oldest. */
  #dropOne(): void {
    let oldest: NumberedMember | undefined;
    for (const member of this.#members.values()) {
      const rather = oldest === undefined || (member.state === "resolved") !== (oldest.state === "resolved");
      if (rather ? oldest === undefined || member.state === "resolved" : member.number < (oldest?.number ?? 0)) oldest = member;
    }
    if (!oldest) return;
    if (oldest.state !== "resolved") this.#incomplete = true;
    this.#members.delete(oldest.driftId);
  }

  #act(row: ActionRow): void {
    const { id, kind, state, driftId, undoes, nodeId, containerId, settledAtMs = 0 } = row;
    if (state !== ActionState.DONE) return;
    if (kind === ActionKind.RELEASE) this.#undone.add(undoes ?? "");
    else if (isContaining(row))
      for (const subject of [...(driftId ? [driftId] : []), ...(containerId ? [`${nodeId}/${containerId}`] : [])])
        this.#acted.set(subject, (this.#acted.get(subject) ?? new Map()).set(id, settledAtMs));
    this.#changed = true;
  }

  /** By what was done because of it, or because of something else of its container, after it was found. */
  #isContained({ driftId, nodeId, containerId, foundAtMs }: NumberedMember): boolean {
    const stands = ([id]: readonly [string, number]): boolean => !this.#undone.has(id);
    const onContainer = [...(this.#acted.get(`${nodeId}/${containerId}`) ?? [])].filter(([, settledAtMs]) => settledAtMs >= foundAtMs);
    return [...(this.#acted.get(driftId) ?? []), ...onContainer].some(stands);
  }
}

function memberOf(row: DriftRow): NumberedMember {
  const {
    number,
    nodeId,
    containerId,
    imageReference,
    summary,
    containerName,
    kind,
    path,
    nodeName,
    workload,
    severity,
    acknowledgedBy,
    acknowledgedAtMs,
    resolvedAtMs,
  } = row;
  return {
    ...{ driftId: row.id, number, nodeId, containerId, imageReference, summary, containerName, kind, path, nodeName, workload, severity },
    ...{ acknowledgedBy, acknowledgedAtMs, resolvedAtMs },
    image: row.configDigest || row.imageReference,
    state: row.state === DriftState.RESOLVED ? "resolved" : row.state === DriftState.ACKNOWLEDGED ? "acknowledged" : "open",
    contained: false,
    foundAtMs: row.committedAtMs,
  };
}
