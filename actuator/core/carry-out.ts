/**
 * The steps of an action. Each looks first at how things stand, so that the whole may be run again after a crash at any step and goes on where it was.
 * Nothing that runs is taken away before what replaces it was made.
 */

import { isDeepStrictEqual } from "node:util";
import { CAPTURE_FAILPOINTS, type Capture, CaptureError, type Captures } from "@hullmark/capture/capture";
import { ActionKind, Outcome } from "@hullmark/proto/v1/response";
import { type Engine, type EngineContainer, EngineError, NO_NETWORK } from "../ports/engine.ts";
import type { LedgerEntry, Settled } from "../ports/ledger.ts";
import { ISOLATION_FAILPOINTS, isolate, rejoin, whereabouts } from "./isolation.ts";
import { listed } from "./listed.ts";
import { FENCE_FAILPOINTS } from "./pod-isolation.ts";

/** Where the process of a host can be killed in the tests; each must be survived. */
export const ACTUATOR_FAILPOINTS = [
  "checked",
  "remembered",
  "captured",
  "made",
  "without-restart",
  "stopped",
  "set-aside",
  "named",
  "started",
  "taken-away",
  "settled",
  "told",
] as const;
/** The same of an actuator of a cluster. */
export const CLUSTER_FAILPOINTS = ["checked", "remembered", "evicting", "evicted", "settled", "told"] as const;
/** The same of one that rolls back. */
export const ROLLOUT_FAILPOINTS = ["checked", "remembered", "rolling-back", "paused", "rolled-back", "settled", "told"] as const;
/** The same of one that marks nodes. */
export const NODE_FAILPOINTS = ["checked", "remembered", "marking", "marked", "settled", "told"] as const;
/** The same of one of several of which one acts. */
export const LEASE_FAILPOINTS = ["lease-taken", "lease-renewed"] as const;
/** The same of one that takes a layer away. */
export const PURGE_FAILPOINTS = ["checked", "remembered", "captured", "without-restart", "stopped", "removed", "unimaged", "settled", "told"] as const;
/** All there are, by what is done. */
export const FAILPOINTS = {
  containers: ACTUATOR_FAILPOINTS,
  captures: CAPTURE_FAILPOINTS,
  networks: ISOLATION_FAILPOINTS,
  fences: FENCE_FAILPOINTS,
  pods: CLUSTER_FAILPOINTS,
  workloads: ROLLOUT_FAILPOINTS,
  nodes: NODE_FAILPOINTS,
  layers: PURGE_FAILPOINTS,
  lease: LEASE_FAILPOINTS,
} as const;
export type ActuatorFailpoint = (typeof FAILPOINTS)[keyof typeof FAILPOINTS][number];

const NO_RESTART = { name: "no", maximumRetryCount: 0 };
const STOP_GRACE_SECONDS = 10;
const MAX_DETAIL_CHARS = 500;
const MAX_NAMES_CHARS = 350;
const TAKEN_AWAY = "the old container was removed: Compose would start it again in place of the new one";

const EXPIRED: Settled = {
  outcome: Outcome.FAILED,
  reason: "expired",
  detail: "nothing was changed before the intent ended: the engine, or the actuator, was away",
  newContainerId: "",
};

type Passing = (point: ActuatorFailpoint) => void;

/**
 * What is to be seen of the container is captured first, where there is a place for it: no step changes anything before.
 * What is found untouched when the intent has ended is left so. @throws EngineError ENGINE_UNREACHABLE: run it again
 */
export async function carryOut(entry: LedgerEntry, engine: Engine, captures: Captures | undefined, nowMs: number, passing: Passing): Promise<Settled> {
  if (entry.kind === ActionKind.RELEASE) return await contain(entry, engine, passing);
  // All that is known of one that is gone afterwards would be gone with it.
  const vanishes = entry.vanishesWith !== undefined || entry.takenAway === true;
  const uncaptured = vanishes && !captures;
  // Whoever decided on it, hours ago by now, may want something else; what is half done is ended.
  const expired = nowMs >= entry.expiresAtMs;
  if ((expired || uncaptured) && (await isUntouched(entry, engine)))
    return expired ? { ...EXPIRED, ...takenBefore(entry, captures) } : notCaptured(entry, "nothing is captured on this host any more");
  const capture = await captures?.take(entry).catch(ignoreUncaptured);
  passing("captured");
  if (!(capture instanceof CaptureError)) return { ...(await contain(entry, engine, passing)), capture };
  const captureProblem = capture.message.slice(0, MAX_DETAIL_CHARS);
  // What was captured, and is half done, is ended also where its capture is gone since.
  if ((vanishes || captures?.required) && (await isUntouched(entry, engine))) {
    const why = `nothing was captured: ${capture.message}; left as it was found`;
    return { ...(vanishes ? notCaptured(entry, why) : { ...failed(why), reason: "capture" }), captureProblem };
  }
  const settled = await contain(entry, engine, passing);
  const detail = `${settled.detail}${settled.detail && "; "}nothing was captured: ${capture.message}`.slice(0, MAX_DETAIL_CHARS);
  return { ...settled, detail, captureProblem };
}

/** The first capture, where there are several, and of the first that there is none of: of what, and why. */
export interface Taken {
  capture?: Capture | undefined;
  captureProblem?: string | undefined;
}

/** By a process that ended since: it is kept, though the intent may not be carried out any more, or what it is of has gone. */
export function takenBefore({ actionId }: Pick<LedgerEntry, "actionId">, captures: Captures | undefined): Taken {
  try {
    return { capture: captures?.first(actionId) };
  } catch (error) {
    return { captureProblem: ignoreUncaptured(error).message.slice(0, MAX_DETAIL_CHARS) };
  }
}

function notCaptured({ takenAway }: LedgerEntry, why: string): Settled {
  return { ...failed(why), outcome: Outcome.REFUSED, reason: takenAway ? "not-captured" : "auto-remove" };
}

/** Nothing was changed for it before the host, its engine or this process was gone. @throws EngineError */
async function isUntouched({ kind, intentId, containerId, name, restartPolicy, networks = [] }: LedgerEntry, engine: Engine): Promise<boolean> {
  const container = await engine.find(containerId);
  if (!container) return false;
  const names = container.networks.map((each) => each.name);
  if (kind === ActionKind.ISOLATE) return !names.includes(NO_NETWORK) && networks.every((each) => names.includes(each.name));
  if (container.name !== name || !isDeepStrictEqual(container.restartPolicy, restartPolicy)) return false;
  // The restart policy goes first: where there is one still, it was somebody else who stopped it.
  if (kind === ActionKind.STOP) return container.running || restartPolicy.name !== NO_RESTART.name;
  return (await engine.madeFor(intentId)) === undefined;
}

function ignoreUncaptured(error: unknown): CaptureError {
  if (error instanceof CaptureError) return error;
  throw error;
}

async function contain(entry: LedgerEntry, engine: Engine, passing: Passing): Promise<Settled> {
  try {
    return await act(entry, engine, passing);
  } catch (error) {
    if (!(error instanceof EngineError) || error.code === "ENGINE_UNREACHABLE") throw error;
    return failed(`${error.message}; ${await restore(entry, engine)}`);
  }
}

async function act(entry: LedgerEntry, engine: Engine, passing: Passing): Promise<Settled> {
  if (entry.kind === ActionKind.STOP) return await stop(entry, engine, passing);
  if (entry.kind === ActionKind.ISOLATE) await isolate(entry, engine, passing);
  else if (entry.kind === ActionKind.RELEASE) await rejoin(entry, engine, passing);
  else return await replace(entry, engine, passing);
  return done("");
}

async function stop({ containerId, vanishesWith }: LedgerEntry, engine: Engine, passing: Passing): Promise<Settled> {
  const container = await engine.find(containerId);
  if (!container && !vanishesWith) return failed("the container has gone meanwhile");
  if (container) await halt(container, engine, passing);
  return vanishesWith ? { ...done(""), detail: vanished(vanishesWith) } : done("");
}

/** What there is no more, for whoever would look for it. */
function vanished(volumes: readonly string[]): string {
  const lost = volumes.length === 0 ? "" : `, and with it its volumes without a name, which no capture holds: ${listed(volumes, MAX_NAMES_CHARS)}`;
  return `--rm: the engine removed it as it stopped${lost}`;
}

/** The restart policy first: an engine that restarts what stops would undo it. */
export async function halt({ id, running, restartPolicy }: EngineContainer, engine: Engine, passing: Passing): Promise<void> {
  if (restartPolicy.name !== NO_RESTART.name) await engine.setRestartPolicy(id, NO_RESTART);
  passing("without-restart");
  if (running) await engine.stop(id, STOP_GRACE_SECONDS);
  passing("stopped");
}

/** By one of the same image, or of `target`. */
async function replace(entry: LedgerEntry, engine: Engine, passing: Passing): Promise<Settled> {
  const { intentId, actionId, containerId, name, target, networks, takenAway } = entry;
  const old = await engine.find(containerId);
  const made = await engine.madeFor(intentId);
  // The last step but one is to give it the name.
  if (!old && takenAway && made?.name === name) return { ...done(made.id), detail: TAKEN_AWAY };
  if (!old) return failed("the container has gone meanwhile");
  const id = made?.id ?? (await engine.createLike(containerId, `${name}.hullmark-new`, intentId, target, networks));
  await engine.joinNetworks(id, containerId, networks);
  passing("made");
  await halt(old, engine, passing);
  // Kept, stopped: what it wrote is evidence.
  const aside = asideName(name, actionId);
  if (old.name !== aside) await engine.rename(containerId, aside);
  passing("set-aside");
  if (made?.name !== name) await engine.rename(id, name);
  passing("named");
  if (!made?.running) await engine.start(id);
  passing("started");
  const detail = takenAway ? await takeAway(containerId, engine) : "";
  passing("taken-away");
  return { ...done(id), detail };
}

/** What took its place serves already: that is not undone for this. @throws EngineError ENGINE_UNREACHABLE */
async function takeAway(containerId: string, engine: Engine): Promise<string> {
  try {
    await engine.remove(containerId);
    return TAKEN_AWAY;
  } catch (error) {
    if (!(error instanceof EngineError) || error.code === "ENGINE_UNREACHABLE") throw error;
    return `the old container could not be removed, and its owner may start it again: ${error.message}`.slice(0, MAX_DETAIL_CHARS);
  }
}

function asideName(name: string, actionId: string): string {
  return `${name}.hullmark-${actionId}`;
}

/** A service that cannot be replaced goes on as it was: acting is not to be the outage. @returns how it was left @throws EngineError ENGINE_UNREACHABLE */
async function restore(entry: LedgerEntry, engine: Engine): Promise<string> {
  try {
    return await putBack(entry, engine);
  } catch (error) {
    if (!(error instanceof EngineError) || error.code === "ENGINE_UNREACHABLE") throw error;
    return `and could not be put back: ${error.message}`;
  }
}

async function putBack(entry: LedgerEntry, engine: Engine): Promise<string> {
  const { kind, intentId, containerId, name, restartPolicy } = entry;
  if (kind === ActionKind.STOP) return await unstopped(entry, engine);
  if (kind === ActionKind.ISOLATE) await rejoin(entry, engine, () => {});
  // What is not released counts as contained, and is to be so.
  if (kind === ActionKind.RELEASE) await isolate(entry, engine, () => {});
  if (kind === ActionKind.ISOLATE || kind === ActionKind.RELEASE) return await whereabouts(containerId, engine);
  const made = await engine.madeFor(intentId);
  if (made) await engine.remove(made.id);
  const old = await engine.find(containerId);
  if (!old) return "the old container has gone";
  if (old.name !== name) await engine.rename(containerId, name);
  await engine.setRestartPolicy(containerId, restartPolicy);
  if (!old.running) await engine.start(containerId);
  return "the old container runs on";
}

/** What could not be stopped starts again by itself as before; what is stopped all the same stays so. */
async function unstopped({ containerId, restartPolicy }: LedgerEntry, engine: Engine): Promise<string> {
  const container = await engine.find(containerId);
  if (!container?.running) return container ? "it is stopped" : "the container has gone";
  await engine.setRestartPolicy(containerId, restartPolicy);
  return "left as it was found";
}

function done(newContainerId: string): Settled {
  return { outcome: Outcome.DONE, reason: "", detail: "", newContainerId };
}

function failed(detail: string): Settled {
  return { outcome: Outcome.FAILED, reason: "engine", detail: detail.slice(0, MAX_DETAIL_CHARS), newContainerId: "" };
}
