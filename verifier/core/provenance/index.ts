export type { Artefact, CollectedArtefacts } from "./artefact.ts";
export { type CollectLimits, collectArtefacts, DEFAULT_COLLECT_LIMITS } from "./collect.ts";
export { consulting } from "./consult.ts";
export { ProvenanceError, type ProvenanceErrorCode } from "./errors.ts";
export {
  FILE_MANIFEST_TYPE,
  FILE_TREE_TYPE,
  FILE_TREES_TYPE,
  type FileManifest,
  type LayerFiles,
  MAX_TREE_BLOB_BYTES,
  MAX_TREE_BYTES,
} from "./file-manifest.ts";
export {
  type HistoryStep,
  type ImageConfig,
  type ImageIndex,
  type ImageManifest,
  MAX_CONFIG_BYTES,
  type Platform,
  parseConfig,
  parseManifest,
} from "./image-objects.ts";
export type { ArtefactCode, ArtefactVerdict } from "./judge.ts";
export { chainIdsOf } from "./layers.ts";
export { readBlob } from "./read-blob.ts";
export { type ImageReference, isDigest, parseReference, tryParseReference } from "./reference.ts";
export { type ImageResolution, type ImageSubject, isImageEntry, type ResolvedImage, type RuntimeImage, resolveImage, type TagState } from "./resolve.ts";
export { revokedDigest } from "./revocation.ts";
export { withRevokedIndexes } from "./revoked-indexes.ts";
export type { TrustMaterial, Verifiers } from "./signers.ts";
export { type BuildSource, readBuildSource, SLSA_V1, SLSA_V02, SLSA_VSA } from "./slsa.ts";
export { SIGN_PREDICATE_TYPE, STATEMENT_PAYLOAD_TYPE, STATEMENT_V1 } from "./statement.ts";
export type { ProvenanceStatus } from "./status.ts";
export { type TrustedFiles, trustedFiles } from "./trusted-files.ts";
export { type AuthorityVerdict, askedScans, type ProvenanceQuestion, type ProvenanceVerdict, verifyProvenance } from "./verify.ts";
