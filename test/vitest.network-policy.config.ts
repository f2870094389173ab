import { defineConfig } from "vitest/config";

// What enforces NetworkPolicies, on a real cluster: npm run network-policy.
export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["test/network-policy/**/*.test.ts"],
    fileParallelism: false,
    testTimeout: 900_000,
    hookTimeout: 900_000,
  },
});
