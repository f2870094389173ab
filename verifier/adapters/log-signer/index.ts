export * from "./log-key.ts";
export * from "./log-keys.ts";
