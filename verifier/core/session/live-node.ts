/**
 * One node while it is looked at: its memory, its containers' results and its open drifts, and how they follow from each other.
 * Rows here run ahead of the store by what is on its way there; where a commit fails, the whole object is thrown away and read again.
 */
import { isDeepStrictEqual } from "node:util";
import type { LayerUpdate, MeasurementPolicy } from "@hullmark/proto/v1/attestation";
import { Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import type { Meter } from "../../ports/meter.ts";
import type { DriftRow, NodeRow, WorkloadRow } from "../../ports/rows.ts";
import type { StoreCommit } from "../../ports/store.ts";
import { actorOf } from "../appraisal/actor.ts";
import type { AppraisalMemo } from "../appraisal/appraise-container.ts";
import type { Overdue } from "../appraisal/appraise-node.ts";
import { reconcile, showsFinding } from "../appraisal/lifecycle.ts";
import { timestampMs } from "../appraisal/time.ts";
import type { Finding, NodeMemory } from "../appraisal/types.ts";
import type { ChangeSet } from "../fleet/change-set.ts";
import type { DriftNumbers } from "../fleet/drift-id.ts";
import { type AnyFinding, type DriftSubject, isOpen, openDrift, resolveDrift, updateDrift } from "../fleet/drift-rows.ts";
import { withEffective } from "../fleet/effective.ts";
import { appraisedNode, describedNode, isSilent } from "../fleet/node-appraisal.ts";
import { nodeConclusive, nodeFindings } from "../fleet/node-findings.ts";
import type { Images } from "../images/types.ts";
import type { PodJoin, PodStanding } from "../pods/index.ts";
import type { Policy } from "../policy/types.ts";
import { type AppraisalContext, type AppraisedContainer, appraise, unappraised } from "./appraiser.ts";
import { type Comparisons, LayerActors } from "./comparisons.ts";

/** A row that says nothing new is written again this often, for its time alone. */
const REWRITE_SEEN_MS = 30_000;

export interface LiveNodeParts {
  readonly node: NodeRow;
  readonly memory: NodeMemory;
  readonly workloads: readonly WorkloadRow[];
  readonly drifts: readonly DriftRow[];
}

export interface LiveNodeServices {
  readonly images: Images;
  readonly meter: Meter;
  readonly numbers: DriftNumbers;
  readonly comparisons: Comparisons;
  readonly overloaded: (nowMs: number) => boolean;
  readonly overdue: () => Overdue;
  /** undefined: no API server is asked about pods. */
  readonly pods: PodJoin | undefined;
  /** A container could not be appraised: a defect, to be logged with its cause. */
  readonly onProblem: (containerId: string, error: unknown) => void;
}

/** A policy, and what images are under it. */
export type Simulated = Pick<AppraisalContext, "policy" | "images">;

export class LiveNode {
  readonly #services: LiveNodeServices;
  readonly #workloads: Map<string, WorkloadRow>;
  /** Container (empty: the node itself) → key → unresolved drift. */
  readonly #drifts = new Map<string, Map<string, DriftRow>>();
  readonly #actors = new LayerActors();
  /** Container → what its appraisal waits for or rests on. */
  readonly #imageKeys = new Map<string, string>();
  readonly #comparing = new Map<string, ReadonlySet<string>>();
  /** Container → what its last appraisal left to the next. */
  readonly #memos = new Map<string, AppraisalMemo>();
  /** Container → what the API server said of its pod when it was appraised last. */
  readonly #standings = new Map<string, PodStanding | undefined>();
  /** Containers whose last appraisal failed. */
  readonly #failed = new Set<string>();
  /** What each row was last brought up to date with. */
  readonly #shown = new WeakMap<DriftRow, AnyFinding>();
  /** When the row was last written for nothing but a newer `lastSeenMs`, or for more. */
  #writtenMs = 0;
  node: NodeRow;
  memory: NodeMemory;
  connected = true;
  /** Why the newest report could not be taken; undefined: it was. */
  barred: string | undefined;
  /** How far its clock is ahead of the verifier's, negative: behind; undefined: not told (yet). */
  clockAheadMs: number | undefined;

  constructor({ node, memory, workloads, drifts }: LiveNodeParts, services: LiveNodeServices) {
    this.#services = services;
    this.node = node;
    this.memory = memory;
    this.#workloads = new Map(workloads.map((row) => [row.containerId, row]));
    for (const row of drifts) this.#put(row);
  }

  /** Appraises containers anew and notes what changes. */
  appraise(ids: Iterable<string>, policy: Policy, measurement: MeasurementPolicy, changes: ChangeSet, nowMs: number): void {
    for (const id of ids) {
      const state = this.memory.containers.get(id);
      if (!state) continue;
      const before = this.#workloads.get(id);
      let row: WorkloadRow;
      try {
        const { images, pods } = this.#services;
        const standing = pods?.standing(state.identity, this.node.name, nowMs);
        this.#standings.set(id, standing);
        const context = this.#context({ policy, images }, measurement, standing);
        const memo = this.#memos.get(id);
        // Whatever fails from here on, it is not used again.
        this.#memos.delete(id);
        const appraised = this.#services.meter.appraisal(() => appraise(state, context, nowMs, memo));
        this.#memos.set(id, appraised.appraisal.memo);
        row = this.#reconcile(appraised, this.#provenWithout(before, changes), changes, nowMs);
        this.#imageKeys.set(id, appraised.imageKey);
        this.#comparing.set(id, appraised.comparing);
        this.#failed.delete(id);
      } catch (error) {
        this.#failed.add(id);
        this.#services.onProblem(id, error);
        row = unappraised(before, state, this.node, "the appraisal failed; see the verifier's log", nowMs);
      }
      if (before && nowMs - before.appraisedAtMs < REWRITE_SEEN_MS && sameResult(before, row)) continue;
      this.#workloads.set(id, row);
      changes.workload(row, before);
    }
  }

  /** What a policy would say of a container as it is known now: nothing changes by it. undefined: there is no such container. */
  simulate(id: string, under: Simulated, measurement: MeasurementPolicy, nowMs: number): AppraisedContainer | undefined {
    const state = this.memory.containers.get(id);
    return state && appraise(state, this.#context(under, measurement, this.#standings.get(id)), nowMs);
  }

  /** The node's row as it would be with another appraisal of its boot. Nothing changes by it. */
  simulateNode(boot: NodeRow["boot"], { intervals }: Policy, nowMs: number): NodeRow {
    const { connected, barred, clockAheadMs } = this;
    const view = { row: { ...this.node, boot }, state: this.memory.node, connected, barred, clockAheadMs };
    return appraisedNode({ ...view, overloaded: this.#services.overloaded(nowMs), overdue: this.#services.overdue() }, intervals, nowMs);
  }

  #context({ policy, images }: Simulated, measurement: MeasurementPolicy, podStanding: PodStanding | undefined): AppraisalContext {
    return {
      ...{ node: this.node, policy, images, podStanding, actors: this.#actors, comparisons: this.#services.comparisons },
      measurementDigest: Buffer.from(measurement.digest),
      architecture: this.memory.node?.architecture ?? "",
    };
  }

  /**
   * What new Evidence tells of a container that was judged as a whole was not there when the newest quote that held was asked for. What a new policy or image
   * finds may have been.
   */
  #provenWithout(before: WorkloadRow | undefined, changes: ChangeSet): number | undefined {
    return changes.tellsEvidence && before && before.appraised.content !== Verdict.UNKNOWN ? this.node.lastQuoteMs : undefined;
  }

  #reconcile(
    { row, appraisal, subject, conclusive }: ReturnType<typeof appraise>,
    notBeforeMs: number | undefined,
    changes: ChangeSet,
    nowMs: number,
  ): WorkloadRow {
    this.#reconcileDrifts(subject, appraisal.findings, conclusive, changes, nowMs, notBeforeMs);
    let [openDrifts, notices] = [0, 0];
    for (const drift of this.#drifts.get(row.containerId)?.values() ?? []) {
      if (isOpen(drift)) openDrifts++;
      else if (drift.state === DriftState.NOTICE) notices++;
    }
    return { ...row, openDrifts, notices };
  }

  #reconcileDrifts(
    subject: DriftSubject,
    findings: readonly AnyFinding[],
    conclusive: boolean | ((drift: DriftRow) => boolean),
    changes: ChangeSet,
    nowMs: number,
    notBeforeMs?: number,
  ): void {
    const known = this.#drifts.get(subject.containerId) ?? new Map<string, DriftRow>();
    if (known.size === 0 && findings.length === 0) return;
    const shows = (drift: DriftRow, finding: Finding): boolean => {
      if (this.#shown.get(drift) === finding) return true;
      const same = showsFinding(drift, finding);
      if (same) this.#shown.set(drift, finding);
      return same;
    };
    const { opened, updated, resolved } = reconcile(known, findings as readonly Finding[], conclusive, shows);
    for (const finding of opened) this.#show(openDrift(this.#services.numbers.next(), finding, subject, nowMs, notBeforeMs), undefined, finding, changes);
    for (const { drift, finding } of updated) this.#show(updateDrift(drift, finding, subject, nowMs), drift, finding, changes);
    for (const drift of resolved) this.#change(resolveDrift(drift, nowMs), drift, changes);
  }

  #show(row: DriftRow, before: DriftRow | undefined, finding: AnyFinding, changes: ChangeSet): void {
    this.#shown.set(this.#change(row, before, changes), finding);
  }

  /** @returns the row as it is kept */
  #change(row: DriftRow, before: DriftRow | undefined, changes: ChangeSet): DriftRow {
    const kept = changes.drift(row, before);
    this.#put(kept);
    return kept;
  }

  #put(row: DriftRow): void {
    const ofContainer = this.#drifts.get(row.containerId) ?? new Map<string, DriftRow>();
    this.#drifts.set(row.containerId, ofContainer);
    if (row.state === DriftState.RESOLVED) ofContainer.delete(row.key);
    else ofContainer.set(row.key, row);
    if (ofContainer.size === 0) this.#drifts.delete(row.containerId);
  }

  /** A container that is gone has no drift any more. */
  remove(id: string, changes: ChangeSet, nowMs: number): void {
    for (const row of [...(this.#drifts.get(id)?.values() ?? [])]) this.#change(resolveDrift(row, nowMs), row, changes);
    this.#services.pods?.forget(id);
    this.#imageKeys.delete(id);
    this.#comparing.delete(id);
    this.#memos.delete(id);
    this.#standings.delete(id);
    this.#failed.delete(id);
    if (this.#workloads.delete(id)) changes.removeWorkload(this.node.id, id);
  }

  /** It is no node any more: nothing of it stands. */
  clear(changes: ChangeSet, nowMs: number): void {
    for (const id of new Set([...this.#workloads.keys(), ...this.#drifts.keys()])) this.remove(id, changes, nowMs);
    changes.extras({ forgottenNodes: [this.node.id] });
  }

  /** Containers whose last appraisal failed: to be tried again. */
  unappraised(): string[] {
    return [...this.#failed];
  }

  /** Rows of containers that the memory does not hold (after a new chain). */
  forgotten(): string[] {
    return [...new Set([...this.#workloads.keys(), ...this.#drifts.keys()])].filter((id) => id !== "" && !this.memory.containers.has(id));
  }

  /** Brings the node's own verdict up to date, and with it what is shown of every container. @param change of the row, besides */
  update(change: Partial<NodeRow>, policy: Policy, changes: ChangeSet, nowMs: number): void {
    const before = this.node;
    const changed: NodeRow = Object.keys(change).length > 0 ? { ...before, ...change } : before;
    const { node: state } = this.memory;
    const described = state ? describedNode(changed, state, this.memory.containers.size) : changed;
    this.node = !this.#judged(changed, policy, nowMs)
      ? described
      : appraisedNode(
          {
            row: described,
            connected: this.connected,
            state,
            barred: this.barred,
            clockAheadMs: this.clockAheadMs,
            overloaded: this.#services.overloaded(nowMs),
            overdue: this.#services.overdue(),
          },
          policy.intervals,
          nowMs,
        );
    if (this.node === before || onlyQuoted(before, this.node)) {
      const { id, lastQuoteMs, clock } = this.node;
      if (nowMs - this.#writtenMs >= REWRITE_SEEN_MS) this.#write(before, changes, nowMs);
      else if (this.node !== before && lastQuoteMs !== undefined && clock) changes.quote({ nodeId: id, lastQuoteMs, clock });
      return;
    }
    this.#write(before, changes, nowMs);
    this.#reconcileDrifts(this.#nodeSubject(), nodeFindings(this.node, policy), (drift) => nodeConclusive(this.node, drift), changes, nowMs);
    for (const [id, row] of this.#workloads) {
      const shown = withEffective(this.node, row);
      if (shown === row) continue;
      this.#workloads.set(id, shown);
      changes.workload(shown, row);
    }
  }

  /** A node that has just gone keeps its last verdict until its silence says something: its own words are not at hand any more. */
  #judged({ revokedAtMs, lastSeenMs }: NodeRow, { intervals }: Policy, nowMs: number): boolean {
    return this.connected || revokedAtMs !== undefined || isSilent(lastSeenMs, intervals, nowMs);
  }

  /** A person's decision on the node; its verdict follows. */
  restore(change: Partial<Omit<NodeRow, "id" | "name">>, changes: ChangeSet): void {
    const before = this.node;
    this.node = { ...before, ...change };
    changes.node(this.node, before);
  }

  /** The node has enrolled again while it is looked at: identity, keys and clock are the new ones. Which boot speaks here its Hello has said: a copy may enrol. */
  enrolled({ name, trustLevel, enrolledAtMs, ...row }: NodeRow): NodeRow {
    const { ekSha256, ekCertificateSha256, ekPublic, akPublic, clock, clockLost, akReplacedAtMs, uncleared, quotedBoot } = row;
    const keys = { ekSha256, ekCertificateSha256, ekPublic, akPublic, clock, clockLost, akReplacedAtMs, uncleared, quotedBoot };
    this.node = { ...this.node, name, trustLevel, enrolledAtMs, ...keys };
    return this.node;
  }

  /** A sign of life counts where the node has nothing to say that was not taken: what cannot be taken must not keep alive what was said before. */
  alive(lastSeq: bigint, nowMs: number): void {
    const { seq } = this.memory;
    if (seq > 0n && lastSeq <= seq && this.barred === undefined) this.touch(nowMs);
  }

  /** A sign of life. Durable now and then only: the Evidence heads tell more exactly. */
  touch(nowMs: number): void {
    this.node = { ...this.node, lastSeenMs: nowMs };
  }

  #write(before: NodeRow, changes: ChangeSet, nowMs: number): void {
    this.#writtenMs = nowMs;
    changes.node(this.node, before);
  }

  #nodeSubject(): DriftSubject {
    const { id, name } = this.node;
    const layer = (): { diffId: string; history: string } => ({ diffId: "", history: "" });
    return { nodeId: id, nodeName: name, containerId: "", containerName: "", workload: "", imageReference: "", configDigest: "", provenance: undefined, layer };
  }

  noteLayerChanges(updates: readonly LayerUpdate[]): void {
    for (const { id, changes } of updates) {
      for (const change of changes.slice(0, LayerActors.MAX_PATHS)) {
        const changedAtMs = change.changedAt && timestampMs(change.changedAt);
        this.#actors.note(id, Buffer.from(change.path), { actor: actorOf(change), changedAtMs });
      }
    }
  }

  /** Containers of these pods; of which the view of pods says something else now that time has passed. */
  containersOfPods(uids: ReadonlySet<string>): readonly string[] {
    return this.#services.pods?.ofPods(uids) ?? [];
  }

  containersDue(nowMs: number): readonly string[] {
    return this.#services.pods?.due(nowMs) ?? [];
  }

  containersOnImages(keys: ReadonlySet<string>): string[] {
    return [...this.#imageKeys].filter(([, key]) => keys.has(key)).map(([id]) => id);
  }

  containersComparing(tree: string): string[] {
    return [...this.#comparing].filter(([, trees]) => trees.has(tree)).map(([id]) => id);
  }

  /** Containers that share a layer whose directory changed. */
  containersOnLayers(updates: readonly LayerUpdate[]): string[] {
    const ids = new Set(updates.map(({ id }) => id));
    return [...this.memory.containers.values()].filter(({ filesystem }) => filesystem.layers.some(({ id }) => ids.has(id))).map(({ id }) => id);
  }

  /** Takes over what the transaction added to the rows: log positions and times of commit. A person's acknowledgement is taken over too. */
  committed({ drifts = [] }: StoreCommit): void {
    for (const row of drifts) {
      const present = this.#drifts.get(row.containerId)?.get(row.key);
      if (present?.number !== row.number) continue;
      const next = { ...present, logIndex: Math.max(present.logIndex, row.logIndex), committedAtMs: Math.max(present.committedAtMs, row.committedAtMs) };
      const shown = this.#shown.get(present);
      if (shown) this.#shown.set(next, shown);
      this.#put(next);
    }
  }

  /** An unresolved drift of this node by its name. */
  drift(id: string): DriftRow | undefined {
    for (const ofContainer of this.#drifts.values()) for (const row of ofContainer.values()) if (row.id === id) return row;
    return undefined;
  }

  replaceDrift(row: DriftRow, before: DriftRow, changes: ChangeSet): void {
    this.#change(row, before, changes);
  }
}

/** Whether nothing but the time and clock of its quote tells two rows of one node apart. */
function onlyQuoted(a: NodeRow, b: NodeRow): boolean {
  for (const name of Object.keys(b) as (keyof NodeRow)[]) if (name !== "lastQuoteMs" && name !== "clock" && a[name] !== b[name]) return false;
  return true;
}

/** Whether two rows of one container say the same, but for when. */
function sameResult(a: WorkloadRow, b: WorkloadRow): boolean {
  for (const name of Object.keys(b) as (keyof WorkloadRow)[]) {
    if (name !== "appraisedAtMs" && a[name] !== b[name] && !isDeepStrictEqual(a[name], b[name])) return false;
  }
  return true;
}
