/** Query: vulnerabilities of images that run, with whose word that is and where they run. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { RpcError, type ServiceImplementation } from "@hullmark/proto/rpc";
import type {
  ImageVulnerabilitiesSchema,
  Query,
  RiskSchema,
  VulnerabilityReportSchema,
  VulnerabilitySchema,
  VulnerablePlaceSchema,
} from "@hullmark/proto/v1/query";
import { isAttested } from "../../core/fleet/census.ts";
import type { Fleet } from "../../core/fleet/fleet.ts";
import { imageRisk, type Surroundings } from "../../core/risk/image-risk.ts";
import type { Risk } from "../../core/risk/risk.ts";
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
  /** What a container of a connected node runs with. */
  readonly configuration: Surroundings["configuration"];
  readonly nowMs: () => number;
}

const MAX_VULNERABILITIES = 5_000;
const MAX_PLACES = 1_000;

export function vulnerabilityQueries({
  vulnerabilities,
  images,
  store,
  fleet,
  currentNode,
  configuration,
  nowMs,
}: VulnerabilityServices): Pick<ServiceImplementation<typeof Query>, "listVulnerabilities" | "getVulnerabilities"> {
  const node = (id: string): NodeRow | undefined => {
    const stored = fleet.get(id);
    return stored && currentNode(stored);
  };
  /** @param rows containers that run it: of more the first {@link MAX_PLACES} count */
  const image = (overview: ImageOverview, containers: number, rows: readonly WorkloadRow[]) =>
    imageMessage(overview, containers, imageRisk(overview, rows, { node, configuration, nowMs }));
  const place = (row: WorkloadRow): MessageInitShape<typeof VulnerablePlaceSchema> => {
    const { containerId, containerName, workload, verdict } = row;
    const its = node(row.nodeId);
    const of = its && { nodeName: its.name, nodeTrust: its.trustLevel, nodeAttested: isAttested(its.verdict) };
    return { ...of, containerId, containerName, workload, verdict };
  };
  return {
    async listVulnerabilities({ pageSize, pageToken }) {
      if (pageToken !== "" && !/^[0-9]{1,6}$/.test(pageToken))
        throw new RpcError("INVALID_ARGUMENT", "not a page token of this list", { reason: "PAGE_TOKEN", field: "pageToken" });
      const { byImage } = await store.countWorkloads();
      const numbered = vulnerabilities.all().map((overview, position) => ({ overview, position }));
      const { page, next } = cut(numbered.slice(Number(pageToken || 0)), rowsOf(pageSize), ({ position }) => String(position + 1));
      const rows = await Promise.all(page.map(({ overview }) => store.readWorkloadsOf(overview.image.configDigest, MAX_PLACES)));
      return {
        images: page.map(({ overview }, i) => image(overview, byImage[overview.image.configDigest] ?? 0, rows[i] ?? [])),
        nextPageToken: next,
      };
    },
    async getVulnerabilities({ image: name }) {
      const overview = vulnerabilities.of(imageNamed(images(), name));
      const { configDigest, history } = overview.image;
      const [{ byImage }, places] = await Promise.all([store.countWorkloads(), store.readWorkloadsOf(configDigest, MAX_PLACES)]);
      return {
        image: image(overview, byImage[configDigest] ?? 0, places),
        vulnerabilities: overview.findings
          .slice(0, MAX_VULNERABILITIES)
          .map((finding) => findingMessage(finding, history[finding.layerIndex]?.createdBy ?? "")),
        moreVulnerabilities: Math.max(0, overview.findings.length - MAX_VULNERABILITIES),
        places: places.map(place),
      };
    },
  };
}

function imageMessage(
  { image, base, counts, reports, unknowns }: ImageOverview,
  containers: number,
  risk: Risk,
): MessageInitShape<typeof ImageVulnerabilitiesSchema> {
  const { configDigest, references } = image.row;
  return {
    ...{ configDigest, references: [...references], containers },
    ...{ counts: { ...counts }, risk: riskMessage(risk) },
    reports: reports.map(reportMessage),
    unknowns: unknowns.map(({ code, detail }) => ({ code, detail })),
    ...{ baseLayers: base?.layers ?? 0, base: base?.name ?? "" },
  };
}

function riskMessage({ score, terms, remedy }: Risk): MessageInitShape<typeof RiskSchema> {
  return { score, terms: terms.map((term) => ({ ...term })), remedy };
}

function reportMessage(report: Vouched): MessageInitShape<typeof VulnerabilityReportSchema> {
  const { digest, format, tool, createdAtMs, recordedAtMs, importedBy, isScan, packages } = report;
  return {
    ...{ digest, format, tool, importedBy, scan: isScan, packages, authorities: [...report.authorities] },
    ...{ findings: report.findings.length, statements: report.statements.length },
    ...(importedBy !== "" && { importedAt: timestampFromMs(Math.floor(recordedAtMs)) }),
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
