/**
 * Incidents: the same thing on many containers and nodes is one matter for people. An incident is computed from drifts and what people decided on it, and holds nothing
 * else, so that it is the same after every restart, under every policy, and on whichever machine it is computed.
 */
import { hash } from "node:crypto";
import { ByteWriter } from "@hullmark/proto/codec";
import { base32 } from "../text/base32.ts";

/** A drift found again this long after the last of its kind was over belongs to the same incident, which is reopened: 7 days. */
export const REOPEN_WINDOW_MS = 604_800_000;

export type MemberState = "open" | "acknowledged" | "resolved";
export type IncidentState = "open" | "acknowledged" | "contained" | "resolved";

/** What an incident needs to know of a drift. Names, image and path come from nodes. Times are Unix milliseconds, by the verifier's clock. */
export interface Member {
  readonly driftId: string;
  readonly kind: string;
  /** Raw bytes; empty where no file is meant. */
  readonly path: Uint8Array;
  /** Config digest; the reference where none is known; empty for a matter of the node itself. */
  readonly image: string;
  readonly nodeName: string;
  readonly workload: string;
  /** Higher is graver. */
  readonly severity: number;
  readonly state: MemberState;
  /** An action on its container was carried out. */
  readonly contained: boolean;
  readonly foundAtMs: number;
  /** Set where it is resolved; what is excused is so since its exception was approved. */
  readonly resolvedAtMs: number | undefined;
  /** Who acknowledged it last, and when; empty: nobody. */
  readonly acknowledgedBy: string;
  readonly acknowledgedAtMs: number | undefined;
}

/**
 * Since when a drift that an exception excuses is over, as far as its incident goes: an exception that was approved before it was found has made no incident of it.
 * @param decidedAtMs when its exception was approved; undefined: no exception excuses it, or none that is known
 */
export function excusedSince({ foundAtMs }: Pick<Member, "foundAtMs">, decidedAtMs: number | undefined): number | undefined {
  return decidedAtMs !== undefined && foundAtMs <= decidedAtMs ? decidedAtMs : undefined;
}

/** One thing that a person decided, in the log at `logIndex`. */
export interface Decision {
  readonly by: string;
  readonly reason: string;
  /** Unix milliseconds, by the verifier's clock, and not before what it is about. */
  readonly atMs: number;
  readonly logIndex: number;
}

export interface Assignment extends Decision {
  /** Whom it was given to; empty: to nobody, until somebody acknowledges. */
  readonly owner: string;
}

/** What people decided on an incident last; it holds for the episode in which that was. */
export interface Decided {
  /** undefined: nobody gave it to anybody yet. */
  readonly assigned: Assignment | undefined;
  /** That an episode is done with: what comes after that begins anew. It ends no drift. */
  readonly closed: Decision | undefined;
}

export interface Incident<M extends Member = Member> {
  /** `I-` and 16 characters: stands for image, path and kind. */
  readonly id: string;
  readonly kind: string;
  readonly path: Uint8Array;
  readonly image: string;
  readonly state: IncidentState;
  /** Of the gravest member. */
  readonly severity: number;
  /** Whom it was given to; without that, who acknowledged a member last, or did so since it was given to nobody. Empty: nobody. */
  readonly owner: string;
  /** Of this episode; undefined: nobody did. */
  readonly assigned: Assignment | undefined;
  /** Who said that this episode is done with. Set only where `state` is `resolved`. */
  readonly closed: Decision | undefined;
  readonly firstSeenMs: number;
  /** When the newest member was found. */
  readonly lastSeenMs: number;
  /** When the last member was resolved; undefined while any is not. */
  readonly resolvedAtMs: number | undefined;
  /** How often it returned, within {@link REOPEN_WINDOW_MS}, after all of it had been resolved. */
  readonly reopened: number;
  /** Sorted, without repetition. */
  readonly nodes: readonly string[];
  readonly workloads: readonly string[];
  /** Of the present episode, oldest first. At least one. */
  readonly members: readonly M[];
}

const DOMAIN = Buffer.from("hullmark incident v1\0");
const ID_BYTES = 10;

/** The id that all drifts of one image, path and kind have in common. 80 bits of SHA-256 over length-prefixed fields, in Crockford's base32. */
export function incidentId({ image, path, kind }: Pick<Member, "image" | "path" | "kind">): string {
  const fields = new ByteWriter().bytes(Buffer.from(image)).bytes(path).bytes(Buffer.from(kind)).finish();
  const digest = hash("sha256", Buffer.concat([DOMAIN, fields]), "buffer");
  return `I-${base32(BigInt(`0x${digest.toString("hex", 0, ID_BYTES)}`), (ID_BYTES * 8) / 5)}`;
}

/** The undecided. */
const nothing = (): undefined => undefined;

/**
 * One incident for each image, path and kind, in its newest episode: what stands first, the gravest first, the newest first. The order of `members` does not matter.
 * @param decided by incident id
 */
export function incidentsOf<M extends Member>(members: readonly M[], decided: (id: string) => Decided | undefined = nothing): Incident<M>[] {
  const incidents = [...Map.groupBy(members, keyOf).values()].map((all) => {
    const id = incidentId(all[0] as M);
    return incidentOf(id, all, decided(id));
  });
  const over = ({ state }: Incident): number => (state === "resolved" ? 1 : 0);
  return incidents.sort((a, b) => over(a) - over(b) || b.severity - a.severity || b.lastSeenMs - a.lastSeenMs || compare(a.id, b.id));
}

/** Equal where the ids are: what each of many thousand drifts need not be hashed for. */
function keyOf({ image, path, kind }: Member): string {
  return `${image.length} ${image}${kind.length} ${kind}${Buffer.from(path.buffer, path.byteOffset, path.byteLength).toString("latin1")}`;
}

function incidentOf<M extends Member>(id: string, all: readonly M[], decided: Decided | undefined): Incident<M> {
  const inOrder = all.toSorted((a, b) => a.foundAtMs - b.foundAtMs || compare(a.driftId, b.driftId));
  const { members, reopened } = newestEpisode(inOrder, decided?.closed?.atMs);
  const [first] = members as [M, ...M[]];
  const state = stateOf(members);
  const ends = members.map(({ resolvedAtMs, foundAtMs }) => resolvedAtMs ?? foundAtMs);
  const resolvedAtMs = state === "resolved" ? ends.reduce((last, end) => Math.max(last, end), 0) : undefined;
  const assigned = decided?.assigned && decided.assigned.atMs >= first.foundAtMs ? decided.assigned : undefined;
  return {
    ...{ id, kind: first.kind, path: first.path, image: first.image, state, reopened, members, assigned, resolvedAtMs },
    severity: members.reduce((worst, { severity }) => Math.max(worst, severity), 0),
    owner: assigned?.owner || acknowledgerOf(members, assigned?.atMs),
    closed: resolvedAtMs !== undefined && decided?.closed && decided.closed.atMs >= resolvedAtMs ? decided.closed : undefined,
    firstSeenMs: first.foundAtMs,
    lastSeenMs: members.reduce((newest, { foundAtMs }) => Math.max(newest, foundAtMs), 0),
    nodes: distinct(members.map(({ nodeName }) => nodeName)),
    workloads: distinct(members.map(({ workload }) => workload)),
  };
}

/** Who acknowledged last, and not before `sinceMs`; empty: nobody. */
function acknowledgerOf(members: readonly Member[], sinceMs = 0): string {
  const acknowledged = members.filter(({ acknowledgedBy, acknowledgedAtMs = 0 }) => acknowledgedBy !== "" && acknowledgedAtMs >= sinceMs);
  const last = acknowledged.reduce<Member | undefined>(
    (newest, each) => ((each.acknowledgedAtMs ?? 0) >= (newest?.acknowledgedAtMs ?? 0) ? each : newest),
    undefined,
  );
  return last?.acknowledgedBy ?? "";
}

/**
 * A quiet that is longer than the window, or in which somebody said that it is done with, ends an episode; a shorter one, after which it returns, is a reopening.
 * `members` are in the order in which they were found.
 */
function newestEpisode<M extends Member>(
  members: readonly M[],
  closedAtMs = Number.NEGATIVE_INFINITY,
): { readonly members: readonly M[]; readonly reopened: number } {
  let start = 0;
  let reopened = 0;
  let quietSinceMs = Number.NEGATIVE_INFINITY;
  for (const [at, { state, foundAtMs, resolvedAtMs }] of members.entries()) {
    const closed = quietSinceMs <= closedAtMs && closedAtMs < foundAtMs;
    if (at > 0 && (closed || foundAtMs - quietSinceMs > REOPEN_WINDOW_MS)) [start, reopened] = [at, 0];
    else if (at > 0 && foundAtMs > quietSinceMs) reopened++;
    quietSinceMs = Math.max(quietSinceMs, state === "resolved" ? (resolvedAtMs ?? foundAtMs) : Number.POSITIVE_INFINITY);
  }
  return { members: members.slice(start), reopened };
}

/** Of what is not resolved, the least that has been done. */
function stateOf(members: readonly Member[]): IncidentState {
  const standing = members.filter(({ state }) => state !== "resolved");
  if (standing.length === 0) return "resolved";
  if (standing.every(({ contained }) => contained)) return "contained";
  return standing.every(({ state, contained }) => contained || state === "acknowledged") ? "acknowledged" : "open";
}

const distinct = (names: readonly string[]): string[] => [...new Set(names)].sort(compare);

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
