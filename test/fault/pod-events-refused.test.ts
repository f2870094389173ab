/** Events on pods: a namespace that does not take them, by a quota or a webhook, keeps no other's pods from theirs, and has its own once it takes them. */
import type { ApiAnswer, ApiServer } from "@hullmark/daemon/api-server";
import { Severity } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { tellingPods } from "@hullmark/verifier/cluster-events";
import type { VerifierConfig } from "@hullmark/verifier/config";
import { EventBus } from "@hullmark/verifier/core/fleet/events";
import type { DriftRow } from "@hullmark/verifier/ports/rows";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";

const CONFIG = { verifierId: "v", kubernetes: { podEvents: true } } as unknown as VerifierConfig;
const settle = () => new Promise((resolve) => setTimeout(resolve, 5));

let end: (() => Promise<void>) | undefined;
/** Writes that hang are given up at the end of a test, however it ends. */
let gaveUp: PromiseWithResolvers<void>;
beforeEach(() => {
  gaveUp = Promise.withResolvers();
});
afterEach(async () => {
  gaveUp.resolve();
  await end?.();
});

function start() {
  /** Namespaces to which an Event was written, in order; and those to which one was tried. */
  const [written, tried]: [string[], string[]] = [[], []];
  const state = { refuses: (_namespace: string): boolean => false, hangs: (_namespace: string): Promise<void> | undefined => undefined };
  const post = async (path: string): Promise<ApiAnswer> => {
    const namespace = /namespaces\/([^/]+)\//.exec(path)?.[1] ?? "";
    tried.push(namespace);
    const hanging = state.hangs(namespace);
    if (hanging) {
      await hanging;
      throw new DOMException("no answer", "TimeoutError");
    }
    if (state.refuses(namespace)) return { status: 403, body: { message: "exceeded quota" } };
    written.push(namespace);
    return { status: 201, body: {} };
  };
  let nowMs = 0;
  const timers = new Map<() => void, number>();
  const events = new EventBus();
  const podOf = ({ containerName }: DriftRow) => ({ namespace: containerName, name: "web", uid: containerName, container: "web" });
  end = tellingPods({ post } as unknown as ApiServer, CONFIG, {
    ...{ events, podOf, logger: pino({ enabled: false }) },
    clock: {
      nowMs: () => nowMs,
      after: (delayMs, run) => {
        timers.set(run, nowMs + delayMs);
        return () => void timers.delete(run);
      },
    },
  });
  return {
    ...{ written, tried, state },
    drifts: (...namespaces: string[]): void => {
      const drifts = namespaces.map(
        (containerName) =>
          ({
            ...{ id: `D-${containerName}`, state: DriftState.OPEN, severity: Severity.HIGH, kind: "content", path: Buffer.from("/etc/x"), summary: "s" },
            containerName,
          }) as DriftRow,
      );
      events.publish({ drifts });
    },
    /** Second by second, what is due in each. */
    pass: async (seconds: number): Promise<void> => {
      for (let i = 0; i < seconds; i++) {
        nowMs += 1000;
        for (const [run, atMs] of [...timers]) {
          if (atMs > nowMs) continue;
          timers.delete(run);
          run();
        }
        await settle();
      }
    },
  };
}

test("one that refuses its Events costs no other a second, and is asked twice a minute", async () => {
  const { written, tried, state, drifts, pass } = start();
  state.refuses = (namespace) => namespace === "quota";
  drifts("quota", "shop");
  await pass(1);
  expect(written).toEqual(["shop"]);
  for (let i = 0; i < 10; i++) {
    drifts(`team-${i}`);
    await pass(1);
    expect(written).toHaveLength(i + 2);
  }
  await pass(49);
  expect(tried.filter((each) => each === "quota").length).toBe(3);
  state.refuses = () => false;
  await pass(31);
  expect(written.at(-1)).toBe("quota");
});

test("more of them than are written at a time do neither", async () => {
  const { written, tried, state, drifts, pass } = start();
  const refusing = Array.from({ length: 40 }, (_, i) => `quota-${i}`);
  state.refuses = (namespace) => refusing.includes(namespace);
  drifts(...refusing);
  await pass(10);
  drifts("shop");
  await pass(2);
  expect(written).toEqual(["shop"]);
  // At rest it is the rate of all Events that bounds them, and fewer.
  const before = tried.length;
  await pass(60);
  expect(tried.length - before).toBeLessThan(30);
});

test("while a write hangs, others go on", async () => {
  const { written, state, drifts, pass } = start();
  state.hangs = (namespace) => (namespace === "webhook" ? gaveUp.promise : undefined);
  drifts("webhook", "shop");
  await pass(1);
  expect(written).toEqual(["shop"]);
  gaveUp.resolve();
  await settle();
  // Known for it, it holds up none at all.
  gaveUp = Promise.withResolvers();
  await pass(31);
  drifts("team");
  await pass(1);
  expect(written).toEqual(["shop", "team"]);
});
