export * from "./dialect.ts";
export * from "./layer-tree.ts";
export * from "./merged-tree.ts";
