/** What `hullmark incident verify` tells: what is proven, by which entries, and what is not. */
import { counted } from "@hullmark/verifier/core/text/counted";
import { printable } from "@hullmark/verifier/core/text/printable";
import type { LogValue } from "@hullmark/verifier/core/transparency/entry";
import type { CaptureHeld } from "../incident/captures.ts";
import type { RecordVerification } from "../incident/record.ts";

/** Entries and findings that a page shows. */
const MAX_SHOWN = 100;
/** Members of an entry that are printed. */
const SAID = ["action", "id", "exception", "drift", "kind", "state", "severity", "path", "summary", "who", "capture", "owner", "by", "reason"];

const HELD: Readonly<Record<CaptureHeld["file"], string>> = { same: "✓ is beside it, as captured", other: "✗ is another", missing: "- is not beside it" };

export function verificationText(verification: RecordVerification, captures: readonly CaptureHeld[]): string {
  const { verdict, id, drifts, namespaces, findings, unproven, entries, complete, since } = verification;
  const word = { ok: "VERIFIED", tampered: "TAMPERED WITH", incomplete: "CANNOT TELL" }[verdict];
  const where = namespaces ? ` in ${printable(namespaces.join(", "), 200)} alone` : "";
  const lines = [
    `${word}  ${printable(id, 40)}  ${counted(drifts, "drift")}${where}, ${entries.length} ${entries.length === 1 ? "entry" : "entries"} of the log`,
  ];
  for (const { verdict: kind, message } of findings.slice(0, MAX_SHOWN)) lines.push(`  ${kind === "tampered" ? "✗" : "?"} ${printable(message, 400)}`);
  for (const { action, digest, index, file } of captures.slice(0, MAX_SHOWN))
    lines.push(`  ${HELD[file].slice(0, 1)} capture of ${action} (${digest}, entry ${index})${HELD[file].slice(1)}`);
  for (const { index, timeMs, type, fields } of entries.slice(0, MAX_SHOWN)) {
    const said = SAID.flatMap((name) => (fields[name] === undefined || fields[name] === null ? [] : [`${name} ${wordOf(fields[name])}`]));
    lines.push(`  #${index} ${new Date(timeMs).toISOString()} ${type}: ${printable(said.join(" · "), 400)}`);
  }
  if (entries.length > MAX_SHOWN) lines.push(`  and ${entries.length - MAX_SHOWN} entries more`);
  if (verdict === "ok") lines.push(...notProven(unproven, complete, since));
  return `${lines.join("\n")}\n`;
}

function notProven(unproven: readonly string[], complete: boolean | undefined, since = 0): string[] {
  // Of drifts each member; anything else as a whole.
  const names = unproven.filter((name) => /^told\.(drifts\[\]\.(?!id$)[^.]+|(?!drifts$)[^.[]+)$/.test(name)).map((name) => name.slice("told.".length));
  return [
    `Not proven, the word of whoever exported it, is what the file has under "told": ${printable(names.join(", ") || "nothing", 2000)}.`,
    complete
      ? "No entry about it is left out, up to the checkpoint of the file."
      : "Not looked at is whether an entry about it was left out: --url or --dir holds it against the log.",
    ...(since > 0 ? [`It is of an earlier time: the log has ${since} entries about it beyond that. Have it exported again.`] : []),
  ];
}

/** The stable form: docs/cli.md. */
export function verificationView(verification: RecordVerification, captures: readonly CaptureHeld[]) {
  const { verdict, id, drifts, namespaces, findings, unproven, entries, complete, since } = verification;
  return {
    ...{ verdict, id, drifts, namespaces: namespaces ?? null, findings, unproven, complete: complete ?? null, since: since ?? null, captures },
    entries: entries.map(({ index, timeMs, type, fields }) => ({ index, time: new Date(timeMs).toISOString(), type, fields })),
  };
}

function wordOf(value: LogValue): string {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return String(value);
  return Object.entries(value)
    .map(([name, each]) => `${name} ${String(each)}`)
    .join(" ");
}
