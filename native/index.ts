export { NativeAddonError } from "./loader.ts";
export * from "./tree.ts";
