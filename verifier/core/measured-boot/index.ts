export * from "./appraise.ts";
export * from "./claims.ts";
export * from "./event-log.ts";
export * from "./replay.ts";
export * from "./rules.ts";
export * from "./secure-boot.ts";
