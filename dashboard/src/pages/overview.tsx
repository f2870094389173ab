/** The first screen: is anything wrong, where, since when, what is being done. */
import { type GetStatusResponse, type ListIncidentsResponse, Query } from "@hullmark/proto/v1/query";
import { type ListActionsResponse, Response } from "@hullmark/proto/v1/response";
import { printable } from "@hullmark/verifier/core/text/printable";
import { trustWord } from "hullmark/output/words";
import { Table } from "../list.tsx";
import { useAnswer, useNow } from "../live.ts";
import { Age, Answered, count, Failure, Name, Parts, type Tone } from "../parts.tsx";
import { IncidentTable } from "./incident-table.tsx";

const SHOWN = 8;
const COLUMNS = [{ name: "Node" }, { name: "Why" }, { name: "Trust" }, { name: "Last seen", number: true }];

export function Overview() {
  const now = useNow();
  const status = useAnswer(Query.method.getStatus, {});
  const incidents = useAnswer(Query.method.listIncidents, { pageSize: SHOWN });
  const actions = useAnswer(Response.method.listActions, { openOnly: true, pageSize: 50 });
  const requested = useAnswer(Query.method.listExceptions, { states: ["requested"] });
  return (
    <>
      <h1 class="hidden">Overview</h1>
      {incidents.error && !status.error && <Failure error={incidents.error} shownOfMs={incidents.valueAtMs} />}
      <Answered answer={status}>
        {(told) => (
          <>
            <Headline status={told} incidents={incidents.value} />
            {incidents.value && incidents.value.total > 0 && (
              <section aria-labelledby="attention">
                <h2 id="attention">Needs attention</h2>
                <IncidentTable incidents={incidents.value.incidents} now={now} caption="Incidents that stand, the gravest first" />
                {incidents.value.total > SHOWN && (
                  <p>
                    <a href="/incidents">All {incidents.value.total.toLocaleString("en")} incidents</a>
                  </p>
                )}
              </section>
            )}
            {actions.value && <Acting actions={actions.value} requested={requested.value?.exceptions.length ?? 0} now={now} />}
            <Fleet status={told} />
            <Unattested status={told} now={now} />
            <Unknown status={told} />
          </>
        )}
      </Answered>
    </>
  );
}

function Headline({ status, incidents }: { readonly status: GetStatusResponse; readonly incidents: ListIncidentsResponse | undefined }) {
  const [tone, words] = headline(status, incidents);
  return (
    <section class={`headline ${tone}`} role="status" aria-label="State of the fleet">
      <p class="big">{words}</p>
      <p>
        {printable(status.region, 64)} · mode {printable(status.mode, 32)} ·{" "}
        {status.namespaces.length > 0
          ? `in ${status.namespaces.join(", ")} alone`
          : `policy ${status.policyLoaded ? printable(status.policyName, 60) : "none"} · log ${status.logSize.toLocaleString("en")} entries`}
      </p>
    </section>
  );
}

/** Bad before unknown before good; nothing that is not known counts as good. */
function headline(status: GetStatusResponse, incidents: ListIncidentsResponse | undefined): [Tone, string] {
  const { containersClean, containersDrifted, containersUnknown, containersWarning, nodesAttested, nodesTotal, policyLoaded } = status;
  const standing = incidents?.total ?? 0;
  if (standing > 0 || containersDrifted > 0) {
    const open = incidents?.incidents.filter(({ state }) => state === "open").length ?? 0;
    const what =
      standing > 0 ? count(standing, "incident stands", "incidents stand") : count(containersDrifted, "workload has drifted", "workloads have drifted");
    return ["bad", `${what}${open === 0 && standing > 0 && standing <= SHOWN ? ", and each is seen to" : ""}`];
  }
  const inSome = status.namespaces.length > 0;
  if (inSome && containersClean + containersWarning + containersUnknown === 0) return ["unknown", `Nothing is known to run in ${status.namespaces.join(", ")}`];
  if (!inSome && nodesTotal === 0) return ["unknown", "No node has enrolled yet"];
  if (!policyLoaded) return ["unknown", "No policy is loaded: nothing can be affirmed"];
  const away = nodesTotal - nodesAttested;
  const unclear = [
    ...(away > 0 ? [`${count(away, "node is", "nodes are")} not attested`] : []),
    ...(containersUnknown > 0 ? [`${count(containersUnknown, "workload")} cannot be judged`] : []),
  ];
  if (unclear.length > 0) return ["unknown", `No drift is known, but ${unclear.join(" and ")}`];
  if (!incidents) return ["unknown", "Asking for incidents…"];
  return containersWarning > 0 ? ["warn", `No drift; ${count(containersWarning, "workload")} with warnings`] : ["good", "What runs is what was signed"];
}

interface ActingProps {
  readonly actions: ListActionsResponse;
  /** Exceptions. */
  readonly requested: number;
  readonly now: number;
}

function Acting({ actions: { actions, pause, held }, requested, now }: ActingProps) {
  const awaiting = actions.filter(({ approvalsNeeded, approvals, issuedAt }) => !issuedAt && approvals.length < approvalsNeeded).length;
  const holding = Object.entries(held);
  if (!pause && awaiting === 0 && requested === 0 && holding.length === 0) return null;
  return (
    <section class="notice warn" aria-label="Actions and exceptions">
      {pause && (
        <p>
          Actions are paused by <Name text={pause.by} max={40} /> since <Age at={pause.since} now={now} />: <Name text={pause.reason} max={200} />
        </p>
      )}
      {awaiting > 0 && (
        <p>
          {count(awaiting, "action waits", "actions wait")} for somebody's approval: <a href="/actions">Actions</a>
        </p>
      )}
      {requested > 0 && (
        <p>
          {count(requested, "exception waits", "exceptions wait")} for somebody's decision: <a href="/exceptions">Exceptions</a>
        </p>
      )}
      {holding.map(([reason, n]) => (
        <p key={reason}>
          Held back ({printable(reason, 40)}): {count(n, "target")}
        </p>
      ))}
    </section>
  );
}

function Fleet({ status }: { readonly status: GetStatusResponse }) {
  const { observedSeconds, unattestedSeconds, nodesTotal } = status;
  const coverage = observedSeconds > 0 ? `${(100 * (1 - unattestedSeconds / observedSeconds)).toFixed(2)} %` : "–";
  const perNode = nodesTotal > 0 ? unattestedSeconds / nodesTotal : 0;
  // Of nodes nobody is told who sees single namespaces.
  const all = status.namespaces.length === 0;
  return (
    <div class="cards">
      {all && (
        <section aria-labelledby="nodes">
          <h2 id="nodes">Nodes</h2>
          <p class="figure">
            {status.nodesAttested.toLocaleString("en")} <span class="quiet">of {nodesTotal.toLocaleString("en")} attested</span>
          </p>
          <Parts
            parts={[
              ["attested", status.nodesAttested, "good"],
              ["not attested", nodesTotal - status.nodesAttested, "unknown"],
            ]}
          />
        </section>
      )}
      <section aria-labelledby="workloads">
        <h2 id="workloads">Workloads</h2>
        <p class="figure">
          {status.containersClean.toLocaleString("en")} <span class="quiet">clean</span>
        </p>
        <Parts
          parts={[
            ["drifted", status.containersDrifted, "bad"],
            ["warning", status.containersWarning, "warn"],
            ["unknown", status.containersUnknown, "unknown"],
            ["clean", status.containersClean, "good"],
          ]}
        />
      </section>
      <section aria-labelledby="provenance">
        <h2 id="provenance">Provenance</h2>
        <p class="figure">
          {status.signedContainers.toLocaleString("en")} <span class="quiet">signed</span>
        </p>
        <Parts
          parts={[
            ["unsigned", status.unsignedContainers, "warn"],
            ["unknown", status.provenanceUnknownContainers, "unknown"],
            ["signed", status.signedContainers, "good"],
          ]}
        />
      </section>
      <Vulnerabilities status={status} />
      {all && (
        <section aria-labelledby="coverage">
          <h2 id="coverage">Coverage, 24 h</h2>
          <p class="figure">{coverage}</p>
          <p class="quiet">{perNode < 1 ? "less than a second" : count(Math.round(perNode), "second")} unattested a node</p>
        </section>
      )}
    </div>
  );
}

/** Nothing where nobody hands reports in. */
function Vulnerabilities({ status: { vulnerabilities } }: { readonly status: GetStatusResponse }) {
  const { counts, images = 0, unscanned = 0 } = vulnerabilities ?? {};
  if (!counts || unscanned === images) return null;
  const { critical, high, medium, low, negligible, unknown, knownExploited } = counts;
  return (
    <section aria-labelledby="vulnerabilities">
      <h2 id="vulnerabilities">Vulnerabilities</h2>
      <p class="figure">
        {(critical + high).toLocaleString("en")} <span class="quiet">critical or high</span>
      </p>
      <Parts
        parts={[
          ["critical", critical, "bad"],
          ["high", high, "warn"],
          ["less", medium + low + negligible, "good"],
          ["unknown", unknown, "unknown"],
        ]}
      />
      {(knownExploited > 0 || unscanned > 0) && (
        <p class="quiet">
          {[
            ...(knownExploited > 0 ? [`${knownExploited.toLocaleString("en")} known to be exploited`] : []),
            ...(unscanned > 0 ? [`${unscanned.toLocaleString("en")} of ${count(images, "image")} not scanned`] : []),
          ].join(" · ")}
        </p>
      )}
    </section>
  );
}

function Unattested({ status, now }: { readonly status: GetStatusResponse; readonly now: number }) {
  const nodes = status.nodesUnattested;
  if (nodes.length === 0) return null;
  const more = status.nodesTotal - status.nodesAttested - nodes.length;
  return (
    <section aria-labelledby="unattested">
      <h2 id="unattested">Not attested</h2>
      <Table caption="Nodes that are not attested: nothing that runs on them is judged" columns={COLUMNS}>
        {nodes.slice(0, 20).map((node) => (
          <tr key={node.id} data-line>
            <td>
              <a href={`/nodes/${node.id}`}>
                <Name text={node.name} max={60} />
              </a>
            </td>
            <td>
              {node.revoked ? "revoked" : (node.reasons[0]?.code ?? "unattested")}{" "}
              <span class="quiet">
                <Name text={node.reasons[0]?.detail ?? ""} max={160} />
              </span>
            </td>
            <td>{trustWord(node.trustLevel)}</td>
            <td class="number">
              <Age at={node.lastSeen} now={now} />
            </td>
          </tr>
        ))}
      </Table>
      {(more > 0 || nodes.length > 20) && (
        <p>
          <a href="/nodes?unattested">and {count(more + Math.max(0, nodes.length - 20), "other")}</a>
        </p>
      )}
    </section>
  );
}

function Unknown({ status }: { readonly status: GetStatusResponse }) {
  const reasons = Object.entries(status.unknownReasons).toSorted(([, a], [, b]) => b - a);
  if (reasons.length === 0 && status.claims.length === 0) return null;
  return (
    <section aria-labelledby="known">
      <h2 id="known">What is not known, and what the verifier says of itself</h2>
      <ul>
        {reasons.map(([code, n]) => (
          <li key={code}>
            {count(n, "workload")}: {printable(code, 80)}
          </li>
        ))}
        {status.claims.map(({ code, detail }) => (
          <li key={code}>
            <b>{printable(code, 80)}</b> <Name text={detail} max={300} />
          </li>
        ))}
      </ul>
    </section>
  );
}
