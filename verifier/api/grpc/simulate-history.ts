/** Query.SimulateHistory: a policy's text and a time in, what past days would have been under it out. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { RpcError } from "@hullmark/proto/rpc";
import type { Severity } from "@hullmark/proto/v1/common";
import type {
  SimulatedActionSchema,
  SimulatedDaySchema,
  SimulatedDriftSchema,
  SimulatedHistorySchema,
  SimulateHistoryRequest,
  SimulateHistoryResponseSchema,
} from "@hullmark/proto/v1/query";
import { policyDigest } from "../../core/policy/index.ts";
import type { Policy } from "../../core/policy/types.ts";
import type { ChangedDrift, Progress, SimulatedHistory, Sum } from "../../core/simulation/index.ts";
import { invalid } from "./errors.ts";
import { PushQueue } from "./queue.ts";
import { givenPolicy } from "./simulate.ts";

export interface SimulateHistoryServices {
  readonly policy: () => Policy;
  /** A policy as it would be in force. */
  readonly composed: (given: Policy) => Policy;
  readonly simulateHistory: (policy: Policy, sinceMs: number, onProgress: (progress: Progress) => void, signal: AbortSignal) => Promise<SimulatedHistory>;
  readonly nowMs: () => number;
  /** Nodes that count and are not connected. */
  readonly away: () => number;
}

type Response = MessageInitShape<typeof SimulateHistoryResponseSchema>;

const SINCE_SECONDS = { min: 3600, max: 366 * 86_400 };
const MAX_LISTED = 1000;
const TEXT_CHARS = 1024;
const PROGRESS_MS = 250;
const MAX_BACKLOG = 10_000;

/** One at a time: it reads all of the time's record. */
export function historySimulator(services: SimulateHistoryServices) {
  let running = false;
  return async function* (request: SimulateHistoryRequest, signal: AbortSignal): AsyncGenerator<Response> {
    const { sinceSeconds } = request;
    if (sinceSeconds < SINCE_SECONDS.min || sinceSeconds > SINCE_SECONDS.max) throw invalid("sinceSeconds", "an hour to 366 days");
    if (!request.policy) throw invalid("policy", "the text of a policy file");
    if (running) throw new RpcError("RESOURCE_EXHAUSTED", "past days are being gone through already", { reason: "BUSY", fix: "try again", retryable: true });
    const proposed = services.composed(givenPolicy(request.policy));
    const present = services.policy();
    running = true;
    const ended = new AbortController();
    const queue = new PushQueue<Response>(MAX_BACKLOG, () => new RpcError("RESOURCE_EXHAUSTED", "whoever asked does not read", { reason: "BACKLOG" }));
    const work = runInto(queue, services, { proposed, present, sinceSeconds }, AbortSignal.any([signal, ended.signal]));
    // It may fail before what it told has been read.
    work.catch(() => undefined);
    try {
      yield* queue;
      await work;
    } finally {
      ended.abort();
      await work.catch(() => undefined);
      running = false;
    }
  };
}

interface Question {
  readonly proposed: Policy;
  readonly present: Policy;
  readonly sinceSeconds: number;
}

async function runInto(queue: PushQueue<Response>, services: SimulateHistoryServices, { proposed, present, sinceSeconds }: Question, signal: AbortSignal) {
  let [told, toldMs] = ["", 0];
  const onProgress = ({ stage, done, total }: Progress): void => {
    const nowMs = services.nowMs();
    if (stage === told && Math.abs(nowMs - toldMs) < PROGRESS_MS) return;
    [told, toldMs] = [stage, nowMs];
    queue.push({ message: { case: "progress", value: { stage, done: BigInt(done), total: BigInt(total) } } });
  };
  try {
    const found = await services.simulateHistory(proposed, services.nowMs() - sinceSeconds * 1000, onProgress, signal);
    queue.push({ message: { case: "history", value: historyMessage(found, present, proposed, services.away()) } });
  } finally {
    queue.end();
  }
}

function historyMessage(found: SimulatedHistory, present: Policy, proposed: Policy, nodesAway: number): MessageInitShape<typeof SimulatedHistorySchema> {
  const { sinceMs, untilMs, days, sum, changed, before, after, policies, unknown } = found;
  const { keptSinceMs, ...unknowns } = unknown;
  return {
    ...{ since: timestampFromMs(sinceMs), until: timestampFromMs(untilMs), digestBefore: policyDigest(present), digestAfter: policyDigest(proposed) },
    ...{ modeAfter: proposed.mode, days: days.map(dayMessage), sum: dayMessage({ date: "", ...sum }) },
    ...{ drifts: changed.slice(0, MAX_LISTED).map(driftMessage), driftsChanged: changed.length },
    actions: after.actions.slice(0, MAX_LISTED).map(({ atMs, kind, state, row }): MessageInitShape<typeof SimulatedActionSchema> => {
      const { nodeName, containerName, workload, driftId, rule } = row;
      return { at: timestampFromMs(atMs), kind, state, nodeName, containerName, workload, driftId: idOf(driftId), rule };
    }),
    heldBack: Object.fromEntries([...after.heldBack].map(([why, containers]) => [why, containers.size])),
    ...{ pagesBefore: byRoute(before.pages), pagesAfter: byRoute(after.pages), policies },
    unknown: { ...unknowns, nodesAway, ...(keptSinceMs !== undefined && { keptSince: timestampFromMs(keptSinceMs) }) },
  };
}

function dayMessage(day: Sum & { readonly date: string }): MessageInitShape<typeof SimulatedDaySchema> {
  return { ...day };
}

function driftMessage({ row, openedMs, before, after }: ChangedDrift): MessageInitShape<typeof SimulatedDriftSchema> {
  const severity = (said: ChangedDrift["after"]): Severity => (typeof said === "number" ? said : 0);
  const { nodeName, containerName, workload, kind, place, path, summary } = row;
  return {
    ...{ id: idOf(row.id), openedAt: timestampFromMs(openedMs), nodeName, containerName, workload, kind, place },
    ...{ path: path.subarray(0, 4096), summary: summary.slice(0, TEXT_CHARS), before: severity(before), after: severity(after) },
  };
}

/** What is not on record has no name. */
function idOf(id: string): string {
  return id.startsWith("D-") ? id : "";
}

function byRoute(pages: readonly { readonly route: string }[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { route } of pages) counts[route] = (counts[route] ?? 0) + 1;
  return counts;
}
