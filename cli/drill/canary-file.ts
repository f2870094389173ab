/** The drill `canary-file`: a file that no image has, in a container of the drill's own, and how long it takes until the verifier knows and people are told. */
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type RpcChannel, RpcError } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Verdict } from "@hullmark/proto/v1/common";
import { type Drift, Query } from "@hullmark/proto/v1/query";
import type { DrillTarget } from "./target.ts";

export interface Objectives {
  /** Milliseconds from the write to the committed drift, and to the alert that was sent. */
  readonly detectMs: number;
  readonly alertMs: number;
  /** How long to wait for either, and for the container to be judged before. Milliseconds. */
  readonly patienceMs: number;
}

/** `passed`: within the objectives. `failed`: not, or not at all. `undecided`: it did not come to that. */
export type DrillOutcome = "passed" | "failed" | "undecided";

export interface DrillReport {
  readonly run: string;
  readonly container: string;
  readonly path: string;
  readonly outcome: DrillOutcome;
  /** Why it did not pass; empty where it did. */
  readonly problem: string;
  readonly driftId: string;
  /** Undefined: not seen. */
  readonly detectMs: number | undefined;
  /** Undefined: not sent, or there is no route. */
  readonly alertMs: number | undefined;
  readonly alertRoutes: readonly string[];
  /** Who the drift says it was; empty where that is not known. */
  readonly actor: string;
  /** Whether begin and end stand in the log. */
  readonly recorded: boolean;
}

export interface Drill {
  readonly run: string;
  readonly target: DrillTarget;
  readonly objectives: Objectives;
  readonly channel: RpcChannel;
  /** What is under way, for people. */
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
}

const POLL_MS = 500;

/**
 * Runs it, removes the container again however it ends, and records both ends.
 * @throws DrillError, KubectlError, RpcError where it came to nothing or the container could not be removed; the signal's reason
 */
export async function runCanaryFile(drill: Drill): Promise<DrillReport> {
  const { run, target, channel, say, signal } = drill;
  const path = `/hullmark-canary-${run}`;
  const { alertRoutes } = await channel.client(Query).getStatus({}, { signal });
  const admin = channel.client(Admin);
  const fact = { drill: "canary-file", run, container: target.container };
  // Said before anything happens: whoever is paged finds why.
  await admin.recordDrill({ ...fact, outcome: "begun" }, { signal });
  let seen: Seen = { outcome: "undecided", problem: "interrupted", drift: undefined, detectMs: undefined, alertMs: undefined };
  const failures: unknown[] = [];
  try {
    say(`starting ${target.container}`);
    await target.start(signal);
    seen = await observe(drill, path, alertRoutes.length > 0);
  } catch (error) {
    failures.push(error);
  }
  say("removing it");
  await target.remove().catch((error: unknown) => failures.push(error));
  const { outcome, problem, drift, detectMs, alertMs } = seen;
  const driftId = drift?.id ?? "";
  const times = { ...(detectMs !== undefined && { detectMs: Math.round(detectMs) }), ...(alertMs !== undefined && { alertMs: Math.round(alertMs) }) };
  const recorded = await admin.recordDrill({ ...fact, outcome, driftId, ...times }).then(
    () => true,
    () => false,
  );
  if (failures.length > 0) throw failures[0];
  return { run, container: target.container, path, outcome, problem, driftId, detectMs, alertMs, alertRoutes, actor: drift?.actor?.executable ?? "", recorded };
}

interface Seen {
  readonly outcome: DrillOutcome;
  readonly problem: string;
  readonly drift: Drift | undefined;
  readonly detectMs: number | undefined;
  readonly alertMs: number | undefined;
}

async function observe(drill: Drill, path: string, alerting: boolean): Promise<Seen> {
  const { target, channel, objectives, say, signal } = drill;
  const nothing: Seen = { outcome: "undecided", problem: "", drift: undefined, detectMs: undefined, alertMs: undefined };
  say("waiting until it is judged");
  const unjudged = await judged(drill);
  if (unjudged !== undefined) return { ...nothing, problem: `its content was not judged before the write: ${unjudged}` };
  const failed = new AbortController();
  const stop = AbortSignal.any([signal, failed.signal, AbortSignal.timeout(objectives.patienceMs)]);
  const watching = channel.client(Query).watchDrift({ includeCurrent: true }, { signal: stop });
  say(`writing ${path}`);
  const startedMs = Date.now();
  const writing = target.write(path, signal).catch((error: unknown) => failed.abort(error));
  const rows: Row[] = [];
  try {
    for await (const { drift } of watching) {
      if (drift?.containerName !== target.container || Buffer.from(drift.path).toString("latin1") !== path) continue;
      rows.push({ drift, afterMs: Date.now() - startedMs });
      if (!alerting || drift.alertedAt) break;
    }
  } catch (error) {
    if (!stop.aborted) throw error;
  }
  await writing;
  failed.signal.throwIfAborted();
  signal.throwIfAborted();
  const { detectMs, alertMs } = times(rows);
  return { ...verdict(objectives, detectMs, alertMs, alerting), drift: rows.at(-1)?.drift, detectMs, alertMs };
}

interface Row {
  readonly drift: Drift;
  /** Milliseconds from the beginning of the command that wrote until it was here. */
  readonly afterMs: number;
}

/**
 * From the write to the first commit and to the alert, by the cluster's clocks: the kernel's event is the beginning. Where no event told of it, or the node's clock is
 * ahead of the verifier's, both count from the beginning of the command that wrote until this command heard of them: longer than it was.
 */
function times(rows: readonly Row[]): { readonly detectMs: number | undefined; readonly alertMs: number | undefined } {
  const [first, alerted] = [rows[0], rows.find(({ drift }) => drift.alertedAt)];
  const writtenMs = rows.map(({ drift }) => drift.changedAt && timestampMs(drift.changedAt)).find((ms) => ms !== undefined);
  const committedMs = first?.drift.committedAt && timestampMs(first.drift.committedAt);
  if (writtenMs === undefined || committedMs === undefined || committedMs < writtenMs) return { detectMs: first?.afterMs, alertMs: alerted?.afterMs };
  const alertedMs = alerted?.drift.alertedAt && timestampMs(alerted.drift.alertedAt);
  return { detectMs: committedMs - writtenMs, alertMs: alertedMs === undefined ? undefined : alertedMs - writtenMs };
}

function verdict(wanted: Objectives, detectMs: number | undefined, alertMs: number | undefined, alerting: boolean): Pick<Seen, "outcome" | "problem"> {
  const failed = (problem: string): Pick<Seen, "outcome" | "problem"> => ({ outcome: "failed", problem });
  if (detectMs === undefined) return failed(`no drift within ${wanted.patienceMs} ms (does the policy call the path mutable?)`);
  if (alerting && alertMs === undefined) return failed(`no alert was sent within ${wanted.patienceMs} ms`);
  if (detectMs > wanted.detectMs) return failed(`detected after ${Math.round(detectMs)} ms, which is more than ${wanted.detectMs}`);
  if (alertMs !== undefined && alertMs > wanted.alertMs) return failed(`alerted after ${Math.round(alertMs)} ms, which is more than ${wanted.alertMs}`);
  return { outcome: "passed", problem: "" };
}

/** @returns undefined once its content is as in its image, else what is known instead */
async function judged({ target, channel, objectives, signal }: Drill): Promise<string | undefined> {
  const untilMs = Date.now() + objectives.patienceMs;
  let last = "the verifier knows nothing of it";
  while (Date.now() < untilMs) {
    try {
      const { workload } = await channel.client(Query).getWorkload({ container: target.container }, { signal });
      if (workload?.content === Verdict.AFFIRMING) return undefined;
      if (workload) last = workload.reasons.map(({ code, detail }) => `${code} ${detail}`.trim()).join("; ") || "not yet known";
    } catch (error) {
      if (!(error instanceof RpcError) || error.code !== "NOT_FOUND") throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return last;
}
