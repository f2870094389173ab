/** Replays layers where it blocks nobody: behind it a thread of its own. */
import type { Dialect } from "../core/reference-value/dialect.ts";
import type { LayerTree } from "../core/reference-value/layer-tree.ts";
import type { LayerIdentity } from "../core/reference-value/replay-blob.ts";
import type { Reference } from "./reference-store.ts";

export interface LayerReplayer {
  /**
   * As `replayBlob`: the blob is read as fast as it is replayed, and nothing of it is kept.
   * @param lower trees of the layers below, bottom first, in the same dialect
   * @throws what reading the blob throws; the signal's reason; an Error where the thread is gone
   */
  replay(
    blob: AsyncIterable<Buffer>,
    layer: LayerIdentity,
    options: { readonly dialect: Dialect; readonly lower: readonly LayerTree[] },
    signal: AbortSignal,
  ): Promise<Reference>;
}
