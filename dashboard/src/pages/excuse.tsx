/** Exceptions where they touch a drift or an incident, and asking for one. */
import { Admin } from "@hullmark/proto/v1/admin";
import { type Drift, DriftState, type Exception, type Incident } from "@hullmark/proto/v1/query";
import { toMs } from "hullmark/output/words";
import { useState } from "preact/hooks";
import { AskError, ask } from "../ask.ts";
import { Check } from "../list.tsx";
import { Day, Failure, Name } from "../parts.tsx";

const DAY_SECONDS = 86_400;
/** The verifier knows what policy allows. */
const MAX_DAYS = 365;

/**
 * That it is excused, or was and is not as it is now, or that somebody asks for it: a line each.
 * @param drifts that are shown with them
 */
export function Touching({ exceptions, drifts }: { readonly exceptions: readonly Exception[]; readonly drifts: readonly Drift[] }) {
  if (exceptions.length === 0) return null;
  return (
    <section class="notice warn" aria-label="Exceptions">
      {exceptions.map((exception) => {
        const { id, state, until, requestedBy, decidedBy, reason } = exception;
        return (
          <p key={id}>
            <a href={`/exceptions/${id}`}>{id}</a>{" "}
            {isOutgrown(exception, drifts) ? (
              <>
                does not excuse what is there now: it changed since <Name text={decidedBy} max={60} /> approved that
              </>
            ) : state === "approved" ? (
              <>
                excuses this until <Day at={until} />, approved by <Name text={decidedBy} max={60} />
              </>
            ) : (
              <>
                asks that this be excused until <Day at={until} />, and waits for a decision
              </>
            )}
            ; asked for by <Name text={requestedBy} max={60} />: <Name text={reason} max={300} />
          </p>
        );
      })}
    </section>
  );
}

/** Approved for one of these drifts, which was seen otherwise since: it excuses none of them. */
export function isOutgrown({ id, state, driftId, decidedAt }: Exception, drifts: readonly Drift[]): boolean {
  const standsSince = ({ state: of, measuredAt }: Drift): boolean =>
    (of === DriftState.OPEN || of === DriftState.ACKNOWLEDGED) && (toMs(measuredAt) ?? 0) > (toMs(decidedAt) ?? 0);
  return state === "approved" && drifts.some((drift) => drift.id === driftId && standsSince(drift)) && drifts.every(({ exception }) => exception !== id);
}

export const touchesDrift = (drift: Drift) => (exception: Exception) => exception.id === drift.exception || exception.driftId === drift.id;

/** What is excused already is in no incident any more: one about the same thing of the same image has the rest. */
export const touchesIncident = (incident: Incident, drifts: readonly Drift[]) => (exception: Exception) => {
  const { scope, path, imageReference } = exception;
  const ofImage = scope?.configDigest ? scope.configDigest === incident.image : imageReference === incident.imageReference;
  const same = ofImage && scope?.kind === incident.kind && path.length === incident.path.length && path.every((byte, at) => byte === incident.path[at]);
  return same || drifts.some((drift) => touchesDrift(drift)(exception));
};

/** As narrow as it can be: what is wider, and has to be looked at more closely, is asked for by the command. */
export function AskException({ drift, again }: { readonly drift: Drift; readonly again: () => Promise<void> }) {
  const [reason, setReason] = useState("");
  const [days, setDays] = useState(7);
  const [anyImage, setAnyImage] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<AskError>();
  const request = async (): Promise<void> => {
    setBusy(true);
    setError(undefined);
    const asked = { driftId: drift.id, lifeSeconds: days * DAY_SECONDS, reason, pathGlob: "", anyContent: false, anyImage, seen: drift.seen };
    try {
      await ask(Admin.method.requestException, asked, "person");
    } catch (thrown) {
      if (!(thrown instanceof AskError)) throw thrown;
      // What would do is said in the command's options, which are not here: the message has it too.
      setError(thrown.reason === "TOO_BROAD" ? new AskError({ code: thrown.code, message: thrown.message }) : thrown);
    } finally {
      await again();
      setBusy(false);
    }
  };
  return (
    <details>
      <summary>Ask for an exception</summary>
      <form
        class="acknowledge"
        onSubmit={(event) => {
          event.preventDefault();
          void request();
        }}
      >
        <label>
          Excuse it as it is now, because{" "}
          <input
            required
            maxLength={500}
            value={reason}
            placeholder="whoever decides reads it; it is logged"
            onInput={(event) => setReason(event.currentTarget.value)}
          />
        </label>
        <span>
          for{" "}
          <input
            class="days"
            type="number"
            aria-label="Days"
            required
            min={1}
            max={MAX_DAYS}
            value={days}
            onInput={(event) => setDays(event.currentTarget.valueAsNumber)}
          />{" "}
          days
        </span>
        <Check label="in later images too" checked={anyImage} onChange={setAnyImage} />
        <button type="submit" disabled={busy || reason.trim() === ""}>
          Ask
        </button>
        {error && <Failure error={error} />}
      </form>
    </details>
  );
}
