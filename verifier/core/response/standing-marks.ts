/** What Hullmark has put on nodes and not taken away again, from the actions that were done. Pure. */
import { ActionKind, ActionState, type NodeMark } from "@hullmark/proto/v1/response";
import type { ActionRow } from "../../ports/rows.ts";

export interface StandingMarks {
  /** Ascending. */
  readonly marks: readonly NodeMark[];
  /** The actions that put them on, oldest first. */
  readonly actions: readonly ActionRow[];
}

type Mark = { readonly mark: NodeMark; readonly by: ActionRow };

/** Whatever else put a mark on a node, it is not among these. @param rows of any nodes, containers' among them, in any order */
export function standingMarks(rows: Iterable<ActionRow>): ReadonlyMap<string, StandingMarks> {
  const standing = new Map<string, Mark[]>();
  for (const row of [...rows].filter(({ node }) => node).sort((a, b) => a.number - b.number)) {
    const before = standing.get(row.nodeId) ?? [];
    const after = applied(before, row);
    if (after.length > 0) standing.set(row.nodeId, after);
    else standing.delete(row.nodeId);
  }
  return new Map([...standing].map(([nodeId, marks]) => [nodeId, ofMarks(marks)]));
}

function applied(before: readonly Mark[], row: ActionRow): Mark[] {
  const { marks = [], done = [] } = row.node ?? {};
  if (row.kind === ActionKind.MARK_NODE) {
    const added = done.filter((mark) => !before.some((each) => each.mark === mark));
    return [...before, ...added.map((mark) => ({ mark, by: row }))];
  }
  // What somebody else took away before is as gone.
  const gone = row.state === ActionState.DONE ? marks : done;
  return before.filter(({ mark }) => !gone.includes(mark));
}

function ofMarks(marks: readonly Mark[]): StandingMarks {
  return { marks: marks.map(({ mark }) => mark).sort((a, b) => a - b), actions: [...new Set(marks.map(({ by }) => by))] };
}
