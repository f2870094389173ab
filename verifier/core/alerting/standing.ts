/** What else stands of the same commit and workload: a receiver that keeps one word for all of them is not to be told that all is well while one does. Pure. */
import type { AlertEvent, AlertSeverity } from "../../ports/notifier.ts";
import { severityRank } from "../policy/kinds.ts";
import type { KeptAlert } from "./record.ts";

export interface StandingAlerts {
  readonly count: number;
  /** `info` where there is none. */
  readonly gravest: AlertSeverity;
}

/**
 * Of what stands for many at once nobody can tell of which commit each is: it counts for each workload that it holds, rather than that one is called well.
 * @param alerts of the book @param route only what it was told of counts
 */
export function standingBeside(alerts: Iterable<KeptAlert>, route: string, { fingerprint, source, workload }: AlertEvent): StandingAlerts {
  let [count, gravest]: [number, AlertSeverity] = [0, "info"];
  for (const { record, members } of alerts) {
    const { shown, opening, storm } = record;
    if (members.size === 0 || record.fingerprint === fingerprint || !record.told[route]) continue;
    // The incident that another workload of the same image opened may hold it too.
    if (opening.workload !== workload && ![...members.values()].some((member) => member.workload === workload)) continue;
    if (!storm && (shown.source?.commit !== source?.commit || shown.source?.repository !== source?.repository)) continue;
    count++;
    if (severityRank(record.severity) > severityRank(gravest)) gravest = record.severity;
  }
  return { count, gravest };
}
