export { attachBundle, BUNDLE_TYPE, type SubjectImage } from "./attach.ts";
export { type Predicate, SIGN_PREDICATE, signStatement, statement } from "./bundle.ts";
export { SigningError, type SigningErrorCode } from "./errors.ts";
export { type CommandIo, type ExitCode, outcome, processIo } from "./io.ts";
export { generateKeyPair, type KeyPairPem, loadSigningKey, PASSPHRASE_VARIABLE, readText, type SigningKey, writeNew } from "./keys.ts";
export { loadPredicate, PREDICATE_TYPES, predicateType } from "./predicate.ts";
export { type FoundImage, findImage, openRegistry, type RegistryFlags, repeated, subjectsOf, withRegistryOptions } from "./registry.ts";
export { type SignedImage, signImage } from "./sign-image.ts";
export { type ImageVerification, type NamedKey, type VerifyImageOptions, verifyImage } from "./verify-image.ts";
