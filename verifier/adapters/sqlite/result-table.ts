/** Results: workloads, drifts, and what is counted of them. Synchronous; runs in the store's threads. */
import { SANDBOX_NAME } from "@hullmark/proto/codec";
import { Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import type { DriftRow, WorkloadRow } from "../../ports/rows.ts";
import type { DriftFilter, ExcusedCount, OpenDriftCount, Page, ResultCounts, WorkloadCounts, WorkloadFilter } from "../../ports/store.ts";
import type { Connection } from "./database.ts";
import { fromJson, toJson } from "./json.ts";

/** How the name of a pod's sandbox ends. */
const SANDBOX = `/${SANDBOX_NAME}`;

interface Body {
  readonly body: string;
}

/** `?, ?, …`: the values themselves are always bound. */
function marks(values: readonly unknown[]): string {
  return values.map(() => "?").join(", ");
}

export class ResultTable {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  putWorkload(row: WorkloadRow): void {
    this.#connection
      .prepare(
        "INSERT OR REPLACE INTO workloads (node_id, container_id, container_name, config_digest, verdict, provenance, reasons, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      )
      .run(
        row.nodeId,
        row.containerId,
        row.containerName,
        row.configDigest,
        row.verdict,
        row.provenance?.status ?? 0,
        JSON.stringify(row.reasons.map(({ code }) => code)),
        toJson(row),
      );
  }

  removeWorkload(nodeId: string, containerId: string): void {
    this.#connection.prepare("DELETE FROM workloads WHERE node_id = ? AND container_id = ?").run(nodeId, containerId);
  }

  removeWorkloadsOf(nodeId: string): void {
    this.#connection.prepare("DELETE FROM workloads WHERE node_id = ?").run(nodeId);
  }

  listWorkloads({ verdicts, nodeId }: WorkloadFilter, { after, limit }: Page): WorkloadRow[] {
    const [afterNode, afterContainer] = splitKey(after);
    const conditions = ["(node_id, container_id) > (?, ?)"];
    const values: (string | number)[] = [afterNode, afterContainer];
    if (nodeId !== "") {
      conditions.push("node_id = ?");
      values.push(nodeId);
    }
    if (verdicts.length > 0) {
      conditions.push(`verdict IN (${marks(verdicts)})`);
      values.push(...verdicts);
    }
    return this.#bodies(`SELECT body FROM workloads WHERE ${conditions.join(" AND ")} ORDER BY node_id, container_id LIMIT ?`, [...values, limit]);
  }

  findWorkloads(container: string, limit: number): WorkloadRow[] {
    return this.#bodies(
      `SELECT body FROM workloads WHERE container_name = ? OR (container_id >= ? AND container_id < ? || char(0x10ffff))
       ORDER BY container_name <> ? AND container_id <> ?, container_id LIMIT ?`,
      [container, container, container, container, container, limit],
    );
  }

  readWorkloadsOf(configDigest: string, limit: number): WorkloadRow[] {
    return this.#bodies("SELECT body FROM workloads WHERE config_digest = ? ORDER BY node_id, container_id LIMIT ?", [configDigest, limit]);
  }

  countResults(): ResultCounts {
    return {
      byVerdict: this.#counts("SELECT verdict AS key, count(*) AS n FROM workloads GROUP BY verdict"),
      byProvenance: this.#counts("SELECT provenance AS key, count(*) AS n FROM workloads GROUP BY provenance"),
      sandboxes: this.#counts(`SELECT 0 AS key, count(*) AS n FROM workloads WHERE substr(container_name, -${SANDBOX.length}) = '${SANDBOX}'`)[0] ?? 0,
    };
  }

  countWorkloads(): WorkloadCounts {
    return {
      ...this.countResults(),
      byImage: this.#counts("SELECT config_digest AS key, count(*) AS n FROM workloads GROUP BY config_digest"),
      unknownReasons: this.#counts(
        `SELECT coalesce(reasons ->> 0, 'unknown') AS key, count(*) AS n FROM workloads WHERE verdict = ${Verdict.UNKNOWN} GROUP BY 1 ORDER BY 2 DESC LIMIT 64`,
      ),
    };
  }

  countDrifted(): Record<string, number> {
    return this.#counts(`SELECT node_id AS key, count(*) AS n FROM workloads WHERE verdict = ${Verdict.CONTRAINDICATED} GROUP BY node_id`);
  }

  #counts(sql: string): Record<string, number> {
    const rows = this.#connection.prepare<[], { key: string | number; n: number }>(sql).all();
    return Object.fromEntries(rows.map(({ key, n }) => [key, n]));
  }

  putDrift(row: DriftRow): void {
    this.#connection
      .prepare(
        `INSERT INTO drifts (number, id, node_id, container_id, container_name, key, state, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (number) DO UPDATE SET state = excluded.state, body = excluded.body`,
      )
      .run(row.number, row.id, row.nodeId, row.containerId, row.containerName, row.key, row.state, toJson(row));
  }

  listDrifts({ states, nodeId, container, notResolvedBeforeMs, workload }: DriftFilter, { after, limit }: Page): DriftRow[] {
    const conditions = [`state IN (${marks(states)})`, "number < ?"];
    const values: (string | number)[] = [...states, after === "" ? Number.MAX_SAFE_INTEGER : Number(after)];
    if (nodeId !== "") {
      conditions.push("node_id = ?");
      values.push(nodeId);
    }
    if (container !== "") {
      conditions.push("(container_name = ? OR (container_id >= ? AND container_id < ? || char(0x10ffff)))");
      values.push(container, container, container);
    }
    if (notResolvedBeforeMs !== undefined) {
      conditions.push(`(state <> ${DriftState.RESOLVED} OR body ->> 'resolvedAtMs' >= ?)`);
      values.push(notResolvedBeforeMs);
    }
    if (workload !== undefined) {
      conditions.push("(body ->> 'workload' = ? OR (body ->> 'workload' = '' AND container_name = ?))");
      values.push(workload, workload);
    }
    return this.#bodies(`SELECT body FROM drifts WHERE ${conditions.join(" AND ")} ORDER BY number DESC LIMIT ?`, [...values, limit]);
  }

  countOpenDrifts(): OpenDriftCount[] {
    return this.#connection
      .prepare<[], OpenDriftCount>(
        `SELECT body ->> 'kind' AS kind, body ->> 'severity' AS severity, count(*) AS count FROM drifts
         WHERE state IN (${DriftState.OPEN}, ${DriftState.ACKNOWLEDGED}) GROUP BY 1, 2`,
      )
      .all();
  }

  readExcused(): ExcusedCount[] {
    return this.#connection
      .prepare<[], { exception: string; now: number; last: number | null }>(
        `SELECT body ->> 'exception' AS exception, sum(state = ${DriftState.NOTICE}) AS now, max(body ->> 'resolvedAtMs') AS last FROM drifts
         WHERE body ->> 'exception' IS NOT NULL GROUP BY 1`,
      )
      .all()
      .map(({ exception, now, last }) => ({ exception, now, lastResolvedMs: last ?? undefined }));
  }

  readDrift(id: string): DriftRow | undefined {
    return this.#bodies<DriftRow>("SELECT body FROM drifts WHERE id = ?", [id])[0];
  }

  readOpenDrifts(nodeId: string): DriftRow[] {
    return this.#bodies(`SELECT body FROM drifts WHERE node_id = ? AND state <> ${DriftState.RESOLVED} ORDER BY number`, [nodeId]);
  }

  readLastDriftNumber(): number {
    return this.#connection.prepare<[], { number: number }>("SELECT coalesce(max(number), 0) AS number FROM drifts").get()?.number ?? 0;
  }

  #bodies<T>(sql: string, values: readonly (string | number)[]): T[] {
    return this.#connection
      .prepare<(string | number)[], Body>(sql)
      .all(...values)
      .map(({ body }) => fromJson<T>(body));
  }
}

function splitKey(after: string): [string, string] {
  const slash = after.lastIndexOf("/");
  return slash < 0 ? ["", ""] : [after.slice(0, slash), after.slice(slash + 1)];
}
