/** Incidents, a line each: how grave, what, where, since when, and what is being done. */
import type { Incident } from "@hullmark/proto/v1/query";
import { phraseOf } from "@hullmark/verifier/core/alerting/text";
import { Table } from "../list.tsx";
import { Age, Badge, count, Name, Path, Severity, type Tone } from "../parts.tsx";

const COLUMNS = [
  { name: "Severity" },
  { name: "What" },
  { name: "Where" },
  { name: "Nodes", number: true },
  { name: "Since", number: true },
  { name: "Being done" },
];
const TONES: Readonly<Record<string, Tone>> = { open: "bad", acknowledged: "warn", contained: "warn", resolved: "good" };

export function IncidentTable({ incidents, now, caption }: { readonly incidents: readonly Incident[]; readonly now: number; readonly caption: string }) {
  return (
    <Table caption={caption} columns={COLUMNS}>
      {incidents.map((incident) => (
        <tr key={incident.id} data-line>
          <td>
            <Severity severity={incident.severity} />
          </td>
          <td>
            <a href={`/incidents/${incident.id}`}>
              <Subject incident={incident} max={60} /> {phraseOf(incident.kind)}
            </a>
          </td>
          <td>
            <Where incident={incident} />
          </td>
          <td class="number">{incident.nodesTotal.toLocaleString("en")}</td>
          <td class="number">
            <Age at={incident.firstSeen} now={now} />
          </td>
          <td>
            <Doing incident={incident} />
          </td>
        </tr>
      ))}
    </Table>
  );
}

/** What it is about: a file, else the workload, else the node. */
export function Subject({ incident, max }: { readonly incident: Incident; readonly max: number }) {
  if (incident.path.length > 0) return <Path bytes={incident.path} max={max} />;
  const [workload = "", node = ""] = [incident.workloads.find((name) => name !== ""), incident.nodes[0]];
  return <Name text={workload || `node ${node}`} max={max} />;
}

export function Where({ incident }: { readonly incident: Incident }) {
  const [workload = ""] = incident.workloads.filter((name) => name !== "");
  // A matter of the nodes themselves has no workload.
  const [name, total] = workload === "" ? [incident.nodes[0] ?? "–", incident.nodesTotal] : [workload, incident.workloadsTotal];
  return (
    <>
      <Name text={name} max={40} />
      {total > 1 && <span class="quiet"> and {count(total - 1, "other")}</span>}
    </>
  );
}

export function Doing({ incident }: { readonly incident: Incident }) {
  const { state, owner, assigned } = incident;
  const given = assigned?.owner === owner;
  const unseen = owner === "" ? "nobody yet" : given ? "not acknowledged" : "changed since it was acknowledged";
  return (
    <>
      <Badge tone={TONES[state] ?? "unknown"}>{state === "open" ? unseen : state}</Badge>
      {owner && (
        <span class="quiet">
          {" "}
          {given || state === "resolved" ? "owner" : "by"} <Name text={owner} max={32} />
        </span>
      )}
    </>
  );
}
