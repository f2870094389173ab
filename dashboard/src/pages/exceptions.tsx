/** Exceptions: what waits for a decision first and in full, then what is in force, and on request what is over. */
import { type Exception, Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { exceptionRow } from "hullmark/output/exception-page";
import { useState } from "preact/hooks";
import { Check, Filter, More, PAGE_ROWS, Table } from "../list.tsx";
import { useAnswer, useNow } from "../live.ts";
import { Answered, count } from "../parts.tsx";
import type { PageProps } from "../shell.tsx";
import { About, DecideException, ExceptionFacts, ExceptionState } from "./exception.tsx";

export const ALIVE = ["requested", "approved"];
const WAITING_SHOWN = 20;
const COLUMNS = ["Exception", "State", "Workload", "What", "Ends", "Asked by", "Decided by", "Why"].map((name) => ({ name }));

export function Exceptions({ session }: PageProps) {
  const [all, setAll] = useState(false);
  const [filter, setFilter] = useState("");
  const now = useNow();
  const answer = useAnswer(Query.method.listExceptions, { states: all ? [] : ALIVE });
  const wanted = filter.toLowerCase();
  const matches = ({ id, path, workload, containerName, imageReference, requestedBy, decidedBy, reason }: Exception): boolean =>
    [printable(path, 20_000), id, workload, containerName, imageReference, requestedBy, decidedBy, reason].some((text) => text.toLowerCase().includes(wanted));
  return (
    <>
      <h1>Exceptions</h1>
      <Filter value={filter} onInput={setFilter} hint="path, workload, image, person">
        <Check label="also what is over" checked={all} onChange={setAll} />
      </Filter>
      <Answered answer={answer}>
        {({ exceptions }) => {
          const shown = exceptions.filter(matches);
          // Whoever has waited longest comes first.
          const waiting = shown.filter(({ state }) => state === "requested").reverse();
          return (
            <>
              <p class="quiet" role="status">
                {shown.length === 0 ? "No exception" : `${count(shown.length, "exception")} shown, ${waiting.length} of them waiting for a decision`}
              </p>
              {waiting.length > 0 && (
                <section aria-labelledby="waiting">
                  <h2 id="waiting">Waiting for a decision</h2>
                  {waiting.slice(0, WAITING_SHOWN).map((exception) => (
                    <article key={exception.id} class="card" data-line>
                      <h3>
                        <a href={`/exceptions/${exception.id}`}>{exception.id}</a> <About exception={exception} />
                      </h3>
                      <ExceptionFacts exception={exception} now={now} />
                      <DecideException exception={exception} session={session} again={answer.again} />
                    </article>
                  ))}
                  {waiting.length > WAITING_SHOWN && (
                    <p class="quiet">and {count(waiting.length - WAITING_SHOWN, "other")}: decide on these first, or filter</p>
                  )}
                </section>
              )}
              <Rows title="In force" rows={shown.filter(({ state }) => state === "approved")} now={now} />
              <Rows title="Over" rows={shown.filter(({ state }) => !ALIVE.includes(state))} now={now} />
            </>
          );
        }}
      </Answered>
    </>
  );
}

function Rows({ title, rows, now }: { readonly title: string; readonly rows: readonly Exception[]; readonly now: number }) {
  const [shown, setShown] = useState(PAGE_ROWS);
  if (rows.length === 0) return null;
  return (
    <section aria-label={title}>
      <h2>{title}</h2>
      <Table caption={`Exceptions: ${title.toLowerCase()}`} columns={COLUMNS}>
        {rows.slice(0, shown).map((row) => {
          // As the command has them, printable already.
          const [id, state, ...cells] = exceptionRow(row, now);
          return (
            <tr key={id} data-line>
              <td>
                <a href={`/exceptions/${id}`}>{id}</a>
              </td>
              <td>
                <ExceptionState state={state ?? ""} />
              </td>
              {cells.map((cell, index) => (
                <td key={index}>
                  <bdi class="name">{cell}</bdi>
                </td>
              ))}
            </tr>
          );
        })}
      </Table>
      <More next={rows.length > shown} most={false} more={() => setShown(shown + 200)} command="" />
    </section>
  );
}
