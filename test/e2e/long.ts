/**
 * Whether the long tests run too (`npm run test:long`). What is asked here is not registered at all without them: nothing is skipped.
 * A whole file of them is named `*.long.test.ts` and left out by the suites' configurations.
 */
export const LONG = process.env["HULLMARK_LONG"] === "1";
