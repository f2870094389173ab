/** One alert, as drift comes and goes. */
import type { AlertMember, AlertRecord, RouteTold } from "../../ports/outbox.ts";
import { severityRank } from "../policy/kinds.ts";
import type { AlertMatch } from "../policy/types.ts";
import { printable } from "../text/printable.ts";
import type { AlertSubject } from "./subject.ts";

/** An alert and who holds it open. */
export interface HeldAlert {
  readonly record: AlertRecord;
  /** In the order in which they joined. */
  readonly members: { readonly size: number; values(): Iterable<AlertMember> };
  readonly unacknowledged: number;
  /** Matches that none of its members fits but, perhaps, {@link newcomers}: of ten thousand only these are looked at again. */
  readonly refusedBy: ReadonlySet<AlertMatch>;
  readonly newcomers: () => Iterable<AlertMember>;
}

/** As the book has it: members by drift id. */
export interface KeptAlert extends HeldAlert {
  readonly members: ReadonlyMap<string, AlertMember>;
}

const NO_MATCHES: ReadonlySet<AlertMatch> = new Set();

/** What one plan makes of an alert. Nothing of what it was made from is changed. */
export class AlertChange {
  readonly fingerprint: string;
  readonly storm: boolean;
  readonly #before: KeptAlert | undefined;
  readonly #joined = new Map<string, AlertMember>();
  readonly #left = new Set<string>();
  readonly #subjects: AlertSubject[] = [];
  #record: AlertRecord | undefined;
  #unacknowledged: number;
  #size: number;
  #altered = false;

  /** Somebody said that the alert of before is done with: it does not return. */
  readonly #done: boolean;

  constructor(fingerprint: string, before: KeptAlert | undefined, storm: boolean, done: boolean) {
    this.#done = done;
    this.fingerprint = fingerprint;
    this.storm = storm;
    this.#before = before;
    this.#record = before?.record;
    this.#unacknowledged = before?.unacknowledged ?? 0;
    this.#size = before?.members.size ?? 0;
  }

  get open(): boolean {
    return this.#size > 0;
  }

  get joined(): IterableIterator<AlertMember> {
    return this.#joined.values();
  }

  get left(): IterableIterator<string> {
    return this.#left.values();
  }

  /** undefined: nothing to store. */
  get altered(): AlertRecord | undefined {
    return this.#altered ? this.#record : undefined;
  }

  /** As it stands now. Call it after {@link settle}. */
  get held(): HeldAlert | undefined {
    const members = { size: this.#size, values: () => this.#members() };
    const refusedBy = this.#before?.refusedBy ?? NO_MATCHES;
    return this.#record && { record: this.#record, members, unacknowledged: this.#unacknowledged, refusedBy, newcomers: () => this.#joined.values() };
  }

  join(subject: AlertSubject): void {
    const { driftId } = subject;
    const member = memberOf(subject);
    const before = this.#before?.members.get(driftId);
    this.#subjects.push(subject);
    if (!before) this.#size++;
    this.#unacknowledged += Number(!member.acknowledged) - Number(before?.acknowledged === false);
    if (!before || JSON.stringify(before) !== JSON.stringify(member)) this.#joined.set(driftId, member);
  }

  leave(driftId: string): void {
    const before = this.#before?.members.get(driftId);
    if (!before) return;
    this.#left.add(driftId);
    this.#size--;
    if (!before.acknowledged) this.#unacknowledged--;
  }

  /** Puts the record in step with its members. Opening, a graver severity, and spreading or changing after everything had been acknowledged are news; the rest is not. */
  settle(nowMs: number): void {
    const open = this.#before && this.#before.members.size > 0 ? this.#record : undefined;
    if (!this.open) {
      if (open) this.#put({ ...open, endedAtMs: nowMs });
      return;
    }
    const gravest = this.#subjects.reduce<AlertSubject | undefined>(
      (worst, each) => (worst && severityRank(worst.severity) >= severityRank(each.severity) ? worst : each),
      undefined,
    );
    if (!gravest) return;
    if (open) this.#follow(open, gravest, nowMs);
    else this.#put(openedAlert(this, gravest, this.#record, this.#done, this.#since(), nowMs));
  }

  #follow(open: AlertRecord, gravest: AlertSubject, nowMs: number): void {
    const graver = severityRank(gravest.severity) > severityRank(open.severity);
    const told = graver || (this.#before?.unacknowledged === 0 && this.#unacknowledged > 0);
    const shown = told ? gravest : this.#subjects.find(({ driftId }) => driftId === open.shown.driftId);
    const startsAtMs = Math.min(open.startsAtMs, this.#since());
    if (!shown && startsAtMs === open.startsAtMs) return;
    this.#put({
      ...{ ...open, startsAtMs, severity: graver ? gravest.severity : open.severity, shown: shown ?? open.shown },
      ...(told && { news: open.news + 1, newsAtMs: nowMs }),
    });
  }

  /** There is news of it though no drift has changed. */
  renew(nowMs: number): void {
    if (this.#record && this.open) this.#put({ ...this.#record, news: this.#record.news + 1, newsAtMs: nowMs });
  }

  /** A receiver took it. */
  deliver(nowMs: number): void {
    if (this.#record && this.open && this.#record.deliveredAtMs === undefined) this.#put({ ...this.#record, deliveredAtMs: nowMs });
  }

  /** It goes out to a route. */
  tell(route: string, { acknowledged, nowMs }: { readonly acknowledged: boolean; readonly nowMs: number }): void {
    if (!this.#record) return;
    const { [route]: before, ...others } = this.#record.told;
    const { news, severity } = this.#record;
    const severities = [...(before?.severities ?? []).filter((each) => each !== severity), severity];
    this.#put({ ...this.#record, told: this.open ? { ...others, [route]: { news, atMs: nowMs, severities, acknowledged } } : others });
  }

  /** The clock was set back: nothing that is remembered is later than now. */
  rebase(nowMs: number): void {
    if (!this.#record) return;
    const { newsAtMs, endedAtMs, told } = this.#record;
    const earlier = Object.entries(told).map(([route, known]): [string, RouteTold] => [route, { ...known, atMs: Math.min(known.atMs, nowMs) }]);
    this.#put({
      ...{ ...this.#record, newsAtMs: Math.min(newsAtMs, nowMs), told: Object.fromEntries(earlier) },
      endedAtMs: endedAtMs === undefined ? undefined : Math.min(endedAtMs, nowMs),
    });
  }

  /** Drifts that people have been told of with this change: whoever joins what they know, or all of what they now do. */
  toldOf(): string[] {
    if (!this.open || this.#record?.deliveredAtMs === undefined) return [];
    const before = this.#before;
    const known = before !== undefined && before.members.size > 0 && before.record.deliveredAtMs !== undefined;
    const all = known ? this.#joined.values() : this.#members();
    return [...all].map(({ driftId }) => driftId).filter((id) => !known || !before.members.has(id));
  }

  #put(record: AlertRecord): void {
    this.#record = record;
    this.#altered = true;
  }

  #since(): number {
    return this.#subjects.reduce((first, { sinceMs }) => Math.min(first, sinceMs), Number.POSITIVE_INFINITY);
  }

  /** Not a copy: there may be one for each node of a large fleet, and one of them changes at a time. */
  *#members(): Generator<AlertMember> {
    for (const [id, member] of this.#before?.members ?? []) if (!this.#left.has(id)) yield this.#joined.get(id) ?? member;
    for (const [id, member] of this.#joined) if (!this.#before?.members.has(id)) yield member;
  }
}

/** @param before as it was when it ended, where that is remembered @param done that one does not return */
function openedAlert(
  { fingerprint, storm }: AlertChange,
  shown: AlertSubject,
  before: AlertRecord | undefined,
  done: boolean,
  startsAtMs: number,
  nowMs: number,
): AlertRecord {
  return {
    ...{ fingerprint, storm, shown, severity: shown.severity, startsAtMs, endedAtMs: undefined, deliveredAtMs: undefined },
    // Who was not told of its end yet knows it as it was.
    opening: before && Object.keys(before.told).length > 0 ? before.opening : openingOf(shown),
    ...(before && !done ? { reopened: before.reopened + 1, overSinceMs: before.endedAtMs } : { reopened: 0, overSinceMs: undefined }),
    ...{ news: (before?.news ?? 0) + 1, newsAtMs: nowMs, told: before?.told ?? {} },
  };
}

function openingOf({ incident, nodeName, workload, imageReference }: AlertSubject): AlertRecord["opening"] {
  return { node: incident ? "" : printable(nodeName, 253), workload: printable(workload, 253), image: printable(imageReference, 512) };
}

function memberOf({ driftId, nodeName, workload, containerName, state }: AlertSubject): AlertMember {
  return {
    ...{ driftId, node: printable(nodeName, 253), workload: printable(workload, 253), container: printable(containerName, 128) },
    acknowledged: state === "acknowledged",
  };
}
