/** Rungs by severity, by what returns and by time; what only tells; what holds all of it back; and what is done about the node: by the API server as it is, with the rights that the chart gives. */
import { hash, randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { POLICY_NAME } from "@hullmark/actuator/adapters/kubernetes/kubernetes-fence";
import { Tpm } from "@hullmark/native";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../fault-support.ts";
import { ACCEPTANCE, acceptanceImage } from "../images/acceptance.ts";
import { type PushedImage, pushImage } from "../images/push.ts";
import { LONG } from "../long.ts";
import { type Acting, isUnmarked, type KubernetesNode, marking, type ToldAction, UNTRUSTED, untrustedTaints, WITHIN_MS } from "./acting.ts";
import { otherNodes } from "./other-nodes.ts";
import type { RollbackBed } from "./rollbacks.ts";
import { pod, podSpec } from "./workloads.ts";

/** Rules of the policy: nothing but what these tests make is acted on. */
export const CLIMBING = `
      - name: tiers
        select: { workloads: ["default/ladder-tier-*"] }
        ladder: { medium: [alert], high: [isolate], critical: [evict] }
        capture: { patience: 0s }
      - name: climbing
        select: { workloads: ["default/ladder-again"] }
        ladder: { low: [evict, isolate], medium: [evict, isolate], high: [evict, isolate], critical: [evict, isolate] }
        capture: { patience: 0s }
      - name: greedy
        select: { workloads: ["default/ladder-greedy"] }
        unmeasurable: [evict]
        unmeasurableAfter: 1m
        capture: { patience: 0s }
      - name: one-node-halts
        select: { workloads: ["default/ladder-new"] }
        untrusted: [rollback, halt]
        capture: { patience: 0s }
      - name: one-node
        select: { workloads: ["default/ladder-word"] }
        untrusted: [rollback]
        capture: { patience: 0s }
      - name: modes
        select: { workloads: ["default/ladder-mode"] }
        ladder: { low: [evict], medium: [evict], high: [evict], critical: [evict] }
        capture: { patience: 0s }
`;

const APPS = ["tier-medium", "tier-high", "tier-critical", "again", "greedy", "mode", "store", "word", "new"].map((name) => `ladder-${name}`);
/** More than a container may have of its own. */
const TOO_MANY = 50_100;
/** Of a PCR that nothing was measured into. */
const EMPTY_PCR = Buffer.alloc(32);

interface Listed {
  readonly actions: readonly { readonly id: string; readonly kind: string; readonly state: string; readonly drift: string }[];
  readonly held: Readonly<Record<string, number>>;
}

/** Declares the tests. @param of the bed, once it is up @param actingOf whoever acts, once it runs */
export function ladder(of: () => RollbackBed, actingOf: () => Acting): void {
  let acting: Acting;
  let signed: PushedImage;
  let stranger: PushedImage;
  /** Ends nodes that stand for the rest of the fleet. */
  let without: () => Promise<void>;

  beforeAll(async () => {
    acting = actingOf();
    const { bed, programs, sign } = of();
    const push = (tag: string): Promise<PushedImage> => pushImage(bed.registry?.host ?? "", "acme/ladder", tag, acceptanceImage(programs, `ladder-${tag}`));
    [signed, stranger] = [await push("1"), await push("2")];
    await sign(signed.reference);
    without = await otherNodes(bed, of().stack);
  });

  afterAll(async () => {
    const made = [...APPS.map((app) => `deployment/${app}`), "pod/ladder-stored", `networkpolicy/${POLICY_NAME}`];
    await acting.kubectl("delete", ...made, "--ignore-not-found", "--wait=false");
    await acting.unmark();
    await without?.();
  });

  const deployment = (app: string, image = of().image): object => ({
    ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: app } },
    spec: { replicas: 1, selector: { matchLabels: { app } }, template: { metadata: { labels: { app } }, spec: podSpec(image) } },
  });
  /** @returns name and uid of its one pod, once it is clean */
  const podOf = async (app: string): Promise<{ readonly name: string; readonly uid: string }> =>
    (await acting.clean(app, 1))[0]?.metadata ?? { name: "", uid: "" };
  const listed = () => of().stack.json<Listed>("action", "ls");
  const done = async (pod: string, kind: string) =>
    (await acting.actionIs(pod, `${kind} done`, (each) => each.kind === kind && each.state === "done")).find(
      (each) => each.kind === kind && each.state === "done",
    );
  const contradicted = (pod: string) =>
    eventually(
      `${pod} is contradicted`,
      () => of().stack.json<{ container: { name: string }; verdict: string }[]>("workloads"),
      (all) => all.some(({ container, verdict }) => container.name === `default/${pod}/web` && verdict === "contraindicated"),
      WITHIN_MS,
    );
  const held = (why: string, count = 1) => eventually(`held back: ${why}`, listed, ({ held: now }) => (now[why] ?? 0) >= count, WITHIN_MS);

  const isMarked = (now: KubernetesNode): boolean => now.spec.unschedulable === true && untrustedTaints(now).length === 1;
  const lifted = async (): Promise<void> => void (await eventually("the marks are lifted", () => acting.node(), isUnmarked, WITHIN_MS));

  /** @returns the action of the marks, which are on it and told */
  async function marked(): Promise<string> {
    const now = await eventually("the Node is marked", () => acting.node(), isMarked, WITHIN_MS);
    const action = now.metadata.labels[UNTRUSTED] ?? "";
    expect(action).toMatch(/^A-/);
    expect(untrustedTaints(now)).toMatchObject([{ value: action, effect: "NoSchedule" }]);
    await eventually(
      "its Event",
      () => acting.events(now.metadata.uid),
      (all) => all.some(({ reason, metadata }) => reason === "NodeUntrusted" && metadata.annotations?.["hullmark.dev/action"] === action),
      WITHIN_MS,
    );
    return action;
  }

  if (LONG)
    test("a node whose TPM quotes another boot than policy lists is cordoned, and nothing is done to what runs there; listed, it is lifted", {
      timeout: 600_000,
    }, async () => {
      acting.logsOnFailure();
      const { bed, stack } = of();
      const [agent] = stack.agents;
      await acting.apply(deployment("ladder-mode"));
      const { name, uid } = await podOf("ladder-mode");
      const measured = randomBytes(32);
      const booted = hash("sha256", Buffer.concat([EMPTY_PCR, measured]), "hex");
      const listing = (...values: readonly string[]): readonly [string, string] => [
        "  mode: enforce",
        `  mode: enforce\n  nodes: [{ name: all, boot: { eventLog: optional }, pcrs: { "4": [${values.map((value) => `"${value}"`).join(", ")}] } }]`,
      ];
      const before = listing(EMPTY_PCR.toString("hex"));
      await acting.underPolicy("booted", [marking("pcr"), before], async () => {
        // A software TPM serves one client at a time.
        await agent?.stop();
        const chip = new Tpm();
        await chip.open(bed.tpms[0]?.tcti ?? "");
        await chip.extendPcr(4, "sha256", measured);
        await chip.close();
        await agent?.start();
        await marked();
        const { drifts } = await stack.json<{ drifts: { kind: string; state: string; summary: string }[] }>("drift", "ls", "--all");
        expect(drifts.filter(({ kind, state }) => kind === "pcr" && state === "open")).toMatchObject([{ summary: expect.stringContaining(booted) }]);
        await acting.write(name);
        await held("node-not-attested");
        expect(await acting.told(name)).toEqual([]);
        expect((await acting.podsOf("ladder-mode"))[0]?.metadata.uid).toBe(uid);
        await acting.underPolicy("updated", [[before[1], listing(EMPTY_PCR.toString("hex"), booted)[1]]], lifted);
      });
      await done(name, "evict");
    });

  // Both wait more than they work.
  if (LONG)
    test.concurrent("each severity has a rung of its own; drift that returns takes the next; what nobody can measure goes by its own rule", {
      timeout: 900_000,
    }, async () => {
      acting.logsOnFailure();
      const apps = ["ladder-tier-medium", "ladder-tier-high", "ladder-tier-critical", "ladder-again", "ladder-greedy"];
      await acting.apply(...apps.map((app) => deployment(app)));
      const [medium, high, critical, again, greedy] = await Promise.all(apps.map(podOf));
      if (!medium || !high || !critical || !again || !greedy) throw new Error("no pod");
      await acting.victim(greedy.name).sh(`mkdir /srv/many && cd /srv/many && seq 1 ${TOO_MANY} | xargs touch`);
      for (const { name } of [medium, again]) await acting.write(name);
      await acting.victim(high.name).sh(`echo x >> ${ACCEPTANCE.curl}`);
      await acting.victim(critical.name).sh("chmod u+s /usr/bin/perl");

      await done(high.name, "isolate");
      await done(critical.name, "evict");
      await done(again.name, "evict");
      expect((await podOf("ladder-tier-critical")).uid).not.toBe(critical.uid);
      await contradicted(medium.name);
      expect(await acting.told(medium.name)).toEqual([]);
      expect((await acting.podsOf("ladder-tier-medium"))[0]?.metadata.uid).toBe(medium.uid);
      expect((await acting.podsOf("ladder-tier-high"))[0]?.metadata.uid).toBe(high.uid);

      const successor = await podOf("ladder-again");
      expect(successor.uid).not.toBe(again.uid);
      await acting.write(successor.name);
      await done(successor.name, "isolate");
      expect((await acting.podsOf("ladder-again"))[0]?.metadata.uid).toBe(successor.uid);

      const gone = await done(greedy.name, "evict");
      expect((await listed()).actions.find(({ id }) => id === gone?.id)).toMatchObject({ drift: "" });
      expect((await podOf("ladder-greedy")).uid).not.toBe(greedy.uid);
    });

  if (LONG)
    test.concurrent("what one node alone says of an image is not enough for all pods of a workload: it waits until people say yes", {
      timeout: 600_000,
    }, async () => {
      acting.logsOnFailure();
      // The second has nothing to go back to, and would be halted.
      await acting.apply(deployment("ladder-word", signed.tagged), deployment("ladder-new", stranger.tagged));
      await podOf("ladder-word");
      const image = () => acting.kubectl("get", "deployment/ladder-word", "--output=jsonpath={.spec.template.spec.containers[0].image}");
      await acting.kubectl("set", "image", "deployment/ladder-word", `web=${stranger.tagged}`);
      await acting.kubectl("rollout", "status", "deployment/ladder-word", "--timeout=240s");
      await held("one-node", 2);
      for (const app of ["ladder-word-", "ladder-new-"]) expect(await acting.told(app)).toEqual([]);
      expect(await image()).toBe(stranger.tagged);
      const approved = [
        "        untrusted: [rollback]\n        capture: { patience: 0s }\n      - name: modes",
        "        untrusted: [rollback]\n        approvals: 1\n        capture: { patience: 0s }\n      - name: modes",
      ] as const;
      await acting.underPolicy("asked", [approved], async () => {
        const asked = await acting.actionIs("ladder-word-", "asked for", ({ state }) => state === "awaiting");
        expect(await image()).toBe(stranger.tagged);
        expect(await of().stack.hullmark("action", "approve", asked.find(({ state }) => state === "awaiting")?.id ?? "")).toMatchObject({ code: 0 });
        await acting.actionIs("ladder-word-", "done", ({ kind, state }) => kind === "rollback" && state === "done");
        expect(await image()).toBe(signed.reference);
        await podOf("ladder-word");
      });
      await held("one-node");
      expect(await acting.told("ladder-new-")).toEqual([]);
      expect(await acting.kubectl("get", "deployment/ladder-new", "--output=jsonpath={.spec.replicas} {.status.availableReplicas}")).toBe("1 1");
    });

  if (LONG)
    test("an image's configuration that was altered in the node's content store has it cordoned; purged by hand and measured, it is lifted", {
      timeout: 600_000,
    }, async () => {
      acting.logsOnFailure();
      await acting.apply(deployment("ladder-store", signed.tagged));
      const { name, uid } = await podOf("ladder-store");
      const { containerdRoot } = of().cluster;
      const blob = join(containerdRoot, "io.containerd.content.v1.content/blobs/sha256", signed.configDigest.replace("sha256:", ""));
      const before = readFileSync(blob);
      // Of the same size: what containerd would run after its next start.
      const altered = Buffer.from(before.toString("latin1").replace("# buildkit", "# buildkat"), "latin1");
      expect([altered.length, altered.equals(before)]).toEqual([before.length, false]);
      await acting.underPolicy("stored", [marking("image")], async () => {
        writeFileSync(blob, altered);
        try {
          const { drifts } = await eventually(
            "it is found",
            () => of().stack.json<{ drifts: { kind: string; origin: { place: string } }[] }>("drift", "ls", "--all", "--container", `default/${name}/web`),
            (told) => told.drifts.some(({ origin }) => origin.place === "image"),
            WITHIN_MS,
          );
          expect(drifts.find(({ origin }) => origin.place === "image")).toMatchObject({ kind: "replaced", state: "open" });
          await marked();
          expect((await acting.podsOf("ladder-store"))[0]?.metadata.uid).toBe(uid);
          expect(await acting.told("ladder-store-")).toEqual([]);
          const layerIndex = signed.diffIds.length - 1;
          const [containers, images] = [[`default/${name}/web`], [expect.stringContaining("/acme/ladder")]].map((each) => expect.arrayContaining(each));
          expect(await acting.affected()).toMatchObject([{ place: "image", layerIndex, open: true, containers, images }]);
          // What runs of it goes first.
          await acting.kubectl("delete", "deployment/ladder-store", "deployment/ladder-word", "--ignore-not-found");
          await expect.poll(() => acting.affected(), { timeout: WITHIN_MS, interval: 1000 }).toMatchObject([{ place: "image", open: false, containers: [] }]);
          await acting.takeOff([signed], () => !existsSync(blob));
          const purge = await acting.purged(layerIndex);
          expect((await acting.node()).spec.unschedulable).toBe(true);
          await acting.apply(pod("ladder-stored", signed.tagged, { spec: { nodeName: of().cluster.nodeName, tolerations: [{ operator: "Exists" }] } }));
          await eventually(
            "it is measured equal",
            () => of().stack.json<ToldAction>("action", "show", purge),
            ({ state }) => state === "done",
            WITHIN_MS,
          );
        } catch (error) {
          writeFileSync(blob, before);
          throw error;
        }
        await lifted();
      });
    });

  test("observed, nothing is asked for; in a dry run it is told, once, and the pod stays; enforced, it goes", { timeout: 600_000 }, async () => {
    acting.logsOnFailure();
    await acting.apply(deployment("ladder-mode"));
    const { name, uid } = await podOf("ladder-mode");
    const stays = async (): Promise<void> => {
      expect((await acting.podsOf("ladder-mode")).map(({ metadata }) => [metadata.uid, metadata.deletionTimestamp])).toEqual([[uid, undefined]]);
      expect((await acting.events(uid)).map(({ reason }) => reason)).not.toContain("Evicting");
    };
    await acting.underPolicy("observed", [["mode: enforce", "mode: observe"]], async () => {
      await acting.write(name);
      await contradicted(name);
      await stays();
      expect(await acting.told(name)).toEqual([]);
      await acting.underPolicy("tried", [["mode: observe", "mode: dry-run"]], async () => {
        await acting.actionIs(name, "told", ({ kind, state }) => kind === "evict" && state === "dry-run");
        await acting.victim(name).sh("echo x > /etc/second");
        await eventually(
          "the second is found",
          () => of().stack.json<{ drifts: { path: string }[] }>("drift", "ls", "--all", "--container", `default/${name}/web`),
          ({ drifts }) => drifts.some(({ path }) => path === "/etc/second"),
          WITHIN_MS,
        );
        expect(await acting.told(name)).toHaveLength(1);
        await stays();
      });
    });
    await done(name, "evict");
    expect((await podOf("ladder-mode")).uid).not.toBe(uid);
  });
}
