export { PIN_VARIABLE } from "./pin.ts";
export { Pkcs11Token, type Pkcs11TokenOptions } from "./pkcs11-token.ts";
export { tokenUriProblem } from "./uri.ts";
