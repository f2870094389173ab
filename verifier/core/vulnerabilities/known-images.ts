/** Images as reports are held against them: what the verifier has resolved of those that run. */
import type { ImageRow } from "../../ports/rows.ts";
import { storedResolution } from "../images/image-rows.ts";
import type { HistoryStep } from "../provenance/image-objects.ts";
import { chainIdsOf } from "../provenance/layers.ts";
import type { KnownImage } from "./bind.ts";

export interface RunningImage extends KnownImage {
  readonly row: ImageRow;
  readonly history: readonly HistoryStep[];
}

const READ = new WeakMap<ImageRow, RunningImage>();

/** @param row kept as it is: what was read of it is remembered */
export function runningImage(row: ImageRow): RunningImage {
  const known = READ.get(row);
  if (known) return known;
  const resolved = storedResolution(row);
  const digests = (kind: "manifest" | "index"): string[] => [
    ...new Set((resolved?.subjects ?? []).filter((subject) => subject.kind === kind).map(({ digest }) => digest)),
  ];
  const image = {
    row,
    configDigest: row.configDigest,
    manifestDigests: [...new Set([...row.manifestDigests, ...digests("manifest")])],
    indexDigests: digests("index"),
    diffIds: resolved?.config.diffIds ?? [],
    history: resolved?.config.history ?? [],
  };
  READ.set(row, image);
  return image;
}

const CHAINS = new WeakMap<readonly string[], readonly string[]>();

/** The same for the same list: every image is looked at each few seconds. */
function chainsOf(diffIds: readonly string[]): readonly string[] {
  const known = CHAINS.get(diffIds) ?? chainIdsOf(diffIds);
  CHAINS.set(diffIds, known);
  return known;
}

/** What an image is built on. */
export interface Base {
  /** How many of the lowest layers are its own. */
  readonly layers: number;
  /** Reference of an image that has just these layers, or the chain id by which policy names it. */
  readonly name: string;
}

/** Whose layers the lowest ones are: those of another image that runs, or of a base that policy names. The layers themselves tell; nobody's word is needed. */
export class Bases {
  readonly #names = new Map<string, string>();

  /** @param named chain ids of bases in the policy */
  constructor(images: readonly RunningImage[], named: readonly string[]) {
    for (const chain of named) this.#names.set(chain, `the base ${chain}`);
    for (const { row, diffIds } of images) {
      const top = chainsOf(diffIds).at(-1);
      const name = row.references.find((reference) => !reference.startsWith("sha256:")) ?? row.configDigest;
      if (top !== undefined) this.#names.set(top, name);
    }
  }

  /** The highest that is known; undefined: none is. */
  of({ diffIds }: RunningImage): Base | undefined {
    const chains = chainsOf(diffIds);
    for (let layers = chains.length - 1; layers > 0; layers--) {
      const name = this.#names.get(chains[layers - 1] ?? "");
      if (name !== undefined) return { layers, name };
    }
    return undefined;
  }
}
