/** Images that run: who vouched for each, and whether it can be measured against. */
import { type Image, type ImageVulnerabilities, ProvenanceStatus, Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { provenanceWord } from "hullmark/output/words";
import { useState } from "preact/hooks";
import { Filter, More, Table, useRows } from "../list.tsx";
import { useAnswer } from "../live.ts";
import { Answered, Badge, count, Facts, Name, type Tone } from "../parts.tsx";
import { Counts, Findings, RiskBadge } from "./findings.tsx";

const COLUMNS = [
  { name: "Image" },
  { name: "Provenance" },
  { name: "Vouched for by" },
  { name: "Reference values" },
  { name: "Risk" },
  { name: "Vulnerabilities" },
  { name: "Containers", number: true },
];

function toneOf(status: ProvenanceStatus | undefined): Tone {
  if (status === ProvenanceStatus.SIGNED) return "good";
  if (status === undefined || status === ProvenanceStatus.UNKNOWN || status === ProvenanceStatus.UNSPECIFIED) return "unknown";
  return status === ProvenanceStatus.UNSIGNED || status === ProvenanceStatus.ATTESTATION_ONLY ? "warn" : "bad";
}

function Standing({ image: { provenance } }: { readonly image: Image }) {
  return <Badge tone={toneOf(provenance?.status)}>{provenanceWord(provenance?.status)}</Badge>;
}

const nameOf = ({ references, configDigest }: Image): string => references[0] ?? configDigest;

export function Images() {
  const [filter, setFilter] = useState("");
  const { rows, more, most } = useRows();
  const answer = useAnswer(Query.method.listImages, { pageSize: rows });
  const findings = useAnswer(Query.method.listVulnerabilities, { pageSize: 999 });
  const found = new Map(findings.value?.images.map((image) => [image.configDigest, image]));
  const wanted = filter.toLowerCase();
  return (
    <>
      <h1>Images</h1>
      <Filter value={filter} onInput={setFilter} hint="name, digest, authority, state" />
      <Answered answer={answer}>
        {({ images, nextPageToken }) => {
          const shown = images
            .filter((image) =>
              [
                image.configDigest,
                ...image.references,
                ...image.manifestDigests,
                provenanceWord(image.provenance?.status),
                image.referenceState,
                ...(image.provenance?.authorities ?? []),
              ].some((text) => text.toLowerCase().includes(wanted)),
            )
            .toSorted((a, b) => b.containers - a.containers);
          return (
            <>
              <p class="quiet" role="status">
                {shown.length === 0 ? "No image" : `${count(shown.length, "image")} shown`}
              </p>
              {shown.length > 0 && (
                <Table caption="Images, those that run most first" columns={COLUMNS}>
                  {shown.map((image) => (
                    <tr key={image.configDigest} data-line>
                      <td>
                        <a href={`/images/${encodeURIComponent(image.configDigest)}`}>
                          <Name text={nameOf(image)} max={80} />
                        </a>
                      </td>
                      <td>
                        <Standing image={image} />
                      </td>
                      <td>
                        <Name text={image.provenance?.authorities.join(", ") || "nobody"} max={60} />
                      </td>
                      <td>{printable(image.referenceState, 40)}</td>
                      <Found found={found.get(image.configDigest)} />
                      <td class="number">{image.containers.toLocaleString("en")}</td>
                    </tr>
                  ))}
                </Table>
              )}
              <More next={nextPageToken !== ""} most={most} more={more} command="hullmark images" />
            </>
          );
        }}
      </Answered>
    </>
  );
}

function Found({ found }: { readonly found: ImageVulnerabilities | undefined }) {
  return (
    <>
      <td>
        <RiskBadge risk={found?.risk} />
      </td>
      <td>{found ? <Counts image={found} /> : <span class="quiet">–</span>}</td>
    </>
  );
}

export function ImagePage({ id }: { readonly id?: string }) {
  const answer = useAnswer(Query.method.getImage, { image: id ?? "" });
  return (
    <>
      <p class="crumbs">
        <a href="/images">Images</a>
      </p>
      <Answered answer={answer}>
        {({ image }) =>
          image ? (
            <>
              <ImageFacts image={image} />
              <Findings image={image.configDigest} />
            </>
          ) : (
            <h1>There is no such image</h1>
          )
        }
      </Answered>
    </>
  );
}

function ImageFacts({ image }: { readonly image: Image }) {
  const { provenance } = image;
  return (
    <>
      <h1 class="subject">
        <Name text={nameOf(image)} max={200} />
      </h1>
      <Facts
        rows={[
          [
            "Provenance",
            <>
              <Standing image={image} /> <Name text={provenance?.text ?? ""} max={500} />
            </>,
          ],
          ["By", <Name key="by" text={provenance?.authorities.join(", ") || "nobody whom policy knows"} max={300} />],
          provenance?.sourceRepository ? ["Source", <Name key="source" text={`${provenance.sourceRepository} ${provenance.commit}`} max={400} />] : undefined,
          provenance?.builder ? ["Built by", <Name key="built" text={provenance.builder} max={300} />] : undefined,
          provenance?.buildInvocation ? ["Build", <Name key="build" text={provenance.buildInvocation} max={300} />] : undefined,
          [
            "Reference",
            <>
              {printable(image.referenceState, 60)} <Name text={image.referenceDetail} max={300} /> · {count(image.layers, "layer")},{" "}
              {image.entries.toLocaleString("en")} entries
            </>,
          ],
          ["Runs in", count(image.containers, "container")],
          ["Platform", printable(image.platform, 80)],
          ["Config", <code key="config">{printable(image.configDigest, 100)}</code>],
          ...image.manifestDigests
            .slice(0, 8)
            .map((digest, at) => [`Manifest${at > 0 ? ` ${at + 1}` : ""}`, <code key={digest}>{printable(digest, 100)}</code>] as const),
          ...image.references.slice(1, 9).map((reference, at) => [`Also ${at + 1}`, <Name key={reference} text={reference} max={300} />] as const),
        ]}
      />
    </>
  );
}
