import { mkdirSync } from "node:fs";
import { afterEach, expect, it } from "vitest";
import { FanotifyChangeSource } from "../../agent/adapters/fanotify/fanotify-source.ts";
import { ChangeSourceKeeper } from "../../agent/core/change-source-keeper.ts";
import { STATE_ROOT } from "../../deploy/testbed/paths.ts";
import { dropFanotifyMarks } from "../fakes/fault-tool.ts";
import { scratchOverlay } from "../fakes/scratch-overlay.ts";

const endings: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

it("says that it fails when the kernel forgets its marks, and tells of changes again once it is started anew", async () => {
  mkdirSync(STATE_ROOT, { recursive: true });
  const overlay = await scratchOverlay(":");
  endings.push(() => overlay.close());
  const told: string[] = [];
  let more = Promise.withResolvers<void>();
  const tell = (what: string): void => {
    told.push(what);
    more.resolve();
  };
  const until = async (what: string | RegExp): Promise<void> => {
    while (!told.some((each) => (typeof what === "string" ? each === what : what.test(each)))) {
      await more.promise;
      more = Promise.withResolvers();
    }
  };
  const source = new FanotifyChangeSource({ scratchDirectory: STATE_ROOT });
  const ended = new AbortController();
  const keeper = new ChangeSourceKeeper({
    source,
    handler: {
      changes: (batch) => {
        for (const { path } of batch) tell(path.toString());
      },
      lost: (detail) => tell(`lost: ${detail}`),
      processStarted: () => {},
    },
    clock: { nowMs: () => 0, sleep: async () => tell("waits") },
    works: () => tell("works"),
    fails: (error) => tell(`fails: ${error}`),
  });
  await keeper.start();
  source.watch("upper", overlay.upper);
  const running = keeper.run(ended.signal);
  endings.push(async () => {
    ended.abort();
    await running;
    await source.stop();
  });
  await overlay.run("echo x > before");
  await until("before");
  await dropFanotifyMarks(process.pid);
  await until(/^lost: .*started anew/);
  await overlay.run("echo x > after");
  await until("after");
  const life = told.filter((what) => /^(works|waits|fails)/.test(what));
  expect(life).toEqual(["works", expect.stringMatching(/fails: .*fewer marks/), "waits", "works"]);
});
