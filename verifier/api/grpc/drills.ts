/** What whoever drills says of it: checked, and in the words of the log. */
import type { RecordDrillRequest } from "@hullmark/proto/v1/admin";
import { CONTAINMENTS, DRILL_OUTCOMES, DRILLS, isDrill } from "../../core/drill/names.ts";
import { invalid } from "./errors.ts";

const MAX_NAME_CHARS = 512;
const MAX_PROBLEM_CHARS = 500;

/** @throws RpcError INVALID_ARGUMENT */
export function drillFields(request: RecordDrillRequest): Readonly<Record<string, string | number | null>> {
  const { drill, run, container, outcome, driftId, containment, problem } = request;
  if (!isDrill(drill)) throw invalid("drill", DRILLS.join(", "));
  if (!/^[a-z0-9]{8,32}$/.test(run)) throw invalid("run", "8 to 32 of a-z 0-9");
  if (![...DRILL_OUTCOMES, "begun"].includes(outcome)) throw invalid("outcome", ["begun", ...DRILL_OUTCOMES].join(", "));
  if (driftId.length > 32) throw invalid("driftId", "at most 32 characters");
  if (![...CONTAINMENTS, ""].includes(containment)) throw invalid("containment", CONTAINMENTS.join(", "));
  if (problem.length > MAX_PROBLEM_CHARS) throw invalid("problem", `at most ${MAX_PROBLEM_CHARS} characters`);
  const { detectMs = null, alertMs = null, containMs = null, detectWithinMs, alertWithinMs, containWithinMs = null } = request;
  return {
    ...{ drill, run, container: container.slice(0, MAX_NAME_CHARS), outcome, drift: driftId, problem, containment },
    ...{ detectMs, alertMs, containMs, detectWithinMs, alertWithinMs, containWithinMs },
  };
}
