/** A layer that is altered on the node's disk: the Node is cordoned and tainted by the API server as it is, what stands on it is evicted, and it is lifted once that layer, taken off by hand, is measured equal; where it comes back altered, containment has failed. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { RESPONSE_FAILPOINTS } from "@hullmark/verifier/core/response/index";
import { afterAll, beforeAll, expect, test } from "vitest";
import { file, tar } from "../../fakes/tar-writer.ts";
import { eventually } from "../fault-support.ts";
import { ACCEPTANCE, acceptanceImage } from "../images/acceptance.ts";
import { layerOf, type PushedImage, pushImage } from "../images/push.ts";
import { type Acting, isUnmarked, marking, type ToldAction, UNTRUSTED, untrustedTaints, WITHIN_MS } from "./acting.ts";
import { PodVictim } from "./pod-victim.ts";
import type { RollbackBed } from "./rollbacks.ts";
import { pull } from "./second-node.ts";
import { type PodOptions, pod, podSpec } from "./workloads.ts";

/** A rule of the policy: nothing but what these tests make is acted on. */
export const POISONED = `
      - name: poisoned
        select: { workloads: ["default/poisoned-web"] }
        node: [evict]
`;

/** Declares the tests. @param of the bed, once it is up @param actingOf whoever acts, once it runs */
export function poisonedLayer(of: () => RollbackBed, actingOf: () => Acting): void {
  let acting: Acting;
  let image: PushedImage;
  /** Of the same layers. */
  let beside: PushedImage;

  beforeAll(async () => {
    acting = actingOf();
    const { bed, programs, sign } = of();
    const definition = acceptanceImage(programs);
    // Of their own: no image of another test stands on it.
    const own = { createdBy: "COPY start", layer: layerOf(tar(file("srv/start", "#!/bin/sh\n", { mode: 0o755 }))) };
    const steps = [...definition.steps, own];
    const push = (name: string, config = definition.config) => pushImage(bed.registry?.host ?? "", `acme/${name}`, "1", { ...definition, steps, config });
    image = await push("poisoned");
    beside = await push("beside", { ...definition.config, Cmd: [ACCEPTANCE.tool, "wait"] });
    for (const { reference } of [image, beside]) await sign(reference);
  });
  afterAll(async () => {
    const pods = ["probe", "again", "beside"].map((name) => `pod/poisoned-${name}`);
    await acting.kubectl("delete", "deployment/poisoned-web", ...pods, "--ignore-not-found", "--wait=false");
    await acting.kubectl("uncordon", of().cluster.nodeName);
    await acting.kubectl("taint", "node", of().cluster.nodeName, `${UNTRUSTED}:NoSchedule-`).catch(() => undefined);
  });

  const node = () => acting.node();
  const onNode = (): PodOptions => ({ spec: { nodeName: of().cluster.nodeName, tolerations: [{ operator: "Exists" }] } });

  /** The commands of docs/response.md: containerd takes the directory away with the last image on it. */
  const takeOff = (layer: string): Promise<void> => acting.takeOff([image, beside], () => !existsSync(`${layer}/srv/start`));
  const purged = (): Promise<string> => acting.purged(image.diffIds.length - 1);
  const actionOf = (id: string): Promise<ToldAction> => of().stack.json<ToldAction>("action", "show", id);

  test("marks, evictions and the lift follow what is measured", { timeout: 900_000 }, async () => {
    acting.logsOnFailure();
    const { cluster, programs, stack } = of();
    const labels = { app: "poisoned-web" };
    await acting.apply({
      ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "poisoned-web" } },
      spec: { replicas: 1, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: podSpec(image.tagged) } },
    });
    const [first] = await acting.clean("poisoned-web", 1);
    const name = first?.metadata.name ?? "";
    const victim = new PodVictim(cluster, programs, name);
    const layerIndex = image.diffIds.length - 1;
    const layer = await victim.layerDirectory(layerIndex);
    const before = readFileSync(stack.policyPath, "utf8");
    // Other tests have it marked, too.
    const beginMs = Date.now();
    // Only while it is tested here: other attacks alter layers too.
    writeFileSync(stack.policyPath, before.replace(...marking("layer")));
    try {
      // By a verifier that is killed at each step of it.
      await acting.killedAt(RESPONSE_FAILPOINTS, () => victim.onHost("sh", "-c", `echo evil >> ${layer}/srv/start`));
      const marked = await eventually(
        "the Node is marked",
        () => acting.node(),
        (now) => now.spec.unschedulable === true,
        WITHIN_MS,
      );
      const action = marked.metadata.labels[UNTRUSTED];
      expect(action).toMatch(/^A-/);
      expect(untrustedTaints(marked)).toMatchObject([{ value: action, effect: "NoSchedule" }]);
      expect(marked.metadata.annotations["hullmark.dev/cordoned"]).toBe(action);
      const told = await eventually(
        "the Node's Events",
        () => acting.events(marked.metadata.uid),
        (all) => all.filter(({ reason }) => reason === "NodeUntrusted").length === 3,
        WITHIN_MS,
      );
      expect(told.find(({ reason }) => reason === "NodeUntrusted")).toMatchObject({ type: "Warning" });
      expect(await acting.toldWithEntry(cluster.nodeName, "NodeUntrusted")).toEqual([action]);

      // Only then what stands on it goes, and what comes in its place has nowhere to be put.
      await acting.actionIs(name, "done", ({ kind, state }) => kind === "evict" && state === "done");
      const waiting = await eventually(
        "another waits",
        () => acting.podsOf("poisoned-web"),
        (pods) => pods.length === 1 && pods[0]?.status.phase === "Pending",
        WITHIN_MS,
      );
      expect(waiting[0]?.spec.nodeName).toBeUndefined();
      const status = async () => (await stack.json<{ claims: { code: string; detail: string }[] }>("status")).claims;
      await eventually("it is said for what the Node waits", status, (claims) => claims.some(({ code }) => code === "not-measured"), WITHIN_MS);
      expect((await node()).spec.unschedulable).toBe(true);

      const affects = (...names: string[]) => expect.arrayContaining(names.map((name) => expect.stringContaining(`/${name}`)));
      expect(await acting.affected()).toMatchObject([{ place: "layer", layerIndex, open: false, images: affects("poisoned") }]);

      // Another image stands on it: that this one is removed heals nothing, and what is started of the other one has it.
      await pull(cluster, beside);
      await acting.takeOff([image]);
      expect(readFileSync(`${layer}/srv/start`, "utf8")).toContain("evil");
      await acting.apply(pod("poisoned-beside", beside.tagged, onNode()));
      await eventually(
        "the other image's is contradicted",
        () => stack.json<{ container: { name: string }; verdict: string }[]>("workloads"),
        (all) => all.some(({ container, verdict }) => container.name === "default/poisoned-beside/web" && verdict === "contraindicated"),
        WITHIN_MS,
      );
      const both = { place: "layer", layerIndex, open: true, containers: affects("poisoned-beside"), images: affects("poisoned", "beside") };
      await expect.poll(() => acting.affected(), { timeout: WITHIN_MS, interval: 1000 }).toMatchObject([both]);
      await acting.kubectl("delete", "pod", "poisoned-beside", "--wait=true");

      // As root on the node purges it; the poison comes back with the image, as from a host that is still in other hands: whatever is started first has it.
      await takeOff(layer);
      expect((await node()).spec.unschedulable).toBe(true);
      const again = await purged();
      const [agent] = stack.agents;
      await agent?.stop();
      const second = new PodVictim(cluster, programs, "poisoned-again");
      await acting.apply(pod("poisoned-again", image.tagged, onNode()));
      await acting.kubectl("wait", "--for=condition=Ready", "pod/poisoned-again", "--timeout=240s");
      const returned = await second.layerDirectory(layerIndex);
      await second.onHost("sh", "-c", `echo evil >> ${returned}/srv/start`);
      await agent?.start();
      const failed = await eventually(
        "containment has failed",
        () => actionOf(again),
        ({ state }) => state === "failed",
        WITHIN_MS,
      );
      expect(failed).toMatchObject({
        kind: "purge",
        reason: "containment-failed",
        detail: expect.stringMatching(/^containment failed: the layer is altered again/),
      });
      expect((await node()).spec.unschedulable).toBe(true);
      expect((await status()).find(({ code }) => code === "containment-failed")?.detail).toContain(cluster.nodeName);

      // Measured equal it is lifted, and not before.
      await acting.kubectl("delete", "pod", "poisoned-again", "--wait=true");
      await takeOff(returned);
      const once = await purged();
      expect(await actionOf(once)).toMatchObject({ state: "issued", reason: "measuring" });
      // What ends the purge, then each step of the lift, kills the verifier.
      await acting.killedAt(["before-settle", "after-settle", ...RESPONSE_FAILPOINTS], () => acting.apply(pod("poisoned-probe", image.tagged, onNode())));
      await eventually(
        "it is measured equal",
        () => actionOf(once),
        ({ state }) => state === "done",
        WITHIN_MS,
      );
      const lifted = await eventually("the marks are lifted", node, isUnmarked, WITHIN_MS);
      const [lift = ""] = await acting.toldWithEntry(cluster.nodeName, "NodeTrusted");
      // The Events come before its actuator tells.
      const settled = await eventually(
        "the lift is done",
        () => actionOf(lift),
        ({ state }) => state === "done",
        WITHIN_MS,
      );
      expect(settled).toMatchObject({ kind: "lift node" });
      const { actions } = await stack.json<{ actions: ToldAction[] }>("action", "ls");
      const ofNode = actions.filter(({ kind, createdAt }) => (kind === "mark node" || kind === "lift node") && Date.parse(createdAt) >= beginMs);
      expect(ofNode.map(({ kind, state }) => `${kind} ${state}`).sort()).toEqual(["lift node done", "mark node done"]);
      expect(JSON.stringify([lifted.metadata.labels, lifted.metadata.annotations])).not.toContain("hullmark.dev/untrusted");
      expect((await status()).filter(({ code }) => code === "containment-failed")).toEqual([]);
      await acting.clean("poisoned-web", 1);
    } finally {
      writeFileSync(stack.policyPath, before);
    }
  });
}
