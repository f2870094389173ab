/** What was done about what a drill did. */
import { type Action, ActionState, Response } from "@hullmark/proto/v1/response";
import type { ContainmentState } from "@hullmark/verifier/core/drill/names";
import { actionKindWord, actionStateWord, toMs } from "../output/words.ts";
import { POLL_MS, pause } from "./judged.ts";
import type { Drill } from "./types.ts";

export interface Containment {
  readonly state: ContainmentState;
  /** Milliseconds from the deed to its end; undefined where nothing was done. */
  readonly ms: number | undefined;
  /** Id of the action; empty where there is none. */
  readonly action: string;
  /** For people. */
  readonly detail: string;
}

/** Actions are decided on within a second of the verdict: what has not been asked for by then is not going to be. */
const DECIDED_WITHIN_MS = 5_000;
const PAGE_ROWS = 100;

export interface ContainmentFacts {
  /** Whether policy's mode lets it ask for actions at all. */
  readonly acting: boolean;
  /** When this command heard of the drift, and how long it waits, Unix milliseconds by its own clock. */
  readonly foundMs: number;
  readonly untilMs: number;
  /** When the deed was done: by the verifier's and node's clocks, or, where that is not known, by this command's. */
  readonly beganMs: number;
}

/** Waits until what policy asks for about the drill's container is over, or waits for people. */
export async function containment(drill: Drill, facts: ContainmentFacts): Promise<Containment> {
  const none: Containment = { state: "not-asked", ms: undefined, action: "", detail: "policy asks for no action" };
  if (!facts.acting) return { ...none, detail: "policy is in mode observe" };
  const demanded = drill.objectives.containMs !== undefined;
  let last = none;
  while (Date.now() < facts.untilMs) {
    const found = await newestAction(drill);
    if (found.action) {
      last = { ...read(found.action, facts.beganMs), action: found.action.id };
      if (found.action.state !== ActionState.ISSUED) return last;
    } else {
      last = { ...none, detail: found.held || none.detail };
      if (!demanded && Date.now() - facts.foundMs > DECIDED_WITHIN_MS) return last;
    }
    await pause(POLL_MS);
    drill.signal.throwIfAborted();
  }
  return last;
}

async function newestAction({ channel, target, signal }: Drill): Promise<{ action: Action | undefined; held: string }> {
  const { actions, held } = await channel.client(Response).listActions({ pageSize: PAGE_ROWS }, { signal });
  const own = actions.filter(({ containerName }) => containerName === target.container);
  const reasons = Object.entries(held).map(([why, count]) => `${why} ${count}`);
  return { action: own[0], held: reasons.length > 0 ? `no action was asked for; held back: ${reasons.join(", ")}` : "" };
}

const STATES: Readonly<Partial<Record<ActionState, ContainmentState>>> = {
  [ActionState.AWAITING]: "waiting",
  [ActionState.DONE]: "done",
  [ActionState.DRY_RUN]: "dry-run",
};

/** One that is still under way when patience ends has failed the drill. */
function read({ kind, state, reason, detail, settledAt }: Action, beganMs: number): Omit<Containment, "action"> {
  const words = [actionKindWord(kind), actionStateWord(state), reason, detail].filter((word) => word !== "").join(", ");
  const settledMs = state === ActionState.DONE ? toMs(settledAt) : undefined;
  return { state: STATES[state] ?? "failed", ms: settledMs === undefined ? undefined : Math.max(0, settledMs - beganMs), detail: words };
}
