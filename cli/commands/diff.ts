/** `hullmark diff A B`: are two builds the same, and if not, which files, by which steps. */
import type { Difference } from "@hullmark/verifier/core/appraisal/types";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { type BuildStep, compareImages, type FileDifference, type ImageComparison } from "../signing/compare-images.ts";
import { SigningError } from "../signing/errors.ts";
import { type ImageContent, type ReplayedLayers, readImageContent } from "../signing/image-content.ts";
import { type CommandIo, outcome, processIo } from "../signing/io.ts";
import { openRegistry, type RegistryFlags, withRegistryOptions } from "../signing/registry.ts";

interface DiffFlags extends RegistryFlags {
  readonly platform?: string;
  readonly limit: string;
  readonly output: Format;
}

const MAX_LINE = 4096;
const SIGNS: Readonly<Record<FileDifference["change"], string>> = { added: "+", removed: "-", changed: "~" };

/** Exit: 0 the same files and configuration, 1 not, 2 usage, 3 cannot tell. */
export function diffCommand(io: CommandIo = processIo()): Command {
  const command = new Command("diff")
    .argument("<image>", "host[:port]/name[:tag][@sha256:…]")
    .argument("<other>", "the image to hold against it")
    .option("--platform <os/arch>", "of indexes: which platform's images")
    .option("--limit <n>", "how many files to print; all are counted", "50");
  return withRegistryOptions(command)
    .addOption(formatOption())
    .action((image: string, other: string, flags: DiffFlags) =>
      outcome(io, async () => {
        const limit = Number(flags.limit);
        if (!Number.isSafeInteger(limit) || limit < 0) throw new SigningError("USAGE", "--limit: want a number from 0 on");
        const registry = await openRegistry(flags, io);
        try {
          const layers: ReplayedLayers = new Map();
          const before = await readImageContent(registry, image, flags.platform, layers, io.signal);
          const after = await readImageContent(registry, other, flags.platform, layers, io.signal);
          const comparison = compareImages(before, after);
          io.out(isData(flags.output) ? serialize(flags.output, asJson(before, after, comparison, limit)) : asText(before, after, comparison, limit));
          return comparison.verdict === "different" ? 1 : 0;
        } finally {
          registry.close();
        }
      }),
    );
}

function countsOf({ files }: ImageComparison): Record<FileDifference["change"], number> {
  const counts = { added: 0, removed: 0, changed: 0 };
  for (const { change } of files) counts[change]++;
  return counts;
}

/** Stable: fields are added, never changed. */
function asJson(before: ImageContent, after: ImageContent, comparison: ImageComparison, limit: number): object {
  const { verdict, files, configuration, sharedLayers, repackedLayers } = comparison;
  return {
    images: [before, after].map(({ name, configDigest, config }) => ({ image: name, configDigest, layers: config.diffIds.length })),
    ...{ verdict, counts: countsOf(comparison), configuration, sharedLayers, repackedLayers },
    files: files.slice(0, limit).map(({ path, ...rest }) => ({ path: `/${printable(path, MAX_LINE)}`, pathHex: path.toString("hex"), ...rest })),
    filesLeftOut: Math.max(0, files.length - limit),
  };
}

function asText(before: ImageContent, after: ImageContent, comparison: ImageComparison, limit: number): string {
  const { verdict, files, configuration, sharedLayers, repackedLayers } = comparison;
  const { changed, added, removed } = countsOf(comparison);
  const lines = [`- ${before.name}`, `+ ${after.name}`, ""];
  for (const each of configuration) lines.push(printable(`~ configuration  ${differenceText(each)}`, MAX_LINE));
  for (const file of files.slice(0, limit)) lines.push(...fileLines(file));
  if (files.length > limit) lines.push(`  … and ${files.length - limit} more (--limit)`);
  if (configuration.length + files.length > 0) lines.push("");
  const layers = `${sharedLayers} of ${after.config.diffIds.length} layers are shared from the lowest on${repackedLayers.length > 0 ? `; packed otherwise, with the same entries: ${repackedLayers.join(", ")}` : ""}`;
  const words: Readonly<Record<ImageComparison["verdict"], string>> = {
    identical: "identical: one and the same manifest",
    repacked: "the same files and configuration, packed otherwise (times, order, compression or history)",
    different: `different: ${changed} files changed, ${added} added, ${removed} removed, ${configuration.length} settings`,
  };
  lines.push(words[verdict], layers);
  return `${lines.join("\n")}\n`;
}

function fileLines({ path, change, differences, before, after }: FileDifference): string[] {
  const shown = change === "changed" ? differences : differences.filter(({ field }) => field === "type" || field === "mode" || field === "owner");
  const title = `${SIGNS[change]} /${printable(path, MAX_LINE)}`;
  const steps =
    before && after && before.createdBy === after.createdBy && before.layer === after.layer
      ? [stepText(after)]
      : [before, after].flatMap((step) => (step ? [stepText(step)] : []));
  return [
    title,
    ...shown.map((each) => `    ${change === "changed" ? differenceText(each) : `${each.field} ${change === "added" ? each.observed : each.expected}`}`),
    `    by ${steps.join("  →  ")}`,
  ];
}

function differenceText({ field, expected, observed }: Difference): string {
  return `${field} ${expected} → ${observed}`;
}

function stepText({ layer, createdBy }: BuildStep): string {
  return `layer ${layer}${createdBy === "" ? "" : ` (${printable(createdBy, 120)})`}`;
}
