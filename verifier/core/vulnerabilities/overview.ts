/** What is known of the vulnerabilities of images that run: findings with layers and statements, counts, and what is not known. */
import type { ClaimRow, ImageRow, VulnerabilityReportRow } from "../../ports/rows.ts";
import { claimRow } from "../fleet/claims.ts";
import type { Policy } from "../policy/types.ts";
import { type ImageFinding, imageFindings, importedReport, type Vouched } from "./image-findings.ts";
import { type Base, Bases, type RunningImage, runningImage } from "./known-images.ts";
import type { VulnerabilityReports } from "./reports.ts";
import { FINDING_SEVERITIES, type FindingSeverity, rankOf } from "./types.ts";

const DAY_MS = 86_400_000;
/** A scan that is older says nothing of what was found since. */
const OLD_MS = 7 * DAY_MS;

export interface VulnerabilityCounts extends Readonly<Record<FindingSeverity, number>> {
  readonly suppressed: number;
  readonly fixable: number;
  readonly knownExploited: number;
}

export interface ImageOverview {
  readonly image: RunningImage;
  readonly base: Base | undefined;
  readonly reports: readonly Vouched[];
  readonly findings: readonly ImageFinding[];
  readonly counts: VulnerabilityCounts;
  readonly unknowns: readonly ClaimRow[];
}

export interface OverviewServices {
  readonly reports: Pick<VulnerabilityReports, "of">;
  readonly images: () => readonly ImageRow[];
  /** Reports that an authority signed. */
  readonly attested: (configDigest: string) => readonly Vouched[];
  readonly policy: () => Policy;
  readonly nowMs: () => number;
}

interface Kept {
  readonly rows: readonly VulnerabilityReportRow[];
  readonly attested: readonly Vouched[];
  readonly base: Base | undefined;
  readonly reports: readonly Vouched[];
  readonly findings: readonly ImageFinding[];
  readonly counts: VulnerabilityCounts;
}

export class VulnerabilityOverview {
  readonly #services: OverviewServices;
  /** Of the same reports and layers the findings are the same. */
  readonly #kept = new WeakMap<RunningImage, Kept>();

  constructor(services: OverviewServices) {
    this.#services = services;
  }

  /** Images that run, those with the gravest first; those of which nothing is known last. */
  all(chosen: (row: ImageRow) => boolean = () => true): ImageOverview[] {
    const bases = this.#bases();
    return this.#services
      .images()
      .filter(chosen)
      .map((row) => this.#overview(runningImage(row), bases))
      .sort(graver);
  }

  of(row: ImageRow): ImageOverview {
    return this.#overview(runningImage(row), this.#bases());
  }

  #bases(): Bases {
    const { images, policy } = this.#services;
    return new Bases(
      images().map(runningImage),
      policy().rules.flatMap(({ baseLayers }) => baseLayers),
    );
  }

  #overview(image: RunningImage, bases: Bases): ImageOverview {
    const base = bases.of(image);
    const { reports, findings, counts } = this.#findings(image, base);
    return { image, base, reports, findings, counts, unknowns: unknownsOf(image, reports, this.#services.nowMs()) };
  }

  #findings(image: RunningImage, base: Base | undefined): Pick<Kept, "reports" | "findings" | "counts"> {
    const rows = this.#services.reports.of(image);
    const attested = this.#services.attested(image.configDigest);
    const known = this.#kept.get(image);
    if (known && known.base?.layers === base?.layers && known.attested === attested && sameItems(known.rows, rows)) return known;
    const reports = [...attested, ...rows.map(importedReport)];
    const digests = new Set([image.configDigest, ...image.manifestDigests, ...image.indexDigests]);
    const findings = imageFindings(reports, { digests, diffIds: image.diffIds, baseLayers: base?.layers ?? 0 });
    const kept = { rows, attested, base, reports, findings, counts: countsOf(findings) };
    this.#kept.set(image, kept);
    return kept;
  }
}

function sameItems<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

export function countsOf(findings: readonly ImageFinding[]): VulnerabilityCounts {
  const open = findings.filter(({ suppressed }) => !suppressed);
  const bySeverity = FINDING_SEVERITIES.map((severity) => [severity, open.filter((finding) => finding.severity === severity).length] as const);
  return {
    ...(Object.fromEntries(bySeverity) as Record<FindingSeverity, number>),
    suppressed: findings.length - open.length,
    fixable: open.filter(({ fixedIn }) => fixedIn.length > 0).length,
    knownExploited: open.filter(({ knownExploited }) => knownExploited).length,
  };
}

export function sumOf(all: readonly VulnerabilityCounts[]): VulnerabilityCounts {
  const sum: { -readonly [name in keyof VulnerabilityCounts]: number } = countsOf([]);
  for (const counts of all) for (const name of Object.keys(sum) as (keyof VulnerabilityCounts)[]) sum[name] += counts[name];
  return sum;
}

function unknownsOf({ diffIds }: RunningImage, reports: readonly Vouched[], nowMs: number): ClaimRow[] {
  const scans = reports.filter(({ isScan }) => isScan);
  const unknowns: ClaimRow[] = [];
  if (scans.length === 0) unknowns.push(claimRow("no-report", "no scan of this image was imported: that it has no vulnerabilities is not known"));
  const dated = scans.flatMap(({ createdAtMs }) => createdAtMs ?? []);
  if (scans.length > 0 && dated.length === 0) unknowns.push(claimRow("undated-report", "no scan says when it was made"));
  const newest = Math.max(...dated);
  if (dated.length > 0 && nowMs - newest > OLD_MS)
    unknowns.push(claimRow("old-report", `the newest scan is ${Math.floor((nowMs - newest) / DAY_MS)} days old`));
  if (diffIds.length === 0) unknowns.push(claimRow("no-layers", "its layers are not known (yet): nothing tells which one a package came with"));
  return unknowns;
}

function graver(a: ImageOverview, b: ImageOverview): number {
  const worst = ({ findings }: ImageOverview): number =>
    findings.reduce((rank, { suppressed, severity }) => (suppressed ? rank : Math.max(rank, rankOf(severity))), 0);
  return (
    b.counts.knownExploited - a.counts.knownExploited ||
    worst(b) - worst(a) ||
    b.counts.critical - a.counts.critical ||
    b.counts.high - a.counts.high ||
    (a.image.configDigest < b.image.configDigest ? -1 : 1)
  );
}
