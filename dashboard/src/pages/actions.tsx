/** What is done about drift, and what waits for a person's yes. */
import { type Action, ActionKind, ActionState, Response } from "@hullmark/proto/v1/response";
import { printable } from "@hullmark/verifier/core/text/printable";
import { actionKindWord, actionStateWord } from "hullmark/output/words";
import { useState } from "preact/hooks";
import { ask, mayApprove } from "../ask.ts";
import { type Choice, Decide } from "../decide.tsx";
import { Check, More, Table, useRows } from "../list.tsx";
import { useAnswer, useNow } from "../live.ts";
import { Age, Answered, Badge, count, Name, type Tone } from "../parts.tsx";
import type { PageProps } from "../shell.tsx";

const COLUMNS = [
  { name: "Action" },
  { name: "What" },
  { name: "On" },
  { name: "Because of" },
  { name: "State" },
  { name: "Since", number: true },
  { name: "Decide" },
];
const TONES: Readonly<Partial<Record<ActionState, Tone>>> = {
  [ActionState.AWAITING]: "warn",
  [ActionState.CAPTURING]: "warn",
  [ActionState.ISSUED]: "warn",
  [ActionState.DONE]: "good",
  [ActionState.FAILED]: "bad",
  [ActionState.REFUSED]: "bad",
};

export function Actions({ session }: PageProps) {
  const [all, setAll] = useState(true);
  const { rows, more, most } = useRows();
  const now = useNow();
  const answer = useAnswer(Response.method.listActions, { openOnly: !all, pageSize: rows });
  return (
    <>
      <h1>Actions</h1>
      <form class="filters" onSubmit={(event) => event.preventDefault()}>
        <Check label="also what is settled" checked={all} onChange={setAll} />
      </form>
      <Answered answer={answer}>
        {({ actions, nextPageToken, pause }) => {
          const short = nextPageToken !== "" && actions.length < rows;
          return (
            <>
              {pause && (
                <p class="notice warn">
                  Paused by <Name text={pause.by} max={40} /> since <Age at={pause.since} now={now} />: <Name text={pause.reason} max={300} /> (an approver
                  resumes: hullmark action resume)
                </p>
              )}
              <p class="quiet" role="status">
                {actions.length === 0 ? (short ? "No action among the newest" : "No action") : `${count(actions.length, "action")} shown`}
              </p>
              {actions.length > 0 && (
                <Table caption="Actions, the newest first" columns={COLUMNS}>
                  {actions.map((action) => (
                    <Line key={action.id} action={action} now={now} mayDecide={mayApprove(session)} again={answer.again} />
                  ))}
                </Table>
              )}
              <More next={nextPageToken !== ""} short={short} most={most} more={more} command="hullmark action ls" />
            </>
          );
        }}
      </Answered>
    </>
  );
}

interface LineProps {
  readonly action: Action;
  readonly now: number;
  readonly mayDecide: boolean;
  readonly again: () => Promise<void>;
}

function Line({ action, now, mayDecide, again }: LineProps) {
  return (
    <tr data-line>
      <td>
        <code>{action.id}</code>
      </td>
      <td>
        {actionKindWord(action.kind)} <span class="quiet">(rule {printable(action.rule, 60)})</span>
      </td>
      <td>
        <Name text={targetOf(action)} max={60} />
      </td>
      <td>{action.driftId ? <a href={`/drift/${action.driftId}`}>{action.driftId}</a> : printable(action.reason, 60)}</td>
      <td>
        <Badge tone={TONES[action.state] ?? "unknown"}>{actionStateWord(action.state)}</Badge>{" "}
        <span class="quiet">
          {action.approvalsNeeded > 0 && `${action.approvals.length} of ${action.approvalsNeeded} approvals `}
          <Name text={action.detail} max={160} />
        </span>
      </td>
      <td class="number">
        <Age at={action.createdAt} now={now} />
      </td>
      <td>{mayDecide && <Decisions action={action} again={again} />}</td>
    </tr>
  );
}

function Decisions({ action, again }: Pick<LineProps, "action" | "again">) {
  if (action.state === ActionState.AWAITING) return <Decide choices={choicesOf(action)} again={again} />;
  if (action.kind !== ActionKind.ISOLATE || action.state !== ActionState.DONE) return null;
  const run = (reason: string) => ask(Response.method.undoAction, { id: action.id, reason }, "person");
  return <Decide choices={[{ name: "Release", yes: "Release", run }]} again={again} />;
}

/** A container, a node, or a layer of a node with all that stands on it. */
function targetOf({ containerName, nodeName, purge }: Action): string {
  if (purge) return `layer ${purge.chainId.slice(0, 19)} of ${nodeName}`;
  return containerName || nodeName;
}

function choicesOf(action: Action): readonly Choice[] {
  const question = (
    <span>
      {actionKindWord(action.kind)} <Name text={targetOf(action)} max={60} />?
    </span>
  );
  const { approveAction, denyAction } = Response.method;
  return [
    { name: "Approve", yes: "Yes, approve", question, run: () => ask(approveAction, { id: action.id }, "person") },
    { name: "Deny", yes: "Deny", run: (reason) => ask(denyAction, { id: action.id, reason }, "person") },
  ];
}
