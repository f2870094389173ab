export { SigstoreVerifier } from "./verifier.ts";
