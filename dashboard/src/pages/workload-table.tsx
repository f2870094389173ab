/** Containers: content and provenance apart. */
import type { Workload } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { provenanceWord } from "hullmark/output/words";
import { Table } from "../list.tsx";
import { Name, VerdictBadge } from "../parts.tsx";

const COLUMNS = [{ name: "Container" }, { name: "Verdict" }, { name: "Content" }, { name: "Provenance" }, { name: "Image" }, { name: "Drifts", number: true }];

export function WorkloadTable({ workloads }: { readonly workloads: readonly Workload[] }) {
  return (
    <Table caption="Workloads" columns={COLUMNS}>
      {workloads.map((each) => (
        <tr key={`${each.nodeId}/${each.containerId}`} data-line>
          <td>
            <Name text={each.containerName} max={60} />
          </td>
          <td>
            <VerdictBadge verdict={each.verdict} /> <span class="quiet">{printable(each.reasons[0]?.code ?? "", 60)}</span>
          </td>
          <td>
            <VerdictBadge verdict={each.content} />
          </td>
          <td>{provenanceWord(each.provenance?.status)}</td>
          <td>
            <a href={`/images/${encodeURIComponent(each.configDigest)}`}>
              <Name text={each.imageReference} max={60} />
            </a>
          </td>
          <td class="number">{each.openDrifts}</td>
        </tr>
      ))}
    </Table>
  );
}
