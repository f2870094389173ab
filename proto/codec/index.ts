export * from "./bytes.ts";
export * from "./errors.ts";
export * from "./evidence.ts";
export * from "./path.ts";
export * from "./quote-binding.ts";
export * from "./record.ts";
export * from "./state-tree.ts";
export * from "./tree.ts";
