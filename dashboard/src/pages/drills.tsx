/** Drills, as `hullmark drill report`: how each stands and when the next is due, then what their runs measured against objectives. */
import { type DrillRun, type DrillStanding, Query } from "@hullmark/proto/v1/query";
import { standingRow } from "hullmark/output/drill-standing";
import { More, Table, useRows } from "../list.tsx";
import { useAnswer, useNow } from "../live.ts";
import { Age, Answered, Badge, Name, type Tone } from "../parts.tsx";

const STANDINGS = ["Drill", "State", "Last passed", "Every", "Due", "Detected, median", "Why"].map((name) => ({ name }));
const RUNS = [
  ...["Run", "Drill", "Outcome"].map((name) => ({ name })),
  ...["Detected", "Alerted", "Contained"].map((name) => ({ name, number: true })),
  ...["By", "Why"].map((name) => ({ name })),
  { name: "Begun", number: true },
];
const TONES: Readonly<Record<string, Tone>> = { passed: "good", failed: "bad", "never-ended": "bad", overdue: "warn" };

export function Drills() {
  const { rows, more, most } = useRows();
  const now = useNow();
  const answer = useAnswer(Query.method.listDrills, {});
  return (
    <>
      <h1>Drills</h1>
      <Answered answer={answer}>
        {({ standings, runs }) =>
          standings.length === 0 ? (
            <p class="quiet">
              No drill has run, and none is due: <code>hullmark drill run canary-file</code>
            </p>
          ) : (
            <>
              <Standings standings={standings} runs={runs} now={now} />
              <section aria-labelledby="runs">
                <h2 id="runs">Runs</h2>
                <Table caption="Runs of drills, the newest first" columns={RUNS}>
                  {runs.slice(0, rows).map((run) => (
                    <Run key={run.run} run={run} now={now} />
                  ))}
                </Table>
                <More next={runs.length > rows} most={most} more={more} command="hullmark drill report -o json" />
              </section>
            </>
          )
        }
      </Answered>
    </>
  );
}

interface StandingsProps {
  readonly standings: readonly DrillStanding[];
  readonly runs: readonly DrillRun[];
  readonly now: number;
}

function Standings({ standings, runs, now }: StandingsProps) {
  return (
    <Table caption="How each drill stands" columns={STANDINGS}>
      {standings.map((standing) => {
        // As the command has them, printable already.
        const [drill, state = "", ...cells] = standingRow(standing, runs, now);
        return (
          <tr key={drill}>
            <td>{drill}</td>
            <td>
              <Badge tone={TONES[state] ?? "unknown"}>{state}</Badge>
            </td>
            {cells.map((cell, index) => (
              <td key={index} class={index === cells.length - 1 && cell !== "" ? "why" : undefined}>
                <bdi class="name">{cell}</bdi>
              </td>
            ))}
          </tr>
        );
      })}
    </Table>
  );
}

function Run({ run, now }: { readonly run: DrillRun; readonly now: number }) {
  return (
    <tr data-line>
      <td>{run.driftId ? <a href={`/drift/${run.driftId}`}>{run.run}</a> : run.run}</td>
      <td>{run.drill}</td>
      <td>
        <Badge tone={TONES[run.outcome] ?? "unknown"}>{run.outcome || "running"}</Badge>
      </td>
      <Time ms={run.detectMs} withinMs={run.detectWithinMs} />
      <Time ms={run.alertMs} withinMs={run.alertWithinMs} />
      <Time ms={run.containMs} withinMs={run.containWithinMs} word={run.containment} />
      <td class="by">
        <Name text={run.by} max={40} />
      </td>
      <td class={run.problem === "" ? undefined : "why"}>
        <Name text={run.problem} max={200} />
      </td>
      <td class="number">
        <Age at={run.begun} now={now} />
      </td>
    </tr>
  );
}

interface TimeProps {
  readonly ms: number | undefined;
  readonly withinMs: number | undefined;
  readonly word?: string;
}

/** What was measured, and below it what was to be reached. */
function Time({ ms, withinMs, word = "" }: TimeProps) {
  return (
    <td class="number">
      {ms === undefined ? "–" : withinMs !== undefined && ms > withinMs ? <Badge tone="bad">{seconds(ms)}, too late</Badge> : seconds(ms)}
      {withinMs !== undefined && <div class="quiet">of {seconds(withinMs)}</div>}
      {word !== "" && <div class="quiet">{word}</div>}
    </td>
  );
}

const seconds = (ms: number): string => (ms < 10_000 ? `${ms.toLocaleString("en")} ms` : `${(ms / 1000).toLocaleString("en", { maximumFractionDigits: 1 })} s`);
