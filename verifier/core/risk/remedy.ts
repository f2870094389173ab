/** The one line that says what lowers a risk most. */
import { type RiskFacts, type RiskFinding, type RiskTerm, type RiskTermName, weightOf } from "./facts.ts";

/** Of the term with the greatest figure; of equals the one that comes first. */
export function remedyFor(facts: RiskFacts, terms: readonly RiskTerm[]): string {
  const ranked = [...terms].sort((a, b) => b.figure - a.figure);
  for (const { name, figure } of ranked) {
    const remedy = figure > 0 ? REMEDIES[name](facts) : "";
    if (remedy !== "") return remedy;
  }
  return "";
}

const REMEDIES: Readonly<Record<RiskTermName, (facts: RiskFacts) => string>> = {
  vulnerabilities: updateRemedy,
  scan: ({ scanned }) => `${scanned ? "scan it again" : "scan it"} and hand the report in: hullmark vulnerabilities import`,
  exposure: ({ places }) => {
    const asked = places.some(
      ({ exposure }) => exposure?.privileged || exposure?.hostNamespaces.length || exposure?.capabilities.length || exposure?.hostMounts.length,
    );
    return asked ? "start it without the privileges that it does not need" : "";
  },
  provenance: ({ provenance }) => (provenance === "unknown" ? "make the registry answer" : "build it anew from what is trusted, sign it, and deploy that"),
  drift: () => "put right what differs from the image: hullmark drift ls",
  node: () => "run it on nodes that a TPM attests: hullmark nodes",
};

/** The package whose update takes the most weight away. Findings come heaviest first. */
function updateRemedy({ findings, base, source }: RiskFacts): string {
  const open = findings.filter(({ suppressed }) => !suppressed);
  const byPackage = new Map<string, RiskFinding[]>();
  for (const finding of open.filter(({ fixedIn }) => fixedIn.length > 0)) {
    const key = JSON.stringify([finding.package.name, finding.package.version, finding.layer]);
    byPackage.set(key, [...(byPackage.get(key) ?? []), finding]);
  }
  const weighed = [...byPackage].map(([key, own]) => ({ key, own, weight: own.reduce((sum, finding) => sum + weightOf(finding), 0) }));
  const [heaviest] = weighed.sort((a, b) => b.weight - a.weight || (a.key < b.key ? -1 : 1));
  const first = heaviest?.own[0];
  if (!heaviest || !first) {
    const [worst] = open;
    return worst ? `no fix is known for ${worst.id}: take ${worst.package.name} out, or ask its maker for a statement (VEX)` : "";
  }
  const { name, version } = first.package;
  const others = heaviest.own.length > 1 ? ` and ${heaviest.own.length - 1} more` : "";
  const where = first.layerIndex < 0 ? "" : ` in layer ${first.layerIndex} (${first.layer}), ${ownerOf(first, base, source)}`;
  return `update ${name} ${version} to ${first.fixedIn[0]}${where}: ${first.id}${others}`;
}

function ownerOf({ ofBase }: RiskFinding, base: string, source: string): string {
  if (ofBase) return `of the base ${base}: build on a newer one`;
  return source === "" ? "of the image's own build" : `of its own build, from ${source}`;
}
