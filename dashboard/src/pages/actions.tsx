/** What is done about drift, and what waits for a person's yes. */
import { type Action, ActionState, Response } from "@hullmark/proto/v1/response";
import { printable } from "@hullmark/verifier/core/text/printable";
import { actionKindWord, actionStateWord } from "hullmark/output/words";
import { useState } from "preact/hooks";
import { AskError, ask } from "../ask.ts";
import { Check, More, Table, useRows } from "../list.tsx";
import { useAnswer, useNow } from "../live.ts";
import { Age, Answered, Badge, count, Failure, Name, type Tone } from "../parts.tsx";
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
  const mayDecide = session.role === "approver" || session.role === "admin";
  return (
    <>
      <h1>Actions</h1>
      <form class="filters" onSubmit={(event) => event.preventDefault()}>
        <Check label="also what is settled" checked={all} onChange={setAll} />
      </form>
      <Answered answer={answer}>
        {({ actions, nextPageToken, pause }) => (
          <>
            {pause && (
              <p class="notice warn">
                Paused by <Name text={pause.by} max={40} /> since <Age at={pause.since} now={now} />: <Name text={pause.reason} max={300} /> (an approver
                resumes: hullmark action resume)
              </p>
            )}
            <p class="quiet" role="status">
              {actions.length === 0 ? "No action" : `${count(actions.length, "action")} shown`}
            </p>
            {actions.length > 0 && (
              <Table caption="Actions, the newest first" columns={COLUMNS}>
                {actions.map((action) => (
                  <Line key={action.id} action={action} now={now} mayDecide={mayDecide} again={answer.again} />
                ))}
              </Table>
            )}
            <More next={nextPageToken !== ""} most={most} more={more} command="hullmark action ls" />
          </>
        )}
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
        <Name text={action.containerName || action.nodeName} max={60} />
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
      <td>{action.state === ActionState.AWAITING && mayDecide && <Decide action={action} again={again} />}</td>
    </tr>
  );
}

/** Once asked, once more said: what is approved is carried out on a machine. */
function Decide({ action, again }: { readonly action: Action; readonly again: () => Promise<void> }) {
  const [what, setWhat] = useState<"approve" | "deny">();
  const [reason, setReason] = useState("");
  const [error, setError] = useState<AskError>();
  const decide = async (): Promise<void> => {
    try {
      if (what === "approve") await ask(Response.method.approveAction, { id: action.id }, "person");
      else await ask(Response.method.denyAction, { id: action.id, reason }, "person");
      setWhat(undefined);
      setError(undefined);
    } catch (thrown) {
      if (!(thrown instanceof AskError)) throw thrown;
      setError(thrown);
    }
    await again();
  };
  if (what === undefined)
    return (
      <span class="decide">
        <button type="button" onClick={() => setWhat("approve")}>
          Approve…
        </button>
        <button type="button" onClick={() => setWhat("deny")}>
          Deny…
        </button>
      </span>
    );
  return (
    <form
      class="decide"
      onSubmit={(event) => {
        event.preventDefault();
        void decide();
      }}
    >
      {what === "approve" ? (
        <span>
          {actionKindWord(action.kind)} <Name text={action.containerName || action.nodeName} max={60} />?
        </span>
      ) : (
        <input
          required
          maxLength={500}
          aria-label="Why not"
          placeholder="why not: it is logged"
          value={reason}
          onInput={(event) => setReason(event.currentTarget.value)}
        />
      )}
      <button type="submit">{what === "approve" ? "Yes, approve" : "Deny"}</button>
      <button type="button" onClick={() => setWhat(undefined)}>
        Back
      </button>
      {error && <Failure error={error} />}
    </form>
  );
}
