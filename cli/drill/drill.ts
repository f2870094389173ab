/** A drill from its beginning to its end, whatever it does: said, done, watched, cleared away and recorded. */
import { Admin } from "@hullmark/proto/v1/admin";
import { Query } from "@hullmark/proto/v1/query";
import type { DrillName } from "@hullmark/verifier/core/drill/names";
import { toMs } from "../output/words.ts";
import { type Expected, observe } from "./observe.ts";
import type { Scenario } from "./scenario.ts";
import { type Drill, type Objectives, type Occasion, type Seen, UNSEEN } from "./types.ts";

export interface DrillReport extends Seen {
  readonly drill: DrillName;
  readonly run: string;
  /** The container, or node, that it acted on. */
  readonly container: string;
  /** The file or directory that it made; empty where it made none. */
  readonly path: string;
  /** Of the policy. */
  readonly alertRoutes: readonly string[];
  /** Of those the ones whose receiver took the drill's alert, and those whose receiver was told and did not, or not yet. A route that does not take such an alert is in neither. */
  readonly takenBy: readonly string[];
  readonly notTakenBy: readonly string[];
  /** Whether begin and end stand in the log. */
  readonly recorded: boolean;
}

/** What a drill does, on what. */
export interface Staged {
  readonly name: DrillName;
  /** Name of the container or node. */
  readonly container: string;
  readonly path: string;
  /** Does the deed, and watches. @throws DrillError, KubectlError, RpcError; the signal's reason */
  observe(expected: Expected): Promise<Seen>;
  /** Takes back what was done outside of it. @throws DrillError */
  undo?(): void;
  /** Removes it, also when it was not finished. @throws DrillError */
  remove(): Promise<void>;
}

/** A drill in a container. @throws as {@link runStaged} */
export async function runDrill(drill: Drill, scenario: Scenario): Promise<DrillReport> {
  return await runStaged(drill, {
    ...{ name: scenario.name, container: drill.target.container, path: scenario.path },
    observe: (expected) => observe(drill, scenario, expected),
    undo: () => scenario.undo?.(),
    remove: () => drill.target.remove(),
  });
}

/**
 * Runs it, removes what it acted on again however it ends, and records both ends.
 * @throws DrillError, KubectlError, RpcError where it came to nothing or that could not be removed; the signal's reason
 */
export async function runStaged({ run, channel, objectives, say, signal }: Occasion, staged: Staged): Promise<DrillReport> {
  const { alertRoutes, mode, now } = await channel.client(Query).getStatus({}, { signal });
  const admin = channel.client(Admin);
  const fact = {
    ...{ drill: staged.name, run, container: staged.container, detectWithinMs: objectives.detectMs, alertWithinMs: objectives.alertMs },
    ...(objectives.containMs !== undefined && { containWithinMs: objectives.containMs }),
  };
  // Said before anything happens: whoever is paged finds why.
  await admin.recordDrill({ ...fact, outcome: "begun", endsWithinSeconds: endsWithinSeconds(objectives) }, { signal });
  let seen: Seen = { ...UNSEEN, problem: "interrupted" };
  const failures: unknown[] = [];
  try {
    seen = await staged.observe({ alerting: alertRoutes.length > 0, acting: mode !== "observe" });
  } catch (error) {
    failures.push(error);
    if (!signal.aborted) seen = { ...seen, problem: error instanceof Error ? error.message : String(error) };
  }
  try {
    staged.undo?.();
  } catch (error) {
    failures.push(error);
  }
  say("removing it");
  await staged.remove().catch((error: unknown) => failures.push(error));
  const recorded = await admin.recordDrill({ ...fact, ...recordOf(seen) }).then(
    () => true,
    () => false,
  );
  if (failures.length > 0) throw failures[0];
  // The drill is over and recorded: that nobody can say who took its alert changes nothing of it.
  const told = seen.alertMs === undefined || alertRoutes.length === 0 ? NOBODY : await whoTook({ channel, signal, run }, toMs(now) ?? 0).catch(() => NOBODY);
  return { ...seen, drill: staged.name, run, container: staged.container, path: staged.path, alertRoutes, ...told, recorded };
}

type Taken = Pick<DrillReport, "takenBy" | "notTakenBy">;
const NOBODY: Taken = { takenBy: [], notTakenBy: [] };
/** As many as the verifier tells at once. */
const MAX_NOTIFICATIONS = 1000;

/** A notification names one alert, by the container, pod or node that has the run's name: one that gathers several since the drill began counts as the drill's. */
async function whoTook({ channel, signal, run }: Pick<Occasion, "channel" | "signal" | "run">, sinceMs: number): Promise<Taken> {
  const { notifications } = await channel.client(Query).listNotifications({ limit: MAX_NOTIFICATIONS }, { signal });
  const own = notifications.filter(
    ({ summary, firing, createdAt }) => firing > 0 && (toMs(createdAt) ?? 0) >= sinceMs && (firing > 1 || summary.includes(run)),
  );
  const takenBy = new Set(own.filter(({ state }) => state === "delivered").map(({ route }) => route));
  const notTakenBy = new Set(own.map(({ route }) => route).filter((route) => !takenBy.has(route)));
  return { takenBy: [...takenBy].sort(), notTakenBy: [...notTakenBy].sort() };
}

function recordOf({ outcome, problem, driftId, detectMs, alertMs, containment }: Seen) {
  return {
    ...{ outcome, driftId, problem: problem.slice(0, 500), containment: containment.state },
    ...(detectMs !== undefined && { detectMs: Math.round(detectMs) }),
    ...(alertMs !== undefined && { alertMs: Math.round(alertMs) }),
    ...(containment.ms !== undefined && { containMs: Math.round(containment.ms) }),
  };
}

/** To start, to be judged, to be found, to be removed: whoever has not said by then how it ended never does. */
function endsWithinSeconds({ patienceMs }: Objectives): number {
  return Math.min(7_800, Math.ceil((2 * patienceMs) / 1000) + 600);
}
