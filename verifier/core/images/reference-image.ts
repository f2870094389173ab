/** One resolved image with its replayed layers, as appraisal wants it. */
import type { ExpectedTree } from "../appraisal/descent.ts";
import type { ReferenceImage } from "../appraisal/types.ts";
import type { ResolvedImage } from "../provenance/index.ts";
import { type Dialect, dockerInitLayer, entriesBelow, LayerTree, MergedTree, RuntimeMade } from "../reference-value/index.ts";
import { expectedTree } from "./expected-tree.ts";
import type { LoadedImage } from "./types.ts";

/** Sets of mounts whose masks are kept for one image. */
const MAX_MASKS = 256;

/**
 * @param trees one a layer of `resolved`, lowest first, replayed in `dialect`
 * @param ofDocker whether Docker runs it: it has a layer of its own on top, and makes mount points itself, wherever it keeps images
 */
export function loadedImage(resolved: ResolvedImage, trees: readonly LayerTree[], dialect: Dialect, ofDocker: boolean): LoadedImage {
  const image = MergedTree.of(trees);
  const init = dockerInitLayer(image);
  // What a container sees: under Docker the runtime's own layer lies over the image's.
  const seen = ofDocker ? MergedTree.of([...trees, init]) : image;
  const expected = trees.map(expectedTree);
  const expectedInit = expectedTree(init);
  let merged: ExpectedTree | undefined;
  return {
    reference: reference(resolved, { trees, image, seen, init, dialect, ofDocker }),
    entries: trees.reduce((sum, { size }) => sum + size, 0),
    layerTree: (index) => expected[index],
    runtimeTree: () => expectedInit,
    mergedTree: () => {
      merged ??= expectedTree(mergedLayer(image));
      return merged;
    },
  };
}

interface Parts {
  readonly trees: readonly LayerTree[];
  readonly image: MergedTree;
  readonly seen: MergedTree;
  readonly init: LayerTree;
  readonly dialect: Dialect;
  readonly ofDocker: boolean;
}

function reference({ configDigest, config, subjects }: ResolvedImage, { trees, image, seen, init, dialect, ofDocker }: Parts): ReferenceImage {
  const masks = new Map<string, RuntimeMade>();
  const { env, entrypoint, cmd, user, workingDirectory, volumes } = config;
  const maskOf = (mountDestinations: readonly string[]): RuntimeMade => {
    const key = JSON.stringify(mountDestinations);
    let mask = masks.get(key);
    if (!mask) {
      if (masks.size >= MAX_MASKS) masks.clear();
      mask = new RuntimeMade({ ofDocker, image, mountDestinations, volumes, workingDirectory });
      masks.set(key, mask);
    }
    return mask;
  };
  return {
    configDigest,
    manifestDigests: subjects.filter(({ kind }) => kind === "manifest").map(({ digest }) => digest),
    layers: trees.map((tree, index) => ({
      diffId: config.diffIds[index] ?? "",
      roots: new Map([[dialect, tree.root]]),
      history: config.history[index]?.createdBy ?? "",
    })),
    config: { env, entrypoint, cmd, user, workingDirectory, volumes },
    merged: (path) => {
      const found = seen.get(path);
      if (!found) return undefined;
      // The runtime's own layer is none of the image's.
      return { record: found.record, layerIndex: found.layerIndex < trees.length ? found.layerIndex : -1, implied: found.implied };
    },
    below: (path, limit) => entriesBelow(seen, path, limit),
    runtimeLayerRoots: [init.root, dockerInitLayer(image, true).root],
    runtimeMade: (path, record, _dialect, mountDestinations) => maskOf(mountDestinations).has(path, record),
  };
}

function mergedLayer(image: MergedTree): LayerTree {
  return LayerTree.build([...image.entries()].map(({ path, record, implied }) => ({ path, record, implied })));
}
