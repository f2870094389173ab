/** `hullmark manifest IMAGE`: a signed file manifest, by which a verifier knows an image's files without fetching its layers. */
import { isImageEntry, parseManifest } from "@hullmark/verifier/core/provenance/index";
import { Command } from "commander";
import { formatOption, isData, serialize } from "../output/format.ts";
import { type AttachedFiles, attachFileManifest } from "../signing/file-manifest.ts";
import { type CommandIo, type ExitCode, outcome, processIo } from "../signing/io.ts";
import { type FoundImage, findImage, openRegistry, subjectsOf, withRegistryOptions } from "../signing/registry.ts";
import { type SignFlags, signerOf, withSigner } from "./sign.ts";

interface ManifestFlags extends SignFlags {
  readonly platform?: string;
}

/** Exit: 0 attached, 2 usage, 3 not attached. */
export function manifestCommand(io: CommandIo = processIo()): Command {
  const command = new Command("manifest")
    .argument("<image>", "host[:port]/name[:tag][@sha256:…]; of an index each of its images, or that of --platform")
    .option("--platform <os/arch>", "of an index: only this platform's image");
  return withRegistryOptions(withSigner(command))
    .addOption(formatOption())
    .action((image: string, flags: ManifestFlags) => outcome(io, () => attachAll(io, image, flags)));
}

async function attachAll(io: CommandIo, reference: string, flags: ManifestFlags): Promise<ExitCode> {
  await using stack = new AsyncDisposableStack();
  const { sign } = await signerOf(flags, io, stack);
  const registry = await openRegistry(flags, io);
  stack.defer(() => registry.close());
  const found = await findImage(registry, reference, io.signal);
  const digests = imagesOf(found, flags.platform);
  const attached: AttachedFiles[] = [];
  for (const digest of digests) {
    const image = digest === found.digest ? found : await findImage(registry, `${found.repository}@${digest}`, io.signal);
    attached.push(await attachFileManifest(registry, image, sign, io.now(), io.signal));
  }
  io.out(isData(flags.output) ? serialize(flags.output, { manifests: attached.map(asJson) }) : attached.map(asText).join(""));
  return 0;
}

function imagesOf(found: FoundImage, platform: string | undefined): readonly string[] {
  if (platform !== undefined) return subjectsOf(found, platform).flatMap(({ kind, digest }) => (kind === "manifest" ? [digest] : []));
  const parsed = parseManifest(found.bytes, found.mediaType);
  return parsed.kind === "index" ? parsed.manifests.filter(isImageEntry).map(({ digest }) => digest) : [found.digest];
}

/** Stable: fields are added, never changed. */
function asJson({ image, artifact, manifest, entries, bytes }: AttachedFiles): object {
  const { repository, digest } = image;
  return {
    image: `${repository}@${digest}`,
    artifact: artifact.digest,
    layers: manifest.layers.length,
    entries,
    treeBytes: bytes.trees,
    layerBytes: bytes.layers,
  };
}

function asText({ image, artifact, manifest, entries, bytes }: AttachedFiles): string {
  const { repository, digest } = image;
  return `attached ${repository}@${digest}\n  ${entries} files of ${manifest.layers.length} layers, ${bytes.trees} bytes in place of ${bytes.layers}\n  as ${artifact.digest}\n`;
}
