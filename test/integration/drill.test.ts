/** A drill against a verifier, with a target that never comes to be judged: what was begun is removed and recorded, and nothing passes. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { canaryFile } from "../../cli/drill/canary-file.ts";
import { runDrill } from "../../cli/drill/drill.ts";
import { DrillKey } from "../../cli/drill/drill-key.ts";
import { revokedCanaryKey } from "../../cli/drill/revoked-canary-key.ts";
import type { Scenario } from "../../cli/drill/scenario.ts";
import { DrillError, type DrillTarget } from "../../cli/drill/target.ts";
import { unsignedCanaryImage } from "../../cli/drill/unsigned-canary-image.ts";
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
  execute = () => this.#step("execute");
  remove = () => this.#step("remove");
}

const drill = (run: string, target: DrillTarget, scenario: Scenario = canaryFile(run), signal = new AbortController().signal) =>
  runDrill(
    {
      ...{ run, target, channel: verifier.admin(), say: () => {}, signal },
      objectives: { detectMs: 1000, alertMs: 1000, containMs: undefined, patienceMs: 100 },
    },
    scenario,
  );

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
      ...{ detectMs: null, containMs: null, detectWithinMs: 1000, alertWithinMs: 1000, containWithinMs: null },
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

test("what admission refuses is found and contained by that, in a time that is held against the objective", async () => {
  const refusing = new Target("shop/drill/w");
  refusing.start = async () => {
    refusing.did.push("start");
    throw new DrillError("REFUSED", "admission refused it");
  };
  const { outcome, problem, detectMs, containment } = await drill("dddddddddd", refusing, unsignedCanaryImage("registry.example/canary:1"));
  expect({ outcome, problem }).toEqual({ outcome: "passed", problem: "" });
  expect(containment).toMatchObject({ state: "refused", detail: "admission refused it", ms: detectMs });
  expect(await recorded("dddddddddd")).toMatchObject([{ outcome: "begun" }, { outcome: "passed", containment: "refused" }]);
});

test("a deed that does not work is no refusal, and passes nothing", async () => {
  const broken = new Target("shop/drill/v", "start");
  await expect(drill("eeeeeeeeee", broken, unsignedCanaryImage("registry.example/canary:1"))).rejects.toThrow("start does not work");
  expect(await recorded("eeeeeeeeee")).toMatchObject([{ outcome: "begun" }, { outcome: "undecided", problem: "start does not work" }]);
});

test.each(["start", "sign", "interrupted"])("a key that was trusted for a drill is revoked however it ends: %s", async (fails) => {
  const directory = mkdtempSync(join(tmpdir(), "hullmark-drill-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const read = () => [".pub", "-revoked.pub"].map((name) => readFileSync(join(directory, `hullmark-drill${name}`), "utf8"));
  new DrillKey(directory).prepare(directory);
  const [before, revokedBefore] = read();
  expect(before).toBe(revokedBefore);
  const key = new DrillKey(directory);
  expect(key.isPrepared).toBe(true);
  const interrupt = new AbortController();
  const sign = async (): Promise<void> => {
    const [trusted, revoked] = read();
    expect(revoked).toBe(before);
    expect(trusted).not.toBe(before);
    if (fails === "sign") throw new DrillError("NO_START", "sign does not work");
    if (fails === "interrupted") interrupt.abort();
  };
  const target = new Target("drill-x", "start");
  const run = { start: "a1a1a1a1a1", sign: "a2a2a2a2a2", interrupted: "a3a3a3a3a3" }[fails] ?? "";
  await expect(drill(run, target, revokedCanaryKey(key, sign, "a rule"), interrupt.signal)).rejects.toThrow("does not work");
  expect(target.did.at(-1)).toBe("remove");
  const [after, revokedAfter] = read();
  expect(revokedAfter).toBe(after);
  expect(after).not.toBe(before);
  expect(await recorded(run)).toMatchObject([{ outcome: "begun" }, { outcome: "undecided" }]);
});

test.each([
  { drill: "canary-exec", run: "aaaaaaaaaa", outcome: "begun", containment: "perhaps" },
  { drill: "canary-exec", run: "aaaaaaaaaa", outcome: "failed", problem: "x".repeat(501) },
  { drill: "other", run: "aaaaaaaaaa", outcome: "begun" },
  { drill: "canary-file", run: "short", outcome: "begun" },
  { drill: "canary-file", run: "../../etc/x", outcome: "begun" },
  { drill: "canary-file", run: "aaaaaaaaaa", outcome: "brilliant" },
])("%j is not recorded", async (request) => {
  await expect(verifier.adminClient.recordDrill({ ...request, container: "x" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});
