/** The files that an image in its registry has, by the same replay that a container of it is measured against. */
import { type ImageConfig, MAX_CONFIG_BYTES, parseConfig, parseManifest, readBlob } from "@hullmark/verifier/core/provenance/index";
import { LayerTree, MergedTree, replayBlob } from "@hullmark/verifier/core/reference-value/index";
import type { Registry } from "@hullmark/verifier/ports/registry";
import { SigningError } from "./errors.ts";
import { findImage, manifestOf, subjectsOf } from "./registry.ts";

export interface ImageContent {
  /** `host[:port]/name@sha256:…` of the platform's manifest. */
  readonly name: string;
  readonly manifestDigest: string;
  readonly configDigest: string;
  readonly config: ImageConfig;
  /** As a container would see them. */
  readonly files: MergedTree;
}

/** Layers that were replayed already, by diff id: two builds of one thing share most of theirs. */
export type ReplayedLayers = Map<string, LayerTree>;

/**
 * @param text as a person writes it: tag, digest or both
 * @param platform `os/arch[/variant]`; needed where the name is that of an index
 * @throws RegistryError, ProvenanceError; SigningError IMAGE where a layer cannot be extracted, USAGE for an index without platform
 */
export async function readImageContent(
  registry: Registry,
  text: string,
  platform: string | undefined,
  known: ReplayedLayers,
  signal: AbortSignal,
): Promise<ImageContent> {
  const found = await findImage(registry, text, signal);
  const [subject] = parseManifest(found.bytes, found.mediaType).kind === "index" ? subjectsOf(found, needed(platform, text)) : subjectsOf(found, undefined);
  const digest = subject?.digest ?? found.digest;
  const { repository } = found;
  const manifest = await manifestOf(registry, found, digest, signal);
  if (manifest.kind !== "manifest") throw new SigningError("IMAGE", `${repository}@${digest} is an index within an index`);
  const config = parseConfig(await readBlob(registry, repository, manifest.config.digest, MAX_CONFIG_BYTES, signal));
  if (config.diffIds.length !== manifest.layers.length)
    throw new SigningError("IMAGE", `${repository}@${digest} has ${manifest.layers.length} layers and ${config.diffIds.length} diff ids`);
  const trees: LayerTree[] = [];
  for (const [i, { digest: blob, size }] of manifest.layers.entries()) {
    const diffId = config.diffIds[i] ?? "";
    // By this dialect a layer is the same whatever lies below it.
    const tree =
      known.get(diffId) ??
      (await replayBlob(registry.blob(repository, blob, signal), { digest: blob, size, diffId }, { dialect: "docker", lower: [] }, signal));
    if (!(tree instanceof LayerTree))
      throw new SigningError(
        "IMAGE",
        `layer ${i + 1} of ${repository}@${digest} cannot be extracted: ${tree.unextractable.code}: ${tree.unextractable.reason}`,
      );
    known.set(diffId, tree);
    trees.push(tree);
  }
  return { name: `${repository}@${digest}`, manifestDigest: digest, configDigest: manifest.config.digest, config, files: MergedTree.of(trees) };
}

function needed(platform: string | undefined, text: string): string {
  if (platform === undefined) throw new SigningError("USAGE", `${text} is an index of several platforms: choose one with --platform os/arch`);
  return platform;
}
