/** What an image's layers extract to, as a file manifest says (`hullmark manifest`). Pure; whoever signed it chose every byte. */
import { ProvenanceError } from "./errors.ts";
import { arrayField, asObject, field, type JsonObject, objectField, textField } from "./json.ts";
import { isDigest } from "./reference.ts";

/** Predicate type of the signed statement. */
export const FILE_MANIFEST_TYPE = "https://hullmark.dev/file-manifest/v1";
/** Of the artefact that holds the trees, and of each tree in it: a serialised layer tree, in zstd. */
export const FILE_TREES_TYPE = "application/vnd.hullmark.file-trees.v1";
export const FILE_TREE_TYPE = "application/vnd.hullmark.file-tree.v1+zstd";
/** Bytes of one tree, and of its blob: some two million entries. */
export const MAX_TREE_BYTES = 256 * 1024 * 1024;
export const MAX_TREE_BLOB_BYTES = 64 * 1024 * 1024;
const MAX_LAYERS = 1024;
const MAX_TREES = 8;

interface SizedDigest {
  /** `sha256:` and 64 hex digits. */
  readonly digest: string;
  readonly size: number;
}

/** What one layer extracts to under one extractor. */
export interface LayerFiles {
  readonly dialect: string;
  /** `DIALECT_VERSION` of whoever made it. */
  readonly version: number;
  /** Of the tree, hex. */
  readonly root: string;
  /** The tree's bytes. */
  readonly content: SizedDigest;
  /** The same in zstd, in the image's repository. */
  readonly blob: SizedDigest;
}

export interface FileManifest {
  /** Digest of the image's config. */
  readonly config: string;
  /** Lowest first. */
  readonly layers: readonly { readonly diffId: string; readonly trees: readonly LayerFiles[] }[];
}

/** @throws ProvenanceError MALFORMED, TOO_LARGE */
export function readFileManifest(predicate: JsonObject): FileManifest {
  const layers = arrayField(predicate, "layers", MAX_LAYERS).map((entry) => {
    const layer = asObject(entry);
    if (!layer) throw malformed("a layer");
    return { diffId: digestField(layer, "diffId"), trees: arrayField(layer, "trees", MAX_TREES).map(readTree) };
  });
  return { config: digestField(predicate, "config"), layers };
}

function readTree(value: unknown): LayerFiles {
  const tree = asObject(value);
  const dialect = textField(tree, "dialect", 64);
  const version = field(tree, "version");
  const root = textField(tree, "root", 64);
  if (dialect === undefined || typeof version !== "number" || !Number.isSafeInteger(version) || root === undefined || !/^[0-9a-f]{64}$/.test(root))
    throw malformed("a tree");
  return { dialect, version, root, content: sized(tree, "content", MAX_TREE_BYTES), blob: sized(tree, "blob", MAX_TREE_BLOB_BYTES) };
}

function sized(tree: JsonObject | undefined, name: string, maxBytes: number): SizedDigest {
  const object = objectField(tree, name);
  const size = field(object, "size");
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) throw malformed(name);
  if (size > maxBytes) throw new ProvenanceError("TOO_LARGE", `a file manifest's ${name} of ${size} bytes, limit ${maxBytes}`);
  return { digest: digestField(object, "digest"), size };
}

function digestField(object: JsonObject | undefined, name: string): string {
  const digest = textField(object, name, 255);
  if (digest === undefined || !isDigest(digest)) throw malformed(name);
  return digest;
}

function malformed(what: string): ProvenanceError {
  return new ProvenanceError("MALFORMED", `a file manifest in which ${what} is not as it should be`);
}
