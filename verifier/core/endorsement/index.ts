export * from "./attestation-key.ts";
export * from "./check-clock.ts";
export * from "./ek-certificate.ts";
export * from "./make-credential.ts";
export { MAX_ATTEST_BYTES, type PcrSelection, type TpmClock } from "./tpm-attest.ts";
export { HASH_BYTES, hashOf, type TpmHash } from "./tpm-constants.ts";
export { MAX_PUBLIC_BYTES } from "./tpm-public.ts";
export * from "./verify-quote.ts";
