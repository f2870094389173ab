/** What this actuator was told and what became of it: remembered before anything is done, so that nothing is done twice. */

import type { Capture } from "@hullmark/capture/capture";
import type { ActionKind, NodeMark, Outcome } from "@hullmark/proto/v1/response";
import type { PodTarget } from "./cluster.ts";
import type { EngineNetwork, RestartPolicy, TargetImage } from "./engine.ts";
import type { PurgeTarget } from "./layers.ts";
import type { MarkedNode } from "./node-hook.ts";
import type { RolloutTarget } from "./rollouts.ts";

/** Times are Unix milliseconds. */
export interface LedgerEntry {
  /** 32 hex digits. */
  readonly intentId: string;
  readonly actionId: string;
  /** Entry of the verifier's log about the action, for people; undefined: it did not say. */
  readonly logIndex?: number | undefined;
  readonly kind: ActionKind;
  readonly containerId: string;
  /** Name and restart policy as they were before; empty for an intent that was refused. */
  readonly name: string;
  readonly restartPolicy: RestartPolicy;
  /** Of an isolation: those that it was on; of a release, or what takes an isolated one's place: those that are to be joined. */
  readonly networks?: readonly EngineNetwork[] | undefined;
  /** Of a stop after which the engine removes the container, and these volumes with it; undefined: it stays. */
  readonly vanishesWith?: readonly string[] | undefined;
  /** Of what is replaced: it is removed then, since its owner would start it again. */
  readonly takenAway?: true | undefined;
  /** How many of those that limits are of it takes away; undefined: one. */
  readonly weight?: number | undefined;
  readonly receivedAtMs: number;
  readonly expiresAtMs: number;
  /** Of a rollback. */
  readonly target?: TargetImage | undefined;
  /** Of an eviction, and of a rollback of pods. */
  readonly pod?: PodTarget | undefined;
  /** Of a rollback of pods. */
  readonly rollout?: RolloutTarget | undefined;
  /** Of a purge. */
  readonly purge?: PurgeTarget | undefined;
  /** Of a purge: the layer's, as the engine told it before anything was taken away. */
  readonly layerDirectory?: string | undefined;
  /** Of a purge: names of those on the layer that did not run before anything was stopped; undefined: all did. */
  readonly notRunning?: readonly string[] | undefined;
  /** Of what is done to pods, and of a purge: those whose things may be touched, by the intent. */
  readonly owners?: readonly string[] | undefined;
  /** Of an action on a node. */
  readonly node?: MarkedNode | undefined;
  /** Of marks for a node, or taken from it: those that the hook was asked for, and has not said to have left as they were. */
  readonly tried?: readonly NodeMark[] | undefined;
  readonly settled: Settled | undefined;
  /** The verifier has answered the report. */
  readonly reported: boolean;
}

export interface Settled {
  readonly outcome: Outcome;
  readonly reason: string;
  readonly detail: string;
  readonly newContainerId: string;
  readonly capture?: Capture | undefined;
  /** Why something was not captured that should have been, for people; undefined: all that should was. */
  readonly captureProblem?: string | undefined;
  /** Of an action on a node: what it put on or took away, also where it failed after that. */
  readonly marks?: readonly NodeMark[] | undefined;
}

/** LEDGER_CORRUPT: what was done before is not known, so nothing may be done. LEDGER_FULL: too much within two days. LEDGER_TAKEN: another process has it now. */
export type LedgerErrorCode = "LEDGER_CORRUPT" | "LEDGER_FULL" | "LEDGER_KNOWN" | "LEDGER_TAKEN";

export class LedgerError extends Error {
  readonly code: LedgerErrorCode;

  constructor(code: LedgerErrorCode, message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options);
    this.name = "LedgerError";
    this.code = code;
  }
}

export interface Ledger {
  get(intentId: string): LedgerEntry | undefined;
  /** In the order in which they came. */
  all(): readonly LedgerEntry[];
  /** Durable on return; where it throws nothing was added. @throws LedgerError LEDGER_FULL, LEDGER_KNOWN, LEDGER_TAKEN as the others; the system's error */
  add(entry: LedgerEntry): void;
  /** Before the hook is asked for a mark, and with `open` false once it has said that it changed nothing. Durable on return. */
  noteTry(intentId: string, mark: NodeMark, open: boolean): void;
  /** Durable on return; the first outcome stays. */
  settle(intentId: string, settled: Settled): void;
  markReported(intentId: string): void;
}
