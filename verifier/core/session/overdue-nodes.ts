/** Which nodes have been silent, or have not proven their boot, for longer than policy lets be. */
import { Verdict } from "@hullmark/proto/v1/common";
import type { NodeRow } from "../../ports/rows.ts";
import type { Overdue } from "../appraisal/appraise-node.ts";
import { isCurrent, isHeard, isUnjudged } from "../appraisal/heard.ts";
import { isSilent } from "../fleet/node-appraisal.ts";
import { isUnproven } from "../fleet/node-findings.ts";
import type { Policy } from "../policy/types.ts";
import { Lack } from "./lack.ts";

type Patience = Pick<Policy, "intervals" | "silentAfterSeconds" | "bootUnprovenAfterSeconds">;

export class OverdueNodes {
  readonly #silence = new Lack();
  readonly #unproven = new Lack();

  /** To be called each second. @param rows of every node that is a member, as known now */
  look(rows: readonly NodeRow[], { intervals, silentAfterSeconds, bootUnprovenAfterSeconds }: Patience, nowMs: number): void {
    const idsOf = (of: (row: NodeRow) => boolean): string[] => rows.filter(of).map(({ id }) => id);
    const silent = ({ lastSeenMs, verdict, reasons }: NodeRow): boolean =>
      isSilent(lastSeenMs, intervals, nowMs) || (verdict === Verdict.UNKNOWN && isUnjudged(reasons));
    this.#silence.look({ lacking: idsOf(silent), open: idsOf(({ reasons }) => !isHeard(reasons)) }, silentAfterSeconds * 1000, nowMs);
    // Of one that is not heard, or has not quoted, it is not known what it would prove; one that is contradicted is told as that.
    const open = (row: NodeRow): boolean => isUnproven(row) || !isCurrent(row.reasons);
    const unproven = (row: NodeRow): boolean => row.verdict === Verdict.UNKNOWN && isUnproven(row) && isCurrent(row.reasons);
    this.#unproven.look({ lacking: idsOf(unproven), open: idsOf(open) }, bootUnprovenAfterSeconds * 1000, nowMs);
  }

  of(nodeId: string, { silentAfterSeconds, bootUnprovenAfterSeconds }: Patience): Overdue {
    return {
      silent: this.#silence.ms(nodeId) >= silentAfterSeconds * 1000,
      unproven: this.#unproven.ms(nodeId) >= bootUnprovenAfterSeconds * 1000,
    };
  }
}
