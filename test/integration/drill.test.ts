/** A drill against a verifier, with a target that never comes to be judged: what was begun is removed and recorded, and nothing passes. */

import { afterAll, beforeAll, expect, test } from "vitest";
import { runCanaryFile } from "../../cli/drill/canary-file.ts";
import { DrillError, type DrillTarget } from "../../cli/drill/target.ts";
import { resourceReader, urlResources } from "../../cli/log/readers.ts";
import { TestVerifier } from "../fakes/verifier.ts";

let verifier: TestVerifier;
beforeAll(async () => {
  verifier = await new TestVerifier().start();
});
afterAll(() => verifier.dispose());

class Target implements DrillTarget {
  readonly container: string;
  readonly did: string[] = [];
  readonly #fails: string;

  constructor(container: string, fails = "") {
    this.container = container;
    this.#fails = fails;
  }
  async #step(name: string): Promise<void> {
    this.did.push(name);
    if (this.#fails === name) throw new DrillError("FAILED", `${name} does not work`);
  }
  start = () => this.#step("start");
  write = () => this.#step("write");
  remove = () => this.#step("remove");
}

const drill = (run: string, target: DrillTarget) =>
  runCanaryFile({
    ...{ run, target, channel: verifier.admin(), say: () => {}, signal: new AbortController().signal },
    objectives: { detectMs: 1000, alertMs: 1000, patienceMs: 100 },
  });

/** What the log's published checkpoint covers of one run. */
async function recorded(run: string): Promise<readonly Record<string, unknown>[]> {
  const reader = resourceReader(urlResources(`http://127.0.0.1:${verifier.running?.httpPort}/log`));
  for (;;) {
    const size = Number((await reader.readNote())?.split("\n")[1] ?? 0);
    const entries = (await reader.readEntries(0, size)).map((bytes) => JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>);
    const own = entries.filter((entry) => entry["run"] === run);
    if (own.length >= 2) return own;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("what is not judged is written into by nothing, and the drill is undecided", async () => {
  const target = new Target("shop/drill/x");
  expect(await drill("aaaaaaaaaa", target)).toMatchObject({
    ...{ outcome: "undecided", driftId: "", detectMs: undefined, alertMs: undefined, alertRoutes: [], recorded: true },
    problem: expect.stringContaining("the verifier knows nothing of it"),
  });
  expect(target.did).toEqual(["start", "remove"]);
  expect(await recorded("aaaaaaaaaa")).toMatchObject(
    ["begun", "undecided"].map((outcome) => ({
      type: "admin",
      action: "drill",
      drill: "canary-file",
      container: "shop/drill/x",
      outcome,
      by: "admin",
      detectMs: null,
    })),
  );
});

test("what does not start is removed all the same, and recorded", async () => {
  const target = new Target("shop/drill/y", "start");
  await expect(drill("bbbbbbbbbb", target)).rejects.toThrow("start does not work");
  expect(target.did).toEqual(["start", "remove"]);
  expect(await recorded("bbbbbbbbbb")).toMatchObject([{ outcome: "begun" }, { outcome: "undecided" }]);
});

test("that it could not be removed is no success", async () => {
  await expect(drill("cccccccccc", new Target("shop/drill/z", "remove"))).rejects.toThrow("remove does not work");
});

test.each([
  { drill: "other", run: "aaaaaaaaaa", outcome: "begun" },
  { drill: "canary-file", run: "short", outcome: "begun" },
  { drill: "canary-file", run: "../../etc/x", outcome: "begun" },
  { drill: "canary-file", run: "aaaaaaaaaa", outcome: "brilliant" },
])("%j is not recorded", async (request) => {
  await expect(verifier.adminClient.recordDrill({ ...request, container: "x" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});
