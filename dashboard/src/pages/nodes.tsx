/** Nodes: how far the word of each can be trusted, and how fresh it is. The filter is the verifier's: a fleet has more nodes than a page. */
import { type GetNodeResponse, type Node, Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { nodeMarkWords, trustWord } from "hullmark/output/words";
import { useState } from "preact/hooks";
import { Check, Filter, More, Table, useRows } from "../list.tsx";
import { useAnswer, useNow } from "../live.ts";
import { Age, Answered, Badge, count, Facts, Name, VerdictBadge } from "../parts.tsx";
import { WorkloadTable } from "./workload-table.tsx";

const COLUMNS = [
  { name: "Node" },
  { name: "Verdict" },
  { name: "Trust" },
  { name: "Containers", number: true },
  { name: "Drifted", number: true },
  { name: "Quote", number: true },
  { name: "Seen", number: true },
];
export function Nodes() {
  const [contains, setContains] = useState("");
  const [unattested, setUnattested] = useState(new URLSearchParams(location.search).has("unattested"));
  const { rows, more, most } = useRows();
  const now = useNow();
  const answer = useAnswer(Query.method.listNodes, { contains, unattested, pageSize: rows, worstFirst: true });
  return (
    <>
      <h1>Nodes</h1>
      <Filter value={contains} onInput={setContains} hint="name or id">
        <Check label="only those that are not attested" checked={unattested} onChange={setUnattested} />
      </Filter>
      <Answered answer={answer}>
        {({ nodes, nextPageToken }) => (
          <>
            <p class="quiet" role="status">
              {nodes.length === 0 ? "No node" : `${count(nodes.length, "node")} shown${nextPageToken ? "; there are more" : ""}`}
            </p>
            {nodes.length > 0 && (
              <Table caption="Nodes, the worst first" columns={COLUMNS}>
                {nodes.map((node) => (
                  <tr key={node.id} data-line>
                    <td>
                      <a href={`/nodes/${node.id}`}>
                        <Name text={node.name} max={60} />
                      </a>
                    </td>
                    <td>
                      <NodeState node={node} />
                    </td>
                    <td>{trustWord(node.trustLevel)}</td>
                    <td class="number">{node.containers.toLocaleString("en")}</td>
                    <td class="number">{(node.drifted ?? 0).toLocaleString("en")}</td>
                    <td class="number">
                      <Age at={node.lastQuote} now={now} />
                    </td>
                    <td class="number">
                      <Age at={node.lastSeen} now={now} />
                    </td>
                  </tr>
                ))}
              </Table>
            )}
            <More next={nextPageToken !== ""} most={most} more={more} command="hullmark nodes" />
          </>
        )}
      </Answered>
    </>
  );
}

function NodeState({ node }: { readonly node: Node }) {
  if (node.revoked) return <Badge tone="bad">revoked</Badge>;
  return (
    <>
      <VerdictBadge verdict={node.verdict} /> <span class="quiet">{printable(node.reasons[0]?.code ?? (node.connected ? "" : "away"), 60)}</span>
    </>
  );
}

export function NodePage({ id }: { readonly id?: string }) {
  const answer = useAnswer(Query.method.getNode, { id: id ?? "" });
  const workloads = useAnswer(Query.method.listWorkloads, { nodeId: id ?? "", pageSize: 500 });
  const now = useNow();
  return (
    <>
      <p class="crumbs">
        <a href="/nodes">Nodes</a>
      </p>
      <Answered answer={answer}>{(told) => <NodeFacts told={told} now={now} />}</Answered>
      <section aria-labelledby="workloads">
        <h2 id="workloads">Workloads</h2>
        <Answered answer={workloads}>{({ workloads: list }) => (list.length === 0 ? <p class="quiet">None</p> : <WorkloadTable workloads={list} />)}</Answered>
      </section>
    </>
  );
}

function NodeFacts({ told: { node, boot, ima, certificateWithheld }, now }: { readonly told: GetNodeResponse; readonly now: number }) {
  if (!node) return <h1>There is no such node</h1>;
  return (
    <>
      <h1 class="subject">
        <Name text={node.name} max={200} />
      </h1>
      <Facts
        rows={[
          ["Verdict", <NodeState key="verdict" node={node} />],
          ["Trust", `${trustWord(node.trustLevel)}${certificateWithheld ? ": its certificate names it untrusted" : ""}`],
          [
            "Fresh",
            <>
              quote <Age at={node.lastQuote} now={now} /> · seen <Age at={node.lastSeen} now={now} /> ago · {node.connected ? "connected" : "not connected"}
            </>,
          ],
          ["Runs", <Name key="runs" text={`${node.kernel} · ${node.runtime} · agent ${node.agentVersion} · changes by ${node.changeSource}`} max={400} />],
          boot ? ["Boot", printable(`Secure Boot ${boot.secureBoot || "not told"} · event log ${boot.eventLog} ${boot.problem}`, 300)] : undefined,
          ima ? ["IMA", printable(`${ima.standing} · ${ima.entries} entries · ${ima.unvouched.length} shown that nothing vouches for`, 300)] : undefined,
          node.marks.length > 0 ? ["Marks", `${nodeMarkWords(node.marks).join(", ")} by ${node.markActions.join(", ")}`] : undefined,
          ["Id", <code key="id">{node.id}</code>],
        ]}
      />
      {[...node.reasons, ...node.claims].length > 0 && (
        <section aria-labelledby="claims">
          <h2 id="claims">What is said of it</h2>
          <ul>
            {[...node.reasons, ...node.claims].map(({ code, detail }) => (
              <li key={`${code} ${detail}`}>
                <b>{printable(code, 80)}</b> <Name text={detail} max={400} />
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  );
}
