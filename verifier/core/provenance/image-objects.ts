/** Manifests, indexes and configs of images: OCI image-spec v1.1 and Docker schema 2. The bytes are checked against a digest before they come here. */
import type { Descriptor } from "../../ports/registry.ts";
import { ProvenanceError } from "./errors.ts";
import { arrayField, asObject, field, type JsonObject, objectField, parseObject, textField } from "./json.ts";
import { isDigest } from "./reference.ts";

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string;
}

export interface IndexEntry extends Descriptor {
  readonly platform: Platform | undefined;
}

export interface ImageManifest {
  readonly kind: "manifest";
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly artifactType: string | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface ImageIndex {
  readonly kind: "index";
  readonly manifests: readonly IndexEntry[];
}

/** Of one layer: what the build says that it did. */
export interface HistoryStep {
  readonly createdBy: string;
  readonly created: string;
}

export interface ImageConfig {
  readonly platform: Platform;
  /** `sha256:` digests of the uncompressed layers, lowest first. */
  readonly diffIds: readonly string[];
  /** One for each diff id; empty texts where the history does not add up. */
  readonly history: readonly HistoryStep[];
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly user: string;
  readonly workingDirectory: string;
  readonly volumes: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

export const MAX_CONFIG_BYTES = 4 * 1024 * 1024;
const MAX_LAYERS = 1024;
const MAX_INDEX_ENTRIES = 1024;
const MAX_LIST = 4096;

const INDEX_TYPES: ReadonlySet<string> = new Set(["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"]);
const MANIFEST_TYPES: ReadonlySet<string> = new Set(["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"]);

/**
 * Reads a manifest or index. What it is decides its own content, not the header it was served with; where both name a type they must agree
 * (the confusion of CVE-2021-41190 between manifests and indexes).
 * @throws ProvenanceError MALFORMED, TOO_LARGE
 */
export function parseManifest(bytes: Uint8Array, servedType: string): ImageManifest | ImageIndex {
  const object = parseObject(bytes, "the manifest");
  if (field(object, "schemaVersion") !== 2) throw new ProvenanceError("MALFORMED", "a manifest of another schema than 2");
  const own = textField(object, "mediaType", 255) ?? servedType;
  const isIndex = field(object, "manifests") !== undefined;
  if (isIndex && (field(object, "layers") !== undefined || field(object, "config") !== undefined))
    throw new ProvenanceError("MALFORMED", "both a manifest and an index");
  if ((INDEX_TYPES.has(own) && !isIndex) || (MANIFEST_TYPES.has(own) && isIndex)) throw new ProvenanceError("MALFORMED", `not a ${own}`);
  if (isIndex) return { kind: "index", manifests: arrayField(object, "manifests", MAX_INDEX_ENTRIES).map(readIndexEntry) };
  return {
    kind: "manifest",
    config: readDescriptor(field(object, "config")),
    layers: arrayField(object, "layers", MAX_LAYERS).map(readDescriptor),
    artifactType: textField(object, "artifactType", 255),
    annotations: readTexts(objectField(object, "annotations")),
  };
}

function readDescriptor(value: unknown): Descriptor {
  const object = asObject(value);
  const mediaType = textField(object, "mediaType", 255);
  const digest = textField(object, "digest", 255);
  const size = field(object, "size");
  if (mediaType === undefined || digest === undefined || !isDigest(digest) || typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw new ProvenanceError("MALFORMED", "a descriptor without media type, sha256 digest and size");
  }
  const artifactType = textField(object, "artifactType", 255);
  return { mediaType, digest, size, annotations: readTexts(objectField(object, "annotations")), ...(artifactType === undefined ? {} : { artifactType }) };
}

function readIndexEntry(value: unknown): IndexEntry {
  const platform = objectField(asObject(value), "platform");
  return { ...readDescriptor(value), platform: platform && readPlatform(platform) };
}

function readPlatform(object: JsonObject): Platform {
  return { os: textField(object, "os", 64) ?? "", architecture: textField(object, "architecture", 64) ?? "", variant: textField(object, "variant", 64) ?? "" };
}

function readTexts(object: JsonObject | undefined): Readonly<Record<string, string>> {
  const entries = Object.entries(object ?? {}).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  return Object.fromEntries(entries.slice(0, MAX_LIST));
}

/** Reads an image config. @throws ProvenanceError MALFORMED, TOO_LARGE */
export function parseConfig(bytes: Uint8Array): ImageConfig {
  const object = parseObject(bytes, "the image config");
  const rootfs = objectField(object, "rootfs");
  if (!rootfs || textField(rootfs, "type") !== "layers") throw new ProvenanceError("MALFORMED", "an image config without layers");
  const diffIds = arrayField(rootfs, "diff_ids", MAX_LAYERS).map((entry) => {
    if (typeof entry !== "string" || !isDigest(entry)) throw new ProvenanceError("MALFORMED", "a diff id that is no sha256 digest");
    return entry;
  });
  const config = objectField(object, "config") ?? {};
  return {
    platform: readPlatform(object),
    diffIds,
    history: readHistory(arrayField(object, "history", MAX_LIST), diffIds.length),
    env: texts(config, "Env"),
    entrypoint: texts(config, "Entrypoint"),
    cmd: texts(config, "Cmd"),
    user: textField(config, "User") ?? "",
    workingDirectory: textField(config, "WorkingDir") ?? "",
    volumes: Object.keys(objectField(config, "Volumes") ?? {}).slice(0, MAX_LIST),
    labels: readTexts(objectField(config, "Labels")),
  };
}

function texts(object: JsonObject, name: string): readonly string[] {
  return arrayField(object, name, MAX_LIST).map((entry) => {
    if (typeof entry !== "string") throw new ProvenanceError("MALFORMED", `${name} holds something else than text`);
    return entry;
  });
}

/** History entries that are not `empty_layer` stand for the layers in order. */
function readHistory(entries: readonly unknown[], layers: number): readonly HistoryStep[] {
  const steps = entries.map(asObject).filter((entry) => field(entry, "empty_layer") !== true);
  const step = (entry: JsonObject | undefined): HistoryStep => ({
    createdBy: textField(entry, "created_by", 65_536) ?? "",
    created: textField(entry, "created", 64) ?? "",
  });
  return Array.from({ length: layers }, (_, index) => step(steps.length === layers ? steps[index] : undefined));
}
