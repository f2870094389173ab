/**
 * One container: where its files lie, the delta tree over its upper directory, its configuration and the code that it runs.
 * Everything that touches the tree goes through one queue, so that a root and the changes told with it always agree.
 */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { EMPTY_ROOT, mergedTreeId } from "@hullmark/proto/codec";
import { type BindFileSchema, FilesystemKind, FilesystemStateSchema, type MeasurementPolicy } from "@hullmark/proto/v1/attestation";
import type { ContainerFacts } from "../ports/container-runtime.ts";
import type { NodeFiles } from "../ports/node-files.ts";
import type { OwnedFile } from "../ports/process-inspector.ts";
import type { MountPoint, RootFilesystem, RootLayout } from "../ports/root-filesystem.ts";
import type { MeasuredTree, MeasureReport, TreeMeasurer } from "../ports/tree-measurer.ts";
import { type DirtyPath, DirtySet, entryChange } from "./change-actors.ts";
import type { TreePlace } from "./file-contents.ts";
import { FirstMounts } from "./first-mounts.ts";
import { type Layer, type LayerStore, MAX_TOLD_CHANGES } from "./layer-store.ts";
import { budgetOf, excludedFor } from "./measurement-policy.ts";
import { type EntryChangeInit, type NodeEvidence, toldBytes } from "./node-evidence.ts";
import { configurationPart, identityPart } from "./parts.ts";
import type { ReadBudget } from "./read-budget.ts";

const MAX_ENGINE_FILE_BYTES = 16 * 1024;
const MAX_ENGINE_DIGEST_BYTES = 256;
const MAX_CONFIG_BLOB_BYTES = 4 * 1024 * 1024;
/** Said beside `unmeasurable` where the container itself brought it about. */
const OVER_BUDGET = "over-budget";
/** Entries and bytes of one delta that are told; more is `unmeasurable`. The workload chooses both. */
const MAX_UPPER_ENTRIES = 50_000;
const MAX_UPPER_BYTES = 8 * 1024 * 1024;
/** How long what was found waits for the event that says who made it. */
const MAX_EVENT_WAIT_MS = 100;
const EVENT_WAIT_MS = 10;

type BindFileInit = MessageInitShape<typeof BindFileSchema>;
type Claims = { code: string; detail: string }[];

export interface MonitorOptions {
  readonly runtime: string;
  readonly dialect: "docker" | "containerd";
  /** As RuntimeFacts.ownLayer. */
  readonly ownLayer: boolean;
  readonly rootFilesystem: RootFilesystem;
  readonly measurer: TreeMeasurer;
  readonly layers: LayerStore;
  readonly evidence: NodeEvidence;
  readonly files: NodeFiles;
  readonly policy: () => MeasurementPolicy | undefined;
  readonly watch: (id: string, path: string) => void;
  readonly unwatch: (id: string) => void;
  /** What the engine says of the container now; undefined: it is gone. */
  readonly inspect: () => Promise<ContainerFacts | undefined>;
  /** Something new is in `evidence`. */
  readonly publish: () => void;
  readonly randomKey: () => Buffer;
}

const NOTHING = new Uint8Array();
const NO_MOUNTS: readonly MountPoint[] = [];

/** What identity and configuration were last made of. */
interface Described {
  readonly facts: ContainerFacts;
  readonly configDigest: string;
  readonly mounts: readonly MountPoint[];
  readonly readOnly: boolean | undefined;
  readonly openSystemPaths: readonly string[];
}
const MAX_ADDRESSES = 64;
const MEASURING = "measuring";
const NETWORK_OWNER_GONE = "network-owner-gone";

/** Docker leaves the container's own line in `/etc/hosts` when it leaves a network: an address that was its own stays its own until it is started again. */
function withFormerAddresses(facts: ContainerFacts, before: ContainerFacts): ContainerFacts {
  const addresses = [...new Set([...facts.addresses, ...before.addresses])].slice(0, MAX_ADDRESSES);
  // What was known of the container whose network it is stays: the claim that it is gone is told apart, and may be later.
  const { networkNames, extraHosts } = facts.networkOwnerGone ? before : facts;
  return { ...facts, addresses, networkNames, extraHosts };
}

export class ContainerMonitor {
  readonly id: string;
  readonly #options: MonitorOptions;
  readonly #envKey: Buffer;
  #facts: ContainerFacts;
  #layout: RootLayout = { kind: "gone" };
  /** As it was found last, which {@link #layout} was made of. */
  #seen: RootLayout | undefined;
  #firstMounts = new FirstMounts([]);
  #lookProblem: string | undefined;
  /** What is withheld is more than any container may tell, whatever the others do. */
  #ownDoing = false;
  #layers: Layer[] = [];
  #tree: MeasuredTree | undefined;
  #watched = false;
  #treeClaims: Claims = [{ code: MEASURING, detail: "first measuring" }];
  #lastMeasured = Promise.withResolvers<void>();
  #policyDigest: Uint8Array = new Uint8Array();
  #queue: Promise<unknown> = Promise.resolve();
  /** The delta as last taken from the tree: what the part's root stands for, while the tree may already be further. */
  #upper = new Map<string, EntryChangeInit>();
  #upperRoot: Buffer = EMPTY_ROOT;
  #upperBytes = 0;
  /** Why nothing is told of the delta, if so. */
  #withheld: string | undefined;
  /** What of the engine's facts is not told for its length. */
  #cut: readonly string[] = [];
  #bindFiles: BindFileInit[] = [];
  /** The engine says that it does not run any more, and the files that it made for it are gone: what they held nobody can say. */
  #engineFilesGone = false;
  #described: Described | undefined;
  #owned: { readonly of: ContainerFacts; readonly files: readonly OwnedFile[] } | undefined;
  /** What the last look found and told: replaced when it changes, never altered. */
  #found: readonly unknown[] = [];
  #dirty = new DirtySet();
  #updateQueued = false;
  /** The first measuring of the present layout and policy came to its end. */
  #measured = false;
  readonly #stop = new AbortController();

  constructor(facts: ContainerFacts, options: MonitorOptions) {
    this.id = facts.id;
    this.#facts = facts;
    this.#options = options;
    this.#envKey = options.randomKey();
    options.evidence.addContainer(facts.id, { all: () => [...this.#upper.values()], withhold: () => this.#withhold() });
  }

  get facts(): ContainerFacts {
    return this.#facts;
  }

  get layout(): RootLayout {
    return this.#layout;
  }

  /** Name under which the upper directory's events come. */
  get watchId(): string {
    return `upper/${this.id}`;
  }

  get tree(): MeasuredTree | undefined {
    return this.#tree;
  }

  /** The tree over its layers, and the directory that it was measured in; undefined: it is not measured, or not any more. */
  get place(): TreePlace | undefined {
    const layout = this.#layout;
    if (layout.kind === "gone" || !this.#tree) return undefined;
    return { root: layout.kind === "overlay" ? layout.upperPath : layout.path, tree: this.#tree };
  }

  /** Files of the node that a look reads. */
  get ownedFiles(): readonly OwnedFile[] {
    if (this.#owned?.of === this.#facts) return this.#owned.files;
    const { engineFiles, configBlobPath } = this.#facts;
    const files = engineFiles.flatMap(({ hostPath, digestPath }) => [
      { path: hostPath, maxBytes: MAX_ENGINE_FILE_BYTES },
      ...(digestPath ? [{ path: digestPath, maxBytes: MAX_ENGINE_DIGEST_BYTES }] : []),
    ]);
    if (configBlobPath) files.push({ path: configBlobPath, maxBytes: MAX_CONFIG_BLOB_BYTES });
    this.#owned = { of: this.#facts, files };
    return files;
  }

  /** Another look would tell the same as long as what it reads stays as it is. */
  get steady(): boolean {
    const certain = this.#layout.kind !== "gone" && this.#layout.unproven === undefined;
    return certain && this.#lookProblem === undefined && !this.#engineFilesGone && !this.#areLost(this.#bindFiles);
  }

  /** Why {@link place} is not there, or does not hold all that lies over the layers; undefined: it does. */
  get placeProblem(): string | undefined {
    const claim = this.#treeClaims.find(({ code }) => code === "unmeasurable" || (!this.#tree && (code === MEASURING || code === "vanished")));
    return claim?.detail ?? (this.#tree ? undefined : "it is being measured again");
  }

  /** Resolves when it is measured as it was asked for last, or cannot be. */
  settled(): Promise<void> {
    return this.#lastMeasured.promise;
  }

  uses(layerId: string): boolean {
    return this.#layers.some(({ directory }) => directory.id === layerId);
  }

  /** Tells what is known at once, so that the verifier knows of the container before it is measured. */
  async announce(): Promise<void> {
    const { evidence } = this.#options;
    await this.#firstLayout();
    await this.#describe();
    evidence.setPart(this.id, "filesystem", this.#filesystemPart());
  }

  /** First measuring, and again when policy changes. */
  measure(): Promise<void> {
    const before = this.#lastMeasured;
    const measured = Promise.withResolvers<void>();
    this.#lastMeasured = measured;
    before.resolve(measured.promise);
    const done = this.#serially(async (signal) => {
      this.#closeTree();
      this.#measured = false;
      const { layout } = this;
      if (layout.kind === "gone") {
        this.#treeClaims = [{ code: "vanished", detail: "the container's main process is gone" }];
      } else {
        await this.#acquireLayers(layout);
        // The last: what was written while its layers were measured, which may take minutes, is in the first root that is told.
        this.#treeClaims = await this.#measureTree(layout, signal);
        this.#measured = true;
      }
      this.#takeAll();
      this.#tell();
    });
    return done.finally(measured.resolve);
  }

  /** New facts from the engine (same id; a restart gives a new process, and often a new mount). */
  async refresh(facts: ContainerFacts): Promise<void> {
    const restarted = facts.pid !== this.#facts.pid;
    this.#facts = restarted ? facts : withFormerAddresses(facts, this.#facts);
    if (restarted) {
      await this.#firstLayout();
      await this.measure();
    }
    await this.#describe();
    this.#options.publish();
  }

  /** Mounts, engine-made files and the config blob: cheap enough for every few seconds. */
  async look(): Promise<void> {
    try {
      const layout = await this.#root();
      if (this.#layout.kind === "gone") await this.#firstLayout();
      else if (layout.kind !== "gone" && layout !== this.#seen) {
        this.#seen = layout;
        this.#layout = this.#firstMounts.withMountsOf(layout, this.#layout);
      }
      await this.#describe();
      this.#lookProblem = undefined;
    } catch (error) {
      // It must not go on as it was last seen: a container can have more mounts than are read.
      this.#lookProblem = `mounts and engine-made files: ${error instanceof Error ? error.message : "cannot be read"}`.slice(0, 500);
    }
    // What else is told of the filesystem is told when it changes. Not waited for: measuring may take minutes.
    const found = [this.#layout, this.#described, this.#bindFiles, this.#engineFilesGone, this.#lookProblem];
    if (found.every((each, i) => each === this.#found[i])) return;
    this.#found = found;
    void this.layersChanged();
  }

  /** Paths that events named; measured as soon as the queue lets them. */
  changed(dirty: readonly DirtyPath[]): void {
    for (const each of dirty) this.#dirty.add(each);
    if (this.#updateQueued) return;
    this.#updateQueued = true;
    void this.#serially((signal) => this.#update(signal));
  }

  /** Looks at the whole delta, whatever events said. */
  rescan(budget: ReadBudget): Promise<void> {
    // What could not be measured at first is tried again, or it would stay unknown for ever.
    if (!this.#tree || !this.#measured) return this.measure();
    return this.#serially(async (signal) => {
      const tree = this.#tree;
      if (!tree) return;
      this.#take(await tree.rescan(signal), undefined);
      this.#tell();
      if (budget.spent) return;
      this.#take(await budget.turn((bytes) => tree.scrub(bytes, signal)), undefined);
      this.#tell();
    });
  }

  /** The layer roots of this container changed. */
  layersChanged(): Promise<void> {
    return this.#serially(async () => {
      if (this.#options.evidence.setPart(this.id, "filesystem", this.#filesystemPart())) this.#options.publish();
    });
  }

  close(): void {
    this.#stop.abort();
    // At once: later it would be the watch of the next monitor of this id.
    this.#unwatch();
    this.#options.evidence.removeContainer(this.id);
    void this.#queue.finally(() => {
      this.#closeTree();
      for (const { directory } of this.#layers) this.#options.layers.release(directory.id);
      this.#layers = [];
    });
  }

  async #firstLayout(): Promise<void> {
    this.#layout = await this.#root();
    this.#seen = this.#layout;
    const mounts = this.#layout.kind === "gone" ? [] : this.#layout.mounts;
    this.#firstMounts = new FirstMounts(mounts);
  }

  #root(): Promise<RootLayout> {
    const { id: containerId, pid, rootPath: path } = this.#facts;
    return this.#options.rootFilesystem.layout(pid, path === undefined ? undefined : { containerId, path });
  }

  async #describe(): Promise<void> {
    const { evidence, files, runtime } = this.#options;
    this.#bindFiles = await this.#engineFilesAndFacts();
    const blob = this.#facts.configBlobPath ? await files.read(this.#facts.configBlobPath, MAX_CONFIG_BLOB_BYTES) : undefined;
    const now: Described = {
      facts: this.#facts,
      configDigest: blob ? `sha256:${blob.sha256.toString("hex")}` : "",
      mounts: this.#layout.kind === "gone" ? NO_MOUNTS : this.#layout.mounts,
      readOnly: this.#layout.kind === "gone" ? undefined : this.#layout.readOnly,
      openSystemPaths: (this.#layout.kind !== "gone" && this.#layout.openSystemPaths) || [],
    };
    const before = this.#described;
    // Facts and mounts are never changed, only replaced: the very same ones give the same bytes.
    if (before?.facts === now.facts && before.configDigest === now.configDigest && before.mounts === now.mounts && before.readOnly === now.readOnly) return;
    const identity = identityPart(now.facts, runtime, now.configDigest);
    const configuration = configurationPart(now.facts, this.#envKey, now.mounts, now.readOnly, now.openSystemPaths);
    evidence.setPart(this.id, "identity", identity.bytes);
    evidence.setPart(this.id, "configuration", configuration.bytes);
    this.#cut = [...identity.cut, ...configuration.cut];
    this.#described = now;
  }

  async #acquireLayers(layout: RootLayout): Promise<void> {
    const before = this.#layers;
    this.#layers = [];
    try {
      for (const directory of layout.kind === "overlay" ? layout.layers : []) this.#layers.push(await this.#options.layers.acquire(directory));
    } finally {
      for (const { directory } of before) this.#options.layers.release(directory.id);
    }
  }

  async #measureTree(layout: Exclude<RootLayout, { kind: "gone" }>, signal: AbortSignal): Promise<Claims> {
    const { measurer, policy, watch } = this.#options;
    // Of a container that was started anew the next monitor has this very id.
    signal.throwIfAborted();
    const current = policy();
    this.#policyDigest = current?.digest ?? new Uint8Array();
    const path = layout.kind === "overlay" ? layout.upperPath : layout.path;
    // Watched first: what changes while it is measured raises an event that is looked at afterwards.
    if (layout.kind === "overlay" || layout.onNode) {
      watch(this.watchId, path);
      this.#watched = true;
    }
    const kind = layout.kind === "overlay" ? "upper" : "merged";
    let tree: MeasuredTree | undefined;
    try {
      tree = await measurer.open(path, { kind, excluded: excludedFor(current, this.#facts), budget: budgetOf(current) });
      const { claims } = await tree.measure(signal);
      signal.throwIfAborted();
      this.#tree = tree;
      return [...claims];
    } catch (error) {
      this.#unwatch();
      tree?.close();
      throw error;
    }
  }

  async #update(signal: AbortSignal): Promise<void> {
    const dirty = this.#dirty;
    this.#dirty = new DirtySet();
    this.#updateQueued = false;
    if (!this.#tree || dirty.size === 0) return;
    const paths = dirty.paths().filter(({ length }) => length > 0);
    const report = await this.#tree.update(paths, signal);
    await this.#eventsOf(report, dirty);
    signal.throwIfAborted();
    this.#take(report, dirty);
    this.#tell();
  }

  /** Waits a little where a walk found what no event has named yet: it is under way, and says who did it. */
  async #eventsOf(report: MeasureReport, dirty: DirtySet): Promise<void> {
    const unnamed = (): boolean => report.changes.some(({ path }) => !dirty.at(path) && !this.#dirty.at(path));
    for (let waited = 0; waited < MAX_EVENT_WAIT_MS && !this.#stop.signal.aborted && unnamed(); waited += EVENT_WAIT_MS)
      await new Promise((resolve) => setTimeout(resolve, EVENT_WAIT_MS));
  }

  /** What a measuring changed. Together with {@link #tell} in one turn: the root and its changes must be told together. */
  #take(report: MeasureReport, dirty: DirtySet | undefined): void {
    this.#treeClaims = [...report.claims];
    if (this.#layout.kind !== "overlay") {
      this.#tellActors(report, dirty);
      return;
    }
    // What is too large to tell is looked at as a whole again at the next rescan, not at each of its changes.
    if (this.#withheld !== undefined && dirty) return;
    if (report.truncated || this.#withheld !== undefined) {
      this.#takeAll();
      return;
    }
    const changes = report.changes.map((change) => entryChange(change, dirty, this.#dirty));
    for (const [i, { path, after }] of report.changes.entries()) {
      const key = path.toString("latin1");
      this.#upperBytes -= toldBytes(this.#upper.get(key));
      if (after) this.#upper.set(key, changes[i] as EntryChangeInit);
      else this.#upper.delete(key);
      this.#upperBytes += toldBytes(this.#upper.get(key));
    }
    if (this.#tooLarge()) return;
    this.#upperRoot = this.#tree?.root() ?? EMPTY_ROOT;
    this.#options.evidence.addUpperChanges(this.id, changes);
  }

  /** Of a tree that stands for the image's files too the root alone is told, with who changed what: the verifier finds the files by itself. */
  #tellActors({ changes, truncated }: MeasureReport, dirty: DirtySet | undefined): void {
    if (!dirty || !this.#tree || changes.length === 0) return;
    const told = changes.slice(0, MAX_TOLD_CHANGES).map((change) => entryChange(change, dirty, this.#dirty));
    const update = { id: mergedTreeId(this.id), root: this.#tree.root(), changes: told, truncated: truncated || changes.length > told.length };
    this.#options.evidence.addLayerUpdate(update);
  }

  #takeAll(): void {
    const tree = this.#layout.kind === "overlay" ? this.#tree : undefined;
    const entries = tree && tree.size <= MAX_UPPER_ENTRIES ? tree.entries(MAX_UPPER_BYTES) : [];
    this.#upper = new Map(entries?.map(({ path, record, inode }) => [path.toString("latin1"), { path, record, inode }]));
    this.#upperBytes = 0;
    for (const entry of this.#upper.values()) this.#upperBytes += toldBytes(entry);
    if (this.#tooLarge(entries === undefined)) return;
    this.#upperRoot = tree?.root() ?? EMPTY_ROOT;
    this.#options.evidence.resetUpper(this.id);
  }

  /** Whether the delta is more than can be told: then nothing is, but that. */
  #tooLarge(known = false): boolean {
    const entries = this.#layout.kind === "overlay" ? (this.#tree?.size ?? 0) : 0;
    const was = this.#withheld;
    this.#ownDoing = known || entries > MAX_UPPER_ENTRIES || this.#upperBytes > MAX_UPPER_BYTES;
    this.#withheld = this.#ownDoing
      ? `${entries} changed entries, limits ${MAX_UPPER_ENTRIES} and ${MAX_UPPER_BYTES} bytes`
      : this.#options.evidence.reserveUpper(this.id, this.#upperBytes)
        ? undefined
        : this.#noRoom();
    if (this.#withheld === undefined) return false;
    this.#forgetUpper();
    this.#options.evidence.reserveUpper(this.id, 0);
    if (was === undefined) this.#options.evidence.resetUpper(this.id);
    return true;
  }

  /** Smaller deltas took the room of this one. */
  #withhold(): void {
    this.#ownDoing = false;
    this.#withheld = this.#noRoom();
    this.#forgetUpper();
    this.#options.evidence.resetUpper(this.id);
    this.#tell();
  }

  #noRoom(): string {
    return `${this.#tree?.size ?? 0} changed entries, and no room left beside those of the node's other containers`;
  }

  #forgetUpper(): void {
    this.#upper = new Map();
    this.#upperBytes = 0;
    this.#upperRoot = EMPTY_ROOT;
  }

  #tell(): void {
    this.#options.evidence.setPart(this.id, "filesystem", this.#filesystemPart());
    this.#options.publish();
  }

  #filesystemPart(): Uint8Array {
    const overlay = this.#layout.kind === "overlay";
    // A layer's size is its image's doing, and so may that of a tree be that has no layers.
    const others = [...(overlay ? [] : this.#treeClaims), ...this.#layers.flatMap((layer) => [...layer.claims])].filter(({ code }) => code !== OVER_BUDGET);
    const claims = [...(overlay ? this.#treeClaims : []), ...others, ...this.#layoutClaims()];
    if (this.#withheld !== undefined) claims.push({ code: "unmeasurable", detail: this.#withheld });
    if (this.#withheld !== undefined && this.#ownDoing) claims.push({ code: OVER_BUDGET, detail: this.#withheld });
    if (this.#engineFilesGone) claims.push({ code: "vanished", detail: "the container has ended, and the files that its engine made for it are gone" });
    if (this.#lookProblem !== undefined) claims.push({ code: "unmeasurable", detail: this.#lookProblem });
    for (const what of this.#cut) claims.push({ code: "unmeasurable", detail: `more ${what} than are told` });
    const message = create(FilesystemStateSchema, {
      kind: overlay ? FilesystemKind.OVERLAY : FilesystemKind.MERGED,
      dialect: this.#options.dialect,
      layers: this.#layers.map(({ directory, tree }, index) => ({
        id: directory.id,
        root: tree.root(),
        runtimeMade: this.#options.ownLayer && this.#layout.kind === "overlay" && index === this.#layout.layers.length - 1,
        entries: BigInt(tree.size),
      })),
      upperRoot: overlay ? this.#upperRoot : new Uint8Array(),
      upperEntries: BigInt(overlay ? this.#upper.size : 0),
      mergedRoot: !overlay && this.#tree ? this.#tree.root() : new Uint8Array(),
      exclusionDigest: this.#policyDigest,
      bindFiles: this.#bindFiles,
      claims,
    });
    return toBinary(FilesystemStateSchema, message);
  }

  #layoutClaims(): Claims {
    if (this.#layout.kind === "gone") return [];
    const { unproven } = this.#layout;
    // What no runtime tells of is told for that: nobody could say which root it was given.
    const claims = unproven === undefined || this.#facts.unlisted ? [] : [{ code: "root-unproven", detail: unproven }];
    const odd = this.#layout.kind === "overlay" ? this.#layout.oddOptions : [];
    if (this.#facts.networkOwnerGone)
      claims.push({
        code: NETWORK_OWNER_GONE,
        detail: "the container whose network it joined was removed: nothing says what its hosts, names and resolver should be",
      });
    return [...claims, ...odd.map((option) => ({ code: `overlay-${option.replace(/[_=].*$/, "")}`, detail: `overlay mounted with ${option}` }))];
  }

  /**
   * The engine writes its files before it tells of the reason (a network joined): files that changed are told only with facts taken after the change.
   * Unchanged ones are the same array as before, and so are those of a container that ended: the engine removes them with it.
   */
  async #engineFilesAndFacts(): Promise<BindFileInit[]> {
    this.#engineFilesGone = false;
    const found = await this.#readEngineFiles();
    const before = new Map(this.#bindFiles.map((file) => [file.destination, file]));
    const lost = this.#areLost(found);
    if (!lost && found.every((file) => sameContent(before.get(file.destination) ?? file, file))) {
      const same = found.length === before.size && found.every((file) => sameFile(before.get(file.destination), file));
      return same ? this.#bindFiles : found;
    }
    // An engine that does not answer has not said that it ended.
    const facts = await this.#options.inspect().catch(() => this.#facts);
    if (facts?.pid === this.#facts.pid) this.#facts = withFormerAddresses(facts, this.#facts);
    const now = await this.#readEngineFiles();
    this.#engineFilesGone = facts === undefined && this.#areLost(now);
    return this.#engineFilesGone ? this.#bindFiles : now;
  }

  /** Files that cannot be read may have gone with their container before the engine could be asked. */
  #areLost(files: readonly BindFileInit[]): boolean {
    return !this.#facts.networkOwnerGone && files.some(({ sha256 }) => sha256?.length === 0);
  }

  async #readEngineFiles(): Promise<BindFileInit[]> {
    const { files } = this.#options;
    const bindFiles: BindFileInit[] = [];
    for (const { destination, hostPath, digestPath } of this.#facts.engineFiles) {
      const file = await files.read(hostPath, MAX_ENGINE_FILE_BYTES);
      const declared = digestPath ? await files.read(digestPath, MAX_ENGINE_DIGEST_BYTES) : undefined;
      const declaredSha256 = Buffer.from(/^(?:sha256:)?([0-9a-f]{64})\s*$/.exec(declared?.content.toString("latin1") ?? "")?.[1] ?? "", "hex");
      bindFiles.push({
        destination,
        sha256: file?.sha256 ?? new Uint8Array(),
        mode: file?.mode ?? 0,
        content: file?.content ?? new Uint8Array(),
        declaredSha256,
      });
    }
    return bindFiles;
  }

  #closeTree(): void {
    this.#unwatch();
    this.#tree?.close();
    this.#tree = undefined;
  }

  #unwatch(): void {
    if (this.#watched) this.#options.unwatch(this.watchId);
    this.#watched = false;
  }

  /** One after the other; a failure is a claim, and the next work still runs. */
  #serially(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const run = async (): Promise<void> => {
      if (this.#stop.signal.aborted) return;
      try {
        await work(this.#stop.signal);
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        this.#treeClaims = [{ code: "unmeasurable", detail: error instanceof Error ? error.message : "measuring failed" }];
        this.#tell();
      }
    };
    const result = this.#queue.then(run);
    this.#queue = result.catch(() => undefined);
    return result;
  }
}

function sameContent(a: BindFileInit, b: BindFileInit): boolean {
  return Buffer.compare(a.sha256 ?? NOTHING, b.sha256 ?? NOTHING) === 0;
}

function sameFile(a: BindFileInit | undefined, b: BindFileInit): boolean {
  return a !== undefined && sameContent(a, b) && a.mode === b.mode && Buffer.compare(a.declaredSha256 ?? NOTHING, b.declaredSha256 ?? NOTHING) === 0;
}
