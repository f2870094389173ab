/** Which containers of a node do not run, by the node's own word, for a person who looks at what stands on what it has altered. */
import type { StoppedTold } from "../../ports/stopped-told.ts";
import type { KnownImage } from "../vulnerabilities/bind.ts";
import type { Session } from "./session.ts";

/** The agent gives its runtime less. */
const PATIENCE_MS = 6_000;
const MAX_TOLD = 1000;
const MAX_CHARS = 512;
/** What the answer has room for, whatever a node counts. */
const MAX_COUNT = 0xffff_ffff;

/** @param session of the node; undefined: it is not connected @param images that are resolved @throws the signal's reason */
export async function askStopped(
  session: Pick<Session, "askStopped" | "tellsStopped"> | undefined,
  images: () => readonly KnownImage[],
  signal: AbortSignal,
): Promise<StoppedTold> {
  if (!session) return untold("the node is not connected");
  if (!session.tellsStopped) return untold("the node's agent is of a version that does not tell of them");
  const answer = await session.askStopped(AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)])).catch(() => undefined);
  signal.throwIfAborted();
  if (!answer) return untold("the node did not answer");
  if (answer.problem !== "") return untold(cut(answer.problem));
  const told = answer.containers.slice(0, MAX_TOLD);
  const named = byDigest(told.length > 0 ? images() : []);
  const containers = told.map(({ name, imageId }) => ({ name: cut(name), configDigests: named.get(digestOf(imageId)) ?? [] }));
  return { problem: "", containers, more: Math.min(answer.more + answer.containers.length - told.length, MAX_COUNT) };
}

/** By every digest that a runtime may name them by. One whose layers are not known is left out: nobody can say on what it stands. */
function byDigest(images: readonly KnownImage[]): ReadonlyMap<string, readonly string[]> {
  const named = new Map<string, string[]>();
  for (const { configDigest, manifestDigests, indexDigests, diffIds } of images) {
    if (diffIds.length === 0) continue;
    for (const digest of new Set([configDigest, ...manifestDigests, ...indexDigests])) named.set(digest, [...(named.get(digest) ?? []), configDigest]);
  }
  return named;
}

/** CRI-O names an image by bare hex, others by `sha256:<hex>`, some with its repository. */
function digestOf(imageId: string): string {
  const name = imageId.slice(imageId.lastIndexOf("@") + 1);
  return /^[0-9a-f]{64}$/.test(name) ? `sha256:${name}` : name;
}

function untold(problem: string): StoppedTold {
  return { problem, containers: [], more: 0 };
}

function cut(text: string): string {
  return text.slice(0, MAX_CHARS);
}
