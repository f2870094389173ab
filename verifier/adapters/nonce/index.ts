export * from "./hmac-nonce-source.ts";
export * from "./region-key.ts";
