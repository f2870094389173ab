/** A node's agent, killed at every place of a capture, on a real engine: it takes each once, loses none without a word, and leaves the container alone. */
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { NODE_CAPTURE_FAILPOINTS } from "@hullmark/agent/core/capture-desk";
import { MAX_ATTEMPTS } from "@hullmark/capture/capture";
import type { ProcessSnapshot } from "@hullmark/capture/processes";
import type { CaptureTaken } from "@hullmark/proto/v1/capture";
import { Decrypter } from "age-encryption";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Testbed } from "../../deploy/testbed/index.ts";
import { run } from "../../deploy/testbed/run.ts";
import { engineOf, eventually } from "./fault-support.ts";
import { digestOf } from "./images/push.ts";
import { LoneAgent } from "./lone-agent.ts";

const ACTION = "A-7K2Q";
const SETTLE_MS = 90_000;

export interface CapturesBed {
  readonly bed: Testbed;
  /** The responders' key, and whom it is that things are sealed to by it. */
  readonly identity: string;
  readonly recipient: string;
  readonly docker: (...args: string[]) => Promise<string>;
}

/** Declares the tests. @param of the bed, with an image `box`, once it is up */
export function describeAgentCaptures(of: () => CapturesBed): void {
  let agent: LoneAgent;
  const made: string[] = [];

  beforeAll(async () => {
    const { bed } = of();
    agent = await LoneAgent.open((argv) => bed.wrap(argv));
  });
  afterEach(() => agent.ended("SIGKILL"));
  afterAll(async () => {
    await agent?.close();
    if (made.length > 0) await of().docker("rm", "-f", ...made);
  });

  /** One that has written. @returns its id */
  async function written(name: string): Promise<string> {
    const { docker } = of();
    const argv = ["box", "/busybox", "sh", "-c", "echo stolen > /loot; exec /busybox sleep 3600"];
    const id = await docker("run", "-d", "--name", name, "--network", "none", "-e", "TOKEN=t0", "--stop-signal", "SIGKILL", ...argv);
    made.push(id);
    await eventually(
      "it has written, and sleeps",
      () => docker("top", name, "-eo", "pid,args"),
      (text) => text.includes("/busybox sleep") && !text.includes("/loot"),
      SETTLE_MS,
    );
    return id;
  }

  const start = (name: string, failpoint?: string): Promise<void> =>
    agent.start(
      name,
      { runtime: { docker: { socket: engineOf(of().bed).socketPath } }, capture: { recipients: [of().recipient], maxSeconds: 120 } },
      failpoint,
    );
  const store = (name: string): string => join(agent.home, name, "captures");
  /** @returns the last of so many answers */
  const answered = async (id: Buffer, times = 1): Promise<CaptureTaken> => {
    const told = await eventually(
      "it is told",
      async () => agent.told(id),
      ({ length }) => length >= times,
      SETTLE_MS,
    );
    const last = told.at(-1);
    if (!last) throw new Error("no answer");
    return last;
  };

  test.each(NODE_CAPTURE_FAILPOINTS)("killed at %s, started again: there is one capture, whole, and it is told, again when asked again", async (failpoint) => {
    const name = `captured-${failpoint}`;
    const containerId = await written(name);
    const id = randomBytes(16);
    agent.want({ id, actionId: ACTION, containerId });
    await start(name, failpoint);
    // A place that is not passed would leave it running.
    expect(await agent.ended()).toBe("SIGKILL");
    expect(agent.told(id)).toEqual([]);
    const kept = readdirSync(store(name)).filter((each) => each.endsWith(".age"));

    await start(name);
    const { capture, problem } = await answered(id);
    expect([problem, capture]).toEqual(["", expect.objectContaining({ complete: true, processes: 1 })]);
    expect(await agent.ended("SIGTERM")).toBe("0");
    await start(name);
    expect((await answered(id, 2)).capture).toEqual(capture);
    expect(await agent.ended("SIGTERM")).toBe("0");

    const [file = "", ...others] = readdirSync(store(name));
    expect([others, file]).toEqual([[], expect.stringMatching(new RegExp(`^${ACTION}\\.${id.toString("hex")}\\.\\d+f1p\\.age$`))]);
    // What was kept before it died is what is told.
    if (kept.length > 0) expect(kept).toEqual([file]);
    const sealed = readFileSync(join(store(name), file));
    expect(capture).toMatchObject({ digest: digestOf(sealed), bytes: BigInt(sealed.length) });
    await holdsTheLoot(name, sealed);
    expect(await of().docker("inspect", "-f", "{{.State.Running}} {{.RestartCount}}", containerId)).toBe("true 0");
  });

  /** As whoever has the responders' key reads it. */
  async function holdsTheLoot(name: string, sealed: Buffer): Promise<void> {
    const decrypter = new Decrypter();
    decrypter.addIdentity(of().identity);
    const opened = join(agent.home, `${name}.opened`);
    mkdirSync(opened);
    writeFileSync(`${opened}.tar.gz`, await decrypter.decrypt(sealed));
    await run(["tar", "-C", opened, "-xzf", `${opened}.tar.gz`]);
    const index = JSON.parse(readFileSync(join(opened, "capture.json"), "utf8")) as { changes: { path: string; file: string }[] };
    const loot = index.changes.find(({ path }) => path === "/loot");
    expect(await run(["tar", "-xOf", join(opened, loot?.file ?? ""), "loot"])).toBe("stolen\n");
    const { processes } = JSON.parse(readFileSync(join(opened, "processes.json"), "utf8")) as { processes: ProcessSnapshot[] };
    expect(processes).toMatchObject([{ arguments: ["/busybox", "sleep", "3600"], environment: expect.arrayContaining(["TOKEN=t0"]) }]);
  }

  test("killed each time that it is tried: it is given up, that is told with the reason, and nothing half-written is left", async () => {
    const name = "captured-never";
    const containerId = await written(name);
    const id = randomBytes(16);
    agent.want({ id, actionId: ACTION, containerId });
    for (let i = 0; i < MAX_ATTEMPTS; i++) {
      await start(name, "capture-sealed");
      expect(await agent.ended()).toBe("SIGKILL");
    }
    await start(name);
    expect(await answered(id)).toMatchObject({ problem: `it was tried ${MAX_ATTEMPTS} times, and the process ended each time` });
    expect((await answered(id)).capture).toBeUndefined();
    expect(await agent.ended("SIGTERM")).toBe("0");
    await start(name);
    expect((await answered(id, 2)).problem).toMatch(/^it was tried/);
    expect(await agent.ended("SIGTERM")).toBe("0");
    expect(readdirSync(store(name)).filter((each) => !each.endsWith(".attempts"))).toEqual([]);
  });

  test("one is removed at its time also where the node captures nothing any more", async () => {
    const name = "expired";
    const [old = "", fresh = ""] = ["2", "3"].map((digit) => `${ACTION}.${digit.repeat(32)}.age`);
    mkdirSync(store(name), { recursive: true, mode: 0o700 });
    for (const each of [old, fresh]) writeFileSync(join(store(name), each), "");
    utimesSync(join(store(name), old), 1, 1);
    await agent.start(name, { runtime: { docker: { socket: engineOf(of().bed).socketPath } } });
    const kept = async (): Promise<string[]> => readdirSync(store(name));
    await eventually("it is removed", kept, (names) => !names.includes(old), SETTLE_MS);
    expect(await kept()).toEqual([fresh]);
  });
}
