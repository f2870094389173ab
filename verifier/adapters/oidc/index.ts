export { ALGORITHMS, OidcIssuer } from "./issuer.ts";
export { OidcSignIn } from "./sign-in.ts";
