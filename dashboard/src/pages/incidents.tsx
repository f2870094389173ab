/** All incidents: those that stand, and on request those that are over. */
import { Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { useState } from "preact/hooks";
import { Check, Filter, More, useRows } from "../list.tsx";
import { useAnswer, useNow } from "../live.ts";
import { Answered, count } from "../parts.tsx";
import { IncidentTable } from "./incident-table.tsx";

export function Incidents() {
  const [resolved, setResolved] = useState(false);
  const { rows, more, most } = useRows();
  const [filter, setFilter] = useState("");
  const now = useNow();
  const answer = useAnswer(Query.method.listIncidents, { resolved, pageSize: rows });
  const wanted = filter.toLowerCase();
  return (
    <>
      <h1>Incidents</h1>
      <Filter value={filter} onInput={setFilter} hint="path, workload, node, person">
        <Check label="also what is over" checked={resolved} onChange={setResolved} />
      </Filter>
      <Answered answer={answer}>
        {({ incidents, total, nextPageToken, incomplete }) => {
          const shown = incidents.filter((each) =>
            [printable(each.path, 20_000), each.id, each.kind, each.image, each.imageReference, each.owner, ...each.workloads, ...each.nodes].some((text) =>
              text.toLowerCase().includes(wanted),
            ),
          );
          return (
            <>
              {incomplete && <p class="notice warn">There are more drifts than are counted here: the oldest are left out.</p>}
              <p class="quiet" role="status">
                {total === 0
                  ? "No incidents."
                  : `${count(shown.length, "incident")} shown${wanted ? " that match" : ""}, of ${total.toLocaleString("en")}${nextPageToken && wanted ? `; the filter looks at the first ${incidents.length}` : ""}`}
              </p>
              {shown.length > 0 && <IncidentTable incidents={shown} now={now} caption="Incidents" />}
              <More next={nextPageToken !== ""} most={most} more={more} command="hullmark incident ls" />
            </>
          );
        }}
      </Answered>
    </>
  );
}
