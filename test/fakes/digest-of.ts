import { hash } from "node:crypto";

/** Some digest, the same for the same text. */
export const digestOf = (text: string): string => `sha256:${hash("sha256", text)}`;
