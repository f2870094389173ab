/** What is shown of a container: its own appraisal, as far as its node can be believed. */
import { Verdict } from "@hullmark/proto/v1/common";
import type { ClaimRow, NodeRow, WorkloadRow } from "../../ports/rows.ts";
import { sameClaims } from "./claims.ts";

type Shown = Pick<WorkloadRow, "verdict" | "content" | "reasons">;

/**
 * Where nothing vouches for the node's word, its containers are unknown: nothing stays green.
 * What was found to differ stays found: silencing an agent must not turn red into grey.
 */
export function effectiveResult(node: Pick<NodeRow, "verdict" | "reasons" | "name">, appraised: WorkloadRow["appraised"]): Shown {
  if (node.verdict === Verdict.AFFIRMING || node.verdict === Verdict.WARNING) return appraised;
  const [first] = node.reasons;
  const reason: ClaimRow = { code: first?.code ?? "node-unknown", detail: `node ${node.name}: ${first?.detail ?? "not judged"}`, sinceMs: first?.sinceMs };
  const barred = (verdict: Verdict): Verdict => (verdict === Verdict.CONTRAINDICATED ? verdict : Verdict.UNKNOWN);
  return { verdict: barred(appraised.verdict), content: barred(appraised.content), reasons: [reason, ...appraised.reasons] };
}

/** The row under the node's present state; the same object where nothing changes. */
export function withEffective(node: Pick<NodeRow, "verdict" | "reasons" | "name">, row: WorkloadRow): WorkloadRow {
  const shown = effectiveResult(node, row.appraised);
  if (shown.verdict === row.verdict && shown.content === row.content && sameClaims(shown.reasons, row.reasons)) return row;
  return { ...row, ...shown };
}
