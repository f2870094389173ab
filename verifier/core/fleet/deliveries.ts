/** Empties the outbox: one loop a route, woken when something was put in, and now and then for what is due again. */
import type { Clock } from "../../ports/clock.ts";
import type { AlertNotification, Notifier } from "../../ports/notifier.ts";
import type { Outbox } from "../../ports/outbox.ts";
import type { AlertBook } from "../alerting/book.ts";
import { type DispatchResult, dispatchDue } from "../alerting/dispatch.ts";
import type { AlertRoute } from "../policy/types.ts";

export interface DeliveryServices {
  readonly clock: Clock;
  readonly outbox: Outbox;
  readonly book: AlertBook;
  /** 0 ≤ value < 1. */
  readonly random: () => number;
  /** Open alerts are sent again to receivers that forget (type `alertmanager`) after this time. */
  readonly refreshMs: number;
  readonly onDelivered: (notification: AlertNotification, nowMs: number) => void;
  readonly onProblem: (route: string, error: unknown) => void;
}

export interface Route {
  readonly route: AlertRoute;
  readonly notifier: Notifier;
}

const IDLE_MS = 2000;
const LEASE_MARGIN_MS = 30_000;

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
    const { clock, outbox, random, onDelivered, onProblem, refreshMs, book } = this.#services;
    const { signal } = loop.stop;
    const telling: Notifier = {
      route: notifier.route,
      type: notifier.type,
      notify: async (notification, inner) => {
        const answer = await notifier.notify(notification, inner);
        onDelivered(notification, clock.nowMs());
        return answer;
      },
    };
    const environment = { now: () => clock.nowMs(), random, leaseMs: route.timeoutSeconds * 1000 + LEASE_MARGIN_MS };
    let refreshedMs = clock.nowMs();
    while (!signal.aborted) {
      let result: DispatchResult | undefined;
      try {
        result = await dispatchDue(outbox, telling, environment, signal);
        if (route.type === "alertmanager" && clock.nowMs() - refreshedMs >= refreshMs) {
          refreshedMs = clock.nowMs();
          for (const notification of book.refresh(route, refreshedMs)) await notifier.notify(notification, signal);
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
