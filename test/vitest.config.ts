import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["test/**/*.test.ts"],
    exclude: ["**/node_modules/**", "test/e2e/**", "test/soak/**", "test/gitops/**", "test/network-policy/**"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // The library's own second is too short for a condition on a machine that does a lot else.
    expect: { poll: { timeout: 15_000 } },
  },
});
