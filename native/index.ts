export { NativeAddonError } from "./loader.ts";
