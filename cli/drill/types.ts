/** One run of a drill, what it is held against, and what was seen of it. */
import type { RpcChannel } from "@hullmark/proto/rpc";
import type { DrillOutcome } from "@hullmark/verifier/core/drill/names";
import type { Containment } from "./containment.ts";
import type { DrillTarget } from "./target.ts";

export interface Objectives {
  /** Milliseconds from the deed to the committed drift, and to the alert that was sent. */
  readonly detectMs: number;
  readonly alertMs: number;
  /** And to the end of the action that contains it; undefined: none has to be asked for. */
  readonly containMs: number | undefined;
  /** How long to wait for any of them, and for the container to be judged before. Milliseconds. */
  readonly patienceMs: number;
}

export interface Occasion {
  readonly run: string;
  readonly objectives: Objectives;
  readonly channel: RpcChannel;
  /** What is under way, for people. */
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
}

/** One in a container. */
export interface Drill extends Occasion {
  readonly target: DrillTarget;
}

/** What was seen. */
export interface Seen {
  readonly outcome: DrillOutcome;
  /** Why it did not pass; empty where it did. */
  readonly problem: string;
  readonly driftId: string;
  /** Undefined: not seen. */
  readonly detectMs: number | undefined;
  /** Undefined: not sent, or there is no route, or it was refused at the door, of which no alert tells. */
  readonly alertMs: number | undefined;
  readonly containment: Containment;
  /** Milliseconds from when it was put right until it was told to be over. Undefined: not seen, or not waited for. */
  readonly resolveMs: number | undefined;
  /** Who the drift says it was; empty where that is not known. */
  readonly actor: string;
}

export const UNSEEN: Seen = {
  outcome: "undecided",
  problem: "",
  driftId: "",
  detectMs: undefined,
  alertMs: undefined,
  resolveMs: undefined,
  containment: { state: "not-asked", ms: undefined, action: "", detail: "" },
  actor: "",
};
