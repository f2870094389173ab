/** What people must hear of although their page has gone: that an action waits for their yes, and that one came to nothing. Each is told once an alert, and to whoever was not told it. */
import { ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow } from "../../ports/rows.ts";
import { HOST_LIMITS } from "../response/decide.ts";
import type { AlertBook } from "./book.ts";
import type { HeldAlert } from "./record.ts";

/** Of which one line of a page tells. */
type Matter = "waits" | "failed";

const MATTERS: ReadonlyMap<ActionState, Matter> = new Map([
  [ActionState.AWAITING, "waits"],
  [ActionState.FAILED, "failed"],
  [ActionState.REFUSED, "failed"],
  [ActionState.EXPIRED, "failed"],
]);
/** Where alerts are brought up to date in place, which is no page, and where nothing is said of actions. */
const NO_PAGES: ReadonlySet<string> = new Set(["alertmanager", "commit-status"]);
const EVERY_ROUTE = "";
/** Every commit asks; those that come without one are a second apart. */
const LOOK_MS = 500;

interface Pressing {
  readonly row: ActionRow;
  readonly matter: Matter;
  /** It stood before this process began: what was said then is known by the times of pages alone. */
  readonly early: boolean;
  /** Routes by whose page it was said, or that are about to be told; {@link EVERY_ROUTE}: all. */
  readonly saidBy: Set<string>;
}

export interface UnsaidServices {
  readonly book: Pick<AlertBook, "held" | "holderOf">;
  /** Whether the action is the newest on its drift: after a failure something else may have been decided. */
  readonly isNewest: (row: ActionRow) => boolean;
  readonly nowMs: () => number;
  /** What is decided so long after a page went is not said by it. */
  readonly saidMs: number;
}

export class Unsaid {
  readonly #services: UnsaidServices;
  /** By action id. */
  readonly #pressing = new Map<string, Pressing>();
  readonly #paging = new Set<string>();
  #lookedMs = Number.NEGATIVE_INFINITY;

  constructor(services: UnsaidServices) {
    this.#services = services;
  }

  /** Whether this route pages anybody of what is done. */
  routed(route: string, type: string): boolean {
    if (NO_PAGES.has(type)) this.#paging.delete(route);
    else this.#paging.add(route);
    return this.#paging.has(route);
  }

  /** An action as it is now. @param early as it was stored when this process began */
  take(row: ActionRow, early: boolean): void {
    const matter = row.state === ActionState.REFUSED && HOST_LIMITS.has(row.reason) ? undefined : MATTERS.get(row.state);
    const known = this.#pressing.get(row.id);
    if (known && known.row.logIndex > row.logIndex) return;
    if (!matter) this.#pressing.delete(row.id);
    else this.#pressing.set(row.id, { row, matter, early, saidBy: known?.matter === matter ? known.saidBy : new Set() });
  }

  /** A page of this route tells of these. */
  said(route: string, rows: Iterable<ActionRow>): void {
    for (const { id, state } of rows) {
      const known = this.#pressing.get(id);
      if (known && known.matter === MATTERS.get(state)) known.saidBy.add(route);
    }
  }

  /** Fingerprints of alerts of which somebody knows, and does not know that; of calls that follow each other faster than {@link LOOK_MS}, only the first looks. */
  alerts(): string[] {
    const nowMs = this.#services.nowMs();
    if (nowMs >= this.#lookedMs && nowMs - this.#lookedMs < LOOK_MS) return [];
    this.#lookedMs = nowMs;
    return [...this.#due()].map(([fingerprint]) => fingerprint);
  }

  /** They are told again. */
  noteRetold(fingerprints: readonly string[]): void {
    if (fingerprints.length === 0) return;
    const due = this.#due();
    for (const fingerprint of fingerprints) for (const { saidBy } of due.get(fingerprint) ?? []) saidBy.add(EVERY_ROUTE);
  }

  #due(): ReadonlyMap<string, readonly Pressing[]> {
    const due = new Map<string, readonly Pressing[]>();
    for (const [fingerprint, all] of this.#byAlert()) {
      const held = this.#services.book.held(fingerprint);
      // Before anybody has been told, a page is on its way that says it.
      if (held?.record.deliveredAtMs === undefined) continue;
      const untold = [...Map.groupBy(all, ({ matter }) => matter).values()].filter((each) => this.#isUntold(each, held));
      if (untold.length > 0) due.set(fingerprint, untold.flat());
    }
    return due;
  }

  #byAlert(): ReadonlyMap<string, readonly Pressing[]> {
    const alerts = new Map<string, Pressing[]>();
    for (const [id, pressing] of this.#pressing) {
      const fingerprint = this.#services.book.holderOf(pressing.row.driftId);
      const alike = alerts.get(fingerprint ?? "");
      if (alike) alike.push(pressing);
      else if (fingerprint !== undefined) alerts.set(fingerprint, [pressing]);
      // What it was about is over.
      else if (pressing.matter === "failed") this.#pressing.delete(id);
    }
    return alerts;
  }

  /** Of one matter: nobody is told of the second container that waits as the first does. */
  #isUntold(all: readonly Pressing[], { record }: HeldAlert): boolean {
    if (!all.some((each) => this.#isRipe(each))) return false;
    return Object.entries(record.told).some(([route, { atMs }]) => this.#paging.has(route) && !all.some((each) => this.#isSaid(each, route, atMs)));
  }

  /** A page may be on its way that says it, and after a failure what comes next is decided. */
  #isRipe({ row, matter }: Pressing): boolean {
    const { nowMs, saidMs, isNewest } = this.#services;
    const ageMs = nowMs() - sinceMs(row, matter);
    return (ageMs < 0 || ageMs >= saidMs) && isNewest(row);
  }

  /** @param toldAtMs of the route's newest page */
  #isSaid({ row, matter, early, saidBy }: Pressing, route: string, toldAtMs: number): boolean {
    if (saidBy.has(EVERY_ROUTE) || saidBy.has(route)) return true;
    return sinceMs(row, matter) <= toldAtMs + (early ? this.#services.saidMs : 0);
  }
}

function sinceMs({ createdAtMs, settledAtMs }: ActionRow, matter: Matter): number {
  return matter === "waits" ? createdAtMs : (settledAtMs ?? createdAtMs);
}
