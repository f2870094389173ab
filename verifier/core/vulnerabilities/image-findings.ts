/** What is known of an image's vulnerabilities: of all reports together, with the layer that each came by and the statements that excuse some. Pure. */

import type { VulnerabilityReportRow } from "../../ports/rows.ts";
import type { Finding, ReportFormat, Statement } from "./types.ts";
import { rankOf } from "./types.ts";
import { type DatedStatement, excuses, Statements } from "./vex.ts";

/** A report, and whose word it is. */
export interface Vouched {
  /** `sha256:` of the file, or of the manifest that holds the attestation. */
  readonly digest: string;
  readonly format: ReportFormat;
  readonly tool: string;
  readonly createdAtMs: number | undefined;
  /** When it came here, Unix milliseconds. */
  readonly recordedAtMs: number;
  /** The person who imported it; empty: it is signed. */
  readonly importedBy: string;
  /** Authorities that signed it; empty: it was imported. */
  readonly authorities: readonly string[];
  readonly isScan: boolean;
  readonly findings: readonly Finding[];
  readonly statements: readonly Statement[];
  readonly packages: number;
}

export function importedReport({ importedAtMs, ...row }: VulnerabilityReportRow): Vouched {
  return { ...row, recordedAtMs: importedAtMs, authorities: [] };
}

/** An image as its layers are. */
export interface ImageLayers {
  /** Every digest that it has. */
  readonly digests: ReadonlySet<string>;
  /** Lowest first. */
  readonly diffIds: readonly string[];
  /** How many of the lowest are the base's; 0: nobody knows of a base. */
  readonly baseLayers: number;
}

export interface ImageFinding extends Finding {
  /** 0 lowest; -1: no report says, or no such layer is there. */
  readonly layerIndex: number;
  /** It came with the base. */
  readonly ofBase: boolean;
  /** Digests of the reports that have it. */
  readonly reports: readonly string[];
  /** The newest statement about it; undefined: none. */
  readonly statement: DatedStatement | undefined;
  /** The statement excuses it. */
  readonly suppressed: boolean;
}

/** Gravest first, those that are excused last; the same for the same reports in any order. */
export function imageFindings(reports: readonly Vouched[], image: ImageLayers): ImageFinding[] {
  const statements = new Statements(
    reports.flatMap(({ digest, createdAtMs, statements: said }) =>
      said.map((statement): DatedStatement => ({ statement, madeAtMs: createdAtMs, report: digest })),
    ),
    image.digests,
  );
  const byKey = new Map<string, { finding: Finding; reports: Set<string> }>();
  for (const report of [...reports].sort((a, b) => order(a.digest, b.digest))) {
    for (const finding of report.findings) {
      const key = JSON.stringify([finding.id, finding.package.name, finding.package.version]);
      const known = byKey.get(key);
      if (known) byKey.set(key, { finding: merged(known.finding, finding), reports: known.reports.add(report.digest) });
      else byKey.set(key, { finding, reports: new Set([report.digest]) });
    }
  }
  return [...byKey.values()]
    .map(({ finding, reports: by }): ImageFinding => {
      const layerIndex = finding.layer === "" ? -1 : image.diffIds.indexOf(finding.layer);
      const statement = statements.decisive(finding);
      const suppressed = statement !== undefined && excuses(statement.statement);
      return { ...finding, layerIndex, ofBase: layerIndex >= 0 && layerIndex < image.baseLayers, reports: [...by], statement, suppressed };
    })
    .sort(graver);
}

function merged(a: Finding, b: Finding): Finding {
  const more = (x: number | undefined, y: number | undefined) => (x === undefined ? y : y === undefined ? x : Math.max(x, y));
  return {
    id: a.id,
    aliases: [...new Set([...a.aliases, ...b.aliases])],
    severity: graverWord(a.severity, b.severity),
    ...{ cvss: more(a.cvss, b.cvss), epss: more(a.epss, b.epss), knownExploited: a.knownExploited || b.knownExploited },
    package: { ...a.package, purl: a.package.purl || b.package.purl },
    fixedIn: a.fixedIn.length > 0 ? a.fixedIn : b.fixedIn,
    layer: a.layer || b.layer,
  };
}

/** Never the lesser of the two; of equals the one that is a word. */
function graverWord(a: Finding["severity"], b: Finding["severity"]): Finding["severity"] {
  if (rankOf(a) === rankOf(b)) return a === "unknown" ? b : a;
  return rankOf(a) > rankOf(b) ? a : b;
}

const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function graver(a: ImageFinding, b: ImageFinding): number {
  return (
    Number(a.suppressed) - Number(b.suppressed) ||
    Number(b.knownExploited) - Number(a.knownExploited) ||
    rankOf(b.severity) - rankOf(a.severity) ||
    (b.epss ?? 0) - (a.epss ?? 0) ||
    (b.cvss ?? 0) - (a.cvss ?? 0) ||
    order(a.id, b.id) ||
    order(a.package.name, b.package.name) ||
    order(a.package.version, b.package.version)
  );
}
