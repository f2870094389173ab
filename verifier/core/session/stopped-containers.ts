/** Which containers of a node do not run, by the node's own word, for a person who looks at what stands on what it has altered. */
import type { StoppedTold } from "../../ports/stopped-told.ts";
import type { Session } from "./session.ts";

/** The agent gives its runtime less. */
const PATIENCE_MS = 6_000;
const MAX_TOLD = 1000;
const MAX_CHARS = 512;

/** @param session of the node; undefined: it is not connected @throws the signal's reason */
export async function askStopped(session: Pick<Session, "askStopped" | "tellsStopped"> | undefined, signal: AbortSignal): Promise<StoppedTold> {
  if (!session) return untold("the node is not connected");
  if (!session.tellsStopped) return untold("the node's agent is of a version that does not tell of them");
  const answer = await session.askStopped(AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)])).catch(() => undefined);
  signal.throwIfAborted();
  if (!answer) return untold("the node did not answer");
  if (answer.problem !== "") return untold(cut(answer.problem));
  const containers = answer.containers.slice(0, MAX_TOLD).map(({ name, imageId }) => ({ name: cut(name), imageId: cut(imageId) }));
  return { problem: "", containers, more: answer.more + answer.containers.length - containers.length };
}

function untold(problem: string): StoppedTold {
  return { problem, containers: [], more: 0 };
}

function cut(text: string): string {
  return text.slice(0, MAX_CHARS);
}
