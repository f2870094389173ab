/** The embedded store: one SQLite file, a thread that writes and one that reads. For one verifier process. */
import { LayerTree } from "../../core/reference-value/layer-tree.ts";
import { type LogStore, LogStoreError } from "../../ports/log-store.ts";
import type { Outbox } from "../../ports/outbox.ts";
import type { Reference, ReferenceKey, ReferenceStore } from "../../ports/reference-store.ts";
import { type Store, StoreError } from "../../ports/store.ts";
import type { ReferenceRecord } from "./reference-table.ts";
import { ThreadClient } from "./thread-client.ts";

export interface SqliteStore {
  readonly store: Store;
  readonly log: LogStore;
  readonly outbox: Outbox;
  readonly references: ReferenceStore;
  /** Finishes what was asked, then closes the file. */
  close(): Promise<void>;
}

/**
 * Opens or creates the database at `path` (mode 0600) and brings its schema up to date.
 * @throws StoreError STORE_NEWER, STORE_UNAVAILABLE
 */
export async function openSqliteStore(path: string): Promise<SqliteStore> {
  const writer = await ThreadClient.open({ path, mode: "write" });
  const reader = await ThreadClient.open({ path, mode: "read" });
  return {
    store: storeOver(writer, reader),
    log: logOver(writer, reader),
    outbox: outboxOver(writer, reader),
    references: referencesOver(writer, reader),
    close: async () => {
      await reader.close();
      await writer.close();
    },
  };
}

function storeOver(writer: ThreadClient, reader: ThreadClient): Store {
  return {
    async commit(batch) {
      try {
        await writer.call("", "commit", batch);
      } catch (error) {
        if (error instanceof LogStoreError) throw new StoreError("STORE_LOG_CONFLICT", error.message, { cause: error });
        throw error;
      }
    },
    prune: (nowMs, coverageBeforeMs) => writer.call("", "prune", nowMs, coverageBeforeMs),
    readNodes: () => reader.call("fleet", "readNodes"),
    readHead: (nodeId) => reader.call("evidence", "readHead", nodeId),
    readMemory: (nodeId) => reader.call("evidence", "readMemory", nodeId),
    readBoot: (nodeId) => reader.call("fleet", "readBoot", nodeId),
    readIma: (nodeId) => reader.call("fleet", "readIma", nodeId),
    readAllowedEks: () => reader.call("fleet", "readAllowedEks"),
    readJoinToken: (sha256, nowMs) => reader.call("fleet", "readJoinToken", sha256, nowMs),
    listWorkloads: (filter, page) => reader.call("results", "listWorkloads", filter, page),
    findWorkloads: (container, limit) => reader.call("results", "findWorkloads", container, limit),
    readWorkloadsOf: (configDigest, limit) => reader.call("results", "readWorkloadsOf", configDigest, limit),
    countResults: () => reader.call("results", "countResults"),
    countWorkloads: () => reader.call("results", "countWorkloads"),
    countDrifted: () => reader.call("results", "countDrifted"),
    listDrifts: (filter, page) => reader.call("results", "listDrifts", filter, page),
    countOpenDrifts: () => reader.call("results", "countOpenDrifts"),
    readExcused: () => reader.call("results", "readExcused"),
    readDrift: (id) => reader.call("results", "readDrift", id),
    readOpenDrifts: (nodeId) => reader.call("results", "readOpenDrifts", nodeId),
    readLastDriftNumber: () => reader.call("results", "readLastDriftNumber"),
    listActions: (filter, page) => reader.call("actions", "list", filter, page),
    readAction: (id) => reader.call("actions", "read", id),
    readLastActionNumber: () => reader.call("actions", "lastNumber"),
    readPause: () => reader.call("actions", "readPause"),
    readBaselines: () => reader.call("fleet", "readBaselines"),
    readExceptions: () => reader.call("fleet", "readExceptions"),
    readPeople: () => reader.call("fleet", "readPeople"),
    readIncidents: () => reader.call("fleet", "readIncidents"),
    readDrillRuns: () => reader.call("fleet", "readDrillRuns"),
    readDrillSchedules: () => reader.call("fleet", "readDrillSchedules"),
    readVulnerabilityReports: () => reader.call("fleet", "readVulnerabilityReports"),
    readImages: () => reader.call("fleet", "readImages"),
    readAffirmedRevisions: (workload) => reader.call("fleet", "readAffirmedRevisions", workload),
    readAffirmedImages: (nodeId, service) => reader.call("fleet", "readAffirmedImages", nodeId, service),
    readCoverage: (sinceMs) => reader.call("fleet", "readCoverage", sinceMs),
  };
}

function logOver(writer: ThreadClient, reader: ThreadClient): LogStore {
  const available = async <T>(call: Promise<T>): Promise<T> => {
    try {
      return await call;
    } catch (error) {
      if (error instanceof LogStoreError) throw error;
      throw new LogStoreError("LOG_UNAVAILABLE", error instanceof Error ? error.message : String(error), { cause: error });
    }
  };
  return {
    readSize: () => available(reader.call("log", "size")),
    readTile: (level, index) => available(reader.call("log", "readTile", level, index)),
    readEntries: (first, count) => available(reader.call("log", "readEntries", first, count)),
    readCheckpoint: () => available(reader.call("log", "readCheckpoint")),
    append: (append) => available(writer.call("", "appendLog", append)),
    writeCheckpoint: (checkpoint) => available(writer.call("", "writeCheckpoint", checkpoint)),
  };
}

function outboxOver(writer: ThreadClient, reader: ThreadClient): Outbox {
  return {
    readAlerts: () => reader.call("outbox", "readAlerts"),
    commitAlerts: (commit) => writer.call("", "commitAlerts", commit),
    claim: (route, nowMs, limit, leaseMs) => writer.call("", "claim", route, nowMs, limit, leaseMs),
    unclaim: (ids) => writer.call("", "unclaim", ids),
    delivered: (id, nowMs) => writer.call("", "delivered", id, nowMs),
    retry: (id, error, notBeforeMs) => writer.call("outbox", "retry", id, error, notBeforeMs),
    bury: (id, error, nowMs) => writer.call("outbox", "bury", id, error, nowMs),
    list: (filter, limit) => reader.call("outbox", "list", filter, limit),
    readDead: (id) => reader.call("outbox", "readDead", id),
    revive: (id, nowMs) => writer.call("outbox", "revive", id, nowMs),
    counts: () => reader.call("outbox", "counts"),
  };
}

function referencesOver(writer: ThreadClient, reader: ThreadClient): ReferenceStore {
  return {
    async get(key: ReferenceKey, signal: AbortSignal): Promise<Reference | undefined> {
      signal.throwIfAborted();
      const record = await reader.call<ReferenceRecord | undefined>("references", "get", key);
      if (!record) return undefined;
      if (record.kind === "unextractable") return { unextractable: { code: record.code, reason: record.reason } };
      const tree = LayerTree.deserialize(record.body);
      if (!tree.root.equals(record.root)) throw new StoreError("STORE_CORRUPT", `stored layer ${key.chainId} has another root than its entries`);
      return tree;
    },
    async put(key, reference, signal) {
      signal.throwIfAborted();
      const record: ReferenceRecord =
        "unextractable" in reference
          ? { kind: "unextractable", ...reference.unextractable }
          : { kind: "tree", root: reference.root, body: reference.serialize() };
      await writer.call("", "putReference", key, record);
    },
    async findByRoot(root, limit, signal) {
      signal.throwIfAborted();
      return await reader.call("references", "findByRoot", root, limit);
    },
  };
}
