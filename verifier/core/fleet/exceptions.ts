/**
 * Exceptions: asked for from a drift, decided by somebody else, in force until a day and no longer. Each step is an entry of the log and durable before it counts; what is
 * in force is part of the policy, so that it counts and ends on what runs without a restart.
 */
import type { ClaimRow, DriftRow, ExceptionRow, ExceptionState } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import type { AlertSubject } from "../alerting/subject.ts";
import { type AskedScope, scopeOf } from "../policy/exception-scope.ts";
import type { Policy } from "../policy/types.ts";
import { printable } from "../text/printable.ts";
import { AdministrationError } from "./administration.ts";
import { SEVERITY_NAMES } from "./alert-planner.ts";
import { claimRow } from "./claims.ts";
import type { Committer } from "./committer.ts";
import { driftId } from "./drift-id.ts";
import { isOpen, sightOf } from "./drift-rows.ts";
import { REMIND_MS } from "./exception-objects.ts";
import { adminFact, pathText } from "./log-facts.ts";
import type { PolicyHolder } from "./policy-holder.ts";

const DAY_MS = 86_400_000;
/** Waiting and in force at one time. */
const MAX_ALIVE = 1000;
/** That are over: of more the oldest is forgotten, the log has it. All together fit into one answer. */
const MAX_OVER = 1000;
const ALIVE: ReadonlySet<ExceptionState> = new Set(["requested", "approved"]);

export interface ExceptionServices {
  readonly store: Pick<Store, "readExceptions" | "readDrift">;
  readonly committer: Pick<Committer, "submit">;
  readonly policies: Pick<PolicyHolder, "grant"> & { readonly current: Pick<Policy, "exceptionTerms"> };
  /** By whatever credentials. */
  readonly samePerson: (a: string, b: string) => boolean;
  readonly nowMs: () => number;
}

export interface ExceptionRequest extends AskedScope {
  readonly driftId: string;
  /** How long from now. */
  readonly lifeMs: number;
  readonly reason: string;
  /** What {@link sightOf} said of the drift when it was looked at. */
  readonly seen: string;
}

export class Exceptions {
  readonly #services: ExceptionServices;
  readonly #rows: Map<string, ExceptionRow>;
  /** Steps follow each other: what one decides by, no other changes meanwhile. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(services: ExceptionServices, rows: readonly ExceptionRow[]) {
    this.#services = services;
    this.#rows = new Map(rows.map((row) => [row.id, row]));
  }

  /** With what is stored and not over, in force. @throws StoreError */
  static async open(services: ExceptionServices): Promise<Exceptions> {
    const exceptions = new Exceptions(services, await services.store.readExceptions());
    await exceptions.#grant();
    return exceptions;
  }

  /** The newest last. */
  get rows(): readonly ExceptionRow[] {
    return [...this.#rows.values()].sort((a, b) => a.number - b.number);
  }

  /** When it was approved, Unix milliseconds; undefined: it is not in force. */
  readonly approvedAtMs = (id: string): number | undefined => {
    const row = this.#rows.get(id);
    return row?.state === "approved" ? row.decidedAtMs : undefined;
  };

  /** What people should look at. */
  get claims(): readonly ClaimRow[] {
    const alive = this.rows.filter(({ state }) => ALIVE.has(state));
    const waiting = alive.filter(({ state }) => state === "requested").length;
    const ending = alive.filter(({ remindedAtMs }) => remindedAtMs !== undefined);
    return [
      ...(waiting > 0 ? [claimRow("exception-requested", `${waiting} exceptions wait for somebody's decision: hullmark exception ls`)] : []),
      ...ending.map(({ id, untilMs }) => claimRow("exception-ending", `${id} ends at ${new Date(untilMs).toISOString()}: hullmark exception show ${id}`)),
    ];
  }

  /** @throws AdministrationError NOT_FOUND, NOT_OPEN, CHANGED, NOT_EXCUSABLE, TOO_BROAD, TOO_MANY; StoreError */
  async request({ driftId: id, lifeMs, reason, seen, ...asked }: ExceptionRequest, by: string): Promise<ExceptionRow> {
    return await this.#next(async () => {
      const { store, nowMs } = this.#services;
      const drift = await store.readDrift(id);
      if (!drift) throw new AdministrationError("NOT_FOUND", "no such drift");
      if (!isOpen(drift)) throw new AdministrationError("NOT_OPEN", `${id} is over, or excused already`);
      if (sightOf(drift) !== seen) throw new AdministrationError("CHANGED", "it has changed since it was shown: look again");
      this.#checkLife(lifeMs);
      const scoped = scopeOf(drift, asked);
      if (!scoped.ok) throw new AdministrationError(scoped.code, scoped.why, scoped.offer);
      const rows = this.rows;
      if (rows.filter(({ state }) => ALIVE.has(state)).length >= MAX_ALIVE) throw new AdministrationError("TOO_MANY", "too many exceptions: decide on some");
      const scope = JSON.stringify(scoped.scope);
      const same = rows.find((row) => ALIVE.has(row.state) && JSON.stringify(row.scope) === scope);
      if (same) throw new AdministrationError("NOT_OPEN", `${same.id} asks for that already`);
      const number = (rows.at(-1)?.number ?? 0) + 1;
      return await this.#put(
        {
          ...{ id: driftId(number).replace(/^D/, "X"), number, state: "requested", driftId: id, scope: scoped.scope, reason },
          ...shownOf(drift),
          ...{ requestedBy: by, requestedAtMs: nowMs(), untilMs: nowMs() + lifeMs },
          ...{ decidedBy: "", decidedAtMs: undefined, decision: "", endedBy: "", endedAtMs: undefined, remindedAtMs: undefined },
        },
        by,
        reason,
      );
    });
  }

  /** @throws AdministrationError NOT_FOUND, NOT_OPEN, OWN_REQUEST, TOO_BROAD: policy lets none last so long any more; StoreError */
  async approve(id: string, by: string): Promise<void> {
    await this.#next(async () => {
      const row = this.#in(id, ["requested"]);
      if (this.#services.samePerson(row.requestedBy, by)) throw new AdministrationError("OWN_REQUEST", "whoever asked for an exception cannot approve it");
      this.#checkLife(row.untilMs - row.requestedAtMs);
      await this.#put({ ...row, state: "approved", decidedBy: by, decidedAtMs: this.#services.nowMs() }, by, row.reason);
    });
  }

  /** @throws AdministrationError NOT_FOUND, NOT_OPEN; StoreError */
  async deny(id: string, reason: string, by: string): Promise<void> {
    await this.#next(async () => {
      const row = this.#in(id, ["requested"]);
      await this.#put({ ...row, state: "denied", decidedBy: by, decidedAtMs: this.#services.nowMs(), decision: reason }, by, reason);
    });
  }

  /** Whoever asked takes it back, or somebody ends what is in force. @throws AdministrationError NOT_FOUND, NOT_OPEN; StoreError */
  async revoke(id: string, reason: string, by: string): Promise<void> {
    await this.#next(async () => {
      const row = this.#in(id, ["requested", "approved"]);
      await this.#put({ ...row, state: "revoked", endedBy: by, endedAtMs: this.#services.nowMs(), decision: reason }, by, reason);
    });
  }

  /** What time alone brings: those that are over end, and of those that soon will be people are reminded. @throws StoreError: it comes again */
  async tick(): Promise<void> {
    await this.#next(async () => {
      const nowMs = this.#services.nowMs();
      // First: whether it can be written or not, what is over does not count.
      if (this.rows.some(({ state, untilMs }) => state === "approved" && untilMs <= nowMs)) await this.#grant();
      for (const row of this.rows) {
        if (!ALIVE.has(row.state)) continue;
        if (row.untilMs <= nowMs) await this.#put({ ...row, state: "expired", endedAtMs: nowMs }, "", "");
        else if (row.state === "approved" && row.remindedAtMs === undefined && nowMs >= remindAtMs(row)) await this.#remind({ ...row, remindedAtMs: nowMs });
      }
    });
  }

  #checkLife(lifeMs: number): void {
    const { maxDays } = this.#services.policies.current.exceptionTerms;
    if (lifeMs > maxDays * DAY_MS)
      throw new AdministrationError("TOO_BROAD", `policy lets an exception last ${maxDays} days (spec.exceptions.maxDays)`, `--until ${maxDays}d`);
  }

  #in(id: string, states: readonly ExceptionState[]): ExceptionRow {
    const row = this.#rows.get(id);
    if (!row) throw new AdministrationError("NOT_FOUND", "no such exception");
    if (!states.includes(row.state)) throw new AdministrationError("NOT_OPEN", `${id} is ${row.state}`);
    // What is over is so before the clock has got to it.
    if (row.untilMs <= this.#services.nowMs()) throw new AdministrationError("NOT_OPEN", `${id} is over`);
    return row;
  }

  async #put(row: ExceptionRow, by: string, reason: string): Promise<ExceptionRow> {
    const { committer, nowMs } = this.#services;
    const ends = !ALIVE.has(row.state) && row.remindedAtMs !== undefined;
    const subjects = ends ? [reminder(row, false, nowMs())] : [];
    const fact = adminFact(`exception-${row.state}`, nowMs(), {
      ...{ exception: row.id, drift: row.driftId, by: by === "" ? null : by, reason, until: Math.floor(row.untilMs), workload: row.workload },
      ...{ container: row.containerName, place: row.scope.place, kind: row.scope.kind, path: pathText(row.path), glob: row.scope.glob || null },
      ...{ observed: row.scope.observed ? `sha256:${row.scope.observed}` : null, config: row.scope.configDigest || null },
      ...(row.scope.service !== undefined && { service: row.scope.service }),
    });
    const over = this.rows.filter(({ id, state }) => id !== row.id && !ALIVE.has(state));
    const forgotten = over.slice(0, Math.max(0, over.length - MAX_OVER));
    await committer.submit({ entries: [fact], build: () => ({ exceptions: [row], removedExceptions: forgotten.map(({ number }) => number) }), subjects });
    const counted = this.#rows.get(row.id)?.state === "approved";
    this.#rows.set(row.id, row);
    for (const { id } of forgotten) this.#rows.delete(id);
    if (counted || row.state === "approved") await this.#grant();
    return row;
  }

  async #remind(row: ExceptionRow): Promise<void> {
    const { committer, nowMs } = this.#services;
    await committer.submit({ entries: [], build: () => ({ exceptions: [row] }), subjects: [reminder(row, true, nowMs())] });
    this.#rows.set(row.id, row);
  }

  async #grant(): Promise<void> {
    const { policies, nowMs } = this.#services;
    const approved = this.rows.filter(({ state, untilMs }) => state === "approved" && untilMs > nowMs());
    await policies.grant(approved.map(({ id, scope }) => ({ id, ...scope })));
  }

  async #next<T>(step: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(step, step);
    this.#turn = turn.catch(() => undefined);
    return await turn;
  }
}

function shownOf(drift: DriftRow): Pick<ExceptionRow, "nodeName" | "workload" | "containerName" | "imageReference" | "path" | "summary"> {
  const { nodeName, workload, containerName, imageReference, path, summary } = drift;
  return { nodeName, workload, containerName, imageReference, path, summary: printable(summary, 500) };
}

function remindAtMs({ requestedAtMs, untilMs }: ExceptionRow): number {
  return untilMs - Math.min(REMIND_MS, (untilMs - requestedAtMs) / 4);
}

/** That an exception ends soon: open until it has. */
function reminder(row: ExceptionRow, open: boolean, nowMs: number): AlertSubject {
  const { id, nodeName, workload, imageReference, containerName, path, untilMs, requestedBy, decidedBy, reason } = row;
  const words = `${id} ends at ${new Date(untilMs).toISOString()}, and what it excuses is drift again: asked for by ${requestedBy}, approved by ${decidedBy} (${reason})`;
  return {
    ...{ driftId: `exception-${id}`, incident: "", image: "", state: open ? "open" : "resolved", kind: "exception-ending", place: "configuration" },
    ...{
      severity: SEVERITY_NAMES[row.scope.severity as keyof typeof SEVERITY_NAMES] ?? "info",
      nodeName,
      workload: workload || containerName,
      imageReference,
      containerName,
      path,
    },
    ...{ summary: words, layerIndex: -1, layerHistory: "", actor: undefined, provenance: "", sinceMs: nowMs, logIndex: -1 },
  };
}
