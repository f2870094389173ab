/** Layer trees: each directory is measured once on the node, however many containers stand on it, and then scrubbed. */
import type { LayerDirectory } from "../ports/root-filesystem.ts";
import type { MeasuredTree, MeasureReport, TreeMeasurer, TreeOptions } from "../ports/tree-measurer.ts";
import { type DirtyPath, DirtySet, entryChange } from "./change-actors.ts";
import type { LayerUpdateInit } from "./node-evidence.ts";
import type { ReadBudget } from "./read-budget.ts";

/** Changes told with a layer's new root; the verifier descends for more. */
export const MAX_TOLD_CHANGES = 1024;
/** Measuring a layer is bounded by its budget. */
const NEVER = new AbortController().signal;

export interface Layer {
  readonly directory: LayerDirectory;
  readonly tree: MeasuredTree;
  /** Of content, when it was measured first. */
  readonly bytes: number;
  claims: MeasureReport["claims"];
}

export interface LayerStoreOptions {
  readonly measurer: TreeMeasurer;
  readonly budget: () => TreeOptions["budget"];
  /** Start to notice changes below this directory. */
  readonly watch: (id: string, path: string) => void;
  readonly unwatch: (id: string) => void;
  /** A layer's root changed after its first measuring. */
  readonly changed: (layer: Layer, update: LayerUpdateInit) => void;
}

export class LayerStore {
  readonly #options: LayerStoreOptions;
  /** Users are counted when they ask, not when they get it: a layer that is given up by one and asked for by another in the same turn stays. */
  readonly #layers = new Map<string, { readonly layer: Promise<Layer>; users: number }>();
  /** One layer at a time: measuring uses every core already. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(options: LayerStoreOptions) {
    this.#options = options;
  }

  /**
   * The measured layer, measuring it first where it is new. Each call that succeeds must be paired with {@link release}.
   * The measuring belongs to all who wait for it: a container that goes away meanwhile does not end it for the others.
   * @throws TreeMeasurerError
   */
  async acquire(directory: LayerDirectory): Promise<Layer> {
    let entry = this.#layers.get(directory.id);
    if (!entry) {
      entry = { layer: this.#serially(() => this.#measure(directory)), users: 0 };
      this.#layers.set(directory.id, entry);
    }
    entry.users++;
    try {
      return await entry.layer;
    } catch (error) {
      if (this.#layers.get(directory.id) === entry) this.#layers.delete(directory.id);
      throw error;
    }
  }

  release(id: string): void {
    const entry = this.#layers.get(id);
    if (!entry || --entry.users > 0) return;
    this.#layers.delete(id);
    // Not while it is looked at.
    void this.#serially(async () => {
      if (!this.#layers.has(id)) this.#options.unwatch(id);
      (await entry.layer).tree.close();
    });
  }

  /** The tree of a layer that is measured. */
  async find(id: string): Promise<Layer | undefined> {
    return this.#layers.get(id)?.layer;
  }

  /** Paths that an event named. */
  async update(id: string, dirty: readonly DirtyPath[], signal: AbortSignal): Promise<void> {
    const layer = await this.#layers.get(id)?.layer;
    if (!layer) return;
    const set = new DirtySet();
    for (const each of dirty) set.add(each);
    // The root of the tree itself has no record, and every other change has an event of its own.
    const paths = set.paths().filter(({ length }) => length > 0);
    await this.#remeasured(layer, () => layer.tree.update(paths, signal), set);
  }

  /** Layers that are held. */
  get size(): number {
    return this.#layers.size;
  }

  /** A pass over all layers: metadata, then content read again as far as the budget lets, the smallest first, since they leave over what the largest need. */
  async rescan(budget: ReadBudget, signal: AbortSignal): Promise<void> {
    const settled = await Promise.all([...this.#layers.values()].map(({ layer }) => layer.catch(() => undefined)));
    const layers = settled.filter((layer) => layer !== undefined).sort((a, b) => a.bytes - b.bytes);
    for (const layer of layers) {
      if (signal.aborted) return;
      await this.#serially(() => this.#remeasured(layer, () => layer.tree.rescan(signal)));
      if (!budget.spent) await this.#serially(() => this.#remeasured(layer, () => budget.turn((bytes) => layer.tree.scrub(bytes, signal))));
    }
  }

  async #measure(directory: LayerDirectory): Promise<Layer> {
    const { measurer, budget, watch } = this.#options;
    // Watched first: what changes while it is measured raises an event that is looked at afterwards.
    watch(directory.id, directory.path);
    const tree = await measurer.open(directory.path, { kind: "layer", excluded: [], budget: budget() });
    try {
      const { claims, hashedBytes: bytes } = await tree.measure(NEVER);
      return { directory, tree, bytes, claims };
    } catch (error) {
      tree.close();
      this.#options.unwatch(directory.id);
      throw error;
    }
  }

  async #remeasured(layer: Layer, measure: () => Promise<MeasureReport>, dirty?: DirtySet): Promise<void> {
    // Given up while this waited for its turn.
    if ((await this.find(layer.directory.id)) !== layer) return;
    const before = layer.tree.root();
    const report = await measure();
    const root = layer.tree.root();
    // What could not be measured is told also where no root changed, and is taken back once it could.
    const claimed = JSON.stringify(layer.claims) !== JSON.stringify(report.claims);
    layer.claims = report.claims;
    if (root.equals(before) && !claimed) return;
    const changes = report.changes.slice(0, MAX_TOLD_CHANGES).map((change) => entryChange(change, dirty));
    this.#options.changed(layer, { id: layer.directory.id, root, changes, truncated: report.truncated || report.changes.length > MAX_TOLD_CHANGES });
  }

  #serially<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.then(nothing, nothing);
    return result;
  }
}

function nothing(): void {}
