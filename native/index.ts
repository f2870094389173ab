export * from "./fanotify.ts";
export * from "./hash-file.ts";
export { addonPath, NativeAddonError } from "./loader.ts";
export * from "./memory.ts";
export * from "./processes.ts";
export * from "./read-file.ts";
export * from "./tpm.ts";
export * from "./tree.ts";
