/** What an actuator acts with: a container engine, or a cluster's API server. The rest of it is the same for both. */
import type { LedgerEntry, Settled } from "../ports/ledger.ts";
import type { ActuatorFailpoint } from "./carry-out.ts";
import type { CheckedIntent } from "./check-intent.ts";

export interface LocalLimits {
  /** Between two actions on one service (containers of one name, pods of one owner), in milliseconds. */
  readonly pauseMs: number;
  /** Of the containers that run, or of the cluster's pods, how many are acted on in an hour, in percent: 0..100; one at least. */
  readonly hourlyPercent: number;
  /** Globs over names of services that are never touched: a container's name, or NAMESPACE/OWNER of a pod. */
  readonly protect: readonly string[];
}

export interface Looked {
  /** Code of docs/response.md; undefined: it may be touched. */
  readonly refusal: string | undefined;
  /** Of a refusal, for people; absent: there is no more to say. */
  readonly detail?: string;
  /** What the ledger keeps of the target as it was. */
  readonly before: Pick<LedgerEntry, "name" | "restartPolicy" | "networks" | "vanishesWith" | "takenAway" | "weight" | "layerDirectory" | "notRunning">;
}

/** Not done, and not failed: to be looked at again. */
export interface Waiting {
  readonly waitsFor: "pdb" | "terminating" | "rolling-out";
  readonly detail: string;
}

export interface Hands {
  /** Whether the target is as the intent says, and within the local limits. Changes nothing. @throws EngineError */
  look(intent: CheckedIntent, ledger: readonly LedgerEntry[], nowMs: number): Promise<Looked>;
  /** Looks first how things stand at each step: may be called again after a crash. @throws EngineError ENGINE_UNREACHABLE: to be called again */
  carryOut(entry: LedgerEntry, nowMs: number, passing: (point: ActuatorFailpoint) => void): Promise<Settled | Waiting>;
}
