/** What would have been sent over time: the book of alerts, with a clock that the record moves. Nothing leaves it. Pure. */
import type { DriftRow } from "../../ports/rows.ts";
import { AlertBook, type AlertSubject } from "../alerting/index.ts";
import { alertSubject } from "../fleet/alert-planner.ts";
import type { AlertRoute } from "../policy/types.ts";

const MINUTE_MS = 60_000;
/** Before the time that is looked at, so that what was open already has been told of. */
const PRIMING_MS = 3_600_000;

export class SimulatedAlerts {
  readonly #book = new AlertBook();
  readonly #routes: readonly AlertRoute[];
  readonly #due = new Set<number>();
  #waiting: AlertSubject[] = [];
  /** What was sent of something that is open: when, by which route. That it is over is told too, and is no page. */
  readonly sent: { readonly atMs: number; readonly route: string }[] = [];

  constructor(routes: readonly AlertRoute[]) {
    this.#routes = routes;
  }

  /** What was open before: told of then, and not counted. */
  begin(rows: readonly DriftRow[], sinceMs: number): void {
    this.#waiting.push(...rows.map(alertSubject));
    for (let atMs = sinceMs - PRIMING_MS; atMs < sinceMs; atMs += MINUTE_MS) {
      this.plan(atMs);
      if (this.#due.size === 0) break;
    }
    this.sent.length = 0;
  }

  get nextDueMs(): number | undefined {
    return this.#due.size === 0 ? undefined : [...this.#due].reduce((a, b) => Math.min(a, b));
  }

  /** The drift as it stands now; told with the next {@link plan}. */
  put(row: DriftRow): void {
    if (this.#routes.length > 0) this.#waiting.push(alertSubject(row));
  }

  plan(atMs: number): void {
    for (const each of this.#due) if (each <= atMs) this.#due.delete(each);
    const subjects = this.#waiting;
    this.#waiting = [];
    const plan = this.#book.plan(subjects, this.#routes, atMs);
    this.#book.apply(plan);
    for (const { route, alerts } of plan.commit.notifications) if (alerts.some(({ status }) => status === "firing")) this.sent.push({ atMs, route });
    const told = new Set(plan.commit.notifications.map(({ route }) => route));
    for (const { name, groupWaitSeconds, repeatSeconds } of this.#routes) {
      // Gathering begins with each change of an alert; what the limit of a minute held back goes when that is over.
      if (subjects.length > 0 && groupWaitSeconds > 0) this.#due.add(atMs + groupWaitSeconds * 1000);
      if ((plan.waiting.get(name) ?? 0) > 0) this.#due.add(atMs + MINUTE_MS);
      if (told.has(name) && repeatSeconds !== undefined) this.#due.add(atMs + repeatSeconds * 1000);
    }
  }
}
