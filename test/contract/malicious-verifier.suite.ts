/** What a verifier cannot make a host do though it holds the key that signs intents: the same on every engine. */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Actuator } from "@hullmark/actuator/core/actuator";
import type { LocalLimits } from "@hullmark/actuator/core/hands";
import type { Engine } from "@hullmark/actuator/ports/engine";
import { ActionKind, IntentSchema, Outcome } from "@hullmark/proto/v1/response";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type IntentInit, PlayedVerifier, type SignedIntent } from "../fakes/played-verifier.ts";

export interface Wanted {
  readonly labels?: Readonly<Record<string, string>>;
  /** As `--rm` has it. */
  readonly autoRemove?: boolean;
  /** undefined: true. */
  readonly running?: boolean;
}

/** An engine with nothing on it, and two images on the same layers. */
export interface EngineBed {
  readonly engine: Engine;
  readonly imageId: string;
  readonly earlierId: string;
  /** How many it bears at once. */
  readonly crowd: number;
  /** Of the image `imageId`; one that restarts by itself, where it may. @returns its id */
  add(name: string, wanted?: Wanted): Promise<string>;
  /** The id of the one of this name; undefined: there is none. */
  named(name: string): Promise<string | undefined>;
  /** Takes all containers away. */
  clear(): Promise<void>;
}

const LIMITS: LocalLimits = { pauseMs: 600_000, hourlyPercent: 100, protect: ["db*"] };
const digest = (digit: string): string => `sha256:${digit.repeat(64)}`;
/** What changes nothing. */
const READING: ReadonlySet<string> = new Set(["find", "countRunning", "sharers", "hasImage", "madeFor"]);

export function describeMaliciousVerifier(bedOf: () => EngineBed): void {
  let bed: EngineBed;
  let played: PlayedVerifier;
  let changing: string[];

  beforeEach(() => {
    bed = bedOf();
    played = new PlayedVerifier(Date.now(), bed.imageId);
    changing = [];
  });
  afterEach(async () => {
    played.close();
    await bed.clear();
  });

  const actuator = (limits = LIMITS): Actuator => played.actuator(noting(bed.engine, changing), limits);
  const untouched = (): void => expect(changing).toEqual([]);
  const runs = async (id: string): Promise<boolean | undefined> => (await bed.engine.find(id))?.running;
  const target = (more: IntentInit = {}): IntentInit => ({
    ...{ kind: ActionKind.ROLLBACK, targetConfigDigest: bed.earlierId, targetReference: `registry.example/web@${digest("2")}` },
    ...more,
  });

  test("an intent that holds is carried out, told, and never again", async () => {
    const web = await bed.add("web");
    const before = await bed.engine.find(web);
    const signed = played.intent(web);
    const first = actuator();
    await first.offer(signed);
    const now = (await bed.named("web")) ?? "";
    expect(now).not.toBe(web);
    expect(await bed.engine.find(now)).toMatchObject({ running: true, restartPolicy: before?.restartPolicy });
    expect(await bed.engine.find(web)).toMatchObject({ name: "web.hullmark-A-7K2Q", running: false, restartPolicy: { name: "no" } });
    expect(played.reports).toMatchObject([{ outcome: Outcome.DONE }]);
    changing.length = 0;
    // Again, after a restart too, and with other words under the same id: told what became of it, nothing else.
    await first.offer(signed);
    played.reopen();
    await actuator().offer(signed);
    const { id } = create(IntentSchema, { id: Buffer.from(played.reports[0]?.id ?? "", "hex") });
    await actuator().offer(played.intent(now, { id, kind: ActionKind.STOP }));
    untouched();
    expect(played.reports.map(({ outcome }) => outcome)).toEqual([Outcome.DONE, Outcome.DONE, Outcome.DONE, Outcome.DONE]);
  });

  test("nothing that is not whole, not its own, not in time, or not of what is there", async () => {
    const web = await bed.add("web");
    const word = (more: IntentInit = {}, id = web): SignedIntent => played.intent(id, more);
    const { nowMs } = played;
    const cases: [string, SignedIntent, string | undefined][] = [
      ["another key's word", played.intent(web, {}, generateKeyPairSync("ed25519").privateKey), undefined],
      ["one bit of the body", flip(word(), "body"), undefined],
      ["one bit of the signature", flip(word(), "signature"), undefined],
      ["trailing bytes", played.trailing(web), undefined],
      ["a body beyond its limit", word({ driftId: "D".repeat(5000) }), undefined],
      ["a short id", word({ id: randomBytes(15) }), undefined],
      ["a prefix of a container's id", word({}, web.slice(0, 12)), undefined],
      ["a container by name", word({}, "web"), undefined],
      ["another node's intent", word({ nodeId: "ffffffffffffffff" }), undefined],
      ["another region's intent", word({ region: "us-1" }), undefined],
      ["one that has ended", word({ issuedAt: timestampFromMs(nowMs - 300_000), expiresAt: timestampFromMs(nowMs) }), "expired"],
      ["one that lives for long", word({ expiresAt: timestampFromMs(nowMs + 3_600_000) }), "lifetime"],
      ["one that is dated ahead", word({ issuedAt: timestampFromMs(nowMs + 120_000) }), "lifetime"],
      ["an unknown kind", word({ kind: 77 as ActionKind }), "unknown-kind"],
      ["another image than is there", word({ configDigest: digest("2") }), "other-image"],
      ["another manifest than is there", word({ imageId: digest("2") }), "other-image"],
      ["an image by another name than a digest", word({ imageId: "web:1" }), undefined],
      ["a container that is not there", word({}, "a".repeat(64)), "gone"],
      ["a rollback to nothing", word({ kind: ActionKind.ROLLBACK }), undefined],
      ["a rollback to what runs", word(target({ targetConfigDigest: bed.imageId })), undefined],
      ["a rollback to what runs, by the engine's name", word(target({ targetImageId: bed.imageId })), undefined],
      ["a rollback to a tag", word(target({ targetReference: "registry.example/web:1" })), undefined],
      ["a rollback to an image by another name than a digest", word(target({ targetImageId: "web:1" })), undefined],
      ["another image under cover of a recreation", word(target({ kind: ActionKind.RECREATE })), undefined],
      ["another image's name under cover of a stop", word({ kind: ActionKind.STOP, targetReference: "web" }), undefined],
    ];
    for (const [name, signed, reason] of cases) {
      played.reports.length = 0;
      await actuator().offer(signed);
      const want = reason === undefined ? [] : [expect.objectContaining({ outcome: Outcome.REFUSED, reason })];
      expect(played.reports, name).toEqual(want);
      expect(changing, name).toEqual([]);
    }
    expect(await runs(web)).toBe(true);
  });

  test.each<[string, string, Wanted, string]>([
    ["a protected container", "db-1", {}, "protected"],
    ["one of Compose", "web", { labels: { "com.docker.compose.project": "shop" } }, "owned-by-compose"],
    ["one of Swarm", "web", { labels: { "com.docker.swarm.service.id": "x" } }, "owned-by-swarm"],
    ["one of systemd", "web", { labels: { "dev.hullmark.owner": "systemd" } }, "owned-by-systemd"],
    ["one whose like would vanish as it does", "web", { autoRemove: true }, "auto-remove"],
    ["one that does not run", "web", { running: false }, "not-running"],
  ])("%s", async (_name, name, wanted, reason) => {
    await actuator().offer(played.intent(await bed.add(name, wanted)));
    untouched();
    expect(played.reports).toMatchObject([{ outcome: Outcome.REFUSED, reason }]);
  });

  test.each([
    ["swarm", { "com.docker.swarm.service.id": "x" }],
    ["systemd", { "dev.hullmark.owner": "systemd" }],
  ])("what %s replaces by itself is not replaced, whatever policy says, and may be stopped", async (owner, labels) => {
    const web = await bed.add("web", { labels });
    for (const more of [{ kind: ActionKind.RECREATE }, target()]) await actuator().offer(played.intent(web, { ...more, owners: [owner] }));
    untouched();
    await actuator().offer(played.intent(web, { kind: ActionKind.STOP, owners: [owner] }));
    expect(played.reports.map(({ outcome, reason }) => [outcome, reason])).toEqual([
      [Outcome.REFUSED, `owned-by-${owner}`],
      [Outcome.REFUSED, `owned-by-${owner}`],
      [Outcome.DONE, ""],
    ]);
  });

  test("policy that names the owner takes it", async () => {
    const web = await bed.add("web", { labels: { "com.docker.compose.project": "shop" } });
    await actuator().offer(played.intent(web, { owners: ["compose"], kind: ActionKind.STOP }));
    expect(played.reports).toMatchObject([{ outcome: Outcome.DONE }]);
  });

  test("a rollback goes to exactly the image that is named, and to what the engine has", async () => {
    for (const other of ["cart", "till"]) await bed.add(other);
    const web = await bed.add("web");
    await actuator().offer(played.intent(web, target({ targetConfigDigest: digest("9") })));
    untouched();
    await actuator().offer(played.intent(web, target()));
    expect(await bed.engine.find((await bed.named("web")) ?? "")).toMatchObject({ running: true, imageId: bed.earlierId });
    expect(await bed.engine.find(web)).toMatchObject({ name: "web.hullmark-A-7K2Q", running: false });
    played.nowMs += 600_000;
    // Where containerd keeps the images the engine's own name counts, whatever the configuration's digest is.
    const other = { configDigest: bed.earlierId, targetConfigDigest: digest("8"), targetImageId: bed.imageId, actionId: "A-7K2R" };
    await actuator().offer(played.intent((await bed.named("web")) ?? "", target(other)));
    expect(await bed.engine.find((await bed.named("web")) ?? "")).toMatchObject({ running: true, imageId: bed.imageId });
    expect(played.reports.map(({ outcome, reason }) => [outcome, reason])).toEqual([
      [Outcome.REFUSED, "no-target-image"],
      [Outcome.DONE, ""],
      [Outcome.DONE, ""],
    ]);
  });

  test("a service whose label forbids it is not rolled back, and may be stopped", async () => {
    const web = await bed.add("web", { labels: { "hullmark.dev/rollback": "never" } });
    await actuator().offer(played.intent(web, target()));
    untouched();
    await actuator().offer(played.intent(web, { kind: ActionKind.STOP }));
    expect(played.reports).toMatchObject([{ outcome: Outcome.REFUSED, reason: "rollback-never" }, { outcome: Outcome.DONE }]);
    expect(await runs(web)).toBe(false);
  });

  describe("its own breaker", () => {
    test("of many at once two, by their share, and none the more for restarts", async () => {
      const limits = { ...LIMITS, hourlyPercent: 200 / bed.crowd };
      const victims: string[] = [];
      for (let i = 0; i < bed.crowd; i++) victims.push(await bed.add(`web-${i}`));
      const half = bed.crowd / 2;
      for (const id of victims.slice(0, half)) await actuator(limits).offer(played.intent(id, { kind: ActionKind.STOP }));
      played.reopen();
      for (const id of victims.slice(half)) await actuator(limits).offer(played.intent(id, { kind: ActionKind.STOP }));
      const stopped = (await Promise.all(victims.map(runs))).filter((each) => each === false).length;
      // Of one less it may be one: what stops does not count any more.
      expect([1, 2]).toContain(stopped);
      expect(played.reports.filter(({ reason }) => reason === "breaker")).toHaveLength(bed.crowd - stopped);
    });

    test("one service again and again: the successor keeps its name, and cools down", async () => {
      for (const other of ["cart", "till", "shop"]) await bed.add(other);
      await actuator().offer(played.intent(await bed.add("web")));
      await actuator().offer(played.intent((await bed.named("web")) ?? ""));
      expect(played.reports.map(({ reason }) => reason)).toEqual(["", "cooling-down"]);
      played.nowMs += 600_000;
      await actuator().offer(played.intent((await bed.named("web")) ?? "", { actionId: "A-7K2R" }));
      expect(played.reports.at(-1)).toMatchObject({ outcome: Outcome.DONE });
    });

    test("an intent that a clock set back would bring to life again", async () => {
      const [web, api] = [await bed.add("web"), await bed.add("api")];
      const old = played.intent(api);
      played.nowMs += 400_000;
      await actuator().offer(played.intent(web));
      changing.length = 0;
      played.nowMs -= 400_000;
      await actuator().offer(old);
      untouched();
      expect(played.reports.at(-1)).toMatchObject({ outcome: Outcome.REFUSED, reason: "expired" });
    });
  });
}

/** @param calls gets the name of each method that changes something, as it is called */
function noting(engine: Engine, calls: string[]): Engine {
  return new Proxy(engine, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name);
      if (typeof method !== "function") return method;
      return (...args: unknown[]): unknown => {
        if (!READING.has(String(name))) calls.push(String(name));
        return Reflect.apply(method, target, args);
      };
    },
  });
}

function flip({ body, signatures }: SignedIntent, part: "body" | "signature"): SignedIntent {
  const bytes = Buffer.from(part === "body" ? body : (signatures[0] ?? ""));
  bytes[9] = (bytes[9] ?? 0) ^ 4;
  return part === "body" ? { body: bytes, signatures } : { body, signatures: [bytes] };
}
