/**
 * From verdicts to actions. One thing is decided at a time, each on what is stored, and becomes durable (with its log entry, and the intent) before anybody
 * is told: a crash at any step loses nothing, and repeats nothing, since an actuator carries out each intent once.
 */
import { INTENT_ID_BYTES } from "@hullmark/proto/codec";
import type { CaptureTaken } from "@hullmark/proto/v1/capture";
import { Verdict } from "@hullmark/proto/v1/common";
import { ActionKind, ActionState, Outcome } from "@hullmark/proto/v1/response";
import type { ActionRow, ActionWrite, ClaimRow, PauseRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import { isAttested } from "../fleet/census.ts";
import { adminFact } from "../fleet/log-facts.ts";
import { keyOfNumber, keyOfWorkload, rowPages } from "../fleet/row-pages.ts";
import { counted } from "../text/counted.ts";
import type { LogEntry } from "../transparency/entry.ts";
import { type ActuatorName, actuatorName } from "./actuator-name.ts";
import { type ActuatorStream, ActuatorStreams } from "./actuator-streams.ts";
import { alarmSubject, BREAKING, nextAlarm, UNKNOWN_ALARM } from "./alarm.ts";
import { answered, capturing, isCaptureOver, leftAsItIs, patienceFor } from "./capture-first.ts";
import { MISSED, missed } from "./capture-missed.ts";
import { type CaptureAsked, CaptureRequests } from "./capture-requests.ts";
import { responseClaims, uncontainedWords } from "./claims.ts";
import { type Decision, freezesNow, HELD, type Held, HISTORY_MS, isFrozen, isOverBudget } from "./decide.ts";
import type { NodeDecision } from "./decide-node.ts";
import { lifetimeFor } from "./eviction.ts";
import { ActionHistory, LATE_REPORT_MS } from "./history.ts";
import { newRelease, refuseUndo, releaseApprovals, standingIsolations } from "./isolation.ts";
import { openPoison } from "./poison.ts";
import { CONTAINMENT_FAILED, newPurge, type PurgeSituation, purgedByHand, purgeHeldBy, purgeOwners, reportedPurge, uncontained, wellAgain } from "./purge.ts";
import { factsForPurge, type PurgeFacts, seenSincePurge } from "./purge-facts.ts";
import { isSameAction, peopleFor } from "./same-action.ts";
import { noSuchAction, ResponseError, type ResponseServices } from "./services.ts";
import { signaturesBy, signIntent } from "./signed-intent.ts";
import { type Affected, type Key, Situations } from "./situations.ts";
import type { StandingMarks } from "./standing-marks.ts";
import {
  actionFact,
  actionId,
  INTENT_LIFETIME_MS,
  intentBody,
  isOverdue,
  issued,
  newAction,
  newNodeAction,
  type Report,
  refusedAction,
  reported,
  settled,
  waiting,
} from "./steps.ts";
import { Turns } from "./turns.ts";
import { isMeasuring, UNSETTLED } from "./unsettled.ts";

type Act = Extract<Decision | NodeDecision, { act: true }>;
/** Containers that wait to be decided on; beyond it the oldest are looked at first, and what is over comes with its next verdict. */
const MAX_DIRTY = 100_000;
/** Held back containers, actions that wait for people, and those that wait for nodes, that are looked at again in one tick: of each so many. */
const MAX_LOOKS_A_TICK = 200;
/** Held back until something else says so: time alone changes nothing. */
const RESTING: ReadonlySet<Held> = new Set(["one-node", "same-image", "higher-risk", "given-up"]);
/** Containers that are decided on before anything else has its turn. */
const MAX_LOOKS_A_TURN = 32;

export class ResponseEngine {
  readonly #services: ResponseServices;
  /**
   * By id: all that are not settled, those of the last {@link HISTORY_MS}, those that tell what stands on nodes, or was asked for of one that is not well yet,
   * isolations of containers that are still there, purges that contained nothing, and those whose report may still come.
   */
  readonly #rows = new ActionHistory();
  readonly #dirty = new Set<Key>();
  readonly #held = new Map<Key, Held>();
  /** Containers whose action has waited for its node, and for no capture any more. */
  readonly #heldCaptures = new Map<Key, Held>();
  /** Containers that an action of longer ago isolates. */
  readonly #isolated = new Set<Key>();
  readonly #streams = new ActuatorStreams();
  readonly #situations: Situations;
  readonly #captures = new CaptureRequests();
  #pause: PauseRow | undefined;
  /** Intents were handed out when that was last looked at. */
  #handing = false;
  #alarm = UNKNOWN_ALARM;
  #lastNumber = 0;
  /** Of actions that wait for people, and of those that wait for their pods' nodes. */
  readonly #awaitingTurns = new Turns(MAX_LOOKS_A_TICK);
  readonly #capturingTurns = new Turns(MAX_LOOKS_A_TICK);
  #turn: Promise<unknown> = Promise.resolve();
  #draining = false;
  #stopped = false;

  private constructor(services: ResponseServices) {
    this.#services = services;
    this.#situations = new Situations(services, this.#rows, this.#streams, () => this.#pause !== undefined);
  }

  /** Reads what is stored. @throws StoreError */
  static async open(services: ResponseServices): Promise<ResponseEngine> {
    const engine = new ResponseEngine(services);
    await engine.#reload();
    return engine;
  }

  get pause(): PauseRow | undefined {
    return this.#pause;
  }

  /** Nodes and clusters whose actuators listen. */
  get listening(): number {
    return this.#streams.names().length;
  }

  /** What is held back, and by what. */
  held(): Readonly<Partial<Record<Held, number>>> {
    const counts: Partial<Record<Held, number>> = {};
    for (const why of this.#allHeld().values()) counts[why] = (counts[why] ?? 0) + 1;
    const left = this.#uncontained().length;
    if (left > 0) counts[CONTAINMENT_FAILED] = left;
    return counts;
  }

  /** Purges that contained nothing, of layers that are not known to be well since. A host that is revoked is to be set up anew, and is nobody's matter any more. */
  #uncontained(): ActionRow[] {
    return uncontained(this.#rows.all()).filter(({ nodeId }) => this.#isMember(nodeId));
  }

  #allHeld(): ReadonlyMap<Key, Held> {
    return new Map([...this.#held, ...this.#heldCaptures]);
  }

  /** What Hullmark has put on nodes and not taken away again, by node id. */
  standing(): ReadonlyMap<string, StandingMarks> {
    return this.#rows.standing();
  }

  /** Whether policy withholds the certificate of this node: see {@link Situations.withholds}. @throws StoreError */
  async withholds(nodeId: string): Promise<boolean> {
    return await this.#situations.withholds(nodeId);
  }

  /** What this node serves that is not as signed, and what stands on it. @throws StoreError */
  async affected(...of: Parameters<Situations["affected"]>): Promise<Affected> {
    return await this.#situations.affected(...of);
  }

  /** What people should know when they look at the fleet. */
  get claims(): readonly ClaimRow[] {
    const { node, policy, nowMs } = this.#services;
    const { notWell } = this.#situations;
    const freezes = policy().mode === "observe" ? [] : freezesNow(policy(), nowMs());
    const standing = {
      waiting: this.#waiting(),
      held: this.held(),
      rows: this.#rows,
      uncontained: this.#uncontained(),
      notWell,
      node,
      pause: this.#pause,
      freezes,
    };
    return responseClaims(standing);
  }

  /** What waits for the breaker, as a sentence; empty: nothing. */
  #waiting(): string {
    const keys = [...this.#allHeld()].filter(([, why]) => BREAKING.includes(why)).map(([key]) => key);
    if (keys.length === 0) return "";
    const nodes = keys.filter((key) => key.endsWith("/")).length;
    const containers = keys.length - nodes;
    const things = [...(containers > 0 ? [counted(containers, "container")] : []), ...(nodes > 0 ? [counted(nodes, "node")] : [])];
    return `${things.join(" and ")} ${keys.length === 1 ? "waits" : "wait"}`;
  }

  /** Results of a container, or with an empty id of the node itself, have changed. Never throws, never waits. */
  touched(nodeId: string, containerId: string): void {
    if (this.#services.policy().mode === "observe" || this.#dirty.size >= MAX_DIRTY) return;
    if (containerId === "" && !this.#isOfInterest(nodeId)) return;
    // What is measured of its containers says whether it is well again.
    if (containerId !== "" && this.standing().has(nodeId)) this.#dirty.add(`${nodeId}/`);
    this.#dirty.add(`${nodeId}/${containerId}`);
    this.#drain();
  }

  /** Most nodes are well and were: of a fleet that connects anew none is to be looked at. */
  #isOfInterest(nodeId: string): boolean {
    return this.#services.node(nodeId)?.verdict === Verdict.CONTRAINDICATED || this.standing().has(nodeId) || this.#held.has(`${nodeId}/`);
  }

  /** A container is no more. */
  removed(nodeId: string, containerId: string): void {
    this.#situations.removed(`${nodeId}/${containerId}`);
    this.#held.delete(`${nodeId}/${containerId}`);
    this.#isolated.delete(`${nodeId}/${containerId}`);
    this.touched(nodeId, containerId);
  }

  /** What time alone changes: intents that have ended, actions that are not wanted any more, what was held back. */
  tick(): Promise<void> {
    return this.#inTurn(async () => {
      const { nowMs } = this.#services;
      this.#situations.nextTick();
      this.#handOutAgain();
      // What cannot be written keeps neither the others from their turn nor people from being told.
      await this.#lookAgain(nowMs()).catch(this.#services.onProblem);
      this.#forget();
      const looking = this.#dirty.size > 0;
      const held = this.held();
      // The longest waiting first: a look moves them to the end.
      // What no other node bears out is looked at when one does, what is the same image when it is judged anew, and what has a higher risk with the next report.
      const passing = [...this.#held].filter(([, why]) => !RESTING.has(why)).slice(0, MAX_LOOKS_A_TICK);
      for (const [key] of passing) this.#dirty.add(key);
      this.#drain();
      await this.#sound(looking, held);
    });
  }

  async #lookAgain(atMs: number): Promise<void> {
    for (const row of this.#rows.all()) if (isOverdue(row, atMs)) await this.#settle(row, ActionState.EXPIRED, "not-reported");
    for (const row of this.#awaitingTurns.next(this.#inState(ActionState.AWAITING))) {
      if (row.kind === ActionKind.RELEASE || row.kind === ActionKind.PURGE) await this.#stillAsked(row);
      else await this.#stillDue(row);
    }
    for (const row of this.#capturingTurns.next(this.#inState(ActionState.CAPTURING))) await this.#endCapturing(row);
    await this.#watchPurges();
  }

  #inState(wanted: ActionState): ActionRow[] {
    return [...this.#rows.all()].filter(({ state }) => state === wanted);
  }

  #forget(): void {
    const { nowMs, node } = this.#services;
    const standing = this.standing();
    const isolations = new Set(standingIsolations(this.#rows.all()));
    const poisoned = new Set(this.#uncontained());
    for (const row of this.#rows.all()) {
      if (isolations.has(row) && this.#isolated.has(`${row.nodeId}/${row.containerId}`)) continue;
      if (UNSETTLED.has(row.state) || nowMs() - row.createdAtMs <= HISTORY_MS) continue;
      if (poisoned.has(row)) continue;
      if (row.state === ActionState.EXPIRED && nowMs() - row.createdAtMs <= LATE_REPORT_MS) continue;
      if (row.node && (standing.has(row.nodeId) || node(row.nodeId)?.verdict === Verdict.CONTRAINDICATED)) continue;
      this.#rows.remove(row);
    }
  }

  /** Looks at every container and node that is known to be bad, and at nodes that are marked: at the start, and under another policy. @throws StoreError */
  async reconsider(): Promise<void> {
    const { mode } = this.#services.policy();
    this.#handOutAgain();
    if (mode === "observe") return this.#held.clear();
    for (const { id, verdict } of this.#services.nodes()) if (verdict === Verdict.CONTRAINDICATED) this.touched(id, "");
    for (const id of this.standing().keys()) this.touched(id, "");
    const ofOwn = this.#services.policy().response.rules.some(({ unmeasurable }) => unmeasurable.some((rung) => rung !== "alert"));
    const verdicts = [Verdict.CONTRAINDICATED, ...(ofOwn ? [Verdict.UNKNOWN] : [])];
    for await (const rows of rowPages((page) => this.#services.store.listWorkloads({ verdicts, nodeId: "" }, page), keyOfWorkload))
      for (const row of rows) if (row.verdict !== Verdict.UNKNOWN || isOverBudget(row)) this.touched(row.nodeId, row.containerId);
  }

  /**
   * An actuator of this node or cluster listens: it is handed what is issued and not settled, then each new intent.
   * @returns a function that ends it
   */
  connect(name: ActuatorName, stream: ActuatorStream): () => void {
    const end = this.#streams.add(name, stream);
    for (const row of this.#handOut(name)) stream.push(row);
    for (const [key, why] of this.#held) if (why === "no-actuator") this.#dirty.add(key);
    this.#drain();
    return end;
  }

  /** A node's agent that captures has connected: it is asked for what is waited for, then for each that is. @returns ends it */
  connectCapturing(nodeId: string, ask: (asked: CaptureAsked) => void): () => void {
    return this.#captures.connect(nodeId, ask, this.#rows.all());
  }

  /** What a node's agent kept, or why it did not. Of what was not asked of this node, or is known already, nothing is taken. @throws StoreError */
  async captured(nodeId: string, answer: CaptureTaken): Promise<void> {
    if (!this.#captures.answers(nodeId, answer.id)) return;
    await this.#inTurn(async () => {
      const row = [...this.#rows.all()].find((each) => each.nodeId === nodeId && each.capturing?.id.equals(answer.id));
      const next = row && answered(row, answer, this.#services.nowMs());
      if (!next) return;
      this.#services.passing("before-captured");
      const stored = await this.#write(next, row.state);
      this.#services.passing("after-captured");
      if (stored.state === ActionState.CAPTURING) await this.#endCapturing(stored);
    });
  }

  /**
   * What an actuator is handed of a row that was pushed to it; undefined: it is settled, or held back, since, and comes again where it may; or it holds no intent that a key which counts had signed,
   * which is told as a problem. @throws SignerError
   */
  async signed({ id, intent, logIndex }: ActionRow): Promise<{ readonly body: Buffer; readonly signatures: Buffer[]; readonly logIndex?: bigint } | undefined> {
    const now = this.#rows.get(id);
    if (!now || !this.#mayBeHandedOut(now)) return undefined;
    const signatures = intent && (await signaturesBy(this.#services.intentKeys(), intent));
    if (signatures) return { body: intent.body, signatures: [...signatures], ...(logIndex >= 0 && { logIndex: BigInt(logIndex) }) };
    this.#services.onProblem(new Error(`${id} as it is stored is signed by no key of intents that counts: it is not handed out`));
    return undefined;
  }

  /** What became of an intent. Idempotent: a settled action stays as it is. @throws ResponseError NOT_FOUND, BAD_OUTCOME; StoreError */
  report(name: ActuatorName, intentId: Uint8Array, report: Report): Promise<void> {
    return this.#inTurn(async () => {
      const row = [...this.#rows.all()].find((each) => actuatorName.ofAction(each) === name && each.intent?.id.equals(intentId));
      if (!row) throw new ResponseError("NOT_FOUND", "no such intent of this actuator");
      if (report.outcome === Outcome.WAITING) {
        const waits = waiting(row, report);
        if (waits) await this.#write(waits, row.state);
        return;
      }
      // One that was given up in the meantime may still have been carried out: that is what counts.
      if (row.state !== ActionState.ISSUED && row.state !== ActionState.EXPIRED) return;
      if (row.purge?.purgedAtMs !== undefined) return;
      const nowMs = this.#services.nowMs();
      let underWay = row.purge && this.#purgeUnderWay(row.nodeId, row.purge.chainId);
      if (underWay?.state === ActionState.AWAITING && report.outcome === Outcome.DONE) {
        // What is done is not waited for any more, and its own measuring begins.
        await this.#settle(underWay, ActionState.WITHDRAWN, "another-action");
        underWay = undefined;
      }
      const next = row.purge ? reportedPurge(row, report, nowMs, underWay) : reported(row, report, nowMs);
      if (!next) throw new ResponseError("BAD_OUTCOME", "want an outcome");
      this.#services.passing("before-settle");
      await this.#write(next, row.state);
      this.#services.passing("after-settle");
      this.touched(row.nodeId, row.containerId);
      // What stands on a layer of its waited for this.
      if (row.node) for (const { containerId } of openPoison(await this.#services.store.readOpenDrifts(row.nodeId))) this.touched(row.nodeId, containerId);
    });
  }

  /** @throws ResponseError; StoreError */
  approve(id: string, by: string): Promise<ActionRow> {
    return this.#inTurn(async () => {
      const row = this.#awaiting(id);
      const { samePerson, policy, nowMs } = this.#services;
      const standing = this.#standingApprovals(row);
      if (standing.some((each) => samePerson(each.by, by))) throw new ResponseError("NOT_AWAITING", "you have approved it already: another person must");
      const approved = { ...row, approvals: [...standing, { by, atMs: nowMs() }], approvalsNeeded: peopleFor(row, policy()) };
      if (this.#persons(approved) < approved.approvalsNeeded) return await this.#write(approved, row.state, by);
      if (row.kind === ActionKind.RELEASE) return await this.#release(approved, row.state, by);
      if (row.kind === ActionKind.PURGE) return await this.#issuePurge(approved, row.state, by);
      const decision = await this.#decideInEarnest(row);
      if (!decision.act || !isSameAction(decision, row)) throw new ResponseError("HELD", `not now: ${decision.act ? "another action is due" : decision.why}`);
      return await this.#proceed(approved, row.state, decision, by);
    });
  }

  /** Not of who was revoked since. */
  #standingApprovals({ approvals }: ActionRow): ActionRow["approvals"] {
    return approvals.filter(({ by, atMs }) => !this.#services.revokedSince(by, atMs));
  }

  /** Who were two when they approved may be one by the configuration of now. */
  #persons(row: ActionRow): number {
    const { samePerson } = this.#services;
    const approvals = this.#standingApprovals(row);
    return approvals.filter(({ by }, at) => !approvals.slice(0, at).some((each) => samePerson(each.by, by))).length;
  }

  /** An isolation, by people's word: whatever policy's mode is, and while actions are paused too. @returns the release @throws ResponseError; StoreError */
  undo(id: string, by: string, reason: string): Promise<ActionRow> {
    return this.#inTurn(async () => {
      const { store, policy, nowMs } = this.#services;
      const row = this.#rows.get(id) ?? (await store.readAction(id));
      if (!row) throw noSuchAction();
      const own = [...this.#rows.all()].filter((each) => each.nodeId === row.nodeId && each.containerId === row.containerId);
      const why = refuseUndo(row, own);
      if (why !== undefined) throw new ResponseError("NOT_UNDOABLE", why);
      const number = ++this.#lastNumber;
      const release = newRelease(actionId(number), number, row, { by, reason, needed: releaseApprovals(row, policy()) }, nowMs());
      if (release.approvals.length < release.approvalsNeeded) return await this.#write(release, undefined, by);
      return await this.#release(release, undefined, by);
    });
  }

  /**
   * A layer that a node has altered, with all that stands on it, by people's word. @param node id or name @param layer chain id, or index
   * @param byHand they have taken it off already @throws ResponseError; StoreError
   */
  purge(node: string, layer: string, by: string, reason: string, byHand = false): Promise<ActionRow> {
    return this.#inTurn(async () => {
      const { nodes, nowMs, policy } = this.#services;
      const row = nodes().find(({ id, name }) => id === node || name === node);
      if (!row) throw new ResponseError("NOT_FOUND", "no such node");
      const { purge, drift, workloads } = await this.#toPurge(row.id, layer, byHand);
      const number = ++this.#lastNumber;
      const action = newPurge(number, { policy: policy(), node: row }, purge, drift, workloads, { by, reason }, nowMs());
      const same = this.#purgeUnderWay(row.id, purge.chainId);
      if (same) throw new ResponseError("HELD", `not now: ${same.id} on the same layer is not settled`);
      if (byHand && !isAttested(row.verdict)) throw new ResponseError("HELD", "not now: node-not-attested");
      if (byHand) return await this.#write(purgedByHand(action, nowMs()), undefined, by);
      if (action.approvals.length < action.approvalsNeeded) return await this.#write(action, undefined, by);
      return await this.#issuePurge(action, undefined, by);
    });
  }

  /** One a layer at most. */
  #purgeUnderWay(nodeId: string, chainId: string): ActionRow | undefined {
    return [...this.#rows.all()].find((each) => each.nodeId === nodeId && each.purge?.chainId === chainId && UNSETTLED.has(each.state));
  }

  /** With what stands on the layer now. */
  async #issuePurge(row: ActionRow, before: ActionState | undefined, by: string): Promise<ActionRow> {
    const { node, nowMs, policy } = this.#services;
    const found = node(row.nodeId);
    if (!found || !row.purge) throw new ResponseError("NOT_FOUND", "no such node");
    const actuator = this.#streams.has(actuatorName.ofNode(row.nodeId));
    const situation: PurgeSituation = { policy: policy(), node: found, paused: this.#pause !== undefined, actuator, nowMs: nowMs() };
    const why = purgeHeldBy(situation);
    if (why !== undefined) throw new ResponseError("HELD", `not now: ${why}`);
    const { purge, workloads } = await this.#toPurge(row.nodeId, row.purge.chainId);
    const owners = purgeOwners(policy(), found.name, purge, workloads);
    return await this.#issue({ ...row, purge, owners }, before, undefined, by);
  }

  async #toPurge(nodeId: string, layer: string, byHand = false): Promise<PurgeFacts> {
    // What an earlier one left is told until it is well: people must be able to say that they took it off, also when nothing on the node tells of it any more.
    const left = byHand ? this.#uncontained().filter((each) => each.nodeId === nodeId) : [];
    const facts = await factsForPurge(this.#services, nodeId, (await this.#situations.affected(nodeId)).layers, layer, left);
    if (typeof facts === "string") throw new ResponseError("NOT_PURGEABLE", facts);
    return facts;
  }

  /** What shows whether a layer that was purged is as signed now. @param of one node; undefined: of all */
  async #watchPurges(of?: string): Promise<void> {
    const { nowMs, passing } = this.#services;
    const watched = [...this.#rows.all()].filter(isMeasuring);
    for (const row of [...watched, ...this.#uncontained()]) {
      if (of !== undefined && row.nodeId !== of) continue;
      const seen = await seenSincePurge(this.#services, row, nowMs());
      if (seen === "well") await this.#write(wellAgain(row, nowMs()), row.state);
      else if (seen) {
        passing("before-settle");
        await this.#write({ ...row, ...seen, settledAtMs: nowMs() }, row.state);
        passing("after-settle");
      }
    }
  }

  #isMember(nodeId: string): boolean {
    const found = this.#services.node(nodeId);
    return found !== undefined && found.revokedAtMs === undefined;
  }

  async #release(row: ActionRow, before: ActionState | undefined, by: string): Promise<ActionRow> {
    if (!this.#streams.has(actuatorName.ofAction(row))) throw new ResponseError("HELD", "not now: no-actuator");
    return await this.#issue(row, before, undefined, by);
  }

  /** @throws ResponseError; StoreError */
  deny(id: string, by: string, reason: string): Promise<void> {
    return this.#inTurn(async () => {
      const row = this.#awaiting(id);
      await this.#write({ ...settled(row, ActionState.DENIED, reason, this.#services.nowMs()), deniedBy: by }, row.state, by);
    });
  }

  /** Until resumed nothing is decided or handed out. @throws StoreError */
  setPause(paused: boolean, by: string, reason: string): Promise<void> {
    return this.#inTurn(async () => {
      const { committer, nowMs } = this.#services;
      const pause = paused ? { by, reason, sinceMs: nowMs() } : undefined;
      const fact = adminFact(paused ? "actions-paused" : "actions-resumed", nowMs(), { by, reason });
      await committer.submit({ entries: [fact], build: () => ({ pause: pause ?? null }) });
      this.#pause = pause;
      this.#handOutAgain();
      if (pause) return;
      for (const key of this.#held.keys()) this.#dirty.add(key);
      this.#drain();
    });
  }

  /** Ends every actuator's stream: they come back by themselves. */
  disconnect(): void {
    for (const name of this.#streams.names()) this.#streams.end(name);
  }

  /** Ends the streams of a node's actuators: those of a revoked node are refused when they come back. */
  disconnectNode(nodeId: string): void {
    this.#streams.end(actuatorName.ofNode(nodeId));
  }

  /** Ends; what is being written still is. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#turn.catch(() => undefined);
  }

  #awaiting(id: string): ActionRow {
    const row = this.#rows.get(id);
    if (!row) throw noSuchAction();
    if (row.state !== ActionState.AWAITING) throw new ResponseError("NOT_AWAITING", "this action does not wait for approval");
    return row;
  }

  #handOut(name: ActuatorName): ActionRow[] {
    const nowMs = this.#services.nowMs();
    return [...this.#rows.all()].filter((row) => actuatorName.ofAction(row) === name && this.#mayBeHandedOut(row) && (row.expiresAtMs ?? 0) > nowMs);
  }

  /** What was issued before actions were paused, in a freeze, or under another mode, and still lives. */
  #handOutAgain(): void {
    const handing = this.#isHandingOut();
    if (handing && !this.#handing) for (const name of this.#streams.names()) for (const row of this.#handOut(name)) this.#streams.push(row);
    this.#handing = handing;
  }

  #isHandingOut(): boolean {
    const { policy, nowMs } = this.#services;
    return !this.#pause && policy().mode === "enforce" && !isFrozen(policy(), nowMs());
  }

  /** People undo what was done while nothing else is. */
  #mayBeHandedOut({ state, kind, purge }: ActionRow): boolean {
    if (purge?.purgedAtMs !== undefined) return false;
    return state === ActionState.ISSUED && (kind === ActionKind.RELEASE || this.#isHandingOut());
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(() => {
      this.#situations.nextTurn();
      return work();
    });
    this.#turn = run.catch(() => undefined);
    return run;
  }

  /** A few at a time: what people and actuators say, and the page that the breaker holds, wait for no more than these. */
  #drain(): void {
    if (this.#draining || this.#stopped) return;
    this.#draining = true;
    void this.#inTurn(async () => {
      this.#draining = false;
      let decided = true;
      for (const key of [...this.#dirty].slice(0, MAX_LOOKS_A_TURN)) {
        if (this.#stopped) return;
        this.#dirty.delete(key);
        decided = await this.#consider(key);
        // Where the storage is ill the others wait for the next tick.
        if (!decided) break;
      }
      if (decided && this.#dirty.size > 0) this.#drain();
    });
  }

  /** @returns false: it could not be decided, or not stored */
  async #consider(key: Key): Promise<boolean> {
    const [nodeId = "", containerId = ""] = key.split("/");
    try {
      // What ends a purge lifts its node: it is on record before anything is done for it.
      if (containerId === "") await this.#watchPurges(nodeId);
      const decision = await this.#situations.decide(nodeId, containerId);
      this.#held.delete(key);
      if (!decision.act && decision.why === "node-cause") this.#dirty.add(`${nodeId}/`);
      if (decision.act) await this.#begin(decision);
      else if (isHeld(decision.why)) this.#held.set(key, decision.why);
      return true;
    } catch (error) {
      this.#services.onProblem(error);
      this.#held.delete(key);
      this.#held.set(key, "storage");
      return false;
    }
  }

  async #begin(decision: Act): Promise<void> {
    const { policy, nowMs, node } = this.#services;
    const state = policy().mode === "dry-run" ? ActionState.DRY_RUN : ActionState.AWAITING;
    const number = ++this.#lastNumber;
    if (!("node" in decision) && decision.refusal !== undefined) {
      const { nodeId, containerId } = decision.workload;
      await this.#write(refusedAction(number, decision, node(nodeId)?.name ?? "", nowMs()), undefined);
      // The rung after it is meant now.
      return this.touched(nodeId, containerId);
    }
    const row =
      "node" in decision
        ? newNodeAction(number, decision, state, nowMs())
        : newAction(number, decision, node(decision.workload.nodeId)?.name ?? "", state, nowMs());
    if (state === ActionState.DRY_RUN || row.approvalsNeeded > 0) await this.#write(row, undefined);
    else await this.#proceed(row, undefined, decision);
  }

  /** What would be gone with it is asked for first; else it is issued at once. */
  async #proceed(row: ActionRow, before: ActionState | undefined, decision: Act, by = ""): Promise<ActionRow> {
    const { node, policy, random, nowMs, passing } = this.#services;
    const patienceMs = patienceFor(row, node(row.nodeId), policy());
    if (patienceMs === undefined) return await this.#issue(row, before, decision, by);
    passing("before-capturing");
    const next = await this.#write(capturing(row, random(INTENT_ID_BYTES), patienceMs, nowMs()), before, by);
    passing("after-capturing");
    this.#captures.ask(next);
    return next;
  }

  /** Issues what waited for its node, once that has told or its time is over, where it is due still. Of what is held back then it is on record by now that nothing was captured. */
  async #endCapturing(row: ActionRow): Promise<void> {
    const { policy, nowMs } = this.#services;
    const key: Key = `${row.nodeId}/${row.containerId}`;
    this.#heldCaptures.delete(key);
    const due = await this.#stillDue(row);
    if (due === "withdrawn" || !isCaptureOver(row, nowMs())) return;
    const over = row.capture || row.captureMissed !== undefined ? row : missed(row, MISSED.NOT_ANSWERED, nowMs());
    if (typeof due === "string") {
      this.#heldCaptures.set(key, due);
      if (over !== row) await this.#write(over, row.state);
      return;
    }
    const left = leftAsItIs(over, policy(), nowMs());
    if (!left) return void (await this.#issue(over, row.state, due));
    await this.#write(left, row.state);
    // It is tried again once its patience is over, however long it is until the container is judged anew.
    this.touched(row.nodeId, row.containerId);
  }

  /** @param decision as of now: whoever listens may be another than when people were asked */
  async #issue(given: ActionRow, before: ActionState | undefined, decision: Act | undefined, by = ""): Promise<ActionRow> {
    const row = given.node && decision && "node" in decision ? { ...given, node: { ...given.node, actuator: decision.actuator } } : given;
    const { intentKeys, policy, random, nowMs, verifierId, region, passing } = this.#services;
    const atMs = nowMs();
    const id = random(INTENT_ID_BYTES);
    const lifetimeMs = lifetimeFor(row, policy(), INTENT_LIFETIME_MS);
    const body = intentBody(row, id, { verifierId, region }, atMs, lifetimeMs);
    const signatures = await signIntent(body, intentKeys());
    passing("before-issue");
    const next = await this.#write(issued(row, { id, body, signatures }, atMs, lifetimeMs), before, by);
    passing("after-issue");
    if (this.#mayBeHandedOut(next)) this.#streams.push(next);
    return next;
  }

  /** Tells people, once, that the breaker holds; durable before it counts as told. */
  async #sound(looking: boolean, held: Partial<Record<Held, number>>): Promise<void> {
    const { committer, policy, nowMs, verifierId } = this.#services;
    const facts = { enforcing: policy().mode === "enforce", held, looking, history: this.#rows.all() };
    const next = nextAlarm(this.#alarm, facts, nowMs());
    if (next.open !== undefined && next.open !== this.#alarm.open)
      await committer.submit({
        entries: [],
        build: () => ({}),
        subjects: [
          alarmSubject(verifierId, next.open, { waiting: this.#waiting(), uncontained: this.#uncontained().map(uncontainedWords).join("; ") }, nowMs()),
        ],
      });
    this.#alarm = next;
  }

  /** One that is not wanted any more is withdrawn. @returns what is decided now, or what holds it back */
  async #stillDue(row: ActionRow): Promise<Act | Held | "withdrawn"> {
    const decision = await this.#decideInEarnest(row);
    // What is captured first was approved before that, perhaps by somebody who was revoked since.
    const approved = row.state === ActionState.AWAITING || this.#persons(row) >= row.approvalsNeeded;
    if (approved && decision.act && isSameAction(decision, row)) return decision;
    // For what is given up nobody's yes is asked.
    if (approved && !decision.act && isHeld(decision.why) && decision.why !== "given-up") return decision.why;
    await this.#settle(row, ActionState.WITHDRAWN, !approved ? "approval-revoked" : decision.act ? "another-action" : decision.why);
    this.touched(row.nodeId, row.containerId);
    return "withdrawn";
  }

  /** Of what people ask for themselves. */
  async #stillAsked(row: ActionRow): Promise<void> {
    const why = await this.#whyNoMore(row);
    if (why === undefined) return;
    await this.#settle(row, ActionState.WITHDRAWN, why);
    this.touched(row.nodeId, row.containerId);
  }

  async #whyNoMore(row: ActionRow): Promise<string | undefined> {
    if (!this.#isMember(row.nodeId)) return "gone";
    if (this.#services.nowMs() - row.createdAtMs > HISTORY_MS) return "unanswered";
    if (row.kind !== ActionKind.RELEASE) return undefined;
    // Nobody's second word keeps what has come since, or lasts for too long, from being acted on.
    const decision = await this.#decideInEarnest(row);
    // Of a container that is gone it goes on: its pod is isolated still, with the one that was started anew in it, and one that is stopped has its networks to come back to. The actuator knows.
    if (!decision.act) return undefined;
    // Of an isolation that was not heard of, or failed, another is due in any case: that is what people speak against.
    const contained = this.#rows.get(row.undoes ?? "")?.state === ActionState.DONE;
    const since = "drift" in decision && (decision.drift?.committedAtMs ?? 0) > row.createdAtMs;
    return contained || since ? "another-action" : undefined;
  }

  async #settle(row: ActionRow, state: ActionState, reason: string): Promise<void> {
    await this.#write(settled(row, state, reason, this.#services.nowMs()), row.state);
  }

  /** Durable on return. Where it fails, what is stored by now is read anew. */
  async #write(row: ActionRow, before: ActionState | undefined, by = ""): Promise<ActionRow> {
    const { committer, nowMs } = this.#services;
    const facts: LogEntry[] = [actionFact(row, nowMs(), by)];
    const build = (firstLogIndex: number) => ({ actions: [{ row: { ...row, logIndex: firstLogIndex }, before } satisfies ActionWrite] });
    const { commit } = await committer.submit({ entries: facts, build }).catch(async (error: unknown) => {
      await this.#readAnew();
      throw error;
    });
    const stored = commit.actions?.[0]?.row ?? row;
    this.#rows.put(stored);
    if (stored.kind === ActionKind.ISOLATE && stored.state === ActionState.DONE) this.#isolated.add(`${stored.nodeId}/${stored.containerId}`);
    return stored;
  }

  /** Whether it was written is not known: what is stored says, and until it can be read the rows fence themselves. Who is to hear of what was written hears of it. */
  async #readAnew(): Promise<void> {
    const known = new Map([...this.#rows.all()].map(({ id, state }) => [id, state]));
    await this.#reload().catch(this.#services.onProblem);
    for (const row of this.#rows.all()) {
      if (known.get(row.id) === row.state) continue;
      if (this.#mayBeHandedOut(row)) this.#streams.push(row);
      this.#captures.ask(row);
    }
  }

  /** Of an action that waits for people: what would only be recorded is not what they were asked for. */
  async #decideInEarnest(row: ActionRow): Promise<Decision | NodeDecision> {
    if (this.#services.policy().mode === "dry-run") return { act: false, why: "dry-run" };
    return await this.#situations.decide(row.nodeId, row.containerId, row);
  }

  /** Of isolations those whose containers are still there. @throws StoreError */
  async #keepIsolated(): Promise<void> {
    for (const { nodeId, containerId } of standingIsolations(this.#rows.all())) {
      const found = await this.#services.store.findWorkloads(containerId, 8);
      if (found.some((each) => each.nodeId === nodeId && each.containerId === containerId)) this.#isolated.add(`${nodeId}/${containerId}`);
    }
  }

  async #reload(): Promise<void> {
    const { store, nowMs } = this.#services;
    const pages = async (filter: Parameters<Store["listActions"]>[0]): Promise<void> => {
      for await (const rows of rowPages((page) => store.listActions(filter, page), keyOfNumber)) for (const row of rows) this.#rows.put(row);
    };
    await pages({ states: [], sinceMs: nowMs() - HISTORY_MS - INTENT_LIFETIME_MS });
    await pages({ states: [...UNSETTLED], sinceMs: 0 });
    await pages({ states: [ActionState.EXPIRED], sinceMs: nowMs() - LATE_REPORT_MS });
    await pages({ states: [], sinceMs: 0, onNodes: true });
    await pages({ states: [], sinceMs: 0, isolations: true });
    await pages({ states: [], sinceMs: 0, purges: true });
    await this.#keepIsolated();
    this.#lastNumber = await store.readLastActionNumber();
    this.#pause = await store.readPause();
  }
}

function isHeld(why: string): why is Held {
  return (HELD as readonly string[]).includes(why);
}
