/** What is no attack, or cannot be healed by what is done: it is acted on as often as the limits allow, people are paged once, and what serves goes on serving. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { hourlyLimit } from "@hullmark/verifier/core/response/breaker";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { REPOSITORY } from "../../../deploy/testbed/paths.ts";
import { alertsOf, type HttpReceiver } from "../../fakes/http-receiver.ts";
import { file, tar } from "../../fakes/tar-writer.ts";
import { eventually } from "../fault-support.ts";
import { acceptanceImage } from "../images/acceptance.ts";
import { layerOf, pushImage } from "../images/push.ts";
import { LONG } from "../long.ts";
import { type Acting, countedContainers, heldRate, steadyClient, WITHIN_MS } from "./acting.ts";
import type { RollbackBed } from "./rollbacks.ts";
import { type PodOptions, podSpec, SERVING } from "./workloads.ts";

/** A rule of the policy. */
export const ALARMING = `
      - name: alarming
        select: { workloads: ["default/alarm-*"] }
        ladder: { low: [evict], medium: [evict], high: [evict], critical: [evict] }
        untrusted: [rollback]
        rollbackOnOneNode: true
`;

/** A measurer with a fault: it takes another directory for what each container has written. All else of the agent is as it is, its TPM and its keys too. */
const FAULTY_MEASURER = `const addon = require(${JSON.stringify(join(REPOSITORY, "dist/hullmark.node"))});
class Tree {
  constructor(root, options) {
    return new addon.Tree(options.syncBeforeHash ? Buffer.from(process.env.FAULTY_UPPER) : root, options);
  }
}
module.exports = { ...addon, Tree };
`;

const TURNS = 3;
/** Of so many containers each. */
const [SERVICES, CONTAINERS] = LONG ? [20, 5] : [8, 1];
/** Of them are to be within the limits. */
const WITHIN_LIMITS = 4;
/** Those that the actuator's own limits hold back. */
const HELD_BACK = 4;
/** Of the policy. */
const PAUSE_MS = 60_000;

export interface AlarmBed extends RollbackBed {
  /** Is told of what holds actions back. */
  readonly pager: HttpReceiver;
}

interface Listed {
  readonly actions: readonly { readonly id: string; readonly kind: string; readonly state: string; readonly container: { readonly name: string } }[];
  readonly held: Readonly<Record<string, number>>;
}

/** Declares the tests. @param of the bed, once it is up @param actingOf whoever acts, once it runs */
export function alarms(of: () => AlarmBed, actingOf: () => Acting): void {
  let acting: Acting;
  let home: string;

  beforeAll(() => {
    acting = actingOf();
    home = mkdtempSync(join(tmpdir(), "hullmark-alarms-"));
  });

  afterAll(async () => {
    rmSync(home, { recursive: true, force: true });
    await acting.kubectl("delete", "deployment,service,poddisruptionbudget", "--selector=test=alarm", "--ignore-not-found", "--wait=false");
  });

  const metadata = (name: string): object => ({ name, labels: { test: "alarm" } });
  const deployment = (app: string, replicas: number, image = of().image, options: PodOptions = {}): object => ({
    ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: metadata(app) },
    spec: { replicas, selector: { matchLabels: { app } }, template: { metadata: { labels: { app } }, spec: podSpec(image, options) } },
  });
  const listed = () => of().stack.json<Listed>("action", "ls");
  const pages = () => alertsOf(of().pager, "breaker").map(({ status, severity }) => [status, severity]);
  const paged = () =>
    eventually(
      "people are paged",
      async () => pages(),
      (all) => all.length > 0,
      WITHIN_MS,
    );

  /** A pipeline that knows of nothing: whenever it finds another image than its own, rolled out, it puts in its own. @returns ends it, and says how often it did */
  function pipeline(app: string, image: string): () => Promise<number> {
    let [ended, times] = [false, 0];
    const work = async (): Promise<void> => {
      while (!ended) {
        await acting.kubectl("rollout", "status", `deployment/${app}`, "--timeout=240s");
        const now = await acting.kubectl("get", `deployment/${app}`, "--output=jsonpath={.spec.template.spec.containers[0].image}");
        if (now !== image) {
          await acting.kubectl("set", "image", `deployment/${app}`, `web=${image}`);
          times++;
        } else await delay(500);
      }
    };
    const working = work();
    return async () => {
      ended = true;
      await working;
      return times;
    };
  }

  test("what changes its own files at each start is evicted, and what a pipeline rolls out again rolled back, three times, a pause apart; then people are paged, once, and it serves on", {
    timeout: 1_200_000,
  }, async () => {
    acting.logsOnFailure();
    const [app, labels] = ["alarm-loop", { app: "alarm-loop" }];
    // Also where this fails: what it leaves would wait for people in what comes next.
    onTestFinished(async () => {
      await acting.kubectl("delete", `deployment/${app}`, "deployment/alarm-ci", `poddisruptionbudget/${app}`, "--ignore-not-found", "--wait=true");
    });
    const { bed, programs, sign } = of();
    const definition = acceptanceImage(programs);
    const start = "#!/bin/sh\necho x >> /app/config.yml\nexec httpd -f -p 8080 -h /srv\n";
    const rewriting = { createdBy: "COPY serve.sh", layer: layerOf(tar(file("app/serve.sh", start, { mode: 0o755 }))) };
    const image = await pushImage(bed.registry?.host ?? "", "acme/loop", "1", { ...definition, steps: [...definition.steps, rewriting] });
    await sign(image.reference);
    await acting.apply(
      { apiVersion: "v1", kind: "Service", metadata: metadata(app), spec: { selector: labels, ports: [{ port: 80, targetPort: 8080 }] } },
      { apiVersion: "policy/v1", kind: "PodDisruptionBudget", metadata: metadata(app), spec: { minAvailable: 2, selector: { matchLabels: labels } } },
      deployment(app, 3, image.tagged, { container: SERVING, spec: { terminationGracePeriodSeconds: 15 } }),
      deployment("alarm-ci", 1),
    );
    const stranger = await pushImage(bed.registry?.host ?? "", "acme/loop", "unsigned", acceptanceImage(programs, "unsigned"));
    await acting.clean("alarm-ci", 1);
    const address = await acting.kubectl("get", `service/${app}`, "--output=jsonpath={.spec.clusterIP}");
    await acting.kubectl("rollout", "status", `deployment/${app}`, "--timeout=240s");
    const client = steadyClient(of(), `http://${address}/`);
    const endPipeline = pipeline("alarm-ci", stranger.tagged);
    try {
      // Until the pause after the third is over that is what holds them back.
      await eventually("all of it is held back", listed, ({ held }) => held["recurring"] === 3 + 1, WITHIN_MS * 2);
      expect(await paged()).toEqual([["firing", "critical"]]);
    } finally {
      client.process.kill("SIGTERM");
      await endPipeline();
    }
    expect(await endPipeline()).toBe(1 + TURNS);
    for (const [name, kind] of [
      [app, "evict"],
      ["alarm-ci", "rollback"],
    ] as const) {
      const all = await acting.told(`${name}-`);
      expect(all.map((each) => each.kind)).toEqual(all.map(() => kind));
      // The pipeline may be quicker than the actuator is to see that all pods are there.
      const begun = all.filter(({ state, reason }) => state === "done" || (kind === "rollback" && state === "failed" && reason === "other-rollout"));
      expect(begun).toHaveLength(TURNS);
      expect(all.filter(({ state }) => state === "issued" || state === "awaiting")).toEqual([]);
      const atMs = begun.map(({ createdAt }) => Date.parse(createdAt));
      const apartMs = atMs.toSorted((a, b) => a - b).map((at, i, sorted) => at - (sorted[i - 1] ?? Number.NEGATIVE_INFINITY));
      expect(Math.min(...apartMs)).toBeGreaterThanOrEqual(PAUSE_MS - 1000);
    }
    const status = "--output=jsonpath={.spec.replicas} {.status.readyReplicas}";
    expect(await acting.kubectl("get", `deployment/${app}`, status)).toBe("3 3");
    const fared = await client.told;
    expect(fared.failures).toEqual([]);
    expect(fared).toSatisfy(heldRate);
    expect(pages()).toHaveLength(1);
  });

  test("an agent that takes every container of its node for changed, and signs that: no more is done than the limits allow, nobody is paged again, and it passes", {
    timeout: 1_200_000,
  }, async () => {
    acting.logsOnFailure();
    const { stack } = of();
    const [agent] = stack.agents;
    const apps = Array.from({ length: SERVICES }, (_, i) => `alarm-${i}`);
    await acting.apply(...apps.map((app) => deployment(app, 1, of().image, { beside: CONTAINERS - 1 })));
    for (const app of apps) await acting.clean(app, 1);
    const past = (await listed()).actions;
    const earlier = new Set(past.map(({ id }) => id));
    const issued = past.filter(({ state }) => state !== "withdrawn").length;
    const hourlyPercent = Math.ceil(((issued + WITHIN_LIMITS) * 100) / (await countedContainers(stack)));
    const faulty = join(home, "faulty.cjs");
    writeFileSync(faulty, FAULTY_MEASURER);
    const upper = mkdtempSync(join(home, "upper-"));
    writeFileSync(join(upper, "miner"), "nobody wrote this\n", { mode: 0o755 });

    await acting.underPolicy("alarmed", [["hourlyPercent: 100", `hourlyPercent: ${hourlyPercent}`]], async () => {
      await restart({ HULLMARK_NATIVE: faulty, FAULTY_UPPER: upper });
      let taken: Listed["actions"] = [];
      try {
        let most = 0;
        const { actions } = await eventually(
          "all of them wait, for the breaker or the pause",
          async () => {
            most = Math.max(most, await countedContainers(stack));
            return listed();
          },
          ({ held }) => (held["breaker"] ?? 0) > 0 && (held["breaker"] ?? 0) + (held["cooling-down"] ?? 0) === SERVICES * CONTAINERS,
          WITHIN_MS * 2,
        );
        taken = actions.filter(({ id }) => !earlier.has(id));
        expect(taken.map(({ kind }) => kind)).toEqual(taken.map(() => "evict"));
        expect(taken.length).toBeGreaterThan(0);
        // Containers come and go while they are counted.
        expect(taken.length + issued).toBeLessThanOrEqual(hourlyLimit(most + 5, { hourlyPercent }));
        expect(taken.length).toBeLessThan(SERVICES);
        expect(await paged()).toEqual([["firing", "critical"]]);
        const { claims } = await stack.json<{ claims: { code: string; detail: string }[] }>("status");
        expect(claims.find(({ code }) => code === "breaker")?.detail).toMatch(/^\d+ containers? waits? until the breaker allows/);
        const [node] = JSON.parse(await acting.kubectl("get", "nodes", "--output=json")).items;
        expect(node.spec).not.toHaveProperty("unschedulable");
        for (const app of apps) expect(await acting.kubectl("get", `deployment/${app}`, "--output=jsonpath={.spec.replicas}")).toBe("1");
      } finally {
        // What other tests do next is measured by it too.
        await restart({});
      }
      for (const app of apps) await acting.clean(app, 1);
      const { actions: after } = await eventually("nothing waits", listed, ({ held }) => Object.keys(held).length === 0, WITHIN_MS);
      expect(after.filter(({ id }) => !earlier.has(id))).toHaveLength(taken.length);
    });

    async function restart(environment: Readonly<Record<string, string>>): Promise<void> {
      await agent?.stop();
      for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
      try {
        await agent?.start();
      } finally {
        vi.unstubAllEnvs();
      }
    }
  });

  test("policy lets pods go that the actuator's own breaker does not: they stay, however many there are people are paged no more than once, and they go when it allows it", {
    timeout: 900_000,
  }, async () => {
    acting.logsOnFailure();
    const apps = Array.from({ length: HELD_BACK }, (_, i) => `alarm-own-${i}`);
    await acting.apply(...apps.map((app) => deployment(app, 1)));
    const names = new Map<string, string>();
    for (const app of apps) names.set(app, (await acting.clean(app, 1))[0]?.metadata.name ?? "");
    const ofOwn = async () =>
      (await acting.told("alarm-own-")).filter(({ container }) => [...names.values()].some((name) => container.name.includes(`/${name}/`)));
    await acting.tightened(async () => {
      await Promise.all([...names.values()].map((name) => acting.write(name)));
      const told = await eventually(
        "each is decided",
        ofOwn,
        (all) => all.length >= HELD_BACK && all.every(({ state }) => state === "refused" || state === "done"),
        WITHIN_MS,
      );
      expect(told.map(({ kind }) => kind)).toEqual(told.map(() => "evict"));
      // One an hour is within any limit, where there was none yet.
      expect(told.filter(({ state }) => state === "done").length).toBeLessThanOrEqual(1);
      for (const { state, reason } of told) expect(reason).toBe(state === "refused" ? "breaker" : "");
      expect(await paged()).toEqual([["firing", "critical"]]);
    });
    await eventually("all are evicted", ofOwn, (all) => all.filter(({ state }) => state === "done").length === HELD_BACK, WITHIN_MS);
    for (const app of apps) await acting.clean(app, 1);
    expect(pages()).toHaveLength(1);
  });
}
