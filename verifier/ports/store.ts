/**
 * What the verifier must still know after a crash. Everything that one appraisal decides is written in one {@link StoreCommit}:
 * evidence head, container state, results, drifts and alerts become durable together or not at all, with their log entries. Raw reports are not kept.
 */
import type { Severity, Verdict } from "@hullmark/proto/v1/common";
import type { DriftState } from "@hullmark/proto/v1/query";
import type { ActionState } from "@hullmark/proto/v1/response";
import type { LogAppend } from "./log-store.ts";
import type { AlertCommit } from "./outbox.ts";
import type {
  ActionRow,
  ActionWrite,
  AffirmedImageRow,
  AffirmedRevisionRow,
  AllowedEkRow,
  BaselineRow,
  BootRow,
  CoverageRow,
  DriftRow,
  DrillRunRow,
  DrillScheduleRow,
  EvidenceWrite,
  ExceptionRow,
  HeadRow,
  ImageRow,
  ImaRow,
  IncidentRow,
  JoinTokenRow,
  MemoryRow,
  NodeRow,
  PauseRow,
  PersonRow,
  QuoteRow,
  VulnerabilityReportRow,
  WorkloadRow,
} from "./rows.ts";

/** Rows written together. Every part is optional; rows are inserted or replaced by their key. */
export interface StoreCommit {
  readonly nodes?: readonly NodeRow[];
  /** Ids: all that is stored of them but their rows, their drifts and what was done to them goes. */
  readonly forgottenNodes?: readonly string[];
  /** Replaces `lastQuoteMs` and `clock` of a node that is stored, until its whole row is written again. */
  readonly quote?: QuoteRow;
  readonly evidence?: EvidenceWrite;
  readonly boots?: readonly BootRow[];
  readonly imas?: readonly ImaRow[];
  readonly workloads?: readonly WorkloadRow[];
  readonly removedWorkloads?: readonly { readonly nodeId: string; readonly containerId: string }[];
  readonly drifts?: readonly DriftRow[];
  readonly alerts?: AlertCommit;
  readonly allowedEks?: readonly AllowedEkRow[];
  readonly removedEks?: readonly string[];
  readonly joinTokens?: readonly JoinTokenRow[];
  /** Deletes a token; the commit fails with STORE_CONFLICT where it is unknown, used or expired at `nowMs`. */
  readonly spendToken?: { readonly sha256: Buffer; readonly nowMs: number };
  /** Remembers a nonce; the commit fails with STORE_CONFLICT where it is known. */
  readonly spendNonce?: { readonly nonce: Buffer; readonly expiresAtMs: number };
  readonly baselines?: readonly BaselineRow[];
  readonly exceptions?: readonly ExceptionRow[];
  /** Numbers. */
  readonly removedExceptions?: readonly number[];
  readonly people?: readonly PersonRow[];
  /** Names. */
  readonly removedPeople?: readonly string[];
  readonly incidents?: readonly IncidentRow[];
  /** Ids. */
  readonly removedIncidents?: readonly string[];
  readonly drillRuns?: readonly DrillRunRow[];
  /** Runs. */
  readonly removedDrillRuns?: readonly string[];
  readonly drillSchedules?: readonly DrillScheduleRow[];
  /** Names of drills. */
  readonly removedDrillSchedules?: readonly string[];
  /** One for each image and source. */
  readonly vulnerabilityReports?: readonly { readonly row: VulnerabilityReportRow; readonly source: string }[];
  readonly removedVulnerabilityReports?: readonly { readonly image: string; readonly source: string }[];
  readonly images?: readonly ImageRow[];
  readonly removedImages?: readonly string[];
  /** Replaced only by a later one; of a service no more than MAX_AFFIRMED_IMAGES are kept. */
  readonly affirmedImages?: readonly AffirmedImageRow[];
  /** As those; of a workload no more than MAX_AFFIRMED_OF_WORKLOAD are kept. */
  readonly affirmedRevisions?: readonly AffirmedRevisionRow[];
  /** Added to what is stored for the same node and hour. */
  readonly coverage?: readonly CoverageRow[];
  /** The commit fails with STORE_CONFLICT where a row is not in the state that the write expects. */
  readonly actions?: readonly ActionWrite[];
  /** null: no longer paused. */
  readonly pause?: PauseRow | null;
}

/** One transaction. */
export interface StoreBatch {
  /** 1..{@link MAX_BATCH_COMMITS}, in order. */
  readonly commits: readonly StoreCommit[];
  /** Log entries of all of them. */
  readonly log: LogAppend | undefined;
}

export const MAX_BATCH_COMMITS = 256;
export const MAX_PAGE_ROWS = 1000;

/**
 * STORE_CONFLICT: `index` names the commit whose condition does not hold; nothing of the batch was written.
 * STORE_LOG_CONFLICT: the log has another size; nothing was written.
 * STORE_UNAVAILABLE: the storage failed; whether the batch persisted is not known until the heads are read again.
 */
export type StoreErrorCode = "STORE_CONFLICT" | "STORE_LOG_CONFLICT" | "STORE_UNAVAILABLE" | "STORE_CLOSED" | "STORE_NEWER" | "STORE_CORRUPT";

export class StoreError extends Error {
  readonly code: StoreErrorCode;
  /** Position in the batch of the commit at fault; -1 where none is. */
  readonly index: number;

  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions & { readonly index?: number }) {
    super(`${code}: ${message}`, options);
    this.name = "StoreError";
    this.code = code;
    this.index = options?.index ?? -1;
  }
}

/** A page in key order. `after`: the last key of the page before; empty for the first. */
export interface Page {
  readonly after: string;
  /** 1..{@link MAX_PAGE_ROWS}. */
  readonly limit: number;
}

export interface WorkloadFilter {
  /** Empty: every verdict. */
  readonly verdicts: readonly Verdict[];
  /** Empty: every node. */
  readonly nodeId: string;
}

export interface DriftFilter {
  readonly states: readonly DriftState[];
  readonly nodeId: string;
  /** Container id or name; empty: every. */
  readonly container: string;
  /** Without those that were resolved before, Unix milliseconds; absent: with them. */
  readonly notResolvedBeforeMs?: number;
  /** Name of the workload, or of a container that is of none; absent: every. */
  readonly workload?: string;
}

export interface ActionFilter {
  /** Empty: every state. */
  readonly states: readonly ActionState[];
  /** Created at this time or later, Unix milliseconds. */
  readonly sinceMs: number;
  /** Only those on nodes themselves. */
  readonly onNodes?: boolean;
  /** Only isolations and what undid them. */
  readonly isolations?: boolean;
  /** Only purges. */
  readonly purges?: boolean;
}

/** Containers by verdict and by signature. */
export interface ResultCounts {
  readonly byVerdict: Readonly<Record<number, number>>;
  readonly byProvenance: Readonly<Record<number, number>>;
  /** Of them, the sandboxes of pods: a process that waits, and nothing of a workload. */
  readonly sandboxes: number;
}

/** And by image, and why the unknown ones are. */
export interface WorkloadCounts extends ResultCounts {
  /** By config digest. */
  readonly byImage: Readonly<Record<string, number>>;
  readonly unknownReasons: Readonly<Record<string, number>>;
}

/** Drifts of one kind and severity that are open or acknowledged. */
export interface OpenDriftCount {
  readonly kind: string;
  readonly severity: Severity;
  readonly count: number;
}

export interface ExcusedCount {
  readonly exception: string;
  readonly now: number;
  readonly lastResolvedMs: number | undefined;
}

export interface Store {
  /**
   * One transaction, all or nothing. When it returns, the batch survives loss of power.
   * @throws StoreError
   */
  commit(batch: StoreBatch): Promise<void>;

  readNodes(): Promise<readonly NodeRow[]>;
  readHead(nodeId: string): Promise<HeadRow | undefined>;
  /** undefined where the node has never reported. */
  readMemory(nodeId: string): Promise<MemoryRow | undefined>;
  /** undefined before the node's first quote. */
  readBoot(nodeId: string): Promise<BootRow | undefined>;
  /** undefined where none was asked for. */
  readIma(nodeId: string): Promise<ImaRow | undefined>;
  readAllowedEks(): Promise<readonly AllowedEkRow[]>;
  /** The node name that a token is for, where it exists and has not expired. Does not spend it. */
  readJoinToken(sha256: Buffer, nowMs: number): Promise<JoinTokenRow | undefined>;
  /** Forgets nonces and tokens that expired before `nowMs`, and coverage older than `coverageBeforeMs`. */
  prune(nowMs: number, coverageBeforeMs: number): Promise<void>;

  /** By (node, container). Keys of pages are `nodeId/containerId`. */
  listWorkloads(filter: WorkloadFilter, page: Page): Promise<readonly WorkloadRow[]>;
  /** Those whose id starts with, or whose name is, `container`: at most `limit`, exact matches first. */
  findWorkloads(container: string, limit: number): Promise<readonly WorkloadRow[]>;
  /** Containers of one image, at most `limit`. */
  readWorkloadsOf(configDigest: string, limit: number): Promise<readonly WorkloadRow[]>;
  /** Cheap enough to be asked every few seconds. */
  countResults(): Promise<ResultCounts>;
  countWorkloads(): Promise<WorkloadCounts>;
  /** By node id: how many of its containers have drifted; none where none has. */
  countDrifted(): Promise<Readonly<Record<string, number>>>;

  /** Newest first: keys of pages are drift numbers. */
  listDrifts(filter: DriftFilter, page: Page): Promise<readonly DriftRow[]>;
  countOpenDrifts(): Promise<readonly OpenDriftCount[]>;
  readDrift(id: string): Promise<DriftRow | undefined>;
  /** Everything of a node that is not resolved. */
  readOpenDrifts(nodeId: string): Promise<readonly DriftRow[]>;
  /** The highest drift number ever given; 0 before the first. */
  readLastDriftNumber(): Promise<number>;

  /** Newest first: keys of pages are action numbers. */
  listActions(filter: ActionFilter, page: Page): Promise<readonly ActionRow[]>;
  readAction(id: string): Promise<ActionRow | undefined>;
  /** The highest action number ever given; 0 before the first. */
  readLastActionNumber(): Promise<number>;
  /** undefined while actions are not paused. */
  readPause(): Promise<PauseRow | undefined>;

  readBaselines(): Promise<readonly BaselineRow[]>;
  /** By exception: how many drifts each excuses now, and when one that it excused was last resolved, Unix milliseconds. */
  readExcused(): Promise<readonly ExcusedCount[]>;
  /** By number. */
  readExceptions(): Promise<readonly ExceptionRow[]>;
  readPeople(): Promise<readonly PersonRow[]>;
  /** What people decided, by id. */
  readIncidents(): Promise<readonly IncidentRow[]>;
  readDrillRuns(): Promise<readonly DrillRunRow[]>;
  readDrillSchedules(): Promise<readonly DrillScheduleRow[]>;
  readVulnerabilityReports(): Promise<readonly VulnerabilityReportRow[]>;
  readImages(): Promise<readonly ImageRow[]>;
  /** Of one service on one node, the last affirmed first. */
  readAffirmedImages(nodeId: string, service: string): Promise<readonly AffirmedImageRow[]>;
  /** Of one workload in pods, the last affirmed first. @param workload `NAMESPACE/KIND/NAME` */
  readAffirmedRevisions(workload: string): Promise<readonly AffirmedRevisionRow[]>;
  /** Sums since `sinceMs`. */
  readCoverage(sinceMs: number): Promise<{ readonly observedSeconds: number; readonly unattestedSeconds: number }>;
}
