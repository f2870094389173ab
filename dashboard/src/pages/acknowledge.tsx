/** Acknowledging, by whoever may. */
import { Admin } from "@hullmark/proto/v1/admin";
import type { Drift } from "@hullmark/proto/v1/query";
import { useState } from "preact/hooks";
import { AskError, ask } from "../ask.ts";
import { count, Failure } from "../parts.tsx";

/** Each drift as it is shown here: what has changed since stays open. */
export function Acknowledge({ drifts, again }: { readonly drifts: readonly Drift[]; readonly again: () => Promise<void> }) {
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<AskError>();
  const [left, setLeft] = useState(0);
  const acknowledge = async (): Promise<void> => {
    setBusy(true);
    setError(undefined);
    let refused = 0;
    try {
      for (const { id, seen } of drifts) {
        try {
          await ask(Admin.method.acknowledgeDrift, { id, seen, reason }, "person");
        } catch (thrown) {
          if (!(thrown instanceof AskError) || (thrown.code !== "FAILED_PRECONDITION" && thrown.code !== "NOT_FOUND")) throw thrown;
          refused++;
        }
      }
      setReason("");
    } catch (thrown) {
      if (!(thrown instanceof AskError)) throw thrown;
      setError(thrown);
    } finally {
      setLeft(refused);
      await again();
      setBusy(false);
    }
  };
  return (
    <form
      class="acknowledge"
      onSubmit={(event) => {
        event.preventDefault();
        void acknowledge();
      }}
    >
      <label>
        Acknowledge, because{" "}
        <input
          required
          maxLength={500}
          value={reason}
          placeholder="what you found and do: it is logged"
          onInput={(event) => setReason(event.currentTarget.value)}
        />
      </label>
      <button type="submit" disabled={busy || reason.trim() === ""}>
        Acknowledge {count(drifts.length, "drift")}
      </button>
      {left > 0 && <p class="notice warn">{count(left, "drift")} changed meanwhile and stayed open: look again.</p>}
      {error && <Failure error={error} />}
    </form>
  );
}
