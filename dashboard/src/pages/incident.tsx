/** One incident: what and where it is, what was done, by whom, and what to do next. */
import { type Drift, DriftState, type GetIncidentResponse, type Incident, type IncidentDecision, Query } from "@hullmark/proto/v1/query";
import { phraseOf } from "@hullmark/verifier/core/alerting/text";
import { printable } from "@hullmark/verifier/core/text/printable";
import { decisionOf, type TimelineEvent, timelineOf } from "hullmark/incident/timeline";
import { actorLine, provenanceWord } from "hullmark/output/words";
import { mayAct, mayDecideIncidents } from "../ask.ts";
import { Table } from "../list.tsx";
import { useAnswer, useNow } from "../live.ts";
import { Age, Answered, count, Facts, Name, Path, Severity } from "../parts.tsx";
import type { PageProps } from "../shell.tsx";
import { Acknowledge } from "./acknowledge.tsx";
import { State } from "./drift.tsx";
import { ALIVE } from "./exceptions.tsx";
import { Touching, touchesIncident } from "./excuse.tsx";
import { DecideIncident } from "./incident-decide.tsx";
import { Doing, Subject, Where } from "./incident-table.tsx";

const EVENTS_SHOWN = 100;
const COLUMNS = [{ name: "Drift" }, { name: "State" }, { name: "Node" }, { name: "Container" }, { name: "What" }, { name: "Since", number: true }];

export function IncidentPage({ id, session }: PageProps & { readonly id?: string }) {
  const answer = useAnswer(Query.method.getIncident, { id: id ?? "" });
  const now = useNow();
  return (
    <>
      <p class="crumbs">
        <a href="/incidents">Incidents</a>
      </p>
      <Answered answer={answer}>
        {(told) => (told.incident ? <Told told={told} now={now} session={session} again={answer.again} /> : <p>There is no such incident.</p>)}
      </Answered>
    </>
  );
}

interface ToldProps extends PageProps {
  readonly told: GetIncidentResponse;
  readonly now: number;
  readonly again: () => Promise<void>;
}

/** Of those that are told of. */
export function gravestOf({ incident, drifts }: GetIncidentResponse): Drift | undefined {
  return drifts.find(({ id }) => id === incident?.driftId) ?? drifts[0];
}

function Told({ told, now, session, again }: ToldProps) {
  const { incident, drifts, actions } = told;
  const exceptions = useAnswer(Query.method.listExceptions, { states: ALIVE });
  if (!incident) return null;
  const gravest = gravestOf(told);
  const open = drifts.filter(({ state }) => state === DriftState.OPEN);
  return (
    <>
      <h1 class="subject">
        <Severity severity={incident.severity} /> <Subject incident={incident} max={200} /> {phraseOf(incident.kind)}
      </h1>
      <Facts
        rows={[
          ["State", <Doing key="state" incident={incident} />],
          ["Owner", <Owner key="owner" incident={incident} />],
          incident.closed ? ["Closed", <Decided key="closed" decision={incident.closed} />] : undefined,
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
          [
            "Playbook",
            <a key="playbook" href={`/incidents/${incident.id}/playbook`}>
              What to do
            </a>,
          ],
          ["Id", <code key="id">{incident.id}</code>],
        ]}
      />
      {exceptions.value && <Touching exceptions={exceptions.value.exceptions.filter(touchesIncident(incident, drifts))} drifts={drifts} />}
      {open.length > 0 && mayAct(session) && <Acknowledge drifts={open} again={again} />}
      {mayDecideIncidents(session) && <DecideIncident incident={incident} again={again} />}
      <Timeline
        events={timelineOf({
          members: drifts.map((drift) => ({
            ...{ drift, actions: actions.filter(({ driftId }) => driftId === drift.id) },
            exceptions: (exceptions.value?.exceptions ?? []).filter(({ id, driftId }) => driftId === drift.id || id === drift.exception),
          })),
          ...{ assigned: decisionOf(incident.assigned), closed: decisionOf(incident.closed) },
        })}
      />
      <Drifts drifts={drifts} total={incident.drifts} now={now} />
    </>
  );
}

function Owner({ incident: { owner, assigned } }: { readonly incident: Incident }) {
  return (
    <>
      {owner ? <Name text={owner} max={64} /> : "nobody"}
      {assigned?.owner === owner && (
        <span class="quiet">
          , given <Decided decision={assigned} />
        </span>
      )}
    </>
  );
}

function Decided({ decision: { by, at, reason } }: { readonly decision: IncidentDecision }) {
  return (
    <>
      by <Name text={by} max={64} /> {at && new Date(Number(at.seconds) * 1000).toISOString().replace("T", " ").slice(0, 16)}: <Name text={reason} max={500} />
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
              {event.driftId === "" ? (
                "the incident"
              ) : (
                <>
                  {event.actionId ?? event.driftId} on <Name text={event.node} max={60} />
                </>
              )}
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
      <Table caption="Drifts of this incident" columns={COLUMNS}>
        {drifts.map((drift) => (
          <tr key={drift.id} data-line>
            <td>
              <a href={`/drift/${drift.id}`}>{drift.id}</a>
            </td>
            <td>
              <State drift={drift} />
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
      </Table>
      {total > drifts.length && <p class="quiet">and {count(total - drifts.length, "other")}: hullmark incident show has them</p>}
    </section>
  );
}
