/** The order in which people want to see nodes: what is wrong, and what cannot be told, before what is well. */
import { Verdict } from "@hullmark/proto/v1/common";

/** A node, and what runs on it. */
export interface NodeStanding {
  readonly id: string;
  readonly name: string;
  readonly verdict: Verdict;
  readonly revoked: boolean;
  /** Of its containers those that have drifted. */
  readonly drifted: number;
  /** Unix milliseconds; undefined: never. */
  readonly lastSeenMs: number | undefined;
}

/** Ascending: 0 the worst. Of a revoked node nothing more is expected. */
export function rankOfNode({ verdict, revoked, drifted }: Pick<NodeStanding, "verdict" | "revoked" | "drifted">): number {
  if (revoked) return 5;
  if (verdict === Verdict.CONTRAINDICATED) return 0;
  if (drifted > 0) return 1;
  if (verdict === Verdict.WARNING) return 3;
  return verdict === Verdict.AFFIRMING ? 4 : 2;
}

/** Contraindicated, with drift (the most first), not attested (the longest unseen first), with warnings, well, revoked; of the same by name. */
export function worstFirst(a: NodeStanding, b: NodeStanding): number {
  const rank = rankOfNode(a);
  return (
    rank - rankOfNode(b) ||
    b.drifted - a.drifted ||
    (rank === 2 ? (a.lastSeenMs ?? 0) - (b.lastSeenMs ?? 0) : 0) ||
    (a.name === b.name ? (a.id < b.id ? -1 : 1) : a.name < b.name ? -1 : 1)
  );
}
