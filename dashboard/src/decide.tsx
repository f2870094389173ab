/** A decision by a person: once asked, once more said, for what is decided counts on machines at once. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { AskError } from "./ask.ts";
import { Failure } from "./parts.tsx";

export interface Choice {
  readonly name: string;
  /** The button that does it. */
  readonly yes: string;
  /** What is asked once more. Absent: why is asked, and that is logged. */
  readonly question?: ComponentChildren;
  /** A name is asked for too, by these words. */
  readonly whom?: string;
  /** @throws AskError */
  readonly run: (reason: string, whom: string) => Promise<unknown>;
}

export function Decide({ choices, again }: { readonly choices: readonly Choice[]; readonly again: () => Promise<void> }) {
  const [chosen, choose] = useState<string>();
  const [reason, setReason] = useState("");
  const [whom, setWhom] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<AskError>();
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    if (chosen !== undefined) (form.current?.querySelector("input") ?? form.current)?.focus();
  }, [chosen]);
  const choice = choices.find(({ name }) => name === chosen);
  if (!choice)
    return (
      <span class="decide">
        {choices.map(({ name }) => (
          <button key={name} type="button" onClick={() => choose(name)}>
            {name}…
          </button>
        ))}
      </span>
    );
  const decide = async (): Promise<void> => {
    setBusy(true);
    setError(undefined);
    try {
      await choice.run(reason, whom);
      choose(undefined);
      setReason("");
      setWhom("");
    } catch (thrown) {
      if (!(thrown instanceof AskError)) throw thrown;
      setError(thrown);
    } finally {
      await again();
      setBusy(false);
    }
  };
  return (
    <form
      class="decide"
      ref={form}
      tabIndex={-1}
      aria-label={choice.name}
      onSubmit={(event) => {
        event.preventDefault();
        void decide();
      }}
    >
      {choice.whom && (
        <input
          required
          // As the verifier takes it.
          pattern="[A-Za-z0-9][A-Za-z0-9._@\-]{0,63}|[a-z0-9][a-z0-9._\-]{0,62}:[!-~]{1,255}"
          title="1 to 64 letters, digits and . _ @ -, or SOURCE:NAME of who comes with tokens"
          aria-label={choice.whom}
          placeholder={choice.whom.toLowerCase()}
          value={whom}
          onInput={(event) => setWhom(event.currentTarget.value)}
        />
      )}
      {choice.question ?? (
        <input
          required
          maxLength={500}
          aria-label="Why"
          placeholder="why: it is logged"
          value={reason}
          onInput={(event) => setReason(event.currentTarget.value)}
        />
      )}
      <button type="submit" disabled={busy}>
        {choice.yes}
      </button>
      <button
        type="button"
        onClick={() => {
          choose(undefined);
          setError(undefined);
        }}
      >
        Back
      </button>
      {error && <Failure error={error} />}
    </form>
  );
}
