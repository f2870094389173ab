/** One exception: what exactly it excuses, who asked, who decided, and what it excuses now. */
import { Admin } from "@hullmark/proto/v1/admin";
import { DriftState, type Exception, Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { coverOf } from "hullmark/output/exception-page";
import { ask, mayAct, mayApprove, type Session } from "../ask.ts";
import { type Choice, Decide } from "../decide.tsx";
import { type Answer, useAnswer, useNow } from "../live.ts";
import { Age, Answered, Badge, Day, Facts, Name, Path, type Tone } from "../parts.tsx";
import type { PageProps } from "../shell.tsx";

/** As many as the verifier tells at once. */
const MAX_NOTICES = 900;
const TONES: Readonly<Record<string, Tone>> = { requested: "warn", denied: "bad" };

export function ExceptionState({ state }: { readonly state: string }) {
  return <Badge tone={TONES[state] ?? "unknown"}>{printable(state, 20)}</Badge>;
}

export function ExceptionPage({ id = "", session }: PageProps & { readonly id?: string }) {
  const answer = useAnswer(Query.method.listExceptions, {});
  const now = useNow();
  return (
    <>
      <p class="crumbs">
        <a href="/exceptions">Exceptions</a>
      </p>
      <Answered answer={answer}>
        {({ exceptions }) => {
          const exception = exceptions.find((each) => each.id === id);
          if (!exception) return <h1>There is no such exception</h1>;
          return (
            <>
              <h1 class="subject">
                {exception.id} <About exception={exception} />
              </h1>
              <ExceptionFacts exception={exception} now={now} />
              <DecideException exception={exception} session={session} again={answer.again} />
              {exception.state === "approved" && <Excused id={exception.id} />}
            </>
          );
        }}
      </Answered>
    </>
  );
}

/** Whose, and which file. */
export function About({ exception: { workload, containerName, path } }: { readonly exception: Exception }) {
  return (
    <>
      <Name text={workload || containerName} max={80} /> {path.length > 0 && <Path bytes={path} max={80} />}
    </>
  );
}

export function ExceptionFacts({ exception, now }: { readonly exception: Exception; readonly now: number }) {
  const { state, driftId, nodeName, containerName, summary, imageReference, reason, requestedBy, requestedAt, until, decidedBy, decidedAt } = exception;
  const { decision, endedBy, endedAt, remindedAt } = exception;
  const by = (name: string, at: typeof until) => (
    <>
      by <Name text={name} max={100} />, <Age at={at} now={now} /> ago
    </>
  );
  return (
    <Facts
      rows={[
        ["State", <ExceptionState key="state" state={state} />],
        ["Until", <Day key="until" at={until} />],
        [
          "Drift",
          <>
            <a href={`/drift/${driftId}`}>{driftId}</a>: <Name text={containerName} max={120} /> on <Name text={nodeName} max={80} />,{" "}
            <Name text={summary} max={400} />
          </>,
        ],
        ...coverOf(exception).map(([name, text]) => [name, <bdi key={name}>{text}</bdi>] as const),
        ["Seen in", <Name key="image" text={imageReference} max={200} />],
        ["Why", <Name key="why" text={reason} max={500} />],
        ["Asked", by(requestedBy, requestedAt)],
        decidedBy ? [state === "denied" ? "Denied" : "Approved", by(decidedBy, decidedAt)] : undefined,
        endedBy ? ["Revoked", by(endedBy, endedAt)] : undefined,
        decision ? ["Because", <Name key="because" text={decision} max={500} />] : undefined,
        remindedAt && state === "approved" ? ["Ending", "people were reminded"] : undefined,
      ]}
    />
  );
}

interface DecideProps {
  readonly exception: Exception;
  readonly session: Session;
  readonly again: Answer<unknown>["again"];
}

/** The verifier decides who may; here nobody is offered what it would refuse. */
export function DecideException({ exception, session, again }: DecideProps) {
  const { id, state, requestedBy } = exception;
  const own = requestedBy === session.name;
  const revoke = (name: string): Choice => ({
    ...{ name, yes: name },
    run: (reason) => ask(Admin.method.revokeException, { id, reason }, "person"),
  });
  if (state === "approved") return mayAct(session) ? <Decide choices={[revoke("End it now")]} again={again} /> : null;
  if (state !== "requested") return null;
  if (own)
    return (
      <>
        <p class="quiet">You asked for this: somebody else approves or denies it.</p>
        {mayAct(session) && <Decide choices={[revoke("Take it back")]} again={again} />}
      </>
    );
  if (!mayApprove(session)) return <p class="quiet">Whoever may approve decides: you may not.</p>;
  const approve: Choice = {
    ...{ name: "Approve", yes: "Yes, excuse it" },
    question: (
      <span>
        Excuse exactly this until <Day at={exception.until} />?
      </span>
    ),
    run: () => ask(Admin.method.approveException, { id }, "person"),
  };
  const deny: Choice = { name: "Deny", yes: "Deny", run: (reason) => ask(Admin.method.denyException, { id, reason }, "person") };
  return <Decide choices={[approve, deny]} again={again} />;
}

/** What is no drift because of it. */
function Excused({ id }: { readonly id: string }) {
  const answer = useAnswer(Query.method.listDrift, { states: [DriftState.NOTICE], pageSize: MAX_NOTICES });
  return (
    <section aria-labelledby="excuses">
      <h2 id="excuses">Excuses now</h2>
      <Answered answer={answer}>
        {({ drifts, nextPageToken }) => {
          const excused = drifts.filter(({ exception }) => exception === id);
          return (
            <>
              {excused.length === 0 && <p class="quiet">Nothing that differs now is excused by it.</p>}
              <ul>
                {excused.map((drift) => (
                  <li key={drift.id} data-line>
                    <a href={`/drift/${drift.id}`}>{drift.id}</a> <Name text={drift.containerName} max={80} /> on <Name text={drift.nodeName} max={60} />
                  </li>
                ))}
              </ul>
              {nextPageToken !== "" && <p class="quiet">There may be more: hullmark exception show {id}</p>}
            </>
          );
        }}
      </Answered>
    </section>
  );
}
