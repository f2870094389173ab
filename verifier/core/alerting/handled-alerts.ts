/** Alerts as they stand when they are sent: with what was done meanwhile. Where policy acts, a page waits moments for that, so that it tells what was done and not that nothing was. */
import { ActionState } from "@hullmark/proto/v1/response";
import type { Clock } from "../../ports/clock.ts";
import type { AlertEvent, AlertNotification, Notifier } from "../../ports/notifier.ts";
import type { ActionRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import type { EventBus } from "../fleet/events.ts";
import { keyOfNumber, rowPages } from "../fleet/row-pages.ts";
import { isLack } from "../policy/kinds.ts";
import { printable } from "../text/printable.ts";
import type { AlertBook } from "./book.ts";
import { handledLines } from "./handled.ts";
import { Unsaid } from "./unsaid.ts";

/** From when it became news: for the decision, and for what was decided to be carried out. */
const DECISION_MS = 2000;
const ACTION_MS = 4000;
const LOOK_MS = 100;
/** What is decided so long after its page went is told of its own. */
const SAID_MS = ACTION_MS + 1000;
/** Containers and nodes of which the newest action is known; of more, those first acted on are forgotten. */
const MAX_SUBJECTS = 20_000;
/** Actions that are read at the start, the newest first. */
const MAX_READ = 5000;
const MAX_DESCRIPTION = 4096;

const OF_NODES: ReadonlySet<string> = new Set(["layer", "runtime-layer", "image", "node"]);

export interface HandledAlertServices {
  readonly clock: Clock;
  readonly book: Pick<AlertBook, "held" | "holderOf">;
  /** Whether policy acts at all. */
  readonly acts: () => boolean;
}

export class HandledAlerts {
  readonly #services: HandledAlertServices;
  /** By drift, and by node and container as alerts name them. */
  readonly #newest = new Map<string, ActionRow>();
  readonly #unsaid: Unsaid;
  #version = 0;

  constructor(services: HandledAlertServices) {
    this.#services = services;
    const { book, clock } = services;
    const isNewest = ({ id, driftId }: ActionRow) => this.#newest.get(`drift ${driftId}`)?.id === id;
    this.#unsaid = new Unsaid({ book, isNewest, nowMs: () => clock.nowMs(), saidMs: SAID_MS });
  }

  /** Another number whenever an action became another. */
  get version(): number {
    return this.#version;
  }

  /** What is stored of it, with what comes from now on. @throws StoreError */
  async follow(store: Pick<Store, "listActions">, events: EventBus): Promise<void> {
    events.on("action", (row) => this.take(row));
    let read = 0;
    for await (const rows of rowPages((page) => store.listActions({ states: [], sinceMs: 0 }, page), keyOfNumber)) {
      for (const row of rows) this.take(row, true);
      read += rows.length;
      if (read >= MAX_READ) return;
    }
  }

  /** An action that is durable. In any order. @param early it was when this process began */
  take(row: ActionRow, early = false): void {
    this.#version++;
    this.#unsaid.take(row, early);
    for (const key of [`drift ${row.driftId}`, placeOf(printable(row.nodeName, 253), printable(row.containerName, 128))]) {
      const before = this.#newest.get(key);
      if (before && (before.number > row.number || (before.id === row.id && before.logIndex > row.logIndex))) continue;
      this.#newest.delete(key);
      this.#newest.set(key, row);
    }
    while (this.#newest.size > MAX_SUBJECTS) this.#newest.delete(this.#newest.keys().next().value ?? "");
  }

  /** Fingerprints of alerts that people know of, and of which they do not know that their yes is waited for, or that what was to be done came to nothing: the page went before. */
  unsaid(): readonly string[] {
    return this.#unsaid.alerts();
  }

  /** They are told again. */
  noteRetold(fingerprints: readonly string[]): void {
    this.#unsaid.noteRetold(fingerprints);
  }

  /** The same notifier, by which alerts say what is done about them. */
  by(notifier: Notifier): Notifier {
    const { route, type } = notifier;
    const pages = this.#unsaid.routed(route, type);
    return {
      ...{ route, type },
      notify: async (notification, signal) => {
        await this.#settling(notification, signal);
        // An end, and that all of it is acknowledged, say nothing of actions.
        const told = notification.alerts.flatMap((alert) => (alert.status === "firing" && !alert.acknowledged ? this.#of(alert) : []));
        const answer = await notifier.notify({ ...notification, alerts: notification.alerts.map((alert) => this.#told(alert)) }, signal);
        if (pages) this.#unsaid.said(route, told);
        return answer;
      },
    };
  }

  async #settling(notification: AlertNotification, signal: AbortSignal): Promise<void> {
    const { clock, acts } = this.#services;
    // Bounded by its rounds too: clocks are set.
    for (let round = 0; acts() && round < ACTION_MS / LOOK_MS && this.#isOpen(notification); round++) {
      await new Promise<void>((resolve) => void clock.after(LOOK_MS, resolve));
      signal.throwIfAborted();
    }
  }

  #isOpen({ alerts }: AlertNotification): boolean {
    const { book, clock } = this.#services;
    return alerts.some((alert) => {
      const held = alert.status === "firing" && this.#mayBeActedOn(alert) ? book.held(alert.fingerprint) : undefined;
      const ageMs = clock.nowMs() - (held?.record.newsAtMs ?? 0);
      if (!held || ageMs < 0 || ageMs >= ACTION_MS) return false;
      const actions = this.#of(alert);
      return actions.length === 0 ? ageMs < DECISION_MS : actions.some(({ state }) => state === ActionState.ISSUED || state === ActionState.CAPTURING);
    });
  }

  #told(alert: AlertEvent): AlertEvent {
    if (!this.#mayBeActedOn(alert)) return alert;
    const lines = handledLines(this.#of(alert), this.#services.acts());
    return { ...alert, description: [...lines, alert.description].join("\n").slice(0, MAX_DESCRIPTION).toWellFormed() };
  }

  /** Nothing is ever done about what a node does not say or prove, nor about what is no drift. One that stands for many is of what they are of. */
  #mayBeActedOn({ fingerprint, incident, kind }: AlertEvent): boolean {
    const shown = this.#services.book.held(fingerprint)?.record.shown ?? { incident, kind };
    return shown.incident !== "" && !isLack(shown.kind);
  }

  /** Each once. */
  #of({ fingerprint, driftIds, startsAtMs }: AlertEvent): ActionRow[] {
    const held = this.#services.book.held(fingerprint);
    const found = new Map<string, ActionRow>();
    const add = (key: string, sinceMs = 0): void => {
      const row = this.#newest.get(key);
      if (row && row.createdAtMs >= sinceMs) found.set(row.id, row);
    };
    for (const id of driftIds) add(`drift ${id}`);
    const ofNode = OF_NODES.has(held?.record.shown.place ?? "");
    for (const { driftId, node, container } of held?.members.values() ?? []) {
      add(`drift ${driftId}`);
      // What was done for something else of the same container is done for this, too.
      if (container) add(placeOf(node, container), startsAtMs);
      if (ofNode) add(placeOf(node, ""), startsAtMs);
    }
    return [...found.values()];
  }
}

function placeOf(node: string, container: string): string {
  return `place ${node} ${container}`;
}
