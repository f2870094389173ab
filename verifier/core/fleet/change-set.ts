/** Gathers what one step decides (rows and log entries) and puts it together as one draft for the committer. */
import type { AffirmedImageRow, AffirmedRevisionRow, BootRow, DriftRow, EvidenceWrite, ImaRow, NodeRow, QuoteRow, WorkloadRow } from "../../ports/rows.ts";
import type { StoreCommit } from "../../ports/store.ts";
import type { AlertSubject } from "../alerting/subject.ts";
import type { LogEntry } from "../transparency/entry.ts";
import { affirmedImages, affirmedRevisions } from "./affirmed-images.ts";
import type { Draft } from "./committer.ts";
import { entryDue } from "./drift-entries.ts";
import { driftFact, nodeVerdict, workloadVerdict } from "./log-facts.ts";

type Extras = Pick<StoreCommit, "spendNonce" | "coverage" | "forgottenNodes" | "removedEks">;

export class ChangeSet {
  readonly #nowMs: number;
  readonly #entries: LogEntry[] = [];
  readonly #workloads = new Map<string, WorkloadRow>();
  readonly #removed: { nodeId: string; containerId: string }[] = [];
  /** By number. `entry`: which of the entries tells of it; -1: none. */
  readonly #drifts = new Map<number, { row: DriftRow; entry: number; opened: boolean }>();
  readonly #affirmed: AffirmedImageRow[] = [];
  readonly #revisions: AffirmedRevisionRow[] = [];
  readonly #subjects: AlertSubject[] = [];
  #node: NodeRow | undefined;
  #quote: QuoteRow | undefined;
  #evidence: EvidenceWrite | undefined;
  #boot: BootRow | undefined;
  #ima: ImaRow | undefined;
  #extras: Extras = {};

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  get empty(): boolean {
    return (
      !this.#node &&
      !this.#quote &&
      !this.#evidence &&
      !this.#boot &&
      !this.#ima &&
      this.#entries.length + this.#workloads.size + this.#removed.length + this.#drifts.size === 0
    );
  }

  get openedDrifts(): boolean {
    return [...this.#drifts.values()].some(({ opened }) => opened);
  }

  /** Whether new Evidence is what leads to these changes: not a policy, an image or the clock. */
  get tellsEvidence(): boolean {
    return this.#evidence !== undefined;
  }

  /** An alert that is no drift's. */
  tell(subject: AlertSubject): void {
    this.#subjects.push(subject);
  }

  note(entry: LogEntry): void {
    this.#entries.push(entry);
  }

  evidence(write: EvidenceWrite): void {
    this.#evidence = write;
  }

  boot(row: BootRow): void {
    this.#boot = row;
  }

  ima(row: ImaRow): void {
    this.#ima = row;
  }

  extras(extras: Extras): void {
    this.#extras = { ...this.#extras, ...extras };
  }

  /** A change of verdict is a fact of the log; the rest of the row is not. */
  node(row: NodeRow, before: NodeRow | undefined): void {
    this.#node = row;
    if (before && before.verdict !== row.verdict) this.#entries.push(nodeVerdict(row, before.verdict, this.#nowMs));
  }

  /** All that is new of a node is its quote. */
  quote(row: QuoteRow): void {
    this.#quote = row;
  }

  workload(row: WorkloadRow, before: WorkloadRow | undefined): void {
    this.#workloads.set(row.containerId, row);
    this.#affirmed.push(...affirmedImages(row, before, this.#nowMs));
    this.#revisions.push(...affirmedRevisions(row, before, this.#nowMs));
    if (!before || before.verdict !== row.verdict || before.content !== row.content || before.provenance?.status !== row.provenance?.status)
      this.#entries.push(workloadVerdict(row, before, this.#nowMs));
  }

  removeWorkload(nodeId: string, containerId: string): void {
    this.#workloads.delete(containerId);
    this.#removed.push({ nodeId, containerId });
  }

  /** @param before undefined where the drift is opened here @returns the row to keep: it knows of its entries in the log */
  drift(row: DriftRow, before: DriftRow | undefined): DriftRow {
    const entries = entryDue(row, before, this.#nowMs);
    const kept = entries ? { ...row, entries } : row;
    const entry = entries ? this.#entries.push(driftFact(kept, this.#nowMs)) - 1 : (this.#drifts.get(row.number)?.entry ?? -1);
    this.#drifts.set(row.number, { row: kept, entry, opened: !before });
    return kept;
  }

  /** @param clock Unix milliseconds at the moment the transaction is put together */
  draft(clock: () => number): Draft {
    return {
      entries: this.#entries,
      subjects: this.#subjects,
      build: (firstLogIndex) => {
        const nowMs = clock();
        return {
          ...this.#extras,
          ...(this.#node && { nodes: [this.#node] }),
          ...(this.#quote && { quote: this.#quote }),
          ...(this.#evidence && { evidence: this.#evidence }),
          ...(this.#boot && { boots: [this.#boot] }),
          ...(this.#ima && { imas: [this.#ima] }),
          ...(this.#affirmed.length > 0 && { affirmedImages: this.#affirmed }),
          ...(this.#revisions.length > 0 && { affirmedRevisions: this.#revisions }),
          workloads: [...this.#workloads.values()],
          removedWorkloads: this.#removed,
          drifts: [...this.#drifts.values()].map(({ row, entry, opened }) => ({
            ...row,
            ...(opened && { committedAtMs: nowMs }),
            ...(entry >= 0 && { logIndex: firstLogIndex + entry }),
          })),
        };
      },
    };
  }
}
