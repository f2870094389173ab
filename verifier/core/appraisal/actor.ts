/** Who changed something, as a node tells it: how it is kept, and in which words it is told. */
import type { EntryChange } from "@hullmark/proto/v1/attestation";
import { type Actor, ActorEntry } from "@hullmark/proto/v1/common";
import { printable } from "../text/printable.ts";
import { timestampMs } from "./time.ts";
import type { ActorFacts } from "./types.ts";

/** Strings of the peer, cut to sane lengths. */
export function actorOf({ actor }: EntryChange): ActorFacts | undefined {
  if (!actor) return undefined;
  const facts = {
    pid: actor.pid,
    executable: actor.executable.slice(0, 4096),
    located: actor.located,
    uid: actor.uid,
    containerId: actor.containerId.slice(0, 128),
    ancestry: names(actor.ancestry),
    ...(actor.containerName !== "" && { containerName: actor.containerName.slice(0, 512) }),
  };
  return { ...facts, ...entryFacts(actor) };
}

/** How a process came into its container, of whatever message has these. */
export function entryFacts({ entry, enteredAt: at, enteredFrom }: Pick<Actor, "entry" | "enteredAt" | "enteredFrom">) {
  if (entry === ActorEntry.MAIN) return { entry };
  if (entry !== ActorEntry.EXEC && entry !== ActorEntry.JOINED) return {};
  return { entry, ...(at && { enteredAtMs: timestampMs(at) }), enteredFrom: names(enteredFrom) };
}

function names(of: readonly string[]): string[] {
  return of.slice(0, 5).map((name) => name.slice(0, 64));
}

/** What a process was beside the main one: empty where it is that, or nobody knows. */
export function entryWords({ entry, enteredAtMs, enteredFrom = [] }: Pick<ActorFacts, "entry" | "enteredAtMs" | "enteredFrom">): string {
  if (entry !== ActorEntry.EXEC && entry !== ActorEntry.JOINED) return "";
  const since = enteredAtMs === undefined ? "" : ` at ${timeOf(enteredAtMs)}`;
  const by = enteredFrom.length > 0 ? ` by ${enteredFrom.map((name) => printable(name, 32)).join(" < ")}` : "";
  return entry === ActorEntry.EXEC
    ? `started through exec${since}, not by the container's own process`
    : `brought into the container${since}${by}, not by an exec of its runtime`;
}

/** A node's clock says what it likes. */
function timeOf(ms: number): string {
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : "a time that is none";
}
