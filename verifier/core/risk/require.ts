/**
 * What policy asks of an image's risk (`require.risk`), held against the reports that count: the terms that are of the image itself, wherever it runs. Pure. Without a scan
 * the risk is not known, and nothing is met.
 */
import { compileCondition } from "../policy/condition.ts";
import type { RiskRequirement } from "../policy/types.ts";
import type { AttestedReport } from "../vulnerabilities/attested.ts";
import { imageFindings } from "../vulnerabilities/image-findings.ts";
import { isAhead, reportsFor, type ScannedImage, type ScanRefusal, scanRemedy } from "../vulnerabilities/require.ts";
import type { RiskTermName } from "./facts.ts";
import { type Risk, riskOf } from "./risk.ts";

const DAY_MS = 86_400_000;
/** What is known of an image before it runs; who signed it, what it may do and where it runs policy asks elsewhere. */
const OWN_TERMS: readonly RiskTermName[] = ["vulnerabilities", "scan"];

/** @param images each must please @param attested of all of them @returns undefined: it is met @throws Error where the condition is no CEL, which `policy lint` tells before */
export function riskRefusal(
  wanted: RiskRequirement,
  images: readonly ScannedImage[],
  attested: readonly AttestedReport[],
  nowMs: number,
): ScanRefusal | undefined {
  const refused = (found: string, remedy: string): ScanRefusal => ({ name: "risk", requirement: `risk: ${inWords(wanted)}`, found, remedy });
  if (images.length === 0) return refused("cannot tell: its images are not known", "name the image of one platform");
  const condition = wanted.where === undefined ? undefined : compileCondition(wanted.where);
  for (const image of images) {
    const reports = [...reportsFor(image, attested, images.length === 1), ...(wanted.imported ? image.imported : [])];
    const scans = reports.filter(({ isScan }) => isScan);
    if (scans.length === 0) return refused("no scan: its risk is not known", scanRemedy(image, wanted.imported));
    const dated = scans.flatMap(({ createdAtMs }) => (createdAtMs === undefined || isAhead(createdAtMs, nowMs) ? [] : createdAtMs));
    const risk = riskOf({
      findings: imageFindings(reports, { digests: new Set(image.digests), diffIds: [], baseLayers: 0 }),
      ...{ scanned: true, scanAgeDays: dated.length === 0 ? undefined : Math.max(0, Math.floor((nowMs - Math.max(...dated)) / DAY_MS)) },
      ...{ provenance: "signed", places: [], base: "", source: "" },
    });
    const remedy = risk.remedy || scanRemedy(image, wanted.imported);
    if (wanted.max !== undefined && risk.score > wanted.max) return refused(shown(risk), remedy);
    if (condition && condition({ risk: variables(risk) }, nowMs) !== true) return refused(`${shown(risk)}, which does not meet ${wanted.where}`, remedy);
  }
  return undefined;
}

/** As CEL sees it: whole numbers. */
function variables({ score, terms }: Risk): object {
  const own = terms.filter(({ name }) => OWN_TERMS.includes(name)).map(({ name, figure }) => [name, BigInt(figure)]);
  return { score: BigInt(score), terms: Object.fromEntries(own) };
}

function shown({ score, terms }: Risk): string {
  const own = terms.filter(({ name }) => OWN_TERMS.includes(name));
  return `${score} (${own.map(({ name, figure, because }) => `${name} ${figure}: ${because}`).join("; ")})`;
}

function inWords({ max, where, imported }: RiskRequirement): string {
  const parts = [...(max === undefined ? [] : [`at most ${max}`]), ...(where === undefined ? [] : [where]), ...(imported ? [] : ["by signed reports alone"])];
  return parts.join(", ");
}
