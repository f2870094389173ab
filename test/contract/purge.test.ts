/** A layer that is taken off a host: what a malicious verifier cannot make the actuator take away, and how it ends where something is left. */
import { createHash, generateKeyPairSync, randomBytes, sign, verify } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { FileLedger } from "@hullmark/actuator/adapters/file-ledger/file-ledger";
import { parseConfig } from "@hullmark/actuator/config";
import { Actuator } from "@hullmark/actuator/core/actuator";
import type { PurgeLimits } from "@hullmark/actuator/core/check-purge";
import { HostHands } from "@hullmark/actuator/core/host-hands";
import { PurgeHands } from "@hullmark/actuator/core/purge-hands";
import { EngineError } from "@hullmark/actuator/ports/engine";
import { type Capture, CaptureError, type Captures } from "@hullmark/capture/capture";
import { intentMessage } from "@hullmark/proto/codec";
import { ActionKind, IntentSchema, Outcome } from "@hullmark/proto/v1/response";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FakeEngine } from "../fakes/engine.ts";
import { FakeLayers } from "../fakes/layers.ts";

const NODE = "00112233445566aa";
const REGION = "eu-1";
const T0 = 1_700_000_000_000;
const keys = generateKeyPairSync("ed25519");
const digest = (digit: string): string => `sha256:${digit.repeat(64)}`;
const [CART, TILL, OTHER, CHAIN] = [digest("1"), digest("2"), digest("3"), digest("a")];
const LIMITS: PurgeLimits = { pauseMs: 600_000, hourlyPercent: 100, protect: ["db*"], purgeContainers: 3 };

let directory: string;
let ledger: FileLedger;
let engine: FakeEngine;
let layers: FakeLayers;
let nowMs: number;
let reports: { outcome: Outcome; reason: string; detail: string; captureProblem?: string | undefined; capture?: Capture | undefined }[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-purge-"));
  nowMs = T0;
  ledger = new FileLedger(directory, nowMs);
  engine = new FakeEngine();
  layers = new FakeLayers(engine);
  layers.add(CART, "cart:1");
  layers.add(TILL, "till:1");
  reports = [];
});
afterEach(() => {
  ledger.close();
  rmSync(directory, { recursive: true });
});

function actuator(purges: boolean | Captures = true): Actuator {
  const captures = typeof purges === "object" ? purges : undefined;
  return new Actuator({
    ...{ identity: { nodeId: NODE, region: REGION }, hands: new HostHands({ limits: LIMITS, engine }), ledger },
    purges: purges ? new PurgeHands({ engine, layers, limits: LIMITS, captures }) : undefined,
    verify: (message, signature) => verify(null, message, keys.publicKey, signature),
    report: async (_id, { outcome, reason, detail, captureProblem, capture }) => void reports.push({ outcome, reason, detail, captureProblem, capture }),
    nowMs: () => nowMs,
    passing: () => {},
    told: () => {},
  });
}

type Init = MessageInitShape<typeof IntentSchema>;

function intent(more: Init = {}) {
  const init = {
    ...{ id: randomBytes(16), actionId: "A-7K2Q", verifierId: "v1", region: REGION, nodeId: NODE, kind: ActionKind.PURGE, driftId: "D-7K2Q" },
    ...{ purge: { chainId: CHAIN, imageDigests: [CART, TILL] }, issuedAt: timestampFromMs(nowMs), expiresAt: timestampFromMs(nowMs + 300_000), ...more },
  } as Init;
  const body = toBinary(IntentSchema, create(IntentSchema, init));
  return { body, signatures: [sign(null, intentMessage(body), keys.privateKey)] };
}

const standing = () => [...[...engine.containers.values()].map(({ name }) => name), ...[...layers.images.values()].map(({ name }) => name)];

test("every container on the layer, stopped ones too, then every image; once, whatever is asked again", async () => {
  engine.add("cart", { imageId: CART });
  engine.add("spare", { imageId: TILL, running: false });
  engine.add("web", { imageId: OTHER });
  const signed = intent();
  await actuator().offer(signed);
  expect(standing()).toEqual(["web"]);
  layers.add(CART, "cart:1");
  engine.add("cart", { imageId: CART });
  ledger.close();
  ledger = new FileLedger(directory, nowMs);
  await actuator().offer(signed);
  expect(standing()).toEqual(["web", "cart", "cart:1"]);
  // It is no list of what runs that has this one.
  const done = { outcome: Outcome.DONE, reason: "", detail: "did not run, and is gone as well: spare" };
  expect(reports).toEqual([done, done]);
  // Another intent for the same layer waits for the pause.
  await actuator().offer(intent());
  expect(reports.at(-1)).toMatchObject({ outcome: Outcome.REFUSED, reason: "cooling-down" });
});

test("what it stopped itself before it was cut off is not told as what did not run, and a stopped one that stays is told as still there", async () => {
  engine.add("cart", { imageId: CART });
  engine.add("spare", { imageId: TILL, running: false });
  engine.failures.set("remove", new EngineError("ENGINE_UNREACHABLE", "away"));
  await expect(actuator().offer(intent())).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
  expect(engine.named("cart")).toMatchObject({ running: false });
  ledger.close();
  ledger = new FileLedger(directory, nowMs);
  await actuator().resume();
  expect([standing(), reports]).toMatchObject([[], [{ outcome: Outcome.DONE, detail: "did not run, and is gone as well: spare" }]]);
  nowMs += 3_600_000;
  layers.add(CART, "cart:1");
  engine.add("spare", { imageId: CART, running: false });
  vi.spyOn(engine, "remove").mockResolvedValue();
  await actuator().offer(intent());
  expect(reports.at(-1)).toMatchObject({ outcome: Outcome.FAILED, reason: "containment-failed", detail: "still there: spare (not running)" });
});

describe("what it cannot be made to do", () => {
  test.each<[string, Init]>([
    ["a container besides", { containerId: "a".repeat(64) }],
    ["an image besides", { configDigest: CART }],
    ["no image", { purge: { chainId: CHAIN, imageDigests: [] } }],
    ["an image twice", { purge: { chainId: CHAIN, imageDigests: [CART, CART] } }],
    ["images in another order", { purge: { chainId: CHAIN, imageDigests: [TILL, CART] } }],
    ["an image by name", { purge: { chainId: CHAIN, imageDigests: ["cart:1"] } }],
    ["a layer by a prefix", { purge: { chainId: CHAIN.slice(0, 20), imageDigests: [CART, TILL] } }],
    ["no layer", { purge: undefined }],
    ["a layer with another kind", { kind: ActionKind.STOP, containerId: "a".repeat(64), configDigest: CART }],
  ])("is malformed: %s", async (_name, more) => {
    engine.add("cart", { imageId: CART });
    await actuator().offer(intent(more));
    expect([standing(), reports]).toEqual([["cart", "cart:1", "till:1"], []]);
  });

  test.each<[string, () => void, string, string]>([
    ["an image that it does not name", () => layers.add(OTHER, "other:1"), "more-than-named", "other:1"],
    ["a protected container", () => engine.add("db-1", { imageId: CART }), "protected", "db-1"],
    [
      "one of Compose",
      () => engine.add("web", { imageId: CART, running: false, labels: { "com.docker.compose.project": "shop" } }),
      "owned-by-compose",
      "web (not running)",
    ],
    ["a stopped one of an image that it does not name", stopped, "more-than-named", "other:1, old (not running)"],
    ["one whose evidence would be lost", () => engine.add("web", { imageId: CART, autoRemove: true }), "auto-remove", "web"],
    ["one in whose namespaces another lives", shared, "shared-namespaces", "beside"],
    [
      "more containers than this host lets go",
      () => void [1, 2, 3].map((i) => engine.add(`more-${i}`, { imageId: TILL })),
      "breaker",
      "4 containers stand on it",
    ],
  ])("%s", async (_name, given, reason, detail) => {
    engine.add("cart", { imageId: CART });
    given();
    const before = standing();
    await actuator().offer(intent());
    expect([standing(), reports]).toEqual([before, [{ outcome: Outcome.REFUSED, reason, detail }]]);
  });

  test("more than a detail has room for are counted", async () => {
    const names = Array.from({ length: 60 }, (_, i) => `beside-${i}-of-a-service`);
    for (const [i, name] of names.entries()) layers.add(`sha256:${String(i).padStart(64, "0")}`, name);
    await actuator().offer(intent());
    const { detail = "" } = reports[0] ?? {};
    const [, more] = / and (\d+) more$/.exec(detail) ?? [];
    expect(detail.length).toBeLessThanOrEqual(450);
    expect(detail.split(", ").length + Number(more)).toBe(names.length);
  });

  test("what policy lets go goes", async () => {
    engine.add("web", { imageId: CART, labels: { "com.docker.compose.project": "shop" } });
    await actuator().offer(intent({ owners: ["compose"] }));
    expect([standing(), reports]).toMatchObject([[], [{ outcome: Outcome.DONE }]]);
  });

  test("anything where its own configuration does not say so, or nothing stands on the layer", async () => {
    await actuator(false).offer(intent());
    layers.images.clear();
    await actuator().offer(intent());
    expect(reports.map(({ reason }) => reason)).toEqual(["purge-not-allowed", "gone"]);
    expect(() =>
      parseConfig("stateDirectory: /s\ncredentialDirectory: /c\nverifier: { address: 'v:1' }\nkubernetes: { namespace: h }\npurge: true\n", "f"),
    ).toThrow(/purge/);
  });
});

test("where the directory is there still, containment has failed; where nothing could be captured and must be, nothing is done", async () => {
  layers.kept = true;
  await actuator().offer(intent());
  expect(reports).toMatchObject([{ outcome: Outcome.FAILED, reason: "containment-failed" }]);
  nowMs += 3_600_000;
  engine.add("cart", { imageId: CART });
  layers.add(CART, "cart:1");
  const none: Captures = { required: true, take: async () => Promise.reject(new CaptureError("no room")), first: () => undefined };
  await actuator(none).offer(intent());
  expect(reports.at(-1)).toMatchObject({ outcome: Outcome.FAILED, reason: "capture" });
  expect(standing()).toEqual(["cart", "cart:1"]);
  // Where it need not be, that there is none is told.
  nowMs += 3_600_000;
  layers.kept = false;
  await actuator({ ...none, required: false }).offer(intent());
  expect(reports.at(-1)).toMatchObject({ outcome: Outcome.DONE, captureProblem: "cart: no room" });
});

describe("what was captured is told of, however it ends", () => {
  const away = new EngineError("ENGINE_UNREACHABLE", "away");
  let kept: Capture[];
  let captures: Captures;

  beforeEach(() => {
    kept = [];
    const take: Captures["take"] = async ({ name }) => {
      const digest = `sha256:${createHash("sha256").update(name).digest("hex")}`;
      const found = kept.find((each) => each.digest === digest);
      if (found) return found;
      kept.push({ digest, bytes: 7, complete: true });
      return kept.at(-1) as Capture;
    };
    captures = { required: true, take, first: () => kept[0] };
    engine.add("cart", { imageId: CART });
    engine.add("till", { imageId: TILL });
  });

  test("the engine, or the actuator, was away once the containers were gone", async () => {
    const gone = vi.spyOn(layers, "hasDirectory").mockRejectedValueOnce(away);
    await expect(actuator(captures).offer(intent())).rejects.toBe(away);
    expect([standing(), reports]).toEqual([[], []]);
    gone.mockRestore();
    await actuator(captures).resume();
    expect(reports).toMatchObject([{ outcome: Outcome.DONE, capture: kept[0] }]);
    expect(kept).toHaveLength(2);
  });

  test("the engine refuses a step", async () => {
    engine.failures.set("remove", new EngineError("ENGINE_REFUSED", "busy"));
    await actuator(captures).offer(intent());
    expect(reports).toMatchObject([{ outcome: Outcome.FAILED, reason: "engine", capture: kept[0] }]);
    expect(kept).toHaveLength(2);
  });

  test.each<[string, "setRestartPolicy" | "remove", object, string[]]>([
    ["nothing is begun", "setRestartPolicy", { outcome: Outcome.FAILED, reason: "expired" }, ["cart", "till", "cart:1", "till:1"]],
    ["what is half done is ended", "remove", { outcome: Outcome.DONE }, []],
  ])("hours after its intent has ended %s", async (_name, method, told, left) => {
    engine.failures.set(method, away);
    await expect(actuator(captures).offer(intent())).rejects.toBe(away);
    nowMs += 3 * 3_600_000;
    await actuator(captures).resume();
    expect([standing(), reports]).toMatchObject([left, [{ ...told, capture: kept[0] }]]);
    expect(kept).toHaveLength(2);
  });
});

function shared(): void {
  engine.sharers = async () => ["beside"];
}

function stopped(): void {
  layers.add(OTHER, "other:1");
  engine.add("old", { imageId: OTHER, running: false });
}
