/** The first verdict about a drill's container. */
import { RpcError } from "@hullmark/proto/rpc";
import { Verdict } from "@hullmark/proto/v1/common";
import { type GetWorkloadResponse, Query } from "@hullmark/proto/v1/query";
import type { Drill } from "./types.ts";

export const POLL_MS = 500;

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** @returns undefined where the verifier does not know it */
export async function workloadOf({ target, channel }: Drill, signal: AbortSignal): Promise<GetWorkloadResponse | undefined> {
  return await ifKnown(channel.client(Query).getWorkload({ container: target.container }, { signal }));
}

/** undefined: the verifier knows nothing of that name. @throws RpcError */
export async function ifKnown<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (!(error instanceof RpcError) || error.code !== "NOT_FOUND") throw error;
    return undefined;
  }
}

/** Why something is judged as it is, in one line; empty: no reason is told. */
export function reasonWords(reasons: readonly { readonly code: string; readonly detail: string }[]): string {
  return reasons.map(({ code, detail }) => `${code} ${detail}`.trim()).join("; ");
}

/** Starts the container and waits until its content is known to be as in its image. @returns undefined then, else why nothing can be measured */
export async function startJudged(drill: Drill): Promise<string | undefined> {
  const { target, objectives, say, signal } = drill;
  say(`starting ${target.container}`);
  await target.start(signal);
  say("waiting until it is judged");
  const untilMs = Date.now() + objectives.patienceMs;
  let last = "the verifier knows nothing of it";
  while (Date.now() < untilMs) {
    const { workload } = (await workloadOf(drill, signal)) ?? {};
    if (workload?.content === Verdict.AFFIRMING) return undefined;
    if (workload) last = reasonWords(workload.reasons) || "not yet known";
    await pause(POLL_MS);
  }
  return `its content was not judged before the deed: ${last}`;
}
