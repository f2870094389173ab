/** What the engine of responses needs, what it refuses with, and where it can be killed in the tests. */
import type { NodeRow, PodTarget, WorkloadRow } from "../../ports/rows.ts";
import type { NoteSigner } from "../../ports/signer.ts";
import type { Store } from "../../ports/store.ts";
import type { Committer } from "../fleet/committer.ts";
import type { Policy } from "../policy/types.ts";
import type { Rollback } from "./rollback.ts";

/** Where a process can be killed in the tests; each must be survived. */
export const RESPONSE_FAILPOINTS = ["before-issue", "after-issue", "before-settle", "after-settle"] as const;
/** The same, where a pod's node is asked for a capture first. */
export const CAPTURING_FAILPOINTS = ["before-capturing", "after-capturing", "before-captured", "after-captured"] as const;
export type ResponseFailpoint = (typeof RESPONSE_FAILPOINTS | typeof CAPTURING_FAILPOINTS)[number];

export interface ResponseServices {
  readonly store: Store;
  readonly committer: Committer;
  readonly policy: () => Policy;
  /** By whatever credentials. */
  readonly samePerson: (a: string, b: string) => boolean;
  /** Whether this person, or what they came with, was revoked after that time (Unix milliseconds): a word of before counts no more. */
  readonly revokedSince: (by: string, atMs: number) => boolean;
  /** The node as it is judged now. */
  readonly node: (nodeId: string) => NodeRow | undefined;
  /** Every node that is known, as it is judged now; revoked ones too. */
  readonly nodes: () => readonly NodeRow[];
  /** Where the service that this container stands for could go back to; undefined: not known until its node tells of it. */
  readonly rollback: (nodeId: string, containerId: string) => Promise<Rollback | undefined>;
  /** The cluster that is watched; undefined: none. */
  readonly cluster: string | undefined;
  /** The pod that a container is of; undefined: not known until its node tells of it. */
  readonly pod: (row: WorkloadRow) => PodTarget | "none" | undefined;
  /** Chain ids of an image's layers, lowest first; empty: not known. */
  readonly layerChains: (configDigests: ReadonlySet<string>) => Promise<(configDigest: string) => readonly string[]>;
  /** Ed25519 keys that count now, the one in use first. */
  readonly intentKeys: () => readonly NoteSigner[];
  readonly random: (bytes: number) => Buffer;
  readonly nowMs: () => number;
  readonly verifierId: string;
  readonly region: string;
  readonly onProblem: (error: unknown) => void;
  readonly passing: (point: ResponseFailpoint) => void;
}

/** NOT_FOUND: no such action, or none of this actuator. NOT_AWAITING: it was decided already. NOT_UNDOABLE, NOT_PURGEABLE, HELD: the message says by what. */
export type ResponseErrorCode = "NOT_FOUND" | "NOT_AWAITING" | "NOT_UNDOABLE" | "NOT_PURGEABLE" | "HELD" | "BAD_OUTCOME";

export class ResponseError extends Error {
  readonly code: ResponseErrorCode;
  /** What to do about it; empty: the message says it. */
  readonly fix: string;

  constructor(code: ResponseErrorCode, message: string, fix = "") {
    super(message);
    this.name = "ResponseError";
    this.code = code;
    this.fix = fix;
  }
}

/** Where the ids of actions are. */
export const LISTS_ACTIONS = "hullmark action ls lists them";

export const noSuchAction = (): ResponseError => new ResponseError("NOT_FOUND", "no such action", LISTS_ACTIONS);
