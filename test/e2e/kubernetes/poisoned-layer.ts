/** A layer that is altered on the node's disk: the Node is cordoned and tainted by the API server as it is, what stands on it is evicted, and it is lifted once that layer is measured equal. */
import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run } from "../../../deploy/testbed/run.ts";
import { file, tar } from "../../fakes/tar-writer.ts";
import { eventually } from "../fault-support.ts";
import { acceptanceImage } from "../images/acceptance.ts";
import { layerOf, type PushedImage, pushImage } from "../images/push.ts";
import { type Acting, WITHIN_MS } from "./acting.ts";
import { PodVictim } from "./pod-victim.ts";
import type { RollbackBed } from "./rollbacks.ts";
import { pod, podSpec } from "./workloads.ts";

/** A rule of the policy: nothing but what these tests make is acted on. */
export const POISONED = `
      - name: poisoned
        select: { workloads: ["default/poisoned-web"] }
        node: [evict]
`;
/** Only while it is tested here: other attacks alter layers too. */
const MARKING = `
    nodes:
      hourlyPercent: 100
      atOncePercent: 100
      rules: [{ name: workers, reasons: [layer], marks: [label, taint, cordon], cluster: true, lift: automatic }]
`;

interface KubernetesNode {
  readonly metadata: { readonly uid: string; readonly labels: Readonly<Record<string, string>>; readonly annotations: Readonly<Record<string, string>> };
  readonly spec: { readonly unschedulable?: boolean; readonly taints?: readonly { readonly key: string; readonly value?: string; readonly effect: string }[] };
}

const UNTRUSTED = "hullmark.dev/untrusted";

/** Declares the tests. @param of the bed, once it is up @param actingOf whoever acts, once it runs */
export function poisonedLayer(of: () => RollbackBed, actingOf: () => Acting): void {
  let acting: Acting;
  let image: PushedImage;

  beforeAll(async () => {
    acting = actingOf();
    const { bed, programs, sign } = of();
    const definition = acceptanceImage(programs);
    // Of its own: no other image stands on it.
    const own = { createdBy: "COPY start", layer: layerOf(tar(file("srv/start", "#!/bin/sh\n", { mode: 0o755 }))) };
    image = await pushImage(bed.registry?.host ?? "", "acme/poisoned", "1", { ...definition, steps: [...definition.steps, own] });
    await sign(image.reference);
  });
  afterAll(async () => {
    await acting.kubectl("delete", "deployment/poisoned-web", "pod/poisoned-probe", "--ignore-not-found", "--wait=false");
    await acting.kubectl("uncordon", of().cluster.nodeName);
    await acting.kubectl("taint", "node", of().cluster.nodeName, `${UNTRUSTED}:NoSchedule-`).catch(() => undefined);
  });

  const node = async (): Promise<KubernetesNode> => JSON.parse(await acting.kubectl("get", "node", of().cluster.nodeName, "--output=json"));
  const taints = ({ spec }: KubernetesNode) => (spec.taints ?? []).filter(({ key }) => key === UNTRUSTED);

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
    const layer = await victim.layerDirectory(image.diffIds.length - 1);
    const before = readFileSync(stack.policyPath, "utf8");
    writeFileSync(stack.policyPath, `${before.trimEnd()}${MARKING}`);
    try {
      await victim.onHost("sh", "-c", `echo evil >> ${layer}/srv/start`);
      const marked = await eventually("the Node is marked", node, (now) => now.spec.unschedulable === true, WITHIN_MS);
      const action = marked.metadata.labels[UNTRUSTED];
      expect(action).toMatch(/^A-/);
      expect(taints(marked)).toMatchObject([{ value: action, effect: "NoSchedule" }]);
      expect(marked.metadata.annotations["hullmark.dev/cordoned"]).toBe(action);
      const told = await eventually(
        "the Node's Events",
        () => acting.events(marked.metadata.uid),
        (all) => all.filter(({ reason }) => reason === "NodeUntrusted").length === 3,
        WITHIN_MS,
      );
      expect(told.find(({ reason }) => reason === "NodeUntrusted")).toMatchObject({
        type: "Warning",
        metadata: { annotations: { "hullmark.dev/action": action } },
      });

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

      // As an operator purges it: containerd takes the directory away with the last image on it.
      await eventually(
        "the directory is gone",
        async () => {
          const refs = (await run(cluster.ctr("images", "list", "--quiet")))
            .split("\n")
            .filter((ref) => ref.includes("acme/poisoned") || ref === image.configDigest);
          if (refs.length > 0) await run(cluster.ctr("images", "rm", "--sync", ...refs));
          return victim.onHost("sh", "-c", `test -e ${layer}/srv/start || echo gone`);
        },
        (said) => said === "gone",
        WITHIN_MS,
      );
      expect((await node()).spec.unschedulable).toBe(true);
      await acting.apply(pod("poisoned-probe", image.tagged, { spec: { nodeName: cluster.nodeName, tolerations: [{ operator: "Exists" }] } }));
      const lifted = await eventually("the marks are lifted", node, (now) => now.spec.unschedulable !== true && taints(now).length === 0, WITHIN_MS);
      expect(JSON.stringify([lifted.metadata.labels, lifted.metadata.annotations])).not.toContain("hullmark.dev/untrusted");
      await acting.clean("poisoned-web", 1);
    } finally {
      writeFileSync(stack.policyPath, before);
    }
  });
}
