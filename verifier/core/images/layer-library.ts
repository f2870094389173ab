/** Replayed layers: from memory, from the store, or fetched and replayed, once, however many ask. */
import type { LayerReplayer } from "../../ports/layer-replayer.ts";
import type { Reference, ReferenceKey, ReferenceStore } from "../../ports/reference-store.ts";
import type { Registry } from "../../ports/registry.ts";
import { chainIdsOf, type ResolvedImage } from "../provenance/index.ts";
import { DIALECT_VERSION, type Dialect, LayerTree } from "../reference-value/index.ts";

/** Entries of all trees kept in memory: some 200 bytes each. */
const MAX_CACHED_ENTRIES = 2_000_000;

export interface LayerLibraryServices {
  readonly registry: Registry;
  readonly store: ReferenceStore;
  readonly replayer: LayerReplayer;
}

export class LayerLibrary {
  readonly #services: LayerLibraryServices;
  readonly #inHand = new Map<string, Promise<Reference>>();
  /** In order of use, oldest first. */
  readonly #trees = new Map<string, LayerTree>();
  #cachedEntries = 0;

  constructor(services: LayerLibraryServices) {
    this.#services = services;
  }

  /**
   * The trees of an image, lowest first, or the first layer that has none.
   * @throws RegistryError where a layer could not be fetched; the signal's reason
   */
  async trees(
    { repository, layers, config }: ResolvedImage,
    dialect: Dialect,
    signal: AbortSignal,
  ): Promise<readonly LayerTree[] | { readonly index: number; readonly refused: Reference }> {
    const trees: LayerTree[] = [];
    const chainIds = chainIdsOf(config.diffIds);
    for (const [index, descriptor] of layers.entries()) {
      const key = { chainId: chainIds[index] as string, dialect, dialectVersion: DIALECT_VERSION[dialect] };
      const layer = { digest: descriptor.digest, size: descriptor.size, diffId: config.diffIds[index] as string };
      const found = await this.#layer(
        key,
        () => this.#services.replayer.replay(this.#services.registry.blob(repository, layer.digest, signal), layer, { dialect, lower: [...trees] }, signal),
        signal,
      );
      if (!(found instanceof LayerTree)) return { index, refused: found };
      trees.push(found);
    }
    return trees;
  }

  async #layer(key: ReferenceKey, replay: () => Promise<Reference>, signal: AbortSignal): Promise<Reference> {
    const name = `${key.dialect} ${key.dialectVersion} ${key.chainId}`;
    const cached = this.#trees.get(name);
    if (cached) {
      this.#trees.delete(name);
      this.#trees.set(name, cached);
      return cached;
    }
    let work = this.#inHand.get(name);
    if (!work) {
      work = this.#obtain(key, replay, signal).finally(() => this.#inHand.delete(name));
      this.#inHand.set(name, work);
    }
    const found = await work;
    if (found instanceof LayerTree) this.#keep(name, found);
    return found;
  }

  async #obtain(key: ReferenceKey, replay: () => Promise<Reference>, signal: AbortSignal): Promise<Reference> {
    const stored = await this.#services.store.get(key, signal);
    if (stored) return stored;
    const replayed = await replay();
    // A registry's mistake says nothing of the layer and is not kept.
    const foreign = !(replayed instanceof LayerTree) && replayed.unextractable.code === "BLOB_MISMATCH";
    if (!foreign) await this.#services.store.put(key, replayed, signal);
    return replayed;
  }

  #keep(name: string, tree: LayerTree): void {
    if (this.#trees.has(name)) return;
    this.#trees.set(name, tree);
    this.#cachedEntries += tree.size + 1;
    for (const [oldest, old] of this.#trees) {
      if (this.#cachedEntries <= MAX_CACHED_ENTRIES || oldest === name) break;
      this.#trees.delete(oldest);
      this.#cachedEntries -= old.size + 1;
    }
  }
}
