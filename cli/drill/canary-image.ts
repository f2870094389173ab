/** The image of one drill alone: that which a person named, with a label of the drill's, in the same repository. */
import { createHash } from "node:crypto";
import { MAX_CONFIG_BYTES, ProvenanceError, parseConfig, parseManifest, readBlob } from "@hullmark/verifier/core/provenance/index";
import { MAX_MANIFEST_BYTES, type Registry, RegistryError, type RegistryWriter } from "@hullmark/verifier/ports/registry";
import { attachBundle, type SubjectImage } from "../signing/attach.ts";
import { SIGN_PREDICATE, signStatement, statement } from "../signing/bundle.ts";
import { SigningError } from "../signing/errors.ts";
import type { SigningKey } from "../signing/keys.ts";
import { findImage, subjectsOf } from "../signing/registry.ts";
import { DRILL_LABEL, DrillError } from "./target.ts";

/**
 * Pushed by its digest, under no tag; its layers are there already. Of an index this machine's platform is taken.
 * @param reference of an image with a shell
 * @throws DrillError NO_START
 */
export async function pushCanary(registry: Registry & RegistryWriter, reference: string, run: string, signal: AbortSignal): Promise<SubjectImage> {
  return await forDrills(signal, async () => {
    const found = await findImage(registry, reference, signal);
    const { repository } = found;
    const isIndex = parseManifest(found.bytes, found.mediaType).kind === "index";
    const [own] = subjectsOf(found, isIndex ? `linux/${process.arch === "x64" ? "amd64" : process.arch}` : undefined);
    const { bytes, mediaType } = own && own.digest !== found.digest ? await registry.manifest(repository, own.digest, MAX_MANIFEST_BYTES, signal) : found;
    const parsed = parseManifest(bytes, mediaType);
    if (parsed.kind === "index") throw new DrillError("NO_START", `${reference} is an index within an index`);
    const config = await readBlob(registry, repository, parsed.config.digest, MAX_CONFIG_BYTES, signal);
    const labelled = await registry.pushBlob(repository, withLabel(config, run), signal);
    const manifest = Buffer.from(JSON.stringify({ ...JSON.parse(bytes.toString("utf8")), config: { mediaType: parsed.config.mediaType, ...labelled } }));
    const digest = await registry.pushManifest(repository, `sha256:${createHash("sha256").update(manifest).digest("hex")}`, mediaType, manifest, signal);
    return { repository, mediaType, digest, size: manifest.length };
  });
}

/** @throws DrillError NO_START */
export async function signCanary(registry: RegistryWriter, image: SubjectImage, key: Pick<SigningKey, "hint" | "sign">, signal: AbortSignal): Promise<void> {
  await forDrills(signal, async () => {
    const bundle = await signStatement(statement(image.digest, SIGN_PREDICATE), key);
    await attachBundle(registry, image, bundle, SIGN_PREDICATE.type, Date.now(), signal);
  });
}

/** @throws ProvenanceError where it is no image's configuration */
function withLabel(config: Buffer, run: string): Buffer {
  parseConfig(config);
  const image = JSON.parse(config.toString("utf8")) as { readonly config?: { readonly Labels?: object | null } | null };
  return Buffer.from(JSON.stringify({ ...image, config: { ...image.config, Labels: { ...image.config?.Labels, [DRILL_LABEL]: run } } }));
}

async function forDrills<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (signal.aborted || !(cause instanceof RegistryError || cause instanceof ProvenanceError || cause instanceof SigningError)) throw cause;
    throw new DrillError("NO_START", cause.message, { cause });
  }
}
