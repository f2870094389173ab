/** What whoever drills says of it, checked; and how drills stand, told. */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImplementation } from "@hullmark/proto/rpc";
import type { RecordDrillRequest, ScheduleDrillRequest } from "@hullmark/proto/v1/admin";
import type { Query } from "@hullmark/proto/v1/query";
import type { DrillReport, Drills } from "../../core/drill/drills.ts";
import { CONTAINMENTS, DRILL_OUTCOMES, DRILLS, type DrillName, isDrill } from "../../core/drill/names.ts";
import type { DrillRunRow } from "../../ports/rows.ts";
import { invalid } from "./errors.ts";

const MAX_NAME_CHARS = 512;
const MAX_PROBLEM_CHARS = 500;
/** The command waits an hour at most for the verdict, and as long for what it measures. */
const MAX_RUN_SECONDS = 7_800;
const MIN_EVERY_SECONDS = 3600;
const MAX_EVERY_SECONDS = 366 * 86_400;

/** @throws RpcError INVALID_ARGUMENT */
export function drillReport(request: RecordDrillRequest): Omit<DrillReport, "by"> {
  const { run, container, outcome, driftId, containment, problem, endsWithinSeconds } = request;
  if (!/^[a-z0-9]{8,32}$/.test(run)) throw invalid("run", "8 to 32 of a-z 0-9");
  if (driftId.length > 32) throw invalid("driftId", "at most 32 characters");
  if (problem.length > MAX_PROBLEM_CHARS) throw invalid("problem", `at most ${MAX_PROBLEM_CHARS} characters`);
  if (endsWithinSeconds > MAX_RUN_SECONDS) throw invalid("endsWithinSeconds", `0 to ${MAX_RUN_SECONDS}`);
  const { detectMs, alertMs, containMs, detectWithinMs, alertWithinMs, containWithinMs } = request;
  return {
    ...{ drill: drillOf(request), run, container: container.slice(0, MAX_NAME_CHARS), driftId, problem },
    outcome: outcome === "begun" ? "" : oneOf("outcome", outcome, DRILL_OUTCOMES),
    containment: containment === "" ? "" : oneOf("containment", containment, CONTAINMENTS),
    ...{ detectMs, alertMs, containMs, detectWithinMs, alertWithinMs, containWithinMs },
    endsWithinMs: (endsWithinSeconds || MAX_RUN_SECONDS) * 1000,
  };
}

/** @throws RpcError INVALID_ARGUMENT */
export function drillSchedule({ drill, everySeconds }: ScheduleDrillRequest): { readonly drill: DrillName; readonly everyMs: number } {
  if (everySeconds !== 0 && (everySeconds < MIN_EVERY_SECONDS || everySeconds > MAX_EVERY_SECONDS))
    throw invalid("everySeconds", `0, or ${MIN_EVERY_SECONDS} to ${MAX_EVERY_SECONDS}`);
  return { drill: drillOf({ drill }), everyMs: everySeconds * 1000 };
}

function drillOf({ drill }: { readonly drill: string }): DrillName {
  if (!isDrill(drill)) throw invalid("drill", DRILLS.join(", "));
  return drill;
}

function oneOf<T extends string>(field: string, given: string, allowed: readonly T[]): T {
  const found = allowed.find((each) => each === given);
  if (found === undefined) throw invalid(field, allowed.join(", "));
  return found;
}

export interface DrillQueryServices {
  readonly drills: Pick<Drills, "runs" | "schedules" | "standings">;
}

export function drillQueries({ drills }: DrillQueryServices) {
  return {
    async listDrills() {
      const schedules = new Map(drills.schedules.map((row) => [row.drill, row]));
      return {
        runs: drills.runs.map(runMessage),
        standings: drills.standings().map(({ drill, state, problem, by, lastPassedMs, dueMs }) => ({
          ...{ drill, state, problem, run: by?.run ?? "" },
          ...(lastPassedMs !== undefined && { lastPassed: timestampFromMs(lastPassedMs) }),
          ...(dueMs !== undefined && { due: timestampFromMs(dueMs) }),
          ...{ everySeconds: (schedules.get(drill)?.everyMs ?? 0) / 1000, scheduledBy: schedules.get(drill)?.by ?? "" },
        })),
      };
    },
  } satisfies Pick<ServiceImplementation<typeof Query>, "listDrills">;
}

function runMessage(row: DrillRunRow) {
  const { drill, run, container, outcome, problem, driftId, containment, by, begunAtMs, endedAtMs, logIndex } = row;
  const { detectMs, alertMs, containMs, detectWithinMs, alertWithinMs, containWithinMs } = row;
  return {
    ...{ drill, run, container, outcome, problem, driftId, containment, by, begun: timestampFromMs(begunAtMs) },
    ...(endedAtMs !== undefined && { ended: timestampFromMs(endedAtMs) }),
    ...(detectMs !== undefined && { detectMs }),
    ...(alertMs !== undefined && { alertMs }),
    ...(containMs !== undefined && { containMs }),
    ...(containWithinMs !== undefined && { containWithinMs }),
    ...{ detectWithinMs, alertWithinMs, logIndex: BigInt(logIndex) },
  };
}
