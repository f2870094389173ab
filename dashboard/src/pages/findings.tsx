/** What reports say of an image's vulnerabilities, beside who vouched for it: package, layer, and what would lower the risk. */
import { type GetVulnerabilitiesResponse, type ImageVulnerabilities, Query, type Risk, type Vulnerability } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { useState } from "preact/hooks";
import { Check, Table } from "../list.tsx";
import { useAnswer } from "../live.ts";
import { Answered, Badge, count, Facts, Name, type Tone } from "../parts.tsx";

const SHOWN = 200;
const COLUMNS = [{ name: "Vulnerability" }, { name: "Severity" }, { name: "Package" }, { name: "Fixed in" }, { name: "Layer" }, { name: "Said of it" }];
const TONES: Readonly<Record<string, Tone>> = { critical: "bad", high: "bad", medium: "warn" };

export function RiskBadge({ risk }: { readonly risk: Risk | undefined }) {
  if (!risk) return <Badge tone="unknown">not known</Badge>;
  return <Badge tone={risk.score >= 60 ? "bad" : risk.score >= 30 ? "warn" : "good"}>{risk.score}</Badge>;
}

/** In one line; what is not known stands beside what is, never in its place. */
export function Counts({ image: { counts, reports, unknowns } }: { readonly image: ImageVulnerabilities }) {
  // What a maker says of vulnerabilities is no scan: that nothing is found then says nothing.
  if (!counts || !reports.some(({ scan }) => scan)) return <Badge tone="unknown">not scanned</Badge>;
  const parts = (["critical", "high", "medium", "low", "negligible"] as const).flatMap((name) => (counts[name] > 0 ? [`${counts[name]} ${name}`] : []));
  if (counts.unknown > 0) parts.push(`${counts.unknown} of unknown gravity`);
  if (counts.suppressed > 0) parts.push(`${counts.suppressed} excused`);
  return (
    <>
      {parts.length > 0 ? parts.join(", ") : "none found"}
      {unknowns.length > 0 && <span class="quiet"> · {unknowns.map(({ code }) => printable(code, 40)).join(", ")}</span>}
    </>
  );
}

export function Findings({ image }: { readonly image: string }) {
  const answer = useAnswer(Query.method.getVulnerabilities, { image });
  return (
    <section aria-labelledby="findings">
      <h2 id="findings">Vulnerabilities and risk</h2>
      <Answered answer={answer}>{(told) => (told.image ? <Told told={told} image={told.image} /> : null)}</Answered>
    </section>
  );
}

function Told({ told: { vulnerabilities, moreVulnerabilities }, image }: { readonly told: GetVulnerabilitiesResponse; readonly image: ImageVulnerabilities }) {
  const [excused, setExcused] = useState(false);
  const wanted = vulnerabilities.filter(({ suppressed }) => excused || !suppressed);
  const shown = wanted.slice(0, SHOWN);
  return (
    <>
      <Facts
        rows={[
          [
            "Risk",
            <>
              <RiskBadge risk={image.risk} /> <Name text={image.risk?.remedy ?? ""} max={300} />
            </>,
          ],
          ["Found", <Counts key="found" image={image} />],
          ...image.reports
            .slice(0, 8)
            .map(({ tool, format, digest, importedBy }) => ["Report", <Name key={digest} text={`${tool} (${format}), by ${importedBy}`} max={200} />] as const),
          ...image.unknowns.map(({ code, detail }) => ["Not known", <Name key={code} text={`${code}: ${detail}`} max={300} />] as const),
        ]}
      />
      {image.risk && (
        <Table caption="Terms of the risk" columns={[{ name: "Term" }, { name: "Figure", number: true }, { name: "Of", number: true }, { name: "Because" }]}>
          {image.risk.terms.map(({ name, figure, max, because }) => (
            <tr key={name}>
              <td>{printable(name, 40)}</td>
              <td class="number">{figure}</td>
              <td class="number">{max}</td>
              <td>
                <Name text={because} max={300} />
              </td>
            </tr>
          ))}
        </Table>
      )}
      {vulnerabilities.length > 0 && (
        <>
          <form class="filters" onSubmit={(event) => event.preventDefault()}>
            <Check label="also what a statement excuses" checked={excused} onChange={setExcused} />
          </form>
          <Table caption="Vulnerabilities, those known to be exploited first" columns={COLUMNS}>
            {shown.map((each) => (
              <Line key={`${each.id} ${each.purl} ${each.package} ${each.version}`} found={each} />
            ))}
          </Table>
          {wanted.length + moreVulnerabilities > shown.length && (
            <p class="quiet">and {count(wanted.length + moreVulnerabilities - shown.length, "other")}: hullmark vulnerabilities show has them</p>
          )}
        </>
      )}
    </>
  );
}

function Line({ found }: { readonly found: Vulnerability }) {
  const { statement } = found;
  return (
    <tr data-line>
      <td>
        <Name text={found.id} max={60} /> {found.knownExploited && <Badge tone="bad">exploited</Badge>}
      </td>
      <td>
        <Badge tone={TONES[found.severity] ?? "unknown"}>{printable(found.severity, 20)}</Badge>
      </td>
      <td>
        <Name text={`${found.package} ${found.version}`} max={80} />
      </td>
      <td>
        <Name text={found.fixedIn.join(", ") || "–"} max={60} />
      </td>
      <td>
        {found.layerIndex >= 0 ? `${found.layerIndex}${found.ofBase ? " (base)" : ""}` : "–"} <Name text={found.history} max={80} />
      </td>
      <td>
        <Name text={statement ? `${statement.status} ${statement.justification}` : "–"} max={120} />
      </td>
    </tr>
  );
}
