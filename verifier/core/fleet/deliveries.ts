/** Empties the outbox: one loop a route, woken when something was put in, and now and then for what is due again. */
import type { Clock } from "../../ports/clock.ts";
import type { Notifier } from "../../ports/notifier.ts";
import type { Outbox } from "../../ports/outbox.ts";
import type { AlertBook } from "../alerting/book.ts";
import { type DispatchEnvironment, type DispatchResult, dispatchDue } from "../alerting/dispatch.ts";
import type { AlertRoute } from "../policy/types.ts";

export interface DeliveryServices extends Pick<DispatchEnvironment, "onDelivered" | "passing"> {
  readonly clock: Clock;
  readonly outbox: Outbox;
  readonly book: AlertBook;
  /** Another number whenever something was done about what alerts tell of. */
  readonly handledVersion: () => number;
  /** 0 ≤ value < 1. */
  readonly random: () => number;
  /** Open alerts are sent again to receivers that forget (type `alertmanager`) after this time, and where they have changed after a shorter one. */
  readonly refreshMs: number;
  /** After each round of one route; its type is a word of the policy's. */
  readonly onRound: (type: AlertRoute["type"], result: DispatchResult) => void;
  readonly onProblem: (route: string, error: unknown) => void;
}

export interface Route {
  readonly route: AlertRoute;
  readonly notifier: Notifier;
}

const IDLE_MS = 2000;
const LEASE_MARGIN_MS = 30_000;
/** More nodes of an open alert, or fewer, and what was done about it are in Alertmanager within this time: nobody is paged for it. */
const UPDATE_MS = 10_000;

export class Deliveries {
  readonly #services: DeliveryServices;
  #loops = new Map<string, { readonly stop: AbortController; wake: () => void; readonly notifier: Notifier }>();

  constructor(services: DeliveryServices) {
    this.#services = services;
  }

  /** The routes of the policy in force; loops of the policy before end. */
  use(routes: readonly Route[]): void {
    this.stop();
    this.#loops = new Map(
      routes.map((each) => {
        const loop = { stop: new AbortController(), wake: () => {}, notifier: each.notifier };
        void this.#run(each, loop);
        return [each.route.name, loop];
      }),
    );
  }

  notifier(route: string): Notifier | undefined {
    return this.#loops.get(route)?.notifier;
  }

  routes(): string[] {
    return [...this.#loops.keys()];
  }

  /** Something may be due. */
  wake(): void {
    for (const { wake } of this.#loops.values()) wake();
  }

  stop(): void {
    for (const { stop, wake } of this.#loops.values()) {
      stop.abort();
      wake();
    }
    this.#loops.clear();
  }

  async #run({ route, notifier }: Route, loop: { readonly stop: AbortController; wake: () => void }): Promise<void> {
    const { clock, outbox, random, onDelivered, onProblem, onRound, passing, refreshMs, book, handledVersion } = this.#services;
    const { signal } = loop.stop;
    const environment = { now: () => clock.nowMs(), random, leaseMs: route.timeoutSeconds * 1000 + LEASE_MARGIN_MS, onDelivered, passing };
    let refreshed = { atMs: clock.nowMs(), version: book.version + handledVersion() };
    // A receiver that asks to be left alone is, by other notifications too.
    let rest = { sinceMs: 0, ms: 0 };
    while (!signal.aborted) {
      let result: DispatchResult | undefined;
      try {
        const restedMs = clock.nowMs() - rest.sinceMs;
        if (restedMs < 0 || restedMs >= rest.ms) {
          result = await dispatchDue(outbox, notifier, environment, signal);
          rest = { sinceMs: clock.nowMs(), ms: result.restMs };
          onRound(route.type, result);
        }
        // Both only grow.
        const [nowMs, version] = [clock.nowMs(), book.version + handledVersion()];
        const pauseMs = version === refreshed.version ? refreshMs : Math.min(refreshMs, UPDATE_MS);
        if (route.type === "alertmanager" && (nowMs - refreshed.atMs >= pauseMs || nowMs < refreshed.atMs)) {
          refreshed = { atMs: nowMs, version };
          for (const notification of book.refresh(route, nowMs)) await notifier.notify(notification, signal);
        }
      } catch (error) {
        if (!signal.aborted) onProblem(route.name, error);
      }
      if (result && result.delivered > 0 && result.retried === 0) continue;
      await new Promise<void>((resolve) => {
        const cancel = clock.after(IDLE_MS, resolve);
        loop.wake = () => {
          cancel();
          resolve();
        };
        if (signal.aborted) loop.wake();
      });
    }
  }
}
