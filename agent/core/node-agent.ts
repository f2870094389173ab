/**
 * The agent as a whole: follows the engine's containers, measures them, notices changes, and puts what it finds into the spool.
 * It concludes nothing: the verifier does.
 */
import type { MeasurementPolicy } from "@hullmark/proto/v1/attestation";
import type { Change } from "../ports/change-source.ts";
import type { Clock } from "../ports/clock.ts";
import type { ContainerFacts, ContainerRuntime, RuntimeFacts } from "../ports/container-runtime.ts";
import type { NodeFiles } from "../ports/node-files.ts";
import type { RootFilesystem } from "../ports/root-filesystem.ts";
import type { Spool } from "../ports/spool.ts";
import type { MeasuredTree, TreeMeasurer } from "../ports/tree-measurer.ts";
import { backoffMs } from "./backoff.ts";
import type { DirtyPath } from "./change-actors.ts";
import { ContainerMonitor, type MonitorOptions } from "./container-monitor.ts";
import type { TreePlace } from "./file-contents.ts";
import { LastLooks } from "./last-looks.ts";
import { type Layer, LayerStore } from "./layer-store.ts";
import { budgetOf, rescanPeriodMs } from "./measurement-policy.ts";
import { type ChainPosition, type LayerUpdateInit, NodeEvidence, type PartName } from "./node-evidence.ts";
import type { NodeCondition } from "./node-state.ts";
import { OneAtATime } from "./one-at-a-time.ts";
import { ReadBudget } from "./read-budget.ts";
import { Unanswered } from "./unanswered.ts";
import { unseenParts } from "./unseen.ts";
import { withSignal } from "./with-signal.ts";

const RUNTIME_BACKOFF = { baseMs: 500, maxMs: 10_000 };
/** An engine that does not answer within this time counts as gone. */
const RUNTIME_PING_MS = 10_000;
const LOOK_INTERVAL_MS = 5_000;
/** Containers that are looked at by their signatures before others get their turn. */
const LOOKS_A_TURN = 16;
/** Least time between two looks at a container that starts processes. */
const STARTS_INTERVAL_MS = 100;
/** What takes longer to look at is claimed, and no longer waited for: the others are looked at meanwhile. */
const LOOK_PATIENCE_MS = 10_000;
/** Containers that are looked at again at the same time. */
const RESCAN_LANES = 4;
/** What takes longer to look at again gives its place to the next, and goes on beside it. */
const RESCAN_PATIENCE_MS = 60_000;
const INSPECT_BACKOFF = { baseMs: 1000, maxMs: 60_000 };

/** How to notice changes below a directory. */
export interface Watcher {
  watch(id: string, path: string): void;
  unwatch(id: string): void;
}

/** Code that a container runs. */
export interface CodeLook {
  /** A serialised CodeSet. */
  readonly part: Uint8Array;
  /** As of {@link InspectedLook}. */
  readonly steady: boolean;
}

export interface CodeInspector {
  inspect(container: ContainerMonitor, signal: AbortSignal): Promise<CodeLook>;
  /** As of {@link ProcessInspector}, with the files that are the container's. */
  signature(container: ContainerMonitor): string | undefined;
  /** What to say of one whose inspection does not come to its end. */
  overdue(containerId: string): Uint8Array;
  forget(containerId: string): void;
}

export interface NodeAgentOptions {
  readonly runtime: ContainerRuntime;
  readonly rootFilesystem: RootFilesystem;
  readonly measurer: TreeMeasurer;
  readonly files: NodeFiles;
  readonly spool: Spool;
  readonly clock: Clock;
  readonly watcher: Watcher;
  readonly code: CodeInspector;
  readonly condition: NodeCondition;
  readonly bootId: string;
  readonly random: () => number;
  readonly randomKey: () => Buffer;
  readonly scrubBytesPerSecond: number;
  /** Something new was spooled. */
  readonly spooled: () => void;
  readonly log: { info(message: string, fields?: object): void; warn(message: string, fields?: object): void };
}

interface MeasuredHere {
  readonly name: string;
  readonly mounts: readonly string[];
  readonly place: TreePlace | undefined;
  readonly problem: string | undefined;
}

export class NodeAgent {
  readonly #options: NodeAgentOptions;
  readonly #evidence = new NodeEvidence();
  readonly #layers: LayerStore;
  /** Containers whose processes are being looked at because one started → whether more have started since. */
  readonly #startsWaiting = new Map<string, boolean>();
  /** Looks at running code that are under way → whether another was asked for since it began. */
  readonly #inspections = new Map<ContainerMonitor, { again: boolean; readonly done: Promise<void> }>();
  readonly #looking = new Set<ContainerMonitor>();
  readonly #lastLooks: LastLooks;
  readonly #monitors = new Map<string, ContainerMonitor>();
  readonly #byWatch = new Map<string, (dirty: readonly DirtyPath[]) => void>();
  readonly #checks = new Map<string, Promise<void>>();
  readonly #unanswered: Unanswered;
  readonly #rescan = new OneAtATime<number>((bytes) => this.#rescanNow(bytes), Math.max);
  readonly #rescans = new WeakMap<ContainerMonitor, OneAtATime<ReadBudget>>();
  #runtimeFacts: RuntimeFacts | undefined;
  #policy: MeasurementPolicy | undefined;
  /** Ends the wait for the next rescan, which another policy may want sooner. */
  #policySet = new AbortController();
  /** Something can be said. */
  #listed = false;
  /** The engine has listed everything at least once. */
  #complete = false;
  #publishQueued = false;
  /** What is measured still goes nowhere any more. */
  #closed = false;
  #stop = AbortSignal.abort();
  #chain: ChainPosition & { readonly stateRoot: Buffer };
  readonly #placed = Promise.withResolvers<void>();

  constructor(options: NodeAgentOptions) {
    this.#options = options;
    this.#unanswered = new Unanswered(options.condition);
    this.#lastLooks = new LastLooks((monitor) => options.code.signature(monitor), options.random);
    const { seq, digest } = options.spool.head();
    this.#chain = { seq, digest, stateRoot: this.#evidence.stateRoot() };
    this.#layers = new LayerStore({
      measurer: options.measurer,
      budget: () => budgetOf(this.#policy),
      watch: (id, path) => this.#watch(id, path, (dirty) => this.#layerChanged(id, dirty)),
      unwatch: (id) => this.#unwatch(id),
      changed: (layer, update) => this.#layerRootChanged(layer, update),
    });
  }

  /** What a quote must vouch for at this moment. Waits for the first report of this process: until then the state after the chain's head is not known. */
  async position(): Promise<ChainPosition & { readonly stateRoot: Buffer }> {
    await this.#placed.promise;
    return this.#chain;
  }

  policyDigest(): Uint8Array {
    return this.#policy?.digest ?? Buffer.alloc(32);
  }

  /** Paths that changed below watched directories. */
  changes(batch: readonly Change[]): void {
    const byWatch = new Map<string, DirtyPath[]>();
    for (const change of batch) {
      const known = byWatch.get(change.watchId);
      const { actor } = change;
      const dirty = actor ? { ...change, actor: { ...actor, container: this.#monitors.get(actor.containerId)?.facts } } : change;
      if (known) known.push(dirty);
      else byWatch.set(change.watchId, [dirty]);
    }
    for (const [watchId, dirty] of byWatch) this.#byWatch.get(watchId)?.(dirty);
  }

  /** Events were lost: everything is looked at again, and the loss is told. */
  eventsLost(detail: string): void {
    const { condition, clock } = this.#options;
    condition.lost("events-lost", detail, clock.nowMs());
    void this.#rescan.request(0);
  }

  /** A process was started in this container: looked at now, or with those that start within a moment. A storm of starts costs no storm of looks. */
  async processStarted(containerId: string): Promise<void> {
    const looking = this.#startsWaiting.has(containerId);
    this.#startsWaiting.set(containerId, true);
    if (looking) return;
    while (this.#startsWaiting.get(containerId) && !this.#stop.aborted) {
      this.#startsWaiting.set(containerId, false);
      const monitor = this.#monitors.get(containerId);
      if (monitor) await this.#guarded("cannot look at container", { container: containerId }, () => this.#inspectCode(monitor));
      await this.#options.clock.sleep(STARTS_INTERVAL_MS, this.#stop);
    }
    this.#startsWaiting.delete(containerId);
  }

  setPolicy(policy: MeasurementPolicy): void {
    const before = this.#policy?.digest;
    this.#policy = policy;
    if (before && Buffer.compare(before, policy.digest) === 0) return;
    this.#policySet.abort();
    for (const monitor of this.#monitors.values()) void monitor.measure();
  }

  requestFull(): void {
    this.#evidence.requestFull();
    this.#chain = { ...this.#options.spool.head(), stateRoot: this.#chain.stateRoot };
    this.publish();
  }

  /** The tree that a question of the verifier is about. */
  async tree(target: { case: "layerId" | "upperOf" | "mergedOf" | undefined; value?: string | undefined }): Promise<MeasuredTree | undefined> {
    if (target.value === undefined) return undefined;
    if (target.case === "layerId") return (await this.#layers.find(target.value))?.tree;
    return this.#monitors.get(target.value)?.tree;
  }

  /** Where what lies over a container's layers (`layerId` empty), or one of them, is measured. */
  async place(containerId: string, layerId: string): Promise<TreePlace | undefined> {
    const monitor = this.#monitors.get(containerId);
    if (layerId === "") return monitor?.place;
    const layer = monitor?.uses(layerId) ? await this.#layers.find(layerId) : undefined;
    return layer && { root: layer.directory.path, tree: layer.tree };
  }

  /** As its runtime told it last; undefined: there is none. */
  factsOf(containerId: string): ContainerFacts | undefined {
    return this.#monitors.get(containerId)?.facts;
  }

  /** Resolves when it is known which containers there are, and this one is measured; after so long in any case. */
  async settled(containerId: string, patienceMs: number): Promise<void> {
    await this.#within(
      patienceMs,
      this.#placed.promise.then(() => this.#monitors.get(containerId)?.settled()),
    );
  }

  /** For a capture: what lies over its layers, and why not all of it is known, if so; undefined: there is no such container. */
  measured(containerId: string): MeasuredHere | undefined {
    const monitor = this.#monitors.get(containerId);
    if (!monitor) return undefined;
    const { facts, layout, place, placeProblem } = monitor;
    const known = { name: facts.name, mounts: facts.mounts.map(({ destination }) => destination) };
    if (layout.kind === "merged") return { ...known, place: undefined, problem: "what it changed is not told apart from its image here" };
    return { ...known, place, problem: placeProblem && `what it changed is not all known: ${placeProblem}` };
  }

  /** Puts what is new into the spool: at once where nothing else is under way in this turn. */
  publish(): void {
    if (this.#publishQueued || !this.#listed) return;
    this.#publishQueued = true;
    queueMicrotask(() => {
      this.#publishQueued = false;
      if (!this.#closed) this.#publishNow();
    });
  }

  #publishNow(): void {
    const { spool, clock, condition, bootId, spooled, log } = this.#options;
    const nowMs = clock.nowMs();
    this.#evidence.setNode(condition.serialize(nowMs));
    const built = this.#evidence.build(spool.head(), bootId, nowMs);
    if (!built) return;
    if (!spool.append({ seq: built.seq, body: built.body }, built.digest)) {
      const dropped = spool.restart();
      condition.lost("spool-overflow", `${dropped} reports could not be delivered in time and were dropped; the whole state follows`, nowMs);
      this.#evidence.requestFull();
      // Where nothing was dropped, the whole state itself is larger than the spool: the next look tries again, not this turn.
      if (dropped > 0) this.publish();
      else log.warn("the whole state does not fit into the spool", { bytes: built.body.length });
      return;
    }
    this.#chain = built;
    this.#placed.resolve();
    spooled();
  }

  /** Follows the engine until the signal aborts. */
  async followRuntime(signal: AbortSignal): Promise<void> {
    const { runtime, clock, condition, log, random } = this.#options;
    this.#stop = signal;
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        for await (const event of runtime.events(signal)) {
          attempt = 0;
          if (event.kind === "connected") await this.#relist(signal);
          else void this.#check(event.containerId);
        }
      } catch (error) {
        if (signal.aborted) return;
        condition.runtimeLost();
        this.#listed = true;
        this.publish();
        const waitMs = backoffMs(RUNTIME_BACKOFF, attempt, random());
        log.warn("container runtime unreachable", { err: error, waitMs });
        await clock.sleep(waitMs, signal);
      }
    }
  }

  /** Notices an engine that hangs, and containers that no event told of. */
  async pingRuntime(signal: AbortSignal): Promise<void> {
    const { runtime, clock, condition } = this.#options;
    while (!signal.aborted) {
      await clock.sleep(RUNTIME_PING_MS, signal);
      try {
        const bounded = AbortSignal.any([signal, AbortSignal.timeout(RUNTIME_PING_MS)]);
        const ids = await withSignal(runtime.list(bounded), bounded);
        if (this.#runtimeFacts) condition.setRuntime(this.#runtimeFacts);
        const known = [...this.#monitors.keys()];
        for (const id of [
          ...ids.filter((each) => !this.#monitors.has(each) && this.#unanswered.times(each) === 0),
          ...known.filter((each) => !ids.includes(each)),
        ])
          void this.#check(id);
      } catch {
        if (signal.aborted) return;
        condition.runtimeLost();
        // Nothing can be listed: that is news too.
        this.#listed = true;
      }
      this.publish();
    }
  }

  /** Mounts, engine-made files and running code of every container, again and again. */
  async lookAround(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#options.clock.sleep(LOOK_INTERVAL_MS, signal);
      for (const [i, monitor] of [...this.#monitors.values()].entries()) {
        if (signal.aborted) return;
        if (this.#looking.has(monitor)) continue;
        if (!this.#lastLooks.isAsSeen(monitor)) await this.#patiently(monitor, this.#look(monitor));
        else if (i % LOOKS_A_TURN === 0) await new Promise(setImmediate);
      }
      this.publish();
    }
  }

  /** What one container does to itself (mounts without number, a file that cannot be read) never ends the look at the others, nor at its code. */
  async #look(monitor: ContainerMonitor): Promise<void> {
    this.#looking.add(monitor);
    await this.#lastLooks.inFull(monitor, async () => {
      await this.#guarded("cannot look at container", { container: monitor.id }, () => monitor.look());
      await this.#guarded("cannot look at code", { container: monitor.id }, () => this.#inspectCode(monitor));
    });
    this.#looking.delete(monitor);
  }

  /** Waits for work on one container, but not so long that the others go unseen: what hangs (a filesystem that does not answer) or is made to last is claimed. */
  async #patiently(monitor: ContainerMonitor, work: Promise<void>): Promise<void> {
    if ((await this.#within(LOOK_PATIENCE_MS, work)) || this.#stop.aborted || this.#monitors.get(monitor.id) !== monitor) return;
    this.#evidence.setPart(monitor.id, "code", this.#options.code.overdue(monitor.id));
    this.publish();
  }

  /** Whatever events say, everything is looked at once a period, of the policy that holds when it is over; content is read again at the scrub's rate. */
  async rescanPeriodically(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const periodMs = await this.#periodOver(signal);
      if (!signal.aborted) await this.#rescan.request((this.#options.scrubBytesPerSecond * periodMs) / 1000);
    }
  }

  /** @returns how long it was */
  async #periodOver(signal: AbortSignal): Promise<number> {
    const { clock } = this.#options;
    const sinceMs = clock.nowMs();
    for (;;) {
      this.#policySet = new AbortController();
      const periodMs = rescanPeriodMs(this.#policy);
      // A clock that was set back makes it no longer than a whole one.
      const leftMs = Math.min(periodMs, periodMs - (clock.nowMs() - sinceMs));
      if (leftMs > 0) await clock.sleep(leftMs, AbortSignal.any([signal, this.#policySet.signal]));
      if (signal.aborted || !this.#policySet.signal.aborted) return periodMs;
    }
  }

  /** Nothing is spooled from now on, whatever is still under way. */
  close(): void {
    this.#closed = true;
    for (const monitor of this.#monitors.values()) monitor.close();
  }

  async #relist(signal: AbortSignal): Promise<void> {
    const { runtime, condition } = this.#options;
    this.#runtimeFacts = await runtime.facts(signal);
    condition.setRuntime(this.#runtimeFacts);
    const ids = new Set(await runtime.list(signal));
    await Promise.all([...new Set([...ids, ...this.#monitors.keys()])].map((id) => this.#check(id)));
    this.#listed = true;
    // What was said before the engine answered for the first time lacked containers that are there: only a full report tells which are gone.
    if (!this.#complete) this.#evidence.requestFull();
    this.#complete = true;
    this.publish();
  }

  /** Brings one container up to date with the engine. Checks of one container never overlap. */
  #check(id: string): Promise<void> {
    const next = (this.#checks.get(id) ?? Promise.resolve()).then(() => this.#checkNow(id));
    const settled = next
      .then(() => this.#answered(id))
      .catch((error: unknown) => this.#cannotCheck(id, error))
      .finally(() => {
        if (this.#checks.get(id) === settled) this.#checks.delete(id);
      });
    this.#checks.set(id, settled);
    return settled;
  }

  #answered(id: string): void {
    if (this.#unanswered.answered(id, this.#options.clock.nowMs())) this.publish();
  }

  /** A container that is not seen must not leave the node green: claimed until it answers, and asked again. */
  #cannotCheck(id: string, error: unknown): void {
    const { log, clock, random } = this.#options;
    if (this.#stop.aborted) return;
    const times = this.#unanswered.failed(id, this.#monitors.get(id)?.facts.name, error, clock.nowMs());
    if (!this.#monitors.has(id)) this.#tellUnseen(id, error);
    const waitMs = INSPECT_BACKOFF.baseMs + backoffMs(INSPECT_BACKOFF, times, random());
    log.warn("cannot inspect container", { container: id, err: error, waitMs });
    this.publish();
    // An event or a new listing may have asked, and been answered, meanwhile.
    void clock.sleep(waitMs, this.#stop).then(() => (this.#stop.aborted || this.#unanswered.times(id) !== times ? undefined : this.#check(id)));
  }

  /** It is there, and must not be missing among what people are shown. */
  #tellUnseen(id: string, error: unknown): void {
    this.#evidence.addContainer(id, { all: () => [], withhold: () => undefined });
    const parts = unseenParts(id, this.#runtimeFacts?.name ?? "", error instanceof Error ? error.message : "no reason");
    for (const [name, bytes] of Object.entries(parts)) this.#evidence.setPart(id, name as PartName, bytes);
  }

  async #checkNow(id: string): Promise<void> {
    const facts = await this.#options.runtime.inspect(id, this.#stop);
    const monitor = this.#monitors.get(id);
    if (!facts) {
      this.#drop(id);
      return;
    }
    if (monitor) {
      await monitor.refresh(facts);
      return;
    }
    const added = new ContainerMonitor(facts, this.#monitorOptions(id));
    this.#monitors.set(id, added);
    try {
      await added.announce();
      await this.#patiently(added, this.#inspectCode(added));
      this.publish();
    } finally {
      void added.measure();
    }
  }

  #drop(id: string): void {
    const monitor = this.#monitors.get(id);
    // One that could never be described is known by its name alone.
    if (!monitor) this.#evidence.removeContainer(id);
    if (!monitor) return;
    this.#monitors.delete(id);
    this.#options.code.forget(id);
    monitor.close();
    this.publish();
  }

  #monitorOptions(containerId: string): MonitorOptions {
    const { rootFilesystem, measurer, files, randomKey, runtime } = this.#options;
    return {
      runtime: this.#runtimeFacts?.name ?? "",
      dialect: this.#runtimeFacts?.dialect ?? "docker",
      ownLayer: this.#runtimeFacts?.ownLayer ?? false,
      rootFilesystem,
      measurer,
      files,
      randomKey,
      layers: this.#layers,
      evidence: this.#evidence,
      policy: () => this.#policy,
      watch: (id, path) => this.#watch(id, path, (dirty) => this.#monitors.get(id.slice("upper/".length))?.changed(dirty)),
      unwatch: (id) => this.#unwatch(id),
      inspect: () => runtime.inspect(containerId, this.#stop),
      publish: () => this.publish(),
    };
  }

  /** One look at a container's code at a time, or an old one could be told after a new one; who asks meanwhile waits for the next. */
  #inspectCode(monitor: ContainerMonitor): Promise<void> {
    const running = this.#inspections.get(monitor);
    if (running) {
      running.again = true;
      return running.done;
    }
    const begun = Promise.withResolvers<void>();
    const inspection = { again: true, done: begun.promise };
    this.#inspections.set(monitor, inspection);
    const inspect = async (): Promise<void> => {
      while (inspection.again) {
        inspection.again = false;
        this.#lastLooks.codeBegins(monitor);
        const { part, steady } = await this.#options.code.inspect(monitor, this.#stop);
        if (this.#monitors.get(monitor.id) !== monitor) return;
        this.#lastLooks.codeEnds(monitor, steady);
        if (this.#evidence.setPart(monitor.id, "code", part)) this.publish();
      }
    };
    inspect()
      .finally(() => this.#inspections.delete(monitor))
      .then(begun.resolve, begun.reject);
    return inspection.done;
  }

  #watch(id: string, path: string, handler: (dirty: readonly DirtyPath[]) => void): void {
    this.#byWatch.set(id, handler);
    this.#options.watcher.watch(id, path);
  }

  #unwatch(id: string): void {
    this.#byWatch.delete(id);
    this.#options.watcher.unwatch(id);
  }

  #layerChanged(id: string, dirty: readonly DirtyPath[]): void {
    this.#layers.update(id, dirty, this.#stop).catch((error: unknown) => this.#options.log.warn("cannot measure layer", { layer: id, err: error }));
  }

  #layerRootChanged(layer: Layer, update: LayerUpdateInit): void {
    this.#evidence.addLayerUpdate(update);
    for (const monitor of this.#monitors.values()) if (monitor.uses(layer.directory.id)) void monitor.layersChanged();
  }

  async #guarded(problem: string, fields: object, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!this.#stop.aborted) this.#options.log.warn(problem, { ...fields, err: error });
    }
  }

  /** Layers and containers, a few at a time: one that takes long does not hold up the others. */
  async #rescanNow(scrubBytes: number): Promise<void> {
    const budget = new ReadBudget(scrubBytes, this.#monitors.size + this.#layers.size);
    const waiting = [...this.#monitors.values()];
    const lane = async (): Promise<void> => {
      for (let monitor = waiting.shift(); monitor && !this.#stop.aborted; monitor = waiting.shift())
        await this.#within(RESCAN_PATIENCE_MS, this.#rescanOne(monitor, budget));
    };
    const layers = this.#guarded("cannot look at the layers again", {}, () => this.#layers.rescan(budget, this.#stop));
    await Promise.all([layers, ...Array.from({ length: RESCAN_LANES }, lane)]);
  }

  /** One that still goes on from the last time is asked for once more after it. */
  #rescanOne(monitor: ContainerMonitor, budget: ReadBudget): Promise<void> {
    const again = (granted: ReadBudget): Promise<void> =>
      this.#guarded("cannot look at container again", { container: monitor.id }, () =>
        this.#monitors.get(monitor.id) === monitor ? monitor.rescan(granted) : Promise.resolve(),
      );
    const known = this.#rescans.get(monitor) ?? new OneAtATime<ReadBudget>(again, ReadBudget.larger);
    this.#rescans.set(monitor, known);
    return known.request(budget);
  }

  /** Waits for work that never rejects, but not longer than this. @returns whether it is over */
  async #within(patienceMs: number, work: Promise<void>): Promise<boolean> {
    // Where nothing has changed it is over at once: a timer for each would cost more than the look.
    let done = false;
    void work.then(() => {
      done = true;
    });
    await new Promise(setImmediate);
    if (done) return true;
    const over = new AbortController();
    const late = this.#options.clock.sleep(patienceMs, AbortSignal.any([this.#stop, over.signal])).then(() => over.signal.aborted);
    const ended = await Promise.race([work.then(() => true), late]);
    over.abort();
    return ended;
  }
}
