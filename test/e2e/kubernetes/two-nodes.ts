/** What one node alone says of an image changes nothing for all pods of a workload, whether it errs or lies; a second node, of another TPM and another runtime, bears it out. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run } from "../../../deploy/testbed/run.ts";
import { eventually } from "../fault-support.ts";
import { acceptanceImage } from "../images/acceptance.ts";
import { type PushedImage, pushImage } from "../images/push.ts";
import { type Acting, WITHIN_MS } from "./acting.ts";
import type { RollbackBed } from "./rollbacks.ts";
import { pull, SecondNode } from "./second-node.ts";
import { podSpec } from "./workloads.ts";

/** A rule of the policy: nothing but what these tests make is acted on. */
export const TWO_WORDS = `
      - name: two-words
        select: { workloads: ["default/word-cart"] }
        untrusted: [rollback]
        capture: { patience: 0s }
`;

const APP = "word-cart";

interface Listed {
  readonly held: Readonly<Record<string, number>>;
}

interface ToldNode {
  readonly name: string;
  readonly verdict: string;
  readonly trust: string;
}

/** Declares the tests. @param of the bed, once it is up @param actingOf whoever acts, once it runs */
export function twoNodes(of: () => RollbackBed, actingOf: () => Acting): void {
  let acting: Acting;
  let second: SecondNode | undefined;
  let first: PushedImage;
  let next: PushedImage;
  let stranger: PushedImage;

  beforeAll(async () => {
    acting = actingOf();
    const { bed, programs, sign } = of();
    const push = (tag: string): Promise<PushedImage> => pushImage(bed.registry?.host ?? "", "acme/word", tag, acceptanceImage(programs, `word-${tag}`));
    [first, next, stranger] = [await push("1"), await push("2"), await push("3")];
    for (const { reference } of [first, next]) await sign(reference);
  });

  afterAll(async () => {
    await acting.kubectl("delete", `deployment/${APP}`, "--ignore-not-found", "--wait=false");
    await second?.end();
  });

  const image = (): Promise<string> => acting.kubectl("get", `deployment/${APP}`, "--output=jsonpath={.spec.template.spec.containers[0].image}");
  const unchanged = async (): Promise<void> => {
    const { held } = await of().stack.json<Listed>("action", "ls");
    // Other tests may have left some.
    expect(held["one-node"]).toBeGreaterThanOrEqual(2);
    expect([await acting.told(`${APP}-`), await image()]).toEqual([[], next.tagged]);
  };

  test("a node runs what nobody signed under the tag of what is signed: that is held, and so it is while another node says nothing; it runs there too, and all pods go back", {
    timeout: 900_000,
  }, async () => {
    acting.logsOnFailure();
    const { cluster, stack } = of();
    await acting.apply({
      ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: APP } },
      spec: { replicas: 2, selector: { matchLabels: { app: APP } }, template: { metadata: { labels: { app: APP } }, spec: podSpec(first.tagged) } },
    });
    await acting.clean(APP, 2);
    // Whoever holds the node has the kubelet find it there, and pull nothing.
    await pull(cluster, stranger);
    await run(cluster.ctr("images", "tag", "--force", stranger.tagged, next.tagged));
    await acting.kubectl("set", "image", `deployment/${APP}`, `web=${next.tagged}`);
    await acting.kubectl("rollout", "status", `deployment/${APP}`, "--timeout=240s");
    await eventually(
      "both its pods are found",
      () => stack.json<readonly { workload: string; verdict: string }[]>("workloads"),
      (all) => all.filter(({ workload, verdict }) => workload === `default/${APP}` && verdict === "contraindicated").length === 2,
      WITHIN_MS,
    );
    await eventually(
      "both are held back",
      () => stack.json<Listed>("action", "ls"),
      ({ held }) => (held["one-node"] ?? 0) >= 2,
      WITHIN_MS,
    );
    await unchanged();

    second = await SecondNode.start(of());
    await eventually(
      "the second node is attested by its TPM",
      () => stack.json<readonly ToldNode[]>("nodes"),
      (all) => all.some(({ name, verdict, trust }) => name === SecondNode.nodeName && verdict === "affirming" && trust === "tpm"),
      WITHIN_MS,
    );
    await unchanged();

    const [running] = await acting.podsOf(APP);
    const hash = running?.metadata.name.split("-").at(-2) ?? "";
    const labels = { app: APP, "pod-template-hash": hash };
    await second.run({ name: `${APP}-${hash}-other`, uid: randomUUID() }, stranger, labels);
    const told = await acting.actionIs(`${APP}-`, "rolled back", ({ kind, state }) => kind === "rollback" && state === "done");
    expect(told.map(({ kind, state }) => `${kind} ${state}`)).toEqual(["rollback done"]);
    expect(await image()).toBe(first.reference);
    await acting.clean(APP, 2);
  });
}
