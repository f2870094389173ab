/** What a verifier cannot make a host do, on an engine in memory; and what survives refusals of the engine, and a crash of the ledger. */
import { appendFileSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FileLedger } from "@hullmark/actuator/adapters/file-ledger/file-ledger";
import { parseConfig } from "@hullmark/actuator/config";
import type { Actuator } from "@hullmark/actuator/core/actuator";
import type { LocalLimits } from "@hullmark/actuator/core/hands";
import { EngineError } from "@hullmark/actuator/ports/engine";
import { type PullServices, pull } from "@hullmark/actuator/pull";
import { type Capture, CaptureError, type Captures } from "@hullmark/capture/capture";
import { ActionKind, Outcome } from "@hullmark/proto/v1/response";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeEngine } from "../fakes/engine.ts";
import { type IntentInit, PlayedVerifier, type SignedIntent, type ToldOutcome } from "../fakes/played-verifier.ts";
import { describeMaliciousVerifier } from "./malicious-verifier.suite.ts";

const LIMITS: LocalLimits = { pauseMs: 600_000, hourlyPercent: 100, protect: ["db*"] };
const IMAGE = `sha256:${"1".repeat(64)}`;
const EARLIER = `sha256:${"2".repeat(64)}`;

let played: PlayedVerifier;
let engine: FakeEngine;
let reports: ToldOutcome[];

beforeEach(() => {
  played = new PlayedVerifier(1_700_000_000_000, IMAGE);
  engine = new FakeEngine();
  reports = played.reports;
});
afterEach(() => played.close());

const actuator = (limits: LocalLimits = LIMITS, captures?: Captures): Actuator => played.actuator(engine, limits, captures);
const intent = (containerId: string, more: IntentInit = {}): SignedIntent => played.intent(containerId, more);

/** As it was: same containers, running, under their names. */
const untouched = (): void => expect(engine.calls.filter((call) => call !== "find")).toEqual([]);

describe("what it cannot be made to do", () => {
  let bare: FakeEngine;

  beforeEach(() => {
    bare = new FakeEngine();
    bare.images.add(IMAGE).add(EARLIER);
  });
  describeMaliciousVerifier(() => ({
    ...{ engine: bare, imageId: IMAGE, earlierId: EARLIER, crowd: 100 },
    add: async (name, wanted) => bare.add(name, wanted).id,
    named: async (name) => bare.named(name)?.id,
    clear: async () => bare.containers.clear(),
  }));
});

test("an engine on containerd's store calls the image by its manifest: that is what counts then", async () => {
  const imageId = `sha256:${"3".repeat(64)}`;
  const web = engine.add("web", { imageId });
  await actuator().offer(intent(web.id));
  untouched();
  await actuator().offer(intent(web.id, { imageId }));
  expect(reports).toMatchObject([{ outcome: Outcome.REFUSED, reason: "other-image" }, { outcome: Outcome.DONE }]);
});

test("a clock that was ahead brings nothing to life again, and why is told", async () => {
  const [web, shop] = [engine.add("web"), engine.add("shop")];
  const startMs = played.nowMs;
  played.nowMs = startMs + 86_400_000;
  await actuator().offer(intent(web.id));
  played.nowMs = startMs;
  await actuator().offer(intent(shop.id));
  expect(engine.containers.get(shop.id)).toEqual(shop);
  const detail = "the clock here was ahead: by it something was done at 2023-11-15T22:13:20.000Z, and nothing is taken that ends before";
  expect(reports).toMatchObject([{ outcome: Outcome.DONE }, { outcome: Outcome.REFUSED, reason: "expired", detail }]);
});

describe("isolation", () => {
  const isolating = { kind: ActionKind.ISOLATE };
  const releasing = { kind: ActionKind.RELEASE, actionId: "A-7K2R" };
  const shop = { name: "shop", endpoint: { Aliases: ["cart"], IPAMConfig: { IPv4Address: "10.9.0.9" } } };
  const networks = [{ name: "bridge", endpoint: {} }, shop];
  const none = [{ name: "none", endpoint: {} }];
  const reopen = (): void => played.reopen();

  test("takes it from every network, and back with what it had there, a restart and months later", async () => {
    const web = engine.add("web", { networks });
    await actuator().offer(intent(web.id, isolating));
    expect(engine.containers.get(web.id)).toEqual({ ...web, networks: none });
    // What is done is not done again, and does not make the ledger forget.
    played.nowMs += 86_400_000;
    await actuator().offer(intent(web.id, isolating));
    expect(engine.containers.get(web.id)).toEqual({ ...web, networks: none });
    played.nowMs += 100 * 86_400_000;
    reopen();
    await actuator().offer(intent(web.id, releasing));
    expect(engine.containers.get(web.id)).toEqual(web);
    expect(reports.map(({ outcome }) => outcome)).toEqual([Outcome.DONE, Outcome.DONE, Outcome.DONE]);
  });

  test("what takes the place of an isolated one is on the networks of before", async () => {
    engine.add("other");
    const web = engine.add("web", { networks });
    await actuator().offer(intent(web.id, isolating));
    played.nowMs += 600_000;
    await actuator().offer(intent(web.id, { actionId: "A-7K2R" }));
    expect(engine.named("web")).toMatchObject({ networks, running: true });
    expect(engine.containers.get(web.id)).toMatchObject({ networks: none, running: false });
  });

  test.each<[string, Parameters<FakeEngine["add"]>[1], string]>([
    ["the host's network", { networkMode: "host", networks: [] }, "host-network"],
    ["another container's", { networkMode: `container:${"a".repeat(64)}`, networks: [] }, "shared-network"],
    ["none", { networkMode: "none", networks: none }, "no-network"],
  ])("on %s there is nothing to isolate", async (_name, more, reason) => {
    await actuator().offer(intent(engine.add("web", more).id, isolating));
    untouched();
    expect(reports).toMatchObject([{ outcome: Outcome.REFUSED, reason }]);
  });

  test("releases nothing that it has not isolated itself, nor twice", async () => {
    const web = engine.add("web", { networkMode: "none", networks: none });
    await actuator().offer(intent(web.id, releasing));
    untouched();
    const shopOne = engine.add("shop", { networks });
    await actuator().offer(intent(shopOne.id, isolating));
    await actuator().offer(intent(shopOne.id, releasing));
    await actuator().offer(intent(shopOne.id, releasing));
    expect(reports.map(({ outcome, reason }) => [outcome, reason])).toEqual([
      [Outcome.REFUSED, "not-ours"],
      [Outcome.DONE, ""],
      [Outcome.DONE, ""],
      [Outcome.REFUSED, "not-ours"],
    ]);
  });

  test("counts within the limits; its release takes nobody's place, and is within them at any time", async () => {
    const [web, api] = [engine.add("web", { networks }), engine.add("api")];
    await actuator({ ...LIMITS, hourlyPercent: 0 }).offer(intent(web.id, isolating));
    await actuator({ ...LIMITS, hourlyPercent: 0 }).offer(intent(web.id, releasing));
    await actuator({ ...LIMITS, hourlyPercent: 0 }).offer(intent(api.id, isolating));
    expect(reports.map(({ outcome, reason }) => [outcome, reason])).toEqual([
      [Outcome.DONE, ""],
      [Outcome.DONE, ""],
      [Outcome.REFUSED, "breaker"],
    ]);
    played.nowMs += 3_600_000;
    await actuator().offer(intent(web.id, isolating));
    expect(reports.at(-1)).toMatchObject({ outcome: Outcome.DONE });
  });

  test("one that vanishes when it stops is isolated, and nothing is lost", async () => {
    await actuator().offer(intent(engine.add("web", { autoRemove: true }).id, isolating));
    expect(reports).toMatchObject([{ outcome: Outcome.DONE }]);
  });

  test.each(["leave", "join"] as const)("%s is refused: it is on its networks as before; unreachable: it goes on where it was", async (method) => {
    const web = engine.add("web", { networks });
    engine.failures.set(method, new EngineError("ENGINE_REFUSED", "no"));
    await actuator().offer(intent(web.id, isolating));
    expect(engine.containers.get(web.id)).toEqual(web);
    expect(reports).toMatchObject([{ outcome: Outcome.FAILED, reason: "engine", detail: "ENGINE_REFUSED: no; it is on bridge, shop" }]);
    played.nowMs += 3_600_000;
    engine.failures.set(method, new EngineError("ENGINE_UNREACHABLE", "away"));
    const subject = actuator();
    await expect(subject.offer(intent(web.id, isolating))).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    await subject.resume();
    expect(engine.containers.get(web.id)).toMatchObject({ networks: none });
    engine.failures.set(method, new EngineError("ENGINE_UNREACHABLE", "away"));
    await expect(subject.offer(intent(web.id, releasing))).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    await subject.resume();
    expect(engine.containers.get(web.id)).toEqual(web);
  });

  test("isolated once more after it was put back in part, it is on all of its networks once it is released", async () => {
    const web = engine.add("web", { networks });
    engine.join = async (id, network) => {
      if (network.name !== "bridge") throw new EngineError("ENGINE_REFUSED", "no");
      const found = engine.containers.get(id);
      if (found) engine.containers.set(id, { ...found, networks: [...found.networks, network] });
    };
    // Off both, not onto the one that leads nowhere, and back on one of them.
    await actuator().offer(intent(web.id, isolating));
    expect(reports).toMatchObject([{ outcome: Outcome.FAILED }]);
    expect(engine.containers.get(web.id)).toMatchObject({ networks: [{ name: "bridge" }] });
    engine.join = FakeEngine.prototype.join;
    played.nowMs += 3_600_000;
    await actuator().offer(intent(web.id, isolating));
    await actuator().offer(intent(web.id, releasing));
    expect(new Set(engine.containers.get(web.id)?.networks)).toEqual(new Set(networks));
  });

  test("a network that has gone meanwhile is named, and the release may be asked for again", async () => {
    const web = engine.add("web", { networks: [shop] });
    await actuator().offer(intent(web.id, isolating));
    engine.failures.set("join", new EngineError("ENGINE_REFUSED", "network shop not found"));
    await actuator().offer(intent(web.id, releasing));
    expect(reports.at(-1)).toMatchObject({ outcome: Outcome.FAILED, detail: "ENGINE_REFUSED: network shop not found; it is on no network" });
    await actuator().offer(intent(web.id, releasing));
    expect(engine.containers.get(web.id)).toEqual(web);
  });

  test("a release that fails on the way leaves it isolated, as the verifier goes on saying", async () => {
    const web = engine.add("web", { networks });
    await actuator().offer(intent(web.id, isolating));
    engine.join = async (id, network) => {
      if (network.name === "shop") throw new EngineError("ENGINE_REFUSED", "network shop not found");
      await FakeEngine.prototype.join.call(engine, id, network);
    };
    await actuator().offer(intent(web.id, releasing));
    expect(reports.at(-1)).toMatchObject({ outcome: Outcome.FAILED, detail: "ENGINE_REFUSED: network shop not found; it is on no network" });
    expect(engine.containers.get(web.id)).toMatchObject({ networks: none });
    engine.join = FakeEngine.prototype.join;
    await actuator().offer(intent(web.id, releasing));
    expect(engine.containers.get(web.id)).toEqual(web);
  });

  test("something that joins it to networks again and again is told, and not fought for ever", async () => {
    const web = engine.add("web", { networks });
    engine.leave = async () => {};
    await actuator().offer(intent(web.id, isolating));
    expect(reports).toMatchObject([{ outcome: Outcome.FAILED, reason: "engine" }]);
    expect(engine.containers.get(web.id)).toEqual(web);
  });
});

describe("when the engine does not do as it should", () => {
  test.each(["createLike", "setRestartPolicy", "stop", "rename", "start"] as const)("%s is refused: the old container runs on as it was", async (method) => {
    const web = engine.add("web");
    engine.failures.set(method, new EngineError("ENGINE_REFUSED", "no"));
    await actuator().offer(intent(web.id));
    expect([...engine.containers.values()]).toEqual([web]);
    expect(reports).toMatchObject([{ outcome: Outcome.FAILED, reason: "engine", detail: expect.stringContaining("the old container runs on") }]);
  });

  test("another container that the engine gives no answer about keeps none from being stopped, nor released", async () => {
    for (const other of ["a", "b"]) engine.add(other);
    const web = engine.add("web");
    await actuator().offer(intent(web.id, { kind: ActionKind.ISOLATE }));
    engine.sharers = () => Promise.reject(new EngineError("ENGINE_UNREACHABLE", "it does not answer"));
    await actuator().offer(intent(web.id, { kind: ActionKind.RELEASE, actionId: "A-7K2R" }));
    played.nowMs += 600_000;
    await actuator().offer(intent(web.id, { kind: ActionKind.STOP, actionId: "A-7K2S" }));
    expect(reports).toMatchObject([{ outcome: Outcome.DONE }, { outcome: Outcome.DONE }, { outcome: Outcome.DONE }]);
    expect(engine.containers.get(web.id)).toMatchObject({ running: false });
  });

  test("what cannot be stopped starts again by itself as before, and what is stopped all the same does not", async () => {
    const [web, shop] = [engine.add("web"), engine.add("shop")];
    engine.failures.set("stop", new EngineError("ENGINE_REFUSED", "it does not end"));
    await actuator().offer(intent(web.id, { kind: ActionKind.STOP }));
    expect(engine.containers.get(web.id)).toEqual(web);
    const refuse = engine.stop;
    engine.stop = async (id) => {
      await refuse.call(engine, id);
      throw new EngineError("ENGINE_REFUSED", "it ended by itself");
    };
    await actuator().offer(intent(shop.id, { kind: ActionKind.STOP }));
    expect(engine.containers.get(shop.id)).toMatchObject({ running: false, restartPolicy: { name: "no" } });
    expect(reports.map(({ outcome, detail }) => [outcome, detail])).toEqual([
      [Outcome.FAILED, "ENGINE_REFUSED: it does not end; left as it was found"],
      [Outcome.FAILED, "ENGINE_REFUSED: it ended by itself; it is stopped"],
    ]);
  });

  test.each(["createLike", "setRestartPolicy", "stop", "rename", "start"] as const)("unreachable at %s: it goes on where it was", async (method) => {
    const web = engine.add("web");
    engine.failures.set(method, new EngineError("ENGINE_UNREACHABLE", "away"));
    const subject = actuator();
    await expect(subject.offer(intent(web.id))).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    await subject.resume();
    expect(engine.containers.size).toBe(2);
    expect(engine.named("web")).toMatchObject({ running: true });
    expect(reports).toMatchObject([{ outcome: Outcome.DONE }]);
  });
});

describe("what was taken, hours before the host or its engine is back", () => {
  const HOURS_MS = 3 * 3_600_000;

  test.each([
    [ActionKind.STOP, "setRestartPolicy"],
    [ActionKind.RECREATE, "createLike"],
    [ActionKind.ISOLATE, "leave"],
  ] as const)("is left where nothing was changed for it (%s)", async (kind, method) => {
    const web = engine.add("web");
    engine.failures.set(method, new EngineError("ENGINE_UNREACHABLE", "away"));
    await expect(actuator().offer(intent(web.id, { kind }))).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    played.nowMs += HOURS_MS;
    await actuator().resume();
    expect([...engine.containers.values()]).toEqual([web]);
    expect(reports).toMatchObject([{ outcome: Outcome.FAILED, reason: "expired" }]);
  });

  test.each([
    [ActionKind.STOP, "stop"],
    [ActionKind.RECREATE, "stop"],
    [ActionKind.ISOLATE, "join"],
  ] as const)("is ended where it is half done (%s)", async (kind, method) => {
    const web = engine.add("web");
    engine.failures.set(method, new EngineError("ENGINE_UNREACHABLE", "away"));
    await expect(actuator().offer(intent(web.id, { kind }))).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    played.nowMs += HOURS_MS;
    await actuator().resume();
    expect(engine.containers.get(web.id)).not.toEqual(web);
    expect(reports).toMatchObject([{ outcome: Outcome.DONE }]);
  });

  test.each([ActionKind.STOP, ActionKind.RECREATE, ActionKind.ISOLATE])("is left, and what was captured for it is told (%s)", async (kind) => {
    const web = engine.add("web");
    const kept: Capture = { digest: `sha256:${"9".repeat(64)}`, bytes: 7, complete: true };
    // Killed once it was captured.
    const dies: Captures["take"] = () => Promise.reject(new Error("the process ended"));
    const captures = (first: Captures["first"]): Captures => ({ required: true, take: dies, first });
    await expect(
      actuator(
        LIMITS,
        captures(() => kept),
      ).offer(intent(web.id, { kind })),
    ).rejects.toThrow("the process ended");
    played.nowMs += HOURS_MS;
    played.reopen();
    await actuator(
      LIMITS,
      captures((actionId) => (actionId === "A-7K2Q" ? kept : undefined)),
    ).resume();
    expect([...engine.containers.values()]).toEqual([web]);
    expect(reports).toMatchObject([{ outcome: Outcome.FAILED, reason: "expired", captureProblem: undefined }]);
    expect(played.ledger.all()).toMatchObject([{ settled: { reason: "expired", capture: kept } }]);
  });

  test("what somebody else has stopped meanwhile keeps its restart policy, and is not told as stopped for it", async () => {
    const web = engine.add("web");
    engine.failures.set("setRestartPolicy", new EngineError("ENGINE_UNREACHABLE", "away"));
    await expect(actuator().offer(intent(web.id, { kind: ActionKind.STOP }))).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    await engine.stop(web.id);
    played.nowMs += HOURS_MS;
    await actuator().resume();
    expect([...engine.containers.values()]).toEqual([{ ...web, running: false }]);
    expect(reports).toMatchObject([{ outcome: Outcome.FAILED, reason: "expired" }]);
  });

  test("a release is people's word, and holds", async () => {
    const web = engine.add("web");
    await actuator().offer(intent(web.id, { kind: ActionKind.ISOLATE }));
    engine.failures.set("leave", new EngineError("ENGINE_UNREACHABLE", "away"));
    const release = intent(web.id, { kind: ActionKind.RELEASE, actionId: "A-7K2R" });
    await expect(actuator().offer(release)).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    played.nowMs += HOURS_MS;
    await actuator().resume();
    expect(engine.containers.get(web.id)).toEqual(web);
  });
});

test("a container that does not come to an end keeps none of the others from theirs", async () => {
  const [hung, web, shop] = ["hung", "web", "shop", "a", "b", "c"].map((name) => engine.add(name));
  const refuse = engine.stop;
  engine.stop = async (id) => {
    if (id === hung?.id) throw new EngineError("ENGINE_UNREACHABLE", "it does not answer");
    await refuse.call(engine, id);
  };
  const subject = actuator();
  const alive = [hung, web, shop].map((each) => intent(each?.id ?? "", { kind: ActionKind.STOP }));
  let streams = 0;
  const ended = new AbortController();
  const problems: string[] = [];
  const services: PullServices = {
    async *asked(signal) {
      streams++;
      for (const each of alive) yield { intent: each };
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
      throw new Error("cancelled");
    },
    offer: (each) => subject.offer(each),
    ...{ capture: async () => {}, isFatal: () => false, retryMs: 1, onProblem: (_error, what) => problems.push(what) },
  };
  await pull(services, ended.signal);
  expect([hung, web, shop].map((each) => engine.containers.get(each?.id ?? "")?.running)).toEqual([true, false, false]);
  expect(problems).toEqual(["an intent cannot be carried out yet: it is asked for again"]);
  // Then it is asked for again, with all that are alive; what was done is told and not done again.
  engine.stop = refuse;
  const second = pull(services, ended.signal);
  await expect.poll(() => engine.containers.get(hung?.id ?? "")?.running, { timeout: 10_000 }).toBe(false);
  ended.abort();
  await expect(second).rejects.toThrow("cancelled");
  expect([streams, engine.calls.filter((call) => call === "stop").length]).toEqual([2, 3]);
  // Where nothing may be taken any more it ends at once.
  await expect(pull({ ...services, offer: () => Promise.reject(new Error("taken")), isFatal: () => true }, new AbortController().signal)).rejects.toThrow(
    "taken",
  );
});

describe("what is captured first", () => {
  const captured: Capture = { digest: `sha256:${"9".repeat(64)}`, bytes: 7, complete: false };
  const of = (required: boolean, take: Captures["take"]): Captures => ({ required, take, first: () => undefined });

  test.each([ActionKind.STOP, ActionKind.RECREATE])("is captured before anything is changed (%s), and told with the outcome", async (kind) => {
    const web = engine.add("web");
    const take: Captures["take"] = async ({ containerId }) => {
      untouched();
      expect(containerId).toBe(web.id);
      return captured;
    };
    await actuator(LIMITS, of(true, take)).offer(intent(web.id, { kind }));
    expect(reports).toMatchObject([{ outcome: Outcome.DONE }]);
    played.reopen();
    expect(played.ledger.all()).toMatchObject([{ settled: { outcome: Outcome.DONE, capture: captured } }]);
  });

  test("what cannot be captured is acted on all the same, and the report says so; not where that is required", async () => {
    const take: Captures["take"] = () => Promise.reject(new CaptureError("no room"));
    const [web, shop] = [engine.add("web"), engine.add("shop")];
    await actuator(LIMITS, of(true, take)).offer(intent(web.id));
    untouched();
    await actuator(LIMITS, of(false, take)).offer(intent(shop.id));
    expect(engine.containers.get(shop.id)).toMatchObject({ running: false });
    expect(reports).toMatchObject([
      { outcome: Outcome.FAILED, reason: "capture", detail: "nothing was captured: no room; left as it was found", captureProblem: "no room" },
      { outcome: Outcome.DONE, reason: "", detail: "nothing was captured: no room", captureProblem: "no room" },
    ]);
  });

  describe("of one that vanishes when it stops", () => {
    const stopping = { kind: ActionKind.STOP };
    const vanishing = (...unnamedVolumes: string[]) =>
      engine.add("web", { autoRemove: true, unnamedVolumes, restartPolicy: { name: "no", maximumRetryCount: 0 } });

    test("it is stopped once it is captured, and what there is no more is told; a crash between changes nothing of that", async () => {
      const web = vanishing("9".repeat(64));
      const subject = actuator(
        LIMITS,
        of(false, async () => captured),
      );
      engine.failures.set("stop", new EngineError("ENGINE_UNREACHABLE", "away"));
      await expect(subject.offer(intent(web.id, stopping))).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
      // The engine did it, and its answer was lost.
      engine.containers.delete(web.id);
      played.reopen();
      await actuator(
        LIMITS,
        of(false, async () => captured),
      ).resume();
      expect(reports).toMatchObject([{ outcome: Outcome.DONE, detail: expect.stringMatching(/^--rm: .*volumes without a name.*: 9{64}$/) }]);
      expect(played.ledger.all()).toMatchObject([{ settled: { capture: captured } }]);
      for (const other of ["a", "b"]) engine.add(other);
      const api = vanishing();
      await actuator(
        { ...LIMITS, pauseMs: 0 },
        of(false, async () => captured),
      ).offer(intent(api.id, stopping));
      expect(engine.containers.get(api.id)).toBeUndefined();
    });

    test("nothing is done where nothing is captured, whatever the configuration says of others", async () => {
      const web = vanishing();
      await actuator().offer(intent(web.id, stopping));
      await actuator(
        LIMITS,
        of(false, () => Promise.reject(new CaptureError("no room"))),
      ).offer(intent(web.id, stopping));
      untouched();
      expect(reports).toMatchObject([
        { outcome: Outcome.REFUSED, reason: "auto-remove", detail: "nothing is captured on this host" },
        { outcome: Outcome.REFUSED, reason: "auto-remove", detail: "nothing was captured: no room; left as it was found", captureProblem: "no room" },
      ]);
    });
  });

  describe("of one of Compose, which would start it again", () => {
    const replacing = { owners: ["compose"] };
    const composed = () => engine.add("web", { labels: { "com.docker.compose.project": "shop" } });
    const captures = of(false, async () => captured);

    test("it is removed once its like serves; a crash between changes nothing of that", async () => {
      const web = composed();
      engine.failures.set("remove", new EngineError("ENGINE_UNREACHABLE", "away"));
      const subject = actuator(LIMITS, captures);
      await expect(subject.offer(intent(web.id, replacing))).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
      expect(engine.named("web")).toMatchObject({ running: true });
      // The engine did it, and its answer was lost.
      engine.containers.delete(web.id);
      await subject.resume();
      expect([...engine.containers.values()]).toMatchObject([{ name: "web", running: true }]);
      expect(reports).toMatchObject([{ outcome: Outcome.DONE, detail: expect.stringMatching(/^the old container was removed/) }]);
    });

    test("one that a unit of systemd runs, as its label says, is not replaced by the word that Compose's may be", async () => {
      const labels = { "com.docker.compose.project": "shop", "dev.hullmark.owner": "systemd" };
      const web = engine.add("web", { labels });
      for (const owners of [["compose"], ["compose", "systemd"]]) await actuator(LIMITS, captures).offer(intent(web.id, { owners }));
      untouched();
      expect(reports.map(({ outcome, reason }) => [outcome, reason])).toEqual(Array(2).fill([Outcome.REFUSED, "owned-by-systemd"]));
      await actuator(LIMITS, captures).offer(intent(web.id, { kind: ActionKind.STOP, owners: ["compose", "systemd"] }));
      expect(engine.containers.get(web.id)).toMatchObject({ running: false });
    });

    test.each(["com.docker.compose.project", "com.docker.swarm.service.id", "dev.hullmark.owner"])(
      "whose image says so by a label of its own (%s) is nobody's: it is replaced, and kept",
      async (key) => {
        const web = engine.add("web", { labels: { [key]: "systemd", "com.example.tier": "front" }, givenLabels: { "com.example.tier": "front" } });
        await actuator().offer(intent(web.id));
        expect(engine.containers.get(web.id)).toMatchObject({ name: "web.hullmark-A-7K2Q", running: false });
        expect(reports).toMatchObject([{ outcome: Outcome.DONE, detail: "" }]);
      },
    );

    test("one whose image Compose built, with its project's label, is Compose's", async () => {
      const labels = { "com.docker.compose.project": "shop", "com.docker.compose.container-number": "1" };
      const web = engine.add("web", { labels, givenLabels: { "com.docker.compose.container-number": "1" } });
      await actuator(LIMITS, captures).offer(intent(web.id));
      untouched();
      expect(reports).toMatchObject([{ outcome: Outcome.REFUSED, reason: "owned-by-compose" }]);
    });

    test("what the engine will not remove is told, and its like goes on serving", async () => {
      const web = composed();
      engine.failures.set("remove", new EngineError("ENGINE_REFUSED", "busy"));
      await actuator(LIMITS, captures).offer(intent(web.id, replacing));
      expect(engine.named("web")).toMatchObject({ running: true });
      expect(engine.containers.get(web.id)).toMatchObject({ running: false });
      expect(reports).toMatchObject([{ outcome: Outcome.DONE, detail: expect.stringContaining("could not be removed") }]);
    });

    test("it is left where nothing is captured", async () => {
      const web = composed();
      await actuator().offer(intent(web.id, replacing));
      await actuator(
        LIMITS,
        of(false, () => Promise.reject(new CaptureError("no room"))),
      ).offer(intent(web.id, replacing));
      untouched();
      expect(reports).toMatchObject([
        { outcome: Outcome.REFUSED, reason: "not-captured", detail: "nothing is captured on this host" },
        { outcome: Outcome.REFUSED, reason: "not-captured", captureProblem: "no room" },
      ]);
    });
  });

  test.each<[string, Parameters<FakeEngine["add"]>[1], IntentInit, string]>([
    ["Compose's", { labels: { "com.docker.compose.project": "shop" } }, { owners: ["compose"] }, "not-captured"],
    ["with --rm", { autoRemove: true, restartPolicy: { name: "no", maximumRetryCount: 0 } }, { kind: ActionKind.STOP }, "auto-remove"],
  ])("one that would be gone (%s) is left where this host was to capture it and does not any more", async (_name, more, asked, reason) => {
    const web = engine.add("web", more);
    const dies: Captures["take"] = () => Promise.reject(new Error("the process ended"));
    await expect(actuator(LIMITS, of(false, dies)).offer(intent(web.id, asked))).rejects.toThrow("the process ended");
    played.reopen();
    await actuator().resume();
    expect([...engine.containers.values()]).toEqual([web]);
    expect(reports).toMatchObject([{ outcome: Outcome.REFUSED, reason, detail: "nothing is captured on this host any more" }]);
  });

  test.each([true, false])("what is half done is ended also where its capture is gone since (Compose's: %s)", async (composed) => {
    const web = engine.add("web", composed ? { labels: { "com.docker.compose.project": "shop" } } : {});
    engine.failures.set("start", new EngineError("ENGINE_UNREACHABLE", "away"));
    const kept = of(true, async () => captured);
    await expect(actuator(LIMITS, kept).offer(intent(web.id, { owners: ["compose"] }))).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    expect(engine.containers.get(web.id)).toMatchObject({ running: false });
    played.reopen();
    const gone = of(true, () => Promise.reject(new CaptureError("its time was over")));
    await actuator(LIMITS, gone).resume();
    expect(engine.named("web")).toMatchObject({ running: true });
    expect(reports).toMatchObject([{ outcome: Outcome.DONE, captureProblem: "its time was over" }]);
  });

  test("of an intent that is refused nothing is captured", async () => {
    await actuator(
      LIMITS,
      of(true, () => Promise.reject(new Error("captured"))),
    ).offer(intent(engine.add("db-1").id));
    expect(reports).toMatchObject([{ outcome: Outcome.REFUSED, reason: "protected" }]);
  });
});

describe("the ledger", () => {
  const path = (): string => join(played.directory, "ledger.jsonl");
  const reopen = (): void => played.reopen();

  test("is its owner's alone, and the same after it is opened again", async () => {
    await actuator().offer(intent(engine.add("web").id));
    const before = played.ledger.all();
    reopen();
    expect(played.ledger.all()).toEqual(before);
    expect(before).toMatchObject([{ name: "web", reported: true, settled: { outcome: Outcome.DONE } }]);
    expect(statSync(path()).mode & 0o777).toBe(0o600);
  });

  test("drops a torn last line, which nothing was done for", async () => {
    await actuator().offer(intent(engine.add("web").id));
    appendFileSync(path(), '{"add":{"intentId":"00');
    reopen();
    expect(played.ledger.all().length).toBe(1);
  });

  test("that cannot be read stops the actuator: forgetting would be doing twice", async () => {
    await actuator().offer(intent(engine.add("web").id));
    writeFileSync(path(), readFileSync(path(), "utf8").replace('"add"', '"ad"'));
    expect(() => new FileLedger(played.directory, played.nowMs)).toThrow(expect.objectContaining({ code: "LEDGER_CORRUPT" }));
  });
});

test("the example configuration names every key, with its default", () => {
  const file = new URL("../../deploy/config/actuator.example.yaml", import.meta.url).pathname;
  const config = parseConfig(readFileSync(file, "utf8"), file);
  const { stateDirectory, credentialDirectory, verifier } = config;
  expect(config).toEqual(parseConfig(JSON.stringify({ stateDirectory, credentialDirectory, verifier }), file));
  expect(() => parseConfig("limits: { hourlyPercent: 101, other: 1 }", "a.yaml")).toThrow(/hourlyPercent[\s\S]*other|other[\s\S]*hourlyPercent/);
  expect(() => parseConfig("capture: { recipients: [age1x] }", "a.yaml")).toThrow(/age recipient/);
  expect(() => parseConfig("capture: { required: true }", "a.yaml")).toThrow(/want recipients/);
});
