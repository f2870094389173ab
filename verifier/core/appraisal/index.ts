export * from "./apply-evidence.ts";
export * from "./appraise-container.ts";
export * from "./appraise-node.ts";
export * from "./descent.ts";
export * from "./lifecycle.ts";
export * from "./types.ts";
