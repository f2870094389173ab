/** Holds replay against what an engine really extracted. */
import { decodeRecord } from "@hullmark/proto/codec";
import { type Dialect, LayerReplay, LayerTree, type Unextractable } from "../../verifier/core/reference-value/index.ts";
import type { Extracted } from "./engine-layers.ts";
import { naiveWalk, naiveWalks, type WalkedEntry } from "./naive-walk.ts";

/** Trees of all layers, bottom first, or why one has none. */
export function replayStack(layers: readonly Buffer[], dialect: Dialect): LayerTree[] | Unextractable {
  const trees: LayerTree[] = [];
  for (const layer of layers) {
    const replay = new LayerReplay({ dialect, lower: trees });
    replay.push(layer);
    const { reference } = replay.finish();
    if ("unextractable" in reference) return reference;
    trees.push(reference);
  }
  return trees;
}

/** What replay and engine do not agree on, in words; empty where they agree on every record. */
export function disagreements(layers: readonly Buffer[], dialect: Dialect, engine: Extracted): string[] {
  const trees = replayStack(layers, dialect);
  if ("refused" in engine) return "unextractable" in trees ? [] : [`replay accepts what the engine refuses: ${engine.refused.slice(-400)}`];
  if ("unextractable" in trees) return [`replay refuses what the engine extracts: ${JSON.stringify(trees.unextractable)}`];
  if (engine.directories.length !== trees.length) return [`${engine.directories.length} layer directories for ${trees.length} layers`];
  return naiveWalks(engine.directories).flatMap((walked, i) => compare(trees[i] as LayerTree, walked).map((each) => `layer ${i}: ${each}`));
}

/** Every difference between an expected tree and a directory on disk, whose walk must also give the tree's root. */
export function treeDifferences(expected: LayerTree, directory: string): string[] {
  return compare(expected, naiveWalk(directory));
}

function compare(expected: LayerTree, walked: readonly WalkedEntry[]): string[] {
  const onDisk = LayerTree.build(walked.map(({ path, encoded }) => ({ path, record: encoded, implied: false })));
  if (onDisk.root.equals(expected.root)) return [];
  const differences: string[] = [];
  for (const { path, encoded } of walked) {
    const entry = expected.get(path);
    const name = JSON.stringify(path.toString("latin1").slice(0, 300));
    if (!entry) differences.push(`${name} only on disk: ${show(encoded)}`);
    else if (!entry.record.equals(encoded)) differences.push(`${name} on disk ${show(encoded)}, replayed ${show(entry.record)}`);
  }
  for (const entry of expected.entries()) {
    if (!onDisk.get(entry.path)) differences.push(`${JSON.stringify(entry.path.toString("latin1").slice(0, 300))} only replayed: ${show(entry.record)}`);
  }
  return differences.length > 0 ? differences : ["the roots differ"];
}

/** A record for people: numbers in octal where it matters, bytes as hex. */
export function show(encoded: Buffer): string {
  return JSON.stringify(decodeRecord(encoded), (key, value: unknown) => {
    if (typeof value === "bigint") return Number(value);
    if (key === "mode") return `0${(value as number).toString(8)}`;
    const buffer = value as { type?: string; data?: number[] } | null;
    return buffer?.type === "Buffer" && buffer.data ? Buffer.from(buffer.data).toString("hex") : value;
  });
}
