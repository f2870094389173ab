export * from "../text/printable.ts";
export * from "./book.ts";
export * from "./dispatch.ts";
export * from "./event.ts";
export * from "./match.ts";
export * from "./standing.ts";
export * from "./subject.ts";
export * from "./text.ts";
