/** The image that simulated nodes run: pushed to a registry in memory, its layer trees as a node would measure them. */
import { hash } from "node:crypto";
import { encodeRecord } from "@hullmark/proto/codec";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";

const LAYERS = 6;
const FILES = 200;

/** One object a layer, file name → content: what `pushImage` takes. */
export function fleetLayers(): Readonly<Record<string, string>>[] {
  return Array.from({ length: LAYERS }, (_, layer) =>
    Object.fromEntries(Array.from({ length: FILES }, (_, i) => [`srv/l${layer}/f${i}`, `layer ${layer} file ${i}\n`])),
  );
}

const directory = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false });

function fileRecord(content: string): Buffer {
  return encodeRecord({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(content.length), sha256: hash("sha256", content, "buffer") });
}

export interface FleetTrees {
  readonly layers: readonly { readonly root: Buffer; readonly entries: number }[];
  readonly init: { readonly root: Buffer; readonly entries: number };
}

/** What Docker's extraction of {@link fleetLayers} leaves in the layer directories, lowest first. */
export function fleetLayerTrees(): LayerTree[] {
  return fleetLayers().map((files, layer) =>
    LayerTree.build([
      { path: Buffer.from("srv"), record: directory, implied: true },
      { path: Buffer.from(`srv/l${layer}`), record: directory, implied: true },
      ...Object.entries(files).map(([path, content]) => ({ path: Buffer.from(path), record: fileRecord(content), implied: false })),
    ]),
  );
}

/** The roots of {@link fleetLayerTrees}, and of the runtime's own layer over them. */
export function fleetTrees(): FleetTrees {
  const trees = fleetLayerTrees();
  const init = dockerInitLayer(MergedTree.of(trees));
  return { layers: trees.map(({ root, size }) => ({ root, entries: size })), init: { root: init.root, entries: init.size } };
}
