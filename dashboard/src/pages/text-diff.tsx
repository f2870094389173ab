/** What changed in a file, for whoever says why they look: only on demand, and only where the node lets it out. */
import { Admin, type DiffDriftResponse } from "@hullmark/proto/v1/admin";
import { type Drift, DriftState } from "@hullmark/proto/v1/query";
import { type DiffLine, diffLines, diffSummary } from "hullmark/output/text-diff";
import { useState } from "preact/hooks";
import { AskError, ask } from "../ask.ts";
import { Failure } from "../parts.tsx";

const MAX_LINES = 2000;

/** Whether a file's content is what differs, and it is there yet. */
export function hasContent({ state, path, origin, differences }: Drift): boolean {
  const place = origin?.place === "upper" || origin?.place === "layer";
  return state !== DriftState.RESOLVED && path.length > 1 && place && differences.some(({ field }) => field === "sha256");
}

export function TextDiff({ drift }: { readonly drift: Drift }) {
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<AskError>();
  const [told, tell] = useState<{ readonly seen: string; readonly diff: DiffDriftResponse }>();
  const show = async (): Promise<void> => {
    setBusy(true);
    setError(undefined);
    try {
      tell({ seen: drift.seen, diff: await ask(Admin.method.diffDrift, { id: drift.id, reason }, "person") });
    } catch (thrown) {
      if (!(thrown instanceof AskError)) throw thrown;
      tell(undefined);
      setError(thrown);
    } finally {
      setBusy(false);
    }
  };
  return (
    <section aria-labelledby="text-diff">
      <h2 id="text-diff">What changed in the file</h2>
      <form
        class="acknowledge"
        onSubmit={(event) => {
          event.preventDefault();
          void show();
        }}
      >
        <label>
          Read it, because{" "}
          <input
            required
            maxLength={500}
            value={reason}
            placeholder="it is logged here and on the node"
            onInput={(event) => setReason(event.currentTarget.value)}
          />
        </label>
        <button type="submit" disabled={busy || reason.trim() === ""}>
          {busy ? "Reading…" : "Show what changed"}
        </button>
      </form>
      <div role="status">
        {error && <Failure error={error} />}
        {told && told.seen !== drift.seen && <p class="notice warn">The file has changed since this was read.</p>}
        {told && <p class="quiet">{diffSummary(told.diff)}</p>}
      </div>
      {told && <Lines lines={diffLines(told.diff)} />}
    </section>
  );
}

function Lines({ lines }: { readonly lines: readonly DiffLine[] }) {
  if (lines.length === 0) return null;
  return (
    <>
      {/* Scrolls sideways: a keyboard must reach it. */}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable */}
      <section class="diff" tabIndex={0} aria-label="Lines that changed">
        <pre>
          {lines.slice(0, MAX_LINES).map(({ kind, text }, at) => (
            <span key={at} class={kind}>
              {`${text}\n`}
            </span>
          ))}
        </pre>
      </section>
      {lines.length > MAX_LINES && <p class="quiet">and {(lines.length - MAX_LINES).toLocaleString("en")} lines more: hullmark drift diff has all</p>}
    </>
  );
}
