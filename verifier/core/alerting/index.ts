export * from "./book.ts";
export * from "./dispatch.ts";
export * from "./printable.ts";
export * from "./subject.ts";
export * from "./text.ts";
