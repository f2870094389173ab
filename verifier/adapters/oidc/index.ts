export { ALGORITHMS, OidcIssuer } from "./issuer.ts";
