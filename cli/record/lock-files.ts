/** Materials of a build, out of the lock files that pin them. Pure. Whoever wrote the sources wrote these files. */
import { createHash } from "node:crypto";

/** in-toto ResourceDescriptor v1, as far as a build record has it. Digests are lower-case hex. */
export interface Material {
  readonly uri: string;
  readonly digest: Readonly<Record<string, string>>;
}

/** Larger ones are an error: no lock file of a person's project is. */
export const MAX_LOCK_BYTES = 32 * 1024 * 1024;
/** What a record lists at the most: readers bound their lists too. A lock file beyond it stands for what it pins by its own digest. */
const MAX_PINNED = 3500;

/** Names that are looked for in the working directory. What is in the first two is listed package by package. */
export const LOCK_FILES = [
  "package-lock.json",
  "go.sum",
  "npm-shrinkwrap.json",
  "yarn.lock",
  "pnpm-lock.yaml",
  "Cargo.lock",
  "poetry.lock",
  "uv.lock",
  "Pipfile.lock",
  "requirements.txt",
  "Gemfile.lock",
  "composer.lock",
  "gradle.lockfile",
  "packages.lock.json",
  "mix.lock",
  "flake.lock",
] as const;

/**
 * The file itself by its SHA-256, then what it pins where its format is known and its entries have digests.
 * @param name of the file, from the build's directory
 * @throws SyntaxError for a package-lock.json that is not JSON
 */
export function materialsOf(name: string, bytes: Buffer): readonly Material[] {
  const own: Material = { uri: `file:${name}`, digest: { sha256: createHash("sha256").update(bytes).digest("hex") } };
  const pinned = name === "package-lock.json" || name === "npm-shrinkwrap.json" ? npm(bytes) : name === "go.sum" ? go(bytes) : [];
  return pinned.length > MAX_PINNED ? [own] : [own, ...pinned];
}

/** package-lock.json of lockfileVersion 2 and 3: `packages`, by folder, each with a Subresource Integrity text. */
function npm(bytes: Buffer): Material[] {
  const file: unknown = JSON.parse(bytes.toString("utf8"));
  const packages = isObject(file) && isObject(file["packages"]) ? file["packages"] : {};
  const found = new Map<string, Material>();
  for (const [folder, entry] of Object.entries(packages)) {
    if (!isObject(entry)) continue;
    const { version, integrity, name } = entry;
    const called = typeof name === "string" ? name : folder.slice(folder.lastIndexOf("node_modules/") + "node_modules/".length);
    const digest = typeof integrity === "string" ? sriDigest(integrity) : undefined;
    if (typeof version !== "string" || digest === undefined || !folder.includes("node_modules/")) continue;
    // Package URL specification, type npm: the scope's @ is encoded.
    const uri = `pkg:npm/${called.split("/").map(encodeURIComponent).join("/")}@${encodeURIComponent(version)}`;
    found.set(uri, { uri, digest });
  }
  return [...found.values()];
}

/** The strongest hash of a Subresource Integrity text (W3C SRI, section 3.1). */
function sriDigest(integrity: string): Record<string, string> | undefined {
  for (const algorithm of ["sha512", "sha384", "sha256", "sha1"]) {
    const [, base64] = new RegExp(`(?:^|\\s)${algorithm}-([A-Za-z0-9+/]+={0,2})(?:\\s|\\?|$)`).exec(integrity) ?? [];
    if (base64 !== undefined) return { [algorithm]: Buffer.from(base64, "base64").toString("hex") };
  }
  return undefined;
}

/** go.sum: `module version h1:hash`; lines of go.mod files alone are left out. The digest is in-toto's `dirHash`. */
function go(bytes: Buffer): Material[] {
  const found = new Map<string, Material>();
  for (const line of bytes.toString("utf8").split("\n")) {
    const [, module, version, base64] = /^(\S{1,512}) (v[^\s/]{1,128}) h1:([A-Za-z0-9+/]{43}=)$/.exec(line.trimEnd()) ?? [];
    if (module === undefined || version === undefined || base64 === undefined) continue;
    const uri = `pkg:golang/${module.split("/").map(encodeURIComponent).join("/")}@${encodeURIComponent(version)}`;
    found.set(uri, { uri, digest: { dirHash: Buffer.from(base64, "base64").toString("hex") } });
  }
  return [...found.values()];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
