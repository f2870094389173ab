/** The drill `silent-agent`: the agent of a node of the drill's own ends, and runs again once people have been told. */
import { type Drift, DriftState, Query } from "@hullmark/proto/v1/query";
import { Response } from "@hullmark/proto/v1/response";
import { isHeard } from "@hullmark/verifier/core/appraisal/heard";
import { isSilence } from "@hullmark/verifier/core/policy/kinds";
import { toMs } from "../output/words.ts";
import type { CanaryNode } from "./canary-node.ts";
import type { Containment } from "./containment.ts";
import { POLL_MS, pause, reasonWords } from "./judged.ts";
import { late } from "./observe.ts";
import { type Occasion, type Seen, UNSEEN } from "./types.ts";

/** To enrol, connect and say that it has nothing to measure. */
const JOINED_WITHIN_MS = 120_000;
const HINT = "is the policy's alerts.silentAfter longer than --timeout?";

/** @param alerting the policy has a route, so an alert and its end are waited for @throws DrillError, RpcError; the signal's reason */
export async function silenceObserved(drill: Occasion, node: CanaryNode, alerting: boolean): Promise<Seen> {
  const { objectives, say } = drill;
  say(`starting the agent of ${node.name}, which looks at no container`);
  await node.start();
  say("waiting until it is appraised");
  const joined = await within(drill, Math.min(objectives.patienceMs, JOINED_WITHIN_MS), async () => appraised(drill, node));
  if (joined === undefined) return { ...UNSEEN, problem: `its node was not appraised: ${(await whyNot(drill, node)) || "the verifier knows nothing of it"}` };
  say("ending it");
  const beganMs = Date.now();
  await node.silence();
  const untilMs = beganMs + objectives.patienceMs;
  const detectMs = await within(drill, untilMs - Date.now(), async () => !(await appraised(drill, node)), beganMs);
  say("waiting until people are told");
  let drift: Drift | undefined;
  const alertMs = await within(
    drill,
    untilMs - Date.now(),
    async () => {
      drift = await silenceOf(drill, node);
      return drift !== undefined && (!alerting || drift.alertedAt !== undefined);
    },
    beganMs,
  );
  const untold = {
    ...{ ...UNSEEN, driftId: drift?.id ?? "", detectMs, alertMs: alerting ? alertMs : undefined, containment: await nothingDone(drill, node) },
    outcome: "failed",
  } as const;
  if (detectMs === undefined) return { ...untold, problem: `it was not seen within ${objectives.patienceMs} ms` };
  if (drift === undefined) return { ...untold, problem: `no drift within ${objectives.patienceMs} ms (${HINT})` };
  if (alertMs === undefined) return { ...untold, problem: `no alert was sent within ${objectives.patienceMs} ms` };
  say("starting it again, and waiting until that is known");
  const wokenMs = Date.now();
  await node.wake();
  const resolveMs = await within(drill, objectives.patienceMs, async () => over(drill, await silenceOf(drill, node), alerting), wokenMs);
  const containment = await nothingDone(drill, node);
  const problem =
    late("detected", detectMs, objectives.detectMs) ??
    (alerting ? late("alerted", alertMs, objectives.alertMs) : undefined) ??
    (containment.state === "failed" ? containment.detail : undefined) ??
    (resolveMs === undefined ? `its end was not told within ${objectives.patienceMs} ms` : undefined);
  return { ...untold, outcome: problem === undefined ? "passed" : "failed", problem: problem ?? "", containment, resolveMs };
}

/** @returns milliseconds from `fromMs` until it was seen to hold; undefined: not in this time */
async function within({ signal }: Occasion, ms: number, holds: () => Promise<boolean>, fromMs = Date.now()): Promise<number | undefined> {
  const untilMs = Date.now() + ms;
  do {
    signal.throwIfAborted();
    if (await holds()) return Date.now() - fromMs;
    await pause(POLL_MS);
  } while (Date.now() < untilMs);
  return undefined;
}

/** What policy says of its boot is another matter. */
async function appraised({ signal }: Occasion, target: CanaryNode): Promise<boolean> {
  const { node } = (await target.look(signal)) ?? {};
  return node !== undefined && isHeard(node.reasons);
}

async function whyNot({ signal }: Occasion, target: CanaryNode): Promise<string> {
  const { node } = (await target.look(signal)) ?? {};
  return node ? reasonWords(node.reasons) : await target.lastWords();
}

const EVERY_STATE = [DriftState.OPEN, DriftState.ACKNOWLEDGED, DriftState.RESOLVED];

async function silenceOf({ channel, signal }: Occasion, target: CanaryNode): Promise<Drift | undefined> {
  const { node } = (await target.look(signal)) ?? {};
  if (!node) return undefined;
  const { drifts } = await channel.client(Query).listDrift({ nodeId: node.id, states: EVERY_STATE, pageSize: 100 }, { signal });
  return drifts.find(({ kind }) => isSilence(kind));
}

/** Resolved, and told to be, unless the alert goes on: other nodes are silent too. */
async function over({ channel, signal }: Occasion, drift: Drift | undefined, alerting: boolean): Promise<boolean> {
  if (drift?.state !== DriftState.RESOLVED) return false;
  if (!alerting) return true;
  const query = channel.client(Query);
  const standing = (await query.listDrift({ pageSize: 1000 }, { signal })).drifts.some(({ kind }) => isSilence(kind));
  if (standing) return true;
  const { notifications } = await query.listNotifications({ state: "delivered", limit: 100 }, { signal });
  return notifications.some(({ resolved, createdAt }) => resolved > 0 && (toMs(createdAt) ?? 0) >= (toMs(drift.resolvedAt) ?? 0));
}

/** Silence may lead to nothing: no action, no mark, no certificate withheld. */
async function nothingDone({ channel, signal }: Occasion, target: CanaryNode): Promise<Containment> {
  const { node, certificateWithheld = false } = (await target.look(signal)) ?? {};
  const { actions } = await channel.client(Response).listActions({ pageSize: 100 }, { signal });
  const [action] = actions.filter(({ nodeId }) => nodeId === node?.id);
  const none: Containment = { state: "not-asked", ms: undefined, action: "", detail: "nothing was done to it, as it should be" };
  if (!action && !certificateWithheld && (node?.marks.length ?? 0) === 0) return none;
  return { ...none, state: "failed", action: action?.id ?? "", detail: "something was done about a node that was only silent" };
}
