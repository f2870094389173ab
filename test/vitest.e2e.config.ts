import { defineConfig } from "vitest/config";
import { LONG } from "./e2e/long.ts";

// The whole system on real parts: one file at a time, since each brings up an engine, a TPM, a verifier and agents.
export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["test/e2e/**/*.test.ts"],
    // A cluster is needed: vitest.kubernetes.config.ts.
    exclude: ["test/e2e/kubernetes/**", ...(LONG ? [] : ["**/*.long.test.ts"])],
    fileParallelism: false,
    // Beside two clusters the longest without one of their own take four times as long as alone.
    testTimeout: 300_000,
    hookTimeout: 600_000,
  },
});
