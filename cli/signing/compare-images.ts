/** Whether two builds made the same image, and if not, in what they differ. Pure. */
import { decodeRecord } from "@hullmark/proto/codec";
import { compareRecords, describe } from "@hullmark/verifier/core/appraisal/compare-records";
import type { Difference } from "@hullmark/verifier/core/appraisal/types";
import type { ImageConfig } from "@hullmark/verifier/core/provenance/index";
import type { Located } from "@hullmark/verifier/core/reference-value/index";
import type { ImageContent } from "./image-content.ts";

/** Of the layer that an entry comes from: its number from 1, and what the build says that it did there. */
export interface BuildStep {
  readonly layer: number;
  readonly createdBy: string;
}

export interface FileDifference {
  /** Raw bytes, no leading slash. */
  readonly path: Buffer;
  readonly change: "added" | "removed" | "changed";
  /** `expected` is the first image's. */
  readonly differences: readonly Difference[];
  readonly before: BuildStep | undefined;
  readonly after: BuildStep | undefined;
}

export interface ImageComparison {
  /**
   * `identical`: one manifest. `repacked`: the same files and configuration in other bytes (times, order, compression, history).
   * `different`: a container of the one is not a container of the other.
   */
  readonly verdict: "identical" | "repacked" | "different";
  /** By path. */
  readonly files: readonly FileDifference[];
  /** What containers are started with. */
  readonly configuration: readonly Difference[];
  /** Layers of one diff id, from the lowest on. */
  readonly sharedLayers: number;
  /** Numbers from 1 of the layers whose diff ids differ though they hold the same entries. */
  readonly repackedLayers: readonly number[];
}

export function compareImages(before: ImageContent, after: ImageContent): ImageComparison {
  const files = compareFiles(before, after);
  const configuration = compareConfigurations(before.config, after.config);
  const different = files.length + configuration.length > 0;
  const pairs = after.files.layers.map((tree, i) => ({
    number: i + 1,
    tree,
    other: before.files.layers[i],
    same: before.config.diffIds[i] === after.config.diffIds[i],
  }));
  const firstOther = pairs.findIndex(({ same }) => !same);
  return {
    verdict: different ? "different" : before.manifestDigest === after.manifestDigest ? "identical" : "repacked",
    files,
    configuration,
    sharedLayers: firstOther < 0 ? pairs.length : firstOther,
    repackedLayers: pairs.flatMap(({ number, tree, other, same }) => (!same && other?.root.equals(tree.root) ? [number] : [])),
  };
}

function compareFiles(before: ImageContent, after: ImageContent): FileDifference[] {
  const found: FileDifference[] = [];
  for (const now of after.files.entries()) {
    const was = before.files.get(now.path);
    if (was?.digest.equals(now.digest)) continue;
    const differences = was ? compareRecords(was.record, now.record).differences : describe(decodeRecord(now.record));
    found.push({ path: now.path, change: was ? "changed" : "added", differences, before: was && stepOf(before, was), after: stepOf(after, now) });
  }
  for (const was of before.files.entries()) {
    if (after.files.get(was.path)) continue;
    const differences = describe(decodeRecord(was.record)).map(({ field, observed }) => ({ field, expected: observed, observed: "absent" }));
    found.push({ path: was.path, change: "removed", differences, before: stepOf(before, was), after: undefined });
  }
  return found.sort((a, b) => Buffer.compare(a.path, b.path));
}

function stepOf({ config }: ImageContent, { layerIndex }: Located): BuildStep {
  return { layer: layerIndex + 1, createdBy: config.history[layerIndex]?.createdBy ?? "" };
}

function compareConfigurations(before: ImageConfig, after: ImageConfig): Difference[] {
  const from = settingsOf(before);
  const to = settingsOf(after);
  const fields = [...new Set([...from.keys(), ...to.keys()])];
  return fields.flatMap((field) => {
    const [expected, observed] = [from.get(field) ?? "absent", to.get(field) ?? "absent"];
    return expected === observed ? [] : [{ field, expected, observed }];
  });
}

/** Lists are in JSON: what a word is does not hang on spaces in it. */
function settingsOf({ platform, env, entrypoint, cmd, user, workingDirectory, volumes, labels }: ImageConfig): Map<string, string> {
  const settings = new Map<string, string>([
    ["platform", [platform.os, platform.architecture, platform.variant].filter(Boolean).join("/")],
    ["entrypoint", JSON.stringify(entrypoint)],
    ["cmd", JSON.stringify(cmd)],
    ["user", user],
    ["working directory", workingDirectory],
    ["volumes", JSON.stringify([...volumes].sort())],
  ]);
  for (const each of env) {
    const at = each.indexOf("=");
    settings.set(`env ${at < 0 ? each : each.slice(0, at)}`, at < 0 ? "" : each.slice(at + 1));
  }
  for (const [name, value] of Object.entries(labels)) settings.set(`label ${name}`, value);
  return settings;
}
