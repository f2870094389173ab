/** The transparency log, the newest entry first, and how far the signed checkpoint reaches. */
import { type LoggedEntry, Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { useState } from "preact/hooks";
import { Filter, PAGE_ROWS, Table } from "../list.tsx";
import { useAnswer, useNow } from "../live.ts";
import { Age, Answered, Badge, Command } from "../parts.tsx";

const COLUMNS = [{ name: "Entry", number: true }, { name: "When", number: true }, { name: "What" }, { name: "Says" }, { name: "Proof" }];

export function Log() {
  const [before, setBefore] = useState("");
  const [filter, setFilter] = useState("");
  const now = useNow();
  const answer = useAnswer(Query.method.listLogEntries, { pageToken: before, pageSize: PAGE_ROWS });
  const wanted = filter.toLowerCase();
  return (
    <>
      <h1>Log</h1>
      <Filter value={filter} onInput={setFilter} hint="drift id, person, node, type" />
      <Answered answer={answer}>
        {({ entries, nextPageToken, checkpointSize, size }) => {
          const shown = entries.map(read).filter(({ text }) => text.toLowerCase().includes(wanted));
          return (
            <>
              <p class="quiet" role="status">
                {size.toLocaleString("en")} entries, {checkpointSize.toLocaleString("en")} under a signed checkpoint.
                {wanted && ` ${shown.length} of the ${entries.length} on this page match.`} To check it yourself: <Command text="hullmark log verify" />
              </p>
              <Table caption="Entries of the log, the newest first" columns={COLUMNS}>
                {shown.map(({ index, type, timeMs, says, text }) => (
                  <tr key={String(index)} data-line>
                    <td class="number">#{String(index)}</td>
                    <td class="number">
                      <Age at={timeMs} now={now} />
                    </td>
                    <td>{printable(type, 40)}</td>
                    <td>
                      {says.map(([name, value]) => (
                        <span key={name}>
                          <span class="quiet">{name}</span> <bdi class="name">{once(value)}</bdi>{" "}
                        </span>
                      ))}
                      <details>
                        <summary>all of it</summary>
                        <pre>{once(text, 70_000)}</pre>
                      </details>
                    </td>
                    <td>{index < checkpointSize ? <Badge tone="good">signed</Badge> : <Badge tone="unknown">not yet</Badge>}</td>
                  </tr>
                ))}
              </Table>
              <p class="decide">
                {before !== "" && (
                  <button type="button" onClick={() => setBefore("")}>
                    Newest
                  </button>
                )}
                {nextPageToken && (
                  <button type="button" onClick={() => setBefore(nextPageToken)}>
                    Older
                  </button>
                )}
              </p>
            </>
          );
        }}
      </Answered>
    </>
  );
}

interface Read {
  readonly index: bigint;
  readonly type: string;
  readonly timeMs: number | undefined;
  /** What a person looks for first, in that order. */
  readonly says: readonly (readonly [name: string, value: string])[];
  readonly text: string;
}

/** Of the members that docs/log.md names: the rest is in the whole entry. */
const FIRST = [
  "id",
  "drift",
  "action",
  "incident",
  "name",
  "subject",
  "state",
  "verdict",
  "before",
  "kind",
  "severity",
  "path",
  "by",
  "reason",
  "reasons",
  "mode",
];

/** What the log has of names is printable already: a backslash of it is not doubled again. */
const once = (text: string, max = 160): string => printable(text, max).replaceAll("\\\\", "\\");

/** The verifier wrote it; should it be no JSON all the same, it is shown as it is. */
function read({ index, entry }: LoggedEntry): Read {
  const text = new TextDecoder().decode(entry);
  try {
    const { type, time, ...fields } = JSON.parse(text) as Record<string, unknown>;
    const timeMs = Date.parse(String(time));
    const says = FIRST.flatMap((name) => {
      const value = fields[name];
      return value === undefined || value === null || value === "" ? [] : [[name, Array.isArray(value) ? value.join(", ") : String(value)] as const];
    });
    return { index, type: String(type), timeMs: Number.isNaN(timeMs) ? undefined : timeMs, says, text };
  } catch {
    return { index, type: "?", timeMs: undefined, says: [], text };
  }
}
