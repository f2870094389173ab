/**
 * What the store's threads can be asked to do: one synchronous method a call. The writing thread serves {@link Writes}, the reading thread {@link Reads},
 * so that a long list never delays a commit.
 */
import { statSync } from "node:fs";
import { type LogAppend, LogStoreError, type StoredCheckpoint } from "../../ports/log-store.ts";
import type { AlertCommit } from "../../ports/outbox.ts";
import type { ReferenceKey } from "../../ports/reference-store.ts";
import { type StoreBatch, type StoreCommit, StoreError } from "../../ports/store.ts";
import { ActionTable } from "./action-table.ts";
import { type Connection, MAX_WAL_BYTES, reasonOf } from "./database.ts";
import { EvidenceTable } from "./evidence-table.ts";
import { FleetTable } from "./fleet-table.ts";
import { LogTable } from "./log-table.ts";
import { OutboxTable } from "./outbox-table.ts";
import { type ReferenceRecord, ReferenceTable } from "./reference-table.ts";
import { ResultTable } from "./result-table.ts";

/** better-sqlite3 compiles a statement at each `prepare`: keep them. */
function cachingPrepare(connection: Connection): Connection {
  const prepared = new Map<string, ReturnType<Connection["prepare"]>>();
  const prepare = connection.prepare.bind(connection);
  connection.prepare = ((sql: string) => {
    let statement = prepared.get(sql);
    if (!statement) {
      if (prepared.size >= 256) prepared.clear();
      statement = prepare(sql) as ReturnType<Connection["prepare"]>;
      prepared.set(sql, statement);
    }
    return statement;
  }) as Connection["prepare"];
  return connection;
}

export class Reads {
  readonly fleet: FleetTable;
  readonly evidence: EvidenceTable;
  readonly results: ResultTable;
  readonly log: LogTable;
  readonly outbox: OutboxTable;
  readonly references: ReferenceTable;
  readonly actions: ActionTable;

  constructor(connection: Connection) {
    cachingPrepare(connection);
    this.fleet = new FleetTable(connection);
    this.evidence = new EvidenceTable(connection);
    this.results = new ResultTable(connection);
    this.log = new LogTable(connection);
    this.outbox = new OutboxTable(connection);
    this.references = new ReferenceTable(connection);
    this.actions = new ActionTable(connection);
  }
}

export class Writes extends Reads {
  readonly #connection: Connection;
  readonly #walPath: string;

  constructor(connection: Connection, path: string) {
    super(connection);
    this.#connection = connection;
    this.#walPath = `${path}-wal`;
    this.outbox.release();
  }

  commit({ commits, log }: StoreBatch): void {
    this.#transaction(() => {
      for (const [index, commit] of commits.entries()) this.#commitOne(commit, index);
      if (log) this.log.append(log);
    });
  }

  appendLog(append: LogAppend): void {
    this.#transaction(() => this.log.append(append));
  }

  writeCheckpoint(checkpoint: StoredCheckpoint): void {
    this.#transaction(() => this.log.writeCheckpoint(checkpoint));
  }

  commitAlerts(commit: AlertCommit): void {
    this.#transaction(() => this.outbox.commit(commit));
  }

  claim(route: string, nowMs: number, limit: number, leaseMs: number): unknown {
    return this.#transaction(() => this.outbox.claim(route, nowMs, limit, leaseMs));
  }

  unclaim(ids: readonly string[]): void {
    this.#transaction(() => this.outbox.unclaim(ids));
  }

  delivered(id: string, nowMs: number): void {
    this.#transaction(() => this.outbox.delivered(id, nowMs));
  }

  putReference(key: ReferenceKey, record: ReferenceRecord): void {
    this.#transaction(() => this.references.put(key, record));
  }

  prune(nowMs: number, coverageBeforeMs: number): void {
    this.#transaction(() => this.fleet.prune(nowMs, coverageBeforeMs));
  }

  /** Moves the write-ahead log into the database where it has grown. Never waits for readers. */
  checkpoint(): void {
    if ((statSync(this.#walPath, { throwIfNoEntry: false })?.size ?? 0) > MAX_WAL_BYTES) this.#connection.pragma("wal_checkpoint(PASSIVE)");
  }

  #commitOne(commit: StoreCommit, index: number): void {
    try {
      for (const row of commit.nodes ?? []) this.fleet.putNode(row);
      if (commit.quote) this.fleet.putQuote(commit.quote);
      if (commit.spendToken) this.fleet.spendToken(commit.spendToken.sha256, commit.spendToken.nowMs);
      if (commit.spendNonce) this.fleet.spendNonce(commit.spendNonce.nonce, commit.spendNonce.expiresAtMs);
      if (commit.evidence) this.evidence.write(commit.evidence);
      for (const row of commit.boots ?? []) this.fleet.putBoot(row);
      for (const row of commit.imas ?? []) this.fleet.putIma(row);
      for (const { nodeId, containerId } of commit.removedWorkloads ?? []) this.results.removeWorkload(nodeId, containerId);
      for (const row of commit.workloads ?? []) this.results.putWorkload(row);
      for (const nodeId of commit.forgottenNodes ?? []) this.#forgetNode(nodeId);
      for (const row of commit.drifts ?? []) this.results.putDrift(row);
      if (commit.alerts) this.outbox.commit(commit.alerts);
      for (const row of commit.allowedEks ?? []) this.fleet.putAllowedEk(row);
      for (const ek of commit.removedEks ?? []) this.fleet.removeAllowedEk(ek);
      for (const row of commit.joinTokens ?? []) this.fleet.putJoinToken(row);
      for (const row of commit.baselines ?? []) this.fleet.putBaseline(row);
      for (const number of commit.removedExceptions ?? []) this.fleet.removeException(number);
      for (const row of commit.exceptions ?? []) this.fleet.putException(row);
      for (const name of commit.removedPeople ?? []) this.fleet.removePerson(name);
      for (const row of commit.people ?? []) this.fleet.putPerson(row);
      for (const id of commit.removedIncidents ?? []) this.fleet.removeIncident(id);
      for (const row of commit.incidents ?? []) this.fleet.putIncident(row);
      for (const run of commit.removedDrillRuns ?? []) this.fleet.removeDrillRun(run);
      for (const row of commit.drillRuns ?? []) this.fleet.putDrillRun(row);
      for (const drill of commit.removedDrillSchedules ?? []) this.fleet.removeDrillSchedule(drill);
      for (const row of commit.drillSchedules ?? []) this.fleet.putDrillSchedule(row);
      for (const { image, source } of commit.removedVulnerabilityReports ?? []) this.fleet.removeVulnerabilityReport(image, source);
      for (const { row, source } of commit.vulnerabilityReports ?? []) this.fleet.putVulnerabilityReport(row, source);
      for (const row of commit.images ?? []) this.fleet.putImage(row);
      for (const digest of commit.removedImages ?? []) this.fleet.removeImage(digest);
      for (const row of commit.affirmedImages ?? []) this.fleet.putAffirmedImage(row);
      for (const row of commit.affirmedRevisions ?? []) this.fleet.putAffirmedRevision(row);
      for (const row of commit.coverage ?? []) this.fleet.addCoverage(row);
      for (const write of commit.actions ?? []) this.actions.write(write);
      if (commit.pause !== undefined) this.actions.writePause(commit.pause);
    } catch (error) {
      if (isConstraint(error)) throw new StoreError("STORE_CONFLICT", reasonOf(error), { cause: error, index });
      if (error instanceof StoreError && error.index < 0) throw new StoreError(error.code, error.message.replace(`${error.code}: `, ""), { index });
      throw error;
    }
  }

  #forgetNode(nodeId: string): void {
    this.evidence.forget(nodeId);
    this.results.removeWorkloadsOf(nodeId);
    this.fleet.forgetNode(nodeId);
  }

  #transaction<T>(work: () => T): T {
    try {
      return this.#connection.transaction(work).immediate();
    } catch (error) {
      if (error instanceof StoreError || error instanceof LogStoreError) throw error;
      throw new StoreError("STORE_UNAVAILABLE", reasonOf(error), { cause: error });
    }
  }
}

function isConstraint(error: unknown): boolean {
  return error instanceof Error && "code" in error && String(error.code).startsWith("SQLITE_CONSTRAINT");
}
