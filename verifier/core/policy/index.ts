export * from "./baselines.ts";
export * from "./default.ts";
export * from "./digest.ts";
export * from "./exception.ts";
export * from "./kinds.ts";
export * from "./match.ts";
export * from "./parse.ts";
export * from "./types.ts";
