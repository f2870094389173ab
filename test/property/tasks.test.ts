import { runTasks } from "@hullmark/daemon";
import { expect, test } from "vitest";

const untilAborted = (signal: AbortSignal): Promise<void> => new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));

test("the first failure stops the siblings and is what is thrown", async () => {
  let stopped = false;
  const sibling = async (signal: AbortSignal): Promise<void> => {
    await untilAborted(signal);
    stopped = true;
    throw new Error("while stopping");
  };
  const failing = async (): Promise<void> => {
    throw new Error("first");
  };
  await expect(runTasks({ sibling, failing }, new AbortController().signal)).rejects.toThrow("first");
  expect(stopped).toBe(true);
});

test("a task that returns unasked is a failure that names it", async () => {
  const ends = async (): Promise<void> => undefined;
  await expect(runTasks({ untilAborted, ends }, new AbortController().signal)).rejects.toThrow("task ends ended on its own");
});

test("ending on the signal is no failure, whatever the tasks throw while stopping", async () => {
  const stop = new AbortController();
  const throws = async (signal: AbortSignal): Promise<void> => {
    await untilAborted(signal);
    throw signal.reason;
  };
  const running = runTasks({ untilAborted, throws }, stop.signal);
  stop.abort();
  await expect(running).resolves.toBeUndefined();
});
