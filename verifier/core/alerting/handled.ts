/** What is done about what an alert tells of, in the words of a page: what was done, what waits for somebody's yes, what came to nothing. Pure. */
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow } from "../../ports/rows.ts";
import { BUDGET } from "../response/eviction.ts";
import { printable } from "../text/printable.ts";

/** Lines that are shown; the rest stands in `hullmark action ls`. */
const MAX_LINES = 4;

/** As it is asked for, and as it was done. */
const WORDS: Readonly<Record<ActionKind, readonly [todo: string, done: string]>> = {
  [ActionKind.UNSPECIFIED]: ["act on", "acted on"],
  [ActionKind.STOP]: ["stop", "stopped"],
  [ActionKind.RECREATE]: ["recreate", "recreated"],
  [ActionKind.ROLLBACK]: ["roll back", "rolled back"],
  [ActionKind.EVICT]: ["evict", "evicted"],
  [ActionKind.HALT]: ["scale to none what made", "scaled to none"],
  [ActionKind.ISOLATE]: ["isolate", "isolated"],
  [ActionKind.RELEASE]: ["release", "released"],
  [ActionKind.MARK_NODE]: ["mark the node", "marked"],
  [ActionKind.LIFT_NODE]: ["lift the marks of", "its marks lifted"],
  [ActionKind.PURGE]: ["purge a layer of", "purged of a layer"],
};

/** What is to be known of an action. */
export type HandledAction = Pick<
  ActionRow,
  | ("id" | "number" | "kind" | "state" | "reason" | "detail" | "deniedBy" | "containerName" | "nodeName")
  | ("approvals" | "approvalsNeeded" | "createdAtMs" | "issuedAtMs" | "settledAtMs")
> & {
  readonly capture?: { readonly complete: boolean } | undefined;
  readonly captureMissed?: { readonly code: string; readonly problem: string } | undefined;
};

type Words = readonly [todo: string, done: string];
/** What became of an action, in a word of six characters at most, and of which. */
export type Told = readonly [what: string, text: string];
type Tell = (row: HandledAction, words: Words, where: string) => Told;

const failed: Tell = (row, [todo], where) => [
  "Failed",
  `to ${todo} ${where}: ${printable(row.reason, 64) || "no reason told"}${owned(row)}${captured(row)} · hullmark action show ${row.id}`,
];

/** Whose it is, and of a repository the commit to revert: what people are to do in its place. */
function owned({ reason, detail }: HandledAction): string {
  return reason.startsWith("owned-by-") && detail !== "" ? ` (${printable(detail, 500)})` : "";
}

function captured({ capture, captureMissed }: HandledAction): string {
  // Of several containers that stand on one layer some may have been captured.
  if (capture && captureMissed) return `, captured before in part: nothing of ${printable(captureMissed.problem, 160)}`;
  if (capture) return `, captured before${capture.complete ? "" : " in part"}`;
  if (!captureMissed) return "";
  return `, nothing captured before: ${captureMissed.code}${captureMissed.problem && ` (${printable(captureMissed.problem, 160)})`}`;
}

/** In the order in which they are told: what somebody must do comes first. What was withdrawn is not told: its reason is gone. */
const TOLD: readonly (readonly [ActionState, Tell])[] = [
  [
    ActionState.AWAITING,
    ({ id, approvals, approvalsNeeded }, [todo], where) => [
      "Waits",
      `for a yes to ${todo} ${where} (${approvals.length} of ${approvalsNeeded}) · hullmark action approve ${id}`,
    ],
  ],
  [ActionState.FAILED, failed],
  [ActionState.REFUSED, failed],
  [ActionState.EXPIRED, (row, [todo], where) => ["Failed", `to ${todo} ${where}: nobody reported in time${captured(row)} · hullmark action show ${row.id}`]],
  [
    ActionState.CAPTURING,
    (row, [todo], where) =>
      row.captureMissed || row.capture
        ? ["Held", `back: to ${todo} ${where}${captured(row)} (${row.id}) · hullmark action ls`]
        : ["Doing", `${todo} ${where}, once its node has captured it, since ${timeOf(row.createdAtMs)} (${row.id})`],
  ],
  [
    ActionState.ISSUED,
    (row, [todo], where) => {
      const forbidden = row.reason === BUDGET ? ", which disruption budgets forbid now" : "";
      return ["Doing", `${todo} ${where}, since ${timeOf(row.issuedAtMs ?? row.createdAtMs)}${forbidden} (${row.id})${captured(row)}`];
    },
  ],
  [ActionState.DONE, (row, [, done], where) => ["Done", `${where} ${done} ${timeOf(row.settledAtMs ?? row.createdAtMs)} (${row.id})${captured(row)}`]],
  [ActionState.DENIED, ({ id, deniedBy }, [todo], where) => ["Denied", `to ${todo} ${where}, by ${printable(deniedBy, 64)} (${id})`]],
  [ActionState.DRY_RUN, (_row, [todo], where) => ["Done", `nothing: the policy observes, else it would ${todo} ${where}`]],
];

/**
 * @param actions the newest on each container, or node, that an alert is about
 * @param acts whether policy acts at all
 */
export function handledLines(actions: readonly HandledAction[], acts: boolean): string[] {
  const told = toldOf(actions);
  const none: Told = ["Done", acts ? "nothing yet · hullmark action ls" : "nothing: the policy only observes"];
  return (told.length > 0 ? told : [none]).map(([what, text]) => `${what.padEnd(6)} ${text}`);
}

/** None: there is no action. */
export function toldOf(actions: readonly HandledAction[]): readonly Told[] {
  const told = TOLD.flatMap(([state, tell]) =>
    [
      ...Map.groupBy(
        actions.filter((row) => row.state === state),
        ({ kind }) => kind,
      ).values(),
    ].map((rows) => {
      const newest = rows.reduce((last, row) => (row.number > last.number ? row : last));
      return tell(newest, WORDS[newest.kind], whereOf(newest, rows.length - 1));
    }),
  );
  return told.slice(0, MAX_LINES);
}

function whereOf({ containerName, nodeName }: HandledAction, others: number): string {
  const name = printable(nodeName, 64);
  return `${containerName === "" ? name : `${printable(containerName, 96)} on ${name}`}${others > 0 ? ` and ${others} more` : ""}`;
}

/** Of the day in UTC: the page is of now. */
function timeOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(11, 19)}Z`;
}
