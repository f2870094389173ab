/** Which layers images stand on, by chain id: of what the verifier has resolved. */
import { chainIdsOf } from "./core/provenance/layers.ts";
import { runningImage } from "./core/vulnerabilities/known-images.ts";
import type { Store } from "./ports/store.ts";

/** @returns chain ids of an image's layers, lowest first; empty: it is not known */
export function layerChains(store: Pick<Store, "readImages">) {
  return async (wanted: ReadonlySet<string>): Promise<(configDigest: string) => readonly string[]> => {
    const rows = (await store.readImages()).filter(({ configDigest }) => wanted.has(configDigest));
    const chains = new Map(rows.map((row) => [row.configDigest, chainIdsOf(runningImage(row).diffIds)]));
    return (configDigest) => chains.get(configDigest) ?? [];
  };
}
