/** Registry access for the commands: options, and the image that a person means. */
import { readFile } from "node:fs/promises";
import { defaultDockerConfigPath, dockerConfigCredentials, OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import {
  type ImageIndex,
  type ImageManifest,
  type ImageSubject,
  isDigest,
  parseManifest,
  parseReference,
  type TagState,
} from "@hullmark/verifier/core/provenance/index";
import { MAX_MANIFEST_BYTES, type Registry, RegistryError } from "@hullmark/verifier/ports/registry";
import type { Command } from "commander";
import { because } from "../output/because.ts";
import type { SubjectImage } from "./attach.ts";
import { SigningError } from "./errors.ts";
import type { CommandIo } from "./io.ts";

export interface RegistryFlags {
  readonly plainHttp?: readonly string[];
  readonly registryCa?: string;
}

/** For options that may be given several times: a variadic option would swallow the image that follows it. */
export function repeated(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** Adds the options that every command with a registry has. */
export function withRegistryOptions(command: Command): Command {
  return command
    .option("--plain-http <host>", "a registry (host[:port]) to speak plain HTTP to; may be repeated; loopback needs none", repeated)
    .option("--registry-ca <file>", "PEM certificates to trust for registries besides the system's");
}

/** Credentials come from Docker's configuration ($DOCKER_CONFIG or ~/.docker). The caller closes it. @throws SigningError FILE, USAGE */
export async function openRegistry(flags: RegistryFlags, io: CommandIo): Promise<OciRegistry> {
  let ca: string | undefined;
  if (flags.registryCa !== undefined) {
    try {
      ca = await readFile(flags.registryCa, "utf8");
    } catch (cause) {
      throw new SigningError("FILE", `${flags.registryCa} cannot be read: ${because(cause)}`, { cause });
    }
    if (!ca.includes("-----BEGIN CERTIFICATE-----")) throw new SigningError("USAGE", `${flags.registryCa} holds no certificate in PEM`);
  }
  return new OciRegistry({ ca, plainHttpHosts: flags.plainHttp, credentials: dockerConfigCredentials(defaultDockerConfigPath(io.env)), proxyEnv: io.env });
}

/** An image as the registry has it now. */
export interface FoundImage extends SubjectImage {
  readonly bytes: Buffer;
  readonly tag: TagState;
}

/**
 * Looks an image up by its digest, else by its tag. With both, the digest decides and `tag` tells whether the tag still names it.
 * @throws RegistryError, ProvenanceError BAD_REFERENCE
 */
export async function findImage(registry: Registry, text: string, signal: AbortSignal): Promise<FoundImage> {
  const { repository, tag, digest } = parseReference(text);
  const found = await registry.manifest(repository, digest ?? tag ?? "latest", MAX_MANIFEST_BYTES, signal);
  parseManifest(found.bytes, found.mediaType);
  const state = tag === undefined ? ({ status: "none" } as const) : await tagState(registry, repository, tag, found.digest, digest !== undefined, signal);
  return { repository, mediaType: found.mediaType, digest: found.digest, size: found.bytes.length, bytes: found.bytes, tag: state };
}

async function tagState(registry: Registry, repository: string, tag: string, digest: string, check: boolean, signal: AbortSignal): Promise<TagState> {
  const reference = `${repository}:${tag}`;
  if (!check) return { status: "current", reference };
  try {
    const named = (await registry.manifest(repository, tag, MAX_MANIFEST_BYTES, signal)).digest;
    return named === digest ? { status: "current", reference } : { status: "moved", reference, names: named };
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    return { status: "unknown", reference, detail: error.message };
  }
}

/** What a digest of the image stands for: itself, which is at hand, or what its index lists. @throws RegistryError, ProvenanceError */
export async function manifestOf(registry: Registry, image: FoundImage, digest: string, signal: AbortSignal): Promise<ImageManifest | ImageIndex> {
  const { bytes, mediaType } = digest === image.digest ? image : await registry.manifest(image.repository, digest, MAX_MANIFEST_BYTES, signal);
  return parseManifest(bytes, mediaType);
}

/** The digests under which signatures of the image count: its own and, with a platform, that of the platform's manifest in the index. @throws SigningError IMAGE, USAGE */
export function subjectsOf(image: FoundImage, platform: string | undefined): readonly ImageSubject[] {
  const { repository, digest } = image;
  const parsed = parseManifest(image.bytes, image.mediaType);
  const own: ImageSubject = { repository, digest, kind: parsed.kind };
  if (platform === undefined) return [own];
  if (parsed.kind !== "index") throw new SigningError("USAGE", `${repository}@${digest} is no index: leave --platform out`);
  const [os, architecture, variant] = platform.split("/");
  const fitting = parsed.manifests.filter(
    (entry) =>
      entry.platform?.os === os &&
      entry.platform?.architecture === architecture &&
      (variant === undefined || entry.platform?.variant === variant) &&
      isDigest(entry.digest),
  );
  const [child] = fitting;
  if (!child || fitting.length > 1) throw new SigningError("IMAGE", `${fitting.length} manifests for ${platform} in ${repository}@${digest}`);
  return [{ repository, digest: child.digest, kind: "manifest" }, own];
}
