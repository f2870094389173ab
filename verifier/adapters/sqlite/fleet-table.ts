/** Nodes, who may enrol, images and coverage. Synchronous; runs in the store's threads. */
import {
  type AffirmedImageRow,
  type AffirmedRevisionRow,
  type AllowedEkRow,
  type BaselineRow,
  type BootRow,
  type CoverageRow,
  type DrillRunRow,
  type DrillScheduleRow,
  type ExceptionRow,
  type ImageRow,
  type ImaRow,
  type IncidentRow,
  type JoinTokenRow,
  MAX_AFFIRMED_IMAGES,
  MAX_AFFIRMED_OF_WORKLOAD,
  type NodeRow,
  type PersonRow,
  type QuoteRow,
  type VulnerabilityReportRow,
} from "../../ports/rows.ts";
import { StoreError } from "../../ports/store.ts";
import type { Connection } from "./database.ts";
import { fromJson, toJson } from "./json.ts";

interface QuoteColumns {
  readonly node_id: string;
  readonly quote_ms: number;
  readonly resets: bigint;
  readonly restarts: bigint;
  readonly clock: bigint;
  readonly safe: bigint;
}

function quoteOf({ quote_ms, resets, restarts, clock, safe }: QuoteColumns): Omit<QuoteRow, "nodeId"> {
  return {
    lastQuoteMs: quote_ms,
    clock: { resetCount: Number(resets), restartCount: Number(restarts), clock: BigInt.asUintN(64, clock), safe: safe === 1n },
  };
}

/** Hosts that run each container once, under a name of its own, have as many services as they ran. */
const MAX_AFFIRMED_OF_NODE = 1000;
/** A service that has not been seen for so long is another one. */
const AFFIRMED_IMAGE_KEPT_MS = 365 * 86_400_000;

export class FleetTable {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  putNode(row: NodeRow): void {
    this.#run("INSERT OR REPLACE INTO nodes (id, body) VALUES (?, ?)", row.id, toJson(row));
    this.#run("DELETE FROM node_quotes WHERE node_id = ?", row.id);
  }

  /** But for its row, which may keep it out, and its sums. */
  forgetNode(nodeId: string): void {
    for (const table of ["node_quotes", "boots", "imas", "affirmed_images"]) this.#run(`DELETE FROM ${table} WHERE node_id = ?`, nodeId);
  }

  putQuote({ nodeId, lastQuoteMs, clock }: QuoteRow): void {
    this.#connection
      .prepare("INSERT OR REPLACE INTO node_quotes (node_id, quote_ms, resets, restarts, clock, safe) VALUES (?, ?, ?, ?, ?, ?)")
      .run(nodeId, lastQuoteMs, clock.resetCount, clock.restartCount, BigInt.asIntN(64, clock.clock), clock.safe ? 1 : 0);
  }

  readNodes(): NodeRow[] {
    const select = this.#connection.prepare<[], QuoteColumns>("SELECT node_id, quote_ms, resets, restarts, clock, safe FROM node_quotes").safeIntegers();
    const quotes = new Map(select.all().map((row) => [row.node_id, quoteOf(row)]));
    return this.#bodies<NodeRow>("SELECT body FROM nodes ORDER BY id").map((row) => ({ ...row, ...quotes.get(row.id) }));
  }

  putBoot(row: BootRow): void {
    this.#run("INSERT OR REPLACE INTO boots (node_id, body) VALUES (?, ?)", row.nodeId, toJson(row));
  }

  readBoot(nodeId: string): BootRow | undefined {
    const row = this.#connection.prepare<[string], { body: string }>("SELECT body FROM boots WHERE node_id = ?").get(nodeId);
    return row && fromJson<BootRow>(row.body);
  }

  putIma(row: ImaRow): void {
    this.#run("INSERT OR REPLACE INTO imas (node_id, body) VALUES (?, ?)", row.nodeId, toJson(row));
  }

  readIma(nodeId: string): ImaRow | undefined {
    const row = this.#connection.prepare<[string], { body: string }>("SELECT body FROM imas WHERE node_id = ?").get(nodeId);
    return row && fromJson<ImaRow>(row.body);
  }

  putAllowedEk({ ekSha256, name, nodeId }: AllowedEkRow): void {
    this.#run("INSERT OR REPLACE INTO allowed_eks (ek_sha256, name, node_id) VALUES (?, ?, ?)", ekSha256, name, nodeId);
  }

  removeAllowedEk(ekSha256: string): void {
    this.#run("DELETE FROM allowed_eks WHERE ek_sha256 = ?", ekSha256);
  }

  readAllowedEks(): AllowedEkRow[] {
    return this.#connection.prepare<[], AllowedEkRow>("SELECT ek_sha256 AS ekSha256, name, node_id AS nodeId FROM allowed_eks ORDER BY name").all();
  }

  putJoinToken({ sha256, nodeName, expiresAtMs }: JoinTokenRow): void {
    this.#run("INSERT INTO join_tokens (sha256, node_name, expires_ms) VALUES (?, ?, ?)", sha256, nodeName, expiresAtMs);
  }

  readJoinToken(sha256: Buffer, nowMs: number): JoinTokenRow | undefined {
    return this.#connection
      .prepare<[Buffer, number], JoinTokenRow>(
        "SELECT sha256, node_name AS nodeName, expires_ms AS expiresAtMs FROM join_tokens WHERE sha256 = ? AND expires_ms > ?",
      )
      .get(sha256, nowMs);
  }

  /** @throws StoreError STORE_CONFLICT */
  spendToken(sha256: Buffer, nowMs: number): void {
    if (this.#run("DELETE FROM join_tokens WHERE sha256 = ? AND expires_ms > ?", sha256, nowMs) === 0)
      throw new StoreError("STORE_CONFLICT", "this join token is unknown, used or expired");
  }

  /** @throws StoreError STORE_CONFLICT */
  spendNonce(nonce: Buffer, expiresAtMs: number): void {
    if (this.#run("INSERT INTO nonces (nonce, expires_ms) VALUES (?, ?) ON CONFLICT DO NOTHING", nonce, expiresAtMs) === 0)
      throw new StoreError("STORE_CONFLICT", "this nonce was used before");
  }

  putBaseline(row: BaselineRow): void {
    this.#run("INSERT OR REPLACE INTO baselines (id, body) VALUES (?, ?)", row.id, toJson(row));
  }

  readBaselines(): BaselineRow[] {
    return this.#bodies("SELECT body FROM baselines ORDER BY id");
  }

  putException(row: ExceptionRow): void {
    this.#run("INSERT OR REPLACE INTO exceptions (number, body) VALUES (?, ?)", row.number, toJson(row));
  }

  removeException(number: number): void {
    this.#run("DELETE FROM exceptions WHERE number = ?", number);
  }

  readExceptions(): ExceptionRow[] {
    return this.#bodies("SELECT body FROM exceptions ORDER BY number");
  }

  putPerson(row: PersonRow): void {
    this.#run("INSERT OR REPLACE INTO people (name, body) VALUES (?, ?)", row.name, toJson(row));
  }

  removePerson(name: string): void {
    this.#run("DELETE FROM people WHERE name = ?", name);
  }

  readPeople(): PersonRow[] {
    return this.#bodies("SELECT body FROM people ORDER BY name");
  }

  putIncident(row: IncidentRow): void {
    this.#run("INSERT OR REPLACE INTO incidents (id, body) VALUES (?, ?)", row.id, toJson(row));
  }

  removeIncident(id: string): void {
    this.#run("DELETE FROM incidents WHERE id = ?", id);
  }

  readIncidents(): IncidentRow[] {
    return this.#bodies("SELECT body FROM incidents ORDER BY id");
  }

  putDrillRun(row: DrillRunRow): void {
    this.#run("INSERT OR REPLACE INTO drill_runs (run, body) VALUES (?, ?)", row.run, toJson(row));
  }

  removeDrillRun(run: string): void {
    this.#run("DELETE FROM drill_runs WHERE run = ?", run);
  }

  readDrillRuns(): DrillRunRow[] {
    return this.#bodies("SELECT body FROM drill_runs ORDER BY run");
  }

  putDrillSchedule(row: DrillScheduleRow): void {
    this.#run("INSERT OR REPLACE INTO drill_schedules (drill, body) VALUES (?, ?)", row.drill, toJson(row));
  }

  removeDrillSchedule(drill: string): void {
    this.#run("DELETE FROM drill_schedules WHERE drill = ?", drill);
  }

  readDrillSchedules(): DrillScheduleRow[] {
    return this.#bodies("SELECT body FROM drill_schedules ORDER BY drill");
  }

  putVulnerabilityReport(row: VulnerabilityReportRow, source: string): void {
    this.#run("INSERT OR REPLACE INTO vulnerability_reports (image, source, body) VALUES (?, ?, ?)", row.image, source, toJson(row));
  }

  removeVulnerabilityReport(image: string, source: string): void {
    this.#run("DELETE FROM vulnerability_reports WHERE image = ? AND source = ?", image, source);
  }

  readVulnerabilityReports(): VulnerabilityReportRow[] {
    return this.#bodies("SELECT body FROM vulnerability_reports ORDER BY image, source");
  }

  putImage(row: ImageRow): void {
    this.#run("INSERT OR REPLACE INTO images (config_digest, body) VALUES (?, ?)", row.configDigest, toJson(row));
  }

  removeImage(configDigest: string): void {
    this.#run("DELETE FROM images WHERE config_digest = ?", configDigest);
  }

  readImages(): ImageRow[] {
    return this.#bodies("SELECT body FROM images ORDER BY config_digest");
  }

  putAffirmedImage(row: AffirmedImageRow): void {
    const { nodeId, service, configDigest, affirmedAtMs } = row;
    const known = this.#connection
      .prepare("SELECT 1 FROM affirmed_images WHERE node_id = ? AND service = ? AND config_digest = ?")
      .get(nodeId, service, configDigest);
    this.#run(
      `INSERT INTO affirmed_images (node_id, service, config_digest, affirmed_ms, body) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET affirmed_ms = excluded.affirmed_ms, body = excluded.body WHERE excluded.affirmed_ms >= affirmed_ms`,
      nodeId,
      service,
      configDigest,
      affirmedAtMs,
      toJson(row),
    );
    if (known) return;
    this.#run(
      `DELETE FROM affirmed_images WHERE node_id = ? AND service = ? AND config_digest NOT IN
       (SELECT config_digest FROM affirmed_images WHERE node_id = ? AND service = ? ORDER BY affirmed_ms DESC, config_digest LIMIT ${MAX_AFFIRMED_IMAGES})`,
      nodeId,
      service,
      nodeId,
      service,
    );
    this.#run(
      `DELETE FROM affirmed_images WHERE node_id = ? AND (service, config_digest) IN
       (SELECT service, config_digest FROM affirmed_images WHERE node_id = ? ORDER BY affirmed_ms DESC, service LIMIT -1 OFFSET ${MAX_AFFIRMED_OF_NODE})`,
      nodeId,
      nodeId,
    );
  }

  readAffirmedImages(nodeId: string, service: string): AffirmedImageRow[] {
    return this.#connection
      .prepare<[string, string], { body: string }>(
        "SELECT body FROM affirmed_images WHERE node_id = ? AND service = ? ORDER BY affirmed_ms DESC, config_digest",
      )
      .all(nodeId, service)
      .map(({ body }) => fromJson<AffirmedImageRow>(body));
  }

  putAffirmedRevision(row: AffirmedRevisionRow): void {
    const { workload, revision, container, affirmedAtMs } = row;
    this.#run(
      `INSERT INTO affirmed_revisions (workload, revision, container, affirmed_ms, body) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET affirmed_ms = excluded.affirmed_ms, body = excluded.body WHERE excluded.affirmed_ms >= affirmed_ms`,
      workload,
      revision,
      container,
      affirmedAtMs,
      toJson(row),
    );
    this.#run(
      `DELETE FROM affirmed_revisions WHERE workload = ? AND (revision, container) NOT IN
       (SELECT revision, container FROM affirmed_revisions WHERE workload = ? ORDER BY affirmed_ms DESC, revision, container LIMIT ${MAX_AFFIRMED_OF_WORKLOAD})`,
      workload,
      workload,
    );
  }

  readAffirmedRevisions(workload: string): AffirmedRevisionRow[] {
    return this.#connection
      .prepare<[string], { body: string }>("SELECT body FROM affirmed_revisions WHERE workload = ? ORDER BY affirmed_ms DESC, revision, container")
      .all(workload)
      .map(({ body }) => fromJson<AffirmedRevisionRow>(body));
  }

  addCoverage({ nodeId, hourMs, observedSeconds, unattestedSeconds }: CoverageRow): void {
    this.#run(
      `INSERT INTO coverage (node_id, hour_ms, observed, unattested) VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET observed = observed + excluded.observed, unattested = unattested + excluded.unattested`,
      nodeId,
      hourMs,
      observedSeconds,
      unattestedSeconds,
    );
  }

  readCoverage(sinceMs: number): { observedSeconds: number; unattestedSeconds: number } {
    const select = this.#connection.prepare<[number], { observedSeconds: number; unattestedSeconds: number }>(
      "SELECT coalesce(sum(observed), 0) AS observedSeconds, coalesce(sum(unattested), 0) AS unattestedSeconds FROM coverage WHERE hour_ms >= ?",
    );
    return select.get(sinceMs) ?? { observedSeconds: 0, unattestedSeconds: 0 };
  }

  prune(nowMs: number, coverageBeforeMs: number): void {
    this.#run("DELETE FROM nonces WHERE expires_ms < ?", nowMs);
    this.#run("DELETE FROM join_tokens WHERE expires_ms < ?", nowMs);
    this.#run("DELETE FROM coverage WHERE hour_ms < ?", coverageBeforeMs);
    this.#run("DELETE FROM affirmed_images WHERE affirmed_ms < ?", nowMs - AFFIRMED_IMAGE_KEPT_MS);
    this.#run("DELETE FROM affirmed_revisions WHERE affirmed_ms < ?", nowMs - AFFIRMED_IMAGE_KEPT_MS);
  }

  #run(sql: string, ...values: (string | number | Buffer)[]): number {
    return this.#connection.prepare(sql).run(...values).changes;
  }

  #bodies<T>(sql: string): T[] {
    return this.#connection
      .prepare<[], { body: string }>(sql)
      .all()
      .map(({ body }) => fromJson<T>(body));
  }
}
