/**
 * Living baselines: reference values of a pool of nodes, proposed from what chosen nodes prove, and paths that a workload writes, proposed from its drift; approved by
 * somebody else, ended by name. Each step is an entry of the log. A baseline adds to the policy, and outlives changes of it. One of a pool asks for something, and counts
 * past its review date; one of a workload lets something be, and ends then.
 */
import { hash } from "node:crypto";
import type { BaselineRow, ClaimRow, NodeRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import type { AlertSubject } from "../alerting/subject.ts";
import { holds } from "../appraisal/appraise-node.ts";
import type { LeftOut } from "../learning/learn.ts";
import { judgedPcr } from "../measured-boot/replay.ts";
import { bootRules } from "../policy/index.ts";
import { AdministrationError } from "./administration.ts";
import { claimRow } from "./claims.ts";
import type { Committer } from "./committer.ts";
import type { Fleet } from "./fleet.ts";
import { adminFact } from "./log-facts.ts";
import { quotedMs } from "./node-appraisal.ts";
import type { PolicyHolder } from "./policy-holder.ts";
import { type LearningStore, learnFrom, together, usesOf } from "./workload-baselines.ts";

const DAY_MS = 86_400_000;
/** People are reminded so long before the review date, or when three quarters of a shorter life are over. */
const REMIND_MS = 7 * DAY_MS;
/** Proposed and approved at one time. */
const MAX_ALIVE = 256;
const MAX_ROWS = 10_000;
const MAX_FILES = 10_000;

export interface BaselineServices {
  readonly store: Pick<Store, "readBaselines" | "readBoot" | "readIma"> & LearningStore;
  readonly fleet: Fleet;
  readonly committer: Committer;
  readonly policies: PolicyHolder;
  /** By whatever credentials. */
  readonly samePerson: (a: string, b: string) => boolean;
  readonly nowMs: () => number;
}

export interface Proposal {
  readonly pool: string;
  /** Names or ids. */
  readonly nodes: readonly string[];
  readonly pcrs: readonly number[];
  readonly files: boolean;
  readonly reason: string;
  /** Who answers for it; empty: whoever proposes. */
  readonly owner: string;
}

export interface WorkloadProposal {
  /** As drift names it; without one the container's name. */
  readonly workload: string;
  /** How long ago what it wrote begins to count. */
  readonly sinceMs: number;
  readonly reason: string;
  readonly owner: string;
}

export class Baselines {
  readonly #services: BaselineServices;
  #rows: readonly BaselineRow[];
  /** Steps follow each other: what one decides by, no other changes meanwhile. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(services: BaselineServices, rows: readonly BaselineRow[]) {
    this.#services = services;
    this.#rows = rows;
  }

  /** With what is stored, in force. @throws StoreError */
  static async open(services: BaselineServices): Promise<Baselines> {
    const baselines = new Baselines(services, await services.store.readBaselines());
    await baselines.#use();
    return baselines;
  }

  get rows(): readonly BaselineRow[] {
    return this.#rows;
  }

  /** Of pools: approved, and past their date. */
  get toReview(): readonly BaselineRow[] {
    const nowMs = this.#services.nowMs();
    return this.#ofPools().filter(({ reviewAtMs = Number.POSITIVE_INFINITY }) => reviewAtMs <= nowMs);
  }

  get claims(): readonly ClaimRow[] {
    const rules = new Set(this.#services.policies.current.nodes.map(({ name }) => name));
    const ending = this.#counting().filter((row) => isWorkloads(row) && row.remindedAtMs !== undefined);
    const unused = this.#ofPools().filter(({ pool }) => !rules.has(pool));
    return [
      ...this.toReview.map(({ id, approvedBy }) => claimRow("baseline-review", `${id}, approved by ${approvedBy}, is past its review date`)),
      ...ending.map(({ id, reviewAtMs = 0 }) => claimRow("baseline-ending", `${id} ends at ${new Date(reviewAtMs).toISOString()}: propose the next version`)),
      ...unused.map(({ id, pool }) => claimRow("baseline-unused", `${id}: the policy has no rule for nodes that is called ${pool}`)),
    ];
  }

  /** @returns the id. @throws AdministrationError NOT_FOUND, UNPROVEN, TOO_MANY; StoreError */
  async propose({ pool, nodes, pcrs, files, reason, owner }: Proposal, by: string): Promise<string> {
    return await this.#next(async () => {
      this.#checkRoom();
      const observed = await Promise.all(nodes.map((name) => this.#observe(pool, name, pcrs, files)));
      const values = (index: number): string[] => [...new Set(observed.flatMap((each) => each.pcrs.get(index) ?? []))].sort();
      const row: BaselineRow = {
        ...this.#proposed(pool, reason, owner, by),
        pool,
        pcrs: Object.fromEntries(pcrs.map((index) => [String(index), values(index)])),
        // What the pool's approved versions vouch for is among no node's unknown files; without it their end would be an alarm for every file of before.
        files: files ? [...new Set([...observed, ...this.#approved().filter((each) => each.pool === pool)].flatMap((each) => each.files))].sort() : [],
        nodes: observed.map(({ name }) => name),
      };
      if (row.files.length > MAX_FILES) throw new AdministrationError("TOO_MANY", `${row.files.length} files, limit ${MAX_FILES}`);
      await this.#put(row, "baseline-proposed", by, reason);
      return row.id;
    });
  }

  /**
   * From what the workload wrote on nodes that are believed, and from what its approved versions let be that is there still.
   * @throws AdministrationError NOT_FOUND: nothing that can be learned was seen. TOO_MANY; StoreError
   */
  async proposeWorkload({ workload, sinceMs, reason, owner }: WorkloadProposal, by: string): Promise<ProposedWorkload> {
    return await this.#next(async () => {
      this.#checkRoom();
      const { store, fleet, nowMs } = this.#services;
      const believed = (nodeId: string): boolean => {
        const node = fleet.get(nodeId);
        return node !== undefined && !contradictsItself(node);
      };
      const { groups, leftOut } = await learnFrom(store, workload, nowMs() - sinceMs, believed);
      const approved = this.#counting().filter((row) => row.workload === workload);
      const learned = together(groups, approved, await usesOf(store, approved));
      if (learned.length === 0) {
        const [first] = leftOut;
        const why = first ? `nothing that it wrote can be learned: ${first.path}: ${first.why}` : "no drift of that workload was seen in this time";
        throw new AdministrationError("NOT_FOUND", why);
      }
      const named = { ...this.#proposed(workload, reason, owner, by), pool: "", workload };
      await this.#put({ ...named, pcrs: {}, files: [], nodes: [], learned }, "baseline-proposed", by, reason);
      return { id: named.id, leftOut };
    });
  }

  /** What time alone brings: one of a workload is over at its review date, and before it people are reminded. @throws StoreError: it comes again */
  async tick(): Promise<void> {
    await this.#next(async () => {
      const nowMs = this.#services.nowMs();
      const over = this.#approved().filter((row) => isWorkloads(row) && (row.reviewAtMs ?? 0) <= nowMs);
      // First: whether it can be written or not, what is over does not count.
      if (over.length > 0) await this.#use();
      for (const row of over) await this.#put({ ...row, state: "expired" }, "baseline-expired", "", "its review date is past");
      for (const row of this.#approved()) if (row.remindedAtMs === undefined && remindAtMs(row) <= nowMs) await this.#remind({ ...row, remindedAtMs: nowMs });
    });
  }

  /** @throws AdministrationError NOT_FOUND, NOT_OPEN, OWN_REQUEST; StoreError */
  async approve(id: string, reviewDays: number, by: string): Promise<void> {
    await this.#next(async () => {
      const row = this.#row(id);
      if (row.state !== "proposed") throw new AdministrationError("NOT_OPEN", `${id} is ${row.state}`);
      if (this.#services.samePerson(row.proposedBy, by)) throw new AdministrationError("OWN_REQUEST", "whoever proposed a baseline cannot approve it");
      const nowMs = this.#services.nowMs();
      await this.#put(
        { ...row, state: "approved", approvedBy: by, approvedAtMs: nowMs, reviewAtMs: nowMs + reviewDays * DAY_MS },
        "baseline-approved",
        by,
        row.reason,
      );
    });
  }

  /** @param last see ExpireBaselineRequest. @throws AdministrationError NOT_FOUND, NOT_OPEN, LAST; StoreError */
  async expire(id: string, reason: string, last: boolean, by: string): Promise<void> {
    await this.#next(async () => {
      const row = this.#row(id);
      if (row.state === "expired") throw new AdministrationError("NOT_OPEN", `${id} has ended`);
      const others = this.#approved().some((each) => each.pool === row.pool && each.id !== id);
      if (row.state === "approved" && !isWorkloads(row) && !others && !last)
        throw new AdministrationError("LAST", `${id} is the last of its pool: nothing would be asked for in its place`);
      await this.#put({ ...row, state: "expired" }, "baseline-expired", by, reason);
    });
  }

  #approved(): BaselineRow[] {
    return this.#rows.filter(({ state }) => state === "approved");
  }

  #ofPools(): BaselineRow[] {
    return this.#approved().filter((row) => !isWorkloads(row));
  }

  /** Approved and, where it excuses something, not over. */
  #counting(): BaselineRow[] {
    const nowMs = this.#services.nowMs();
    return this.#approved().filter((row) => !isWorkloads(row) || (row.reviewAtMs ?? 0) > nowMs);
  }

  async #use(): Promise<void> {
    await this.#services.policies.useBaselines(this.#counting());
  }

  #checkRoom(): void {
    if (this.#rows.length >= MAX_ROWS || this.#rows.filter(({ state }) => state !== "expired").length >= MAX_ALIVE)
      throw new AdministrationError("TOO_MANY", "too many baselines: end some");
  }

  /** @param name of the pool or workload: of one that is called as the other is, versions are counted on */
  #proposed(name: string, reason: string, owner: string, by: string) {
    const version = 1 + this.#rows.filter((row) => (row.workload || row.pool) === name).reduce((newest, row) => Math.max(newest, row.version), 0);
    return {
      ...{ id: `${name}@${version}`, version, state: "proposed" as const, reason, owner: owner || by, proposedBy: by, proposedAtMs: this.#services.nowMs() },
      ...{ approvedBy: "", approvedAtMs: undefined, reviewAtMs: undefined },
    };
  }

  #row(id: string): BaselineRow {
    const row = this.#rows.find((each) => each.id === id);
    if (!row) throw new AdministrationError("NOT_FOUND", "no such baseline");
    return row;
  }

  /** What one node proves now: of a node that contradicts itself or has gone, nothing is taken over. */
  async #observe(pool: string, idOrName: string, pcrs: readonly number[], files: boolean) {
    const { store, fleet, policies, nowMs } = this.#services;
    const node = fleet.find(idOrName);
    if (!node) throw new AdministrationError("NOT_FOUND", `no node is called ${idOrName.slice(0, 64)}`);
    const { name } = node;
    if (bootRules(policies.current, name)?.rule !== pool)
      throw new AdministrationError("NOT_FOUND", `the policy's rule for node ${name} is not ${pool.slice(0, 64)}`);
    const unproven = (why: string): AdministrationError => new AdministrationError("UNPROVEN", `node ${name} ${why}`);
    if (contradictsItself(node)) throw unproven("contradicts itself, or is revoked");
    const boot = await store.readBoot(node.id);
    if (!boot || !holds(quotedMs(node), policies.current.intervals.quoteSeconds * 1000, nowMs())) throw unproven("has no quote that is fresh");
    const values = new Map<number, string>();
    for (const index of pcrs) {
      const quoted = judgedPcr(boot.pcrs, index);
      if (!quoted) throw unproven(`does not quote PCR ${index}`);
      values.set(index, Buffer.from(quoted.value).toString("hex"));
    }
    const list = files ? await store.readIma(node.id) : undefined;
    if (files && list?.standing !== "proven") throw unproven("has no measurement list that PCR 10 proves");
    if (list && list.moreItems > 0) throw unproven("measured more unknown files than are kept one by one");
    const digests = list?.items.flatMap(({ digest }) => /^sha256:([0-9a-f]{64})$/.exec(digest)?.[1] ?? []) ?? [];
    return { name, pcrs: values, files: digests };
  }

  async #put(row: BaselineRow, action: string, by: string, reason: string): Promise<void> {
    const { committer, nowMs } = this.#services;
    const { id, owner = null, reviewAtMs } = row;
    const review = reviewAtMs === undefined ? null : Math.floor(reviewAtMs);
    const fact = adminFact(action, nowMs(), { baseline: id, by: by === "" ? null : by, reason, owner, review, ...factsOf(row) });
    const subjects = row.state === "expired" && row.remindedAtMs !== undefined ? [reminder(row, false, nowMs())] : [];
    await committer.submit({ entries: [fact], build: () => ({ baselines: [row] }), subjects });
    this.#replace(row);
    await this.#use();
  }

  async #remind(row: BaselineRow): Promise<void> {
    const { committer, nowMs } = this.#services;
    await committer.submit({ entries: [], build: () => ({ baselines: [row] }), subjects: [reminder(row, true, nowMs())] });
    this.#replace(row);
  }

  #replace(row: BaselineRow): void {
    this.#rows = [...this.#rows.filter((each) => each.id !== row.id), row];
  }

  async #next<T>(step: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(step, step);
    this.#turn = turn.catch(() => undefined);
    return await turn;
  }
}

export interface ProposedWorkload {
  readonly id: string;
  readonly leftOut: readonly LeftOut[];
}

/** Texts of an entry are bounded: the digest stands for all of it. */
function factsOf({ pool, workload = "", pcrs, files, nodes, learned = [] }: BaselineRow) {
  if (workload !== "") {
    const paths = learned.reduce((sum, group) => sum + group.paths.length, 0);
    return { workload, paths, digest: `sha256:${hash("sha256", JSON.stringify(learned))}` };
  }
  const shown = Object.entries(pcrs).map(([index, values]) => `${index}=${values.join("|")}`);
  const digest = `sha256:${hash("sha256", JSON.stringify([pcrs, files]))}`;
  return { pool, nodes: nodes.join(" "), files: files.length, pcrs: shown.join(" "), digest };
}

function remindAtMs({ approvedAtMs = 0, reviewAtMs = 0 }: BaselineRow): number {
  return reviewAtMs - Math.min(REMIND_MS, (reviewAtMs - approvedAtMs) / 4);
}

/** That one should be looked at again soon: open until it has ended. */
function reminder(row: BaselineRow, open: boolean, nowMs: number): AlertSubject {
  const { id, workload = "", reviewAtMs = 0, approvedBy, owner = row.proposedBy, reason } = row;
  const at = new Date(reviewAtMs).toISOString();
  const what = isWorkloads(row) ? `ends at ${at}, and what it lets be is drift again` : `should be looked at again by ${at}`;
  return {
    ...{ driftId: `baseline-${id}`, incident: "", image: "", state: open ? "open" : "resolved", kind: "baseline-review", place: "configuration" },
    ...{ severity: "medium", nodeName: "", workload, imageReference: "", containerName: "", path: new Uint8Array(0) },
    summary: `${id} ${what}: it is ${owner}'s, approved by ${approvedBy} (${reason})`,
    ...{ layerIndex: -1, layerHistory: "", actor: undefined, provenance: "", sinceMs: nowMs, logIndex: -1 },
  };
}

function isWorkloads({ workload = "" }: BaselineRow): boolean {
  return workload !== "";
}

function contradictsItself({ revokedAtMs, quoteRefused, chainBroken, reasons }: NodeRow): boolean {
  return revokedAtMs !== undefined || quoteRefused !== undefined || chainBroken !== undefined || reasons.some(({ code }) => code === "cloned");
}
