import { defineConfig } from "vitest/config";
import { LONG } from "./e2e/long.ts";

/** What is done to a cluster that is given (deploy/testbed/README.md), and all that is. */
const GIVEN = "test/e2e/kubernetes/any-cluster.test.ts";
const given = Boolean(process.env["HULLMARK_TEST_KUBECONFIG"]);

// On a real cluster of one node (deploy/testbed/README.md): one file at a time.
export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: given ? [GIVEN] : ["test/e2e/kubernetes/**/*.test.ts"],
    exclude: given ? [] : [GIVEN, ...(LONG ? [] : ["**/*.long.test.ts"])],
    fileParallelism: false,
    testTimeout: 180_000,
    hookTimeout: 600_000,
  },
});
