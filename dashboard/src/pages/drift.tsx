/** Drift as it is found, one by one; and one in full. */
import { type Drift, DriftState, Query } from "@hullmark/proto/v1/query";
import { phraseOf } from "@hullmark/verifier/core/alerting/text";
import { printable } from "@hullmark/verifier/core/text/printable";
import { whyNoException } from "hullmark/output/exception-page";
import { actorLine, provenanceWord, stateWord } from "hullmark/output/words";
import { useState } from "preact/hooks";
import { mayAct } from "../ask.ts";
import { Check, Filter, More, Table, useRows } from "../list.tsx";
import { useAnswer, useNow } from "../live.ts";
import { Age, Answered, Badge, Command, count, Facts, Name, Path, Severity, type Tone } from "../parts.tsx";
import type { PageProps } from "../shell.tsx";
import { Acknowledge } from "./acknowledge.tsx";
import { ALIVE } from "./exceptions.tsx";
import { AskException, isOutgrown, Touching, touchesDrift } from "./excuse.tsx";
import { hasContent, TextDiff } from "./text-diff.tsx";

const STANDING = [DriftState.OPEN, DriftState.ACKNOWLEDGED];
const COLUMNS = [
  { name: "Drift" },
  { name: "Severity" },
  { name: "What" },
  { name: "Container" },
  { name: "Node" },
  { name: "State" },
  { name: "Since", number: true },
];

export function DriftList() {
  const [all, setAll] = useState(false);
  const [filter, setFilter] = useState("");
  const { rows, more, most } = useRows();
  const now = useNow();
  const answer = useAnswer(Query.method.listDrift, { states: all ? [...STANDING, DriftState.RESOLVED, DriftState.NOTICE] : STANDING, pageSize: rows });
  const wanted = filter.toLowerCase();
  const matches = (drift: Drift): boolean =>
    [printable(drift.path, 20_000), drift.id, drift.kind, drift.nodeName, drift.containerName, drift.workload, drift.imageReference].some((text) =>
      text.toLowerCase().includes(wanted),
    );
  return (
    <>
      <h1>Drift</h1>
      <Filter value={filter} onInput={setFilter} hint="path, container, node, image">
        <Check label="also what is over, and notices" checked={all} onChange={setAll} />
      </Filter>
      <Answered answer={answer}>
        {({ drifts, nextPageToken, containersUnknown }) => {
          const shown = drifts.filter(matches);
          const short = nextPageToken !== "" && drifts.length < rows;
          return (
            <>
              <p class="quiet" role="status">
                {shown.length === 0 ? (short ? "No drift among the newest" : "No drift") : `${count(shown.length, "drift")} shown`}
                {wanted && nextPageToken ? `; the filter looks at the newest ${drifts.length}` : ""}
                {containersUnknown > 0 && `. ${count(containersUnknown, "workload")} cannot be judged: this list says nothing of them.`}
              </p>
              {shown.length > 0 && (
                <Table caption="Drift, the newest first" columns={COLUMNS}>
                  {shown.map((drift) => (
                    <tr key={drift.id} data-line>
                      <td>
                        <a href={`/drift/${drift.id}`}>{drift.id}</a>
                      </td>
                      <td>
                        <Severity severity={drift.severity} />
                      </td>
                      <td>
                        {drift.path.length > 0 && <Path bytes={drift.path} max={60} />} {phraseOf(drift.kind)}
                      </td>
                      <td>
                        <Name text={drift.containerName} max={40} />
                      </td>
                      <td>
                        <Name text={drift.nodeName} max={40} />
                      </td>
                      <td>
                        <State drift={drift} />
                      </td>
                      <td class="number">
                        <Age at={drift.changedAt ?? drift.committedAt} now={now} />
                      </td>
                    </tr>
                  ))}
                </Table>
              )}
              <More next={nextPageToken !== ""} short={short} most={most} more={more} command="hullmark drift ls" />
            </>
          );
        }}
      </Answered>
    </>
  );
}

const TONES: Readonly<Partial<Record<DriftState, Tone>>> = {
  [DriftState.OPEN]: "bad",
  [DriftState.ACKNOWLEDGED]: "warn",
  [DriftState.RESOLVED]: "good",
};

export function State({ drift: { state, acknowledgedBy, exception } }: { readonly drift: Drift }) {
  return (
    <>
      <Badge tone={TONES[state] ?? "unknown"}>{stateWord(state)}</Badge>
      {state === DriftState.ACKNOWLEDGED && (
        <span class="quiet">
          {" "}
          by <Name text={acknowledgedBy} max={32} />
        </span>
      )}
      {exception && (
        <span class="quiet">
          {" "}
          excused by <a href={`/exceptions/${exception}`}>{exception}</a>
        </span>
      )}
    </>
  );
}

/** What the verifier would refuse is not offered; why, it says itself. */
function Excuse({ drift, again }: { readonly drift: Drift; readonly again: () => Promise<void> }) {
  const why = whyNoException(drift);
  if (why === undefined) return <AskException drift={drift} again={again} />;
  return (
    <p class="quiet">
      No exception can be had for it as it is: <Name text={why} max={500} />
    </p>
  );
}

export function DriftPage({ id, session }: PageProps & { readonly id?: string }) {
  const answer = useAnswer(Query.method.getDrift, { id: id ?? "" });
  const exceptions = useAnswer(Query.method.listExceptions, { states: ALIVE });
  const now = useNow();
  return (
    <>
      <p class="crumbs">
        <a href="/drift">Drift</a>
      </p>
      <Answered answer={answer}>
        {({ drift }) => {
          if (!drift) return <h1>There is no such drift</h1>;
          const touching = exceptions.value?.exceptions.filter(touchesDrift(drift));
          return (
            <>
              <DriftFacts drift={drift} now={now} />
              {touching && <Touching exceptions={touching} drifts={[drift]} />}
              {drift.state === DriftState.OPEN && mayAct(session) && <Acknowledge drifts={[drift]} again={answer.again} />}
              {STANDING.includes(drift.state) && mayAct(session) && touching?.every((each) => isOutgrown(each, [drift])) && (
                <Excuse drift={drift} again={exceptions.again} />
              )}
              <Differences drift={drift} />
              {mayAct(session) && hasContent(drift) && <TextDiff key={drift.id} drift={drift} />}
            </>
          );
        }}
      </Answered>
    </>
  );
}

function DriftFacts({ drift, now }: { readonly drift: Drift; readonly now: number }) {
  const { origin, provenance } = drift;
  return (
    <>
      <h1 class="subject">
        <Severity severity={drift.severity} />{" "}
        {drift.path.length > 0 ? <Path bytes={drift.path} max={400} /> : <Name text={drift.containerName || `node ${drift.nodeName}`} max={200} />}{" "}
        {phraseOf(drift.kind)}
      </h1>
      <Facts
        rows={[
          ["State", <State key="state" drift={drift} />],
          [
            "Where",
            <>
              <Name text={drift.containerName || "the node itself"} max={200} /> on <Name text={drift.nodeName} max={80} />
            </>,
          ],
          ["Who", printable(actorLine(drift.actor), 800)],
          ["Place", printable(origin?.place ?? "", 40) || "–"],
          origin?.history ? ["From", <Name key="from" text={`layer ${origin.layerIndex}: ${origin.history}`} max={400} />] : undefined,
          drift.imageReference
            ? [
                "Image",
                <>
                  <a href={`/images/${encodeURIComponent(drift.configDigest)}`}>
                    <Name text={drift.imageReference} max={200} />
                  </a>{" "}
                  <span class="quiet">
                    · {provenanceWord(provenance?.status)} · <Name text={provenance?.text ?? ""} max={200} />
                  </span>
                </>,
              ]
            : undefined,
          drift.mappedBy.length > 0 ? ["Run by", <Name key="run" text={drift.mappedBy.join(", ")} max={300} />] : undefined,
          [
            "Time",
            <>
              {drift.changedAt ? (
                <>
                  changed <Age at={drift.changedAt} now={now} /> ago,{" "}
                </>
              ) : (
                "no event told when; "
              )}
              measured <Age at={drift.measuredAt} now={now} /> ago
              {drift.resolvedAt && (
                <>
                  , over <Age at={drift.resolvedAt} now={now} /> ago
                </>
              )}
            </>,
          ],
          drift.acknowledgedBy
            ? ["Acknowledged", <Name key="acknowledged" text={`by ${drift.acknowledgedBy}: ${drift.acknowledgedReason}`} max={600} />]
            : undefined,
          drift.exception
            ? [
                "Excused",
                <>
                  by {printable(drift.exception, 40)}: <Command text={`hullmark exception show ${drift.exception}`} />
                </>,
              ]
            : undefined,
          drift.logIndex >= 0n ? ["Proof", `log #${drift.logIndex}`] : undefined,
          ["Explain", <Command key="explain" text={`hullmark drift explain ${drift.id}`} />],
        ]}
      />
    </>
  );
}

/** What was signed beside what is there, so that a difference is seen as one. */
function Differences({ drift: { differences, summary } }: { readonly drift: Drift }) {
  return (
    <section aria-labelledby="differences">
      <h2 id="differences">Difference</h2>
      {differences.length === 0 ? (
        <p>
          <Name text={summary} max={1000} />
        </p>
      ) : (
        <Table caption="What was signed, and what is there" columns={[{ name: "Field" }, { name: "Signed" }, { name: "There" }]}>
          {differences.map(({ field, expected, observed }) => (
            <tr key={field}>
              <td class="field">
                <Name text={field} max={120} />
              </td>
              <td class="signed">
                <Name text={expected || "–"} max={400} />
              </td>
              <td class="there">
                <Name text={observed || "–"} max={400} />
              </td>
            </tr>
          ))}
        </Table>
      )}
    </section>
  );
}
