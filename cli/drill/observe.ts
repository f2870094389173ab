/** Does the deed and measures until it is known, told and contained. */
import { type Drift, Query } from "@hullmark/proto/v1/query";
import { toMs } from "../output/words.ts";
import { type Containment, containment } from "./containment.ts";
import type { Scenario } from "./scenario.ts";
import { DrillError } from "./target.ts";
import { type Drill, type Objectives, type Seen, UNSEEN } from "./types.ts";

export interface Expected {
  /** The policy has a route, so an alert is waited for. */
  readonly alerting: boolean;
  /** Policy's mode lets it ask for actions. */
  readonly acting: boolean;
}

/** @throws DrillError, KubectlError, RpcError; the signal's reason */
export async function observe(drill: Drill, scenario: Scenario, { alerting, acting }: Expected): Promise<Seen> {
  const problem = await scenario.prepare(drill);
  if (problem !== undefined) return { ...UNSEEN, problem };
  const watched = await watch(drill, scenario, alerting);
  if ("refusal" in watched) return refused(watched, drill.objectives);
  if (watched.pointless !== undefined) return { ...UNSEEN, problem: watched.pointless };
  const { rows, startedMs } = watched;
  const found = rows.filter(({ drift }) => scenario.isFound(drift));
  const [first] = found;
  const doneMs = await scenario.doneAtMs(
    drill,
    rows.map(({ drift }) => drift),
  );
  const times = timesOf(found, doneMs);
  const facts = {
    ...{ acting: acting && first !== undefined, foundMs: startedMs + (first?.afterMs ?? 0), untilMs: startedMs + drill.objectives.patienceMs },
    beganMs: times.byNode ? (doneMs ?? startedMs) : startedMs,
  };
  const contained = await containment(drill, facts);
  const last = found.at(-1)?.drift;
  return {
    ...UNSEEN,
    ...verdict(drill.objectives, { ...times, contained, alerting, hint: scenario.hint }),
    ...{ driftId: last?.id ?? "", detectMs: times.detectMs, alertMs: times.alertMs, containment: contained, actor: last?.actor?.executable ?? "" },
  };
}

interface Row {
  readonly drift: Drift;
  /** Milliseconds from the beginning of the deed until it was here. */
  readonly afterMs: number;
}

interface Watched {
  readonly rows: readonly Row[];
  /** By this command's clock. */
  readonly startedMs: number;
  readonly pointless: string | undefined;
}

interface Refused {
  readonly refusal: string;
  readonly afterMs: number;
}

/** The deed, and every drift of the drill's container until it was found and told, or patience ended. */
async function watch(drill: Drill, scenario: Scenario, alerting: boolean): Promise<Watched | Refused> {
  const { target, channel, objectives, signal } = drill;
  const over = new AbortController();
  const stop = AbortSignal.any([signal, over.signal, AbortSignal.timeout(objectives.patienceMs)]);
  const watching = channel.client(Query).watchDrift({ includeCurrent: true }, { signal: stop });
  const startedMs = Date.now();
  let failure: { readonly error: unknown; readonly afterMs: number } | undefined;
  let pointless: string | undefined;
  const fails = (error: unknown): void => {
    if (over.signal.aborted) return;
    failure = { error, afterMs: Date.now() - startedMs };
    over.abort();
  };
  const acting = scenario.act(drill).catch(fails);
  const looking = scenario.pointless?.(drill, stop).then((why) => {
    if (why === undefined || over.signal.aborted) return;
    pointless = why;
    over.abort();
  }, fails);
  const rows: Row[] = [];
  try {
    for await (const { drift } of watching) {
      if (drift?.containerName !== target.container) continue;
      rows.push({ drift, afterMs: Date.now() - startedMs });
      if (scenario.isFound(drift) && (!alerting || drift.alertedAt)) break;
    }
  } catch (error) {
    if (!stop.aborted) throw error;
  }
  over.abort();
  await Promise.all([acting, looking]);
  signal.throwIfAborted();
  if (failure?.error instanceof DrillError && failure.error.code === "REFUSED") return { refusal: failure.error.message, afterMs: failure.afterMs };
  if (failure) throw failure.error;
  return { rows, startedMs, pointless };
}

interface Times {
  readonly detectMs: number | undefined;
  readonly alertMs: number | undefined;
  /** Whether they count from when the node says that it was done. */
  readonly byNode: boolean;
}

/**
 * From the deed to the first commit and to the alert, by the clocks of node and verifier. Where the node did not tell of the deed, or its clock is ahead of the verifier's, both count
 * from the beginning of the command that did it until this command heard of them: longer than it was.
 */
function timesOf(found: readonly Row[], doneMs: number | undefined): Times {
  const [first, alerted] = [found[0], found.find(({ drift }) => drift.alertedAt)];
  const committedMs = toMs(first?.drift.committedAt);
  if (doneMs === undefined || committedMs === undefined || committedMs < doneMs) return { detectMs: first?.afterMs, alertMs: alerted?.afterMs, byNode: false };
  const alertedMs = toMs(alerted?.drift.alertedAt);
  return { detectMs: committedMs - doneMs, alertMs: alertedMs === undefined ? undefined : alertedMs - doneMs, byNode: true };
}

interface Measured extends Times {
  readonly contained: Containment;
  readonly alerting: boolean;
  readonly hint: string;
}

function verdict(wanted: Objectives, { detectMs, alertMs, contained, alerting, hint }: Measured): Pick<Seen, "outcome" | "problem"> {
  const problem =
    detectMs === undefined
      ? `no drift within ${wanted.patienceMs} ms (${hint})`
      : alerting && alertMs === undefined
        ? `no alert was sent within ${wanted.patienceMs} ms`
        : (late("detected", detectMs, wanted.detectMs) ?? late("alerted", alertMs, wanted.alertMs) ?? uncontained(contained, wanted.containMs));
  return problem === undefined ? { outcome: "passed", problem: "" } : { outcome: "failed", problem };
}

export function late(what: string, ms: number | undefined, withinMs: number): string | undefined {
  return ms !== undefined && ms > withinMs ? `${what} after ${Math.round(ms)} ms, which is more than ${withinMs}` : undefined;
}

/** What policy asked for must have been done; that it asked is wanted only where there is an objective. */
function uncontained({ state, ms, detail }: Containment, withinMs: number | undefined): string | undefined {
  if (state === "failed") return `not contained: ${detail}`;
  if (withinMs === undefined) return undefined;
  return state === "done" ? late("contained", ms, withinMs) : `not contained: ${detail}`;
}

/** It never ran: found and contained in one, of which no alert tells. */
function refused({ refusal, afterMs }: Refused, wanted: Objectives): Seen {
  const contained: Containment = { state: "refused", ms: afterMs, action: "", detail: refusal };
  const problem = late("refused", afterMs, wanted.detectMs) ?? late("refused", afterMs, wanted.containMs ?? Number.POSITIVE_INFINITY);
  return { ...UNSEEN, outcome: problem === undefined ? "passed" : "failed", problem: problem ?? "", detectMs: afterMs, containment: contained };
}
