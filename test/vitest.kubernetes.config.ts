import { defineConfig } from "vitest/config";

// On a real cluster of one node (deploy/testbed/README.md): one file at a time.
export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["test/e2e/kubernetes/**/*.test.ts"],
    fileParallelism: false,
    testTimeout: 180_000,
    hookTimeout: 600_000,
  },
});
