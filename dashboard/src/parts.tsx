/** What all pages are made of. Names of files, images, containers and nodes come from whoever runs them: they are shown by `Name` and `Path`, as text alone. */
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { Verdict } from "@hullmark/proto/v1/common";
import { printable } from "@hullmark/verifier/core/text/printable";
import { ageMs, MAX_PATH_CHARACTERS, pathWord, severityTitle, toMs, verdictWord } from "hullmark/output/words";
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { AskError } from "./ask.ts";
import type { Answer } from "./live.ts";

export type Tone = "bad" | "warn" | "good" | "unknown" | "plain";

export function Name({ text, max = 80 }: { readonly text: string; readonly max?: number }) {
  const whole = printable(text, MAX_PATH_CHARACTERS);
  return (
    <bdi class="name" title={whole.length > max ? whole : undefined}>
      {printable(text, max)}
    </bdi>
  );
}

export function Path({ bytes, max = 80 }: { readonly bytes: Uint8Array; readonly max?: number }) {
  const whole = printable(bytes, MAX_PATH_CHARACTERS);
  return (
    <bdi class="path" title={whole.length > max ? whole : undefined}>
      {pathWord(bytes, max)}
    </bdi>
  );
}

export function Badge({ tone, children }: { readonly tone: Tone; readonly children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>;
}

const VERDICTS: Readonly<Record<Verdict, Tone>> = {
  [Verdict.UNSPECIFIED]: "unknown",
  [Verdict.AFFIRMING]: "good",
  [Verdict.WARNING]: "warn",
  [Verdict.CONTRAINDICATED]: "bad",
  [Verdict.UNKNOWN]: "unknown",
};

export function VerdictBadge({ verdict }: { readonly verdict: Verdict }) {
  return <Badge tone={VERDICTS[verdict]}>{verdictWord(verdict)}</Badge>;
}

export function Severity({ severity }: { readonly severity: number }) {
  const tone: Tone = severity >= 4 ? "bad" : severity === 3 ? "warn" : "unknown";
  return <Badge tone={tone}>{severityTitle(severity as Parameters<typeof severityTitle>[0]).toLowerCase()}</Badge>;
}

/** `4m`, with the time itself where one looks closer. */
export function Age({ at, now }: { readonly at: Timestamp | number | undefined; readonly now: number }) {
  const ms = typeof at === "number" ? at : toMs(at);
  if (ms === undefined) return <>–</>;
  const iso = new Date(ms).toISOString();
  return (
    <time dateTime={iso} title={iso}>
      {ageMs(ms, now)}
    </time>
  );
}

/** To the minute, in UTC as in the log. */
export function Day({ at }: { readonly at: Timestamp | undefined }) {
  const ms = toMs(at);
  if (ms === undefined) return <>–</>;
  const iso = new Date(ms).toISOString();
  return <time dateTime={iso}>{`${iso.slice(0, 16).replace("T", " ")} UTC`}</time>;
}

export function count(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

/** @param shownOfMs when what is shown all the same was so; undefined: nothing is shown */
export function Failure({ error, shownOfMs }: { readonly error: AskError; readonly shownOfMs?: number | undefined }) {
  return (
    <p class="notice bad" role="alert">
      {printable(error.message, 500)}
      {error.fix && ` – ${printable(error.fix, 500)}`}
      {shownOfMs !== undefined && `. What is below was so at ${new Date(shownOfMs).toISOString().slice(11, 19)} UTC`}
    </p>
  );
}

/** What was answered; else that it is waited for, or why there is nothing. An older answer stays, with what is the matter above it. */
export function Answered<T>({ answer, children }: { readonly answer: Answer<T>; readonly children: (value: T) => ComponentChildren }) {
  return (
    <>
      {answer.error && <Failure error={answer.error} shownOfMs={answer.valueAtMs} />}
      {answer.value !== undefined ? children(answer.value) : !answer.error && <p class="quiet">Asking the verifier…</p>}
    </>
  );
}

export function Facts({ rows }: { readonly rows: readonly (readonly [name: string, value: ComponentChildren] | undefined)[] }) {
  return (
    <dl class="facts">
      {rows.flatMap((row) =>
        row
          ? [
              <div key={row[0]}>
                <dt>{row[0]}</dt>
                <dd>{row[1]}</dd>
              </div>,
            ]
          : [],
      )}
    </dl>
  );
}

const COPIED_MS = 2000;

/** Text to type, one click from being pasted. */
export function Command({ text }: { readonly text: string }) {
  const [told, tell] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => tell(""), COPIED_MS);
    return () => clearTimeout(timer);
  }, [told]);
  const copy = (): void =>
    void navigator.clipboard.writeText(text).then(
      () => tell("copied"),
      // The browser does not let pages do it.
      () => tell("select it"),
    );
  return (
    <span class="command">
      <code>{text}</code>
      <button type="button" class="small" aria-label={`Copy: ${text}`} onClick={copy}>
        copy
      </button>
      <span class="quiet" role="status">
        {told}
      </span>
    </span>
  );
}

/** Parts of a whole as a bar, with each part in words below: the bar alone says nothing to whoever cannot see it. */
export function Parts({ parts }: { readonly parts: readonly (readonly [label: string, value: number, tone: Tone])[] }) {
  const total = parts.reduce((sum, [, value]) => sum + value, 0);
  return (
    <>
      <div class="bar" aria-hidden="true">
        {parts.map(([label, value, tone]) => value > 0 && <span key={label} class={tone} style={{ flexGrow: String(value / total) }} />)}
      </div>
      <ul class="legend">
        {parts.map(([label, value, tone]) => (
          <li key={label} class={value > 0 ? "" : "quiet"}>
            <span class={`dot ${tone}`} aria-hidden="true" />
            {value.toLocaleString("en")} {label}
          </li>
        ))}
      </ul>
    </>
  );
}
