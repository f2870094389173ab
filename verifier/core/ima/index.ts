export * from "./appraise.ts";
export * from "./fields.ts";
export * from "./replay.ts";
export * from "./state.ts";
