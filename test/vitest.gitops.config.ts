import { defineConfig } from "vitest/config";

// Flux and Argo CD themselves, on a real cluster: npm run gitops.
export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["test/gitops/**/*.test.ts"],
    fileParallelism: false,
    testTimeout: 900_000,
    hookTimeout: 900_000,
  },
});
