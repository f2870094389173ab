/** Incidents, a line each: how grave, what, where, since when, and what is being done. */
import type { Incident } from "@hullmark/proto/v1/query";
import { phraseOf } from "@hullmark/verifier/core/alerting/text";
import { Age, Badge, count, Name, Path, Severity, type Tone } from "../parts.tsx";

const TONES: Readonly<Record<string, Tone>> = { open: "bad", acknowledged: "warn", contained: "warn", resolved: "good" };

export function IncidentTable({ incidents, now, caption }: { readonly incidents: readonly Incident[]; readonly now: number; readonly caption: string }) {
  return (
    <div class="scroll">
      <table>
        <caption class="hidden">{caption}</caption>
        <thead>
          <tr>
            <th scope="col">Severity</th>
            <th scope="col">What</th>
            <th scope="col">Where</th>
            <th scope="col" class="number">
              Nodes
            </th>
            <th scope="col" class="number">
              Since
            </th>
            <th scope="col">Being done</th>
          </tr>
        </thead>
        <tbody>
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
        </tbody>
      </table>
    </div>
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
  const others = incident.workloadsTotal - 1;
  if (workload === "") return <Name text={incident.nodes[0] ?? "–"} max={40} />;
  return (
    <>
      <Name text={workload} max={40} />
      {others > 0 && <span class="quiet"> and {count(others, "other")}</span>}
    </>
  );
}

export function Doing({ incident }: { readonly incident: Incident }) {
  const { state, owner } = incident;
  const words = state === "open" ? (owner ? "changed since it was acknowledged" : "nobody yet") : state;
  return (
    <>
      <Badge tone={TONES[state] ?? "unknown"}>{words}</Badge>
      {owner && (
        <span class="quiet">
          {" "}
          by <Name text={owner} max={32} />
        </span>
      )}
    </>
  );
}
