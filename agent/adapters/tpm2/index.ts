export * from "./quoter.ts";
