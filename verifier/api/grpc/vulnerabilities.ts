/** Query: vulnerabilities of images that run, with whose word that is and where they run. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { RpcError, type ServiceImplementation } from "@hullmark/proto/rpc";
import type { ImageVulnerabilitiesSchema, Query, VulnerabilityReportSchema, VulnerabilitySchema, VulnerablePlaceSchema } from "@hullmark/proto/v1/query";
import { isAttested } from "../../core/fleet/census.ts";
import type { Fleet } from "../../core/fleet/fleet.ts";
import type { ImageFinding, ImageOverview, Vouched, VulnerabilityOverview } from "../../core/vulnerabilities/index.ts";
import type { ImageRow, NodeRow, WorkloadRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import { imageNamed } from "./image-named.ts";
import { cut, rowsOf } from "./pages.ts";

export interface VulnerabilityServices {
  readonly vulnerabilities: Pick<VulnerabilityOverview, "all" | "of">;
  readonly images: () => readonly ImageRow[];
  readonly store: Pick<Store, "countWorkloads" | "readWorkloadsOf">;
  readonly fleet: Fleet;
  readonly currentNode: (row: NodeRow) => NodeRow;
}

const MAX_VULNERABILITIES = 5_000;
const MAX_PLACES = 1_000;

export function vulnerabilityQueries({
  vulnerabilities,
  images,
  store,
  fleet,
  currentNode,
}: VulnerabilityServices): Pick<ServiceImplementation<typeof Query>, "listVulnerabilities" | "getVulnerabilities"> {
  const place = (row: WorkloadRow): MessageInitShape<typeof VulnerablePlaceSchema> => {
    const { containerId, containerName, workload, verdict } = row;
    const stored = fleet.get(row.nodeId);
    const node = stored && currentNode(stored);
    const of = node && { nodeName: node.name, nodeTrust: node.trustLevel, nodeAttested: isAttested(node.verdict) };
    return { ...of, containerId, containerName, workload, verdict };
  };
  return {
    async listVulnerabilities({ pageSize, pageToken }) {
      if (pageToken !== "" && !/^[0-9]{1,6}$/.test(pageToken))
        throw new RpcError("INVALID_ARGUMENT", "not a page token of this list", { reason: "PAGE_TOKEN", field: "pageToken" });
      const { byImage } = await store.countWorkloads();
      const numbered = vulnerabilities.all().map((overview, position) => ({ overview, position }));
      const { page, next } = cut(numbered.slice(Number(pageToken || 0)), rowsOf(pageSize), ({ position }) => String(position + 1));
      return {
        images: page.map(({ overview }) => imageMessage(overview, byImage[overview.image.configDigest] ?? 0)),
        nextPageToken: next,
      };
    },
    async getVulnerabilities({ image }) {
      const overview = vulnerabilities.of(imageNamed(images(), image));
      const { configDigest, history } = overview.image;
      const [{ byImage }, places] = await Promise.all([store.countWorkloads(), store.readWorkloadsOf(configDigest, MAX_PLACES)]);
      return {
        image: imageMessage(overview, byImage[configDigest] ?? 0),
        vulnerabilities: overview.findings
          .slice(0, MAX_VULNERABILITIES)
          .map((finding) => findingMessage(finding, history[finding.layerIndex]?.createdBy ?? "")),
        moreVulnerabilities: Math.max(0, overview.findings.length - MAX_VULNERABILITIES),
        places: places.map(place),
      };
    },
  };
}

function imageMessage({ image, base, counts, reports, unknowns }: ImageOverview, containers: number): MessageInitShape<typeof ImageVulnerabilitiesSchema> {
  const { configDigest, references } = image.row;
  return {
    ...{ configDigest, references: [...references], containers },
    counts: { ...counts },
    reports: reports.map(reportMessage),
    unknowns: unknowns.map(({ code, detail }) => ({ code, detail })),
    ...{ baseLayers: base?.layers ?? 0, base: base?.name ?? "" },
  };
}

function reportMessage(report: Vouched): MessageInitShape<typeof VulnerabilityReportSchema> {
  const { digest, format, tool, createdAtMs, recordedAtMs, importedBy, isScan, packages } = report;
  return {
    ...{ digest, format, tool, importedBy, scan: isScan, packages },
    ...{ findings: report.findings.length, statements: report.statements.length },
    importedAt: timestampFromMs(Math.floor(recordedAtMs)),
    ...(createdAtMs !== undefined && { createdAt: timestampFromMs(Math.floor(createdAtMs)) }),
  };
}

function findingMessage(finding: ImageFinding, history: string): MessageInitShape<typeof VulnerabilitySchema> {
  const { id, severity, cvss, epss, knownExploited, layerIndex, layer, ofBase, suppressed, statement } = finding;
  const said = statement && { ...statement.statement, report: statement.report };
  return {
    ...{ id, severity, knownExploited, layerIndex, diffId: layer, history, ofBase, suppressed },
    ...(cvss !== undefined && { cvss }),
    ...(epss !== undefined && { epss }),
    ...{ package: finding.package.name, version: finding.package.version, purl: finding.package.purl },
    ...{ aliases: [...finding.aliases], fixedIn: [...finding.fixedIn], reports: [...finding.reports] },
    ...(said && { statement: { status: said.status, justification: said.justification, detail: said.detail, report: said.report } }),
  };
}
