/** Where an image was built from, out of SLSA provenance v1 and v0.2. Call only with a predicate from a verified attestation. */
import { arrayField, asObject, field, type JsonObject, objectField, textField } from "./json.ts";

export const SLSA_V1 = "https://slsa.dev/provenance/v1";
export const SLSA_V02 = "https://slsa.dev/provenance/v0.2";

/** Empty texts where the builder did not say. */
export interface BuildSource {
  /** For example `https://example.org/acme/shop`. */
  readonly repository: string;
  /** For example `refs/heads/main`. */
  readonly ref: string;
  /** Hex digits of the commit. */
  readonly commit: string;
  readonly builder: string;
  readonly buildType: string;
  readonly invocation: string;
  /** Repositories whose commits went into it, its own too. */
  readonly dependencies: readonly { readonly repository: string; readonly commit: string }[];
}

/** Somebody's word that a policy was met by a provenance that he has seen: https://slsa.dev/spec/v1.0/verification_summary */
export const SLSA_VSA = "https://slsa.dev/verification_summary/v1";

/** What only some requirements look at. */
export interface BuildDetails {
  /** Tool → version, as the builder says. */
  readonly tools: ReadonlyMap<string, string>;
  readonly materials: readonly { readonly uri: string; readonly pinned: boolean; readonly sha256: string }[];
  /** As `hullmark build-record` writes them; undefined: it does not say. */
  readonly privileges: { readonly user: number; readonly capabilities: readonly string[] } | undefined;
}

export interface VerificationSummary {
  readonly verifier: string;
  readonly passed: boolean;
  /** The highest SLSA build level that it states; 0: none. */
  readonly level: number;
}

const MAX_TOOLS = 256;
const MAX_CAPABILITIES = 64;
const MAX_LEVELS = 64;
const MAX_TEXT_CHARS = 2048;
const MAX_MATERIALS = 4096;

/** undefined where the predicate is no SLSA provenance that is known here. */
export function readBuildSource(predicateType: string, predicate: JsonObject | undefined): BuildSource | undefined {
  if (!predicate) return undefined;
  if (predicateType === SLSA_V1) return readV1(predicate);
  return predicateType === SLSA_V02 ? readV02(predicate) : undefined;
}

/** https://slsa.dev/spec/v1.0/provenance */
function readV1(predicate: JsonObject): BuildSource {
  const definition = objectField(predicate, "buildDefinition");
  const run = objectField(predicate, "runDetails");
  const workflow = objectField(objectField(definition, "externalParameters"), "workflow");
  const { repository, ref } = splitUri(text(workflow, "repository"));
  const declared = { repository, ref: text(workflow, "ref") || ref, commit: "" };
  return {
    ...sourceOf(declared, materials(definition, "resolvedDependencies")),
    builder: text(objectField(run, "builder"), "id"),
    buildType: text(definition, "buildType"),
    invocation: text(objectField(run, "metadata"), "invocationId") || text(objectField(run, "metadata"), "invocationID"),
  };
}

/** https://slsa.dev/spec/v0.2/provenance */
function readV02(predicate: JsonObject): BuildSource {
  const configSource = objectField(objectField(predicate, "invocation"), "configSource");
  const declared = { ...splitUri(text(configSource, "uri")), commit: commitOf(objectField(configSource, "digest")) };
  return {
    ...sourceOf(declared, materials(predicate, "materials")),
    builder: text(objectField(predicate, "builder"), "id"),
    buildType: text(predicate, "buildType"),
    invocation: text(objectField(predicate, "metadata"), "buildInvocationId") || text(objectField(predicate, "metadata"), "buildInvocationID"),
  };
}

interface Material {
  readonly repository: string;
  readonly ref: string;
  readonly commit: string;
}

/**
 * What was declared, with the rest of it from the material of that repository. Where nothing was declared, the materials tell only where they are of one
 * repository: their order says nothing, and which comes first may be the choice of whoever wrote the recipe.
 */
function sourceOf(declared: Material, all: readonly Material[]): Material & Pick<BuildSource, "dependencies"> {
  const dependencies = all.filter(({ commit }) => commit !== "");
  const repositories = new Set(dependencies.map(({ repository }) => plainRepository(repository)));
  const repository = declared.repository || (repositories.size === 1 ? (dependencies[0]?.repository ?? "") : "");
  const same = dependencies.find((each) => plainRepository(each.repository) === plainRepository(repository));
  return { repository, ref: declared.ref || (same?.ref ?? ""), commit: declared.commit || (same?.commit ?? ""), dependencies };
}

/** Builders write `.git` and slashes at the end or not. */
export function plainRepository(repository: string): string {
  return repository.replace(/\/+$/, "").replace(/\.git$/, "");
}

function materials(object: JsonObject | undefined, name: string): readonly Material[] {
  if (!object || !Array.isArray(field(object, name))) return [];
  return arrayField(object, name, MAX_MATERIALS).map((entry) => {
    const uri = text(asObject(entry), "uri");
    const digest = objectField(asObject(entry), "digest");
    // The sha1 of a package is that of its archive, no commit.
    const commit = uri.startsWith("pkg:") && text(digest, "gitCommit") === "" ? "" : commitOf(digest);
    return { ...splitUri(uri), commit };
  });
}

function commitOf(digest: JsonObject | undefined): string {
  const value = (text(digest, "gitCommit") || text(digest, "sha1")).toLowerCase();
  return /^[0-9a-f]{40,64}$/.test(value) ? value : "";
}

/** `git+https://host/path@ref` → repository and ref (SPDX download location, as SLSA uses it). */
function splitUri(uri: string): { readonly repository: string; readonly ref: string } {
  const plain = uri.replace(/^git\+/, "");
  const at = plain.lastIndexOf("@");
  // An @ before the path is a user's name, not a ref.
  return at > plain.indexOf("/", plain.indexOf("://") + 3) && at > 0
    ? { repository: plain.slice(0, at), ref: plain.slice(at + 1) }
    : { repository: plain, ref: "" };
}

function text(object: JsonObject | undefined, name: string): string {
  return textField(object, name, MAX_TEXT_CHARS) ?? "";
}

/** @throws ProvenanceError where a list is none, or too long */
export function readBuildDetails(predicateType: string, predicate: JsonObject | undefined): BuildDetails | undefined {
  if (!predicate || (predicateType !== SLSA_V1 && predicateType !== SLSA_V02)) return undefined;
  const isV1 = predicateType === SLSA_V1;
  const definition = isV1 ? objectField(predicate, "buildDefinition") : predicate;
  const versions = isV1 ? objectField(objectField(objectField(predicate, "runDetails"), "builder"), "version") : undefined;
  const tools = Object.entries(versions ?? {})
    .slice(0, MAX_TOOLS)
    .flatMap(([name, version]) => (typeof version === "string" ? [[name, version] as const] : []));
  const name = isV1 ? "resolvedDependencies" : "materials";
  const listed = definition && Array.isArray(field(definition, name)) ? arrayField(definition, name, MAX_MATERIALS) : [];
  const materials = listed.map((entry) => {
    const digest = objectField(asObject(entry), "digest");
    const sha256 = text(digest, "sha256").toLowerCase();
    const pinned = Object.values(digest ?? {}).some((value) => typeof value === "string" && /^[0-9a-f]{40,128}$/i.test(value));
    return { uri: text(asObject(entry), "uri"), pinned, sha256: /^[0-9a-f]{64}$/.test(sha256) ? sha256 : "" };
  });
  return { tools: new Map(tools), materials, privileges: isV1 ? readPrivileges(definition) : undefined };
}

/** @throws ProvenanceError where there are too many capabilities */
function readPrivileges(definition: JsonObject | undefined): BuildDetails["privileges"] {
  const privileges = objectField(objectField(definition, "internalParameters"), "privileges");
  const user = privileges && field(privileges, "user");
  if (!privileges || typeof user !== "number" || !Number.isSafeInteger(user) || user < 0 || !Array.isArray(field(privileges, "capabilities"))) return undefined;
  const capabilities = arrayField(privileges, "capabilities", MAX_CAPABILITIES);
  // What is no text is no capability that policy could allow.
  return { user, capabilities: capabilities.map((each) => (typeof each === "string" ? each.replace(/^CAP_/i, "").toUpperCase() : "?")) };
}

/** Whether a material is an image: a package URL or a transport's scheme, as builders write them. */
export function isImageUri(uri: string): boolean {
  return /^(?:pkg:(?:docker|oci)\/|docker:\/\/|docker-image:\/\/|oci:\/\/)/i.test(uri);
}

/** undefined where the predicate is no summary. @throws ProvenanceError where its levels are too many */
export function readSummary(predicateType: string, predicate: JsonObject | undefined): VerificationSummary | undefined {
  if (!predicate || predicateType !== SLSA_VSA) return undefined;
  const stated = Array.isArray(field(predicate, "verifiedLevels")) ? arrayField(predicate, "verifiedLevels", MAX_LEVELS) : [];
  const levels = stated.map((each) => Number(/^SLSA_BUILD_LEVEL_([0-3])$/.exec(typeof each === "string" ? each : "")?.[1] ?? 0));
  return {
    verifier: text(objectField(predicate, "verifier"), "id"),
    passed: text(predicate, "verificationResult") === "PASSED",
    level: Math.max(0, ...levels),
  };
}
