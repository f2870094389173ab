/** What people decide on incidents: whose one is, and that one is done with. Each is one commit with its log entry. It ends no drift, and hides none. */
import { hash } from "node:crypto";
import type { IncidentRow } from "../../ports/rows.ts";
import { AdministrationError } from "../fleet/administration.ts";
import type { Committer } from "../fleet/committer.ts";
import type { EventBus } from "../fleet/events.ts";
import { adminFact } from "../fleet/log-facts.ts";
import type { Decided, Decision, Incident } from "./incident.ts";
import type { IncidentBook } from "./incident-book.ts";

/** Incidents on which something was decided: of more, the one decided on first gives way of which nothing stands. */
const MAX_DECIDED = 10_000;
/** Drifts that a refusal names. */
const MAX_NAMED = 5;

/** What is decided, as it became durable. */
export class DecidedIncidents {
  readonly #rows: Map<string, IncidentRow>;

  constructor(rows: readonly IncidentRow[], events: EventBus) {
    this.#rows = new Map(rows.map((row) => [row.id, row]));
    events.on("incident", (row) => void this.#rows.set(row.id, row));
    events.on("incidentRemoved", (id) => void this.#rows.delete(id));
  }

  readonly of = (id: string): IncidentRow | undefined => this.#rows.get(id);

  get rows(): readonly IncidentRow[] {
    return [...this.#rows.values()];
  }
}

/** Stands for whose an incident is, which episode it is, and where it is over when that was: whoever decides has seen that. 16 hexadecimal digits. */
export function sightOfIncident({ id, owner, firstSeenMs, lastSeenMs, resolvedAtMs }: Incident, decided: IncidentRow | undefined): string {
  const end = resolvedAtMs === undefined ? null : [lastSeenMs, resolvedAtMs];
  return hash("sha256", JSON.stringify([id, decided?.revision ?? 0, owner, firstSeenMs, end])).slice(0, 16);
}

export interface IncidentDecisionServices {
  readonly committer: Pick<Committer, "submit">;
  readonly incidents: Pick<IncidentBook, "readNow">;
  readonly decided: DecidedIncidents;
  readonly nowMs: () => number;
  readonly maxDecided?: number;
}

export interface Deciding {
  readonly by: string;
  readonly reason: string;
  /** {@link sightOfIncident} as the person saw it. */
  readonly seen: string;
}

export class IncidentDecisions {
  readonly #services: IncidentDecisionServices;
  /** One at a time: each is decided on what the one before left. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(services: IncidentDecisionServices) {
    this.#services = services;
  }

  /**
   * Gives it to somebody, who need not have acknowledged anything and need not be known here.
   * @param owner a name; empty: to nobody, until somebody acknowledges @throws AdministrationError NOT_FOUND, CHANGED, TOO_MANY; StoreError
   */
  async assign(id: string, owner: string, deciding: Deciding): Promise<void> {
    await this.#decide(id, deciding, "incident-assigned", { owner }, (row, decision) => ({ ...row, assigned: { ...decision, owner } }));
  }

  /** That it is done with: what returns is a new matter, and no reopening. @throws AdministrationError NOT_FOUND, STANDS, CHANGED, TOO_MANY; StoreError */
  async resolve(id: string, deciding: Deciding): Promise<void> {
    await this.#decide(id, deciding, "incident-resolved", {}, (row, decision, incident) => {
      refuseStanding(incident);
      return { ...row, closed: { ...decision, atMs: Math.max(decision.atMs, incident.resolvedAtMs ?? 0) } };
    });
  }

  async #decide(
    id: string,
    { by, reason, seen }: Deciding,
    action: string,
    fields: Readonly<Record<string, string>>,
    change: (row: Decided, decision: Decision, incident: Incident) => Decided,
  ): Promise<void> {
    await this.#alone(async () => {
      const { committer, incidents, decided, nowMs } = this.#services;
      const all = (await incidents.readNow()).incidents;
      const incident = all.find((each) => each.id === id);
      if (!incident) throw new AdministrationError("NOT_FOUND", "no such incident", "hullmark incident ls --all lists them");
      const before = decided.of(id);
      // By a clock that was set back it would be of another episode.
      const atMs = Math.max(nowMs(), incident.lastSeenMs);
      const decision = { by, reason, atMs };
      const now = before ?? { assigned: undefined, closed: undefined };
      change(now, { ...decision, logIndex: -1 }, incident);
      if (sightOfIncident(incident, before) !== seen) throw new AdministrationError("CHANGED", "it has changed since it was shown: look again");
      const removedIncidents = before ? [] : this.#givingWay(new Set(all.filter(({ state }) => state !== "resolved").map((each) => each.id)));
      await committer.submit({
        entries: [adminFact(action, atMs, { incident: id, ...fields, by, reason })],
        build: (logIndex) => {
          const row = { ...change(now, { ...decision, logIndex }, incident), id, revision: (before?.revision ?? 0) + 1 };
          return { incidents: [row], removedIncidents };
        },
      });
    });
  }

  #givingWay(standing: ReadonlySet<string>): string[] {
    const { decided, maxDecided = MAX_DECIDED } = this.#services;
    const { rows } = decided;
    if (rows.length < maxDecided) return [];
    const lastMs = ({ assigned, closed }: IncidentRow): number => Math.max(assigned?.atMs ?? 0, closed?.atMs ?? 0);
    const [oldest] = rows.filter(({ id }) => !standing.has(id)).sort((a, b) => lastMs(a) - lastMs(b));
    if (!oldest) throw new AdministrationError("TOO_MANY", `more than ${maxDecided} incidents were given to somebody, and stand`);
    return [oldest.id];
  }

  async #alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => undefined);
    return await mine;
  }
}

/** What stands is ended where it stands, never by a word. */
function refuseStanding({ id, members }: Incident): void {
  const standing = members.filter(({ state }) => state !== "resolved").map(({ driftId }) => driftId);
  if (standing.length === 0) return;
  const more = standing.length > MAX_NAMED ? ` and ${standing.length - MAX_NAMED} more` : "";
  throw new AdministrationError(
    "STANDS",
    `${standing.length === 1 ? "a drift stands" : `${standing.length} drifts stand`}: ${standing.slice(0, MAX_NAMED).join(" ")}${more}`,
    `put right what differs (hullmark playbook show ${id}), or have it excused (hullmark exception request ${standing[0]}): it is over by itself then`,
  );
}
