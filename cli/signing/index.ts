export { attachBundle, BUNDLE_TYPE, type SubjectImage } from "./attach.ts";
export { type Predicate, SIGN_PREDICATE, signStatement, statement } from "./bundle.ts";
export { type BuildStep, compareImages, type FileDifference, type ImageComparison } from "./compare-images.ts";
export { type CopiedImage, copyImage } from "./copy-image.ts";
export { type DiscoveredImage, discoverImage } from "./discover-image.ts";
export { SigningError, type SigningErrorCode } from "./errors.ts";
export { type ExplainedImage, explainImage } from "./explain-image.ts";
export { type AttachedFiles, attachFileManifest } from "./file-manifest.ts";
export { type ImageContent, type ReplayedLayers, readImageContent } from "./image-content.ts";
export { type CommandIo, type ExitCode, outcome, processIo } from "./io.ts";
export { keylessSigner, TOKEN_VARIABLE } from "./keyless.ts";
export {
  generateKeyPair,
  type KeyPairPem,
  loadPublicKey,
  loadSigningKey,
  makeTokenKey,
  PASSPHRASE_VARIABLE,
  readText,
  type SigningKey,
  writeNew,
} from "./keys.ts";
export { isUri, loadPredicate, PREDICATE_TYPES, predicateType } from "./predicate.ts";
export { type FoundImage, findImage, openRegistry, type RegistryFlags, repeated, subjectsOf, withRegistryOptions } from "./registry.ts";
export { type SignedImage, type StatementSigner, signImage } from "./sign-image.ts";
export { fetchTrustRoot } from "./tuf.ts";
export { type ImageVerification, type NamedKey, type VerifyImageOptions, verifyImage } from "./verify-image.ts";
