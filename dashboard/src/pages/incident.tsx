/** One incident: what and where it is, what was done, by whom, and what to do next. */
import { Admin } from "@hullmark/proto/v1/admin";
import { type Drift, DriftState, type GetIncidentResponse, Query } from "@hullmark/proto/v1/query";
import { phraseOf, playbookOf } from "@hullmark/verifier/core/alerting/text";
import { printable } from "@hullmark/verifier/core/text/printable";
import { type TimelineEvent, timelineOf } from "hullmark/incident/timeline";
import { actorLine, provenanceWord, stateWord } from "hullmark/output/words";
import { useState } from "preact/hooks";
import { AskError, ask } from "../ask.ts";
import { useAnswer, useNow } from "../live.ts";
import { Age, Answered, Badge, Command, count, Facts, Failure, Name, Path, Severity } from "../parts.tsx";
import type { PageProps } from "../shell.tsx";
import { Doing, Subject, Where } from "./incident-table.tsx";

const EVENTS_SHOWN = 100;

export function IncidentPage({ id, session }: PageProps & { readonly id?: string }) {
  const answer = useAnswer(Query.method.getIncident, { id: id ?? "" });
  const now = useNow();
  return (
    <>
      <p class="crumbs">
        <a href="/incidents">Incidents</a>
      </p>
      <Answered answer={answer}>
        {(told) =>
          told.incident ? <Told told={told} now={now} mayAcknowledge={session.role !== "viewer"} again={answer.again} /> : <p>There is no such incident.</p>
        }
      </Answered>
    </>
  );
}

interface ToldProps {
  readonly told: GetIncidentResponse;
  readonly now: number;
  readonly mayAcknowledge: boolean;
  readonly again: () => Promise<void>;
}

function Told({ told, now, mayAcknowledge, again }: ToldProps) {
  const { incident, drifts, actions } = told;
  if (!incident) return null;
  const gravest = drifts.find(({ id }) => id === incident.driftId) ?? drifts[0];
  const open = drifts.filter(({ state }) => state === DriftState.OPEN);
  return (
    <>
      <h1 class="subject">
        <Severity severity={incident.severity} /> <Subject incident={incident} max={200} /> {phraseOf(incident.kind)}
      </h1>
      <Facts
        rows={[
          ["State", <Doing key="state" incident={incident} />],
          ["Since", <Since key="since" told={told} now={now} />],
          [
            "Where",
            <>
              <Where incident={incident} /> · {count(incident.standing, "drift stands", "drifts stand")} of {incident.drifts.toLocaleString("en")}, on{" "}
              {count(incident.nodesTotal, "node")}
            </>,
          ],
          ["What", <Name key="what" text={incident.summary} max={400} />],
          gravest && ["Who", printable(actorLine(gravest.actor), 800)],
          gravest?.origin?.history ? ["From", <Name key="from" text={`layer ${gravest.origin.layerIndex}: ${gravest.origin.history}`} max={300} />] : undefined,
          incident.imageReference
            ? [
                "Image",
                <>
                  <Name text={incident.imageReference} max={200} />{" "}
                  <span class="quiet">
                    · {provenanceWord(gravest?.provenance?.status)} · <Name text={gravest?.provenance?.text ?? ""} max={200} />
                  </span>
                </>,
              ]
            : undefined,
          gravest && gravest.logIndex >= 0n ? ["Proof", `log #${gravest.logIndex}`] : undefined,
          ["Playbook", <Command key="playbook" text={`hullmark playbook show ${incident.id}`} />],
          ["Read", playbookOf(incident.kind)],
          ["Id", <code key="id">{incident.id}</code>],
        ]}
      />
      {open.length > 0 && mayAcknowledge && <Acknowledge drifts={open} again={again} />}
      <Timeline events={timelineOf({ members: drifts.map((drift) => ({ drift, actions: actions.filter(({ driftId }) => driftId === drift.id) })) })} />
      <Drifts drifts={drifts} total={incident.drifts} now={now} />
    </>
  );
}

function Since({ told: { incident }, now }: { readonly told: GetIncidentResponse; readonly now: number }) {
  return (
    <>
      <Age at={incident?.firstSeen} now={now} /> · newest <Age at={incident?.lastSeen} now={now} /> ago
      {incident?.resolvedAt && (
        <>
          {" "}
          · over <Age at={incident.resolvedAt} now={now} /> ago
        </>
      )}
      {(incident?.reopened ?? 0) > 0 && ` · returned ${count(incident?.reopened ?? 0, "time")}`}
    </>
  );
}

/** Each drift as it is shown here: what has changed since stays open. */
function Acknowledge({ drifts, again }: { readonly drifts: readonly Drift[]; readonly again: () => Promise<void> }) {
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<AskError>();
  const [left, setLeft] = useState(0);
  const acknowledge = async (): Promise<void> => {
    setBusy(true);
    setError(undefined);
    let refused = 0;
    try {
      for (const { id, seen } of drifts) {
        try {
          await ask(Admin.method.acknowledgeDrift, { id, seen, reason }, "person");
        } catch (thrown) {
          if (!(thrown instanceof AskError) || (thrown.code !== "FAILED_PRECONDITION" && thrown.code !== "NOT_FOUND")) throw thrown;
          refused++;
        }
      }
      setReason("");
    } catch (thrown) {
      if (!(thrown instanceof AskError)) throw thrown;
      setError(thrown);
    } finally {
      setLeft(refused);
      await again();
      setBusy(false);
    }
  };
  return (
    <form
      class="acknowledge"
      onSubmit={(event) => {
        event.preventDefault();
        void acknowledge();
      }}
    >
      <label>
        Acknowledge, because{" "}
        <input
          required
          maxLength={500}
          value={reason}
          placeholder="what you found and do: it is logged"
          onInput={(event) => setReason(event.currentTarget.value)}
        />
      </label>
      <button type="submit" disabled={busy || reason.trim() === ""}>
        Acknowledge {count(drifts.length, "drift")}
      </button>
      {left > 0 && <p class="notice warn">{count(left, "drift")} changed meanwhile and stayed open: look again.</p>}
      {error && <Failure error={error} />}
    </form>
  );
}

function Timeline({ events }: { readonly events: readonly TimelineEvent[] }) {
  const shown = events.slice(-EVENTS_SHOWN);
  return (
    <section aria-labelledby="timeline">
      <h2 id="timeline">Timeline</h2>
      {events.length > shown.length && <p class="quiet">and {count(events.length - shown.length, "earlier event")}</p>}
      <ol class="timeline">
        {shown.map((event, index) => (
          <li key={index}>
            <time dateTime={new Date(event.atMs).toISOString()}>{new Date(event.atMs).toISOString().replace("T", " ").slice(0, 23)}</time>
            <b>{event.what}</b>
            <span>
              {event.actionId ?? event.driftId} on <Name text={event.node} max={60} />
              {event.by !== null && (
                <>
                  {" "}
                  by <Name text={event.by} max={60} />
                </>
              )}
              {event.detail !== "" && (
                <>
                  : <Name text={event.detail} max={300} />
                </>
              )}
              {event.logIndex !== null && event.logIndex >= 0 && <span class="quiet"> · log #{event.logIndex}</span>}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Drifts({ drifts, total, now }: { readonly drifts: readonly Drift[]; readonly total: number; readonly now: number }) {
  return (
    <section aria-labelledby="drifts">
      <h2 id="drifts">Drifts</h2>
      <div class="scroll">
        <table>
          <caption class="hidden">Drifts of this incident</caption>
          <thead>
            <tr>
              <th scope="col">Drift</th>
              <th scope="col">State</th>
              <th scope="col">Node</th>
              <th scope="col">Container</th>
              <th scope="col">What</th>
              <th scope="col" class="number">
                Since
              </th>
            </tr>
          </thead>
          <tbody>
            {drifts.map((drift) => (
              <tr key={drift.id}>
                <td>
                  <code>{drift.id}</code>
                </td>
                <td>
                  <Badge tone={drift.state === DriftState.OPEN ? "bad" : drift.state === DriftState.RESOLVED ? "good" : "warn"}>{stateWord(drift.state)}</Badge>
                </td>
                <td>
                  <Name text={drift.nodeName} max={40} />
                </td>
                <td>
                  <Name text={drift.containerName} max={60} />
                </td>
                <td>
                  {drift.path.length > 0 && (
                    <>
                      <Path bytes={drift.path} max={60} /> ·{" "}
                    </>
                  )}
                  <Name text={drift.summary} max={120} />
                </td>
                <td class="number">
                  <Age at={drift.changedAt ?? drift.committedAt} now={now} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {total > drifts.length && <p class="quiet">and {count(total - drifts.length, "other")}: hullmark incident show has them</p>}
    </section>
  );
}
