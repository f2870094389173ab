/** How a drill ended. */

import { printable } from "@hullmark/verifier/core/text/printable";
import type { DrillReport } from "../drill/drill.ts";
import type { Objectives } from "../drill/types.ts";
import type { Called } from "../kubectl/invocation.ts";

/** The stable form of `-o json`. */
export function drillView(report: DrillReport, { detectMs: detectWithin, alertMs: alertWithin, containMs: containWithin }: Objectives): unknown {
  const {
    drill,
    run,
    container,
    path,
    outcome,
    problem,
    driftId,
    detectMs,
    alertMs,
    containment,
    resolveMs,
    alertRoutes,
    takenBy,
    notTakenBy,
    actor,
    recorded,
  } = report;
  const measured = (ms: number | undefined, withinMs: number | undefined) => ({ ms: ms === undefined ? null : Math.round(ms), withinMs: withinMs ?? null });
  const { state, ms, action, detail } = containment;
  return {
    ...{ drill, run, container, path: path || null, outcome, problem, drift: driftId || null, actor: actor || null },
    ...{ detect: measured(detectMs, detectWithin), alert: measured(alertMs, alertWithin), alertRoutes, takenBy, notTakenBy },
    ...{ resolve: { ms: resolveMs === undefined ? null : Math.round(resolveMs) } },
    ...{ contain: { ...measured(ms, containWithin), state, action: action || null, detail }, recorded },
  };
}

export function drillText(report: DrillReport, objectives: Objectives, command: Called): string {
  const { drill, run, container, outcome, problem, driftId, detectMs, actor, recorded } = report;
  const lines = [
    `${outcome.toUpperCase()}  ${drill} in ${printable(container, 300)}${problem ? `: ${printable(problem, 500)}` : ""}`,
    `Detected  ${took(detectMs, objectives.detectMs)}${driftId ? ` as ${printable(driftId, 32)}` : ""}${actor ? `, by ${printable(actor, 100)}` : ""}`,
    `Alerted   ${alerted(report, objectives, command)}`,
    ...(drill === "silent-agent" ? ofNode(report) : [`Contained ${contained(report, objectives, command)}`]),
    `Removed   the drill's ${drill === "silent-agent" ? "node, which is revoked" : "container"}; ${recorded ? `run ${run} is in the log` : "its end could NOT be recorded in the log"}`,
  ];
  return `${lines.join("\n")}\n`;
}

/** Nothing may be done about silence; that it is over is told. */
function ofNode({ containment: { detail }, resolveMs }: DrillReport): string[] {
  return [`Acted on  ${printable(detail, 300)}`, `Over      ${took(resolveMs, undefined)}${resolveMs === undefined ? "" : " after its agent ran again"}`];
}

function took(ms: number | undefined, withinMs: number | undefined): string {
  if (ms === undefined) return "not seen";
  return `${Math.round(ms)} ms${withinMs === undefined ? "" : ` (objective ${withinMs})`}`;
}

function alerted({ alertMs, alertRoutes, takenBy, notTakenBy, containment }: DrillReport, objectives: Objectives, command: Called): string {
  if (containment.state === "refused") return "nobody: what is refused at the door is in the log";
  if (alertRoutes.length === 0) return "nobody: the policy has no alert route";
  const named = (routes: readonly string[]): string => printable(routes.join(", "), 200);
  const by = takenBy.length > 0 ? `, by ${named(takenBy)}` : alertMs === undefined ? "" : `, by one of ${named(alertRoutes)}`;
  const not = notTakenBy.length > 0 ? `; not taken${takenBy.length > 0 ? "" : " yet"} by ${named(notTakenBy)}: ${command} alert ls` : "";
  return `${took(alertMs, objectives.alertMs)}${by}${not}`;
}

function contained({ containment: { state, ms, action, detail } }: DrillReport, objectives: Objectives, command: Called): string {
  if (state === "refused") return `${took(ms, objectives.containMs)}: admission refused it (${printable(detail, 300)})`;
  const words = `${printable(detail, 300)}${action ? ` (${command} action show ${printable(action, 64)})` : ""}`;
  return state === "done" ? `${took(ms, objectives.containMs)}: ${words}` : `no${words ? `: ${words}` : ""}`;
}
