import { defineConfig } from "vitest/config";

// Five services under load: 20 minutes, or HULLMARK_SOAK_MINUTES (1,440 for the day's run).
export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["test/soak/**/*.test.ts"],
    fileParallelism: false,
    testTimeout: 0,
    hookTimeout: 900_000,
  },
});
