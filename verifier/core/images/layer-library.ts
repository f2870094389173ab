/** Trees of image layers: from memory, from the store, as a signed file manifest has them, or fetched and replayed, once, however many ask. */
import type { LayerReplayer } from "../../ports/layer-replayer.ts";
import type { Reference, ReferenceKey, ReferenceStore } from "../../ports/reference-store.ts";
import type { Registry } from "../../ports/registry.ts";
import { chainIdsOf, type FileManifest, type ResolvedImage } from "../provenance/index.ts";
import { DIALECT_VERSION, type Dialect, LayerTree } from "../reference-value/index.ts";
import { fetchLayerTree } from "./signed-tree.ts";

/** Entries of all trees kept in memory: some 200 bytes each. */
const MAX_CACHED_ENTRIES = 2_000_000;

export interface LayerLibraryServices {
  readonly registry: Registry;
  readonly store: ReferenceStore;
  readonly replayer: LayerReplayer;
}

export interface Wanted {
  /** Of which layers that were never replayed are taken; undefined: they are replayed. */
  readonly files: FileManifest | undefined;
  /** Fetches nothing. */
  readonly onlyKept: boolean;
}

export type ImageTrees =
  /** Lowest first. */
  | { readonly kind: "trees"; readonly trees: readonly LayerTree[]; readonly byFiles: boolean }
  /** The first layer that has none. */
  | { readonly kind: "refused"; readonly index: number; readonly refused: Reference }
  /** The manifest says otherwise of a layer than its own replay. */
  | { readonly kind: "contradicted"; readonly index: number }
  | { readonly kind: "not-kept" };

export class LayerLibrary {
  readonly #services: LayerLibraryServices;
  readonly #inHand = new Map<string, Promise<Reference>>();
  /** In order of use, oldest first. */
  readonly #trees = new Map<string, LayerTree>();
  #cachedEntries = 0;

  constructor(services: LayerLibraryServices) {
    this.#services = services;
  }

  /** @throws RegistryError where a layer could not be fetched; the signal's reason */
  async trees(image: ResolvedImage, dialect: Dialect, { files, onlyKept }: Wanted, signal: AbortSignal): Promise<ImageTrees> {
    const { repository, layers, config } = image;
    const { registry, replayer } = this.#services;
    const trees: LayerTree[] = [];
    let byFiles = false;
    const chainIds = chainIdsOf(config.diffIds);
    for (const [index, descriptor] of layers.entries()) {
      const key = { chainId: chainIds[index] as string, dialect, dialectVersion: DIALECT_VERSION[dialect] };
      const layer = { digest: descriptor.digest, size: descriptor.size, diffId: config.diffIds[index] as string };
      const told = files?.layers[index]?.trees.find((each) => each.dialect === dialect && each.version === key.dialectVersion);
      const name = `${dialect} ${key.dialectVersion} ${key.chainId}`;
      const replayed = await this.#kept(name, key, signal);
      if (told && replayed instanceof LayerTree && replayed.root.toString("hex") !== told.root) return { kind: "contradicted", index };
      if (!replayed && onlyKept) return { kind: "not-kept" };
      // Named by what it holds: whose word it is good for is the caller's to know.
      const signed = told && !replayed ? await this.#once(`files ${told.content.digest}`, () => fetchLayerTree(registry, repository, told, signal)) : undefined;
      const kept = replayed ?? taken(signed);
      // What is replayed upon others' word would be kept as if it were proven: then all is replayed.
      if (!kept && byFiles) return await this.trees(image, dialect, { files: undefined, onlyKept }, signal);
      const read = () => registry.blob(repository, layer.digest, signal);
      const replay = () => replayer.replay(read(), layer, { dialect, lower: [...trees] }, signal);
      const found = kept ?? (await this.#once(name, () => this.#replay(key, replay, signal)));
      if (!(found instanceof LayerTree)) return { kind: "refused", index, refused: found };
      byFiles ||= found === signed;
      trees.push(found);
    }
    return { kind: "trees", trees, byFiles };
  }

  /** What was replayed before. */
  async #kept(name: string, key: ReferenceKey, signal: AbortSignal): Promise<Reference | undefined> {
    const cached = this.#cached(name) ?? (await this.#inHand.get(name)) ?? (await this.#services.store.get(key, signal));
    if (cached instanceof LayerTree) this.#keep(name, cached);
    return cached;
  }

  #cached(name: string): LayerTree | undefined {
    const cached = this.#trees.get(name);
    if (cached) {
      this.#trees.delete(name);
      this.#trees.set(name, cached);
    }
    return cached;
  }

  async #once(name: string, obtain: () => Promise<Reference>): Promise<Reference> {
    const cached = this.#cached(name);
    if (cached) return cached;
    let work = this.#inHand.get(name);
    if (!work) {
      work = obtain().finally(() => this.#inHand.delete(name));
      this.#inHand.set(name, work);
    }
    const found = await work;
    if (found instanceof LayerTree) this.#keep(name, found);
    return found;
  }

  async #replay(key: ReferenceKey, replay: () => Promise<Reference>, signal: AbortSignal): Promise<Reference> {
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

/** A tree that is not there, or not what was signed, is nobody's word: the layer itself is read. */
function taken(signed: Reference | undefined): LayerTree | undefined {
  return signed instanceof LayerTree ? signed : undefined;
}
