/** Reports that people imported: each bound to one image by digest, an entry of the log, and replaced by a newer one of the same tool. */
import { hash } from "node:crypto";
import type { ImageRow, VulnerabilityReportRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import { AdministrationError } from "../fleet/administration.ts";
import type { Committer } from "../fleet/committer.ts";
import { adminFact } from "../fleet/log-facts.ts";
import { byDigest, imagesOfRepository, imagesRunAs } from "../images/named.ts";
import { imageOf, type KnownImage } from "./bind.ts";
import { ReportError } from "./errors.ts";
import { importedReport, type Vouched } from "./image-findings.ts";
import { runningImage } from "./known-images.ts";
import { parseReport } from "./parse.ts";
import { isDigest } from "./shapes.ts";

const MAX_REPORTS = 4_096;
/** Findings and statements of all reports: some 100 MB of memory. */
const MAX_ITEMS = 200_000;
/** What these name besides (other names of a vulnerability, fixes, products and their parts): as much again, though a single statement may name a document full. */
const MAX_NAMES = 500_000;

export interface ReportServices {
  readonly store: Pick<Store, "readVulnerabilityReports">;
  readonly committer: Pick<Committer, "submit">;
  readonly images: () => readonly ImageRow[];
  readonly nowMs: () => number;
  /** Other reports count from here on. */
  readonly changed: () => void;
}

export interface Imported {
  readonly row: VulnerabilityReportRow;
  /** Digest of the report in whose place it counts; empty: of none. */
  readonly replaces: string;
}

export class VulnerabilityReports {
  readonly #services: ReportServices;
  #rows: readonly VulnerabilityReportRow[] = [];
  #byImage: ReadonlyMap<string, readonly VulnerabilityReportRow[]> = new Map();
  /** One change at a time. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(services: ReportServices, rows: readonly VulnerabilityReportRow[]) {
    this.#services = services;
    this.#set(rows);
  }

  /** @throws StoreError */
  static async open(services: ReportServices): Promise<VulnerabilityReports> {
    return new VulnerabilityReports(services, await services.store.readVulnerabilityReports());
  }

  get rows(): readonly VulnerabilityReportRow[] {
    return this.#rows;
  }

  #set(rows: readonly VulnerabilityReportRow[]): void {
    this.#rows = rows;
    this.#byImage = Map.groupBy(rows, ({ image }) => image);
  }

  /** As they count for an image that has one of these digests. */
  counting(digests: readonly string[]): Vouched[] {
    return this.#rows.filter(({ image }) => digests.includes(image)).map(importedReport);
  }

  /** Those of an image, by any of its digests; always in the same order. */
  of({ configDigest, manifestDigests }: Pick<KnownImage, "configDigest" | "manifestDigests">): VulnerabilityReportRow[] {
    const own = [...new Set([configDigest, ...manifestDigests])].flatMap((digest) => this.#byImage.get(digest) ?? []);
    return own.sort((a, b) => (sourceOf(a) < sourceOf(b) ? -1 : 1));
  }

  /**
   * @param image digest, `name@digest`, or a reference by which an image runs; empty: the report says it
   * @throws ReportError; AdministrationError NOT_FOUND, CHANGED, TOO_MANY; StoreError
   */
  async import(bytes: Uint8Array, image: string, by: string): Promise<Imported> {
    const digest = `sha256:${hash("sha256", bytes)}`;
    const { subject, findings, statements, ...facts } = parseReport(bytes);
    return await this.#next(async () => {
      const known = this.#services.images().map(runningImage);
      const nowMs = this.#services.nowMs();
      // What says that it is of later would stay the newest, and keep what comes until then away.
      const createdAtMs = facts.createdAtMs === undefined ? undefined : Math.min(facts.createdAtMs, nowMs);
      const row: VulnerabilityReportRow = {
        ...{ digest, image: imageOf(subject, this.#digestOf(image), known), ...facts, createdAtMs, findings, statements },
        ...{ importedAtMs: nowMs, importedBy: by },
      };
      const before = this.#rows.find((each) => sourceOf(each) === sourceOf(row));
      if (before && (row.createdAtMs ?? row.importedAtMs) < (before.createdAtMs ?? 0))
        throw new AdministrationError("CHANGED", `a newer report of this image by ${row.tool || row.format} is there: ${before.digest}`);
      const others = this.#rows.filter((each) => each !== before);
      const items = [...others, row].reduce((sum, each) => sum + each.findings.length + each.statements.length, 0);
      const names = [...others, row].reduce((sum, each) => sum + namesIn(each), 0);
      if (others.length >= MAX_REPORTS || items > MAX_ITEMS || names > MAX_NAMES)
        throw new AdministrationError("TOO_MANY", "too many reports, or too much in them: take some away (hullmark vulnerabilities rm)");
      await this.#commit("vulnerabilities-imported", row, { replaces: before?.digest ?? null });
      this.#set([...others, row]);
      this.#services.changed();
      return { row, replaces: before?.digest ?? "" };
    });
  }

  /** Takes a report away, of every image that it was imported for. @returns of how many. @throws AdministrationError NOT_FOUND; StoreError */
  async remove(digest: string, by: string, reason: string): Promise<number> {
    return await this.#next(async () => {
      const gone = this.#rows.filter((row) => row.digest === digest);
      if (gone.length === 0) throw new AdministrationError("NOT_FOUND", "no report has this digest");
      const { committer, nowMs } = this.#services;
      const keys = gone.map((row) => ({ image: row.image, source: sourceOf(row) }));
      const fact = adminFact("vulnerabilities-removed", nowMs(), { report: digest, images: gone.length, by, reason });
      await committer.submit({ entries: [fact], build: () => ({ removedVulnerabilityReports: keys }) });
      this.#set(this.#rows.filter((row) => row.digest !== digest));
      this.#services.changed();
      return gone.length;
    });
  }

  async #commit(action: string, row: VulnerabilityReportRow, more: Readonly<Record<string, string | null>>): Promise<void> {
    const { digest, image, format, tool, createdAtMs, importedBy, findings, statements } = row;
    const counted = { findings: findings.length, statements: statements.length, created: createdAtMs === undefined ? null : Math.floor(createdAtMs) };
    const fact = adminFact(action, row.importedAtMs, { report: digest, image, format, tool, ...counted, by: importedBy, ...more });
    await this.#services.committer.submit({ entries: [fact], build: () => ({ vulnerabilityReports: [{ row, source: sourceOf(row) }] }) });
  }

  /** A tag says what it names now, which need not be what was scanned: only digests count, and references by which exactly one image runs. */
  #digestOf(image: string): string | undefined {
    if (image === "") return undefined;
    const digest = image.slice(image.lastIndexOf("@") + 1);
    if (isDigest(digest)) return digest;
    const images = this.#services.images();
    const running = imagesRunAs(images, image);
    const [found, another] = running;
    if (another)
      throw new ReportError("NO_IMAGE", `several images run as ${image.slice(0, 200)}: give the digest of the one that was scanned: ${byDigest(running)}`);
    if (found) return found.configDigest;
    const others = imagesOfRepository(images, image);
    const offered = others.length > 0 ? `; of the same repository there run ${byDigest(others)}` : "";
    throw new AdministrationError("NOT_FOUND", `no container runs ${image.slice(0, 200)}`, `give the digest of what was scanned${offered}`);
  }

  async #next<T>(step: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(step, step);
    this.#turn = turn.catch(() => undefined);
    return await turn;
  }
}

function namesIn({ findings, statements }: Pick<VulnerabilityReportRow, "findings" | "statements">): number {
  let count = 0;
  for (const { aliases, fixedIn } of findings) count += aliases.length + fixedIn.length;
  for (const { ids, products } of statements) count += products.reduce((sum, { parts }) => sum + 1 + parts.length, ids.length);
  return count;
}

/** One report counts of each image, form and tool, whatever the tool's version; of a maker each document by its id. */
function sourceOf({ image, format, tool }: VulnerabilityReportRow): string {
  const name = format === "openvex" || format === "csaf" ? tool : (tool.split(" ", 1)[0] ?? "");
  return `${image} ${format} ${name.toLowerCase()}`;
}
